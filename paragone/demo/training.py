"""The demo's training runs: each writes its weights as safetensors, tagged with the settings that made them.

A run whose files are there with the right tag is not repeated; files are written only when they are whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def run_training(name: str, models: Path, settings: DemoSettings, *, progress: Progress = silent) -> None:
    """Train what `name` says (a key of `RUNS`) on one thread."""
    import torch

    torch.set_num_threads(1)
    RUNS[name](models, settings, progress)


def missing_runs(models: Path, settings: DemoSettings) -> list[str]:
    """The training runs that have not left all their files yet."""
    return [name for name in RUNS if not all(_is_current(models / file, settings) for file in _files(name, settings))]


def _train_flow(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.flow_matching import train_flow_matching

    training, _ = load_digits_split(seed=settings.seed)
    kept = train_flow_matching(
        training, steps=settings.training_steps, keep=settings.checkpoints, seed=settings.seed, progress=progress
    )
    for step, weights in kept.items():
        _save(models / f"flow-matching-{step}.safetensors", weights, settings)


def _train_ddpm(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.ddpm import train_ddpm

    training, _ = load_digits_split(seed=settings.seed)
    weights = train_ddpm(training, steps=settings.training_steps, seed=settings.seed, progress=progress)
    _save(models / "ddpm.safetensors", weights, settings)


def _train_mixture(models: Path, settings: DemoSettings, progress: Progress) -> None:
    import torch

    from paragone.data.generators.reference.gaussian_mixture import train_gaussian_mixture

    training, _ = load_digits_split(seed=settings.seed)
    arrays = train_gaussian_mixture(training, seed=settings.seed, progress=progress)
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    _save(models / "gaussian-mixture.safetensors", weights, settings)


def _train_extractor(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.metrics.extractors.digits import train_digits_network

    training, _ = load_digits_split(seed=settings.seed)
    network = train_digits_network(
        training.images, training.labels, seed=settings.seed, steps=EXTRACTOR_STEPS, progress=progress
    )
    _save(models / f"{EXTRACTOR}.safetensors", network.state_dict(), settings)


RUNS: dict[str, Callable[[Path, DemoSettings, Progress], None]] = {
    "flow-matching": _train_flow,
    "ddpm": _train_ddpm,
    EXTRACTOR: _train_extractor,
    "gaussian-mixture": _train_mixture,
}


def _files(run: str, settings: DemoSettings) -> list[str]:
    if run == "flow-matching":
        return [f"flow-matching-{step}.safetensors" for step in settings.checkpoints]
    return [f"{run}.safetensors"]


def _save(path: Path, weights: Weights, settings: DemoSettings) -> None:
    from safetensors.torch import save

    content = {name: value.contiguous() for name, value in weights.items()}
    write_atomically(path, save(content, metadata={"settings": settings.fingerprint()}))


def _is_current(path: Path, settings: DemoSettings) -> bool:
    from safetensors import safe_open

    if not path.is_file():
        return False
    with safe_open(path, framework="numpy") as file:
        return (file.metadata() or {}).get("settings") == settings.fingerprint()
