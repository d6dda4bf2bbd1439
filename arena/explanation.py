"""Why a model is rated as it is: its record against each opponent, who lifts it, what its place hangs on.

The effect of an opponent is the model's Bradley-Terry rating less what it would be without their votes on each other,
by one Newton step (exact up to the curvature's change: −H⁻¹u/(1 − h), with h the leverage of these votes; Pregibon,
Annals of Statistics 9, 1981). Votes that turn a neighbouring order round come from `influence`, checked by a new fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import solve
from scipy.special import expit, ndtri

from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.influence import POINTS, Kinds, leave_one_out, votes_to_flip
from paragone.arena.intervals import NORMAL_QUANTILE
from paragone.arena.likelihood import Fit
from paragone.arena.ratings import Anchor, Ratings, check_model
from paragone.arena.votes import TIE, WIN_A, WIN_B, BothBad, FloatArray, IntArray, scatter
from paragone.data.errors import UsageError

SCHEMA = "paragone.explanation/1"
UPSETS = 3  # of each sort


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What a rating rests on. Ratings and effects in points; `None` where the votes have no such column."""

    model: str
    rating: float
    rating_lower: float  # 95 %
    rating_upper: float
    rank: int
    rank_lower: int  # best rank that the intervals leave open
    rank_upper: int
    n_models: int
    n_votes: int  # that the model is in
    win_rate: float
    opponents: (
        pd.DataFrame
    )  # opponent, rating, n, wins, ties, losses, score, expected, z, effect: largest |effect| first
    upsets: pd.DataFrame  # opponent, result, n, probability: wins and losses that were least expected
    neighbours: (
        pd.DataFrame
    )  # position, model, difference, standard_error, z, votes_to_flip, share, verified, votes_to_separate
    voters: pd.DataFrame | None  # as `leave_one_out` gives them
    prompts: pd.DataFrame | None
    warnings: tuple[str, ...]

    def headline(self) -> str:
        """One line: the rating, its interval, rank and votes."""
        ranks = str(self.rank_lower) if self.rank_lower == self.rank_upper else f"{self.rank_lower}–{self.rank_upper}"
        return (
            f"{self.model}: {self.rating:.1f} ({self.rating_lower:.1f} … {self.rating_upper:.1f}), "
            f"rank {ranks} of {self.n_models}, {self.n_votes:,} votes, win rate {self.win_rate:.1%}"
        )

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables that there are, by their titles, in the order to show them."""
        named = {
            "Opponents": self.opponents,
            "Upsets": self.upsets,
            "Neighbours": self.neighbours,
            "Most influential voters": self.voters,
            "Most influential prompts": self.prompts,
        }
        return {
            title: table.drop(columns="model", errors="ignore") if title.startswith("Most") else table
            for title, table in named.items()
            if table is not None
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, schema `paragone.explanation/1`; a missing number is None."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in plain.items():
            if isinstance(value, pd.DataFrame):
                plain[name] = [{str(k): _plain(v) for k, v in row.items()} for row in value.to_dict("records")]
        return {"schema": SCHEMA, **plain, "warnings": list(self.warnings)}


def explain_model(
    votes: pd.DataFrame,
    model: str,
    *,
    cluster: str | None = None,
    anchor: Anchor = None,
    both_bad: BothBad = "tie",
    prior: float | None = None,
    top: int = 10,
    power: float = 0.8,
) -> Explanation:
    """Explain the Bradley-Terry rating of one model.

    Args:
        votes: rows with `model_a`, `model_b`, `winner`, optionally `weight`, `voter` and `prompt`.
        model: whose rating.
        cluster: a column within whose values votes may depend on each other.
        anchor: a model and the rating it is given.
        both_bad: count a `both_bad` vote as a tie, or drop it.
        prior: standard deviation (points) of a Gaussian prior on each rating.
        top: how many voters and prompts to list.
        power: chance that the additional votes of `votes_to_separate` will show the difference at 95 %.

    A score of an opponent's row is wins + ties/2 over votes, `expected` what the ratings expect of it, and z their
    difference in standard errors, about normal when the ratings tell all there is. `effect` is what the votes on this
    opponent add to the model's rating, the mean of all ratings (or the anchor) being fixed. `votes_to_separate` counts
    additional votes on the two neighbours' own battles; 0 when they are 1.96 standard errors apart already.

    Raises:
        InputError, UnknownOutcome, NotIdentifiable: as `fit_bradley_terry`.
        UsageError: an unknown model or column, or an option that cannot work.
    """
    if not 0.5 <= power < 1:
        raise UsageError(f"power={power}: give a chance from 0.5 to below 1")
    if top < 1:
        raise UsageError(f"top={top}: list at least one")
    ratings = fit_bradley_terry(votes, cluster=cluster, anchor=anchor, both_bad=both_bad, prior=prior)
    check_model(model, ratings.models)
    kinds = Kinds.from_votes(votes, both_bad=both_bad, prior=prior)
    record = _Record.of(kinds, kinds.fit(kinds.count), ratings, model)
    place = ratings.models.index(model)
    lower, upper, ranks = ratings.rating_lower, ratings.rating_upper, ratings.rank_interval
    assert lower is not None
    assert upper is not None
    assert ranks is not None  # the sandwich gives all three
    out: dict[str, pd.DataFrame | None] = {
        column: leave_one_out(votes, column, model=model, both_bad=both_bad, prior=prior, exact=top).head(top)
        if column in votes.columns
        else None
        for column in ("voter", "prompt")
    }
    return Explanation(
        model=model,
        rating=float(ratings.rating[place]),
        rating_lower=float(lower[place]),
        rating_upper=float(upper[place]),
        rank=int(ratings.rank[place]),
        rank_lower=int(ranks[0][place]),
        rank_upper=int(ranks[1][place]),
        n_models=len(ratings.models),
        n_votes=int(ratings.model_votes[place]),
        win_rate=float(ratings.win_rate[place]),
        opponents=record.opponents(),
        upsets=record.upsets(),
        neighbours=_neighbours(votes, ratings, place, record.tie_share, both_bad=both_bad, prior=prior, power=power),
        voters=out["voter"],
        prompts=out["prompt"],
        warnings=ratings.warnings,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Record:
    """One model's votes, summed over each of its O opponents."""

    kinds: Kinds
    fit: Fit
    ratings: Ratings
    model: int  # in the order of kinds.models
    opponent: IntArray  # [O] in the order of kinds.models
    n: IntArray  # [3, O] votes that the model won, lost, tied
    weight: FloatArray  # [3, O]
    square: FloatArray  # [O] sum of squared weights

    @classmethod
    def of(cls, kinds: Kinds, fit: Fit, ratings: Ratings, model: str) -> _Record:
        m, size = kinds.models.index(model), len(kinds.models)
        i, j = kinds.pairs.i, kinds.pairs.j
        mine = np.flatnonzero((i == m) | (j == m))
        other = np.where(i[mine] == m, j[mine], i[mine])
        outcome = np.where((j[mine] == m) & (kinds.outcome[mine] < TIE), 1 - kinds.outcome[mine], kinds.outcome[mine])
        count, each = kinds.count[mine], kinds.weight[mine]

        def total(value: FloatArray | IntArray) -> FloatArray:
            return scatter(outcome * size + other, value, 3 * size).reshape(3, size)

        n = total(count)
        met = np.flatnonzero(n.sum(axis=0))
        weight, square = total(count * each)[:, met], total(count * each**2)[:, met].sum(axis=0)
        return cls(kinds, fit, ratings, m, met, n[:, met].astype(np.int64), weight, square)

    @property
    def tie_share(self) -> float:
        """Of all votes."""
        return float(self.kinds.count[self.kinds.outcome == TIE].sum() / self.kinds.count.sum())

    @property
    def d(self) -> FloatArray:
        """[O] θ of the model less θ of the opponent."""
        difference: FloatArray = self.fit.theta[self.model] - self.fit.theta[self.opponent]
        return difference

    def opponents(self) -> pd.DataFrame:
        """One row an opponent, the largest effect first."""
        p, total = expit(self.d), self.weight.sum(axis=0)
        score = (self.weight[WIN_A] + self.weight[TIE] / 2) / total
        unit = np.eye(len(self.kinds.models))
        contrast = unit[self.model][:, None] - unit[:, self.opponent]  # [M, O]
        solved = solve(self.fit.information, contrast, assume_a="pos")
        leverage = total * p * (1 - p) * (contrast * solved).sum(axis=0)
        residual = total * (score - p)
        spread = np.sqrt(self.square * score_variance(p, self.tie_share) * (1 - leverage).clip(min=0))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(leverage < 1 - 1e-9, residual / spread, np.nan)
            shift = np.where(leverage < 1 - 1e-9, solved * residual / (1 - leverage), np.nan)
        effect = POINTS * (shift[self.model] - self._reference() @ shift)
        index = {name: k for k, name in enumerate(self.ratings.models)}
        rating = [self.ratings.rating[index[self.kinds.models[m]]] for m in self.opponent]
        table = pd.DataFrame(
            {
                "opponent": [self.kinds.models[m] for m in self.opponent],
                "rating": np.array(rating, np.float64),
                "n": self.n.sum(axis=0),
                "wins": self.n[WIN_A],
                "ties": self.n[TIE],
                "losses": self.n[WIN_B],
                "score": score,
                "expected": p,
                "z": z,
                "effect": effect,
            }
        )
        order = np.argsort(-np.nan_to_num(np.abs(effect), nan=-1.0), kind="stable")
        return table.iloc[order].reset_index(drop=True)

    def _reference(self) -> FloatArray:
        """[M] weights of the models whose ratings are fixed: all alike, or the anchor."""
        anchor = self.ratings.parameters["anchor"]
        size = len(self.kinds.models)
        return np.full(size, 1 / size) if anchor is None else np.eye(size)[self.kinds.models.index(next(iter(anchor)))]

    def upsets(self) -> pd.DataFrame:
        """The least expected wins and losses: at most `UPSETS` of each, those that had less than an even chance."""
        rows = []
        for result, outcome, chance in (("win", WIN_A, expit(self.d)), ("loss", WIN_B, expit(-self.d))):
            found = [o for o in np.argsort(chance, kind="stable") if self.n[outcome, o] and chance[o] < 0.5][:UPSETS]
            rows += [
                (self.kinds.models[self.opponent[o]], result, int(self.n[outcome, o]), float(chance[o])) for o in found
            ]
        return pd.DataFrame(rows, columns=["opponent", "result", "n", "probability"])


