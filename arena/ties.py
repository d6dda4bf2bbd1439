"""Ratings whose model has ties: Davidson (JASA 65, 1970, eq. 2.3) and Rao-Kupper (JASA 62, 1967, eq. 3.2).

With d = θ_i − θ_j:

    Davidson     P(i) : P(j) : P(tie) = e^(d/2) : e^(−d/2) : ν                        ν ≥ 0
    Rao-Kupper   P(i) = σ(d − η),  P(j) = σ(−d − η),  P(tie) = 1 − P(i) − P(j)        threshold e^η ≥ 1

Half-win ties draw all ratings together as ties grow more frequent; here the tie parameter takes the ties up, and under
Davidson d is the log odds of a win among the decided votes. Both are fitted in τ on the real line, τ = log ν and
τ = log(e^(2η) − 1), where the log-likelihoods are concave.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.special import expit, log_expit, logit

from paragone.arena.bradley_terry import BradleyTerry, fit_outcome_model
from paragone.arena.gauge import FitOptions, Interval
from paragone.arena.likelihood import OutcomeModel
from paragone.arena.ratings import Anchor, Ratings
from paragone.arena.votes import BothBad, Cells, FloatArray


class Davidson:
    """An exponential family with statistics s = ½, −½, 0 and t = 0, 0, 1; see `OutcomeModel` for the shapes.

    The formulas avoid differences such as 1 − P(tie), which lose their digits where an outcome is nearly certain.
    """

    has_tie_parameter = True

    @property
    def without_ties(self) -> OutcomeModel:
        """ν = 0."""
        return BradleyTerry()

    def log_likelihood(self, d: FloatArray, tau: FloatArray | float) -> FloatArray:
        """The logarithms of the probabilities of i wins, j wins, tie."""
        total = np.logaddexp(np.logaddexp(d / 2, -d / 2), tau)
        return np.stack([d / 2 - total, -d / 2 - total, tau - total])

    def scores(self, d: FloatArray, tau: FloatArray | float) -> tuple[FloatArray, FloatArray]:
        """Statistics less expectations, s − E[s] and t − E[t]."""
        p_i, p_j, p_tie = np.exp(self.log_likelihood(d, tau))
        half = p_tie / 2
        return np.stack([p_j + half, -p_i - half, (p_j - p_i) / 2]), np.stack([-p_tie, -p_tie, p_i + p_j])

    def total_score(self, weight: FloatArray, d: FloatArray, tau: FloatArray | float) -> tuple[FloatArray, FloatArray]:
        """Statistics less expectations."""
        shrunk, nu = np.exp(-np.abs(d) / 2), np.exp(tau)
        share = (weight[0] + weight[1] + weight[2]) / (1 + shrunk * (shrunk + nu))
        lead = np.copysign(share * (1 - shrunk**2), d)
        return (weight[0] - weight[1] - lead) / 2, weight[2] - share * shrunk * nu

    def curvature(self, d: FloatArray, tau: FloatArray | float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The covariance of (s, t), whatever the outcome."""
        p_i, p_j, p_tie = np.exp(self.log_likelihood(d, tau))
        decided = p_i + p_j
        by_d, mixed, by_tau = decided * p_tie / 4 + p_i * p_j, (p_j - p_i) / 2 * p_tie, p_tie * decided
        return np.stack([by_d] * 3), np.stack([mixed] * 3), np.stack([by_tau] * 3)

    def start(self, decisive: float, ties: float) -> float:
        """τ between equals."""
        return math.log(2 * ties / decisive)

    def tie_parameter(self, tau: float) -> float:
        """ν."""
        return math.exp(tau)


