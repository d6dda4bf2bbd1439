"""Online Elo ratings (Elo, *The Rating of Chessplayers, Past and Present*, 1978).

    E_a = 1 / (1 + base^((R_b − R_a)/scale)),   R_a += k·w·(S_a − E_a),   R_b −= k·w·(S_a − E_a)

with S = 1, ½, 0. One pass over the votes in the order of their rows: later votes weigh more, and another order gives
other ratings. It suits a live number; Bradley-Terry is the rating for a published board. The bootstrap's interval
covers both what other votes and what another order of them would have changed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd

from paragone.arena.gauge import check_scale
from paragone.arena.intervals import NORMAL_QUANTILE
from paragone.arena.likelihood import islands
from paragone.arena.ratings import Anchor, Ratings, resolve_anchor
from paragone.arena.votes import BOTH_BAD, BothBad, CodedVotes, FloatArray, IntArray, code_votes, fold
from paragone.data.errors import NotIdentifiable, UsageError

SCORES = np.array([1.0, 0.0, 0.5, 0.5])  # of side A, by the index of the outcome
SIGNS = 2 * SCORES - 1
ORDER_MATTERS = "Elo depends on the order of the votes: in another order they give other ratings"
DRAWN_AT_ONCE = 1 << 20  # resampled votes in memory


def expected_score(rating_a: float, rating_b: float, *, scale: float = 400.0, base: float = 10.0) -> float:
    """Score that A expects against B, in [0, 1]. The tanh form of the logistic cannot overflow."""
    return 0.5 + 0.5 * math.tanh((rating_a - rating_b) * math.log(base) / (2 * scale))


def elo_update(
    rating_a: float, rating_b: float, score_a: float, *, k: float = 4.0, scale: float = 400.0, base: float = 10.0
) -> tuple[float, float]:
    """Both ratings after one vote with score 1, ½ or 0 for A; their sum stays."""
    delta = k * (score_a - expected_score(rating_a, rating_b, scale=scale, base=base))
    return rating_a + delta, rating_b - delta


def fit_elo(
    votes: pd.DataFrame,
    *,
    k: float = 4.0,
    scale: float = 400.0,
    base: float = 10.0,
    initial: float = 1000.0,
    both_bad: BothBad = "tie",
    anchor: Anchor = None,
    ci: Literal["none", "bootstrap"] = "none",
    bootstrap: int = 200,
    seed: int = 0,
) -> Ratings:
    """Elo ratings after the last row of `votes`; a vote of weight w moves the ratings w times as far.

    Args:
        votes: rows with `model_a`, `model_b`, `winner` and optionally `weight`, oldest first.
        k: largest change by one vote, rating points.
        scale: rating points by which the odds grow `base`-fold.
        base: see `scale`.
        initial: rating of a model before its first vote.
        both_bad: count a `both_bad` vote as a tie, or drop it.
        anchor: a model and the rating that it is shifted to in the end, with all others.
        ci: "bootstrap" replays votes drawn with replacement, thus in another order too; about 10 µs a vote for 200.
        bootstrap: replicates, at least 100.
        seed: of the bootstrap.

    Raises:
        InputError, UnknownOutcome: a row of votes that cannot be used.
        NotIdentifiable: no votes.
        UsageError: an option that cannot work.
    """
    coded, _ = _played(votes, both_bad)
    rating, _ = _play(coded, k=k, scale=scale, base=base, initial=initial)
    fixed = resolve_anchor(anchor, coded.models)
    if fixed is not None:
        rating += fixed[1] - rating[fixed[0]]
    interval = covariance = None
    if ci == "bootstrap":
        replicates = _replay(coded, bootstrap, seed, k=k, steepness=math.log(base) / (2 * scale))
        if fixed is not None:
            replicates -= replicates[:, [fixed[0]]]
        covariance = np.atleast_2d(np.cov(replicates, rowvar=False))
        half = NORMAL_QUANTILE * np.sqrt(np.diag(covariance))
        interval = (rating - half, rating + half)
    elif ci != "none":
        raise UsageError(f"ci={ci!r}: Elo has intervals by 'bootstrap', or 'none'")
    cells = fold(coded).settle(both_bad)
    return Ratings.assemble(
        cells,
        rating,
        interval=interval,
        covariance=covariance,
        method="elo",
        parameters={
            "k": k,
            "scale": scale,
            "base": base,
            "initial": initial,
            "anchor": None if fixed is None else {coded.models[fixed[0]]: fixed[1]},
            "both_bad": both_bad,
            "ties": "half a win each way",
            "ci": ci,
            **({"bootstrap": bootstrap, "seed": seed} if ci == "bootstrap" else {}),
        },
        warnings=tuple(filter(None, (ORDER_MATTERS, _disorder(votes), islands(cells)))),
    )


def elo_history(
    votes: pd.DataFrame,
    *,
    k: float = 4.0,
    scale: float = 400.0,
    base: float = 10.0,
    initial: float = 1000.0,
    both_bad: BothBad = "tie",
) -> pd.DataFrame:
    """The ratings after each vote: two rows a vote, with columns `vote` (from 1), `model` and `rating`."""
    coded, rows = _played(votes, both_bad)
    _, trace = _play(coded, k=k, scale=scale, base=base, initial=initial, keep=True)
    sides = np.stack([coded.a, coded.b], axis=1).reshape(-1)
    return pd.DataFrame(
        {"vote": np.repeat(rows + 1, 2), "model": np.array(coded.models, object)[sides], "rating": trace}
    )


def _played(votes: pd.DataFrame, both_bad: BothBad) -> tuple[CodedVotes, IntArray]:
    """The votes that count, checked, and their row indices."""
    if both_bad not in ("tie", "drop"):
        raise UsageError(f"both_bad={both_bad!r}: use 'tie' (count it as a tie) or 'drop' (leave it out)")
    coded = code_votes(votes)
    rows = np.arange(coded.a.size)
    if both_bad == "drop":
        rows = np.flatnonzero(coded.outcome != BOTH_BAD)
        weight = None if coded.weight is None else coded.weight[rows]
        coded = CodedVotes(coded.models, coded.a[rows], coded.b[rows], coded.outcome[rows], weight)
    if not rows.size:
        raise NotIdentifiable("there are no votes to rate the models by")
    return coded, rows


def _play(
    coded: CodedVotes, *, k: float, scale: float, base: float, initial: float, keep: bool = False
) -> tuple[FloatArray, FloatArray]:
    """[M] ratings in the end and, with `keep`, [2V] those of both sides after each vote: `elo_update`, inlined."""
    check_scale(scale, base, initial)
    if not (math.isfinite(k) and k > 0):
        raise UsageError(f"k={k}: give a number of rating points above 0")
    steepness, tanh = math.log(base) / (2 * scale), math.tanh
    strength = [0.0] * len(coded.models)  # (rating − initial)·steepness: a tanh takes it as it is
    trace: list[float] = []
    gains: Iterable[float] = itertools.repeat(k * steepness / 2)
    if coded.weight is not None:
        gains = (k * steepness / 2 * coded.weight).tolist()
    signs = SIGNS[coded.outcome].tolist()
    for a, b, sign, gain in zip(coded.a.tolist(), coded.b.tolist(), signs, gains, strict=False):
        strength_a, strength_b = strength[a], strength[b]
        delta = gain * (sign - tanh(strength_a - strength_b))
        strength[a] = strength_a + delta
        strength[b] = strength_b - delta
        if keep:
            trace += (strength[a], strength[b])
    return initial + np.array(strength) / steepness, initial + np.array(trace) / steepness


def _replay(coded: CodedVotes, replicates: int, seed: int, *, k: float, steepness: float) -> FloatArray:
    """[B, M] what each model gains over as many votes as there are, drawn with replacement; B replicates abreast."""
    if replicates < 100:
        raise UsageError(f"bootstrap={replicates}: give at least 100 replicates")
    rng, n_votes = np.random.default_rng(seed), coded.a.size
    gain = np.full(n_votes, k) if coded.weight is None else k * coded.weight
    half_score = SCORES[coded.outcome] - 0.5
    rating, row = np.zeros((replicates, len(coded.models))), np.arange(replicates)
    size = max(1, DRAWN_AT_ONCE // replicates)
    for start in range(0, n_votes, size):
        for drawn in rng.integers(n_votes, size=(min(size, n_votes - start), replicates)):
            a, b = coded.a[drawn], coded.b[drawn]
            expected = 0.5 * np.tanh((rating[row, a] - rating[row, b]) * steepness)
            delta = gain[drawn] * (half_score[drawn] - expected)
            rating[row, a] += delta
            rating[row, b] -= delta
    return rating


def _disorder(votes: pd.DataFrame) -> str:
    """A warning when `created_at` says that the rows are not in the order of time."""
    if "created_at" not in votes.columns:
        return ""
    try:
        ordered = votes["created_at"].dropna().is_monotonic_increasing
    except TypeError:  # times of several kinds cannot be compared
        ordered = False
    return "" if ordered else "the rows are not in the order of created_at; sort them, Elo takes them as they come"
