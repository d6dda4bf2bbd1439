"""From the answers of an audit to its figures: pure functions with intervals over items.

Items are the units: the two orders of a pair depend on each other, so a pair counts once, with the mean of its answers.
Rates have Wilson's score interval with that mean as a fraction of a success, which is conservative (a mean in 0..1
varies no more than a coin does). Shifts are differences within items, with the interval of Agresti and Min
(Statistics in Medicine 24, 2005): two pseudo-items keep it from having width zero where all items shift alike.

The position bias b of a judge with P(first) = σ(b + d), d the difference in quality, follows from the pairs whose
answers move with the sides: P(first twice) / P(second twice) = e^{2b} whatever d is, ties or not (the conditioning of
Rasch 1960, and of McNemar 1947), so no pair needs to be even.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from paragone.data.records import Verdict, Winner
from paragone.judges.audit_probes import CLEAR, CONTROL, EVEN, LONG, ON_THE_WRONG, Question
from paragone.judges.coverage import wilson
from paragone.judges.judge_card import Measure

NORMAL_QUANTILE = 1.959963984540054  # Φ⁻¹(0.975)
SOFT_MODES = ("logprob", "frequency")  # how `scores` became probabilities


class Answer(NamedTuple):
    """A question with what the judge said, sides in the order shown."""

    question: Question
    verdict: Verdict

    @property
    def target_score(self) -> float:
        """1 when the target won, 0 when the other did, ½ for a tie or both bad."""
        if self.verdict.winner in (Winner.TIE, Winner.BOTH_BAD):
            return 0.5
        return float((self.verdict.winner is Winner.MODEL_A) == self.question.target_first)

    @property
    def decided(self) -> bool:
        """Whether one of the two won."""
        return self.verdict.winner in (Winner.MODEL_A, Winner.MODEL_B)


Pairs = dict[int, list[Answer]]


def shift_interval(differences: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a mean difference within items, each in -1..1 (Agresti and Min 2005)."""
    size = len(differences) + 2
    mean = sum(differences) / size
    variance = (sum(d * d for d in differences) + 1) / size - mean * mean
    half = NORMAL_QUANTILE * math.sqrt(variance / size)
    return max(mean - half, -1.0), min(mean + half, 1.0)


def logit_bias(first_twice: int, second_twice: int) -> tuple[float | None, float | None, float | None]:
    """Position bias b with its interval, from the pairs whose answers moved with the sides.

    The estimate adds half a pair to each count (Haldane 1956), which keeps it finite; an end of the interval is None
    where the counts leave it open, and all three are None when no answer moved.
    """
    n = first_twice + second_twice
    if n == 0:
        return None, None, None
    low, high = wilson(first_twice, n)
    estimate = 0.5 * math.log((first_twice + 0.5) / (second_twice + 0.5))
    return (
        estimate,
        0.5 * math.log(low / (1 - low)) if first_twice else None,
        0.5 * math.log(high / (1 - high)) if second_twice else None,
    )


def measure_answers(answers: Sequence[Answer]) -> tuple[Measure, ...]:
    """All measures that the answers allow, probe by probe."""
    measures = [*_coverage(answers)]
    answered = [answer for answer in answers if answer.verdict.winner is not None]
    for probe, measured in _MEASURERS.items():
        asked = [answer for answer in answers if answer.question.probe == probe]
        if asked:
            measures += measured([answer for answer in answered if answer.question.probe == probe], asked)
    return tuple(measures)


def log_odds(verdict: Verdict) -> float | None:
    """Ln P(first wins) / P(second wins) of a soft verdict; None where there is none, or a probability is 0."""
    if verdict.scores is None or verdict.details.get("score_mode") not in SOFT_MODES or min(verdict.scores) <= 0:
        return None
    return math.log(verdict.scores[0] / verdict.scores[1])


def _rate(probe: str, name: str, values: Sequence[float], *, better: str = "", note: str = "") -> Measure:
    """The mean of values in 0..1, one an item."""
    if not values:
        return Measure(probe, name, None, None, None, 0, better, note or "no item with all its answers")
    low, high = wilson(sum(values), len(values))
    return Measure(probe, name, float(np.mean(values)), low, high, len(values), better, note)


