"""The demo's training runs: each writes its weights as safetensors, tagged with the settings that made them.

A run whose files are there with the right tag is not repeated; files are written only when they are whole. A run that
starts from what others have left waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paragone.data.digits import load_digits_split
from paragone.data.files import write_atomically
from paragone.data.progress import Progress, silent
from paragone.demo.contestants import DemoSettings

if TYPE_CHECKING:
    from torch import Tensor

EXTRACTOR = "digits-extractor"
EXTRACTOR_STEPS = 800

Weights = Mapping[str, "Tensor"]


@dataclass(frozen=True, slots=True)
class Run:
    """One training run: what it does, the files that it leaves, and the runs whose files it reads."""

    train: Callable[[Path, DemoSettings, Progress], None]
    files: Callable[[DemoSettings], list[str]]
    needs: tuple[str, ...] = ()


def train(run: Run, models: Path, settings: DemoSettings, *, progress: Progress = silent) -> None:
    """Do a run on one thread."""
    import torch

    torch.set_num_threads(1)
    run.train(models, settings, progress)
    assert _is_done(run, models, settings), f"a training run left less than {run.files(settings)}"


def next_runs(runs: Mapping[str, Run], models: Path, settings: DemoSettings) -> list[str]:
    """The runs that have not left all their files yet, and need none that another one has still to leave."""
    missing = [name for name, run in runs.items() if not _is_done(run, models, settings)]
    return [name for name in missing if not set(runs[name].needs) & set(missing)]


def _train_flow(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.flow_matching import train_flow_matching

    training, _ = load_digits_split(seed=settings.seed)
    kept = train_flow_matching(
        training, steps=settings.training_steps, keep=settings.checkpoints, seed=settings.seed, progress=progress
    )
    for step, weights in kept.items():
        save_weights(models / f"flow-matching-{step}.safetensors", weights, settings)


def _train_ddpm(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.ddpm import train_ddpm

    training, _ = load_digits_split(seed=settings.seed)
    weights = train_ddpm(training, steps=settings.training_steps, seed=settings.seed, progress=progress)
    save_weights(models / "ddpm.safetensors", weights, settings)


def _train_mixture(models: Path, settings: DemoSettings, progress: Progress) -> None:
    import torch

    from paragone.data.generators.reference.gaussian_mixture import train_gaussian_mixture

    training, _ = load_digits_split(seed=settings.seed)
    arrays = train_gaussian_mixture(training, seed=settings.seed, progress=progress)
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    save_weights(models / "gaussian-mixture.safetensors", weights, settings)


def _train_extractor(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.metrics.extractors.digits import train_digits_network

    training, _ = load_digits_split(seed=settings.seed)
    network = train_digits_network(
        training.images, training.labels, seed=settings.seed, steps=EXTRACTOR_STEPS, progress=progress
    )
    save_weights(models / f"{EXTRACTOR}.safetensors", network.state_dict(), settings)


def one_file(name: str) -> Callable[[DemoSettings], list[str]]:
    """What a run leaves that leaves one file, `name`.safetensors."""
    return lambda settings: [f"{name}.safetensors"]


def _flow_files(settings: DemoSettings) -> list[str]:
    return [f"flow-matching-{step}.safetensors" for step in settings.checkpoints]


RUNS: dict[str, Run] = {
    "flow-matching": Run(_train_flow, _flow_files),
    "ddpm": Run(_train_ddpm, one_file("ddpm")),
    EXTRACTOR: Run(_train_extractor, one_file(EXTRACTOR)),
    "gaussian-mixture": Run(_train_mixture, one_file("gaussian-mixture")),
}


def save_weights(path: Path, weights: Weights, settings: DemoSettings) -> None:
    """Write weights as safetensors, tagged with the settings that made them."""
    from safetensors.torch import save

    content = {name: value.contiguous() for name, value in weights.items()}
    write_atomically(path, save(content, metadata={"settings": settings.fingerprint()}))


def _is_done(run: Run, models: Path, settings: DemoSettings) -> bool:
    return all(_is_current(models / file, settings) for file in run.files(settings))


def _is_current(path: Path, settings: DemoSettings) -> bool:
    from safetensors import safe_open

    if not path.is_file():
        return False
    with safe_open(path, framework="numpy") as file:
        return (file.metadata() or {}).get("settings") == settings.fingerprint()
