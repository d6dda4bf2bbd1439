"""Votes that may not be a person's honest answer: flags with their evidence, and ratings with and without them.

A flag is a row of a table and changes no vote: `apply_flags` leaves votes out of a copy, and all are back without it.
Checks of a voter are tests whose null hypothesis is a careful but fallible voter. Over voters, the false discovery rate
is held at `alpha` (Benjamini and Hochberg, JRSS B 57, 1995): when all are honest, each check flags anybody with a
chance of at most `alpha`.

Outliers: the product of 1/(2p) over a voter's decided votes, p being what the others' ratings expect, is a test
martingale for "votes as others do" against "tosses a coin" (Chiang et al., "Chatbot Arena", arXiv:2403.04132, has a
test of this kind); its largest value M so far gives a p-value 1/M at any time (Ville 1939).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binom, poisson

from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.influence import Kinds, check_labels, leave_out_steps
from paragone.arena.votes import TIE, WIN_A, BothBad, CodedVotes, FloatArray, IntArray, code_clusters, code_votes
from paragone.data.errors import InputError, NotIdentifiable, UsageError

COLUMNS = ("row", "voter", "flag", "evidence", "severity")
WINDOW_S = 60.0  # over which votes are counted for bursts
PAUSE_S = 600.0  # a longer gap between two votes is no pace
ALWAYS = 0.75  # a share of ties up to this, or twice the usual one, is no "always"
PRIOR_SD = 400.0  # rating points, of the fit that outliers are measured by


@dataclass(frozen=True, slots=True)
class Limits:
    """What a careful but fallible voter may do; `flag_votes` explains the fields."""

    alpha: float
    min_seconds: float
    pace: float
    side_tolerance: float
    accuracy: float
    lapse: float

    def __post_init__(self) -> None:
        shares = {"alpha": self.alpha, "accuracy": self.accuracy, "lapse": self.lapse}
        for name, share in shares.items():
            if not 0 < share < 1:
                raise UsageError(f"{name}={share}: give a share above 0 and below 1")
        if not 0 <= self.side_tolerance < 0.5:
            raise UsageError(f"side_tolerance={self.side_tolerance}: give a share from 0 to below 0.5")
        if not (self.min_seconds >= 0 and self.pace >= 1):
            raise UsageError(f"min_seconds={self.min_seconds}, pace={self.pace}: need 0 or more, and 1 or more")


def flag_votes(
    votes: pd.DataFrame,
    *,
    golden: Mapping[str, str] | None = None,
    golden_column: str = "battle",
    checks: Sequence[str] | None = None,
    alpha: float = 0.01,
    min_seconds: float = 0.4,
    pace: float = 3.0,
    side_tolerance: float = 0.1,
    accuracy: float = 0.7,
    lapse: float = 0.1,
) -> pd.DataFrame:
    """Flags of votes and voters: row, voter, flag, evidence (one sentence) and severity (high, medium, low).

    `row` is the label of a vote in the index of `votes`; it is missing where a flag is about all votes of a voter.
    Checks whose columns the votes lack do not run; `.attrs["not_run"]` says which, and why.

    Args:
        votes: rows with `model_a`, `model_b`, `winner` and `voter`; `battle`, `prompt`, `created_at` and one of
            `seconds`, `reaction_ms`, `dwell_ms` or the pair `shown_at`, `consumed_at`, for the checks that need them.
        golden: the model that a careful voter prefers, by the value of `golden_column`; any other answer has failed.
        golden_column: "battle" or "prompt", say.
        checks: which of `FLAGS` to run, an error if one cannot; None runs those that can.
        alpha: false discovery rate over voters, for each check.
        min_seconds: no person sees two pictures and answers faster.
        pace: how many times the usual votes a minute a hasty person may give.
        side_tolerance: how far a voter's share of one side may honestly be from one half.
        accuracy: the share of golden battles that a careful voter gets right.
        lapse: the share of a careful voter's votes that may be coin tosses.

    Raises:
        InputError, UnknownOutcome: a row of votes that cannot be used.
        UsageError: an unknown check, one that cannot run, or an option that cannot work.
    """
    limits = Limits(alpha, min_seconds, pace, side_tolerance, accuracy, lapse)
    for name in checks or ():
        if name not in FLAGS:
            raise UsageError(f"checks: there is no {name!r}; use some of {', '.join(FLAGS)}")
    check_labels(votes)
    table = _Table(votes, code_votes(votes), golden, golden_column)
    found, not_run = [_frame(votes, [], "")], {}
    for name in FLAGS if checks is None else dict.fromkeys(checks):
        reason = _cannot_run(name, votes, golden, golden_column)
        if reason and checks is not None:
            raise UsageError(f"the check {name!r} cannot run: {reason}")
        if reason:
            not_run[name] = reason
        else:
            found.append(_frame(votes, _CHECKS[name](table, limits), name))
    flags = pd.concat([frame for frame in found if len(frame)] or found[:1], ignore_index=True)
    flags.attrs["not_run"] = not_run
    return flags


def apply_flags(votes: pd.DataFrame, flags: pd.DataFrame, *, exclude: Sequence[str] | None = None) -> pd.DataFrame:
    """The votes without those that flags named in `exclude` (None: all) are about; `votes` itself keeps them all.

    Raises `InputError` for a flag of a row that `votes` does not have, `UsageError` for an unknown name.
    """
    return votes[~flagged(votes, flags, exclude=exclude)]


def flagged(votes: pd.DataFrame, flags: pd.DataFrame, *, exclude: Sequence[str] | None = None) -> NDArray[np.bool_]:
    """[V] which votes `apply_flags` would leave out."""
    for name in exclude or ():
        if name not in FLAGS:
            raise UsageError(f"exclude: there is no flag {name!r}; use some of {', '.join(FLAGS)}")
    check_labels(votes)
    chosen = flags if exclude is None else flags[flags["flag"].isin(list(exclude))]
    of_vote = chosen["row"].notna()
    rows = chosen.loc[of_vote, "row"]
    if (missing := ~rows.isin(votes.index)).any():
        raise InputError(f"flags: row {rows[missing].iloc[0]!r} is not among the votes; flag these votes anew")
    out: NDArray[np.bool_] = votes.index.isin(list(rows))
    voters = chosen.loc[~of_vote, "voter"]
    return out | votes["voter"].isin(list(voters)).to_numpy(bool) if len(voters) else out


def flag_sensitivity(
    votes: pd.DataFrame,
    flags: pd.DataFrame,
    *,
    exclude: Sequence[str] | None = None,
    both_bad: BothBad = "tie",
    prior: float | None = None,
) -> pd.DataFrame:
    """Bradley-Terry ratings with all votes and without the flagged ones, in the order of the former.

    Columns: model, rating, rating_without, change, rank, rank_without, n_votes, n_without; missing where a model has no
    vote left. Raises `NotIdentifiable` when the votes left determine no ratings; give a `prior` then (points).
    """
    whole = fit_bradley_terry(votes, ci="none", both_bad=both_bad, prior=prior)
    try:
        rest = fit_bradley_terry(apply_flags(votes, flags, exclude=exclude), ci="none", both_bad=both_bad, prior=prior)
    except NotIdentifiable as error:
        raise NotIdentifiable(f"without the flagged votes: {error}") from error
    columns = ["model", "rating", "rank", "n_votes"]
    renamed = {"rating": "rating_without", "rank": "rank_without", "n_votes": "n_without"}
    table = whole.to_frame()[columns].merge(rest.to_frame()[columns].rename(columns=renamed), how="left", on="model")
    table["change"] = table["rating_without"] - table["rating"]
    table["n_without"] = table["n_without"].fillna(0).astype(np.int64)
    table["rank_without"] = table["rank_without"].astype("Int64")
    order = ["model", "rating", "rating_without", "change", "rank", "rank_without", "n_votes", "n_without"]
    return table[order]


# ---- The checks ------------------------------------------------------------------------------------------------------

Flag = tuple[int | None, Any, str, str]  # position of the vote or None, voter, evidence, severity


@dataclass(frozen=True, eq=False)
class _Table:
    """The votes as the checks read them; columns are parsed when a check asks for them."""

    votes: pd.DataFrame
    coded: CodedVotes
    golden: Mapping[str, str] | None
    golden_column: str

    @cached_property
    def voter(self) -> IntArray:
        """[V] a number for each voter."""
        return code_clusters(self.votes, "voter")

    @cached_property
    def names(self) -> NDArray[Any]:
        """[C] the voters by their numbers."""
        first = np.unique(self.voter, return_index=True)[1]
        return self.votes["voter"].iloc[first].to_numpy(object)

    @cached_property
    def tied(self) -> NDArray[np.bool_]:
        """[V] ties, both bad ones included."""
        return self.coded.outcome >= TIE

    def per_voter(self, value: NDArray[Any]) -> IntArray:
        """[C] sum over each voter's votes, as a whole number."""
        return np.bincount(self.voter, value, self.names.size).astype(np.int64)

    def seconds(self, column: str) -> FloatArray:
        """[V] times of a column: ISO 8601, or seconds since 1970."""
        values = self.votes[column]
        if pd.api.types.is_numeric_dtype(values):
            time = values.to_numpy(np.float64, na_value=np.nan)
        else:
            stamps = pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
            elapsed = (stamps - pd.Timestamp("1970-01-01", tz="UTC")) / pd.Timedelta(seconds=1)
            time = elapsed.to_numpy(np.float64, na_value=np.nan)
        if (bad := np.flatnonzero(~np.isfinite(time))).size:
            raise InputError(f"votes: row {bad[0] + 1}: {column} {values.iloc[bad[0]]!r} is not a time (ISO 8601)")
        return time

    def in_order(self) -> IntArray:
        """[V] rows by voter, then by time where it is known, else as they stand."""
        time = self.seconds("created_at") if "created_at" in self.votes.columns else np.arange(len(self.votes))
        return np.lexsort((time, self.voter))


