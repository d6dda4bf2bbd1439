"""Several judges on one battle, and judges that should not sit on it.

Juries of different families agree with people better than many samples of one model (Verga et al. 2024,
arXiv:2404.18796), and models favour the pictures of their own family. Every juror's verdict stays on record as a vote
of its own; a jury's outcome is a view of them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from paragone.data.errors import InputError
from paragone.data.records import GeneratorCard, Status, Verdict, Winner

LEAST_PROBABILITY = 1e-6  # under the logarithm
TIE_LOG_ODDS = 0.2  # about 55 % against 45 %


def majority(verdicts: Sequence[Verdict], *, jury: str = "majority") -> Verdict:
    """The outcome that more than half of the jurors give; without one, a tie, if every juror has spoken.

    A juror without an outcome leaves a majority of all jurors possible; otherwise the jury has none either, with that
    juror's status. Does not depend on the order of the verdicts. Raises `InputError` for an empty jury.
    """
    if not verdicts:
        raise InputError("a jury needs at least one verdict")
    counts = Counter(verdict.winner for verdict in verdicts if verdict.winner is not None)
    shown = ", ".join(f"{winner} {count}" for winner, count in sorted(counts.items()))
    for winner, count in counts.items():
        if 2 * count > len(verdicts):
            return Verdict(winner, reason=f"jurors: {shown}", judge=jury)
    missing = _missing(verdicts, jury)
    return missing or Verdict(Winner.TIE, reason=f"the jury is split: {shown}", judge=jury)


def mean_log_odds(verdicts: Sequence[Verdict], *, jury: str = "mean log-odds") -> Verdict:
    """The side that the mean of the jurors' log-odds favours; `scores` are the jury's P(A) and P(B), which sum to 1.

    Every verdict needs probabilities (`score_mode` logprob or frequency, or mean as this gives it); raises `InputError`
    for one that has an outcome without. Means within `TIE_LOG_ODDS` of 0 tie. A juror without an outcome leaves the
    jury without one.
    """
    if not verdicts:
        raise InputError("a jury needs at least one verdict")
    missing = _missing(verdicts, jury)
    if missing is not None:
        return missing
    mean = math.fsum(sorted(log_odds(verdict) for verdict in verdicts)) / len(verdicts)
    first = 1.0 / (1.0 + math.exp(-mean))
    winner = Winner.TIE if abs(mean) < TIE_LOG_ODDS else Winner.MODEL_A if mean > 0 else Winner.MODEL_B
    reason = f"mean log-odds {mean:+.3f}"
    return Verdict(winner, reason=reason, judge=jury, scores=(first, 1.0 - first), details={"score_mode": "mean"})


def log_odds(verdict: Verdict) -> float:
    """Ln P(A) / P(B), with ties and both-bad counted half to each side; raises `InputError` without probabilities."""
    if verdict.scores is None or verdict.details.get("score_mode") not in ("logprob", "frequency", "mean"):
        raise InputError(
            f"{verdict.judge}: no probabilities in this verdict; ask with soft verdicts, or use a majority"
        )
    first, second = verdict.scores
    rest = max(0.0, 1.0 - first - second) / 2.0
    return math.log(max(first + rest, LEAST_PROBABILITY)) - math.log(max(second + rest, LEAST_PROBABILITY))


def family_of(model: str, families: Iterable[str]) -> str:
    """The one of these families whose name is in the model's name, such as Qwen in qwen3-vl-32b; "" for none."""
    words = _words(model)
    named = [family.strip() for family in families if (name := _words(family)) and f" {name} " in f" {words} "]
    return max(named, key=len, default="")


def _words(name: str) -> str:
    """Its words of letters: digits and signs part them."""
    return " ".join(re.findall(r"[^\W\d_]+", name.casefold()))


def relatives(family: str, cards: Mapping[str, GeneratorCard]) -> frozenset[str]:
    """The models of this family (case apart); none of an unknown one."""
    wanted = family.strip().casefold()
    return frozenset(name for name, card in cards.items() if wanted and card.family.strip().casefold() == wanted)


def same_family(judge_families: Iterable[str], cards: Mapping[str, GeneratorCard]) -> tuple[str, ...]:
    """Warnings, one for each model that is of a judge's own family (case apart); unknown families give none."""
    families = {family.strip().casefold(): family for family in judge_families if family.strip()}
    return tuple(
        f"{name} is of the judge's own family ({families[card.family.strip().casefold()]}): judges favour their own; "
        "leave its battles out, or ask a judge of another family as well"
        for name, card in sorted(cards.items())
        if card.family.strip().casefold() in families
    )


def _missing(verdicts: Sequence[Verdict], jury: str) -> Verdict | None:
    silent = [verdict for verdict in verdicts if verdict.winner is None]
    if not silent:
        return None
    status = min((verdict.status for verdict in silent), key=list(Status).index)
    who = ", ".join(sorted(f"{verdict.judge or 'a juror'}: {verdict.status}" for verdict in silent))
    return Verdict(None, status, f"not all jurors have spoken ({who})", judge=jury)