class RaoKupper:
    """A threshold η on the difference; see `OutcomeModel` for the shapes."""

    has_tie_parameter = True

    @property
    def without_ties(self) -> OutcomeModel:
        """η = 0."""
        return BradleyTerry()

    def log_likelihood(self, d: FloatArray, tau: FloatArray | float) -> FloatArray:
        """The logarithms of P(i), P(j) and P(tie) = P(i)·P(j)·e^τ."""
        eta = _threshold(tau)
        win, loss = log_expit(d - eta), log_expit(-d - eta)
        return np.stack([win, loss, win + loss + tau])

    def scores(self, d: FloatArray, tau: FloatArray | float) -> tuple[FloatArray, FloatArray]:
        """By d and by τ; dη/dτ = σ(τ)/2."""
        eta, slope = _threshold(tau), expit(tau) / 2
        p_i, p_j, miss_i, miss_j = _outcomes(d, eta)
        by_d = np.stack([miss_i, -miss_j, p_j - p_i])
        by_tau = np.stack([-miss_i * slope, -miss_j * slope, expit(-np.asarray(tau)) + (p_i + p_j) * slope])
        return by_d, by_tau

    def total_score(self, weight: FloatArray, d: FloatArray, tau: FloatArray | float) -> tuple[FloatArray, FloatArray]:
        """`scores` with the terms of P(i) and of P(j) gathered."""
        eta, slope = _threshold(tau), expit(tau) / 2
        kept_i = (weight[0] + weight[2]) * expit(d - eta)
        kept_j = (weight[1] + weight[2]) * expit(-d - eta)
        decisive = weight[0] + weight[1]
        by_tau = (kept_i + kept_j - decisive) * slope + weight[2] * expit(-np.asarray(tau))
        return weight[0] - weight[1] - kept_i + kept_j, by_tau

    def curvature(self, d: FloatArray, tau: FloatArray | float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """By d twice, by d and τ, by τ twice."""
        eta, slope = _threshold(tau), expit(tau) / 2
        bend = slope * expit(-np.asarray(tau))  # d²η/dτ²
        p_i, p_j, miss_i, miss_j = _outcomes(d, eta)
        spread_i, spread_j = p_i * miss_i, p_j * miss_j
        by_tau_i, by_tau_j = spread_i * slope**2 + miss_i * bend, spread_j * slope**2 + miss_j * bend
        return (
            np.stack([spread_i, spread_j, spread_i + spread_j]),
            np.stack([-spread_i * slope, spread_j * slope, (spread_j - spread_i) * slope]),
            np.stack([by_tau_i, by_tau_j, by_tau_i + by_tau_j]),
        )

    def start(self, decisive: float, ties: float) -> float:
        """τ between equals, where P(i) = σ(−η)."""
        eta = -float(logit(decisive / (decisive + ties) / 2))
        return math.log(math.expm1(2 * eta))

    def tie_parameter(self, tau: float) -> float:
        """e^η, the threshold as a ratio of strengths."""
        return math.exp(float(_threshold(tau)))


def _threshold(tau: FloatArray | float) -> FloatArray:
    """η = ½ log(1 + e^τ)."""
    eta: FloatArray = np.logaddexp(0, tau) / 2
    return eta


def _outcomes(d: FloatArray, eta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """P(i), P(j), 1 − P(i), 1 − P(j), each with all its digits."""
    return expit(d - eta), expit(-d - eta), expit(eta - d), expit(eta + d)


def davidson_expected_score(d: float, tie_parameter: float | None) -> float:
    """P(win) + P(tie)/2 at a difference d in natural units and ν."""
    nu = tie_parameter or 0.0
    shrunk = math.exp(-abs(d) / 2)
    lead = (1 - shrunk**2) / (1 + shrunk**2 + nu * shrunk)
    return 0.5 + math.copysign(lead, d) / 2


def rao_kupper_expected_score(d: float, tie_parameter: float | None) -> float:
    """P(win) + P(tie)/2 at a difference d in natural units and threshold e^η."""
    eta = math.log(tie_parameter or 1.0)
    return 0.5 + float(expit(d - eta) - expit(-d - eta)) / 2


def fit_davidson(
    votes: pd.DataFrame | Cells,
    *,
    ci: Interval = "sandwich",
    bootstrap: int = 1000,
    seed: int = 0,
    cluster: str | None = None,
    scale: float = 400.0,
    base: float = 10.0,
    initial: float = 1000.0,
    anchor: Anchor = None,
    both_bad: BothBad = "tie",
    prior: float | None = None,
) -> Ratings:
    """Ratings and ν of Davidson's model; `fit_bradley_terry` explains the options, `parameters["tie_parameter"]` is ν.

    Raises what `fit_bradley_terry` does, and `NotIdentifiable` where the votes leave ν without a bound.
    """
    options = FitOptions(ci, bootstrap, seed, cluster, scale, base, initial, anchor, both_bad, prior)
    return fit_outcome_model("davidson", Davidson(), votes, options)


def fit_rao_kupper(
    votes: pd.DataFrame | Cells,
    *,
    ci: Interval = "sandwich",
    bootstrap: int = 1000,
    seed: int = 0,
    cluster: str | None = None,
    scale: float = 400.0,
    base: float = 10.0,
    initial: float = 1000.0,
    anchor: Anchor = None,
    both_bad: BothBad = "tie",
    prior: float | None = None,
) -> Ratings:
    """Ratings and threshold of Rao and Kupper's model; `fit_bradley_terry` explains the options, the threshold e^η is
    `parameters["tie_parameter"]`.

    Raises what `fit_bradley_terry` does, and `NotIdentifiable` where the votes leave the threshold without a bound.
    """
    options = FitOptions(ci, bootstrap, seed, cluster, scale, base, initial, anchor, both_bad, prior)
    return fit_outcome_model("rao-kupper", RaoKupper(), votes, options)