def _duplicates(table: _Table, limits: Limits) -> list[Flag]:
    """A second vote of a voter on the same battle; without battle ids, on the same prompt and models."""
    votes, order = table.votes, table.in_order()
    battle = "battle" in votes.columns
    if battle:
        thing = pd.factorize(votes["battle"])[0]
    else:
        a, b, m = table.coded.a, table.coded.b, len(table.coded.models)
        thing = (np.minimum(a, b) * m + np.maximum(a, b)) * len(votes) + pd.factorize(votes["prompt"])[0]
    seen: dict[tuple[int, int], int] = {}
    found: list[Flag] = []
    for row in order:
        first = seen.setdefault((int(table.voter[row]), int(thing[row])), int(row))
        if first != row:
            same = "battle" if battle else "prompt and models"
            evidence = f"the voter's vote in row {first + 1} is on the same {same}"
            found.append((int(row), table.names[table.voter[row]], evidence, "high" if battle else "low"))
    return found


def _fast(table: _Table, limits: Limits) -> list[Flag]:
    """Faster than a person; votes whose time is missing are not judged."""
    seconds = _reaction(table)
    return [
        (int(row), table.names[table.voter[row]], f"answered after {seconds[row]:.3f} s", "high")
        for row in np.flatnonzero(seconds < limits.min_seconds)
    ]


