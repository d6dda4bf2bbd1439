"""One judge after the other over the battles of a store: the work of `paragone judge`."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from paragone.arena.store import BATCH, BATCH_S, Store
from paragone.arena.store_judges import coverage_rows
from paragone.cli.judge_jury import Seat
from paragone.cli.judge_options import JudgeSettings
from paragone.cli.judge_progress import Report, judging
from paragone.cli.judge_report import JudgeReport
from paragone.cli.output import stderr
from paragone.data.errors import InputError, ParagoneError, UsageError
from paragone.data.records import Battle, Judgement, Prompt, Status
from paragone.judges.base import Judge
from paragone.judges.budget import Ledger
from paragone.judges.cache import CachingExchange, CountingExchange, Exchange, ReplyCache
from paragone.judges.coverage import coverage
from paragone.judges.jury import family_of, relatives, same_family
from paragone.judges.pace import Pace
from paragone.judges.plan import Order, in_order, new_battles
from paragone.judges.runner import AsyncJudge, Run, rehearse

INTERRUPTED = "interrupted"


class Bench:
    """The judges that the options name, and the store that they judge for."""

    def __init__(
        self,
        settings: JudgeSettings,
        store: Store,
        folder: Path,
        cache: ReplyCache | None,
        order: Order,
        *,
        retried: Collection[Status] = (),
        ask_family: bool = False,
    ) -> None:
        self.interrupted = False
        self.error: ParagoneError | None = None  # what ended the run before its time
        self._settings, self._store, self._cache, self._order = settings, store, cache, order
        self._prompts = {prompt.id: _with_source(prompt, folder) for prompt in store.prompts()}
        self._retried, self._ask_family = frozenset(retried), ask_family
        self._cards = {card.name: card for card in store.generators()}
        self.seated: list[Seat] = []  # the judges that were asked
        self._samples = store.samples()
        self._pictures = {sample.id: folder / sample.path for sample in self._samples}

    def battles(self, source: str, n_battles: int | None) -> tuple[list[Battle], list[str]]:
        """The battles to judge, as they are to be shown, and what is to be said of the choice."""
        notes = []
        if source == "plan":
            battles = new_battles(self._samples, n_battles=n_battles, seed=self._settings.seed)
        else:
            battles, n_without = voted_battles(self._store)
            if not battles:
                raise InputError(f"{self._store.name}: nobody has voted on pictures yet; leave out --of votes")
            if n_battles is not None and n_battles > len(battles):
                raise InputError(
                    f"{self._store.name}: votes are on {len(battles)} couples of pictures, fewer than {n_battles}"
                )
            battles = battles[:n_battles]
            if n_without:
                notes.append(f"{n_without} battles with votes have no pictures here, and cannot be judged")
        for sample in {sample for battle in battles for sample in (battle.sample_a, battle.sample_b)}:
            if not self._pictures[sample].is_file():
                raise InputError(f"{self._pictures[sample]}: the file of a stored sample is not there")
        return in_order(battles, self._order), notes

    def judge_all(self, battles: Sequence[Battle]) -> list[JudgeReport]:
        """Let each judge decide; after an interruption or an `error` the judges that are left are not asked."""
        seats = self._settings.seats()
        self._check_prices(seats)
        reports: list[JudgeReport] = []
        pace, spent = self._settings.pace(), Decimal(0)
        for name, model in seats:
            budget = None if self._settings.budget is None else self._settings.budget - spent
            price = self._settings.price(model)
            exchange = CachingExchange(self._cache, ledger=Ledger(price, None if price is None else budget))
            judge = self._load(name, model, exchange, pace)
            if isinstance(judge, AsyncJudge) and budget is not None and price is None:
                raise UsageError(f"--budget needs the prices of {model}: give --price-in and --price-out, or --prices")
            if any(judge.name == report.judge for report in reports):
                raise UsageError(f"two judges of the jury are called {judge.name!r}; name each once")
            family = self._family(model)
            self.seated.append(self._seat(judge.name, family))
            reports.append(self._judge_one(judge, exchange, battles, self.seated[-1], family))
            spent += exchange.ledger.spent
            if self.interrupted or self.error is not None:
                break
        return reports

    def estimate_all(self, battles: Sequence[Battle]) -> list[dict[str, Any]]:
        """For each judge what a run would send, at most; repairs of unreadable replies are not foreseen."""
        rows = []
        for name, model in self._settings.seats():
            exchange = CountingExchange(self._cache)
            judge = self._load(name, model, exchange, None)
            seat = self._seat(judge.name, self._family(model))
            waiting = self._waiting(judge, [battle for battle in battles if seat.sits_on(battle)])
            both = self._order is Order.BOTH
            if isinstance(judge, AsyncJudge):
                asyncio.run(rehearse(judge, waiting, prompts=self._prompts, pictures=self._pictures, both_orders=both))
            estimate, price = exchange.estimate, self._settings.price(model)
            tokens = estimate.input_tokens, estimate.output_tokens
            rows.append(
                {
                    "judge": judge.name,
                    "n_battles": len(waiting),
                    "n_calls": estimate.n_calls,
                    "n_cached": estimate.n_cached,
                    "input_tokens": tokens[0],
                    "output_tokens": tokens[1],
                    "cost_usd": None if price is None else f"{price.of(*tokens):f}",
                }
            )
        return rows

    def notes_on_families(self) -> list[str]:
        """What is to be said of judges that are related to each other, or to a model that they judge."""
        seats = self._settings.seats()
        families = [self._family(model) for _, model in seats]
        notes = []
        if len(seats) > 1 and families[0] and len({family.casefold() for family in families}) == 1:
            notes.append(f"all jurors are of one family ({families[0]}); others would err in other ways")
        if self._ask_family:
            notes += same_family(families, self._cards)
        return notes

    def _load(self, name: str, model: str | None, exchange: Exchange, pace: Pace | None) -> Judge | AsyncJudge:
        return self._settings.load(name, model, exchange=exchange, pace=pace, memory=self._cache, retried=self._retried)

    def _family(self, model: str | None) -> str:
        """Of a judge's model: what --family says, or a family of the arena's models that its name holds."""
        known = sorted({card.family for card in self._cards.values()})
        return self._settings.family(model) or (family_of(model, known) if model else "")

    def _seat(self, judge: str, family: str) -> Seat:
        return Seat(judge, frozenset() if self._ask_family else relatives(family, self._cards))

    def _judge_one(
        self,
        judge: Judge | AsyncJudge,
        exchange: CachingExchange,
        every: Sequence[Battle],
        seat: Seat,
        family: str,
    ) -> JudgeReport:
        battles = [battle for battle in every if seat.sits_on(battle)]
        waiting = self._waiting(judge, battles)
        report = JudgeReport(judge.name, len(battles), len(battles) - len(waiting))
        report.family, report.n_same_family = family, len(every) - len(battles)
        run = Run(
            judge,
            waiting,
            prompts=self._prompts,
            pictures=self._pictures,
            both_orders=self._order is Order.BOTH,
            at_once=self._settings.max_concurrency,
        )
        with judging(judge.name, len(waiting)) as progress:
            try:
                asyncio.run(self._consume(judge, run, report, exchange, progress))
            except asyncio.CancelledError:  # a second Ctrl-C
                run.stop(INTERRUPTED)
            except ParagoneError as error:
                if not report.n_judged:
                    raise
                self.error = error
        report.count_calls(exchange)
        report.stopped = run.stopped
        report.coverage = coverage(coverage_rows(self._store, judge.name))
        self.interrupted = run.stopped == INTERRUPTED
        return report

    async def _consume(
        self,
        judge: Judge | AsyncJudge,
        run: Run,
        report: JudgeReport,
        exchange: CachingExchange,
        progress: Report,
    ) -> None:
        """Store judgements as they come, a batch at a time."""
        batch: list[Judgement] = []
        stored = time.monotonic()
        with _interrupts(run):
            try:
                async for judgement in run.judgements():
                    batch.append(judgement)
                    if len(batch) >= BATCH or time.monotonic() - stored >= BATCH_S:
                        self._keep(judge.name, batch, report)
                        stored = time.monotonic()
                    progress(report.n_judged + len(batch), _note(exchange))
            finally:
                self._keep(judge.name, batch, report)
                if (close := getattr(judge, "aclose", None)) is not None:
                    await close()

    def _keep(self, judge: str, batch: list[Judgement], report: JudgeReport) -> None:
        self._store.record_judgements(batch, judge=judge, retried=self._retried)
        for judgement in batch:
            report.add(judgement)
        batch.clear()

    def _waiting(self, judge: Judge | AsyncJudge, battles: Sequence[Battle]) -> list[Battle]:
        answered = self._store.judged_battle_ids(judge.name, retried=self._retried)
        return [battle for battle in battles if battle.id not in answered]

    def _check_prices(self, seats: Sequence[tuple[str, str | None]]) -> None:
        for _, model in seats:
            self._settings.price(model)  # an unreadable table is an error before the first call


def _with_source(prompt: Prompt, folder: Path) -> Prompt:
    """The prompt with the path of its source picture as it is from here."""
    return prompt if prompt.source is None else replace(prompt, source=str(folder / prompt.source))


def voted_battles(store: Store) -> tuple[list[Battle], int]:
    """The battles that counting votes are on, one for each couple of pictures, and how many have no pictures."""
    seen: dict[frozenset[str], Battle] = {}
    without: set[str] = set()
    columns = ["battle", "prompt", "model_a", "model_b", "sample_a", "sample_b"]
    for battle, prompt, model_a, model_b, one, two in store.votes()[columns].itertuples(index=False):
        if isinstance(one, str) and isinstance(two, str):
            seen.setdefault(frozenset((one, two)), Battle(battle, prompt, model_a, model_b, one, two))
        else:
            without.add(battle)
    return list(seen.values()), len(without)


@contextmanager
def _interrupts(run: Run) -> Iterator[None]:
    """The first Ctrl-C lets what is on its way come to its end, the second does not wait for it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupt() -> None:
        if run.stopped == INTERRUPTED and task is not None:
            task.cancel()
        else:
            run.stop(INTERRUPTED)
            stderr.print("interrupted: waiting for the calls on their way (Ctrl-C again: do not wait)")

    handled = _handle(loop, interrupt)
    try:
        yield
    finally:
        if handled:
            loop.remove_signal_handler(signal.SIGINT)


def _handle(loop: asyncio.AbstractEventLoop, interrupt: Callable[[], None]) -> bool:
    try:
        loop.add_signal_handler(signal.SIGINT, interrupt)
    except (NotImplementedError, RuntimeError, ValueError):  # not the main thread, or Windows
        return False
    return True


def _note(exchange: CachingExchange) -> str:
    calls = f"{exchange.n_calls:,} calls, {exchange.n_cached:,} cached"
    return calls if exchange.ledger.price is None else f"{calls}, ${exchange.ledger.spent:.4f}"
