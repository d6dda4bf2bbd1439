"""Asking a generator's service over HTTP from several threads: retries, Retry-After, deadlines, limits on size.

What may pass (408, 409, 425, 429, 5xx, a cut or refused connection) is tried again with full jitter; what cannot is
not: other 4xx, and a 429 that says the quota is spent. A request that got no reply in its time is *not* repeated: the
picture may have been made and charged. A service that refuses the key or does not know the address ends the run. The
key comes from the environment and stands in no message or file. (`paragone.judges.client` is the asynchronous twin of
this module, for calls of a judge.)
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import threading
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2

from paragone.data.errors import ParagoneError, UsageError
from paragone.data.records import Status
from paragone.data.retry_after import retry_after_s

RETRIED = frozenset({408, 409, 425, 429})  # and every 5xx
DENIALS = frozenset({401, 403, 404})
SPENT_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
MOST_DENIALS = 5  # in a row
SHORTEST_SECRET = 12  # characters: a shorter key is a placeholder, and a word of many replies
MAX_REASON = 300  # characters of a service's own words that a message repeats
MAX_BYTES = 256 << 20
MEGABYTE = 1 << 20

_FILTER = re.compile(
    r"content.?(filter|polic|management|moderat|violat)|moderat(ion|ed)|flagged|nsfw|"
    r"safety.(system|filter|check|polic)|sensitive.content",
    re.IGNORECASE,
)
_USAGE = re.compile(r"(invalid|unknown|missing|unsupported)_", re.IGNORECASE)  # codes of what an option is wrong with
_REFUSAL = re.compile(
    r"refus|declin|(can.?t|cannot|unable to|won.?t) (assist|help|fulfil|generate|create|comply)", re.IGNORECASE
)


class ServiceUnavailable(ParagoneError):
    """The service refuses every request (key, address, model or quota), or nothing answers there."""

    exit_code = 5


class RequestFailed(ParagoneError):
    """One request got no answer that can be used; `status` says how it ended, `body` is what came all the same."""

    def __init__(self, message: str, *, status: Status = Status.ERROR, body: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.code = code  # of HTTP


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request may take, and how often it is tried; all times in seconds."""

    attempt_s: float = 300.0  # one attempt, from connecting to the last byte
    max_attempts: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0

    def wait_s(self, attempt: int, draw: float) -> float:
        """Full jitter: a share `draw` (0..1) of a wait that doubles with each attempt (0, 1, …)."""
        return draw * min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(attempt, 60))