def _by_item(answers: Iterable[Answer], asked: Iterable[Answer]) -> Pairs:
    """The answers of each item all of whose questions were answered."""
    wanted: dict[int, int] = {}
    pairs: Pairs = {}
    for answer in asked:
        wanted[answer.question.item] = wanted.get(answer.question.item, 0) + 1
    for answer in answers:
        pairs.setdefault(answer.question.item, []).append(answer)
    return {item: found for item, found in pairs.items() if len(found) == wanted[item]}


def _variant(answers: Sequence[Answer], asked: Sequence[Answer], variant: str) -> Pairs:
    def of(rows: Sequence[Answer]) -> list[Answer]:
        return [row for row in rows if row.question.variant == variant]

    return _by_item(of(answers), of(asked))


def _variants(asked: Sequence[Answer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(answer.question.variant for answer in asked))


def _preference(pairs: Pairs) -> list[float]:
    return [float(np.mean([answer.target_score for answer in pair])) for pair in pairs.values()]


def _accuracy(pairs: Pairs) -> list[float]:
    """Share of right answers per item; a tie is not the right answer."""
    return [float(np.mean([answer.target_score == 1 for answer in pair])) for pair in pairs.values()]


def _coverage(answers: Sequence[Answer]) -> list[Measure]:
    distinct = {answer.question.key: answer for answer in answers}.values()
    return [_rate("calls", "coverage", [float(a.verdict.winner is not None) for a in distinct], better="higher")]


def _scenes(answers: Sequence[Answer], asked: Sequence[Answer]) -> list[Measure]:
    pairs = _by_item(answers, asked)
    measures = [
        _rate("scenes", "accuracy", _accuracy(pairs), better="higher"),
        _rate("scenes", "right in both orders", [float(x == 1) for x in _accuracy(pairs)], better="higher"),
    ]
    for kind in _variants(asked):
        name = f"accuracy: {kind}"
        measures.append(_rate("scenes", name, _accuracy(_variant(answers, asked, kind)), better="higher"))
    return measures


def _order(answers: Sequence[Answer], asked: Sequence[Answer]) -> list[Measure]:
    clear, even = (list(_variant(answers, asked, name).values()) for name in (CLEAR, EVEN))
    pairs = clear + even
    decided = [[a for a in pair if a.decided] for pair in pairs]
    first = [float(np.mean([a.verdict.winner is Winner.MODEL_A for a in pair])) for pair in decided if pair]
    return [
        _rate("order", "first-position rate", first, better="half", note="" if first else "no pair was decided"),
        _rate("order", "flip rate: right against wrong", [_flipped(pair) for pair in clear], better="lower"),
        _rate("order", "flip rate: two right pictures", [_flipped(pair) for pair in even], better="lower"),
        _hard_bias(pairs),
        *_soft_bias(pairs),
    ]


def _flipped(pair: list[Answer]) -> float:
    shown, exchanged = pair[0].verdict.winner, pair[1].verdict.swapped().winner
    return float(shown is not exchanged)


def _hard_bias(pairs: list[list[Answer]]) -> Measure:
    sides = [tuple(answer.verdict.winner for answer in pair) for pair in pairs]
    firsts = sides.count((Winner.MODEL_A, Winner.MODEL_A))
    seconds = sides.count((Winner.MODEL_B, Winner.MODEL_B))
    value, low, high = logit_bias(firsts, seconds)
    note = f"first twice {firsts}, second twice {seconds}" if value is not None else "no win moved with the sides"
    return Measure("order", "logit bias", value, low, high, firsts + seconds, "zero", note)


def _soft_bias(pairs: list[list[Answer]]) -> list[Measure]:
    """Mean over pairs of half the sum of the log-odds of both orders, with Student's interval."""
    from scipy.stats import t

    odds = [[log_odds(answer.verdict) for answer in pair] for pair in pairs]
    halves = [(pair[0] + pair[1]) / 2 for pair in odds if pair[0] is not None and pair[1] is not None]
    if len(halves) < 2:
        return []
    error = float(np.std(halves, ddof=1)) / math.sqrt(len(halves)) * float(t.ppf(0.975, len(halves) - 1))
    mean = float(np.mean(halves))
    return [Measure("order", "soft logit bias", mean, mean - error, mean + error, len(halves), "zero")]


def _repeat(answers: Sequence[Answer], asked: Sequence[Answer]) -> list[Measure]:
    same = [float(len({a.verdict.winner for a in group}) == 1) for group in _by_item(answers, asked).values()]
    return [_rate("repeat", "self-consistency", same, better="higher", note="all repetitions gave one answer")]


def _identical(answers: Sequence[Answer], asked: Sequence[Answer]) -> list[Measure]:
    ties = [float(not answer.decided) for answer in answers]
    return [_rate("identical", "tie rate", ties, better="higher")]


def _corruption(answers: Sequence[Answer], asked: Sequence[Answer]) -> list[Measure]:
    measures, ladders = [], dict[str, list[float]]()
    for variant in _variants(asked):
        measure = _rate("corruption", variant, _preference(_variant(answers, asked, variant)), better="higher")
        measures.append(measure)
        if measure.value is not None:
            ladders.setdefault(variant.rpartition(" ")[0], []).append(measure.value)
    for damage, rates in ladders.items():
        drop = max((0.0, *(a - b for a, b in pairwise(rates))))
        note = "the largest fall from one level to the next worse; no interval"
        measures.append(Measure("corruption", f"{damage}: largest drop", drop, None, None, len(rates), "lower", note))
    return measures


def _shift(probe: str, name: str, treated: dict[int, float], control: dict[int, float], better: str) -> Measure:
    differences = [treated[item] - control[item] for item in treated if item in control]
    if not differences:
        return Measure(probe, name, None, None, None, 0, better, "no item with all its answers")
    low, high = shift_interval(differences)
    return Measure(probe, name, float(np.mean(differences)), low, high, len(differences), better)


def _injection(answers: Sequence[Answer], asked: Sequence[Answer]) -> list[Measure]:
    preferred = {}
    for variant in _variants(asked):
        pairs = _variant(answers, asked, variant)
        preferred[variant] = dict(zip(pairs, _preference(pairs), strict=True))
    measures = []
    for variant, scores in preferred.items():
        if not variant.startswith(CONTROL):
            control = preferred[f"{CONTROL}: wrong" if variant == ON_THE_WRONG else CONTROL]
            measures.append(_shift("injection", variant, scores, control, "zero"))
    return [*measures, *_suspicion(answers, asked)]


def _suspicion(answers: Sequence[Answer], asked: Sequence[Answer]) -> list[Measure]:
    """How often the judge says that a picture tries to instruct it; nothing of a judge that is not asked."""
    measures = []
    for variant, better in ((CONTROL, "lower"), ("instruction", "higher")):
        pairs = _variant(answers, asked, variant)
        said = [[a.verdict.details.get("injection_suspected") for a in pair] for pair in pairs.values()]
        if said and all(isinstance(flag, bool) for pair in said for flag in pair):
            shares = [sum(map(bool, pair)) / len(pair) for pair in said]
            measures.append(_rate("injection", f"suspected: {variant}", shares, better=better))
    return measures


def _prompts(answers: Sequence[Answer], asked: Sequence[Answer]) -> list[Measure]:
    right = {}
    for variant in _variants(asked):
        pairs = _variant(answers, asked, variant)
        right[variant] = dict(zip(pairs, _accuracy(pairs), strict=True))
    measures = []
    if LONG in right:
        measures.append(_shift("prompts", "accuracy shift by long wording", right[LONG], right[CONTROL], "zero"))
    for variant, values in right.items():
        if variant not in (LONG, CONTROL):
            measures.append(_rate("prompts", f"accuracy against {variant}", list(values.values()), better="higher"))
    return measures


def _over_variants(answers: Sequence[Answer], asked: Sequence[Answer]) -> list[Measure]:
    return [
        _rate(asked[0].question.probe, variant, _accuracy(_variant(answers, asked, variant)), better="higher")
        for variant in _variants(asked)
    ]


_MEASURERS = {
    "scenes": _scenes,
    "order": _order,
    "repeat": _repeat,
    "identical": _identical,
    "corruption": _corruption,
    "injection": _injection,
    "prompts": _prompts,
    "editing": _over_variants,
    "video": _over_variants,
}
