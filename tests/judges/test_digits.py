"""The digits judge: aligned beats misaligned, real beats noise, and places do not matter."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from paragone.data.digits import PROMPTS, load_digits_split
from paragone.data.errors import UnreadableImage
from paragone.data.generators.runner import encode_png
from paragone.data.records import Winner
from paragone.judges import PreparingJudge
from paragone.judges.digits import DigitsJudge

TRAINING, REFERENCE = load_digits_split(seed=0)


@pytest.fixture(scope="module")
def judge() -> DigitsJudge:
    return DigitsJudge(REFERENCE)


def save(folder: Path, name: str, image: np.ndarray) -> Path:
    path = folder / name
    path.write_bytes(encode_png(image))
    return path


def test_it_reads_unseen_digits(judge: DigitsJudge) -> None:
    alignment = judge.alignment(TRAINING.images, TRAINING.labels)
    assert alignment.mean() > 0.85
    assert judge.alignment(TRAINING.images, (TRAINING.labels + 1) % 10).mean() < 0.05


def test_realism_of_unseen_real_digits_is_about_uniform(judge: DigitsJudge) -> None:
    realism = judge.realism(TRAINING.images)
    assert abs(realism.mean() - 0.5) < 0.05
    assert abs((realism < 0.1).mean() - 0.1) < 0.04


def test_realism_falls_with_noise(judge: DigitsJudge) -> None:
    noise = np.random.default_rng(0).normal(size=TRAINING.images.shape)
    levels = [np.clip(TRAINING.images + s * noise, 0, 255).astype(np.uint8) for s in (0, 10, 20, 40, 80)]
    means = [judge.realism(level).mean() for level in levels]
    assert means == sorted(means, reverse=True)


def test_the_asked_digit_wins(judge: DigitsJudge, tmp_path: Path) -> None:
    assert isinstance(judge, PreparingJudge)
    seven, one = save(tmp_path, "7.png", TRAINING.of_class(7)[0]), save(tmp_path, "1.png", TRAINING.of_class(1)[0])
    assert judge.compare(PROMPTS[7], seven, one).winner is Winner.MODEL_A
    assert judge.compare(PROMPTS[1], seven, one).winner is Winner.MODEL_B
    assert judge.compare(PROMPTS[4], seven, one).winner is Winner.BOTH_BAD
    assert judge.compare(PROMPTS[7], seven, seven).winner is Winner.TIE


def test_places_do_not_matter(judge: DigitsJudge, tmp_path: Path) -> None:
    paths = [save(tmp_path, f"{i}.png", image) for i, image in enumerate(TRAINING.of_class(3)[:10])]
    for a, b in pairwise(paths):
        shown, exchanged = judge.compare(PROMPTS[3], a, b), judge.compare(PROMPTS[3], b, a).swapped()
        assert (shown.winner, shown.scores) == (exchanged.winner, exchanged.scores)


def test_a_broken_picture_is_named(judge: DigitsJudge, tmp_path: Path) -> None:
    whole, half = save(tmp_path, "whole.png", TRAINING.images[0]), tmp_path / "half.png"
    half.write_bytes(whole.read_bytes()[:60])
    with pytest.raises(UnreadableImage, match=r"half\.png"):
        judge.compare(PROMPTS[0], whole, half)
    large = save(tmp_path, "large.png", np.zeros((9, 8), np.uint8))
    with pytest.raises(UnreadableImage, match=r"large\.png"):
        judge.compare(PROMPTS[0], whole, large)
