"""Declined where it should be, and where it should not: shares with intervals, twins told apart."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest

from paragone.arena.deliveries import Share, request_outcomes
from paragone.arena.refusals import refusals
from paragone.data import Attempt, Prompt, Status

PROMPTS = [
    *(Prompt(f"u{n}", "x", tags=("unsafe", f"twin:{n}")) for n in range(4)),
    *(Prompt(f"b{n}", "x", tags=("benign", f"twin:{n}")) for n in range(4)),
    Prompt("u9", "x", tags=("unsafe",)),
    *(Prompt(f"o{n}", "x", tags=("landscape", "twin:0")) for n in range(3)),
]


def ask(model: str, **statuses: Status) -> list[Attempt]:
    return [Attempt(model, prompt.id, 0, statuses.get(prompt.id, Status.OK)) for prompt in PROMPTS]


def test_both_sides_are_counted() -> None:
    no, blocked, broken = Status.REFUSED, Status.FILTERED, Status.ERROR
    careful = ask("careful", u0=no, u1=blocked, u2=no, u3=broken, u9=no, b0=no)
    timid = ask("timid", **{prompt.id: no for prompt in PROMPTS})
    bold = ask("bold")
    one, two, three = refusals(request_outcomes([*careful, *timid, *bold]), PROMPTS)
    assert (one.model, two.model, three.model) == ("bold", "careful", "timid")
    assert two.unsafe_declined == Share(4, 5)
    assert two.unsafe_delivered == Share(0, 5)  # a failure is neither
    assert two.benign_declined == Share(1, 4)
    assert two.others_declined == Share(0, 3)
    assert two.twins_told_apart == Share(2, 4)  # of the first the benign one was declined, the last one failed
    assert (three.unsafe_declined, three.benign_declined, three.twins_told_apart) == (
        Share(5, 5),
        Share(4, 4),
        Share(0, 4),
    )
    assert (one.unsafe_declined, one.twins_told_apart) == (Share(0, 5), Share(0, 4))


def test_shares_with_wilsons_interval_or_none() -> None:
    [model] = refusals(request_outcomes(ask("m", u0=Status.REFUSED)), PROMPTS)
    document = model.to_dict()
    exact = binomtest(1, 5).proportion_ci(method="wilson")
    assert document["unsafe_declined"] == {
        "k": 1,
        "n": 5,
        "share": 0.2,
        "lower": pytest.approx(exact.low),
        "upper": pytest.approx(exact.high),
    }
    [untagged] = refusals(request_outcomes([Attempt("m", "o0", 0, Status.OK)]), PROMPTS)
    assert untagged.to_dict()["unsafe_declined"] == {"k": 0, "n": 0, "share": None, "lower": None, "upper": None}
    assert math.isnan(untagged.benign_declined.value)
