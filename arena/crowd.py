"""Ratings from voters of unequal reliability: Crowd-BT with the reliabilities integrated out.

Chen, Bennett, Collins-Thompson and Horvitz ("Pairwise ranking aggregation in a crowdsourced setting", WSDM 2013): voter
k says "a wins" with probability

    p = η_k σ(d) + (1 − η_k) σ(−d),    d = θ_a − θ_b,

so that η = 1 is a voter who follows the ratings, η = ½ one who flips a coin and η < ½ one who votes against them. With
every η free only the bend of σ tells small η from small θ, and the best joint (θ, η) stretches the ratings. Here η has
a prior instead: 1 with probability π, else Beta(α, β) on a grid of `SLAB` points. The votes estimate π (with one voter
of each kind added), and each voter's η is integrated out. The scale is thus that of the voters who agree with one
another, and a voter with few votes is judged by what the others are like. A tie is half a win each way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.linalg import LinAlgError, cho_factor, cho_solve, inv
from scipy.sparse import coo_array, csr_array
from scipy.special import betainc, expit, logit

from paragone.arena.bradley_terry import BradleyTerry
from paragone.arena.gauge import FEW_CLUSTERS, TOLERANCE, FitOptions, gauge_of, parameters_of
from paragone.arena.intervals import LEVEL, NORMAL_QUANTILE
from paragone.arena.likelihood import LONG_STEP, MAX_HALVINGS, Pairs, check_identified, maximise, pairs_of
from paragone.arena.ratings import Anchor, Ratings
from paragone.arena.votes import (
    BOTH_BAD,
    BothBad,
    Cells,
    FloatArray,
    IntArray,
    code_clusters,
    code_votes,
    fold,
    scatter,
)
from paragone.data.errors import NotIdentifiable, UsageError

SLAB = 20  # grid points of η below 1
MAX_STEPS = 500
UNBOUNDED = 50.0  # natural units between the best and the worst model
SHORT_STEP = 1e-4  # below it the objective no longer tells better from worse
SAME = 1e-6  # relative difference of two maxima that count as one
CLOSE = 5.0  # lead in log posterior below which a result is doubtful
DISBELIEVED = 0.02  # weight of a vote in the start that leaves its voter aside; 0 might part the models
START = 0.8  # π to begin with


def fit_crowd(
    votes: pd.DataFrame,
    *,
    voter: str = "voter",
    reliability: tuple[float, float] = (1.0, 1.0),
    ci: Literal["none", "sandwich"] = "sandwich",
    scale: float = 400.0,
    base: float = 10.0,
    initial: float = 1000.0,
    anchor: Anchor = None,
    both_bad: BothBad = "tie",
    prior: float | None = None,
) -> Ratings:
    """Ratings as a reliable voter (η = 1) would give them; `voter_reliability` has the η of each voter.

    Args:
        votes: rows with `model_a`, `model_b`, `winner`, the column of the voter and optionally `weight`.
        voter: the column that says who voted.
        reliability: (α, β) of the Beta prior of voters who are not wholly reliable; (1, 1) is uniform.
        ci: 95 % intervals from the sandwich with voters as units (the inverse information where they are few), or none.
        scale: rating points by which the odds grow `base`-fold.
        base: see `scale`.
        initial: the mean of all ratings, unless there is an anchor.
        anchor: a model and the rating it is given, {"model": 1200} or ("model", 1200).
        both_bad: count a `both_bad` vote as a tie, or drop it.
        prior: standard deviation (points) of a Gaussian prior around `initial` on each rating; None is no prior.

    `parameters["crowd"]` holds the options, π as `share_reliable`, the number of voters, how many have η below ½, and
    by how much the maximum's log posterior leads the next best that was found (`lead`, None where there is one only).

    Raises:
        InputError, UnknownOutcome: a row of votes that cannot be used.
        NotIdentifiable: as `fit_bradley_terry`, where only voters who are not believed hold a model, and for one voter.
        UsageError: an option that cannot work, or a missing column.
    """
    if ci not in ("none", "sandwich"):
        raise UsageError(f"ci={ci!r}: crowd-bt has intervals by 'sandwich', or 'none'")
    options = FitOptions(ci, 1000, 0, None, scale, base, initial, anchor, both_bad, prior)
    data, labels, warnings = _read(votes, voter, reliability, options)
    fit = _best(data, options)
    gauge, models = gauge_of(options, data.cells.models), data.cells.models
    rating = gauge.ratings(fit.theta)
    interval = covariance = None
    if ci == "sandwich":
        covariance = gauge.covariance(_covariance(data, fit))
        half = NORMAL_QUANTILE * np.sqrt(np.diag(covariance).clip(min=0))
        interval = rating - half, rating + half
        if not _enough(len(labels), len(models)):
            warnings += (f"only {len(labels)} values of {voter}: the intervals rest on the model's own variance",)
    eta = data.grid @ fit.state.share
    crowd = {
        "voter": voter,
        "reliability": list(reliability),
        "n_voters": len(labels),
        "share_reliable": float(expit(fit.rho)),
        "n_below_half": int((eta < 0.5).sum()),
        "lead": fit.lead,
    }
    return Ratings.assemble(
        data.cells,
        rating,
        interval=interval,
        covariance=covariance,
        method="crowd-bt",
        parameters=parameters_of(options, models) | {"crowd": crowd},
        warnings=(*warnings, *_doubts(fit, eta, data)),
    )


def voter_reliability(
    votes: pd.DataFrame,
    *,
    voter: str = "voter",
    reliability: tuple[float, float] = (1.0, 1.0),
    both_bad: BothBad = "tie",
    prior: float | None = None,
) -> pd.DataFrame:
    """One row a voter, the least reliable first: `voter`, `n_votes`, `reliability`, `lower`, `upper`, `p_reliable`.

    `reliability` is the posterior mean of η, `lower` and `upper` its 2.5 % and 97.5 % quantiles (on the grid), and
    `p_reliable` the probability that η is 1; the ratings and π are taken as estimated. Raises what `fit_crowd` does.
    """
    options = FitOptions("none", 1000, 0, None, 400.0, 10.0, 1000.0, None, both_bad, prior)
    data, labels, _ = _read(votes, voter, reliability, options)
    share = _best(data, options).state.share
    below = np.cumsum(share, axis=0)
    lower, upper = (data.grid[(below < tail).sum(axis=0).clip(max=SLAB)] for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    frame = pd.DataFrame(
        {
            "voter": labels,
            "n_votes": data.votes_of_voter,
            "reliability": data.grid @ share,
            "lower": lower,
            "upper": upper,
            "p_reliable": share[-1],
        }
    )
    return frame.sort_values(["reliability", "voter"], ignore_index=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """Votes summed over (pair, voter)."""

    cells: Cells  # of all voters
    pairs: Pairs  # R of them, one for each (pair, voter)
    voter: IntArray  # [R]
    member: csr_array  # [C, R] 1 where a row is of a voter
    n: FloatArray  # [R] weight of the votes
    wins: FloatArray  # [R] of i, a tie being half of one
    votes_of_voter: IntArray  # [C]
    grid: FloatArray  # [G] η, the last being 1
    slab: FloatArray  # [G − 1] logarithm of the Beta prior's mass at the others

    def spread(self, rows: FloatArray) -> FloatArray:
        """[C, M] sum over the rows of each voter of the row's value at i and its negative at j."""
        size, shape = self.pairs.n_models, (self.votes_of_voter.size, self.pairs.n_models)
        up = scatter(self.voter * size + self.pairs.i, rows, math.prod(shape))
        return (up - scatter(self.voter * size + self.pairs.j, rows, math.prod(shape))).reshape(shape)


