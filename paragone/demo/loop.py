"""The demo from end to end: what is missing is trained, sampled, measured and judged; then the leaderboard is built."""

from __future__ import annotations

import tomllib
from pathlib import Path

from paragone.arena import Store
from paragone.data.errors import UsageError
from paragone.data.files import write_atomically
from paragone.data.progress import Progress, silent
from paragone.data.project import Project
from paragone.data.records import MetricResult, Sample
from paragone.demo.cast import Cast, cast_of
from paragone.demo.contestants import DemoSettings
from paragone.demo.stages import (
    finished_measures,
    finished_samples,
    judge,
    measure,
    measure_inputs,
    run_training,
    sample_contestant,
    study,
    waiting_lines,
    waiting_runs,
)
from paragone.demo.workers import Workers


def run_demo(folder: Path, settings: DemoSettings, *, progress: Progress = silent) -> dict[str, list[MetricResult]]:
    """Bring the project in `folder` up to date; returns the measures of every model and of real data.

    Raises `UsageError` when `folder` holds something else than a demo with these settings.
    """
    project = _claim(folder, settings)
    cast = cast_of(settings)
    for track in cast.tracks:
        track.lay_out(project, settings)
    with Workers(progress) as workers:
        while runs := waiting_runs(project.models, settings):
            workers.run(run_training, [(run, project.models, settings) for run in runs])
        samples = _sample(workers, cast, project, settings)
        measures = _measure(workers, cast, project, samples, settings)
        if lines := waiting_lines(project, settings):
            workers.run(study, [(line, project, settings) for line in lines])
    with Store(project.database, create=True) as store:
        store.add_generators([contestant.card for contestant in cast.contestants])
        for track in cast.tracks:
            of_track = [sample for name in cast.names(track) for sample in samples[name]]
            store.add_prompts(track.prompts(settings))
            store.add_samples(of_track)
            for name in cast.names(track):
                store.add_metric_results(name, measures[name])
            judge(track, project, store, of_track, settings, progress=progress)
    return measures


def _sample(workers: Workers, cast: Cast, project: Project, settings: DemoSettings) -> dict[str, list[Sample]]:
    finished = _all_samples(cast, project, settings)
    waiting = [one.card.name for one in cast.contestants if one.card.name not in finished]
    if not waiting:
        return finished
    workers.run(sample_contestant, [(name, project, settings) for name in waiting])
    return _all_samples(cast, project, settings)


def _all_samples(cast: Cast, project: Project, settings: DemoSettings) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {}
    for track in cast.tracks:
        samples |= finished_samples(track, project, settings)
    return samples


def _measure(
    workers: Workers, cast: Cast, project: Project, samples: dict[str, list[Sample]], settings: DemoSettings
) -> dict[str, list[MetricResult]]:
    inputs: dict[str, str] = {}
    jobs: list[tuple[object, ...]] = []
    for number, track in enumerate(cast.tracks):
        of_track = measure_inputs(track, project, {name: samples[name] for name in cast.names(track)})
        done = finished_measures(project, of_track)
        unmeasured = [name for name in (track.floor, *cast.names(track)) if name not in done]
        jobs += [(number, name, of_track[name], project, settings) for name in unmeasured]
        inputs |= of_track
    if jobs:
        workers.run(measure, jobs, task="measure")
    return finished_measures(project, inputs)


def _claim(folder: Path, settings: DemoSettings) -> Project:
    """The project at `folder`, new or made by the same settings."""
    project = Project(folder)
    if project.config.is_file():
        made_by = tomllib.loads(project.config.read_text()).get("demo", {})
        if made_by.get("settings") != settings.fingerprint():
            raise UsageError(
                f"{folder}: holds a project that was not made by this demo (seed {settings.seed}); "
                "name another folder with --dir, or delete this one"
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder}: the folder is not empty and is no demo; name another one with --dir")
    else:
        content = f'[demo]\nseed = {settings.seed}\nsettings = "{settings.fingerprint()}"\n'
        write_atomically(project.config, content.encode())
    return project
