"""The demo's stages: train, sample, measure, judge. Each finds what an earlier run left and does only the rest.

Files and rows are keyed by what they were made from, so a run that was killed anywhere goes on, and ends with the
same leaderboard as a run that was not. What a stage does for one name runs in a worker process, which imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paragone import __version__
from paragone.arena import Store
from paragone.data.battles import round_robin
from paragone.data.files import file_digest, write_atomically
from paragone.data.generators.runner import is_whole, read_manifest, requests_for, to_sample, write_samples
from paragone.data.progress import Progress, silent
from paragone.data.project import Project
from paragone.data.records import MetricResult, Sample, fingerprint
from paragone.demo.cast import cast_of
from paragone.demo.contestants import DemoSettings
from paragone.demo.studies import is_measured, measure_line
from paragone.demo.tracks import Track, extractor_file
from paragone.demo.training import next_runs, train
from paragone.judges import judge_battles

JUDGED_AT_ONCE = 240  # battles in one transaction


def waiting_runs(models: Path, settings: DemoSettings) -> list[str]:
    """The training runs that can begin now; none when all are done."""
    return next_runs(cast_of(settings).runs, models, settings)


def run_training(name: str, models: Path, settings: DemoSettings, *, progress: Progress = silent) -> None:
    """Do the training run `name`."""
    train(cast_of(settings).runs[name], models, settings, progress=progress)


def sample_contestant(name: str, project: Project, settings: DemoSettings, *, progress: Progress = silent) -> None:
    """Let one contestant answer every prompt of its track with every seed."""
    import torch

    torch.set_num_threads(1)
    contestant = cast_of(settings).contestant(name)
    track = cast_of(settings).track(contestant.task)
    adapter = contestant.build(name, project.models, settings)
    seeds = range(track.n_seeds(settings))
    requests = requests_for(track.prompts(settings), seeds=seeds, folder=project.folder)
    write_samples(adapter, requests, project.samples / name, recipe=_recipe(name, settings), progress=progress)


def finished_samples(track: Track, project: Project, settings: DemoSettings) -> dict[str, list[Sample]]:
    """The samples of every contestant that has answered all prompts; their files are checked against the manifest."""
    n_requests = len(track.prompts(settings)) * track.n_seeds(settings)
    finished = {}
    for name in cast_of(settings).names(track):
        entries = read_manifest(project.samples / name, recipe=_recipe(name, settings))
        if len(entries) == n_requests and all(is_whole(project.samples / name, entry) for entry in entries):
            finished[name] = [to_sample(entry, model=name, folder=f"samples/{name}") for entry in entries]
    return finished


def measure(
    track: int, name: str, inputs: str, project: Project, settings: DemoSettings, *, progress: Progress = silent
) -> None:
    """All measures of one model of the track with this number, or of real data like a model."""
    import torch

    torch.set_num_threads(1)
    results, warnings = cast_of(settings).tracks[track].measure(name, project, settings)
    document = {"inputs": inputs, "results": [result.to_dict() for result in results], "warnings": list(warnings)}
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


def measure_inputs(track: Track, project: Project, samples: Mapping[str, Sequence[Sample]]) -> dict[str, str]:
    """What each model's measures depend on: its samples, the extractor's weights, the metrics, the judge."""
    common = [file_digest(extractor_file(project)), list(track.metrics), track.judge, __version__]
    digests = {name: [sample.sha256 for sample in made] for name, made in samples.items()} | {track.floor: []}
    return {name: fingerprint([*common, content]) for name, content in digests.items()}


def judge(
    track: Track,
    project: Project,
    store: Store,
    samples: Sequence[Sample],
    settings: DemoSettings,
    *,
    progress: Progress = silent,
) -> int:
    """Let the judge play the battles that have no judgement yet; returns how many there are in all."""
    battles = round_robin(samples, n_battles=track.n_battles(settings), seed=settings.seed)
    judged = store.judged_battle_ids(track.judge)
    waiting = [battle for battle in battles if battle.id not in judged]
    if waiting:
        referee = track.referee(project, settings)
        prompts = {prompt.id: prompt for prompt in track.prompts(settings)}
        pictures = {sample.id: project.folder / sample.path for sample in samples}
        for start in range(0, len(waiting), JUDGED_AT_ONCE):
            batch = waiting[start : start + JUDGED_AT_ONCE]
            judgements = list(judge_battles(referee, batch, prompts=prompts, pictures=pictures))
            store.record_judgements(judgements, judge=track.judge)
            progress(f"judge {track.task}", len(battles) - len(waiting) + start + len(batch), len(battles))
    return len(battles)


def waiting_lines(project: Project, settings: DemoSettings) -> list[str]:
    """The lines of studies whose points are not there or out of date."""
    return [line.id for line in cast_of(settings).lines if not is_measured(line, project, settings)]


def study(line: str, project: Project, settings: DemoSettings, *, progress: Progress = silent) -> None:
    """Sample and measure the points of the line with this id."""
    import torch

    torch.set_num_threads(1)
    wanted = next(one for one in cast_of(settings).lines if one.id == line)
    measure_line(wanted, project, settings, progress=progress)


def _recipe(name: str, settings: DemoSettings) -> str:
    return fingerprint([name, settings.fingerprint()])


def _measures_file(project: Project, name: str) -> Path:
    return project.folder / "measures" / f"{name}.json"