def _reaction(table: _Table) -> FloatArray:
    """[V] seconds from picture to answer."""
    column = next(name for name in (*_REACTION, "shown_at") if name in table.votes.columns)
    if column == "shown_at":
        return table.seconds("consumed_at") - table.seconds("shown_at")
    numbers: FloatArray = pd.to_numeric(table.votes[column], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return numbers * _REACTION[column]


def _bursts(table: _Table, limits: Limits) -> list[Flag]:
    """More votes in a minute than `pace` times the usual pace makes likely, over all votes (Poisson, Bonferroni)."""
    order = table.in_order()
    time, voter = table.seconds("created_at")[order], table.voter[order]
    gap, same = np.diff(time), voter[1:] == voter[:-1]
    paced = pd.Series(gap[same & (gap <= PAUSE_S)]).groupby(voter[1:][same & (gap <= PAUSE_S)]).median()
    if not len(paced):
        return []
    usual = WINDOW_S / max(float(paced.median()), 1e-3)  # the voters' median: a few bots do not move it
    limit = int(poisson.isf(limits.alpha / len(order), limits.pace * usual)) + 1
    found: list[Flag] = []
    for start, end in _runs(voter):
        t = time[start:end]
        counts = np.arange(1, t.size + 1) - np.searchsorted(t, t - WINDOW_S, side="right")
        busy = np.zeros(t.size + 1)
        for last in np.flatnonzero(counts >= limit):
            busy[[last + 1 - counts[last], last + 1]] += 1, -1
        if counts.max() < limit:
            continue
        evidence = f"one of up to {counts.max()} votes a minute; usual are {usual:.1f}, {limit} are too many"
        members = order[start:end][np.cumsum(busy[:-1]) > 0]
        found += [(int(row), table.names[voter[start]], evidence, "medium") for row in np.sort(members)]
    return found


def _runs(sorted_codes: IntArray) -> list[tuple[int, int]]:
    """Start and end of each run of equal numbers."""
    edges = np.flatnonzero(np.diff(sorted_codes)) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), sorted_codes.size], strict=True))


