"""Both orders, one outcome, and nothing invented."""

from pathlib import Path

import pytest

from paragone.data import Battle, InputError, Prompt, Status, Verdict, Winner
from paragone.judges import Judge, combine, judge_battles

BATTLE = Battle("b1", "p", "x", "y", "sx", "sy")
PROMPTS = {"p": Prompt("p", "a thing")}
PICTURES = {"sx": Path("x.png"), "sy": Path("y.png")}


class Scripted:
    """Decides by a table from the first picture shown."""

    name = "scripted"

    def __init__(self, answers: dict[str, Winner | None]) -> None:
        self.answers = answers

    def compare(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        winner = self.answers[a.name]
        return Verdict(winner) if winner else Verdict(None, Status.REFUSED, "will not say")


def outcome(first: Winner | None, second: Winner | None) -> tuple[Winner | None, bool | None]:
    judge = Scripted({"x.png": first, "y.png": second})
    assert isinstance(judge, Judge)
    (judgement,) = judge_battles(judge, [BATTLE], prompts=PROMPTS, pictures=PICTURES)
    assert len(judgement.verdicts) == 2
    return judgement.winner, judgement.consistent


def test_orders_that_agree_decide() -> None:
    assert outcome(Winner.MODEL_A, Winner.MODEL_B) == (Winner.MODEL_A, True)
    assert outcome(Winner.MODEL_B, Winner.MODEL_A) == (Winner.MODEL_B, True)
    assert outcome(Winner.BOTH_BAD, Winner.BOTH_BAD) == (Winner.BOTH_BAD, True)


def test_a_judge_that_always_says_first_gives_inconsistent_ties() -> None:
    assert outcome(Winner.MODEL_A, Winner.MODEL_A) == (Winner.TIE, False)


def test_a_missing_verdict_is_no_outcome() -> None:
    assert outcome(None, Winner.MODEL_B) == (None, None)
    assert outcome(Winner.TIE, None) == (None, None)


def test_verdicts_are_reported_in_the_battles_own_order() -> None:
    shown, exchanged = Verdict(Winner.MODEL_A, scores=(2.0, 1.0)), Verdict(Winner.MODEL_B, scores=(1.0, 2.0))
    judgement = combine(BATTLE, shown, exchanged.swapped())
    assert [v.winner for v in judgement.verdicts] == [Winner.MODEL_A, Winner.MODEL_A]
    assert [v.scores for v in judgement.verdicts] == [(2.0, 1.0), (2.0, 1.0)]


def test_missing_pictures_are_found_before_the_first_call() -> None:
    class Never(Scripted):
        def compare(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
            raise AssertionError("called")

    with pytest.raises(InputError, match="no picture for sample sy"):
        list(judge_battles(Never({}), [BATTLE], prompts=PROMPTS, pictures={"sx": Path("x.png")}))
    with pytest.raises(InputError, match="no prompt has the id 'p'"):
        list(judge_battles(Never({}), [BATTLE], prompts={}, pictures=PICTURES))
