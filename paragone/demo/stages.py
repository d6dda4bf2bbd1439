"""The demo's stages after training: sample, measure, judge. Each finds what an earlier run left and does only the rest.

Files and rows are keyed by what they were made from, so a run that was killed anywhere goes on, and ends with the
same leaderboard as a run that was not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paragone import __version__
from paragone.arena import Store
from paragone.data.battles import round_robin
from paragone.data.digits import PROMPTS, Digits, load_digits_split, prompt_class, read_digits
from paragone.data.files import file_digest, write_atomically
from paragone.data.generators.runner import (
    encode_png,
    is_whole,
    read_manifest,
    requests_for,
    to_sample,
    write_samples,
)
from paragone.data.progress import Progress, silent
from paragone.data.project import Project
from paragone.data.records import MetricResult, Prompt, Sample, fingerprint
from paragone.demo.contestants import BY_NAME, CONTESTANTS, DemoSettings
from paragone.demo.training import EXTRACTOR
from paragone.judges import judge_battles
from paragone.judges.digits import DigitsJudge

METRICS = ("fd", "kid", "precision", "recall", "authenticity")
FLOOR = "(training set)"  # real digits measured like a model: the best that a metric can be expected to say
JUDGED_AT_ONCE = 240  # battles in one transaction


def write_real_digits(project: Project, settings: DemoSettings) -> None:
    """Lay out both halves as PNG folders, `training/` and `reference/`, for the metrics and for the user."""
    for folder, digits in zip(("training", "reference"), load_digits_split(seed=settings.seed), strict=True):
        for file, image, _ in _named(digits, folder):
            content = encode_png(image)
            path = project.folder / file
            if not path.is_file() or path.read_bytes() != content:
                write_atomically(path, content)


def sample_contestant(name: str, project: Project, settings: DemoSettings, *, progress: Progress = silent) -> None:
    """Let one contestant answer every prompt with every seed (in a worker process: this imports torch)."""
    import torch

    torch.set_num_threads(1)
    adapter = BY_NAME[name].build(name, models_folder(project), settings)
    requests = requests_for(PROMPTS, seeds=range(settings.samples_per_prompt))
    write_samples(adapter, requests, project.samples / name, recipe=_recipe(name, settings), progress=progress)


def finished_samples(project: Project, settings: DemoSettings) -> dict[str, list[Sample]]:
    """The samples of every contestant that has answered all prompts; their files are checked against the manifest."""
    n_requests = len(PROMPTS) * settings.samples_per_prompt
    finished = {}
    for contestant in CONTESTANTS:
        name = contestant.card.name
        entries = read_manifest(project.samples / name, recipe=_recipe(name, settings))
        if len(entries) == n_requests and all(is_whole(project.samples / name, entry) for entry in entries):
            finished[name] = [to_sample(entry, model=name, folder=f"samples/{name}") for entry in entries]
    return finished


def measure(name: str, inputs: str, project: Project, settings: DemoSettings, *, progress: Progress = silent) -> None:
    """All measures of one model, or of the training half itself (in a worker process: this imports torch)."""
    import torch

    from paragone.metrics import compute_metrics

    torch.set_num_threads(1)
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
    aligned = _alignment(_pictures(name, project, settings), settings)
    results = [result.to_dict() for result in (*report.results, aligned)]
    document = {"inputs": inputs, "results": results, "warnings": list(report.warnings)}
    write_atomically(_measures_file(project, name), json.dumps(document, indent=2, allow_nan=False).encode())


def finished_measures(project: Project, inputs: Mapping[str, str]) -> dict[str, list[MetricResult]]:
    """The results of every model in `inputs` (name → fingerprint of what is measured) that are up to date."""
    finished = {}
    for name, wanted in inputs.items():
        path = _measures_file(project, name)
        document: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        if document.get("inputs") == wanted:
            finished[name] = [MetricResult(**result) for result in document["results"]]
    return finished


def measure_inputs(project: Project, samples: Mapping[str, Sequence[Sample]]) -> dict[str, str]:
    """What each model's measures depend on: its samples, the extractor's weights, the metrics, the judge."""
    common = [file_digest(extractor_file(project)), list(METRICS), DigitsJudge.name, __version__]
    digests = {name: [sample.sha256 for sample in made] for name, made in samples.items()} | {FLOOR: []}
    return {name: fingerprint([*common, content]) for name, content in digests.items()}


def judge(
    project: Project, store: Store, samples: Sequence[Sample], settings: DemoSettings, *, progress: Progress = silent
) -> int:
    """Let the judge play the battles that have no judgement yet; returns how many there are in all."""
    battles = round_robin(samples, n_battles=settings.n_battles, seed=settings.seed)
    judged = store.judged_battle_ids(DigitsJudge.name)
    waiting = [battle for battle in battles if battle.id not in judged]
    if waiting:
        referee = _referee(settings.seed)
        prompts = {prompt.id: prompt for prompt in PROMPTS}
        pictures = {sample.id: project.folder / sample.path for sample in samples}
        for start in range(0, len(waiting), JUDGED_AT_ONCE):
            batch = waiting[start : start + JUDGED_AT_ONCE]
            judgements = list(judge_battles(referee, batch, prompts=prompts, pictures=pictures))
            store.record_judgements(judgements, judge=DigitsJudge.name)
            progress("judge battles", len(battles) - len(waiting) + start + len(batch), len(battles))
    return len(battles)


def models_folder(project: Project) -> Path:
    """Where the trained weights lie."""
    return project.folder / "models"


def extractor_file(project: Project) -> Path:
    """The weights behind the demo's feature metrics."""
    return models_folder(project) / f"{EXTRACTOR}.safetensors"


@cache
def _referee(seed: int) -> DigitsJudge:
    """The judge, fitted to the reference half, which no generator has seen."""
    return DigitsJudge(load_digits_split(seed=seed)[1], seed=seed)


def _alignment(pictures: Sequence[tuple[Prompt, Path]], settings: DemoSettings) -> MetricResult:
    """Mean probability, by the judge's classifier, that a picture shows the digit it was asked for."""
    referee = _referee(settings.seed)
    digits = np.array([prompt_class(prompt) for prompt, _ in pictures])
    alignment = referee.alignment(read_digits([path for _, path in pictures]), digits)
    return MetricResult(
        metric="alignment",
        value=float(alignment.mean()),
        standard_error=float(alignment.std(ddof=1) / np.sqrt(len(alignment))),
        higher_is_better=True,
        n_generated=len(alignment),
        seed=settings.seed,
        signature=f"alignment|judge:{referee.name}|n:{len(alignment)}|v:{__version__}",
        version=__version__,
    )


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


def _recipe(name: str, settings: DemoSettings) -> str:
    return fingerprint([name, settings.fingerprint()])


def _measures_file(project: Project, name: str) -> Path:
    return project.folder / "measures" / f"{name}.json"
