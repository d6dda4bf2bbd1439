"""Bradley-Terry ratings with covariates: what a vote owes to style, size, latency or side is kept out of the ratings.

P(i beats j) = σ(θ_i − θ_j + zᵀγ) with z the differences of `covariates`, by maximum likelihood: the logistic regression
of Springall ("Response surface fitting using a generalization of the Bradley-Terry paired comparison model", Applied
Statistics 22, 1973), which arenas call style control; with a constant column it is the order effect of Davidson and
Beaver (Biometrics 33, 1977). Ties are half a win each way, as in `bradley_terry`, and the sandwich covariance is joint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.linalg import inv
from scipy.sparse import coo_array
from scipy.special import expit

from paragone.arena.bradley_terry import BradleyTerry
from paragone.arena.covariates import Covariates, read_covariates
from paragone.arena.design import Design, collinear, fit_logistic
from paragone.arena.gauge import TOLERANCE, FitOptions, few_clusters, gauge_of, parameters_of
from paragone.arena.intervals import LEVEL, NORMAL_QUANTILE, one_sided, only_tied
from paragone.arena.likelihood import check_identified, is_identified, maximise, pairs_of
from paragone.arena.ratings import Anchor, Ratings
from paragone.arena.votes import (
    BOTH_BAD,
    TIE,
    BothBad,
    Cells,
    CodedVotes,
    FloatArray,
    IntArray,
    code_clusters,
    code_votes,
    fold,
    scatter,
)
from paragone.data.errors import NotIdentifiable, UsageError

CHORD_STEPS = 30
CHUNK = 1 << 21  # numbers in one block of replicates, [3, R, b] weights
SAMPLE = 10_000  # votes that show whether rows of covariates repeat


def fit_contextual(
    votes: pd.DataFrame,
    *,
    covariates: Sequence[str] = (),
    side: bool = False,
    ridge: float = 0.0,
    ci: Literal["none", "sandwich", "bootstrap"] = "sandwich",
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
    """Bradley-Terry ratings at equal covariates; without any they are `fit_bradley_terry`'s.

    Args:
        votes: rows with `model_a`, `model_b`, `winner`, optionally `weight`, and the columns of the covariates.
        covariates: as `covariates` writes them: "latency", "megapixels:log", "length:relative", "style:category".
        side: fit what being `model_a` is worth; only where `model_a` is the model that was shown first (or left).
        ridge: precision of a Gaussian prior around 0 on each coefficient per sd, natural units; 0 is none.
        ci: 95 % intervals of ratings and coefficients: from the joint sandwich, from the bootstrap, or none.
        bootstrap: number of bootstrap replicates (used by ci="bootstrap").
        seed: of the bootstrap.
        cluster: a column, such as "voter" or "prompt", within whose values votes may depend on each other.
        scale: rating points by which the odds grow `base`-fold.
        base: see `scale`.
        initial: the mean of all ratings, unless there is an anchor.
        anchor: a model and the rating it is given, {"model": 1200} or ("model", 1200).
        both_bad: count a `both_bad` vote as a tie, or drop it.
        prior: standard deviation (points) of a Gaussian prior around `initial` on each rating; None is no prior.

    `parameters["covariates"]` holds a dict for each: `points` (rating points that one unit more is worth) with its
    `standard_error`, `lower` and `upper`; `points_per_sd`, for a root mean square difference `sd`; and both in natural
    units, `coefficient` and `coefficient_per_sd`.

    Raises:
        InputError, UnknownOutcome: a row of votes, or a value of a covariate, that cannot be used.
        NotIdentifiable: as `fit_bradley_terry`, and for a covariate that never differs, that the ratings or other
            covariates determine, or that explains every vote.
        UsageError: an option that cannot work, or a missing column.
    """
    if ci not in ("none", "sandwich", "bootstrap"):
        raise UsageError(f"ci={ci!r}: use 'none', 'sandwich' or 'bootstrap'")
    options = FitOptions(ci, bootstrap, seed, cluster, scale, base, initial, anchor, both_bad, prior)
    if not (np.isfinite(ridge) and ridge >= 0):
        raise UsageError(f"ridge={ridge}: give 0 or a number above")
    if not isinstance(votes, pd.DataFrame):
        raise UsageError("covariates belong to votes, not to cells; give the table of votes")
    coded, kept = _settled(code_votes(votes), both_bad)
    cells = fold(coded)
    warnings = list(check_identified(cells, ties=False, prior=prior is not None))
    columns = read_covariates(votes, covariates, side=side, rows=kept)
    units = None if cluster is None else code_clusters(votes, cluster)[kept]
    rows = _rows(coded, cells, columns, units, single=units is not None or (ci == "bootstrap" and cells.weighted))
    if problem := collinear(rows.design, rows.total):
        if ridge == 0:
            raise NotIdentifiable(f"{problem}; leave it out, or give a ridge")
        warnings.append(f"{problem}; the ridge alone parts them")
    fitted = _Contextual.of(rows, cells, options, ridge)
    return fitted.ratings(columns, warnings)


def _settled(coded: CodedVotes, both_bad: BothBad) -> tuple[CodedVotes, IntArray]:
    """The votes with `both_bad` counted as a tie, or without them, and the rows that they came from."""
    if both_bad == "tie":
        outcome = np.minimum(coded.outcome, TIE)
        return CodedVotes(coded.models, coded.a, coded.b, outcome, coded.weight), np.arange(outcome.size)
    if both_bad != "drop":
        raise UsageError(f"both_bad={both_bad!r}: use 'tie' (count it as a tie) or 'drop' (leave it out)")
    kept = np.flatnonzero(coded.outcome != BOTH_BAD)
    weight = None if coded.weight is None else coded.weight[kept]
    return CodedVotes(coded.models, coded.a[kept], coded.b[kept], coded.outcome[kept], weight), kept


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Votes summed over (pair, covariates), or one by one. Outcome axis: i wins, j wins, tie."""

    design: Design
    weight: FloatArray  # [3, R] sum of weights
    square: FloatArray  # [3, R] sum of squared weights
    cluster: IntArray | None  # [R] the unit that is resampled or summed; None: every vote is one

    @property
    def total(self) -> FloatArray:
        """[R] weight of all votes."""
        total: FloatArray = self.weight.sum(axis=0)
        return total

    @property
    def wins(self) -> FloatArray:
        """[R] weight of the votes that i won, a tie being half of one."""
        wins: FloatArray = self.weight[0] + self.weight[TIE] / 2
        return wins


