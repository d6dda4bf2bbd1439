"""Asking a generator one by one or many at once, so that nothing that was paid for is lost.

A `Journal` is a model's folder: each answer's file and its line in the manifest are on disk before the next step, so a
run that was killed anywhere goes on with what is missing. A `Run` keeps several requests on their way in threads, stays
within a budget, and ends when all are answered, when the budget is spent, when somebody asks it to stop (what is on its
way is waited for), or with an error when nothing comes back any more.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from paragone.data.errors import InputError, ParagoneError, PluginError, UsageError
from paragone.data.files import file_digest, write_atomically
from paragone.data.generators.base import VIDEO_TASKS, Generation, GenerationRequest, GeneratorAdapter
from paragone.data.generators.pricing import Budget, BudgetSpent, cost_of, prices_on
from paragone.data.generators.runner import (
    MANIFEST,
    ManifestEntry,
    answers,
    is_whole,
    manifest_line,
    read_manifest,
    size_of,
    store_generation,
)
from paragone.data.records import Price, PriceUnit, Status, fingerprint

RETRIED = (Status.ERROR, Status.TIMEOUT)  # asked again by the next run, unless it is told otherwise
AT_ONCE = 4  # requests to somebody else's machine, unless it is said otherwise
MOST_FAILURES = 10  # errors and timeouts in a row: then nothing is to be expected any more


class NoAnswers(ParagoneError):
    """Nothing comes back from the generator any more."""

    exit_code = 5


class Journal:
    """The folder of one model's samples, written to by one run at a time.

    Raises `UsageError` when the samples there were made with other settings (`made_by` says which: JSON values by
    name), or when another run is writing.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any]) -> None:
        self.folder = folder
        self.recipe = fingerprint(made_by)
        self._made_by = dict(made_by)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock", timeout=0)

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except Timeout:
            raise UsageError(f"{self.folder}: another run is writing samples there; wait for its end") from None
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._file.close()
        self._lock.release()

    def entries(self) -> list[ManifestEntry]:
        """Every line, in the order in which they were written: a request that was asked again has several."""
        return read_manifest(self.folder, recipe=self.recipe)

    def last_entries(self) -> dict[tuple[str, int], ManifestEntry]:
        """How each request ended when it was last asked."""
        return {entry.key: entry for entry in self.entries()}

    def missing(
        self, requests: Sequence[GenerationRequest], *, retry: Collection[Status] = RETRIED
    ) -> list[GenerationRequest]:
        """The requests without an answer, with a damaged file, or that ended in a status of `retry`.

        Raises `InputError` when the words or pictures of an answered request have changed since.
        """
        last = self.last_entries()
        missing, digests = [], _Digests()
        for request in requests:
            entry = last.get(request.key)
            if entry is None or entry.status in retry:
                missing.append(request)
                continue
            if entry.request not in (None, digests.of(request)):
                raise InputError(
                    f"prompt {request.prompt.id!r}: its words or input pictures are others than those that "
                    f"{self.folder.name} answered; give the new prompt an id of its own"
                )
            if not is_whole(self.folder, entry):
                missing.append(request)
        return missing

    def add(self, generation: Generation) -> ManifestEntry:
        """Write an answer's file and its line, and wait for the disk."""
        facts = {
            "request": _Digests().of(generation.request),
            "created_at": datetime.now(UTC).isoformat(timespec="microseconds"),
        }
        entry = store_generation(generation, self.folder, durable=True, **facts)
        self._file.write(manifest_line(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        return entry

    def _open(self) -> None:
        path = self.folder / MANIFEST
        if path.is_file() and (content := path.read_bytes()):
            if not content.endswith(b"\n"):  # a run was killed while it wrote this line
                write_atomically(path, content[: content.rfind(b"\n") + 1], durable=True)
            head = _head(path, content)
            if head.get("recipe") != self.recipe and self._is_empty(head):
                self._begin(path)
            elif head.get("recipe") != self.recipe:
                raise UsageError(
                    f"{self.folder}: holds samples made with other settings ({self._difference(head)}); "
                    "give this generator another name with --model-name, or another project with --dir"
                )
        else:
            self._begin(path)
        self._file = path.open("ab")

    def _begin(self, path: Path) -> None:
        head = {"schema": "paragone.samples/1", "recipe": self.recipe, "made_by": self._made_by}
        write_atomically(path, json.dumps(head).encode() + b"\n", durable=True)

    def _is_empty(self, head: Mapping[str, Any]) -> bool:
        """Whether nothing but errors came of the settings before: then there is nothing to be mixed up."""
        if "made_by" not in head:
            return False
        return all(entry.status in RETRIED for entry in read_manifest(self.folder, recipe=str(head.get("recipe"))))

    def _difference(self, head: Mapping[str, Any]) -> str:
        before = head.get("made_by")
        if not isinstance(before, Mapping):
            return "they were not made by paragone generate"
        names = [name for name in {**before, **self._made_by} if before.get(name) != self._made_by.get(name)]
        words = [f"{name}: {json.dumps(before.get(name))} → {json.dumps(self._made_by.get(name))}" for name in names]
        return "; ".join(word if len(word) < 200 else f"{name}" for name, word in zip(names, words, strict=True))


class Run:
    """One run of a generator over requests; `stopped` says why not all were asked, or is None.

    `at_once` calls are on their way at a time, if the adapter takes as many, each with `batch` requests. Costs that
    the service does not report are computed from the `prices` of `model` (by default the adapter's name) that day. A
    `budget` in US dollars is kept as `Budget` says; raises `UsageError` when nobody says what a request costs.
    """

    def __init__(
        self,
        adapter: GeneratorAdapter,
        requests: Sequence[GenerationRequest],
        *,
        model: str | None = None,
        at_once: int | None = None,
        batch: int | None = None,
        prices: Sequence[Price] = (),
        budget: Decimal | None = None,
    ) -> None:
        allowed = int(getattr(adapter, "at_once", 1))
        usual = AT_ONCE if getattr(adapter, "remote", False) else 1
        self.at_once = max(1, min(at_once or usual, allowed))
        self.batch = max(1, batch or int(getattr(adapter, "batch", 1)))
        self.stopped: str | None = None
        self._adapter, self._model = adapter, model or adapter.name
        self._waiting = deque(requests[start : start + self.batch] for start in range(0, len(requests), self.batch))
        self._prices = list(prices)
        today = prices_on(prices, model=self._model, day=_today())
        if budget is not None and not today and not getattr(adapter, "reports_cost", False):
            raise UsageError(f"a budget needs the price of {self._model}: give --price, or a price in paragone.toml")
        if adapter.task not in VIDEO_TASKS and any(price.unit is PriceUnit.SECOND for price in today):
            raise UsageError(f"{self._model}: is priced by the second, and makes stills")
        by_size = any(price.unit is not PriceUnit.IMAGE for price in today)
        each = None if by_size else cost_of(today, width=1, height=1)
        self.budget = Budget(budget, None if each is None else each * self.batch)
        self._without_answer = 0
        self._error: BaseException | None = None
        self._finished: queue.SimpleQueue[Generation | None] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def stop(self, reason: str) -> None:
        """Ask nothing else; what is on its way is finished."""
        self.stopped = self.stopped or reason

    def generations(self) -> Iterator[Generation]:
        """The answers as they come, with their costs.

        Raises what made the generator unusable, and `NoAnswers` after `MOST_FAILURES` errors or timeouts in a row, in
        both cases only when all that was on its way has come.
        """
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.at_once)]
        for thread in threads:
            thread.start()
        working = len(threads)
        while working:
            generation = self._finished.get()
            if generation is None:
                working -= 1
            else:
                yield generation
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while not self._is_stopped() and (batch := self._next()) is not None:
                self.budget.reserve()
                if self._is_stopped():  # while this thread waited for money
                    self.budget.settle(None)
                    break
                cost: Decimal | None = None
                try:
                    for generation in self._answered(batch):
                        self._finished.put(generation)
                        cost = _sum(cost, generation.cost_usd)
                        self._watch(generation)
                finally:
                    self.budget.settle(cost)
        except BudgetSpent as error:
            self.stop(str(error))
        except ParagoneError as error:
            self._fail(error)
        except Exception as error:  # an adapter is foreign code: what it raises is reported under its name
            broken = PluginError(f"generator {self._model!r} failed: {type(error).__name__}: {error}")
            broken.__cause__ = error
            self._fail(broken)
        finally:
            self._finished.put(None)

    def _is_stopped(self) -> bool:
        return self.stopped is not None

    def _next(self) -> Sequence[GenerationRequest] | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _answered(self, batch: Sequence[GenerationRequest]) -> Iterator[Generation]:
        started = time.monotonic()
        for generation in answers(self._adapter, batch):
            took_s = time.monotonic() - started
            started = time.monotonic()
            if generation.latency_s is None and len(batch) == 1:
                generation = replace(generation, latency_s=took_s)
            yield self._priced(_of_its_kind(generation))

    def _priced(self, generation: Generation) -> Generation:
        today = prices_on(self._prices, model=self._model, day=_today())
        if generation.cost_usd is not None or not today or generation.status is Status.TIMEOUT:
            return generation  # what came too late may have been charged or not: unknown is not 0
        if generation.status is not Status.OK:
            return replace(generation, cost_usd=Decimal(0))  # prices are for what is delivered
        return replace(generation, cost_usd=cost_of(today, **size_of(generation)._asdict()))

    def _watch(self, generation: Generation) -> None:
        if getattr(self._adapter, "keep_going", False):
            return
        with self._lock:
            self._without_answer = self._without_answer + 1 if generation.status in RETRIED else 0
            n_failures = self._without_answer
        if n_failures >= MOST_FAILURES:
            self._fail(
                NoAnswers(
                    f"{self._model}: {n_failures} requests in a row ended in errors; the last one: "
                    f"{generation.message or generation.status}; see to it and run the same command again"
                )
            )

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self.stop(str(error))


