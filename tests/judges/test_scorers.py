"""Scores become verdicts; texts are compared as their rule says; the world's programs fail with a name."""

import math
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image

from paragone.data import InputError, MissingWeights, PluginError, Prompt, Status, UnreadableImage, UsageError, Winner
from paragone.data.ocr import RULES, Tesseract, character_error_rate, quoted_text
from paragone.judges import PreparingJudge
from paragone.judges.audit_media import treat
from paragone.judges.ocr import TextJudge, tesseract_judge
from paragone.judges.scorers import (
    ScoreJudge,
    colourfulness,
    colourfulness_judge,
    contrast,
    load_scorer,
    one_by_one,
    sharpness,
)

PROMPT = Prompt("p", 'a sign that says "Open late" in red')
A, B = Path("a.png"), Path("b.png")


def judge_of(a: float, b: float, *, margin: float = 0.0, floor: float | None = None) -> ScoreJudge:
    return ScoreJudge(one_by_one(lambda prompt, path: {A: a, B: b}[path]), name="test-1", margin=margin, floor=floor)


@given(a=st.floats(-1e6, 1e6), b=st.floats(-1e6, 1e6), margin=st.floats(0, 10), floor=st.floats(-10, 10))
def test_the_higher_score_wins(a: float, b: float, margin: float, floor: float) -> None:
    verdict = judge_of(a, b, margin=margin, floor=floor).compare(PROMPT, A, B)
    assert verdict.scores == (a, b)
    if a < floor and b < floor:
        assert verdict.winner is Winner.BOTH_BAD
    elif abs(a - b) <= margin:
        assert verdict.winner is Winner.TIE
    else:
        assert verdict.winner is (Winner.MODEL_A if a > b else Winner.MODEL_B)
    exchanged = judge_of(a, b, margin=margin, floor=floor).compare(PROMPT, B, A)
    assert exchanged.swapped().winner is verdict.winner


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_no_verdict(bad: float) -> None:
    verdict = judge_of(bad, 1.0).compare(PROMPT, A, B)
    assert (verdict.winner, verdict.status) == (None, Status.INVALID)
    assert "against 1.0" in verdict.reason


def test_pictures_are_scored_once_and_together() -> None:
    asked: list[int] = []

    def scorer(pictures: Sequence[tuple[Prompt, Path]]) -> list[float]:
        asked.append(len(pictures))
        return [len(str(path)) for _, path in pictures]

    judge = ScoreJudge(scorer, name="lengths")
    assert isinstance(judge, PreparingJudge)
    judge.prepare([(PROMPT, A), (PROMPT, B), (PROMPT, A)])
    judge.compare(PROMPT, A, B)
    judge.compare(PROMPT, B, Path("longer.png"))
    assert asked == [2, 1]
    with pytest.raises(PluginError, match="2 scores for 1 pictures"):
        ScoreJudge(lambda pictures: [1.0, 2.0], name="odd").prepare([(PROMPT, A)])
    for margin in (-1.0, math.nan):
        with pytest.raises(UsageError, match="the margin is"):
            judge_of(0, 0, margin=margin)
    with pytest.raises(UsageError, match="the floor is"):
        judge_of(0, 0, floor=math.inf)


def test_pixel_measures_see_what_they_measure(tmp_path: Path) -> None:
    def path_of(picture: Image.Image, name: str) -> Path:
        picture.save(tmp_path / name)
        return tmp_path / name

    photograph = Image.fromarray(load_sample_image("flower.jpg"))
    whole = path_of(photograph, "whole.png")
    blurred = path_of(treat(photograph, "blur-2", prompt=PROMPT), "blurred.png")
    grey = path_of(photograph.convert("L"), "grey.png")
    flat = path_of(Image.new("RGB", (16, 16), (90, 90, 90)), "flat.png")
    assert sharpness(PROMPT, whole) > 5 * sharpness(PROMPT, blurred)
    assert sharpness(PROMPT, flat) == contrast(PROMPT, flat) == colourfulness(PROMPT, flat) == 0
    assert colourfulness(PROMPT, grey) == 0 < colourfulness(PROMPT, whole)
    halves = np.zeros((10, 10), np.uint8)
    halves[:5] = 200
    assert contrast(PROMPT, path_of(Image.fromarray(halves), "halves.png")) == 100
    assert colourfulness_judge().compare(PROMPT, whole, grey).winner is Winner.MODEL_A
    assert sharpness(PROMPT, path_of(Image.new("L", (2, 9)), "thin.png")) == 0
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableImage, match=r"broken\.png"):
        colourfulness_judge().compare(PROMPT, whole, tmp_path / "broken.png")