def _constant_side(table: _Table, limits: Limits) -> list[Flag]:
    """A share of one side beyond ½ ± the tolerance; sides must have been drawn by chance, as the store does."""
    left = table.per_voter(table.coded.outcome == WIN_A)
    n = table.per_voter(~table.tied)
    most = np.maximum(left, n - left)
    p = np.minimum(1.0, 2 * binom.sf(most - 1, n, 0.5 + limits.side_tolerance))
    side = np.where(left * 2 >= n, "model_a", "model_b")
    return _of_voters(table, p, limits, "medium", lambda c: f"{most[c]} of {n[c]} decided votes for {side[c]}")


def _always_tie(table: _Table, limits: Limits) -> list[Flag]:
    """A share of ties above `ALWAYS`, and above twice that of the median voter."""
    ties, n = table.per_voter(table.tied), table.per_voter(np.ones(len(table.votes)))
    usual = float(np.median(ties / n))
    p = np.asarray(binom.sf(ties - 1, n, min(max(ALWAYS, 2 * usual), 0.98)), np.float64)
    return _of_voters(
        table, p, limits, "medium", lambda c: f"{ties[c]} of {n[c]} votes are ties; usual are {usual:.0%}"
    )


def _golden(table: _Table, limits: Limits) -> list[Flag]:
    """Fewer right answers to battles with a known answer than `accuracy` makes likely."""
    assert table.golden is not None
    models = np.array(table.coded.models, object)
    known = table.votes[table.golden_column].map(dict(table.golden)).to_numpy(object)
    sides = np.stack([models[table.coded.a], models[table.coded.b]])
    asked = ~pd.isna(known)
    if (stray := np.flatnonzero(asked & (sides != known).all(axis=0))).size:
        raise InputError(f"votes: row {stray[0] + 1}: its golden answer {known[stray[0]]!r} is not in the battle")
    chosen = np.where(table.coded.outcome == WIN_A, sides[0], sides[1])
    right = table.per_voter(asked & ~table.tied & (chosen == known))
    n = table.per_voter(asked)
    p = np.asarray(binom.cdf(right, n, limits.accuracy), np.float64)
    return _of_voters(table, p, limits, "high", lambda c: f"{right[c]} of {n[c]} golden battles right")


