"""Orders and juries: mirrored questions have mirrored outcomes, and nobody's silence becomes a vote."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paragone.data.errors import InputError
from paragone.data.records import Battle, GeneratorCard, Status, Verdict, Winner
from paragone.judges import combine
from paragone.judges.jury import log_odds, majority, mean_log_odds, same_family
from paragone.judges.plan import Order, in_order

BATTLE = Battle("b", "p", "x", "y", "sx", "sy")
MISSING = [status for status in Status if status is not Status.OK]

verdicts = st.sampled_from(Winner).map(Verdict) | st.sampled_from(MISSING).map(lambda s: Verdict(None, s, "why"))


def soft(first: float, second: float) -> Verdict:
    winner = Winner.MODEL_A if first > second else Winner.MODEL_B
    return Verdict(winner, scores=(first, second), details={"score_mode": "logprob"})


@given(verdicts, verdicts)
def test_resolution_is_mirrored_with_the_sides(shown: Verdict, exchanged: Verdict) -> None:
    judgement = combine(BATTLE, shown, exchanged)
    mirrored = combine(BATTLE.swapped(), exchanged.swapped(), shown.swapped())
    assert mirrored.winner == (judgement.winner and judgement.winner.swapped())
    assert mirrored.consistent == judgement.consistent


@given(verdicts, verdicts)
def test_the_table_of_resolution(shown: Verdict, exchanged: Verdict) -> None:
    judgement = combine(BATTLE, shown, exchanged)
    if shown.winner is None or exchanged.winner is None:
        assert (judgement.winner, judgement.consistent) == (None, None)
    elif shown.winner is exchanged.winner:
        assert (judgement.winner, judgement.consistent) == (shown.winner, True)
    else:
        assert (judgement.winner, judgement.consistent) == (Winner.TIE, False)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(lambda pair: pair[0] != pair[1]), max_size=40))
def test_balanced_orders_are_balanced_within_each_pair(pairs: list[tuple[int, int]]) -> None:
    battles = [Battle(f"b{k}", "p", f"m{i}", f"m{j}", f"s{k}-{i}", f"s{k}-{j}") for k, (i, j) in enumerate(pairs)]
    shown = in_order(battles, Order.BALANCED)
    assert [{b.sample_a, b.sample_b} for b in shown] == [{b.sample_a, b.sample_b} for b in battles]
    lead = Counter((b.model_a, b.model_b) for b in shown)
    for (one, other), count in lead.items():
        assert abs(count - lead[other, one]) <= 1
    assert in_order(battles, Order.BOTH) == in_order(battles, Order.FIRST_ONLY) == battles


@given(st.lists(verdicts, min_size=1, max_size=7), st.randoms())
def test_a_jury_does_not_depend_on_its_seating(jurors: list[Verdict], shuffle: object) -> None:
    seated = list(jurors)
    shuffle.shuffle(seated)  # type: ignore[attr-defined]
    assert majority(seated) == majority(jurors)
    mirrored = majority([juror.swapped() for juror in jurors])
    assert mirrored.winner == (majority(jurors).winner and majority(jurors).winner.swapped())  # type: ignore[union-attr]
    counts = Counter(juror.winner for juror in jurors if juror.winner)
    decided = [winner for winner, count in counts.items() if 2 * count > len(jurors)]
    silent = any(juror.winner is None for juror in jurors)
    assert majority(jurors).winner == (decided[0] if decided else None if silent else Winner.TIE)


@given(st.lists(st.tuples(st.floats(0.01, 0.5), st.floats(0.01, 0.5)).map(lambda p: soft(*p)), min_size=1, max_size=6))
def test_mean_log_odds_is_mirrored(jurors: list[Verdict]) -> None:
    one, other = mean_log_odds(jurors), mean_log_odds([juror.swapped() for juror in jurors])
    assert one.winner is not None
    assert other.winner is one.winner.swapped()
    assert one.scores is not None
    assert math.fsum(one.scores) == pytest.approx(1.0)


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_a_constant_bias_cancels_in_the_mean_of_both_orders(truth: float, bias: float) -> None:
    def asked(log_odd: float) -> Verdict:
        p = 1 / (1 + math.exp(-log_odd))
        return soft(p, 1 - p)

    pair = [asked(truth + bias), asked(-truth + bias).swapped()]
    verdict = mean_log_odds(pair)
    assert verdict.scores is not None
    assert math.log(verdict.scores[0] / verdict.scores[1]) == pytest.approx(truth, abs=1e-9)
    assert math.fsum(map(log_odds, pair)) / 2 == pytest.approx(truth, abs=1e-9)


def test_jurors_who_do_not_speak() -> None:
    silent = Verdict(None, Status.REFUSED, "no", judge="shy")
    a = Verdict(Winner.MODEL_A)
    assert majority([a, a, silent]).winner is Winner.MODEL_A
    split = majority([a, silent])
    assert (split.winner, split.status) == (None, Status.REFUSED)
    assert "shy: refused" in split.reason
    assert mean_log_odds([soft(0.9, 0.1), silent]).winner is None


def test_juries_that_cannot_be() -> None:
    for jury in (majority, mean_log_odds):
        with pytest.raises(InputError, match="at least one"):
            jury([])
    with pytest.raises(InputError, match="no probabilities"):
        mean_log_odds([Verdict(Winner.MODEL_A, scores=(3.0, 1.0))])


def test_relatives_are_named() -> None:
    cards = {name: GeneratorCard(name, family=family) for name, family in [("g1", "Gemini"), ("f1", "FLUX"), ("u", "")]}
    (warning,) = same_family(["gemini ", "", "qwen"], cards)
    assert warning.startswith("g1 is of the judge's own family")
