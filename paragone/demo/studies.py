"""Curves of the full demo: what a setting of a reference model does to its numbers, all else equal.

A study has lines, and a line has points: a model built with one value of the setting, asked like a contestant and
measured in the demo's features. Points are files keyed by what they were made from, as measures are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paragone import __version__
from paragone.data.digits import PROMPTS, load_digits_split, prompt_class
from paragone.data.files import file_digest, write_atomically
from paragone.data.generators.base import GeneratorAdapter
from paragone.data.generators.runner import answers, requests_for
from paragone.data.progress import Progress, silent
from paragone.data.project import Project
from paragone.data.records import fingerprint
from paragone.demo.contestants import DemoSettings
from paragone.demo.tracks import digit_features, digits_judge, extractor_file

STUDY_SEED = 1_000_000  # its samples are not those of the contestants

Build = Callable[[float, Path, DemoSettings], GeneratorAdapter]  # setting, models' folder → a model


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a study: the model as a function of the setting."""

    study: str
    name: str
    values: Callable[[DemoSettings], tuple[float, ...]]
    build: Build
    calls: float = 1.0  # of a network for one step

    @property
    def id(self) -> str:
        """A name for files and jobs."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.study} {self.name}".lower())


def measure_line(line: Line, project: Project, settings: DemoSettings, *, progress: Progress = silent) -> None:
    """Sample and measure all points of a line, and write them."""
    values = line.values(settings)
    points = []
    for done, value in enumerate(values, start=1):
        model = line.build(value, project.models, settings)
        points.append({"value": value, **_measures(model, project, settings)})
        progress(f"study {line.study}: {line.name}", done, len(values))
    document = {"inputs": _inputs(line, project, settings), "study": line.study, "line": line.name, "points": points}
    write_atomically(_file(line, project), json.dumps(document, indent=2, allow_nan=False).encode())


def is_measured(line: Line, project: Project, settings: DemoSettings) -> bool:
    """Whether the points of a line are there and up to date."""
    path = _file(line, project)
    return path.is_file() and json.loads(path.read_text())["inputs"] == _inputs(line, project, settings)


def study_frame(study: str, project: Project, lines: tuple[Line, ...]) -> pd.DataFrame:
    """The points of a study, one a row: line, value, calls, fd, recall, vendi, alignment."""
    rows: list[dict[str, Any]] = []
    for line in lines:
        if line.study == study:
            document = json.loads(_file(line, project).read_text())
            rows += [{"line": line.name, "calls": point["value"] * line.calls, **point} for point in document["points"]]
    return pd.DataFrame(rows)


def _inputs(line: Line, project: Project, settings: DemoSettings) -> str:
    """The fingerprint of what a line's points depend on."""
    values, extractor = list(line.values(settings)), file_digest(extractor_file(project))
    return fingerprint([line.id, values, settings.fingerprint(), extractor, __version__])


def _measures(model: GeneratorAdapter, project: Project, settings: DemoSettings) -> dict[str, float]:
    from paragone.metrics import frechet_distance, precision_recall, vendi

    requests = requests_for(PROMPTS, seeds=range(STUDY_SEED, STUDY_SEED + settings.samples_per_prompt))
    made = {generation.request.key: generation.image for generation in answers(model, requests)}
    images = np.stack([np.asarray(made[request.key]) for request in requests])
    digits = np.array([prompt_class(request.prompt) for request in requests])
    reference = load_digits_split(seed=settings.seed)[1].images
    features, real = digit_features(images, project), digit_features(reference, project)
    return {
        "fd": frechet_distance(real, features),
        "recall": precision_recall(real, features).recall,
        "vendi": vendi(features).value,
        "alignment": float(digits_judge(settings.seed).alignment(images, digits).mean()),
    }


def _file(line: Line, project: Project) -> Path:
    return project.folder / "studies" / f"{line.id}.json"
