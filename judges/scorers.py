"""Judges without a language model: any score of a picture becomes a verdict.

A *scorer* takes all pictures at once, `[(prompt, path), …]`, and gives one number each, higher is better: CLIPScore,
a preference model (HPS, PickScore, ImageReward) around weights of one's own, the accuracy of text that was read, or
one of the pixel measures here, which know nothing of the prompt and are baselines that a real judge should beat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paragone.data.decoding import decode_picture
from paragone.data.errors import MissingWeights, PluginError, UsageError
from paragone.data.records import Prompt, Status, Verdict, Winner
from paragone.data.registry import Plugin

Scorer = Callable[[Sequence[tuple[Prompt, Path]]], Sequence[float]]


class ScoreJudge:
    """The higher score wins; scores within `margin` tie; two scores below `floor` are both bad.

    A picture is scored once. A score that is NaN or infinite gives no verdict but the status `invalid`.
    """

    def __init__(self, scorer: Scorer, *, name: str, margin: float = 0.0, floor: float | None = None) -> None:
        if not (math.isfinite(margin) and margin >= 0):
            raise UsageError(f"{name}: the margin is {margin}; give a number from 0 up, in units of the score")
        if floor is not None and not math.isfinite(floor):
            raise UsageError(f"{name}: the floor is {floor}; give a number, in units of the score")
        self.name = name
        self._scorer, self._margin, self._floor = scorer, margin, floor
        self._scores: dict[tuple[Prompt, Path], float] = {}

    def prepare(self, pictures: Sequence[tuple[Prompt, Path]], /) -> None:
        """Score all pictures at once; raises `PluginError` when the scorer gives another number of scores."""
        unseen = list(dict.fromkeys(picture for picture in pictures if picture not in self._scores))
        if not unseen:
            return
        scores = [float(score) for score in self._scorer(unseen)]
        if len(scores) != len(unseen):
            raise PluginError(f"{self.name}: {len(scores)} scores for {len(unseen)} pictures; a scorer gives one each")
        self._scores.update(zip(unseen, scores, strict=True))

    def compare(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        """The better of two pictures by their scores."""
        self.prepare([(prompt, a), (prompt, b)])
        scores = self._scores[prompt, a], self._scores[prompt, b]
        if not all(map(math.isfinite, scores)):
            return Verdict(None, Status.INVALID, f"score {scores[0]} against {scores[1]}", judge=self.name)
        reason = f"{scores[0]:.4g} against {scores[1]:.4g}"
        return Verdict(self._decide(*scores), reason=reason, judge=self.name, scores=scores)

    def _decide(self, of_a: float, of_b: float) -> Winner:
        if self._floor is not None and max(of_a, of_b) < self._floor:
            return Winner.BOTH_BAD
        if of_a == of_b or abs(of_a - of_b) <= self._margin:
            return Winner.TIE
        return Winner.MODEL_A if of_a > of_b else Winner.MODEL_B


def one_by_one(score: Callable[[Prompt, Path], float]) -> Scorer:
    """A scorer from a function of one picture."""

    def scorer(pictures: Sequence[tuple[Prompt, Path]]) -> list[float]:
        return [score(prompt, path) for prompt, path in pictures]

    return scorer


def load_scorer(target: str, *, weights: Path | None = None, device: str = "cpu") -> Scorer:
    """The scorer that `module:attribute` builds from a weights file: the adapter for preference models.

    The attribute is a function `build(weights, device)` that reads the file (safetensors, or torch with
    `weights_only=True`) and gives a scorer; `weights` is None for a scorer that needs none. Nothing is downloaded.

    Raises:
        MissingWeights: there is no such file.
        PluginError: the target cannot be imported, or building it fails.
    """
    if weights is not None and not weights.is_file():
        raise MissingWeights(f"{weights}: no such file; give the weights that {target} reads")
    build = Plugin(target, target, "module path").load()
    try:
        scorer = build(weights, device)
    except Exception as error:  # foreign code: whatever it raises is reported under its name
        raise PluginError(f"{target}: cannot be built from {weights}: {type(error).__name__}: {error}") from error
    if not callable(scorer):
        raise PluginError(f"{target}: gave a {type(scorer).__name__}, not a scorer (a function of prompts and paths)")
    checked: Scorer = scorer
    return checked


def sharpness(prompt: Prompt, path: Path) -> float:
    """Variance of the Laplacian of luminance (Pech-Pacheco et al. 2000), 0 and up."""
    grey = _luminance(path)
    if min(grey.shape) < 3:
        return 0.0
    centre = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    return float(laplacian.var())


def contrast(prompt: Prompt, path: Path) -> float:
    """Root-mean-square contrast: the standard deviation of luminance, 0..127.5."""
    return float(_luminance(path).std())


def colourfulness(prompt: Prompt, path: Path) -> float:
    """Colourfulness M of Hasler and Süsstrunk (2003), 0 for grey, about 100 and more for vivid pictures."""
    red, green, blue = np.moveaxis(_pixels(path).astype(np.float64), -1, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def sharpness_judge() -> ScoreJudge:
    """The sharper picture wins."""
    return ScoreJudge(one_by_one(sharpness), name="sharpness-1")


def contrast_judge() -> ScoreJudge:
    """The picture with more contrast wins."""
    return ScoreJudge(one_by_one(contrast), name="contrast-1")


def colourfulness_judge() -> ScoreJudge:
    """The more colourful picture wins."""
    return ScoreJudge(one_by_one(colourfulness), name="colourfulness-1")


def _pixels(path: Path) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3]; raises `UnreadableImage`."""
    return decode_picture(path.read_bytes(), str(path)).pixels


def _luminance(path: Path) -> NDArray[np.float64]:
    """[H, W] in 0..255, ITU-R 601 weights."""
    return np.asarray(Image.fromarray(_pixels(path)).convert("L"), dtype=np.float64)