@dataclass(frozen=True, slots=True)
class Reply:
    """The body of a reply, and its headers."""

    code: int
    content: bytes
    headers: httpx2.Headers

    def document(self) -> Any:
        """The body as JSON; raises `RequestFailed` when it is none."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError) as error:
            start = " ".join(self.content[:80].decode("utf-8", errors="replace").split())
            raise RequestFailed(f"the reply is no JSON but {start!r}") from error

    def object(self) -> dict[str, Any]:
        """The body as a JSON object; raises `RequestFailed` when it is none."""
        document = self.document()
        if not isinstance(document, dict):
            raise RequestFailed(f"the reply is no JSON object but {str(document)[:80]!r}")
        return document


@dataclass
class Service:
    """One service at a base URL. Threads may share it."""

    base_url: str
    api_key_env: str | None = None
    auth_header: str = "Authorization"
    auth_prefix: str = "Bearer "
    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        self.base_url = checked_url(self.base_url)
        self._key = key_from(self.api_key_env)
        self._http = httpx2.Client(
            timeout=None, limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64)
        )
        weakref.finalize(self, self._http.close)  # adapters have no end of their own
        self._lock = threading.Lock()
        self._answered = False
        self._denials = 0
        self._closed_because: str | None = None
        self._not_before = 0.0  # a service that asks one thread to wait asks all of them

    @property
    def origin(self) -> tuple[str, str, int | None]:
        """Scheme, host and port."""
        url = httpx2.URL(self.base_url)
        return url.scheme, url.host, url.port

    def post(self, path: str, document: Mapping[str, Any], *, once: str | None = None) -> Reply:
        """POST a JSON document; `once` names the request, so that a service may know a repetition of it."""
        return self.send("POST", path, once=once, json=document)

    def get(self, path: str, *, parameters: Mapping[str, str] | None = None) -> Reply:
        """GET a path below the base URL; one that is not there (404) says nothing of the service."""
        reply = self.send("GET", path, params=parameters, accept=(404,))
        if reply.code == 404:
            words = self._redacted(error_words(reply.content[:65_536].decode("utf-8", errors="replace"))[1])
            raise RequestFailed(f"{self.base_url}{path}: HTTP 404: {words}", code=404)
        return reply

    def send(
        self,
        method: str,
        path: str,
        *,
        once: str | None = None,
        limit: int = MAX_BYTES,
        json: Any = None,
        data: Mapping[str, Any] | None = None,
        files: Any = None,
        params: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
    ) -> Reply:
        """The reply, of status 2xx or `accept`; raises `RequestFailed`, or `ServiceUnavailable` to end the run."""
        url = path if path.startswith(("http://", "https://")) else f"{self.base_url}{path}"
        headers = {self.auth_header: f"{self.auth_prefix}{self._key}"} if self._key else {}
        if once is not None:
            headers["Idempotency-Key"] = once
        request = self._http.build_request(
            method, url, json=json, data=data, files=files, params=params, headers=headers
        )
        for attempt in range(1, self.patience.max_attempts + 1):
            if self._closed_because is not None:
                raise ServiceUnavailable(self._closed_because)
            self._wait_for_turn()
            try:
                reply = self._attempt(request, limit)
            except httpx2.TransportError as error:
                reason, asked_s = f"{type(error).__name__}: {self._redacted(str(error)) or 'connection lost'}", None
            else:
                if 200 <= reply.code < 300 or reply.code in accept:
                    with self._lock:
                        self._answered, self._denials = True, 0
                    return reply
                reason, asked_s = self._judged(reply), retry_after_s(reply.headers, now=datetime.now(UTC))
            if attempt < self.patience.max_attempts:
                self._pause(attempt - 1, asked_s)
        raise self._given_up(reason)

    def _attempt(self, request: httpx2.Request, limit: int) -> Reply:
        allowed = self.patience.attempt_s
        deadline = self.clock() + allowed
        request.extensions["timeout"] = {"connect": allowed, "read": allowed, "write": allowed, "pool": allowed}
        try:
            response = self._http.send(request, stream=True)
            try:
                content = _limited(response, limit, deadline, self.clock)
            finally:
                response.close()
        except (httpx2.ReadTimeout, httpx2.WriteTimeout, TimeoutError):
            raise RequestFailed(f"{self.base_url}: no reply within {allowed:.0f} s", status=Status.TIMEOUT) from None
        return Reply(response.status_code, content, response.headers)

    def _judged(self, reply: Reply) -> str:
        """The reason to try again; raises when there is none to."""
        code = reply.code
        text = self._redacted(reply.content[:65_536].decode("utf-8", errors="replace"))
        kind, words = error_words(text)
        reason = f"HTTP {code}: {words}"
        spent = kind in SPENT_CODES or code == 402
        if not spent and (code in RETRIED or code >= 500):
            return reason
        option = kind is not None and _USAGE.match(kind) is not None
        ended = refusal_status(f"{kind or ''} {words}") if code in (400, 403, 422, 451) and not option else None
        if spent or (code in DENIALS and ended is None):
            self._count_denial(reason, at_once=spent or (code in (401, 404) and not self._answered))
        raise RequestFailed(f"{self.base_url}: {reason}", status=ended or Status.ERROR, body=text, code=code)

    def _count_denial(self, reason: str, *, at_once: bool) -> None:
        with self._lock:
            self._denials += 1
            if at_once or self._denials >= MOST_DENIALS:
                self._closed_because = f"{self.base_url}: {reason}; check the key's variable, the address and the model"
                raise ServiceUnavailable(self._closed_because)

    def _given_up(self, reason: str) -> ParagoneError:
        times = f"{self.patience.max_attempts} attempts"
        if not self._answered and reason.startswith("ConnectError"):
            with self._lock:
                self._closed_because = f"nothing answers at {self.base_url} ({times}); is the server running?"
            return ServiceUnavailable(self._closed_because)
        return RequestFailed(f"{self.base_url}: {reason} ({times})")

    def _pause(self, attempt: int, asked_s: float | None) -> None:
        if asked_s:
            with self._lock:
                self._not_before = max(self._not_before, self.clock() + asked_s)
        self.sleep(self.patience.wait_s(attempt, self.draw()))

    def _wait_for_turn(self) -> None:
        left_s = self._not_before - self.clock()
        if left_s > 0:
            self.sleep(min(left_s, self.patience.attempt_s))

    def _redacted(self, text: str) -> str:
        """Services like to repeat the key that they refuse."""
        return text.replace(self._key, "[key]") if self._key and len(self._key) >= SHORTEST_SECRET else text


def _limited(response: httpx2.Response, limit: int, deadline: float, clock: Callable[[], float]) -> bytes:
    parts, size = [], 0
    for chunk in response.iter_bytes():
        size += len(chunk)
        if size > limit:
            raise RequestFailed(f"{response.url.host}: the reply is over {limit / MEGABYTE:.0f} MB; it was not read")
        if clock() > deadline:
            raise TimeoutError
        parts.append(chunk)
    return b"".join(parts)


def checked_url(base_url: str) -> str:
    """The base URL without its last slash; raises `UsageError` for one that is none, or that carries a secret."""
    try:
        url = httpx2.URL(str(base_url).strip())
    except httpx2.InvalidURL as error:
        raise UsageError(f"base_url {base_url!r}: {error}") from error
    if url.userinfo or url.query or url.fragment:  # not repeated in the message: it may be a key
        raise UsageError(f"base_url of {url.host}: give no password or query in it; name the key's variable instead")
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(f"base_url {base_url!r} is not like http://127.0.0.1:8000/v1")
    return str(url).rstrip("/")


def key_from(variable: str | None) -> str | None:
    """The API key in an environment variable; raises `UsageError` when there is none."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UsageError(f"the environment variable {variable!r} is not set; it should hold the service's API key")
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"the environment variable {variable!r} does not hold an API key (it has unusual characters)")
    return key


def refusal_status(words: str) -> Status | None:
    """Whether an error's words are those of a filter or of a refusal."""
    if _FILTER.search(words):
        return Status.FILTERED
    return Status.REFUSED if _REFUSAL.search(words) else None


def error_words(body: str) -> tuple[str | None, str]:
    """The code and the words of an error's body, whatever its shape, on one line."""
    error: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        error = json.loads(body)
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, dict):
        error = error.get("error", error)
    kind = words = None
    if isinstance(error, dict):
        kind = next((error[name] for name in ("code", "type") if isinstance(error.get(name), str)), None)
        words = error.get("message") or error.get("detail")
    elif isinstance(error, str):
        words = error
    words = words if isinstance(words, str) else body
    return kind, " ".join(words.split())[:MAX_REASON] or "(no words)"
