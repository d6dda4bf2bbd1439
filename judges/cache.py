"""Replies of models, kept so that nobody pays twice for the same question.

A request is named by the sha256 of its canonical JSON, in which each picture is replaced by the digest of the bytes
that were sent: another prompt, template, model or picture is another request, and a renamed file is not. What is kept
is the raw reply. It is parsed each time it is read, so a better parser needs no new call. A call that brought no reply
is not kept, nor is a refusal. Requests that are on their way already are waited for, not sent again (single flight).
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, Self

from paragone.data.errors import InputError
from paragone.data.records import fingerprint
from paragone.judges.budget import BudgetSpent, Ledger

__all__ = [
    "BudgetSpent",
    "CachingExchange",
    "Exchange",
    "MediaFacts",
    "MediaIndex",
    "Memory",
    "Reply",
    "ReplyCache",
    "send_directly",
]

APPLICATION_ID = 0x70676A63
_REPLIES = """
CREATE TABLE IF NOT EXISTS replies (
  request TEXT NOT NULL PRIMARY KEY CHECK (length(request) = 64),
  body TEXT NOT NULL,
  latency_s REAL NOT NULL,
  input_tokens INTEGER,
  output_tokens INTEGER,
  served_model TEXT,
  created_at TEXT NOT NULL,
  key TEXT NOT NULL -- the canonical request; last, so that looking up a reply does not read it
) STRICT
"""
_MEDIA = """
CREATE TABLE IF NOT EXISTS media (
  file TEXT NOT NULL CHECK (length(file) = 64),
  recipe TEXT NOT NULL,
  facts TEXT NOT NULL,
  PRIMARY KEY (file, recipe)
) STRICT
"""
_LIMITS = """
CREATE TABLE IF NOT EXISTS limits (
  base_url TEXT NOT NULL,
  model TEXT NOT NULL,
  facts TEXT NOT NULL,
  PRIMARY KEY (base_url, model)
) STRICT
"""


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What is known of a picture or clip that was prepared for sending, without its bytes."""

    sha256: str  # of the bytes sent
    width: int  # px
    height: int  # px
    time_s: float | None = None  # of a clip's frame
    n_bytes: int = 0
    mime: str = "image/png"
    times_s: tuple[float, ...] = ()  # of the frames on a contact sheet


class MediaIndex(Protocol):
    """Remembers what files become when they are prepared, so that a known request is known without preparing it."""

    def known_media(self, file_sha256: str, recipe: str) -> tuple[MediaFacts, ...] | None:
        """What the file with this digest becomes by this recipe, if that is known."""
        ...

    def keep_media(self, file_sha256: str, recipe: str, facts: Sequence[MediaFacts]) -> None:
        """Remember it."""
        ...


class Memory(MediaIndex, Protocol):
    """Remembers both what files become and what endpoints refused, from one run to the next."""

    def known_limits(self, base_url: str, model: str) -> dict[str, Any] | None:
        """What a model at an address refused for being too much (`paragone.judges.limits`), if anything."""
        ...

    def keep_limits(self, base_url: str, model: str, limits: Mapping[str, Any]) -> None:
        """Remember it, instead of what was known before."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered, as it came."""

    body: str
    latency_s: float
    input_tokens: int | None  # None: the reply does not say
    output_tokens: int | None
    served_model: str | None = None
    request_sha256: str = ""
    cached: bool = False
    cost_usd: Decimal | None = None  # paid now: 0 when cached, None without a price
    keep: bool = True  # False: paid for, but to be asked anew, as a refusal is

    def facts(self) -> dict[str, Any]:
        """All of it as JSON can hold it, for a verdict's details."""
        return {
            "request_sha256": self.request_sha256,
            "body": self.body,
            "latency_s": self.latency_s,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "served_model": self.served_model,
            "cached": self.cached,
            "cost_usd": None if self.cost_usd is None else f"{self.cost_usd:f}",
        }