def test_a_preference_model_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_reward.py").write_text(
        "import torch\n"
        "from safetensors.torch import load_file\n"
        "def build(weights, device):\n"
        "    head = load_file(str(weights), device=device)['head']\n"
        "    return lambda pictures: [float(head.sum()) * len(path.name) for _, path in pictures]\n"
        "constant = 3\n"
        "def wrong(weights, device):\n"
        "    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import torch
    from safetensors.torch import save_file

    save_file({"head": torch.ones(2)}, tmp_path / "head.safetensors")
    scorer = load_scorer("my_reward:build", weights=tmp_path / "head.safetensors")
    assert list(scorer([(PROMPT, A)])) == [10.0]
    with pytest.raises(MissingWeights, match="none.safetensors: no such file".replace(".", r"\.")):
        load_scorer("my_reward:build", weights=tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    with pytest.raises(PluginError, match="my_reward:build: cannot be built"):
        load_scorer("my_reward:build", weights=tmp_path / "broken.safetensors")
    with pytest.raises(PluginError, match="gave a int, not a scorer"):
        load_scorer("my_reward:wrong")
    with pytest.raises(PluginError, match="cannot be loaded"):
        load_scorer("my_reward:nothing")


def slow_edits(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(slow_edits(a[1:], b) + 1, slow_edits(a, b[1:]) + 1, slow_edits(a[1:], b[1:]) + (a[0] != b[0]))


@given(read=st.text("abé", max_size=5), wanted=st.text("abé", min_size=1, max_size=5))
def test_character_error_rate(read: str, wanted: str) -> None:
    assert character_error_rate(read, wanted) == slow_edits(read, wanted) / len(wanted)


def test_what_a_prompt_wants_written() -> None:
    assert quoted_text(PROMPT.text) == "Open late"
    assert quoted_text("“Café” above «à bientôt», 「東京」 below") == "Café à bientôt 東京"
    assert quoted_text("it's a dog's life") == ""
    with pytest.raises(InputError, match="no text is wanted"):
        character_error_rate("a", "")


def test_rules_say_what_does_not_count() -> None:
    assert RULES["spacing"]("  Open \n late! ") == "Open late!"
    assert RULES["case"]("Open ＬＡＴＥ!") == "open late!"
    assert RULES["letters"]("Open-LATE!") == "openlate"


class Reader:
    """Reads the name of the file."""

    name = "reader-1"

    def read(self, path: Path, /) -> str:
        if path.stem == "torn":
            raise InputError(f"{path}: torn")
        return path.stem


def test_the_nearer_text_wins() -> None:
    judge = TextJudge(Reader())
    assert judge.name == "text-1-reader-1-case"
    exact, near, far = Path("open LATE.png"), Path("open lake.png"), Path("zzz.png")
    assert judge.accuracy(PROMPT, exact) == 1.0
    assert judge.accuracy(PROMPT, near) == pytest.approx(8 / 9)
    assert judge.compare(PROMPT, near, exact).winner is Winner.MODEL_B
    assert judge.compare(PROMPT, exact, exact).winner is Winner.TIE
    assert judge.compare(PROMPT, far, far).winner is Winner.BOTH_BAD
    unquoted = judge.compare(Prompt("q", "a dog"), near, exact)
    assert (unquoted.winner, unquoted.status) == (None, Status.INVALID)
    torn = judge.compare(PROMPT, Path("torn.png"), exact)
    assert (torn.winner, torn.status) == (None, Status.ERROR)
    assert "torn.png: torn" in torn.reason
    with pytest.raises(UsageError, match="no rule 'mood'"):
        TextJudge(Reader(), rule="mood")


def program(folder: Path, body: str) -> None:
    path = folder / "tesseract"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_tesseract_is_run_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="tesseract is not on the PATH"):
        tesseract_judge()
    program(tmp_path, 'if [ "$1" = --version ]; then echo "tesseract 5.5.0"; else echo "OPEN late $3$4 $5$6"; fi')
    reader = Tesseract()
    assert reader.name == "tesseract-5.5.0-eng-psm11"
    assert reader.read(tmp_path / "x.png") == "OPEN late -leng --psm11\n"
    program(tmp_path, 'echo "Error opening data file" >&2; exit 1')
    with pytest.raises(InputError, match=r"x\.png: .*Error opening data file"):
        reader.read(tmp_path / "x.png")


def sign(path: Path, text: str) -> Path:
    """Black words on white, as Pillow's own font has them."""
    picture = Image.new("RGB", (640, 160), "white")
    ImageDraw.Draw(picture).text((30, 50), text, fill="black", font=ImageFont.load_default(56))
    picture.save(path)
    return path


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed (apt install tesseract-ocr)")
def test_the_real_tesseract_reads_what_is_drawn(tmp_path: Path) -> None:
    judge = tesseract_judge()
    assert judge.name.startswith("text-1-tesseract-")
    right, near, blank = (
        sign(tmp_path / "1.png", "Open late"),
        sign(tmp_path / "2.png", "Open lace"),
        tmp_path / "3.png",
    )
    Image.new("RGB", (640, 160), "white").save(blank)
    assert judge.accuracy(PROMPT, right) == 1.0
    assert judge.accuracy(PROMPT, near) == pytest.approx(8 / 9)
    assert judge.accuracy(PROMPT, blank) == 0.0
    assert judge.compare(PROMPT, right, near).winner is Winner.MODEL_A
    assert judge.compare(PROMPT, blank, right).winner is Winner.MODEL_B
    assert judge.compare(PROMPT, blank, blank).winner is Winner.BOTH_BAD
    broken = tmp_path / "4.png"
    broken.write_bytes(right.read_bytes()[:60])
    failed = judge.compare(PROMPT, right, broken)
    assert (failed.winner, failed.status) == (None, Status.ERROR)
    assert "4.png" in failed.reason
