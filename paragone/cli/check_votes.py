"""The arena gate of a check: votes between candidate and baseline, by a sequential test on pairs of both orders.

A battle that was judged in both orders is one outcome, the mean of the two: a judge's preference for a side cancels,
and two votes on one battle are not taken for two pieces of evidence. The margin is in rating points: SPRT(-margin, 0)
accepts "no worse" (pass) or rejects it (regressed), and an e-process says whether the candidate is better (improved).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paragone.data.errors import InputError, UsageError
from paragone.metrics.checks import Finding, Verdict

if TYPE_CHECKING:
    import pandas as pd

    from paragone.arena.stopping import SequentialTest

NAME = "arena"
MARGIN = 20.0  # rating points


@dataclass(frozen=True, slots=True)
class ArenaVotes:
    """Outcomes of the candidate against the baseline, in [0, 1], in the order of the file."""

    outcomes: tuple[float, ...]
    both_orders: bool
    left_out: int  # battles asked in one order only, where others have both


def read_arena_votes(path: Path, candidate: str, baseline: str) -> ArenaVotes:
    """The votes of `path` between the two models; raises `InputError` when there are none.

    Rows of one `battle` (or, without that column, one `prompt`) belong together.
    """
    from paragone.arena.vote_files import read_votes, vote_columns

    key = next((name for name in ("battle", "battle_id", "prompt") if name in vote_columns(path)), None)
    votes = read_votes(path, extra=() if key is None else (key,))
    names = set(votes["model_a"]) | set(votes["model_b"])
    for name in (candidate, baseline):
        if name not in names:
            raise UsageError(
                f"{path}: no votes on {name!r}; there are {', '.join(sorted(names))} (name both with --vote-names)"
            )
    return _outcomes(votes, path, candidate, baseline, key)


def _outcomes(votes: pd.DataFrame, path: Path, candidate: str, baseline: str, key: str | None) -> ArenaVotes:
    from paragone.arena.stopping import scores_against

    first = (votes["model_a"] == candidate) & (votes["model_b"] == baseline)
    second = (votes["model_a"] == baseline) & (votes["model_b"] == candidate)
    table = votes[first | second]
    if table.empty:
        raise InputError(f"{path}: no votes between {candidate!r} and {baseline!r}")
    scores = list(zip(scores_against(votes, candidate, baseline), first[first | second], strict=True))
    keys = range(len(table)) if key is None else table[key]
    by_key: dict[object, dict[bool, list[float]]] = {}
    for name, (score, is_first) in zip(keys, scores, strict=True):
        by_key.setdefault(name, {True: [], False: []})[bool(is_first)].append(float(score))
    both = [
        (_mean(orders[True]) + _mean(orders[False])) / 2 for orders in by_key.values() if orders[True] and orders[False]
    ]
    if both:
        return ArenaVotes(tuple(both), True, len(by_key) - len(both))
    return ArenaVotes(tuple(score for score, _ in scores), False, 0)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def arena_finding(votes: ArenaVotes, *, margin: float, alpha: float, power: float) -> Finding:
    """The verdict on the arena at error rates `alpha` either way."""
    from paragone.arena.stopping import confidence_sequence, e_process, sprt

    outcomes = list(votes.outcomes)
    grid = 4 if votes.both_orders else 2
    on_grid = [round(outcome * grid) / grid for outcome in outcomes]  # several votes an order fall between
    gate = sprt(
        on_grid,
        elo0=-margin,
        elo1=0.0,
        alpha=alpha,
        beta=alpha,
        model="pentanomial" if votes.both_orders else "trinomial",
    )
    better, worse = (e_process(outcomes, alternative=side, alpha=alpha) for side in ("greater", "less"))
    band = confidence_sequence(outcomes, alpha=2 * alpha)
    verdict = {"accept": Verdict.PASS, "reject": Verdict.REGRESSED, "continue": Verdict.INCONCLUSIVE}[gate.verdict]
    if better.verdict == "accept":
        verdict = Verdict.IMPROVED
    score = sum(outcomes) / len(outcomes)
    lead = _points(score)
    more = _more(gate, outcomes, margin=margin, alpha=alpha)
    units = "pairs of both orders" if votes.both_orders else "votes"
    notes = [
        f"log-likelihood ratio {float(gate.statistic[-1]):+.2f}, decided at {gate.lower:+.2f} and {gate.upper:+.2f}"
    ]
    if votes.left_out:
        notes.append(f"{votes.left_out:,} battles asked in one order only are left out")
    return Finding(
        metric=NAME,
        higher_is_better=True,
        verdict=verdict,
        margin=margin,
        stated_margin="",
        baseline=0.0,
        candidate=lead,
        n_baseline=len(outcomes),
        n_candidate=len(outcomes),
        method=f"SPRT(-{margin:g}, 0) on {units}",
        level=alpha,
        power=power,
        worsening=-lead if math.isfinite(lead) else None,
        low=None if math.isinf(band.elo_upper[-1]) else -float(band.elo_upper[-1]),
        high=None if math.isinf(band.elo_lower[-1]) else -float(band.elo_lower[-1]),
        p_worse=worse.p_value,
        p_better=better.p_value,
        n_needed=len(outcomes) + more if verdict is Verdict.INCONCLUSIVE else None,
        reason=f"{len(outcomes):,} {units}; about {more:,} more would decide"
        if verdict is Verdict.INCONCLUSIVE
        else "",
        notes=tuple(notes),
    )


def _points(score: float) -> float:
    """The lead in rating points at an expected score, half a vote away from 0 and 1."""
    kept = min(max(score, 1e-3), 1 - 1e-3)
    return 400 * math.log10(kept / (1 - kept))


def _more(gate: SequentialTest, outcomes: list[float], *, margin: float, alpha: float) -> int:
    """Outcomes still to come, on average, where the candidate is as good: from where the ratio stands now."""
    score0, score1 = (1 / (1 + 10 ** (points / 400)) for points in (margin, 0.0))
    mean = sum(outcomes) / len(outcomes)
    variance = max(sum((outcome - mean) ** 2 for outcome in outcomes) / len(outcomes), 1e-3)
    drift = (score1 - score0) ** 2 / (2 * variance)
    return max(1, math.ceil((gate.upper - float(gate.statistic[-1])) / drift))
