"""The demo from end to end: what is missing is trained, sampled, measured and judged; then the leaderboard is built."""

from __future__ import annotations

import tomllib
from pathlib import Path

from paragone.arena import Store
from paragone.data.digits import PROMPTS
from paragone.data.errors import UsageError
from paragone.data.files import write_atomically
from paragone.data.progress import Progress, silent
from paragone.data.project import Project
from paragone.data.records import MetricResult
from paragone.demo.contestants import CONTESTANTS, DemoSettings
from paragone.demo.stages import (
    FLOOR,
    finished_measures,
    finished_samples,
    judge,
    measure,
    measure_inputs,
    models_folder,
    sample_contestant,
    write_real_digits,
)
from paragone.demo.training import missing_runs, run_training
from paragone.demo.workers import Workers


def run_demo(folder: Path, settings: DemoSettings, *, progress: Progress = silent) -> dict[str, list[MetricResult]]:
    """Bring the project in `folder` up to date; returns the measures of every model and of the training set.

    Raises `UsageError` when `folder` holds something else than a demo with these settings.
    """
    project = _claim(folder, settings)
    write_real_digits(project, settings)
    models = models_folder(project)
    names = [contestant.card.name for contestant in CONTESTANTS]
    with Workers(progress) as workers:
        if runs := missing_runs(models, settings):
            workers.run(run_training, [(run, models, settings) for run in runs])
        samples = finished_samples(project, settings)
        if waiting := [name for name in names if name not in samples]:
            workers.run(sample_contestant, [(name, project, settings) for name in waiting])
            samples = finished_samples(project, settings)
        inputs = measure_inputs(project, samples)
        measures = finished_measures(project, inputs)
        if unmeasured := [name for name in (FLOOR, *names) if name not in measures]:
            workers.run(measure, [(name, inputs[name], project, settings) for name in unmeasured], task="measure")
            measures = finished_measures(project, inputs)
    everything = [sample for name in names for sample in samples[name]]
    with Store(project.database, create=True) as store:
        store.add_generators([contestant.card for contestant in CONTESTANTS])
        store.add_prompts(PROMPTS)
        store.add_samples(everything)
        for name in names:
            store.add_metric_results(name, measures[name])
        judge(project, store, everything, settings, progress=progress)
    return measures


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
