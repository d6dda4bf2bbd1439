"""One board a category, with strength borrowed from the others: partial pooling.

    θ_{c,m} = μ_m + δ_{c,m},    δ_{c,m} ~ N(0, τ²)

μ is what all categories share, τ how far they differ. A category with many votes keeps its own ratings, one with few is
drawn towards μ, τ → 0 is one board for all and τ → ∞ one for each. The votes choose τ by the marginal likelihood, θ and
μ being integrated out by Laplace's approximation (restricted maximum likelihood, as in generalised linear mixed models:
Breslow and Clayton, JASA 88, 1993), and what they leave open about τ widens the intervals: the posterior is the mixture
over a grid of τ. Ties are half a win each way; since such scores vary less than wins and losses do, the likelihood is
divided by the dispersion φ, their mean squared residual over what it would be without ties (McCullagh and Nelder,
Generalized Linear Models, 1989, section 9.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve, inv
from scipy.special import expit, log_expit, softmax

from paragone.arena.bradley_terry import BradleyTerry
from paragone.arena.gauge import TOLERANCE, FitOptions, Gauge, gauge_of, parameters_of
from paragone.arena.intervals import NORMAL_QUANTILE
from paragone.arena.likelihood import LONG_STEP, MAX_HALVINGS, Pairs, check_identified, maximise, pairs_of
from paragone.arena.ratings import Anchor, Ratings
from paragone.arena.votes import BOTH_BAD, TIE, BothBad, Cells, FloatArray, IntArray, code_clusters, code_votes, fold
from paragone.data.errors import NotIdentifiable, UsageError

TAUS = np.geomspace(2.0, 800.0, 25)  # rating points, of the grid
MAX_STEPS = 100
NEGLIGIBLE = 1e-6  # weight of a grid point that is left out of the mixture
SHORT_STEP = 1e-4  # below it the objective no longer tells better from worse


def fit_categories(
    votes: pd.DataFrame,
    *,
    by: str,
    tau: float | None = None,
    ci: Literal["none", "posterior"] = "posterior",
    scale: float = 400.0,
    base: float = 10.0,
    initial: float = 1000.0,
    anchor: Anchor = None,
    both_bad: BothBad = "tie",
    prior: float | None = None,
) -> dict[str, Ratings]:
    """Bradley-Terry ratings of every value of the column `by`, partially pooled; each holds all models of all votes.

    Args:
        votes: rows with `model_a`, `model_b`, `winner`, the column `by` and optionally `weight`.
        by: the column of the categories.
        tau: standard deviation (points) of a category around what all share; None estimates it.
        ci: 95 % intervals from the posterior, or none.
        scale: rating points by which the odds grow `base`-fold.
        base: see `scale`.
        initial: the mean of all ratings of a category, unless there is an anchor.
        anchor: a model and the rating it is given in every category, {"model": 1200} or ("model", 1200).
        both_bad: count a `both_bad` vote as a tie, or drop it.
        prior: standard deviation (points) of a Gaussian prior around `initial` on each μ; None is no prior.

    `parameters["pool"]` holds `by`, `tau` (the posterior mean where estimated), `tau_lower` and `tau_upper`,
    `dispersion` φ, and the `shrinkage` of each model: the share of the prior in the precision of its δ, 1 where the
    category says nothing of it. `covariance` is joint within a category.

    Raises:
        InputError, UnknownOutcome: a row of votes that cannot be used.
        NotIdentifiable: the votes of all categories together do not determine ratings.
        UsageError: an option that cannot work, or a missing column.
    """
    if ci not in ("none", "posterior"):
        raise UsageError(f"ci={ci!r}: pooled categories have intervals by 'posterior', or 'none'")
    if tau is not None and not (math.isfinite(tau) and tau > 0):
        raise UsageError(f"tau={tau}: give a standard deviation above 0, in rating points")
    if not isinstance(votes, pd.DataFrame):
        raise UsageError("cells no longer know the categories of their votes; give the table of votes")
    options = FitOptions("none", 1000, 0, None, scale, base, initial, anchor, both_bad, prior)
    boards = _Boards.of(votes, by, options)
    posterior = _posterior(boards, options, TAUS if tau is None else np.array([tau]))
    return {
        name: _ratings(boards, c, posterior, options, ci, {"by": by, "tau_estimated": tau is None})
        for c, name in enumerate(boards.names)
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Boards:
    """The votes of each category."""

    names: tuple[str, ...]  # [C] sorted
    cells: Cells  # of all votes
    parts: tuple[Cells, ...]  # [C] all with the models of `cells`
    theta: FloatArray  # [M] of all votes together
    dispersion: float
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, votes: pd.DataFrame, by: str, options: FitOptions) -> _Boards:
        """Fold the votes by category, and rate them all together."""
        coded, codes = code_votes(votes), code_clusters(votes, by)
        values = votes[by].map(str).to_numpy(object)
        names = tuple(sorted(set(values)))
        index = {name: position for position, name in enumerate(names)}
        category = np.array([index[value] for value in values[np.unique(codes, return_index=True)[1]]], np.int64)
        cells = fold(coded).settle(options.both_bad)
        grouped = fold(coded, category[codes] if codes.size else codes).settle(options.both_bad)
        parts = tuple(_part(grouped, c) for c in range(len(names)))
        warnings = check_identified(cells, ties=False, prior=options.prior is not None)
        theta = maximise(
            BradleyTerry(),
            pairs_of(cells),
            cells.weight[:BOTH_BAD],
            tolerance=1e-3,
            precision=options.precision,
        ).theta
        return cls(names, cells, parts, theta, _dispersion(cells, theta), warnings)


def _part(grouped: Cells, category: int) -> Cells:
    keep: IntArray = np.flatnonzero(grouped.cluster == category)
    return replace(
        grouped,
        i=grouped.i[keep],
        j=grouped.j[keep],
        n=grouped.n[:, keep],
        weight=grouped.weight[:, keep],
        square=grouped.square[:, keep],
        cluster=None,
    )


def _dispersion(cells: Cells, theta: FloatArray) -> float:
    """φ at the ratings of all votes; 1 where no vote is a tie and none is weighted, which is what theory says."""
    if not (cells.ties.any() or cells.weighted) or not cells.weight[:TIE].any():
        return 1.0
    p = expit(pairs_of(cells).differences(theta))
    squares = float((cells.square[:BOTH_BAD] * np.stack([1 - p, -p, 0.5 - p]) ** 2).sum())
    return squares / float((cells.weight[:BOTH_BAD].sum(axis=0) * p * (1 - p)).sum())


@dataclass(frozen=True, slots=True, eq=False)
class _Posterior:
    """Mean and covariance of each category's θ, natural units."""

    theta: FloatArray  # [C, M]
    covariance: FloatArray  # [C, M, M]
    shrinkage: FloatArray  # [C, M] in (0, 1]
    tau: float  # points
    interval: tuple[float, float]  # of τ, points