def _outliers(table: _Table, limits: Limits) -> list[Flag]:
    """Votes as if by a coin, or against the others: the sequential test above, each voter against the others' fit."""
    kinds = Kinds.from_votes(table.votes, both_bad="tie", prior=PRIOR_SD)
    order = table.in_order()
    largest = np.zeros(table.names.size)  # log of the martingale's largest value so far; it starts at 1
    others = leave_out_steps(kinds, kinds.fit(kinds.count), table.voter)
    for (start, end), theta in zip(_runs(table.voter[order]), others, strict=True):
        rows = order[start:end]
        rows = rows[~table.tied[rows]]
        d = theta[table.coded.a[rows]] - theta[table.coded.b[rows]]
        p = expit(np.where(table.coded.outcome[rows] == WIN_A, d, -d))
        path = np.cumsum(-np.log(2 * ((1 - limits.lapse) * p + limits.lapse / 2)))
        largest[table.voter[order[start]]] = max(0.0, float(path.max(initial=0.0)))
    return _of_voters(
        table,
        np.exp(-largest),
        limits,
        "medium",
        lambda c: f"a coin explains the votes better than the others' ratings by a factor of {np.exp(largest[c]):.3g}",
    )


def _of_voters(
    table: _Table, p: FloatArray, limits: Limits, severity: str, evidence: Callable[[int], str]
) -> list[Flag]:
    """Flags of the voters whose p-values pass Benjamini and Hochberg's procedure."""
    q = adjusted(p)
    return [
        (None, table.names[c], f"{evidence(int(c))} (p = {p[c]:.2g})", severity)
        for c in np.flatnonzero(q <= limits.alpha)
    ]


def adjusted(p: FloatArray) -> FloatArray:
    """[C] Benjamini and Hochberg's adjusted p-values: reject those at or below the rate wanted."""
    order = np.argsort(p, kind="stable")
    q = np.empty_like(p)
    q[order] = np.minimum.accumulate((p[order] * p.size / np.arange(1, p.size + 1))[::-1])[::-1]
    return q.clip(max=1.0)


_REACTION = {"seconds": 1.0, "reaction_ms": 1e-3, "dwell_ms": 1e-3}
_CHECKS: dict[str, Callable[[_Table, Limits], list[Flag]]] = {
    "duplicate": _duplicates,
    "fast": _fast,
    "burst": _bursts,
    "constant-side": _constant_side,
    "always-tie": _always_tie,
    "golden": _golden,
    "outlier": _outliers,
}
FLAGS = tuple(_CHECKS)


def _cannot_run(name: str, votes: pd.DataFrame, golden: Mapping[str, str] | None, golden_column: str) -> str:
    """Why a check cannot run on these votes, "" if it can."""
    columns = set(votes.columns)
    if not len(votes):
        return "there are no votes"
    if "voter" not in columns:
        return "the votes have no column 'voter'"
    if name == "duplicate" and not columns & {"battle", "prompt"}:
        return "the votes have neither a column 'battle' nor 'prompt'"
    if name == "burst" and "created_at" not in columns:
        return "the votes have no column 'created_at'"
    if name == "fast" and not columns & set(_REACTION) and not {"shown_at", "consumed_at"} <= columns:
        return f"the votes have none of {', '.join(_REACTION)}, nor both shown_at and consumed_at"
    if name == "golden" and golden is None:
        return "no golden= battles are given"
    if name == "golden" and golden_column not in columns:
        return f"the votes have no column {golden_column!r}"
    return ""


def _frame(votes: pd.DataFrame, flags: list[Flag], name: str) -> pd.DataFrame:
    labels = [None if position is None else votes.index[position] for position, _, _, _ in flags]
    whole = pd.api.types.is_integer_dtype(votes.index.dtype)
    return pd.DataFrame(
        {
            "row": pd.array(labels, dtype="Int64") if whole else pd.Series(labels, dtype=object),
            "voter": pd.Series([voter for _, voter, _, _ in flags], dtype=object),
            "flag": pd.array([name] * len(flags), dtype="str"),
            "evidence": pd.array([evidence for _, _, evidence, _ in flags], dtype="str"),
            "severity": pd.array([severity for _, _, _, severity in flags], dtype="str"),
        }
    )
