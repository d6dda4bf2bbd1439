"""Probabilities of a verdict from its tokens: found by bytes, and not used when they do not hold enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paragone.judges.schema import ANSWERS, GRADES, OUTCOMES
from paragone.judges.soft import LEAST_MASS, NotSoft, Soft, expected_value, soft_verdict

Alternatives = dict[str, float]


def token(chosen: bytes, alternatives: Alternatives | None = None, *, own: float = 1.0) -> dict[str, Any]:
    listed = [{"token": t, "bytes": list(t.encode()), "logprob": math.log(p)} for t, p in (alternatives or {}).items()]
    text = chosen.decode("utf-8", errors="replace")
    return {"token": text, "bytes": list(chosen), "logprob": math.log(own), "top_logprobs": listed}


def tokens(*pieces: str | tuple[str, Alternatives]) -> list[dict[str, Any]]:
    return [
        token(piece.encode())
        if isinstance(piece, str)
        else token(piece[0].encode(), piece[1], own=piece[1].get(piece[0], 1e-9))
        for piece in pieces
    ]


def text_of(given_tokens: Sequence[dict[str, Any]]) -> str:
    return b"".join(bytes(one["bytes"]) for one in given_tokens).decode()


def soft(given_tokens: list[dict[str, Any]], value: str, labels: Sequence[str] = OUTCOMES) -> Soft | NotSoft:
    text = text_of(given_tokens)
    start = text.rindex(value)
    return soft_verdict(text, (start, start + len(value)), given_tokens, labels)


SPREAD = {"first": 0.6, "second": 0.3, "tie": 0.05, "both": 0.03}


def test_the_alternatives_of_the_deciding_token() -> None:
    found = soft(tokens('{"overall": "', ("first", SPREAD), '"}'), "first")
    assert isinstance(found, Soft)
    assert found.mass == pytest.approx(0.98)
    assert found.probabilities == pytest.approx(
        {"first": 0.6 / 0.98, "second": 0.3 / 0.98, "tie": 0.05 / 0.98, "both_bad": 0.03 / 0.98}
    )
    assert math.fsum(found.probabilities.values()) == pytest.approx(1.0)


def test_variants_of_a_label_are_summed() -> None:
    alternatives = {"first": 0.3, ' "first': 0.2, "fir": 0.1, "First": 0.1, "second": 0.1, "s": 0.1, '"second"}': 0.05}
    found = soft(tokens("x: ", ("first", alternatives)), "first")
    assert isinstance(found, Soft)
    assert found.probabilities["first"] == pytest.approx(0.7 / 0.95)
    assert found.probabilities["second"] == pytest.approx(0.25 / 0.95)


def test_a_word_in_the_reasoning_is_not_the_verdict() -> None:
    misleading = {"second": 0.99}
    given_tokens = tokens(("second", misleading), ' is blurred. {"overall": "', ("first", SPREAD), '"}')
    found = soft(given_tokens, "first")
    assert isinstance(found, Soft)
    assert found.probabilities["first"] > found.probabilities["second"]


def test_a_value_in_several_tokens_is_decided_by_its_first() -> None:
    found = soft(tokens('"', ("bo", {"bo": 0.7, "first": 0.3}), ("th", {"th": 1.0}), "_bad", '"'), "both_bad")
    assert isinstance(found, Soft)
    assert found.probabilities["both_bad"] == pytest.approx(0.7)


def test_grades_with_a_space() -> None:
    alternatives = {"very": 0.1, "good": 0.5, "ex": 0.2, "fair": 0.2}
    found = soft(tokens('"', ("very", alternatives), " poor", '"'), "very poor", GRADES)
    assert isinstance(found, Soft)
    assert expected_value(found.probabilities, {g: i + 1.0 for i, g in enumerate(GRADES)}) == pytest.approx(
        0.1 * 1 + 0.5 * 4 + 0.2 * 5 + 0.2 * 3
    )


def test_yes_with_spaces_and_capitals() -> None:
    found = soft(tokens((" Yes", {" Yes": 0.5, "yes": 0.2, "YES": 0.05, " no": 0.2, "No": 0.05})), "Yes", ANSWERS)
    assert isinstance(found, Soft)
    assert found.probabilities["yes"] == pytest.approx(0.75)


def test_characters_of_several_bytes_that_are_split_between_tokens() -> None:
    snowman = "☃ñ".encode()
    given_tokens = [
        token(snowman[:1]),
        token(snowman[1:4]),
        token(snowman[4:]),
        *tokens('"', ("tie", {"tie": 0.95}), '"'),
    ]
    found = soft(given_tokens, "tie")
    assert isinstance(found, Soft)
    assert found.probabilities["tie"] == 1.0


def test_special_tokens_around_the_text_do_not_shift_it() -> None:
    inner = tokens('"', ("tie", {"tie": 0.5, "first": 0.5}), '"')
    found = soft_verdict(text_of(inner), (1, 4), [*tokens("<|start|>"), *inner, *tokens("<|end|>")], OUTCOMES)
    assert isinstance(found, Soft)


def test_too_little_caught_is_not_used() -> None:
    found = soft(tokens('"', ("first", {"first": 0.5, "second": 0.3, "cat": 0.2}), '"'), "first")
    assert isinstance(found, NotSoft)
    assert found.mass == pytest.approx(0.8)
    assert "0.80" in found.reason


def test_more_than_all_is_not_believed() -> None:
    assert isinstance(soft(tokens(("first", {"first": 0.9, "second": 0.9})), "first"), NotSoft)


@pytest.mark.parametrize("labels", [("good", "good enough"), ("1", "10")])
def test_what_several_labels_begin_with_is_left_out(labels: tuple[str, str]) -> None:
    found = soft(tokens((labels[0], {labels[0]: 1.0})), labels[0], labels)
    assert isinstance(found, NotSoft)
    assert found.mass == 0.0


def test_what_servers_leave_out() -> None:
    good = tokens('"', ("first", SPREAD), '"')
    assert isinstance(soft_verdict('"first"', (1, 6), [], OUTCOMES), NotSoft)
    assert isinstance(soft_verdict('"first"', None, good, OUTCOMES), NotSoft)
    assert isinstance(soft_verdict('"other"', (1, 6), good, OUTCOMES), NotSoft)
    assert isinstance(soft_verdict('"first"', (1, 6), [{"logprob": -1.0}], OUTCOMES), NotSoft)
    without_bytes = [{**one, "bytes": None} for one in good]
    assert isinstance(soft_verdict('"first"', (1, 6), without_bytes, OUTCOMES), Soft)
    alone = [{**one, "top_logprobs": None} for one in tokens('"', ("first", {"first": 0.95}), '"')]
    found = soft_verdict('"first"', (1, 6), alone, OUTCOMES)
    assert isinstance(found, Soft)
    assert found.mass == pytest.approx(0.95)
    strange = [
        {**one, "top_logprobs": [{"token": "first", "logprob": v} for v in (math.nan, "x", True)]} for one in good
    ]
    assert isinstance(soft_verdict('"first"', (1, 6), strange, OUTCOMES), NotSoft)


@given(st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4), st.floats(0.0, 0.5), st.text(max_size=20))
def test_what_is_caught_is_shared_out_and_nothing_else(weights: list[float], lost: float, prose: str) -> None:
    shares = [(1 - lost) * w / math.fsum(weights) for w in weights]
    alternatives = dict(zip(("first", "second", "tie", "both"), shares, strict=True))
    found = soft(tokens(prose + '{"overall": "', ("first", alternatives), '"}'), "first")
    if 1 - lost < LEAST_MASS - 1e-9:
        assert isinstance(found, NotSoft)
    elif 1 - lost > LEAST_MASS + 1e-9:
        assert isinstance(found, Soft)
        assert found.mass == pytest.approx(1 - lost)
        for (_, share), (_, p) in zip(alternatives.items(), found.probabilities.items(), strict=True):
            assert p == pytest.approx(share / (1 - lost))
