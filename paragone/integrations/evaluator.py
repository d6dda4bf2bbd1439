"""Evaluating while training: every so many steps, the same measurement as `paragone check`, and nothing disturbed.

    evaluator = Evaluator("reference/", every=1000, n=2000, features="inception", loggers=[CsvLogger("fd.csv")])
    for step, batch in enumerate(loader, start=1):
        train(batch)
        evaluator.maybe_run(step, lambda n: sample(ema_model, n), model=ema_model)

All evaluations draw from the same seeds, so that they are paired from step to step, and with the baseline if it was
made by an evaluator too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError, UsageError
from paragone.integrations.loggers import MetricLogger
from paragone.integrations.state import full_precision, seed_everything, undisturbed
from paragone.metrics.checks_measure import GATED, READING, Reading, measure_run
from paragone.metrics.checks_runs import RunCheck, check_runs
from paragone.metrics.estimates import Z95
from paragone.metrics.run_files import read_run, write_run
from paragone.metrics.run_record import Recipe, RunRecord, Yardstick

if TYPE_CHECKING:
    from torch import nn

Sampler = Callable[[int], Any]  # a number of pictures → uint8 [n, H, W], [n, H, W, 3], or a tensor [n, 1 or 3, H, W]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation: the run, the check against the baseline if there is one, and the seconds that it took."""

    step: int
    run: RunRecord
    check: RunCheck | None
    seconds: float


class Evaluator:
    """Measures `n` samples against `reference` every `every` steps; with a `baseline`, checks them as well.

    `records`: a folder that gets a run record for each step, to be blessed or checked later. In distributed training
    every rank calls `maybe_run`: all draw samples (a sharded model needs that), the first measures.
    """

    def __init__(
        self,
        reference: Any,
        *,
        every: int,
        n: int,
        metrics: Sequence[str] = GATED,
        features: str = "",
        protocol: str = "paragone",
        training: Any = None,
        baseline: str | Path | None = None,
        records: str | Path | None = None,
        loggers: Sequence[MetricLogger] = (),
        batch_size: int = 64,
        seed: int = 0,
        reading: Reading = READING,
    ) -> None:
        if every < 1 or n < 2 or batch_size < 1:
            raise UsageError(f"every={every}, n={n}, batch_size={batch_size}: need 1 step, 2 samples, a batch of 1")
        self.every, self.n, self.batch_size, self.seed = every, n, batch_size, seed
        self._reference, self._training = reference, training
        self._recipe = Recipe(features, protocol, tuple(metrics))
        self._baseline = None if baseline is None else read_run(Path(baseline))
        self._records = None if records is None else Path(records)
        self._loggers, self._reading = tuple(loggers), reading
        self._yardsticks: dict[str, Yardstick] = {}
        if self._baseline is not None:
            self._recipe, self._yardsticks = self._baseline.recipe, dict(self._baseline.yardsticks)

    def maybe_run(self, step: int, sample_fn: Sampler, *, model: nn.Module | None = None) -> Evaluation | None:
        """Evaluate if `step` is one of `every`; `model` is put into evaluation mode meanwhile."""
        return self.run(step, sample_fn, model=model) if step > 0 and step % self.every == 0 else None

    def run(self, step: int, sample_fn: Sampler, *, model: nn.Module | None = None) -> Evaluation | None:
        """Evaluate now. None on any rank but the first."""
        start = time.monotonic()
        with undisturbed(*(() if model is None else (model,))):
            pictures = self._drawn(sample_fn)
            if not _first_rank():
                return None
            with full_precision():
                run = self._measured(pictures, step)
        check = None
        if self._baseline is not None:
            base = self._baseline
            check = check_runs(base, run, base.gates, alpha=base.alpha, power=base.power)
        self._log(run, step)
        if self._records is not None:
            self._records.mkdir(parents=True, exist_ok=True)
            write_run(run, self._records / f"step-{step:08d}.json")
        return Evaluation(step, run, check, time.monotonic() - start)

    def _drawn(self, sample_fn: Sampler) -> NDArray[np.uint8]:
        """`n` pictures [n, H, W] or [n, H, W, 3]; each batch from a seed of its own."""
        parts = []
        for start in range(0, self.n, self.batch_size):
            count = min(self.batch_size, self.n - start)
            seed_everything(self.seed + start)
            parts.append(as_pictures(sample_fn(count), count))
        return np.concatenate(parts)

    def _measured(self, pictures: NDArray[np.uint8], step: int) -> RunRecord:
        known = self._yardsticks
        run = measure_run(
            pictures,
            self._recipe,
            reference=None if "reference" in known else self._reference,
            training=None if "training" in known else self._training,
            yardsticks=known,
            model=f"step-{step}",
            reading=self._reading,
        )
        # What was measured against is measured once, unless it is too large to keep.
        self._yardsticks = {role: one for role, one in run.yardsticks.items() if one.packed is not None} | known
        return replace(run, model=f"step-{step}")

    def _log(self, run: RunRecord, step: int) -> None:
        for name, one in run.measures.items():
            for logger in self._loggers:
                logger.value(name, one.value, step)
                if one.column is not None:
                    half = Z95 * one.column.standard_error
                    logger.interval(name, one.column.value - half, one.column.value + half, step)
                logger.n(name, len(run.items), step)


def as_pictures(made: Any, count: int) -> NDArray[np.uint8]:
    """uint8 [n, H, W] or [n, H, W, 3] of what a sampler made: an array, or a tensor with channels first.

    Raises `InputError` for floats, whose range cannot be known, and for another number of pictures.
    """
    is_tensor = hasattr(made, "detach")
    array = made.detach().cpu().numpy() if is_tensor else np.asarray(made)
    if array.dtype != np.uint8:
        raise InputError(
            f"sample_fn gave {array.dtype}; pictures are uint8: (x.clamp(0, 1) * 255).round().to(torch.uint8) for x "
            "in 0..1"
        )
    if is_tensor and array.ndim == 4 and array.shape[1] in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if len(array) != count or array.ndim not in (3, 4):
        raise InputError(f"sample_fn gave {array.shape} when it was asked for {count} pictures")
    return np.ascontiguousarray(array)


def _first_rank() -> bool:
    import torch.distributed as dist

    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0