def _posterior(boards: _Boards, options: FitOptions, taus: FloatArray) -> _Posterior:
    """The mixture over τ of the posteriors, weighted by the marginal likelihood (prior of τ: flat)."""
    fits: list[_Fit] = []
    start = np.tile(boards.theta, (len(boards.parts), 1))
    for tau in taus[::-1]:  # from separate boards to one: each start is near the next answer
        fits.append(_fit(boards, options, float(tau / options.points), start))
        start = fits[-1].theta
    weight = softmax(np.array([fit.evidence for fit in fits]) + np.log(taus[::-1]))  # the grid is even in log τ
    weight = np.where(weight > NEGLIGIBLE, weight, 0.0)
    weight /= weight.sum()
    theta = sum(w * fit.theta for w, fit in zip(weight, fits, strict=True))
    covariance = np.zeros((len(boards.parts),) + (len(boards.cells.models),) * 2)
    shrinkage = np.zeros(covariance.shape[:2])
    for w, fit in zip(weight, fits, strict=True):
        if w:
            off = fit.theta - theta
            covariance += w * (fit.covariance() + off[:, :, None] * off[:, None, :])
            shrinkage += w * fit.shrinkage()
    below = np.cumsum(weight[::-1])
    lower, upper = (float(taus[min(int((below < tail).sum()), taus.size - 1)]) for tail in (0.025, 0.975))
    return _Posterior(np.asarray(theta), covariance, shrinkage, float(weight @ taus[::-1]), (lower, upper))


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """The mode at one τ. Blocks are those of minus the Hessian by (μ, θ_1, …, θ_C)."""

    theta: FloatArray  # [C, M]
    evidence: float  # logarithm of the marginal likelihood
    inverses: FloatArray  # [C, M, M] of the block of each θ_c
    pooled: FloatArray  # [M, M] covariance of μ
    precision: float  # 1/τ², natural units

    def covariance(self) -> FloatArray:
        """[C, M, M] of θ_c, μ being estimated too."""
        lever = self.precision * self.inverses
        return self.inverses + lever @ self.pooled @ lever.transpose(0, 2, 1)

    def shrinkage(self) -> FloatArray:
        """[C, M] share of the prior in the precision of each θ_{c,m} given μ."""
        return self.precision * np.diagonal(self.inverses, axis1=1, axis2=2)


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """The penalised likelihood at one τ."""

    pairs: tuple[Pairs, ...]  # [C]
    n: tuple[FloatArray, ...]  # [C] votes of each pair over φ
    wins: tuple[FloatArray, ...]  # [C] those that i won, a tie being half of one
    precision: float  # 1/τ², natural units
    held: float  # precision of μ's prior

    @classmethod
    def of(cls, boards: _Boards, tau: float, held: float) -> _Problem:
        """The votes of all categories, divided by the dispersion."""
        n = tuple(part.weight[:BOTH_BAD].sum(axis=0) / boards.dispersion for part in boards.parts)
        wins = tuple((part.wins_i + part.ties / 2) / boards.dispersion for part in boards.parts)
        return cls(tuple(pairs_of(part) for part in boards.parts), n, wins, 1 / tau**2, held)

    def objective(self, theta: FloatArray, mu: FloatArray) -> float:
        """The logarithm of the posterior density of θ and μ, up to a constant."""
        fit = 0.0
        for design, n, wins, row in zip(self.pairs, self.n, self.wins, theta, strict=True):
            d = design.differences(row)
            fit += float(wins @ d + n @ log_expit(-d))
        return fit - 0.5 * self.precision * float(((theta - mu) ** 2).sum()) - 0.5 * self.held * float(mu @ mu)

    def blocks(self, theta: FloatArray, mu: FloatArray) -> tuple[FloatArray, FloatArray]:
        """[C, M, M] minus the Hessian by θ_c, and [C, M] the gradient."""
        blocks, slopes = [], []
        for design, n, wins, row in zip(self.pairs, self.n, self.wins, theta, strict=True):
            d = design.differences(row)
            p = expit(d)
            blocks.append(design.laplacian(n * p * expit(-d)) + self.precision * np.eye(mu.size))
            slopes.append(design.gradient(wins - n * p) - self.precision * (row - mu))
        return np.stack(blocks), np.stack(slopes)

    def reduced(self, inverses: FloatArray) -> FloatArray:
        """[M, M] minus the Hessian by μ once all θ_c are eliminated.

        Without a prior the constant direction, which it does not see, gets the curvature 1 at every τ: the evidence
        must not depend on it.
        """
        m = inverses.shape[1]
        matrix: FloatArray = self.precision * (len(inverses) * np.eye(m) - self.precision * inverses.sum(axis=0))
        matrix += self.held * np.eye(m) if self.held else np.full((m, m), 1 / m)
        return matrix