def _rows(coded: CodedVotes, cells: Cells, columns: Covariates, units: IntArray | None, *, single: bool) -> _Rows:
    """Rows of the regression; votes with the same pair and covariates share one unless they are wanted `single`."""
    m = len(coded.models)
    z = columns.values * np.where(coded.a < coded.b, 1.0, -1.0)[:, None]
    if not single and (kind := _kinds(z)) is not None:
        merged = fold(coded, kind)
        i, j, weight, square = merged.i, merged.j, merged.weight[:BOTH_BAD], merged.square[:BOTH_BAD]
        first = np.zeros(int(kind.max(initial=-1)) + 1, np.int64)
        first[kind[::-1]] = np.arange(kind.size)[::-1]
        z = z[first[merged.cluster]]
    else:
        i, j = np.minimum(coded.a, coded.b), np.maximum(coded.a, coded.b)
        outcome = np.where((coded.a > coded.b) & (coded.outcome < TIE), 1 - coded.outcome, coded.outcome)
        weight = np.zeros((BOTH_BAD, i.size))
        weight[outcome, np.arange(i.size)] = 1.0 if coded.weight is None else coded.weight
        square = weight if coded.weight is None else weight**2
        units = np.arange(i.size) if single and units is None else units
    position = np.zeros(m * m, np.int64)
    position[cells.i * m + cells.j] = np.arange(cells.i.size)
    pair = position[i * m + j]
    return _Rows(Design(pairs_of(cells), pair, z, columns.names), weight, square, units)


