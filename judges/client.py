"""Asking a chat endpoint over HTTP: retries with full jitter, Retry-After, one deadline, a limit on the reply.

What may pass (408, 409, 425, 429, 5xx, a cut connection, a timeout) is tried again; what cannot is not: other 4xx, and
a 429 that says the quota is spent. A server that refuses the key or does not know the model ends the run instead of
failing every battle one by one. The key comes from the environment, and stands in no message, record or log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2

from paragone.data.errors import ParagoneError, UsageError
from paragone.data.records import Status
from paragone.data.retry_after import retry_after_s
from paragone.judges.pace import Pace

RETRIED = frozenset({408, 409, 425, 429})  # and every 5xx, 529 among them
THROTTLED = frozenset({429, 503, 529})
HOPELESS = frozenset({401, 404})  # at the first call: a wrong key, address or model
DENIALS = frozenset({401, 403, 404})
SPENT_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
MAX_CONSECUTIVE_DENIALS = 5
MAX_REPLY_BYTES = 4 << 20
ATTEMPT_S = 120.0
SHORTEST_SECRET = 12  # characters: a shorter key is a placeholder such as "EMPTY", and a word of many replies
MAX_REASON = 300  # characters of a server's own words that a message repeats

_FILTER = re.compile(r"content.?(filter|polic|management)|moderation|flagged|safety system", re.IGNORECASE)


class JudgeUnavailable(ParagoneError):
    """The endpoint refuses every call (key, address, model or quota), or nothing answers there."""

    exit_code = 5


class CallFailed(ParagoneError):
    """One call got no reply that can be read; `status` says how it ended, `body` is what came all the same."""

    def __init__(
        self,
        message: str,
        *,
        status: Status = Status.ERROR,
        body: str = "",
        n_attempts: int = 1,
        http_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.n_attempts = n_attempts
        self.http_status = http_status


class CallRejected(CallFailed):
    """The server will not take this request (4xx); its `body` may say which option it minds."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long one call may take, and how often it is tried; all times in seconds."""

    max_attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    attempt_s: float = ATTEMPT_S  # one attempt, from connecting to the last byte
    deadline_s: float = 600.0  # all attempts and the waits between them

    def wait_s(self, attempt: int, draw: float) -> float:
        """Full jitter: a share `draw` (0..1) of a wait that doubles with each attempt (0, 1, …)."""
        return draw * min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(attempt, 60))


@dataclass(frozen=True, slots=True)
class HttpReply:
    """The body of a 200, as text."""

    body: str
    latency_s: float  # of the attempt that was answered
    n_attempts: int


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    took_s: float
    status: Status = Status.ERROR
    wait_s: float | None = None  # what the server asked for


