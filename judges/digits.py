"""An automated judge of handwritten digits: does the picture show the digit asked for, and does it look like a real
one?

Alignment is the probability of the asked digit under a kernel classifier (a Nyström map of a Gaussian kernel,
Williams & Seeger 2000, with logistic regression), which shares neither architecture nor data with the extractor
behind the metrics. Realism is a conformal p-value (Vovk et al. 2005): the share of real digits that lie at least as
far from their five nearest neighbours as the picture does. Like many judges it is fond of the typical, so models that
trade variety for typicality win its votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paragone.data.digits import SIZE_PX, Digits, load_digits_split, prompt_class, read_digits
from paragone.data.records import Prompt, Verdict, Winner

if TYPE_CHECKING:
    from paragone.judges.table import JudgeOptions

N_NEIGHBOURS = 5
TIE_MARGIN = 0.1  # nats
RECOGNISABLE = 0.5  # alignment below which a picture is bad
SMALLEST_ALIGNMENT, SMALLEST_REALISM = 1e-3, 1e-2  # floors under the logarithms: no score is -inf


class DigitsJudge:
    """Scores a picture by log alignment + log realism.

    Higher wins, close scores tie, two unrecognisable pictures are both bad.
    """

    name = "digits-judge-1"
    takes_model = False

    def __init__(self, real: Digits, *, seed: int = 0) -> None:
        from sklearn.kernel_approximation import Nystroem
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import NearestNeighbors
        from sklearn.pipeline import make_pipeline

        pixels = _pixels(real.images)
        kernel = Nystroem(gamma=0.02, n_components=300, random_state=seed)
        self._classifier: Any = make_pipeline(kernel, LogisticRegression(C=10.0, max_iter=1000))
        self._classifier.fit(pixels, real.labels)
        self._neighbours: Any = NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(pixels)
        own_distances, _ = self._neighbours.kneighbors(n_neighbors=N_NEIGHBOURS)  # each real digit without itself
        self._real_distances = np.sort(own_distances.mean(axis=1))
        self._scores: dict[tuple[str, Path], tuple[float, float]] = {}

    @classmethod
    def from_options(cls, options: JudgeOptions) -> DigitsJudge:
        """The demo's judge: fitted to the half of scikit-learn's digits that no generator of the demo has seen."""
        return cls(load_digits_split(seed=options.seed)[1], seed=options.seed)

    def alignment(self, images: NDArray[np.uint8], digits: NDArray[np.int64]) -> NDArray[np.float64]:
        """Probability of the asked digit for each image [N, 8, 8], shape [N], in 0..1."""
        probability: NDArray[np.float64] = self._classifier.predict_proba(_pixels(images))
        return probability[np.arange(len(digits)), digits]

    def realism(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Share of real digits that are no more typical than each image [N, 8, 8], shape [N], in 0..1."""
        distances, _ = self._neighbours.kneighbors(_pixels(images))
        nearer = np.searchsorted(self._real_distances, distances.mean(axis=1), side="left")
        realism: NDArray[np.float64] = 1.0 - nearer / len(self._real_distances)
        return realism

    def prepare(self, pictures: Sequence[tuple[Prompt, Path]], /) -> None:
        """Score all pictures at once."""
        images = read_digits([path for _, path in pictures])
        digits = np.array([prompt_class(prompt) for prompt, _ in pictures])
        scores = zip(self.alignment(images, digits), self.realism(images), strict=True)
        for (prompt, path), (alignment, realism) in zip(pictures, scores, strict=True):
            self._scores[prompt.id, path] = float(alignment), float(realism)

    def compare(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        """The better of two 8×8 pictures; raises `UnreadableImage` for one that is broken or of another size."""
        unseen = [(prompt, path) for path in (a, b) if (prompt.id, path) not in self._scores]
        if unseen:
            self.prepare(unseen)
        (alignment_a, realism_a), (alignment_b, realism_b) = self._scores[prompt.id, a], self._scores[prompt.id, b]
        scores = _score(alignment_a, realism_a), _score(alignment_b, realism_b)
        reason = (
            f"alignment {alignment_a:.3f} against {alignment_b:.3f}, realism {realism_a:.3f} against {realism_b:.3f}"
        )
        winner = _decide(scores, recognisable=max(alignment_a, alignment_b) >= RECOGNISABLE)
        return Verdict(winner, reason=reason, judge=self.name, scores=scores)


def _score(alignment: float, realism: float) -> float:
    return float(np.log(alignment + SMALLEST_ALIGNMENT) + np.log(realism + SMALLEST_REALISM))


def _decide(scores: tuple[float, float], *, recognisable: bool) -> Winner:
    if not recognisable:
        return Winner.BOTH_BAD
    if abs(scores[0] - scores[1]) < TIE_MARGIN:
        return Winner.TIE
    return Winner.MODEL_A if scores[0] > scores[1] else Winner.MODEL_B


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[N, 8, 8] uint8 → [N, 64] in -1..1."""
    return images.reshape(len(images), SIZE_PX * SIZE_PX) / 127.5 - 1.0
