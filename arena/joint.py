"""A joint board of few human and many judge votes by prediction-powered inference: the people's ratings, made sharper.

Angelopoulos et al., "Prediction-powered inference" (Science 382, 2023), with the power tuning of PPI++ (Angelopoulos,
Duchi and Zrnic, 2023, arXiv:2311.01453). The objective is l_h(θ) + λ[l_judge,all(θ) − l_judge,paired(θ)], both judge
terms with the people's weights of the pairs of models. Under Bradley-Terry with half-win ties what is left of the two
is linear in θ: the human wins s_k of a pair k become

    s_k + λ Σ_u c_u f_u        c_u = V_k/M_k − v_u,  Σ_u c_u = 0

with f_u the judges' mean score of battle u, v_u its human votes, M_k the judged battles of the pair and V_k the human
votes on them. So the objective is as concave as the people's, whatever λ, and a bias of the judges which is the same in
judged battles with and without human votes cancels. This needs people's battles that are drawn at random from the
judged battles of their pair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import inv
from scipy.sparse import coo_array, csr_array

from paragone.arena.bradley_terry import BradleyTerry
from paragone.arena.gauge import TOLERANCE, FitOptions, few_clusters, gauge_of, parameters_of
from paragone.arena.intervals import NORMAL_QUANTILE, only_tied
from paragone.arena.items import Items, code_items, item_column
from paragone.arena.likelihood import check_identified, information_matrix, maximise, pairs_of
from paragone.arena.ratings import Anchor, Ratings
from paragone.arena.votes import (
    BOTH_BAD,
    BothBad,
    Cells,
    CodedVotes,
    FloatArray,
    IntArray,
    code_clusters,
    fold,
    scatter,
)
from paragone.data.errors import InputError, NotIdentifiable, UsageError
from paragone.data.records import VoterKind

FEW_PAIRED = 10  # human votes on judged battles, for each model
MODEL = BradleyTerry()


def fit_joint(
    votes: pd.DataFrame,
    *,
    kind: str = "kind",
    item: str | None = None,
    judge_weight: float | None = None,
    cluster: str | None = None,
    scale: float = 400.0,
    base: float = 10.0,
    initial: float = 1000.0,
    anchor: Anchor = None,
    both_bad: BothBad = "tie",
) -> Ratings:
    """Bradley-Terry ratings on the people's scale from human and judge votes that share battles.

    Args:
        votes: rows with `model_a`, `model_b`, `winner`, and what they are on (`paragone.arena.items.code_items`).
        kind: column that says `human` or `judge` of each vote.
        item: column that names what one battle is; without it `battle`, else `prompt` and the two models.
        judge_weight: λ in [0, 1]; None chooses it so that the trace of the covariance is least. 0 is people alone.
        cluster: column within whose values votes may depend on each other; by default a battle. A judge's vote goes
            with the human vote on the same battle; with cluster="voter" a battle without one is by itself.
        scale: rating points by which the odds grow `base`-fold.
        base: see `scale`.
        initial: the mean of all ratings, unless there is an anchor.
        anchor: a model and the rating it is given.
        both_bad: count a `both_bad` vote as a tie, or drop it.

    `parameters` has `lambda`, the numbers of votes, and `effective_gain`: by how much more human votes alone would
    have to be to know the ratings as well (ratio of the traces of the covariances). `n_votes`, `model_votes` and
    `win_rate` are of the human votes.

    Raises:
        InputError, UnknownOutcome: a row that cannot be used; no votes of one kind; no battle with votes of both.
        NotIdentifiable: the human votes alone do not determine the ratings.
        UsageError: an option that cannot work.
    """
    if judge_weight is not None and not 0 <= judge_weight <= 1:
        raise UsageError(f"judge_weight={judge_weight}: give a number from 0 (people alone) to 1, or None to choose it")
    options = FitOptions("sandwich", 1000, 0, cluster, scale, base, initial, anchor, both_bad, None)
    data = _read(votes, kind, item, cluster, both_bad)
    warnings = [*_human_identified(data.cells), *few_clusters(cluster, data.n_clusters)]
    alone = maximise(MODEL, pairs_of(data.cells), data.cells.weight[:BOTH_BAD], tolerance=TOLERANCE / options.points)
    people, judges = data.score_sums(alone.theta)
    chosen = _tuned(alone.information, people, judges) if judge_weight is None else float(judge_weight)
    theta = _solve(data, chosen, alone.theta, alone.information, TOLERANCE / options.points, warnings)
    gauge = gauge_of(options, data.cells.models)
    covariance = gauge.covariance(data.covariance(theta, chosen, clustered=cluster is not None))
    unaided = gauge.covariance(data.covariance(alone.theta, 0.0, clustered=cluster is not None))
    rating, half = gauge.ratings(theta), NORMAL_QUANTILE * np.sqrt(np.diag(covariance).clip(min=0))
    return Ratings.assemble(
        data.cells,
        rating,
        interval=(rating - half, rating + half),
        covariance=covariance,
        method="joint",
        parameters=parameters_of(options, data.cells.models)
        | {"kind": kind, "item": item_column(votes, item), "lambda": chosen, "tuned": judge_weight is None}
        | data.numbers
        | {"effective_gain": float(np.trace(unaided) / np.trace(covariance))},
        warnings=(*warnings, *_notes(data, chosen, judge_weight)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """Human cells, and rows of human votes and of judged battles without one, in the order of sides of the cells."""

    cells: Cells
    pair: IntArray  # [R] index of each row's cell
    is_vote: NDArray[np.bool_]  # [R] a human vote, rather than a judged battle without one
    score: FloatArray  # [R] of the model i of the pair, by a person; 0 where nobody voted
    shift: FloatArray  # [R] c_u (f_u − mean of the pair), divided among the human votes on the battle
    spread: FloatArray  # [R] that, times √(M_k/(M_k − 1)) for the mean that was taken off
    cluster: IntArray  # [R]
    n_clusters: int
    numbers: dict[str, int]

    def score_sums(self, theta: FloatArray) -> tuple[csr_array, csr_array]:
        """[G, M] scores by θ of the people's votes, and of the judges' correction at λ = 1, summed by cluster."""
        pairs = pairs_of(self.cells)
        expected = 0.5 + 0.5 * np.tanh(pairs.differences(theta) / 2)
        residual = np.where(self.is_vote, self.score - expected[self.pair], 0.0)
        size = (int(self.cluster.max()) + 1, self.pair.size)
        rows = coo_array((np.ones(self.pair.size), (self.cluster, np.arange(self.pair.size))), shape=size).tocsr()
        design = pairs.incidence()[self.pair]
        people, judges = (rows @ design.multiply(value[:, None]).tocsr() for value in (residual, self.spread))
        return people, judges

    def covariance(self, theta: FloatArray, judge_weight: float, *, clustered: bool) -> FloatArray:
        """[M, M] sandwich of θ: human scores, judge scores and all their products within a cluster."""
        weight = self.cells.weight[:BOTH_BAD]
        inverse = inv(information_matrix(MODEL, pairs_of(self.cells), weight, theta, -math.inf, precision=0.0))
        people, judges = self.score_sums(theta)
        total = people + judge_weight * judges
        meat = (total.T @ total).toarray() * (self.n_clusters / (self.n_clusters - 1) if clustered else 1.0)
        covariance: FloatArray = inverse @ meat @ inverse
        return covariance


def _read(votes: pd.DataFrame, kind: str, item: str | None, cluster: str | None, both_bad: BothBad) -> _Data:
    if both_bad not in ("tie", "drop"):
        raise UsageError(f"both_bad={both_bad!r}: use 'tie' (count it as a tie) or 'drop' (leave it out)")
    if "weight" in votes.columns:
        raise UsageError("votes: weights have no meaning in a joint board; drop the column")
    items = code_items(votes, item)
    human = _is_human(votes, kind)
    groups = items.item if cluster is None else code_clusters(votes, cluster)
    kept = (items.outcome != BOTH_BAD) | (both_bad == "tie")
    people, judges = np.flatnonzero(human & kept), np.flatnonzero(~human & kept)
    for rows, word in ((people, VoterKind.HUMAN), (judges, VoterKind.JUDGE)):
        if not rows.size:
            raise InputError(f"votes: no vote has {kind} = {word}; a joint board needs votes of people and of judges")
    coded = items.votes
    of_people = CodedVotes(coded.models, coded.a[people], coded.b[people], coded.outcome[people], None)
    return _correct(items, fold(of_people).settle(both_bad), people, judges, groups, by_voter=cluster == "voter")


def _is_human(votes: pd.DataFrame, kind: str) -> NDArray[np.bool_]:
    if kind not in votes.columns:
        raise UsageError(f"votes: no column {kind!r} that says whether a vote is a human's or a judge's")
    value = votes[kind].astype(str).to_numpy(object)
    if (bad := np.flatnonzero(~np.isin(value, [str(word) for word in VoterKind]))).size:
        raise InputError(f"votes: row {bad[0] + 1}: {kind} is {value[bad[0]]!r}; use human or judge")
    return np.asarray(value == str(VoterKind.HUMAN), np.bool_)


def _correct(
    items: Items, cells: Cells, people: IntArray, judges: IntArray, groups: IntArray, *, by_voter: bool
) -> _Data:
    """Pair human votes with judged battles and find the correction of each."""
    n_items, n_models = items.a.size, len(cells.models)
    low, high = np.minimum(items.a, items.b), np.maximum(items.a, items.b)
    key, keys = low * n_models + high, cells.i * n_models + cells.j
    pair = np.searchsorted(keys, key).clip(max=keys.size - 1)
    known = keys[pair] == key  # people voted on these models at least once
    score = np.where((items.a < items.b)[items.item], items.score, 1 - items.score)
    n_judged = np.bincount(items.item[judges], minlength=n_items)
    n_human = np.bincount(items.item[people], minlength=n_items)
    judged = np.flatnonzero((n_judged > 0) & known)
    if not n_human[judged].any():
        raise InputError(
            "votes: no battle has votes of people and of judges; let the judges decide battles that people voted on too"
        )
    f = np.bincount(items.item[judges], score[judges], n_items)[judged] / n_judged[judged]
    k, v = pair[judged], n_human[judged].astype(np.float64)
    m = np.bincount(k, minlength=keys.size)
    mean = np.bincount(k, f, keys.size) / np.maximum(m, 1)
    c = np.bincount(k, v, keys.size)[k] / m[k] - v
    shift, grow = np.zeros(n_items), np.zeros(n_items)
    shift[judged] = c * (f - mean[k]) / np.maximum(v, 1)
    grow[judged] = np.sqrt(m[k] / np.maximum(m[k] - 1, 1))
    lone = judged[v == 0]
    first = np.full(n_items, -1)
    first[items.item[judges][::-1]] = judges[::-1]
    of_lone = groups.max() + 1 + np.arange(lone.size) if by_voter else groups[first[lone]]
    on = np.concatenate([items.item[people], lone])
    return _Data(
        cells,
        pair[on],
        np.arange(on.size) < people.size,
        np.concatenate([score[people], np.zeros(lone.size)]),
        shift[on],
        (shift * grow)[on],
        np.concatenate([groups[people], of_lone]),
        np.unique(groups[people]).size,
        {
            "n_human": int(people.size),
            "n_judge": int(judges.size),
            "n_paired": int(v.sum()),
            "n_judged_battles": int(judged.size),
            "n_judge_unused": int(n_judged.sum() - n_judged[judged].sum()),
        },
    )


def _human_identified(cells: Cells) -> tuple[str, ...]:
    try:
        check_identified(cells, ties=False, prior=False)
    except NotIdentifiable as error:
        raise NotIdentifiable(f"the human votes alone: {error}") from error
    tied = ", ".join(cells.models[m] for m in only_tied(cells))
    return (f"all human votes on {tied} are ties: their intervals are too narrow",) if tied else ()


def _tuned(information: FloatArray, people: csr_array, judges: csr_array) -> float:
    """λ that minimises tr H⁻¹ Σ (a + λb)(a + λb)ᵀ H⁻¹, kept within [0, 1]."""
    inverse = inv(information)
    a, b = people @ inverse, judges @ inverse
    size = float((b * b).sum())
    return float(np.clip(-(a * b).sum() / size, 0.0, 1.0)) if size > 0 else 0.0


def _solve(
    data: _Data, judge_weight: float, start: FloatArray, information: FloatArray, tolerance: float, warnings: list[str]
) -> FloatArray:
    """[M] the maximum; where the corrected wins have none, one Newton step from the human maximum, with a warning."""
    if judge_weight == 0:
        return start
    correction = judge_weight * scatter(data.pair, data.shift, data.cells.i.size)
    weight = data.cells.weight[:BOTH_BAD] + np.stack([correction, -correction, np.zeros_like(correction)])
    pairs = pairs_of(data.cells)
    try:
        return maximise(MODEL, pairs, weight, tolerance=tolerance).theta
    except NotIdentifiable:
        warnings.append(
            "the corrected votes have no finite maximum: the ratings are one Newton step from the people's, which is "
            "as good with many votes only; collect more human votes"
        )
        step: FloatArray = inv(information) @ pairs.gradient(correction)
        return start + step


def _notes(data: _Data, chosen: float, asked: float | None) -> tuple[str, ...]:
    numbers, n_models = data.numbers, len(data.cells.models)
    notes = []
    if numbers["n_paired"] < FEW_PAIRED * n_models:
        notes.append(
            f"only {numbers['n_paired']} human votes are on judged battles of {n_models} models: lambda and the "
            f"intervals are unsure; aim at {FEW_PAIRED * n_models}"
        )
    if numbers["n_judged_battles"] and not data.spread.any():
        notes.append("the judges add nothing: they decided no battles beside those that people voted on, or all alike")
    elif asked is None and chosen == 0:
        notes.append("the judges do not go with the people's votes: lambda is 0, and the board is the people's alone")
    if numbers["n_judge_unused"]:
        notes.append(
            f"{numbers['n_judge_unused']} judge votes are on pairs of models that no person voted on: not used"
        )
    return tuple(notes)
