"""`paragone metrics` of clips, edits and text, and `paragone import --model`, from the outside."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_clips import write_clip
from photographs import pan, photograph
from PIL import Image

from paragone.__main__ import main
from paragone.arena import Store
from paragone.data.clip_frames import clip_frames_file, load_clip_frames
from paragone.data.files import file_digest
from paragone.data.records import GeneratorCard, Prompt, Task


def run(capsys: pytest.CaptureFixture[str], command: str, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as caught:
        main([command, *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.out, captured.err


def results(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, dict[str, Any]]:
    code, out, err = run(capsys, "metrics", *arguments, "--json", "-")
    assert code == 0, err
    document = json.loads(out)
    assert document["schema"] == "paragone.metrics/1"
    return {result["metric"]: result for result in document["results"]}


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code, out, err = run(capsys, "metrics", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    return err


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a model's clips, and a table of one edit."""
    home = tmp_path_factory.mktemp("project")
    with Store(home / "arena.db", create=True) as store:
        store.add_generators([GeneratorCard("m")])
        store.add_prompts([Prompt("p", "make it dark", Task.IMAGE_EDITING, source="in.png", mask="mask.png")])
    for name, frames in {"pan": pan(4, 5), "still": pan(4, 0)}.items():
        write_clip(home / "samples" / "clips" / f"{name}.mp4", frames=list(frames), options={"crf": "18"})
    before = photograph()[20:140, 40:200]
    after, mask = before.copy(), np.zeros(before.shape[:2], np.uint8)
    mask[30:80, 50:110] = 255
    after[mask > 0] //= 3
    for name, pixels in {"in.png": before, "out.png": after, "mask.png": mask}.items():
        Image.fromarray(pixels).save(home / name)
    row = {"source": "in.png", "result": "out.png", "instruction": "make it dark", "mask": "mask.png"}
    (home / "edits.jsonl").write_text(json.dumps(row) + "\n")
    edited = home / "samples" / "editor"
    edited.mkdir()
    Image.fromarray(after).save(edited / "p-000000.png")
    lines = [
        {"schema": "paragone.samples/1", "recipe": "r"},
        {"prompt_id": "p", "seed": 0, "status": "ok", "file": "p-000000.png"},
    ]
    (edited / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return home


def test_edits_from_a_table_and_from_a_models_folder(
    capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path
) -> None:
    table = results(capsys, home / "edits.jsonl", "--per-image", tmp_path / "edits.csv")
    assert list(table) == ["unchanged", "preservation", "preservation_raw", "leakage", "changed_region", "shift"]
    assert table["leakage"]["value"] == 0
    assert table["preservation"]["value"] > 50
    frame = pd.read_csv(tmp_path / "edits.csv")
    assert frame["name"].tolist() == ["out.png"]
    assert frame["instruction"].tolist() == ["make it dark"]
    folder = results(capsys, home / "samples" / "editor", "--metric", "preservation")
    assert folder["preservation"]["value"] == table["preservation"]["value"]


def test_clips_and_their_frames_in_the_project(capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path) -> None:
    arguments = ["--metric", "motion", "--metric", "frozen_frames", "--no-cache", "--keep-frames", home]
    found = results(capsys, home / "samples" / "clips", *arguments)
    assert found["frozen_frames"]["value"] == 0.5
    clip = home / "samples" / "clips" / "pan.mp4"
    kept = load_clip_frames(clip_frames_file(home, file_digest(clip)))
    assert kept is not None
    assert len(kept.times_s) == 4
    assert np.mean([value for value in kept.series["motion"] if value is not None]) == pytest.approx(0.6, rel=0.05)
    one = results(capsys, clip, "--metric", "motion", "--no-cache")
    assert one["motion"]["n_generated"] == 1
    assert one["motion"]["standard_error"] is None


def test_frames_are_chosen_as_for_fvd(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    clip = home / "samples" / "clips" / "pan.mp4"
    arguments = [clip, "--metric", "frozen_frames", "--no-cache"]
    whole = results(capsys, *arguments)["frozen_frames"]
    assert whole["signature"].startswith("frozen_frames|frames:all|")
    at_12 = results(capsys, *arguments, "--fps", "12")["frozen_frames"]
    assert at_12["signature"].startswith("frozen_frames|frames:all@12fps|")
    two = results(capsys, *arguments, "--clip-frames", "2")["frozen_frames"]
    assert two["signature"].startswith("frozen_frames|frames:2-first|")
    assert "asked for, and there are 1" in fails(capsys, *arguments, "--clips", "5")


def test_text_beside_other_metrics(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    rows = []
    for number in range(3):
        Image.fromarray(photograph()[: 40 + number, :60]).save(folder / f"{number}.png")
        rows.append({"file": f"{number}.png", "prompt": f'a sign "{number}"'})
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tool = tmp_path / "bin" / "tesseract"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo tesseract 9.9; else echo 1; fi\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
        arguments = ["--metric", "cer", "--metric", "sharpness", "--prompts", tmp_path / "prompts.jsonl"]
        found = results(capsys, folder, *arguments, "--set", "cer.rule=letters", "--per-image", tmp_path / "t.json")
    assert found["cer"]["value"] == pytest.approx(2 / 3)
    assert "reader:tesseract-9.9-eng-psm11|rule:letters" in found["cer"]["signature"]
    assert found["sharpness"]["n_generated"] == 3
    assert [row["read"] for row in json.loads((tmp_path / "t.json").read_text())["rows"]] == ["1"] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edits.jsonl", "--reference", "."], "--reference: does nothing for edits"),
        (["edits.jsonl", "--metric", "fd"], "no measure of edits is called 'fd'"),
        (["edits.jsonl", "--prompts", "edits.jsonl"], "--prompts: does nothing for a table of edits"),
        (["edits.jsonl", "--metric", "lpips"], "lpips: needs its files"),
        (["samples/clips", "--metric", "preservation"], "measures of edits need a table"),
        (["samples/clips", "--metric", "motion", "--set", "motion.x=1"], "motion has no options"),
        (["samples/clips", "--metric", "motion", "--frame-rate", "0"], "--frame-rate 0: write frames a second"),
        (["samples/clips", "--metric", "motion", "--keep-frames", "samples"], "not a project folder"),
        (["samples/editor", "--metric", "cer"], "cer: needs to know the text"),
        (["samples/editor", "--metric", "sharpness", "--ocr", "tesseract"], "nothing asked for reads text"),
        (["samples/editor", "--metric", "sharpness", "--lpips", "x.pth"], "is of edits"),
        (["samples/editor", "--metric", "sharpness", "--keep-frames", "."], "is of clips"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(home)
    assert message in fails(capsys, *arguments)


def test_results_come_into_the_arena(capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    clips = home / "samples" / "clips"
    assert run(capsys, "metrics", clips, "--metric", "motion", "--no-cache", "--json", file)[0] == 0
    code, out, _ = run(capsys, "import", file, "--model", "m", "--dir", home, "--json", "-")
    assert code == 0
    assert json.loads(out)["new"] == {"metric_results": 1}
    code, _, err = run(capsys, "import", home / "edits.jsonl", "--model", "m", "--dir", home)
    assert code == 2
    assert "edits.jsonl: " in err