def _fit(boards: _Boards, options: FitOptions, tau: float, start: FloatArray) -> _Fit:
    """Newton for all θ_c and μ at once: given μ the categories are apart, so only M × M systems are solved."""
    problem = _Problem.of(boards, tau, options.precision)
    theta, mu = start, start.mean(axis=0)
    value = problem.objective(theta, mu)
    for _ in range(MAX_STEPS):
        blocks, slopes = problem.blocks(theta, mu)
        inverses: FloatArray = np.linalg.inv(blocks).astype(np.float64, copy=False)
        reduced = problem.reduced(inverses)
        solved = (inverses @ slopes[:, :, None])[..., 0]
        by_mu = problem.precision * ((theta - mu) + solved).sum(axis=0) - problem.held * mu
        step_mu = cho_solve(cho_factor(reduced), by_mu)
        step = solved + problem.precision * inverses @ step_mu
        longest = float(max(np.abs(step).max(), np.abs(step_mu).max()))
        length = min(1.0, LONG_STEP / max(longest, LONG_STEP))
        for _ in range(MAX_HALVINGS):
            moved = theta + length * step, mu + length * step_mu
            reached = problem.objective(*moved)
            if reached >= value or longest < SHORT_STEP:
                break
            length /= 2
        (theta, mu), value = moved, reached
        if longest < TOLERANCE / options.points:
            # log det of the whole matrix is that of the blocks and of the reduced one (Schur).
            logdet = float(np.linalg.slogdet(blocks)[1].sum() + np.linalg.slogdet(reduced)[1])
            evidence = value - theta.size * math.log(tau) - 0.5 * logdet
            return _Fit(theta, evidence, inverses, inv(reduced), problem.precision)
    raise NotIdentifiable(
        f"the pooled ratings did not settle within {MAX_STEPS} Newton steps; collect more votes, or give a prior"
    )


def _ratings(
    boards: _Boards,
    category: int,
    posterior: _Posterior,
    options: FitOptions,
    ci: str,
    pool: dict[str, Any],
) -> Ratings:
    """The board of one category."""
    part, models, warnings = boards.parts[category], boards.cells.models, boards.warnings
    gauge: Gauge = gauge_of(options, models)
    rating = gauge.ratings(posterior.theta[category])
    interval = covariance = None
    if ci == "posterior":
        covariance = gauge.covariance(posterior.covariance[category])
        half = NORMAL_QUANTILE * np.sqrt(np.diag(covariance).clip(min=0))
        interval = rating - half, rating + half
    missing = [models[k] for k in np.flatnonzero(part.per_model(part.n.sum(axis=0)) == 0)]
    if missing:
        shown = ", ".join(missing[:5]) + (f", … ({len(missing)} models)" if len(missing) > 5 else "")
        warnings += (f"no votes on {shown} in this category: the ratings are those of the other categories",)
    shrinkage = dict(zip(models, posterior.shrinkage[category].round(6).tolist(), strict=True))
    pool = pool | {
        "tau": posterior.tau,
        "tau_lower": posterior.interval[0],
        "tau_upper": posterior.interval[1],
        "dispersion": boards.dispersion,
        "shrinkage": shrinkage,
    }
    return Ratings.assemble(
        part,
        rating,
        interval=interval,
        covariance=covariance,
        method="bradley-terry",
        parameters=parameters_of(options, models) | {"ci": ci, "level": 0.95 if interval else None, "pool": pool},
        warnings=warnings,
    )
