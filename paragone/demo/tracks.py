"""A track of the demo: one task with its prompts, measures and judge. Here that of pictures of digits.

A board compares models of one task, so tracks share nothing but the machinery of `stages`. A track's `measure` may look
at whatever lies in the project; its `floor` is what real data get when they are measured like a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paragone import __version__
from paragone.data.digits import PROMPTS, Digits, load_digits_split, prompt_class, read_digits
from paragone.data.files import write_atomically
from paragone.data.generators.runner import encode_png, read_manifest
from paragone.data.project import Project
from paragone.data.records import MetricResult, Prompt, Task
from paragone.demo.contestants import DemoSettings
from paragone.demo.training import EXTRACTOR
from paragone.judges.base import Judge
from paragone.judges.digits import DigitsJudge

METRICS = ("fd", "kid", "precision", "recall", "authenticity")
FLOOR = "(training set)"  # real digits measured like a model: the best that a metric can be expected to say

Measured = tuple[list[MetricResult], tuple[str, ...]]  # results and warnings


@dataclass(frozen=True, slots=True)
class Track:
    """What is asked of the models of one task, and how their answers are compared."""

    task: Task
    prompts: Callable[[DemoSettings], Sequence[Prompt]]
    n_seeds: Callable[[DemoSettings], int]  # answers to each prompt
    n_battles: Callable[[DemoSettings], int]
    lay_out: Callable[[Project, DemoSettings], None]  # writes what models and measures read
    metrics: tuple[str, ...]  # names, on which measures depend
    measure: Callable[[str, Project, DemoSettings], Measured]  # of a model or of the floor
    floor: str
    judge: str  # its name
    referee: Callable[[Project, DemoSettings], Judge]


def write_real_digits(project: Project, settings: DemoSettings) -> None:
    """Lay out both halves as PNG folders, `training/` and `reference/`, for the metrics and for the user."""
    for folder, digits in zip(("training", "reference"), load_digits_split(seed=settings.seed), strict=True):
        for file, image, _ in _named(digits, folder):
            write_once(project.folder / file, encode_png(image))


def write_once(path: Path, content: bytes) -> None:
    """Write a file unless it is there with this content."""
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)


def extractor_file(project: Project) -> Path:
    """The weights behind the demo's feature metrics."""
    return project.models / f"{EXTRACTOR}.safetensors"


def digit_features(images: NDArray[np.uint8], project: Project) -> NDArray[np.float64]:
    """[N, 64] features of pictures [N, 8, 8] in the demo's extractor."""
    import torch

    from paragone.metrics.extractors.digits import DigitsNetwork

    network = DigitsNetwork.load(extractor_file(project))
    with torch.inference_mode():
        features, _ = network(torch.from_numpy(images[:, None].astype(np.float32) / 255))
    found: NDArray[np.float64] = features.numpy().astype(np.float64)
    return found


@cache
def digits_judge(seed: int) -> DigitsJudge:
    """The judge of digits, fitted to the reference half, which no generator has seen."""
    return DigitsJudge(load_digits_split(seed=seed)[1], seed=seed)


def mean_result(
    metric: str, values: NDArray[np.float64], *, higher_is_better: bool, judge: str | None = None, seed: int
) -> MetricResult:
    """The mean of one value a sample with its standard error; `judge` is whose opinion the values are, if anybody's."""
    by = "" if judge is None else f"|judge:{judge}"
    return MetricResult(
        metric=metric,
        value=float(values.mean()),
        standard_error=float(values.std(ddof=1) / np.sqrt(len(values))),
        higher_is_better=higher_is_better,
        n_generated=len(values),
        seed=seed,
        signature=f"{metric}{by}|n:{len(values)}|v:{__version__}",
        version=__version__,
    )


def _measure_pictures(name: str, project: Project, settings: DemoSettings) -> Measured:
    from paragone.metrics import compute_metrics

    report = compute_metrics(
        project.folder / "training" if name == FLOOR else project.samples / name,
        project.folder / "reference",
        metrics=METRICS,
        features="digits",
        weights=extractor_file(project),
        training=project.folder / "training",
        cache=project.folder / "cache",
        seed=settings.seed,
    )
    pictures = _pictures(name, project, settings)
    digits = np.array([prompt_class(prompt) for prompt, _ in pictures])
    referee = digits_judge(settings.seed)
    values = referee.alignment(read_digits([path for _, path in pictures]), digits)
    aligned = mean_result("alignment", values, higher_is_better=True, judge=referee.name, seed=settings.seed)
    return [*report.results, aligned], report.warnings


def _pictures(name: str, project: Project, settings: DemoSettings) -> list[tuple[Prompt, Path]]:
    if name == FLOOR:
        training, _ = load_digits_split(seed=settings.seed)
        return [(PROMPTS[digit], project.folder / file) for file, _, digit in _named(training, "training")]
    prompts = {prompt.id: prompt for prompt in PROMPTS}
    entries = read_manifest(project.samples / name)
    return [(prompts[entry.prompt_id], project.samples / name / str(entry.file)) for entry in entries]


def _named(digits: Digits, folder: str) -> Iterator[tuple[str, NDArray[np.uint8], int]]:
    for number, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        yield f"{folder}/digit-{label}-{number:04d}.png", image, int(label)


PICTURES = Track(
    task=Task.TEXT_TO_IMAGE,
    prompts=lambda settings: PROMPTS,
    n_seeds=lambda settings: settings.samples_per_prompt,
    n_battles=lambda settings: settings.n_battles,
    lay_out=write_real_digits,
    metrics=METRICS,
    measure=_measure_pictures,
    floor=FLOOR,
    judge=DigitsJudge.name,
    referee=lambda project, settings: digits_judge(settings.seed),
)