def _kinds(z: FloatArray) -> IntArray | None:
    """[V] a number for each distinct row of covariates; None when rows hardly repeat and merging saves nothing."""

    def number(rows: FloatArray) -> IntArray:
        kind = np.zeros(len(rows), np.int64)
        for column in rows.T:
            codes, levels = pd.factorize(column)
            kind, _ = pd.factorize(kind * len(levels) + codes)
        return kind.astype(np.int64)

    sample = number(z[:: max(1, len(z) // SAMPLE)])
    return number(z) if sample.size and sample.max() < sample.size / 2 else None


@dataclass(frozen=True, slots=True, eq=False)
class _Contextual:
    """The fit and what its uncertainty needs. β = (θ, γ per sd), natural units."""

    rows: _Rows
    cells: Cells
    options: FitOptions
    ridge: float
    precision: FloatArray  # [P]
    beta: FloatArray  # [P]
    information: FloatArray  # [P, P]

    @classmethod
    def of(cls, rows: _Rows, cells: Cells, options: FitOptions, ridge: float) -> _Contextual:
        """Newton from the ratings without covariates."""
        m, f = len(cells.models), len(rows.design.names)
        tolerance = TOLERANCE / options.points
        plain = maximise(
            BradleyTerry(), pairs_of(cells), cells.weight[:BOTH_BAD], tolerance=tolerance, precision=options.precision
        )
        precision = np.concatenate([np.full(m, options.precision), np.full(f, ridge)])
        beta, information = fit_logistic(
            rows.design,
            rows.total,
            rows.wins,
            precision=precision,
            tolerance=tolerance,
            start=np.concatenate([plain.theta, np.zeros(f)]),
        )
        return cls(rows, cells, options, ridge, precision, beta, information)

    def ratings(self, columns: Covariates, warnings: list[str]) -> Ratings:
        """Points, intervals and coefficients."""
        m, gauge, options = len(self.cells.models), gauge_of(self.options, self.cells.models), self.options
        rating, per_sd = gauge.ratings(self.beta[:m]), gauge.points * self.beta[m:]
        interval = covariance = bounds = error = None
        parameters, degenerate = parameters_of(options, self.cells.models), 0
        if options.ci == "sandwich":
            joint = self.sandwich()
            covariance = gauge.covariance(joint[:m, :m])
            half = NORMAL_QUANTILE * np.sqrt(np.diag(covariance).clip(min=0))
            interval, error = (rating - half, rating + half), gauge.points * np.sqrt(np.diag(joint)[m:])
            bounds = per_sd - NORMAL_QUANTILE * error, per_sd + NORMAL_QUANTILE * error
        elif options.ci == "bootstrap":
            drawn, degenerate = self.bootstrap()
            replicates, slopes = gauge.ratings(drawn[:m]), gauge.points * drawn[m:]
            covariance, error = np.cov(replicates), slopes.std(axis=1, ddof=1)
            tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
            interval, bounds = _pair(np.quantile(replicates, tails, axis=1)), _pair(np.quantile(slopes, tails, axis=1))
            parameters |= {"bootstrap": options.bootstrap, "seed": options.seed, "bootstrap_degenerate": degenerate}
        if options.cluster is not None:
            parameters["n_clusters"] = self._clusters()[1]
        parameters |= {
            "ridge": self.ridge,
            "covariates": _coefficients(columns, per_sd, gauge.points, error, bounds),
        }
        return Ratings.assemble(
            self.cells,
            rating,
            interval=interval,
            covariance=covariance,
            method="contextual",
            parameters=parameters,
            warnings=(*warnings, *self._notes(degenerate)),
        )

    def sandwich(self) -> FloatArray:
        """[P, P] joint covariance of β; priors count as one observation each, as in `intervals`."""
        rows, design = self.rows, self.rows.design
        d = design.differences(self.beta)
        p, q = expit(d), expit(-d)
        score = np.stack([q, -p, (q - p) / 2])
        lacking = (rows.square * (p * q - score**2)).sum(axis=0).clip(min=0)
        lacking[~one_sided(self.cells)[design.pair]] = 0.0
        if self.options.cluster is None:
            meat = design.products((rows.square * score**2).sum(axis=0) + lacking)
        else:
            cluster, n_clusters = self._clusters()
            sums = coo_array(((rows.weight * score).sum(axis=0), (cluster, np.arange(d.size))))
            u = sums.tocsr() @ design.matrix()
            meat = (u.T @ u).toarray() * (n_clusters / (n_clusters - 1)) + design.products(lacking)
        meat[np.diag_indices(design.size)] += self.precision
        inverse = inv(self.information)
        covariance: FloatArray = inverse @ meat @ inverse
        return covariance

    def bootstrap(self) -> tuple[FloatArray, int]:
        """[P, B] refits of resampled votes (or clusters) and how many had no maximum and are left out.

        Replicates of a chunk take chord steps (the information of the full fit) together; those that do not settle are
        refitted one by one. Each chunk has its own seed. With a prior its centre is redrawn too.
        """
        wanted, rows = self.options.bootstrap, self.rows
        if not self.cells.weight[:TIE].any():
            raise NotIdentifiable(
                "every vote is a tie, so resampled votes never differ; use ci='sandwich' (--ci sandwich)"
            )
        size = max(1, min(wanted, CHUNK // rows.weight.size))
        sizes = [min(size, wanted - start) for start in range(0, wanted, size)]
        matrix, inverse = rows.design.matrix(), inv(self.information)
        parts = []
        for chunk, seed in zip(sizes, np.random.SeedSequence(self.options.seed).spawn(len(sizes)), strict=True):
            rng = np.random.default_rng(seed)
            weight, centre = self._draw(rng, chunk), self._centres(rng, chunk)
            beta, settled = self._chord(weight, centre, matrix, inverse)
            for b in np.flatnonzero(~settled):
                beta[:, b] = self._one(weight[:, :, b], centre[:, b])
            parts.append(beta)
        drawn = np.concatenate(parts, axis=1)
        finite = np.isfinite(drawn).all(axis=0)
        degenerate = int((~finite).sum())
        if degenerate > wanted / 2:
            raise NotIdentifiable(
                f"{degenerate} of {wanted} bootstrap replicates have no finite ratings; "
                "collect more votes, use ci='sandwich', or give a prior (prior=, --prior SD)"
            )
        return drawn[:, finite], degenerate

    def _draw(self, rng: np.random.Generator, size: int) -> FloatArray:
        """[3, R, b] weights of resampled votes."""
        weight = self.rows.weight
        if self.rows.cluster is None:
            n = weight.reshape(-1)
            drawn = np.zeros((n.size, size))
            filled, total = np.flatnonzero(n), int(n.sum())
            drawn[filled] = rng.multinomial(total, n[filled] / total, size).T
            return drawn.reshape(*weight.shape, size)
        cluster, n_clusters = self._clusters()
        times = np.stack(
            [np.bincount(rng.integers(n_clusters, size=n_clusters), minlength=n_clusters) for _ in range(size)], axis=1
        )
        resampled: FloatArray = weight[:, :, None] * times[cluster]
        return resampled

    def _centres(self, rng: np.random.Generator, size: int) -> FloatArray:
        spread = np.divide(1, np.sqrt(self.precision), out=np.zeros_like(self.precision), where=self.precision > 0)
        centre: FloatArray = rng.normal(size=(spread.size, size)) * spread[:, None]
        return centre

    def _chord(
        self, weight: FloatArray, centre: FloatArray, matrix: Any, inverse: FloatArray
    ) -> tuple[FloatArray, np.ndarray[Any, np.dtype[np.bool_]]]:
        """[P, b] after at most `CHORD_STEPS` steps, and [b] which of them settled."""
        total, wins = weight.sum(axis=0), weight[0] + weight[TIE] / 2
        beta = np.repeat(self.beta[:, None], weight.shape[2], axis=1)
        for _ in range(CHORD_STEPS):
            gradient = matrix.T @ (wins - total * expit(matrix @ beta)) - self.precision[:, None] * (beta - centre)
            step = inverse @ gradient
            beta = beta + step
            length = np.abs(step).max(axis=0)
            if not ((length >= self._tolerance) & (length < 30)).any():
                break
        return beta, length < self._tolerance

    def _one(self, weight: FloatArray, centre: FloatArray) -> FloatArray:
        """[P] by damped Newton, NaN when the replicate has no maximum."""
        design = self.rows.design
        by_pair = np.stack([scatter(design.pair, row, design.pairs.i.size) for row in weight])
        nothing = np.full(design.size, np.nan)
        if not self.options.precision and not is_identified(design.pairs, by_pair, ties=False):
            return nothing
        total, wins = weight.sum(axis=0), weight[0] + weight[TIE] / 2
        try:
            return fit_logistic(
                design,
                total,
                wins,
                precision=self.precision,
                tolerance=self._tolerance,
                start=self.beta,
                centre=centre,
            )[0]
        except NotIdentifiable:
            return nothing

    @property
    def _tolerance(self) -> float:
        return TOLERANCE / self.options.points

    def _clusters(self) -> tuple[IntArray, int]:
        """[R] cluster of each row, numbered without gaps, and how many there are."""
        assert self.rows.cluster is not None
        used, cluster = np.unique(self.rows.cluster, return_inverse=True)
        if used.size < 2:
            raise NotIdentifiable("all votes are of one cluster; intervals by cluster need two or more")
        return cluster.astype(np.int64), int(used.size)

    def _notes(self, degenerate: int) -> tuple[str, ...]:
        notes: list[str] = []
        tied, replicates = only_tied(self.cells), self.options.ci == "bootstrap"
        if tied.size and self.options.ci == "sandwich":
            names = ", ".join(self.cells.models[m] for m in tied)
            notes.append(f"all votes on {names} are ties: their intervals rest on the model's own variance")
        if replicates and one_sided(self.cells).any():
            notes.append(
                "the votes on some models are all won, all lost or all tied and never vary when resampled: their "
                "bootstrap intervals are too narrow; use ci='sandwich' (--ci sandwich)"
            )
        if degenerate:
            notes.append(
                f"{degenerate} of {self.options.bootstrap} bootstrap replicates have no finite ratings and are left "
                "out: the intervals are too narrow; use the sandwich or a prior"
            )
        if self.options.cluster is not None:
            notes += few_clusters(self.options.cluster, self._clusters()[1])
        return tuple(notes)


def _pair(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    return rows[0], rows[1]


def _coefficients(
    columns: Covariates,
    per_sd: FloatArray,  # [F] rating points
    points: float,
    error: FloatArray | None,
    bounds: tuple[FloatArray, FloatArray] | None,
) -> list[dict[str, Any]]:
    """One dict a covariate, as `fit_contextual` describes it."""
    table = []
    for k, name in enumerate(columns.names):
        sd = float(columns.sd[k])
        table.append(
            {
                "name": name,
                "points": float(per_sd[k]) / sd,
                "standard_error": None if error is None else float(error[k]) / sd,
                "lower": None if bounds is None else float(bounds[0][k]) / sd,
                "upper": None if bounds is None else float(bounds[1][k]) / sd,
                "points_per_sd": float(per_sd[k]),
                "coefficient": float(per_sd[k]) / points / sd,
                "coefficient_per_sd": float(per_sd[k]) / points,
                "sd": sd,
            }
        )
    return table
