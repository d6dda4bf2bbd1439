"""From the calls of one question to its verdict: pure functions, one for each protocol.

A verdict needs every call that was to be made: three repetitions of which one failed are not two. Probabilities are the
model's own (`logprob`), shares of repetitions (`frequency`), or none (`hard`); all sides of a verdict use the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

from paragone.data.records import Status, Verdict, Winner
from paragone.judges.calls import JudgeCall, total_cost
from paragone.judges.schema import GRADES, OUTCOMES, grade_value
from paragone.judges.soft import expected_value

WINNER_OF = {
    "first": Winner.MODEL_A,
    "second": Winner.MODEL_B,
    "tie": Winner.TIE,
    "both_bad": Winner.BOTH_BAD,
}
GRADE_TIE = 0.25  # of a grade: expected grades that are closer are a tie
YES_TIE = 0.05  # of probability
WORST_GRADE = 1.5  # both sides below: both bad
LONGEST_REASON = 500  # characters


@dataclass(frozen=True, slots=True)
class Belief:
    """Probabilities over the labels, and where they come from."""

    mode: str  # logprob, frequency, hard
    probabilities: Mapping[str, float]


def beliefs(sides: Sequence[Sequence[JudgeCall]]) -> list[Belief]:
    """One belief for each side, from its successful calls; log-probabilities count only when every call has them."""
    if all(call.probabilities is not None for calls in sides for call in calls):
        return [Belief("logprob", _mean([call.probabilities or {} for call in calls])) for calls in sides]
    mode = "frequency" if max(map(len, sides)) > 1 else "hard"
    return [Belief(mode, _mean([{str(call.label): 1.0} for call in calls])) for calls in sides]


def pairwise_verdict(calls: Sequence[JudgeCall], *, judge: str, every: tuple[JudgeCall, ...]) -> Verdict:
    """The outcome of the answers to one comparison. `calls` count, one for each repetition; `every` is all made."""
    failed = _failed(calls, judge, every)
    if failed is not None:
        return failed
    (belief,) = beliefs([calls])
    p = {label: belief.probabilities.get(label, 0.0) for label in OUTCOMES}
    said = Counter(str(call.label) for call in calls).most_common()
    undecided = len(said) > 1 and said[0][1] == said[1][1]
    winner = Winner.TIE if undecided else WINNER_OF[said[0][0]]
    reason = f"the answers are split: {_counted(said)}" if undecided else _observed(calls[0])
    return Verdict(
        winner,
        reason=reason,
        judge=judge,
        scores=None if belief.mode == "hard" else (p["first"], p["second"]),
        details=_details(calls, every, belief.mode) | {"probabilities": None if belief.mode == "hard" else p},
        cost_usd=total_cost(every),
    )


def pointwise_verdict(
    first: Sequence[JudgeCall], second: Sequence[JudgeCall], *, judge: str, every: tuple[JudgeCall, ...]
) -> Verdict:
    """The side with the better (expected) grade, 1 to 5; close grades tie, two unusable sides are both bad."""
    failed = _failed([*first, *second], judge, every)
    if failed is not None:
        return failed
    both = beliefs([first, second])
    values = {grade: float(grade_value(grade)) for grade in GRADES}
    scores = (expected_value(both[0].probabilities, values), expected_value(both[1].probabilities, values))
    if max(scores) < WORST_GRADE:
        winner = Winner.BOTH_BAD
    else:
        winner = _higher(scores, margin=GRADE_TIE)
    reason = f"grade {scores[0]:.2f} against {scores[1]:.2f} of 5"
    return _scored(winner, scores, reason, [*first, *second], both, judge, every)


def yes_no_verdict(
    first: Sequence[JudgeCall], second: Sequence[JudgeCall], *, judge: str, every: tuple[JudgeCall, ...]
) -> Verdict:
    """The side with the higher probability of yes; close ones tie, or are both bad when neither is a yes."""
    failed = _failed([*first, *second], judge, every)
    if failed is not None:
        return failed
    both = beliefs([first, second])
    scores = (both[0].probabilities.get("yes", 0.0), both[1].probabilities.get("yes", 0.0))
    winner = _higher(scores, margin=YES_TIE)
    if winner is Winner.TIE and max(scores) < 0.5:
        winner = Winner.BOTH_BAD
    reason = f"P(yes) {scores[0]:.3f} against {scores[1]:.3f}"
    return _scored(winner, scores, reason, [*first, *second], both, judge, every)


def _scored(
    winner: Winner,
    scores: tuple[float, float],
    reason: str,
    calls: Sequence[JudgeCall],
    both: Sequence[Belief],
    judge: str,
    every: tuple[JudgeCall, ...],
) -> Verdict:
    details = _details(calls, every, both[0].mode) | {"by_side": [dict(belief.probabilities) for belief in both]}
    return Verdict(winner, reason=reason, judge=judge, scores=scores, details=details, cost_usd=total_cost(every))


def _higher(scores: tuple[float, float], *, margin: float) -> Winner:
    if abs(scores[0] - scores[1]) < margin:
        return Winner.TIE
    return Winner.MODEL_A if scores[0] > scores[1] else Winner.MODEL_B


def _failed(calls: Sequence[JudgeCall], judge: str, every: tuple[JudgeCall, ...]) -> Verdict | None:
    """The verdict without a winner, when a call has no answer."""
    bad = next((call for call in calls if call.status is not Status.OK), None)
    if bad is None:
        return None
    details = _details(calls, every, "")
    return Verdict(None, bad.status, bad.reason, judge=judge, details=details, cost_usd=total_cost(every))


def _details(calls: Sequence[JudgeCall], every: tuple[JudgeCall, ...], mode: str) -> dict[str, Any]:
    head = calls[0]
    answers = [call.answer or {} for call in calls]
    masses = [call.mass for call in calls if call.mass is not None]
    return {
        "protocol": head.protocol,
        "model": head.model,
        "template": head.template,
        "template_sha256": head.template_sha256,
        "parameters": dict(head.parameters),
        "shown": dict(head.shown),
        "parse_stage": head.parse_stage,
        "score_mode": mode,
        "mass": min(masses, default=None),
        "soft_reason": next((call.soft_reason for call in calls if call.soft_reason), ""),
        "seen_text": [text for answer in answers for text in _listed(answer.get("seen_text"))],
        "injection_suspected": any(answer.get("injection_suspected") is True for answer in answers),
        "answer": answers[0] or None,
        "calls": [call.facts() for call in every],
    }


def _observed(call: JudgeCall) -> str:
    """What the model says it saw, in one line."""
    seen = (call.answer or {}).get("observations")
    if not isinstance(seen, Mapping):
        return ""
    said = "; ".join(f"{side}: {' '.join(str(seen[side]).split())}" for side in ("first", "second") if side in seen)
    return said[:LONGEST_REASON]


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _counted(said: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{label} {count}" for label, count in said)


def _mean(distributions: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = {name: None for distribution in distributions for name in distribution}
    return {name: fsum(d.get(name, 0.0) for d in distributions) / len(distributions) for name in names}