def _of_its_kind(generation: Generation) -> Generation:
    """A clip where a still was asked for, or the other way round, is an error."""
    if generation.status is not Status.OK:
        return generation
    moving = size_of(generation).frames is not None
    if moving == (generation.request.prompt.task in VIDEO_TASKS):
        return generation
    what = "a clip came, and a still was asked for" if moving else "a still came, and a clip was asked for"
    return replace(generation, status=Status.ERROR, message=what, image=None, clip=None, fps=None, file=None)


class _Digests:
    """Names of requests: the words of the prompt, its task, the bytes of its pictures, the seed."""

    def __init__(self) -> None:
        self._files: dict[Path, str] = {}

    def of(self, request: GenerationRequest) -> str:
        prompt = request.prompt
        pictures = [None if path is None else self._file(path) for path in (request.source, request.mask)]
        return fingerprint([prompt.text, str(prompt.task), *pictures, request.seed])

    def _file(self, path: Path) -> str:
        if path not in self._files:
            self._files[path] = file_digest(path)
        return self._files[path]


def _head(path: Path, content: bytes) -> dict[str, Any]:
    try:
        head = json.loads(content.partition(b"\n")[0])
    except ValueError:
        head = None
    if not isinstance(head, dict):
        raise InputError(f"{path}: not a manifest of samples; delete it to make the samples anew")
    return head


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return other if one is None else one if other is None else one + other


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