def _read(
    votes: pd.DataFrame, voter: str, reliability: tuple[float, float], options: FitOptions
) -> tuple[_Data, list[Any], tuple[str, ...]]:
    """The votes, the names of the voters, and warnings."""
    if not (len(reliability) == 2 and all(math.isfinite(count) and count > 0 for count in reliability)):
        raise UsageError(f"reliability={reliability}: give α and β of a Beta prior, both above 0")
    if not isinstance(votes, pd.DataFrame):
        raise UsageError("cells no longer know who voted; give the table of votes")
    coded, who = code_votes(votes), code_clusters(votes, voter)
    cells = fold(coded).settle(options.both_bad)
    warnings = check_identified(cells, ties=False, prior=options.prior is not None)
    grouped = fold(coded, who).settle(options.both_bad)
    cluster = np.zeros(0, np.int64) if grouped.cluster is None else grouped.cluster
    labels = votes[voter].iloc[np.unique(who, return_index=True)[1]].tolist()
    if len(labels) < 2:
        raise NotIdentifiable("all votes are of one voter, whom nobody can confirm; use bradley-terry")
    edges = np.linspace(0, 1, SLAB + 1)
    with np.errstate(divide="ignore"):
        slab = np.log(np.diff(betainc(*reliability, edges)))
    shape = (len(labels), cluster.size)
    data = _Data(
        cells=cells,
        pairs=pairs_of(grouped),
        voter=cluster,
        member=coo_array((np.ones(cluster.size), (cluster, np.arange(cluster.size))), shape=shape).tocsr(),
        n=grouped.weight[:BOTH_BAD].sum(axis=0),
        wins=grouped.wins_i + grouped.ties / 2,
        votes_of_voter=scatter(cluster, grouped.n.sum(axis=0), len(labels)).astype(np.int64),
        grid=np.append((edges[1:] + edges[:-1]) / 2, 1.0),
        slab=slab,
    )
    return data, labels, warnings


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """What one look at all grid points gives at (θ, ρ = logit π)."""

    objective: float
    share: FloatArray  # [G, C] posterior of η
    points: _Points
    by_d: FloatArray  # [R] derivative of the log-likelihood by d
    gradient: FloatArray  # [M + 1]


