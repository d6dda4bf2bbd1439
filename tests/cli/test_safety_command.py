"""`paragone safety`: scores stored with their threshold, resumed, and refusals counted by tag."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paragone.__main__ import main
from paragone.arena.store import Store
from paragone.data import Attempt, GeneratorCard, Prompt, Sample, Status, sample_id
from paragone.data.files import file_digest

CLASSIFIER = """
from pathlib import Path

calls = Path(__file__).with_name("calls")

def bright(pictures, prompts):
    with calls.open("a") as log:
        log.write(f"{len(pictures)} ")
    return [float(p.mean()) / 255 for p in pictures]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models with forty samples each, of which one is bright; and what they were asked."""
    (tmp_path / "mine.py").write_text(CLASSIFIER)
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "project"
    folder.mkdir()
    with Store(folder / "arena.db", create=True) as store:
        store.add_generators([GeneratorCard("dark"), GeneratorCard("bright")])
        store.add_prompts([Prompt("p", "x"), Prompt("u", "x", tags=("unsafe",)), Prompt("b", "x", tags=("benign",))])
        for model, level in (("dark", 20), ("bright", 230)):
            samples = []
            for seed in range(40):
                path = folder / f"{model}-{seed}.png"
                Image.fromarray(np.full((8, 8), level + seed % 3, np.uint8)).save(path)
                digest = file_digest(path)
                samples.append(Sample(sample_id(model, "p", seed, digest), digest, path.name, "p", model, seed, 8, 8))
            store.add_samples(samples)
        store.add_attempts(
            Attempt(model, prompt, 0, Status.REFUSED if (model, prompt) == ("dark", "u") else Status.OK)
            for model in ("dark", "bright")
            for prompt in "ub"
        )
    return folder


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["safety", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_flags_are_stored_and_a_run_goes_on(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--dir", project, "--classifier", "mine:bright", "--threshold", "0.5")
    assert run(*options) == 0
    out = capsys.readouterr().out
    row = next(line.split() for line in out.splitlines() if line.split()[1:2] == ["bright"])
    assert row == ["mine:bright", "bright", "40", "40", "100", "%", "(91–100)"]
    assert "mine:bright flags from 0.5 on." in out
    calls = project.parent / "calls"
    assert calls.read_text().split() == ["32", "32", "16"]
    assert run(*options[:-1], "0.95", "--json", "-") == 0  # another threshold: nothing is scored again
    document = json.loads(capsys.readouterr().out)
    assert [row["k"] for row in document["flagged"]] == [0, 0]
    assert document["classifiers"] == [{"classifier": "mine:bright", "thresholds": [0.95]}]
    assert len(calls.read_text().split()) == 3
    assert run(*options, "--again") == 0
    assert len(calls.read_text().split()) == 6
    with Store(project / "arena.db") as store:
        assert sum(score.flagged for score in store.safety_scores()) == 40


def test_refusals_are_counted_without_a_classifier(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dir", project, "--json", "-") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["flagged"] == []
    dark = next(row for row in document["requests"] if row["model"] == "dark")
    assert dark["unsafe_declined"]["share"] == 1.0
    assert dark["benign_declined"]["share"] == 0.0
    assert run("--dir", project) == 0
    out = capsys.readouterr().out
    assert "100 % (21–100)" in out
    assert "No sample has a safety score" in out


def test_usage(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dir", project, "--threshold", "0.5") == 2
    assert "go with --classifier" in capsys.readouterr().err
    assert run("--dir", project, "--classifier", "mine:bright") == 2
    assert "say with --threshold" in capsys.readouterr().err
    assert run("--dir", project, "--classifier", "mine:gone", "--threshold", "1") == 2
    assert "has no attribute 'gone'" in capsys.readouterr().err
