"""Measuring a candidate as its baseline was measured: the same extractor, protocol, metrics, settings, yardsticks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import UsageError
from paragone.data.images import ImageSource, OnError
from paragone.data.progress import Progress, silent
from paragone.data.records import Prompt
from paragone.metrics.catalogue import ALIASES
from paragone.metrics.compute import gather
from paragone.metrics.inputs import ClipReading, Source, open_samples
from paragone.metrics.recording import items_of, record_of
from paragone.metrics.run_files import is_run_record, read_run
from paragone.metrics.run_record import Recipe, RunRecord, Yardstick
from paragone.metrics.score_files import read_scores

GATED = ("fd", "kid", "precision", "recall")  # without a choice of metrics; authenticity too, with a training set


@dataclass(frozen=True, slots=True)
class Reading:
    """How pictures are read and go through the extractor; nothing here changes a number on a CPU."""

    weights: Path | None = None
    device: str = "auto"
    batch_size: int = 32
    workers: int = 1
    cache: Path | None = None
    on_error: OnError = "raise"


READING = Reading()


def measure_run(
    source: str | os.PathLike[str] | NDArray[np.uint8] | ImageSource,
    recipe: Recipe,
    *,
    reference: Source | None = None,
    training: Source | None = None,
    prompts: str | os.PathLike[str] | None = None,
    yardsticks: Mapping[str, Yardstick] | None = None,
    scores: Path | None = None,
    lower_is_better: Sequence[str] = (),
    model: str = "",
    asked: tuple[Prompt, ...] = (),
    keep_features: bool = False,
    clips: ClipReading | None = None,
    reading: Reading = READING,
    progress: Progress = silent,
) -> RunRecord:
    """The run of `source`: pictures, measured by `recipe`, or a run record, as it is.

    `yardsticks` are a baseline's: they stand in for a reference or training set that is not named again. Errors are
    those of `compute_metrics`.
    """
    if isinstance(source, str | os.PathLike) and is_run_record(Path(source)):
        found = read_run(Path(source))
        return replace(found, model=model) if model else found
    if scores is not None:  # once before the expensive part, for what may be wrong with the file
        pictures = open_samples(source, on_error=reading.on_error, clips=clips or ClipReading())
        read_scores(scores, items_of(pictures), lower_is_better=lower_is_better)
    known = yardsticks or {}
    sides = {
        role: given if given is not None or role not in known else known[role].as_side()
        for role, given in (("reference", reference), ("training", training))
    }
    metrics = recipe.metrics or (*GATED, *(["authenticity"] if sides["training"] is not None else []))
    gathered = gather(
        source,
        sides["reference"],
        metrics=metrics,
        features=recipe.features or None,
        weights=reading.weights,
        protocol=recipe.protocol,
        training=sides["training"],
        prompts=prompts,
        settings=recipe.settings,
        device=reading.device,
        batch_size=reading.batch_size,
        workers=reading.workers,
        cache=reading.cache,
        on_error=reading.on_error,
        clips=clips,
        progress=progress,
    )
    assert gathered is not None  # one process alone
    names = tuple(ALIASES.get(metric, metric) for metric in metrics)
    run = record_of(
        gathered,
        replace(recipe, metrics=names, features=gathered.request.features[0]),
        model=model,
        asked=asked,
        keep_features=keep_features,
    )
    if scores is None:
        return run
    judged = read_scores(scores, run.items, lower_is_better=lower_is_better)
    return replace(run, measures={**run.measures, **{one.metric: one for one in judged}})


def need_again(baseline: RunRecord, given: Mapping[str, object]) -> None:
    """Raise `UsageError` for a yardstick that the baseline was too large to keep and that is not named again."""
    for role, one in baseline.yardsticks.items():
        needed = {name for name, measure in baseline.measures.items() if measure.column is not None} - {"fd", "fid"}
        if one.packed is None and given.get(role) is None and needed:
            raise UsageError(
                f"the baseline keeps only statistics of its {role} ({one.origin}, {one.statistics.n} pictures); "
                f"name it again with --{role}"
            )
