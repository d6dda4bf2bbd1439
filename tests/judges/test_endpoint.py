"""What an endpoint is believed to take after it has refused something."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paragone.judges.endpoint import Abilities, Wish
from paragone.judges.schema import answer_schema, without_limits

SCHEMA = answer_schema("pairwise", ("prompt_alignment",))
WISH = Wish("m", 100, 0.5, seed=1, schema=SCHEMA, soft=True)


def refused(message: str, abilities: Abilities | None = None, **facts: Any) -> Abilities | None:
    before = abilities or Abilities()
    body = json.dumps({"error": {"message": message} | facts})
    return before.without_what_it_minds(body, before.parameters(WISH))


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [
        ("'response_format.type' must be 'json_object' or 'text'", "structured", "plain_schema"),
        ("Invalid schema for response_format 'verdict'", "structured", "plain_schema"),
        ("This model does not support logprobs.", "top_logprobs", 0),
        ("top_logprobs must be at most 5", "top_logprobs", 5),
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "limit", "max_completion_tokens"),
        ("Unsupported value: 'temperature' does not support 0.5 with this model.", "temperature", False),
        ("Unrecognized request argument supplied: seed", "seed", False),
    ],
)
def test_one_option_is_given_up(message: str, field: str, value: Any) -> None:
    weaker = refused(message)
    assert weaker is not None
    assert getattr(weaker, field) == value
    assert sum(getattr(weaker, name) != getattr(Abilities(), name) for name in Abilities.__slots__) == 1


def test_the_parameter_that_is_named_counts() -> None:
    weaker = refused("Invalid value.", param="temperature")
    assert weaker is not None
    assert weaker.temperature is False


@pytest.mark.parametrize("message", ["Bad request", "image too large", "At most 1 image may be provided", ""])
def test_other_refusals_are_not_blamed_on_an_option(message: str) -> None:
    assert refused(message) is None


@given(st.lists(st.sampled_from(["response_format", "logprobs", "top_logprobs", "temperature", "seed", "max_tokens"])))
def test_refusals_come_to_an_end(named: list[str]) -> None:
    abilities: Abilities | None = Abilities()
    seen = set()
    for name in named * 4:
        assert abilities is not None
        weaker = refused(f"unsupported: {name}", abilities)
        if weaker is None:
            assert refused(f"unsupported: {name}", abilities) is None
            continue
        assert weaker not in seen
        seen.add(weaker)
        abilities = weaker
    assert len(seen) <= 9


def test_what_is_asked_follows_the_abilities() -> None:
    everything = Abilities().parameters(WISH)
    assert set(everything) == {
        "model",
        "max_tokens",
        "temperature",
        "seed",
        "logprobs",
        "top_logprobs",
        "response_format",
    }
    nothing = Abilities("prose", 0, temperature=False, seed=False, limit="").parameters(WISH)
    assert nothing == {"model": "m"}
    word = Abilities().parameters(Wish("m", 1, 0.0))
    assert word == {"model": "m", "max_tokens": 1, "temperature": 0.0}


def test_limits_are_taken_out_everywhere() -> None:
    assert SCHEMA is not None
    text = json.dumps(without_limits(SCHEMA))
    assert "maxLength" in json.dumps(SCHEMA)
    assert "maxLength" not in text
    assert "maxItems" not in text
    assert without_limits(SCHEMA)["required"] == SCHEMA["required"]