class ChatClient:
    """Posts request bodies to `{base_url}/chat/completions`. Connections belong to one event loop: see `aclose`."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key_env: str | None = None,
        retry: RetryPolicy | None = None,
        pace: Pace | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.base_url = checked_url(base_url)
        self.retry = retry or RetryPolicy()
        self._key = _key_from(api_key_env)
        self._pace = pace
        self._transport = transport
        self._clock, self._sleep, self._draw = clock, sleep, draw
        self._http: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answered = False
        self._denials = 0
        self._closed_because: str | None = None

    async def complete(self, body: Sequence[bytes]) -> HttpReply:
        """The reply to one request, whose body is given in pieces.

        Raises `CallRejected`, `CallFailed`, or `JudgeUnavailable` to end the run.
        """
        left_s = self.retry.deadline_s  # waiting for the pace does not count
        attempt = 0
        while True:
            if self._closed_because is not None:
                raise JudgeUnavailable(self._closed_because)
            outcome = await self._attempt(body, attempt + 1, left_s)
            if isinstance(outcome, HttpReply):
                self._answered, self._denials = True, 0
                return outcome
            attempt += 1
            wait_s = self.retry.wait_s(attempt - 1, self._draw()) + (outcome.wait_s or 0.0)
            left_s -= outcome.took_s + wait_s
            if attempt >= self.retry.max_attempts or left_s <= 0.0:
                self._give_up(outcome, attempt)
            await self._sleep(wait_s)

    async def aclose(self) -> None:
        """Close the connections; the next call opens new ones."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def _attempt(self, body: Sequence[bytes], attempt: int, left_s: float) -> HttpReply | _Failure:
        async with self._pace.slot() if self._pace else contextlib.nullcontext():
            started = self._clock()
            allowed = min(self.retry.attempt_s, left_s)
            try:
                async with asyncio.timeout(allowed):
                    status, headers, content = await self._post(body)
            except (TimeoutError, httpx2.TimeoutException):
                return _Failure(f"no reply within {allowed:.0f} s", self._clock() - started, Status.TIMEOUT)
            except httpx2.TransportError as error:
                words = self._redacted(str(error)) or "connection lost"
                return _Failure(f"{type(error).__name__}: {words}", self._clock() - started)
            took_s = self._clock() - started
            text = self._redacted(content.decode("utf-8", errors="replace"))
            self._tell_pace(status)
            if status == httpx2.codes.OK:
                return HttpReply(text, took_s, attempt)
            return self._failure(status, headers, text, attempt, took_s)

    async def _post(self, body: Sequence[bytes]) -> tuple[int, httpx2.Headers, bytes]:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if len(body) > 1:
            headers["Content-Length"] = str(sum(map(len, body)))
        content = body[0] if len(body) == 1 else _one_by_one(body)
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        url = f"{self.base_url}/chat/completions"
        async with self._client().stream("POST", url, content=content, headers=headers) as response:
            return response.status_code, response.headers, await _limited(response.aiter_bytes())

    def _client(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._http is None or self._loop is not loop:
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30.0)
            self._http = httpx2.AsyncClient(transport=self._transport, timeout=None, limits=limits)
            self._loop = loop
        return self._http

    def _failure(self, status: int, headers: httpx2.Headers, text: str, attempt: int, took_s: float) -> _Failure:
        code, words = error_words(text)
        reason = f"HTTP {status}: {words}"
        spent = code in SPENT_CODES or status == 402
        if not spent and (status in RETRIED or status >= 500):
            return _Failure(reason, took_s, wait_s=retry_after_s(headers, now=datetime.now(UTC)))
        filtered = status in (400, 403) and _FILTER.search(f"{code or ''} {words}") is not None
        if spent or (status in DENIALS and not filtered):
            self._count_denial(reason, at_once=spent or (status in HOPELESS and not self._answered))
        ended = Status.FILTERED if filtered else Status.ERROR
        raise CallRejected(
            f"{self.base_url}: {reason}", body=text, status=ended, n_attempts=attempt, http_status=status
        )

    def _count_denial(self, reason: str, *, at_once: bool) -> None:
        self._denials += 1
        if at_once or self._denials >= MAX_CONSECUTIVE_DENIALS:
            self._closed_because = f"{self.base_url}: {reason}; check the key's variable, the address and the model"
            raise JudgeUnavailable(self._closed_because)

    def _give_up(self, failure: _Failure, attempts: int) -> None:
        times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        if not self._answered and failure.reason.startswith("ConnectError"):
            self._closed_because = f"nothing answers at {self.base_url} ({times}); is the server running?"
            raise JudgeUnavailable(self._closed_because)
        raise CallFailed(
            f"{self.base_url}: {failure.reason} ({times})", status=failure.status, n_attempts=attempts
        ) from None

    def _tell_pace(self, status: int) -> None:
        if self._pace is not None and status in THROTTLED:
            self._pace.throttled()
        elif self._pace is not None and status == httpx2.codes.OK:
            self._pace.succeeded()

    def _redacted(self, text: str) -> str:
        """Servers like to repeat the key that they refuse."""
        return text.replace(self._key, "[key]") if self._key and len(self._key) >= SHORTEST_SECRET else text


async def _one_by_one(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _limited(chunks: AsyncIterator[bytes]) -> bytes:
    parts, size = [], 0
    async for chunk in chunks:
        size += len(chunk)
        if size > MAX_REPLY_BYTES:
            raise CallFailed(f"the reply is over {MAX_REPLY_BYTES >> 20} MB; it was not read")
        parts.append(chunk)
    return b"".join(parts)


def checked_url(base_url: str) -> str:
    """The base URL without its last slash; raises `UsageError` for one that is none, or that carries a secret."""
    try:
        url = httpx2.URL(base_url.strip())
    except httpx2.InvalidURL as error:
        raise UsageError(f"base URL {base_url!r}: {error}") from error
    if url.userinfo or url.query or url.fragment:  # not repeated in the message: it may be a key
        raise UsageError(f"base URL of {url.host}: give no password or query in it; name the key's variable instead")
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(f"base URL {base_url!r} is not like http://127.0.0.1:8000/v1")
    return str(url).rstrip("/").removesuffix("/chat/completions")


def _key_from(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UsageError(f"the environment variable {variable!r} is not set; it should hold the endpoint's API key")
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"the environment variable {variable!r} does not hold an API key (it has unusual characters)")
    return key


def error_words(body: str) -> tuple[str | None, str]:
    """The code and the words of an error's body, whatever its shape, on one line."""
    error: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        error = json.loads(body)
    if isinstance(error, list) and error:  # Gemini wraps it
        error = error[0]
    if isinstance(error, dict):
        error = error.get("error", error)
    code = words = None
    if isinstance(error, dict):
        code = next((error[name] for name in ("code", "type") if isinstance(error.get(name), str)), None)
        words = error.get("message") or error.get("detail")
    words = words if isinstance(words, str) else body
    return code, " ".join(words.split())[:MAX_REASON] or "(no words)"