class Exchange(Protocol):
    """How a judge gets a reply: from the cache or by sending."""

    async def __call__(
        self,
        key: Mapping[str, Any],
        send: Callable[[], Awaitable[Reply]],
        *,
        expected: tuple[int, int] = (0, 0),
        fresh: bool = False,
    ) -> Reply:
        """The reply to the canonical request `key`; `send` asks for it.

        `expected` are the most input and output tokens that the call may use. A `fresh` reply is asked for even when
        one is known, and takes its place. Raises `BudgetSpent` before a call that the budget does not allow, and
        whatever `send` raises.
        """
        ...


async def send_directly(
    key: Mapping[str, Any],
    send: Callable[[], Awaitable[Reply]],
    *,
    expected: tuple[int, int] = (0, 0),
    fresh: bool = False,
) -> Reply:
    """The exchange without a cache or a budget."""
    return replace(await send(), request_sha256=fingerprint(key))


class ReplyCache:
    """Raw replies by request, in an SQLite file that threads and processes may use at once. Also a `Memory`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path}: not a cache of replies ({error}); move it away, or use --no-cache") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def get(self, request: str) -> Reply | None:
        """The reply to the request with this digest, if it is known."""
        query = "SELECT body, latency_s, input_tokens, output_tokens, served_model FROM replies WHERE request = ?"
        row = self._row(query, (request,))
        if row is None:
            return None
        body, latency_s, read, written, served = row
        return Reply(body, latency_s, read, written, served, request, cached=True, cost_usd=Decimal(0))

    def put(self, request: str, key: Mapping[str, Any], reply: Reply, *, instead: bool = False) -> None:
        """Keep a reply; one that is there already stays, unless this one is to stand `instead` of it."""
        document = json.dumps(key, sort_keys=True, ensure_ascii=False)
        used = (reply.latency_s, reply.input_tokens, reply.output_tokens, reply.served_model)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._insert(
            f"INSERT OR {'REPLACE' if instead else 'IGNORE'} INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (request, reply.body, *used, now, document),
        )

    def known_media(self, file_sha256: str, recipe: str) -> tuple[MediaFacts, ...] | None:
        """See `MediaIndex`."""
        query = "SELECT facts FROM media WHERE file = ? AND recipe = ?"
        row = self._row(query, (file_sha256, recipe))
        if row is None:
            return None
        return tuple(
            MediaFacts(sha256, width, height, time_s, n_bytes, mime, tuple(times))
            for sha256, width, height, time_s, n_bytes, mime, times in json.loads(row[0])
        )

    def keep_media(self, file_sha256: str, recipe: str, facts: Sequence[MediaFacts]) -> None:
        """See `MediaIndex`."""
        document = json.dumps([list(astuple(one)) for one in facts])
        self._insert("INSERT OR IGNORE INTO media VALUES (?, ?, ?)", (file_sha256, recipe, document))

    def known_limits(self, base_url: str, model: str) -> dict[str, Any] | None:
        """See `Memory`."""
        row = self._row("SELECT facts FROM limits WHERE base_url = ? AND model = ?", (base_url, model))
        return None if row is None else dict(json.loads(row[0]))

    def keep_limits(self, base_url: str, model: str, limits: Mapping[str, Any]) -> None:
        """See `Memory`."""
        self._insert("INSERT OR REPLACE INTO limits VALUES (?, ?, ?)", (base_url, model, json.dumps(limits)))

    def __len__(self) -> int:
        row = self._row("SELECT count(*) FROM replies", ())
        return int(row[0]) if row else 0

    def _row(self, query: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        with self._lock, closing(self._connection.execute(query, values)) as rows:
            row: tuple[Any, ...] | None = rows.fetchone()
        return row

    def _insert(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            self._connection.execute(statement, values)

    def _prepare(self) -> None:
        run = self._connection.execute
        (application,) = run("PRAGMA application_id").fetchone()
        (n_tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
        if application != APPLICATION_ID and n_tables:
            raise sqlite3.DatabaseError("it is a database of something else")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(_REPLIES)
        run(_MEDIA)
        run(_LIMITS)
        if application != APPLICATION_ID:
            run(f"PRAGMA application_id = {APPLICATION_ID}")


class CachingExchange:
    """An exchange that looks into a cache first, keeps to a budget, and counts.

    `cache` is None for `--no-cache`. `n_calls` are the requests that were sent and answered, `n_cached` those that were
    not sent, because the reply was known or on its way. `n_failed` brought no reply.
    """

    def __init__(self, cache: ReplyCache | None = None, *, ledger: Ledger | None = None) -> None:
        self.cache = cache
        self.ledger = ledger if ledger is not None else Ledger()
        self.n_calls = self.n_cached = self.n_failed = 0
        self.input_tokens = self.output_tokens = 0
        self.latencies_s: list[float] = []
        self._under_way: dict[str, asyncio.Future[Reply]] = {}
        self._freed = asyncio.Event()

    async def __call__(
        self,
        key: Mapping[str, Any],
        send: Callable[[], Awaitable[Reply]],
        *,
        expected: tuple[int, int] = (0, 0),
        fresh: bool = False,
    ) -> Reply:
        """See `Exchange`."""
        request = fingerprint(key)
        known = self.cache.get(request) if self.cache is not None and not fresh else None
        if known is None and request in self._under_way:
            reply = await asyncio.shield(self._under_way[request])
            known = replace(reply, cached=True, cost_usd=None if reply.cost_usd is None else Decimal(0))
        if known is not None:
            self.n_cached += 1
            return known
        return await self._send(request, key, send, expected, fresh=fresh)

    async def _send(
        self,
        request: str,
        key: Mapping[str, Any],
        send: Callable[[], Awaitable[Reply]],
        expected: tuple[int, int],
        *,
        fresh: bool,
    ) -> Reply:
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._under_way[request] = waiting
        try:
            reply = await self._pay_for(send, expected)
        except BaseException as error:
            if isinstance(error, Exception):
                waiting.set_exception(error)
                waiting.exception()  # nobody else may be waiting: it is raised here anyhow
            else:
                waiting.cancel()
            raise
        finally:
            del self._under_way[request]
        reply = replace(reply, request_sha256=request, cached=False)
        if self.cache is not None and reply.keep:
            self.cache.put(request, key, reply, instead=fresh)
        self._count(reply)
        waiting.set_result(reply)
        return reply

    async def _pay_for(self, send: Callable[[], Awaitable[Reply]], expected: tuple[int, int]) -> Reply:
        """Send once there is money for it, and book what it cost."""
        while (reserved := self.ledger.reserve(expected)) is None:
            await self._freed.wait()
        try:
            reply = await send()
        except BaseException:
            self.ledger.release(reserved)
            self.n_failed += 1
            raise
        else:
            return replace(reply, cost_usd=self.ledger.pay(reserved, (reply.input_tokens, reply.output_tokens)))
        finally:  # whoever waits for money looks again
            self._freed.set()
            self._freed = asyncio.Event()

    def _count(self, reply: Reply) -> None:
        self.n_calls += 1
        self.input_tokens += reply.input_tokens or 0
        self.output_tokens += reply.output_tokens or 0
        self.latencies_s.append(reply.latency_s)


@dataclass(slots=True)
class Estimate:
    """What a run would send."""

    n_calls: int = 0
    n_cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0  # at most


class NotSent(BudgetSpent):
    """Nothing is sent in a dry run."""


class CountingExchange:
    """An exchange for a dry run: it adds up what would be sent, and sends nothing (`NotSent`) that is not cached."""

    def __init__(self, cache: ReplyCache | None = None) -> None:
        self.cache = cache
        self.estimate = Estimate()
        self._seen: set[str] = set()

    async def __call__(
        self,
        key: Mapping[str, Any],
        send: Callable[[], Awaitable[Reply]],
        *,
        expected: tuple[int, int] = (0, 0),
        fresh: bool = False,
    ) -> Reply:
        """See `Exchange`."""
        request = fingerprint(key)
        known = self.cache.get(request) if self.cache is not None and not fresh else None
        if known is not None:
            self.estimate.n_cached += 1
            return known
        if request in self._seen:
            self.estimate.n_cached += 1
        else:
            self._seen.add(request)
            self.estimate.n_calls += 1
            self.estimate.input_tokens += expected[0]
            self.estimate.output_tokens += expected[1]
        raise NotSent("a dry run sends nothing")
