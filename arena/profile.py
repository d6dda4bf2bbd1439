"""Profile-likelihood intervals of ratings (Venzon and Moolgavkar, Applied Statistics 37, 1988).

The interval of a contrast c·θ (a rating relative to the mean, or to the anchor) holds every value at which the
likelihood, maximised over everything else, lies within χ²₁(0.95)/2 of its maximum. It is not symmetric, does not hang
on the scale of θ, and is right with few votes, where rating ± 1.96 standard errors is not. Its ends are where c·θ is
largest and smallest among all θ of that likelihood.

Half-win ties leave no likelihood but a quasi-likelihood, whose logarithm is divided by the dispersion of the votes
(Wedderburn, Biometrika 61, 1974); ties spread less than decisive votes, so the dispersion is below 1.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from paragone.arena.intervals import NORMAL_QUANTILE
from paragone.arena.likelihood import LONG_STEP, Fit, OutcomeModel, Pairs, gradient_vector, information_matrix, pairs_of
from paragone.arena.votes import BOTH_BAD, TIE, Cells, FloatArray
from paragone.data.errors import NotIdentifiable

MAX_STEPS = 100


def dispersion(model: OutcomeModel, fit: Fit, cells: Cells) -> float:
    """Variance of the votes in units of what half-win Bradley-Terry expects; 1 for a model whose ties are outcomes."""
    weight = cells.weight[:BOTH_BAD]
    if model.has_tie_parameter or not weight[TIE].any() or not weight[:TIE].any():
        return 1.0
    d = pairs_of(cells).differences(fit.theta)
    by_d, _ = model.scores(d, fit.tau)
    expected, _, _ = model.curvature(d, fit.tau)
    return float((weight * by_d**2).sum() / (weight * expected).sum())


def profile_bounds(
    model: OutcomeModel,
    fit: Fit,
    cells: Cells,  # of votes that count once
    contrast: FloatArray,  # [R, M] whose rows sum to 0
    *,
    scale: float,  # the dispersion
    tolerance: float,  # natural units
    precision: float,  # of the prior on each θ, 0 without one
) -> tuple[FloatArray, FloatArray]:
    """[R] lower and upper ends of the 95 % intervals of contrast·θ; `NotIdentifiable` where an end is not found."""
    surface = _Surface(model, pairs_of(cells), cells.weight[:BOTH_BAD], precision)
    at = np.append(fit.theta, fit.tau) if model.has_tie_parameter else fit.theta
    floor = surface.height(at) - scale * NORMAL_QUANTILE**2 / 2
    ends = [[surface.end(at, row, sign, floor, tolerance) for row in contrast] for sign in (-1.0, 1.0)]
    return np.array(ends[0]), np.array(ends[1])


class _Surface:
    """The log-likelihood, prior included, over x = θ or (θ, τ)."""

    def __init__(self, model: OutcomeModel, pairs: Pairs, weight: FloatArray, precision: float) -> None:
        self._model, self._pairs, self._weight, self._precision = model, pairs, weight, precision

    def height(self, x: FloatArray) -> float:
        theta, tau = self._split(x)
        likelihood = float((self._weight * self._model.log_likelihood(self._pairs.differences(theta), tau)).sum())
        return likelihood - 0.5 * self._precision * float(theta @ theta)

    def end(self, start: FloatArray, contrast: FloatArray, sign: float, floor: float, tolerance: float) -> float:
        """The largest (sign 1) or smallest (−1) contrast·θ at height `floor`.

        Each step goes to that point of the quadratic that fits here, or to the quadratic's top when all of it is lower.
        """
        if not contrast.any():
            return 0.0
        x, size = start, contrast.size
        c = np.zeros(x.size)
        c[:size] = contrast
        for _ in range(MAX_STEPS):
            theta, tau = self._split(x)
            try:
                factor = cho_factor(
                    information_matrix(self._model, self._pairs, self._weight, theta, tau, precision=self._precision)
                )
            except LinAlgError:
                break
            gradient = gradient_vector(self._model, self._pairs, self._weight, theta, tau)
            gradient[:size] -= self._precision * theta
            to_top, along = cho_solve(factor, gradient), cho_solve(factor, c)
            room = 2 * (self.height(x) - floor) + float(gradient @ to_top)
            step = to_top + sign * math.sqrt(max(room, 0.0) / float(c @ along)) * along
            longest = float(np.abs(step).max())
            x = x + min(1.0, LONG_STEP / max(longest, LONG_STEP)) * step
            if longest < tolerance:
                return float(c @ x)
        raise NotIdentifiable("a profile interval has no end that can be found; use ci='sandwich' (--ci sandwich)")

    def _split(self, x: FloatArray) -> tuple[FloatArray, float]:
        size = self._pairs.n_models
        return x[:size], float(x[size]) if self._model.has_tie_parameter else -math.inf
