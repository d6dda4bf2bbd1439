"""Putting battles to a judge, many at once, so that nothing that was paid for is lost.

Judgements come as they are finished, in no particular order. A battle is finished when every order asked of it has a
verdict. A run ends when all are, when the budget is spent, when somebody asks it to stop (what is on its way is waited
for), or with an error when the endpoint answers nothing any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

from paragone.data.errors import ParagoneError
from paragone.data.records import Battle, Judgement, Prompt, Status, Verdict
from paragone.judges.base import Judge, PreparingJudge, check_is_known, combine
from paragone.judges.budget import BudgetSpent
from paragone.judges.cache import NotSent

MOST_FAILURES = 10  # calls in a row without any reply: then the endpoint is down
_NO_REPLY = (Status.ERROR, Status.TIMEOUT)


class NoReplies(ParagoneError):
    """Nothing comes back from the judge any more."""

    exit_code = 5


@runtime_checkable
class AsyncJudge(Protocol):
    """A judge that waits for somebody else, so that it can be asked many things at once."""

    @property
    def name(self) -> str:
        """The name that votes are recorded under, version included."""
        ...

    async def ask(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        """Judge the pictures in the files `a`, shown first, and `b`; a failed call is a verdict without a winner.

        Lets `BudgetSpent` pass, and raises a `ParagoneError` where no call can ever succeed.
        """
        ...


class Run:
    """One run of a judge over battles, each in both orders of its sides or only as it is.

    `stopped` says why not all battles were judged, or is None. `at_once` battles are on their way at a time; a judge
    that is not asynchronous has one, in a thread of its own. Raises `InputError` before the first call when a prompt
    or a picture is missing.
    """

    def __init__(
        self,
        judge: Judge | AsyncJudge,
        battles: Sequence[Battle],
        *,
        prompts: Mapping[str, Prompt],
        pictures: Mapping[str, Path],
        both_orders: bool = True,
        at_once: int = 8,
    ) -> None:
        for battle in battles:
            check_is_known(battle, prompts, pictures)
        self.stopped: str | None = None
        self._judge, self._battles = judge, list(battles)
        self._prompts, self._pictures = prompts, pictures
        self._both_orders, self._at_once = both_orders, at_once
        self._without_reply = 0  # verdicts in a row
        self._error: ParagoneError | None = None

    def stop(self, reason: str) -> None:
        """Begin no other battle; those on their way are finished."""
        self.stopped = self.stopped or reason

    async def judgements(self) -> AsyncIterator[Judgement]:
        """The judgements as they come.

        Raises what a judge that cannot be used raised, and `NoReplies` after `MOST_FAILURES` verdicts in a row
        without a reply; in both cases only when all that was on its way has come.
        """
        if isinstance(self._judge, AsyncJudge):
            async for judgement in self._asked(self._judge, self._at_once):
                yield judgement
        else:
            with ThreadPoolExecutor(1, thread_name_prefix="judge") as thread:
                judge = _InThread(self._judge, thread)
                await judge.prepare(self._shown())
                async for judgement in self._asked(judge, 1):
                    yield judgement
        if self._error is not None:
            raise self._error

    async def _asked(self, judge: AsyncJudge, at_once: int) -> AsyncIterator[Judgement]:
        waiting = iter(self._battles)
        finished: asyncio.Queue[Judgement | Exception | None] = asyncio.Queue()
        workers = [asyncio.create_task(self._work(judge, waiting, finished)) for _ in range(at_once)]
        try:
            while at_once:
                item = await finished.get()
                if item is None:
                    at_once -= 1
                elif isinstance(item, Exception):
                    raise item
                else:
                    yield item
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(
        self, judge: AsyncJudge, waiting: Iterator[Battle], finished: asyncio.Queue[Judgement | Exception | None]
    ) -> None:
        try:
            while self.stopped is None and (battle := next(waiting, None)) is not None:
                judgement = await self._judged(judge, battle)
                finished.put_nowait(judgement)
                self._watch(judgement)
        except BudgetSpent as error:
            self.stop(str(error))
        except ParagoneError as error:
            self._fail(error)
        except Exception as error:
            finished.put_nowait(error)
        finally:
            finished.put_nowait(None)

    async def _judged(self, judge: AsyncJudge, battle: Battle) -> Judgement:
        prompt = self._prompts[battle.prompt_id]
        a, b = self._pictures[battle.sample_a], self._pictures[battle.sample_b]
        if not self._both_orders:
            verdict = await judge.ask(prompt, a, b)
            return Judgement(battle, (verdict,), verdict.winner, consistent=None)
        # When one order fails the other is waited for all the same: its reply is paid for, and the cache keeps it.
        answers = await asyncio.gather(judge.ask(prompt, a, b), judge.ask(prompt, b, a), return_exceptions=True)
        shown, exchanged = (_verdict(answer) for answer in answers)
        return combine(battle, shown, exchanged.swapped())

    def _watch(self, judgement: Judgement) -> None:
        for verdict in judgement.verdicts:
            self._without_reply = self._without_reply + 1 if verdict.status in _NO_REPLY else 0
            if self._without_reply >= MOST_FAILURES:
                self._fail(
                    NoReplies(
                        f"{self._judge.name}: {MOST_FAILURES} calls in a row brought no reply; the last one: "
                        f"{verdict.reason or verdict.status}; see to the endpoint and run the same command again"
                    )
                )

    def _fail(self, error: ParagoneError) -> None:
        self._error = self._error or error
        self.stop(str(error))

    def _shown(self) -> list[tuple[Prompt, Path]]:
        prompt_of = {sample: battle.prompt_id for battle in self._battles for sample in _samples(battle)}
        return [(self._prompts[prompt], self._pictures[sample]) for sample, prompt in prompt_of.items()]


async def rehearse(
    judge: AsyncJudge,
    battles: Sequence[Battle],
    *,
    prompts: Mapping[str, Prompt],
    pictures: Mapping[str, Path],
    both_orders: bool = True,
) -> None:
    """Ask a judge made with a `CountingExchange` everything that a run would, one after the other; nothing is sent."""
    for battle in battles:
        check_is_known(battle, prompts, pictures)
        sides = pictures[battle.sample_a], pictures[battle.sample_b]
        for a, b in (sides, sides[::-1]) if both_orders else (sides,):
            with suppress(NotSent):
                await judge.ask(prompts[battle.prompt_id], a, b)


class _InThread:
    """A judge that is asked in one thread, so that it need not be safe for several."""

    def __init__(self, judge: Judge, thread: ThreadPoolExecutor) -> None:
        self._judge, self._thread = judge, thread

    @property
    def name(self) -> str:
        return self._judge.name

    async def prepare(self, pictures: Sequence[tuple[Prompt, Path]]) -> None:
        if isinstance(self._judge, PreparingJudge) and pictures:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._judge.prepare, pictures)

    async def ask(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._judge.compare, prompt, a, b)


def _verdict(answer: Verdict | BaseException) -> Verdict:
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _samples(battle: Battle) -> tuple[str, str]:
    return battle.sample_a, battle.sample_b