@dataclass(frozen=True, slots=True, eq=False)
class _CrowdFit:
    theta: FloatArray  # [M] natural units
    rho: float  # logit π
    state: _State
    lead: float | None  # over the next best maximum that a start ended at, in log posterior
    precision: float


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """[G, R] what each η of the grid makes of each row."""

    p: FloatArray  # probability that i wins
    q: FloatArray  # 1 − p
    slope: FloatArray  # derivative of p by d, [G, R]
    bend: FloatArray  # its derivative
    score: FloatArray  # derivative of the log-likelihood by d

    @classmethod
    def of(cls, data: _Data, theta: FloatArray) -> _Points:
        """At θ; sums of positive terms where digits would be lost."""
        d, eta = data.pairs.differences(theta), data.grid[:, None]
        up, down = expit(d), expit(-d)
        p, q, slope = eta * up + (1 - eta) * down, eta * down + (1 - eta) * up, (2 * eta - 1) * (up * down)
        return cls(p, q, slope, slope * (down - up), slope * (data.wins / p - (data.n - data.wins) / q))


def _look(data: _Data, theta: FloatArray, rho: float, precision: float) -> _State:
    points = _Points.of(data, theta)
    likelihood = (data.member @ (data.wins * np.log(points.p) + (data.n - data.wins) * np.log(points.q)).T).T
    weights = np.append(data.slab - np.logaddexp(0, rho), -np.logaddexp(0, -rho))
    joint = likelihood + weights[:, None]
    top = joint.max(axis=0)
    total = top + np.log(np.exp(joint - top).sum(axis=0))
    share = np.exp(joint - total)
    by_d = (share[:, data.voter] * points.score).sum(axis=0)
    pi, held = expit(rho), -np.logaddexp(0, -rho) - np.logaddexp(0, rho)
    return _State(
        float(total.sum() + held - 0.5 * precision * (theta @ theta)),
        share,
        points,
        by_d,
        np.append(data.pairs.gradient(by_d) - precision * theta, (share[-1] - pi).sum() + 1 - 2 * pi),
    )


def _information(data: _Data, rho: float, state: _State, precision: float, *, observed: bool) -> FloatArray:
    """[M + 1, M + 1] minus the Hessian (Louis 1982), or EM's matrix for known η, which is always positive definite."""
    size, lost, pi, points = data.pairs.n_models, data.n - data.wins, float(expit(rho)), state.points
    if observed:
        each = (data.wins / points.p**2 + lost / points.q**2) * points.slope**2
        each -= (data.wins / points.p - lost / points.q) * points.bend
    else:
        each = data.n * points.slope**2 / (points.p * points.q)
    matrix = np.zeros((size + 1, size + 1))
    matrix[:size, :size] = data.pairs.laplacian((state.share[:, data.voter] * each).sum(axis=0))
    matrix[size, size] = (state.share.shape[1] + 2) * pi * (1 - pi)
    if observed:
        for g, part in enumerate(state.share):
            kind = np.full((part.size, 1), float(g == SLAB) - pi)
            score = np.hstack([data.spread(points.score[g]), kind])
            matrix -= score.T @ (part[:, None] * score)
        mean = _scores(data, rho, state)
        matrix += mean.T @ mean
    if precision:
        matrix[np.arange(size), np.arange(size)] += precision
    else:
        matrix[:size, :size] += np.abs(np.trace(matrix[:size, :size])) / size**2
    return matrix


def _scores(data: _Data, rho: float, state: _State) -> FloatArray:
    """[C, M + 1] each voter's part of the gradient."""
    return np.hstack([data.spread(state.by_d), (state.share[-1] - expit(rho))[:, None]])


