"""The nouns refuse what they cannot mean."""

import pytest

from paragone.data import Battle, InputError, Status, UnknownOutcome, Verdict, Winner, fingerprint
from paragone.data.records import sample_id


@pytest.mark.parametrize(
    ("text", "winner"),
    [
        ("model_a", Winner.MODEL_A),
        (" Model_B ", Winner.MODEL_B),
        ("tie", Winner.TIE),
        ("both_bad", Winner.BOTH_BAD),
        ("tie (bothbad)", Winner.BOTH_BAD),
    ],
)
def test_outcomes_are_read_in_every_accepted_spelling(text: str, winner: Winner) -> None:
    assert Winner.parse(text) is winner


@pytest.mark.parametrize("text", ["", "a", "model_c", "draw", "modela", None, 1, float("nan")])
def test_an_unknown_outcome_is_never_a_tie(text: object) -> None:
    with pytest.raises(UnknownOutcome, match="unknown outcome"):
        Winner.parse(text)


def test_swapping_sides_twice_changes_nothing() -> None:
    battle = Battle("b", "p", "x", "y", "sx", "sy")
    assert battle.swapped().swapped() == battle
    assert battle.swapped().sample_a == "sy"
    for winner in Winner:
        assert winner.swapped().swapped() is winner
    verdict = Verdict(Winner.MODEL_A, scores=(1.0, 2.0))
    assert verdict.swapped() == Verdict(Winner.MODEL_B, scores=(2.0, 1.0))


def test_a_model_does_not_meet_itself() -> None:
    with pytest.raises(InputError, match="cannot meet itself"):
        Battle("b", "p", "x", "x", "s1", "s2")


def test_a_verdict_has_a_winner_exactly_when_it_is_ok() -> None:
    with pytest.raises(InputError):
        Verdict(None, Status.OK)
    with pytest.raises(InputError):
        Verdict(Winner.TIE, Status.REFUSED)
    assert Verdict(None, Status.REFUSED, "no").swapped().winner is None


def test_fingerprints_depend_on_content_alone() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint("é") != fingerprint("e")
    with pytest.raises(ValueError, match="JSON"):
        fingerprint(float("nan"))
    assert sample_id("m", "p", 1, "d") != sample_id("m", "p", 2, "d")