def score_variance(p: FloatArray, tie_share: float) -> FloatArray:
    """Variance of a vote's score (1, 0, ½ for a tie) with mean p, a tie having the chance `tie_share` or its limit."""
    ties = np.minimum(tie_share, 2 * np.minimum(p, 1 - p))
    variance: FloatArray = p * (1 - p) - ties / 4
    return variance


def _neighbours(
    votes: pd.DataFrame,
    ratings: Ratings,
    place: int,
    tie_share: float,
    *,
    both_bad: BothBad,
    prior: float | None,
    power: float,
) -> pd.DataFrame:
    """One row for the model rated next above and one for the next below, as far as they are there."""
    rows = []
    for position, other in (("above", place - 1), ("below", place + 1)):
        if not 0 <= other < len(ratings.models):
            continue
        upper, lower = (ratings.models[k] for k in sorted((place, other)))
        difference, error = ratings.difference(upper, lower)
        flip = votes_to_flip(votes, above=upper, below=lower, both_bad=both_bad, prior=prior)
        rows.append(
            {
                "position": position,
                "model": ratings.models[other],
                "difference": difference,
                "standard_error": error,
                "z": difference / error if error else math.inf,
                "votes_to_flip": flip.n_removed,
                "share": flip.share,
                "verified": flip.verified,
                "votes_to_separate": votes_to_separate(difference, error, tie_share=tie_share, power=power),
            }
        )
    table = pd.DataFrame(rows)
    whole = {name: "Int64" for name in ("votes_to_flip", "votes_to_separate") if name in table}
    return table.astype(whole | ({"share": "float64"} if "share" in table else {}))


def votes_to_separate(
    difference: float, standard_error: float, *, tie_share: float = 0.0, power: float = 0.8
) -> int | None:
    """Additional votes on two models' own battles until their difference (points) is likely to show at 95 %.

    Each vote adds (p(1 − p))²/variance of its score to the precision of the difference; enough is when the standard
    error is |difference|/(1.96 + Φ⁻¹(power)). 0 when they are 1.96 standard errors apart now; None for equal ratings.
    """
    if abs(difference) >= NORMAL_QUANTILE * standard_error:
        return 0
    if difference == 0:
        return None
    d = difference / POINTS
    p = np.array(expit(d))
    information = float((p * (1 - p)) ** 2 / score_variance(p, tie_share))
    wanted = ((NORMAL_QUANTILE + float(ndtri(power))) / d) ** 2
    return max(1, math.ceil((wanted - (POINTS / standard_error) ** 2) / information))


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
