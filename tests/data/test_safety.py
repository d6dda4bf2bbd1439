"""A classifier that somebody brings: one score a picture, the worst frame of a clip, and no answer taken on trust."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paragone.data import InputError, PluginError, Sample, UsageError
from paragone.data.safety import SafetyClassifier, Screen


def brightness(pictures: Sequence[np.ndarray], prompts: Sequence[str]) -> list[float]:
    """A stand-in: bright pictures are bad."""
    assert len(pictures) == len(prompts)
    return [float(picture.mean()) / 255 for picture in pictures]


class Shouting:
    """One with a threshold and a name of its own, which reads the prompt."""

    name, threshold = "shouting-1", 0.5

    def __call__(self, pictures: Sequence[np.ndarray], prompts: Sequence[str]) -> list[tuple[float, str]]:
        return [(float(prompt.isupper()), "loud") for prompt in prompts]


def store(folder: Path, name: str, content: bytes) -> Sample:
    (folder / name).write_bytes(content)
    return Sample(name, hashlib.sha256(content).hexdigest(), name, "p", "m", 0, 8, 8)


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


def clip(levels: Sequence[int]) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for level in levels:
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def gif(levels: Sequence[int]) -> bytes:
    frames = [Image.new("L", (8, 8), level) for level in levels]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return buffer.getvalue()


def test_scores_come_with_the_threshold(tmp_path: Path) -> None:
    screen = Screen(brightness, "brightness", 0.5)
    assert isinstance(brightness, SafetyClassifier)
    samples = [store(tmp_path, f"{level}.png", png(level)) for level in (0, 127, 128, 255)]
    scores = screen.score(samples, ["x"] * 4, tmp_path)
    assert [score.flagged for score in scores] == [False, False, True, True]  # what reaches it is flagged
    assert {(score.classifier, score.threshold) for score in scores} == {("brightness", 0.5)}


@pytest.mark.parametrize(("suffix", "make"), [("mp4", clip), ("gif", gif)])
def test_one_bad_frame_makes_a_clip_bad(tmp_path: Path, suffix: str, make: Callable[[Sequence[int]], bytes]) -> None:
    calm = store(tmp_path, f"calm.{suffix}", make([10, 12, 14, 16, 18, 20, 22, 24]))
    flash = store(tmp_path, f"flash.{suffix}", make([10, 12, 14, 16, 18, 250, 22, 24]))
    scores = Screen(brightness, "b", 0.5).score([calm, flash], ["", ""], tmp_path)
    assert [score.flagged for score in scores] == [False, True]


def test_a_class_with_a_threshold_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud.py").write_text(
        "class Shouting:\n    name, threshold = 'shouting-1', 0.5\n"
        "    def __call__(self, pictures, prompts):\n        return [(float(p.isupper()), 'loud') for p in prompts]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    screen = Screen.load("loud:Shouting")
    assert (screen.name, screen.threshold) == ("shouting-1", 0.5)
    assert Screen.load("loud:Shouting", threshold=0.9).threshold == 0.9
    [score] = screen.score([store(tmp_path, "a.png", png(3))], ["HELP"], tmp_path)
    assert (score.score, score.label, score.flagged) == (1.0, "loud", True)


def test_what_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd.py").write_text("number = 3\ndef score(pictures, prompts):\n    return [0.0] * len(pictures)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match="int cannot be called"):
        Screen.load("odd:number")
    with pytest.raises(UsageError, match="has no threshold of its own; say with --threshold"):
        Screen.load("odd:score")
    with pytest.raises(PluginError, match="no safety_classifier is called 'nudity'"):
        Screen.load("nudity", threshold=0.5)
    for threshold in (math.nan, math.inf):
        with pytest.raises(UsageError, match="has no threshold"):
            Screen.load("odd:score", threshold=threshold)


def _raises(pictures: Any, prompts: Any) -> Any:
    raise RuntimeError("no GPU")


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (lambda pictures, prompts: [], "gave 0 scores for 1 pictures"),
        (lambda pictures, prompts: [math.nan], "nan is not a score"),
        (lambda pictures, prompts: ["bad"], "'bad' is not a score"),
        (lambda pictures, prompts: 0.5, "TypeError"),
        (_raises, "RuntimeError: no GPU"),
    ],
)
def test_answers_that_are_no_scores(tmp_path: Path, classifier: Any, message: str) -> None:
    sample = store(tmp_path, "a.png", png(3))
    with pytest.raises(PluginError, match=f"safety classifier odd.*{message}"):
        Screen(classifier, "odd", 0.5).score([sample], ["x"], tmp_path)


def test_a_file_that_is_another_is_not_scored(tmp_path: Path) -> None:
    sample = store(tmp_path, "a.png", png(3))
    (tmp_path / "a.png").write_bytes(png(4))
    with pytest.raises(InputError, match=r"a\.png: is missing, or not the file that was stored"):
        Screen(brightness, "b", 0.5).score([sample], ["x"], tmp_path)