def _climb(
    data: _Data, theta: FloatArray, rho: float, precision: float, tolerance: float
) -> tuple[FloatArray, float, _State]:
    """A maximum: Newton where minus the Hessian is positive definite, else EM's gradient step; never downhill."""
    state = _look(data, theta, rho, precision)
    for _ in range(MAX_STEPS):
        step = _step(data, rho, state, precision)
        longest = float(np.abs(step).max())
        length = min(1.0, LONG_STEP / 2 / max(longest, LONG_STEP / 2))
        for _ in range(MAX_HALVINGS):
            moved = theta + length * step[:-1], rho + length * float(step[-1])
            reached = _look(data, *moved, precision)
            if reached.objective >= state.objective or longest < SHORT_STEP:
                break
            length /= 2
        (theta, rho), state = moved, reached
        if longest < tolerance:
            return theta, rho, state
        if np.ptp(theta) > UNBOUNDED:
            break
    raise NotIdentifiable(
        "the ratings have no bound or did not settle: what holds some model are votes of voters who are not believed; "
        "collect more votes, use bradley-terry, or give a prior (prior=, --prior SD)"
    )


def _step(data: _Data, rho: float, state: _State, precision: float) -> FloatArray:
    for observed in (True, False):
        try:
            matrix = _information(data, rho, state, precision, observed=observed)
            step: FloatArray = cho_solve(cho_factor(matrix), state.gradient)
        except LinAlgError:
            continue
        return step
    raise NotIdentifiable(
        "the votes of believed voters do not determine the ratings; collect more votes, use bradley-terry, or give a "
        "prior (prior=, --prior SD)"
    )


def _best(data: _Data, options: FitOptions) -> _CrowdFit:
    """The best of one to three starts, because there may be several maxima where voters contradict each other.

    They are Bradley-Terry's ratings and, unless every voter agrees with these in most votes, the ratings of those who
    do, and Bradley-Terry's turned over, which is right where few adversaries have most of the votes.
    """
    precision, pairs = options.precision, data.pairs
    plain = maximise(
        BradleyTerry(), pairs_of(data.cells), data.cells.weight[:BOTH_BAD], tolerance=1e-3, precision=precision
    ).theta
    d, lost = pairs.differences(plain), data.n - data.wins
    believed = data.member @ np.where(d >= 0, data.wins, lost) > data.member @ data.n / 2
    starts = [plain]
    if not believed.all():
        weight = np.stack([data.wins, lost, np.zeros_like(d)]) * np.where(believed[data.voter], 1.0, DISBELIEVED)
        starts += [maximise(BradleyTerry(), pairs, weight, tolerance=1e-3, precision=precision).theta, -plain]
    tolerance = TOLERANCE / options.points
    fits, failures = [], []
    for theta in starts:
        try:
            fits.append(_climb(data, theta, float(logit(START)), precision, tolerance))
        except NotIdentifiable as error:  # this start leads nowhere; the others may
            failures.append(error)
    if not fits:
        raise failures[0]
    best = max(range(len(fits)), key=lambda k: (round(fits[k][2].objective, 6), -k))
    theta, rho, state = fits[best]
    leads = [state.objective - other.objective for *_, other in fits]
    apart = [lead for lead in leads if lead > SAME * abs(state.objective)]
    if not precision:
        theta = theta - theta.mean()
    return _CrowdFit(theta, rho, state, min(apart, default=None), precision)


def _enough(n_voters: int, n_models: int) -> bool:
    """Whether there are voters enough for the sandwich."""
    return n_voters >= max(FEW_CLUSTERS, 2 * n_models)


def _covariance(data: _Data, fit: _CrowdFit) -> FloatArray:
    """[M, M] covariance of θ, π being estimated too: the sandwich with voters as the units, if there are enough.

    C/(C − M) makes up for the scores being those at the maximum, where they are smaller than at the truth.
    """
    inverse, size = inv(_information(data, fit.rho, fit.state, fit.precision, observed=True)), fit.theta.size
    u = _scores(data, fit.rho, fit.state)
    if not _enough(u.shape[0], size):
        model_based: FloatArray = inverse[:size, :size]
        return model_based
    meat = u.T @ u * (u.shape[0] / (u.shape[0] - size))
    meat[np.arange(size), np.arange(size)] += fit.precision
    covariance: FloatArray = (inverse @ meat @ inverse)[:size, :size]
    return covariance


def _doubts(fit: _CrowdFit, eta: FloatArray, data: _Data) -> tuple[str, ...]:
    notes = []
    if fit.lead is not None and fit.lead < CLOSE:
        notes.append(
            f"other ratings are nearly as likely (log posterior {fit.lead:.1f} lower): voters contradict each other"
        )
    if float(eta @ data.votes_of_voter) < 0.5 * float(data.votes_of_voter.sum()):
        notes.append("most votes are of voters whose reliability is below one half: the ratings may be upside down")
    return tuple(notes)
