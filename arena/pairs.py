"""Pairs of models: what the votes say, what the ratings say, and how far the two agree.

The intervals of observed win rates are Wilson's (JASA 22, 1927); intervals and ranks that hold for all pairs at once
take the quantile of the largest |t| (Mogstad, Romano, Shaikh and Wilhelm, Review of Economic Studies 91, 2024).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.special import ndtr

from paragone.arena.intervals import LEVEL, NORMAL_QUANTILE
from paragone.arena.ratings import ALL_RATERS, Ratings, check_model
from paragone.arena.votes import BothBad, Cells, FloatArray, IntArray
from paragone.data.errors import UsageError

BLOCK = 1 << 22  # differences of one block of draws


def win_matrix(
    votes: pd.DataFrame | Cells, *, ratings: Ratings | None = None, both_bad: BothBad = "tie"
) -> pd.DataFrame:
    """The share of its votes that each model won against each other, one row an ordered pair that met.

    `frame.pivot(index="model_a", columns="model_b", values="win_rate")` is the matrix.

    Args:
        votes: rows with `model_a`, `model_b`, `winner` and optionally `weight`; or `Cells`.
        ratings: of these votes; adds what they expect, and puts the models in the order of their ratings.
        both_bad: count a `both_bad` vote as a tie, or drop it.

    Returns:
        Columns `model_a`, `model_b`, `n_votes`, `win_rate` = (wins + ties/2) / votes, its 95 % interval
        `win_rate_lower`, `win_rate_upper` (cautious where there are ties, which vary less than wins), and with
        `ratings` also `expected`, the score they expect of `model_a`, and `residual`, the observed less the expected
        score in standard errors. All ratings share one dispersion of the votes about what is expected.

    Raises:
        InputError, UnknownOutcome: a row of votes that cannot be used.
        UsageError: a model of the votes that `ratings` do not have.
    """
    cells = (votes if isinstance(votes, Cells) else Cells.from_votes(votes)).settle(both_bad)
    met = np.flatnonzero(cells.n.sum(axis=0))
    weight = cells.weight.sum(axis=0)[met]
    score = (cells.wins_i + cells.ties / 2)[met] / weight
    effective = weight**2 / cells.square.sum(axis=0)[met]  # votes of equal weight that would vary as much
    lower, upper = wilson(score, effective)
    i, j = cells.i[met], cells.j[met]
    columns = {
        "n_votes": (cells.n.sum(axis=0)[met],) * 2,
        "win_rate": (score, 1 - score),
        "win_rate_lower": (lower, 1 - upper),
        "win_rate_upper": (upper, 1 - lower),
    }
    order = np.arange(len(cells.models))
    if ratings is not None:
        order, expected, residual = _against(ratings, cells, met, score, effective)
        columns |= {"expected": (expected, 1 - expected), "residual": (residual, -residual)}
    names = np.array(cells.models, object)
    sides = {"model_a": (names[i], names[j]), "model_b": (names[j], names[i])}
    frame = pd.DataFrame(
        {name: pd.array(np.concatenate(two).tolist(), dtype="str") for name, two in sides.items()}
        | {name: np.concatenate(two) for name, two in columns.items()}
    )
    rows = np.lexsort((order[np.concatenate([j, i])], order[np.concatenate([i, j])]))
    return frame.iloc[rows].reset_index(drop=True)


def wilson(share: FloatArray, n: FloatArray) -> tuple[FloatArray, FloatArray]:
    """95 % interval of a probability from the share seen in n independent trials, n > 0."""
    z2 = NORMAL_QUANTILE**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_QUANTILE / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def _against(
    ratings: Ratings, cells: Cells, met: IntArray, score: FloatArray, n: FloatArray
) -> tuple[IntArray, FloatArray, FloatArray]:
    """[M] place of each model of the cells among the ratings; [K] expected score and residual in standard errors."""
    for model in cells.models:
        check_model(model, ratings.models)
    place = np.array([ratings.models.index(model) for model in cells.models], np.int64)
    d = ratings.rating[place[cells.i[met]]] - ratings.rating[place[cells.j[met]]]
    expected = expected_scores(ratings, d)
    variance = expected * (1 - expected)
    wins, losses, ties = (cells.weight[row][met] for row in range(3))
    seen = wins * (1 - expected) ** 2 + losses * expected**2 + ties * (0.5 - expected) ** 2
    dispersion = seen.sum() / ((wins + losses + ties) * variance).sum()
    error = np.sqrt(dispersion * variance / n)
    residual = np.divide(score - expected, error, out=np.zeros_like(error), where=error > 0)
    return place, expected, residual


def expected_scores(ratings: Ratings, difference: FloatArray) -> FloatArray:
    """P(win) + P(tie)/2 at differences of rating [N], under the fitted model."""
    parameters = ratings.parameters
    rater = ALL_RATERS.get(ratings.method, ALL_RATERS["bradley-terry"])  # a joint board is Bradley-Terry's, too
    natural = difference * math.log(parameters["base"]) / parameters["scale"]
    tie_parameter = parameters.get("tie_parameter")
    return np.array([rater.expected_score(d, tie_parameter) for d in natural.tolist()])


def pairwise(ratings: Ratings, *, simultaneous: bool = False, draws: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """Every pair of models, the better rated as `model_a`, with what is known of their difference.

    Args:
        ratings: with intervals, for their joint covariance.
        simultaneous: intervals that hold for all pairs at once in 95 % of cases, rather than each for itself.
        draws: normal draws from which `simultaneous` takes its quantile.
        seed: of the draws.

    Returns:
        Columns `model_a`, `model_b`; `difference`, its `standard_error`, `lower`, `upper` (rating points);
        `probability`, the score that `model_a` expects against `model_b`, at the difference and at the ends of its
        interval (`probability_lower`, `probability_upper`); and `p_better`, the probability that `model_a` is the
        better one, Φ(difference / standard error).
    """
    covariance = _covariance(ratings)
    i, j = np.triu_indices(len(ratings.models), 1)
    difference = ratings.rating[i] - ratings.rating[j]
    error = standard_errors(covariance)[i, j]
    quantile = largest_t(covariance, draws=draws, seed=seed) if simultaneous else NORMAL_QUANTILE
    lower, upper = difference - quantile * error, difference + quantile * error
    t = np.divide(difference, error, out=np.zeros_like(error), where=error > 0)
    names = list(ratings.models)
    return pd.DataFrame(
        {
            "model_a": pd.array([names[k] for k in i], dtype="str"),
            "model_b": pd.array([names[k] for k in j], dtype="str"),
            "difference": difference,
            "standard_error": error,
            "lower": lower,
            "upper": upper,
            "probability": expected_scores(ratings, difference),
            "probability_lower": expected_scores(ratings, lower),
            "probability_upper": expected_scores(ratings, upper),
            "p_better": ndtr(t),
        }
    )


def standard_errors(covariance: FloatArray) -> FloatArray:
    """[M, M] standard errors of all differences."""
    variance = np.diag(covariance)
    errors: FloatArray = np.sqrt((variance[:, None] + variance - 2 * covariance).clip(min=0))
    return errors


def largest_t(covariance: FloatArray, *, draws: int, seed: int) -> float:
    """The 95 % quantile of the largest |difference / standard error| over all pairs, by normal draws."""
    m = covariance.shape[0]
    i, j = np.triu_indices(m, 1)
    error = standard_errors(covariance)[i, j]
    apart = error > 0
    if not apart.any():
        return NORMAL_QUANTILE
    i, j, error = i[apart], j[apart], error[apart]
    rng, largest = np.random.default_rng(seed), []
    for start in range(0, draws, size := max(1, BLOCK // i.size)):
        drawn = normal_draws(rng, covariance, min(size, draws - start))
        largest.append((np.abs(drawn[i] - drawn[j]) / error[:, None]).max(axis=0))
    return float(np.quantile(np.concatenate(largest), LEVEL))


def normal_draws(rng: np.random.Generator, covariance: FloatArray, draws: int) -> FloatArray:
    """[M, draws] of mean 0; the covariance may be singular, as that of anchored or centred ratings is."""
    value, vector = np.linalg.eigh(covariance)
    drawn: FloatArray = (vector * np.sqrt(value.clip(min=0))) @ rng.standard_normal((value.size, draws))
    return drawn


def simulate_ranks(ratings: Ratings, *, draws: int = 10_000, seed: int = 0, simultaneous: bool = False) -> pd.DataFrame:
    """Rank intervals and the chance of being best, from normal draws with the joint covariance.

    Narrower than `rank_intervals`, because errors that models share do not change their ranks.

    Columns: `model`; `rank_lower` and `rank_upper`, the 2.5 % and 97.5 % quantiles of the rank, or with `simultaneous`
    the ranks left open by the differences whose intervals hold for all pairs at once, so that in 95 % of cases every
    model's rank lies in its interval; and `p_best`.
    """
    covariance = _covariance(ratings)
    drawn = ratings.rating[:, None] + normal_draws(np.random.default_rng(seed), covariance, draws)
    rank = 1 + np.argsort(np.argsort(-drawn, axis=0), axis=0)
    if simultaneous:
        margin = largest_t(covariance, draws=draws, seed=seed) * standard_errors(covariance)
        ahead = ratings.rating[:, None] - ratings.rating
        lower, upper = 1 + (ahead < -margin).sum(axis=1), len(ratings.models) - (ahead > margin).sum(axis=1)
    else:
        tail = (1 - LEVEL) / 2
        lower, upper = np.quantile(rank, (tail, 1 - tail), axis=1, method="inverted_cdf")
    return pd.DataFrame(
        {
            "model": list(ratings.models),
            "rank_lower": lower,
            "rank_upper": upper,
            "p_best": (rank == 1).mean(axis=1),
        }
    )


def _covariance(ratings: Ratings) -> FloatArray:
    if ratings.covariance is None:
        raise UsageError(f"{ratings.method} ratings without intervals cannot be simulated; fit with ci='sandwich'")
    return ratings.covariance
