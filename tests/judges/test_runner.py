"""Many battles at once, and nothing lost, whatever ends the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from paragone.data.errors import InputError, ParagoneError, UsageError
from paragone.data.records import Battle, Judgement, Prompt, Status, Verdict, Winner
from paragone.judges import judge_battles
from paragone.judges.budget import BudgetSpent
from paragone.judges.runner import MOST_FAILURES, AsyncJudge, NoReplies, Run

N = 40
PROMPTS = {"p": Prompt("p", "a bear")}
BATTLES = [Battle(f"b{n}", "p", "x", "y", f"x{n}", f"y{n}") for n in range(N)]
PICTURES = {f"{model}{n}": Path(f"{model}{n}.png") for model in "xy" for n in range(N)}

Decide = Callable[[Path, Path], Verdict]


def by_number(a: Path, b: Path) -> Verdict:
    """Prefers x where the number is even; the same in both orders."""
    wanted = "x" if int(a.stem[1:]) % 2 == 0 else "y"
    return Verdict(Winner.MODEL_A if a.stem[0] == wanted else Winner.MODEL_B, judge="asked")


class Asked:
    """An asynchronous judge that counts how many questions are open."""

    name = "asked"

    def __init__(self, decide: Decide = by_number) -> None:
        self._decide = decide
        self.n_asked = self.n_open = self.peak = 0

    async def ask(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        self.n_asked += 1
        self.n_open += 1
        self.peak = max(self.peak, self.n_open)
        try:
            await asyncio.sleep(0.001)
            return self._decide(a, b)
        finally:
            self.n_open -= 1


class Compares:
    """A judge of the plain kind, with the same taste."""

    name = "plain"

    def __init__(self) -> None:
        self.prepared: list[Path] = []

    def prepare(self, pictures: list[tuple[Prompt, Path]], /) -> None:
        self.prepared += [path for _, path in pictures]

    def compare(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        return by_number(a, b)


def make(judge: object, *, both_orders: bool = True, at_once: int = 8) -> Run:
    assert isinstance(judge, (AsyncJudge, Compares))
    return Run(judge, BATTLES, prompts=PROMPTS, pictures=PICTURES, both_orders=both_orders, at_once=at_once)


async def collect(run: Run, into: list[Judgement]) -> None:
    async for judgement in run.judgements():
        into.append(judgement)


def finish(run: Run) -> list[Judgement]:
    found: list[Judgement] = []
    asyncio.run(collect(run, found))
    return sorted(found, key=lambda judgement: int(judgement.battle.id[1:]))


def test_it_says_what_asking_one_after_the_other_says() -> None:
    oracle = list(judge_battles(Compares(), BATTLES, prompts=PROMPTS, pictures=PICTURES))
    judge, plain = Asked(), Compares()
    assert finish(make(judge)) == oracle
    assert judge.n_asked == 2 * N
    assert [j.winner for j in finish(make(plain))] == [j.winner for j in oracle]
    assert len(plain.prepared) == 2 * N


def test_one_order_is_one_call_and_its_verdict_is_the_outcome() -> None:
    judge = Asked()
    judgements = finish(make(judge, both_orders=False))
    assert judge.n_asked == N
    assert all(len(j.verdicts) == 1 and j.winner is j.verdicts[0].winner and j.consistent is None for j in judgements)


def test_so_many_at_once() -> None:
    judge = Asked()
    finish(make(judge, at_once=5))
    assert judge.peak == 10  # five battles, two orders each
    judge = Asked()
    finish(make(judge, both_orders=False, at_once=5))
    assert judge.peak == 5


def test_the_budget_ends_a_run_and_what_is_on_its_way_is_kept() -> None:
    asked = 0

    def until_spent(a: Path, b: Path) -> Verdict:
        nonlocal asked
        asked += 1
        if asked > 21:
            raise BudgetSpent("no money left")
        return by_number(a, b)

    run = make(Asked(until_spent), both_orders=False)
    assert len(finish(run)) == 21
    assert run.stopped == "no money left"


def test_being_asked_to_stop_finishes_what_is_begun() -> None:
    judge = Asked()
    run = make(judge, both_orders=False, at_once=4)
    found: list[Judgement] = []

    async def scene() -> None:
        async for judgement in run.judgements():
            found.append(judgement)
            if len(found) == 10:
                run.stop("interrupted")

    asyncio.run(scene())
    assert run.stopped == "interrupted"
    assert 10 <= len(found) == judge.n_asked < N


def test_a_hopeless_endpoint_ends_the_run_after_what_was_on_its_way() -> None:
    def wrong_key(a: Path, b: Path) -> Verdict:
        if a.stem == "x20":
            raise UsageError("401: check the key")
        return by_number(a, b)

    found: list[Judgement] = []
    with pytest.raises(UsageError, match="check the key"):
        asyncio.run(collect(make(Asked(wrong_key), both_orders=False, at_once=4), found))
    assert 20 <= len(found) < N


def test_failures_are_judgements_without_a_winner_until_there_are_too_many() -> None:
    def some_fail(a: Path, b: Path) -> Verdict:
        return Verdict(None, Status.TIMEOUT, "slow") if a.stem in ("x3", "y9") else by_number(a, b)

    judgements = finish(make(Asked(some_fail)))
    assert [j.battle.id for j in judgements if j.winner is None] == ["b3", "b9"]

    found: list[Judgement] = []
    with pytest.raises(NoReplies, match=r"10 calls in a row.*nobody there"):
        asyncio.run(
            collect(make(Asked(lambda a, b: Verdict(None, Status.ERROR, "nobody there")), both_orders=False), found)
        )
    assert MOST_FAILURES <= len(found) <= MOST_FAILURES + 8
    assert NoReplies.exit_code == 5


def test_refusals_are_replies() -> None:
    run = make(Asked(lambda a, b: Verdict(None, Status.REFUSED, "no")))
    assert len(finish(run)) == N
    assert run.stopped is None


def test_a_defect_of_a_judge_is_not_hidden() -> None:
    def broken(a: Path, b: Path) -> Verdict:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        finish(make(Asked(broken)))


def test_what_is_missing_is_said_before_the_first_call() -> None:
    judge = Asked()
    with pytest.raises(InputError, match="no picture"):
        Run(judge, BATTLES, prompts=PROMPTS, pictures={})
    assert judge.n_asked == 0
    assert issubclass(NoReplies, ParagoneError)
