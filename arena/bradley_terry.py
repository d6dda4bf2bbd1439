"""Bradley-Terry ratings (Bradley and Terry, "Rank analysis of incomplete block designs", Biometrika 39, 1952).

P(i beats j) = σ(θ_i − θ_j), rating = initial + (scale / ln base)·θ. A tie counts as half a win each way, which makes
the likelihood a quasi-likelihood: the ratings are still well defined, their scale is compressed by the ties, and the
sandwich covariance stays right where the inverse information would be too wide. `ties` has the models that fit ties.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import inv
from scipy.special import expit, log_expit

from paragone.arena import bootstrap as resampling
from paragone.arena.gauge import (
    TOLERANCE,
    FitOptions,
    Gauge,
    Interval,
    few_clusters,
    gauge_of,
    parameters_of,
)
from paragone.arena.intervals import (
    NORMAL_QUANTILE,
    clusters_of,
    one_sided,
    only_tied,
    sandwich,
)
from paragone.arena.likelihood import Fit, OutcomeModel, check_identified, maximise, pairs_of
from paragone.arena.profile import dispersion, profile_bounds
from paragone.arena.ratings import Anchor, Ratings
from paragone.arena.votes import BOTH_BAD, TIE, BothBad, Cells, FloatArray, code_clusters, code_votes, fold
from paragone.data.errors import NotIdentifiable, UsageError

NOTHING = np.zeros(())


class BradleyTerry:
    """The outcome model with half-win ties; see `OutcomeModel` for the shapes."""

    has_tie_parameter = False

    @property
    def without_ties(self) -> OutcomeModel:
        """Itself."""
        return self

    def log_likelihood(self, d: FloatArray, tau: FloatArray | float) -> FloatArray:
        """The logarithms of σ(d) and σ(−d), and their mean."""
        win, loss = log_expit(d), log_expit(-d)
        return np.stack([win, loss, (win + loss) / 2])

    def scores(self, d: FloatArray, tau: FloatArray | float) -> tuple[FloatArray, FloatArray]:
        """Outcome less expectation, y − σ(d), with y = 1, 0, ½."""
        p, q = expit(d), expit(-d)  # q rather than 1 − p, which loses its digits
        return np.stack([q, -p, (q - p) / 2]), NOTHING

    def total_score(self, weight: FloatArray, d: FloatArray, tau: FloatArray | float) -> tuple[FloatArray, FloatArray]:
        """Score less expected score; P(win) = ½ + ½ tanh(d/2)."""
        lead = np.tanh(d / 2)
        return (weight[0] - weight[1] - (weight[0] + weight[1] + weight[2]) * lead) / 2, NOTHING

    def curvature(self, d: FloatArray, tau: FloatArray | float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """σ(d)σ(−d), whatever the outcome."""
        variance = expit(d) * expit(-d)
        return np.stack([variance] * 3), NOTHING, NOTHING

    def start(self, decisive: float, ties: float) -> float:
        """There is no tie parameter: τ is where the others have no ties."""
        return -math.inf

    def tie_parameter(self, tau: float) -> float:
        """There is none."""
        return math.nan


def expected_score(d: float, tie_parameter: float | None = None) -> float:
    """P(win) + P(tie)/2 at a difference d in natural units."""
    return float(expit(d))


def fit_bradley_terry(
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
    """Bradley-Terry ratings of a table of votes, or of cells.

    Args:
        votes: rows with `model_a`, `model_b`, `winner` and optionally `weight`; or `Cells`.
        ci: 95 % intervals from the sandwich covariance, the bootstrap or the profile likelihood, or none.
        bootstrap: number of bootstrap replicates (used by ci="bootstrap").
        seed: of the bootstrap.
        cluster: a column, such as "voter" or "prompt", within whose values votes may depend on each other.
        scale: rating points by which the odds grow `base`-fold.
        base: see `scale`.
        initial: the mean of all ratings, unless there is an anchor.
        anchor: a model and the rating it is given, {"model": 1200} or ("model", 1200).
        both_bad: count a `both_bad` vote as a tie, or drop it.
        prior: standard deviation (points) of a Gaussian prior around `initial` on each rating; None is no prior.

    Raises:
        InputError, UnknownOutcome: a row of votes that cannot be used.
        NotIdentifiable: too few votes, groups that never met, or undefeated or winless models without a prior.
        UsageError: an option that cannot work.
    """
    options = FitOptions(ci, bootstrap, seed, cluster, scale, base, initial, anchor, both_bad, prior)
    return fit_outcome_model("bradley-terry", BradleyTerry(), votes, options)


def fit_outcome_model(method: str, model: OutcomeModel, votes: pd.DataFrame | Cells, options: FitOptions) -> Ratings:
    """The one path of every likelihood rater: cells, identifiability, Newton, gauge, intervals."""
    cells, grouped = _cells(votes, options)
    warnings = list(check_identified(cells, ties=model.has_tie_parameter, prior=options.prior is not None))
    gauge = gauge_of(options, cells.models)
    fitted = model
    if model.has_tie_parameter and not cells.ties.any():
        fitted = model.without_ties
        warnings.append("no vote is a tie: the tie parameter is at its lower end, and the ratings are Bradley-Terry's")
    fit = maximise(
        fitted,
        pairs_of(cells),
        cells.weight[:BOTH_BAD],
        tolerance=TOLERANCE / options.points,
        precision=options.precision,
    )
    estimate = _uncertainty(fitted, fit, cells, grouped, gauge, options)
    parameters = parameters_of(options, cells.models) | estimate.parameters
    if options.cluster is not None and grouped is not None:
        parameters["n_clusters"] = clusters_of(grouped)[1]
    if model.has_tie_parameter:
        parameters |= {"ties": "modelled", "tie_parameter": model.tie_parameter(fit.tau)}
    return Ratings.assemble(
        cells,
        gauge.ratings(fit.theta),
        interval=estimate.interval,
        covariance=estimate.covariance,
        method=method,
        parameters=parameters,
        warnings=(*warnings, *estimate.warnings),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Uncertainty:
    interval: tuple[FloatArray, FloatArray] | None = None
    covariance: FloatArray | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def _uncertainty(
    model: OutcomeModel, fit: Fit, cells: Cells, grouped: Cells | None, gauge: Gauge, options: FitOptions
) -> _Uncertainty:
    if options.ci == "none":
        return _Uncertainty()
    if options.ci == "sandwich":
        covariance = gauge.covariance(sandwich(model, fit, cells, grouped, options.precision))
        rating, half = gauge.ratings(fit.theta), NORMAL_QUANTILE * np.sqrt(np.diag(covariance).clip(min=0))
        tied = ", ".join(cells.models[m] for m in only_tied(cells))
        notes = [f"all votes on {tied} are ties: their intervals rest on the model's own variance"] if tied else []
        return _Uncertainty((rating - half, rating + half), covariance, {}, (*notes, *_few_clusters(grouped, options)))
    if options.ci == "profile":
        return _profiled(model, fit, cells, gauge, options)
    if not cells.weight[:TIE].any():
        raise NotIdentifiable("every vote is a tie, so resampled votes never differ; use ci='sandwich' (--ci sandwich)")
    drawn = resampling.bootstrap(
        model,
        fit,
        cells,
        grouped,
        replicates=options.bootstrap,
        seed=options.seed,
        tolerance=resampling.TOLERANCE / options.points,
        precision=options.precision,
    )
    replicates = gauge.ratings(drawn.theta)
    lower, upper = resampling.bias_corrected(replicates, gauge.ratings(fit.theta))
    parameters = {"bootstrap": options.bootstrap, "seed": options.seed, "bootstrap_degenerate": drawn.n_degenerate}
    return _Uncertainty(
        (lower, upper), np.cov(replicates), parameters, _bootstrap_notes(drawn, cells, grouped, options)
    )


def _profiled(model: OutcomeModel, fit: Fit, cells: Cells, gauge: Gauge, options: FitOptions) -> _Uncertainty:
    """Profile intervals, and the covariance that the likelihood has at its maximum."""
    if cells.weighted:
        raise UsageError("profile intervals need votes that count once each; use ci='sandwich' with weights")
    scale = dispersion(model, fit, cells)
    lower, upper = profile_bounds(
        model,
        fit,
        cells,
        gauge.contrast,
        scale=scale,
        tolerance=TOLERANCE / options.points,
        precision=options.precision,
    )
    m = len(cells.models)
    covariance = gauge.covariance(scale * inv(fit.information)[:m, :m])
    interval = gauge.level + gauge.points * lower, gauge.level + gauge.points * upper
    return _Uncertainty(interval, covariance, {"dispersion": scale})


def _bootstrap_notes(
    drawn: resampling.Replicates, cells: Cells, grouped: Cells | None, options: FitOptions
) -> tuple[str, ...]:
    warnings = [*_few_clusters(grouped, options)]
    if one_sided(cells).any():
        warnings.append(
            "the votes on some models are all won, all lost or all tied and never vary when resampled: their bootstrap "
            "intervals are too narrow; use ci='sandwich' (--ci sandwich)"
        )
    if drawn.n_degenerate:
        warnings.append(
            f"{drawn.n_degenerate} of {options.bootstrap} bootstrap replicates have no finite ratings and are left "
            "out: the intervals are too narrow; use the sandwich or a prior"
        )
    return tuple(warnings)


def _few_clusters(grouped: Cells | None, options: FitOptions) -> tuple[str, ...]:
    return () if grouped is None else few_clusters(options.cluster, clusters_of(grouped)[1])


def _cells(votes: pd.DataFrame | Cells, options: FitOptions) -> tuple[Cells, Cells | None]:
    """The cells to fit and, for clustered intervals, the cells of each cluster; `both_bad` is settled in both."""
    if isinstance(votes, Cells):
        if options.cluster is not None or votes.cluster is not None:
            raise UsageError("cells no longer know the clusters of their votes; give the table of votes")
        if options.ci == "bootstrap" and votes.weighted:
            raise UsageError("weighted cells cannot be resampled; give the table of votes, or use ci='sandwich'")
        return votes.settle(options.both_bad), None
    coded = code_votes(votes)
    cluster = None
    if options.cluster is not None:
        cluster = code_clusters(votes, options.cluster)
    elif options.ci == "bootstrap" and coded.weight is not None:
        cluster = np.arange(coded.a.size)  # weights differ within a cell, so votes are resampled one by one
    grouped = None if cluster is None else fold(coded, cluster).settle(options.both_bad)
    return fold(coded).settle(options.both_bad), grouped
