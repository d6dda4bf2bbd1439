"""The HTTP client: what is tried again, how long it waits, where it stops, and that the key goes nowhere else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import httpx2
import pytest

from paragone.data.errors import UsageError
from paragone.data.records import Status
from paragone.judges import client as client_module
from paragone.judges.client import (
    CallFailed,
    CallRejected,
    ChatClient,
    JudgeUnavailable,
    RetryPolicy,
    checked_url,
    error_words,
    retry_after_s,
)
from paragone.judges.pace import Pace

URL = "http://127.0.0.1:9/v1"
CANARY = "sk-canary-1234567890"
OK = (200, b'{"fine": true}', {})


class Scripted:
    """A client whose transport answers from a list, and whose clock moves only when it sleeps."""

    def __init__(
        self, *answers: Any, retry: RetryPolicy | None = None, draw: float = 1.0, key: str | None = None
    ) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.now = 0.0
        self.slept: list[float] = []
        self.client = ChatClient(
            URL,
            api_key_env=key,
            retry=retry,
            transport=httpx2.MockTransport(self.answer),
            clock=lambda: self.now,
            sleep=self.sleep,
            draw=lambda: draw,
        )

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(given, Exception):
            raise given
        status, body, headers = given
        return httpx2.Response(status, content=body, headers=headers)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def complete(self, times: int = 1) -> Any:
        async def run() -> Any:
            try:
                for _ in range(times - 1):
                    with pytest.raises(CallFailed):
                        await self.client.complete([b"{}"])
                return await self.client.complete([b"{}"])
            finally:
                await self.client.aclose()

        return asyncio.run(run())


def error(status: int, code: str | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    body = f'{{"error": {{"message": "words", "code": {"null" if code is None else chr(34) + code + chr(34)}}}}}'
    return status, body.encode(), {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again(status: int) -> None:
    script = Scripted(error(status), error(status), OK)
    reply = script.complete()
    assert (reply.body, reply.n_attempts) == ('{"fine": true}', 3)
    assert script.slept == [1.0, 2.0]


@pytest.mark.parametrize("status", [301, 400, 403, 405, 413, 422])
def test_other_refusals_are_not(status: int) -> None:
    script = Scripted(error(status))
    with pytest.raises(CallRejected, match=f"HTTP {status}: words") as caught:
        script.complete()
    assert len(script.requests) == 1
    assert caught.value.status is Status.ERROR


@pytest.mark.parametrize("failure", [httpx2.ConnectTimeout("t"), httpx2.ReadTimeout("t")])
def test_a_timeout_is_tried_again_and_named(failure: Exception) -> None:
    assert Scripted(failure, OK).complete().n_attempts == 2
    with pytest.raises(CallFailed, match=r"no reply within 120 s \(6 attempts\)") as caught:
        Scripted(failure).complete()
    assert caught.value.status is Status.TIMEOUT
    assert caught.value.n_attempts == 6


@pytest.mark.parametrize("failure", [httpx2.ReadError("cut"), httpx2.RemoteProtocolError("cut")])
def test_a_cut_connection_is_tried_again(failure: Exception) -> None:
    assert Scripted(failure, OK).complete().n_attempts == 2


def test_waits_double_up_to_a_limit_and_are_jittered_fully() -> None:
    policy = RetryPolicy(max_attempts=9, longest_wait_s=30.0)
    script = Scripted(*[error(500)] * 8, OK, retry=policy)
    script.complete()
    assert script.slept == [1, 2, 4, 8, 16, 30, 30, 30]
    assert policy.wait_s(3, 0.0) == 0.0
    assert policy.wait_s(3, 0.5) == 4.0
    assert policy.wait_s(5000, 1.0) == 30.0


def test_retry_after_is_honoured_and_jitter_comes_on_top() -> None:
    script = Scripted(error(429, Retry_After="7"), error(503, retry_after_ms="1500"), OK, draw=0.0)
    script.complete()
    assert script.slept == [7.0, 1.5]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:10 GMT"}, 10.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    ],
)
def test_forms_of_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    now = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
    assert retry_after_s(httpx2.Headers(headers), now=now) == seconds


def test_the_deadline_ends_what_attempts_would_not() -> None:
    script = Scripted(error(500), retry=RetryPolicy(max_attempts=100, deadline_s=10.0))
    with pytest.raises(CallFailed, match="HTTP 500"):
        script.complete()
    assert sum(script.slept) < 10.0
    script = Scripted(error(429, Retry_After="3600"))
    with pytest.raises(CallFailed, match=r"HTTP 429: words \(1 attempt\)"):
        script.complete()
    assert script.slept == []


@pytest.mark.parametrize("answer", [error(429, "insufficient_quota"), error(402), error(401), error(404)])
def test_the_hopeless_ends_the_run_at_once(answer: Any) -> None:
    script = Scripted(answer)
    with pytest.raises(JudgeUnavailable, match="check the key's variable, the address and the model"):
        script.complete()
    with pytest.raises(JudgeUnavailable):
        script.complete()
    assert len(script.requests) == 1, "after that, nothing is sent"


def test_denials_after_answers_end_it_only_in_a_row() -> None:
    denials = [error(403)] * 4
    script = Scripted(*denials, OK, *denials, OK)
    for _ in range(2):
        assert script.complete(times=5).body
    assert Scripted(OK, error(404), OK).complete().body

    async def run(script: Scripted) -> int:
        for count in range(9):
            try:
                await script.client.complete([b"{}"])
            except JudgeUnavailable:
                return count
            except CallFailed:
                continue
        return -1

    assert asyncio.run(run(Scripted(error(403)))) == client_module.MAX_CONSECUTIVE_DENIALS - 1


def test_nothing_there_says_so() -> None:
    with pytest.raises(JudgeUnavailable, match=r"nothing answers at http://127.0.0.1:9/v1 \(6 attempts\)"):
        Scripted(httpx2.ConnectError("refused")).complete()


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation", "moderation_blocked"])
def test_a_filter_that_answers_400_is_a_filter(code: str) -> None:
    with pytest.raises(CallRejected) as caught:
        Scripted(error(400, code)).complete()
    assert caught.value.status is Status.FILTERED


def test_moderation_is_no_denial_of_the_key() -> None:
    flagged = (403, b'{"error": {"code": 403, "message": "requires moderation. Your input was flagged"}}', {})
    script = Scripted(flagged)
    for _ in range(3 * client_module.MAX_CONSECUTIVE_DENIALS):
        with pytest.raises(CallRejected) as caught:
            script.complete()
        assert caught.value.status is Status.FILTERED


def test_a_placeholder_for_a_key_is_left_in_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "fine")
    assert Scripted(OK, key="JUDGE_KEY").complete().body == '{"fine": true}'


def test_waiting_for_a_slot_is_not_the_servers_time() -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def run() -> list[str]:
        pace = Pace(max_concurrency=4, rpm=1, clock=lambda: now, sleep=sleep)
        transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=request.content))
        client = ChatClient(URL, pace=pace, transport=transport, clock=lambda: now, sleep=sleep)
        replies = await asyncio.gather(*(client.complete([b"%d" % number]) for number in range(20)))
        await client.aclose()
        return [reply.body for reply in replies]

    assert asyncio.run(run()) == [str(number) for number in range(20)]
    assert now >= 19 * 60, "longer than the deadline of any one call"


def test_an_endless_reply_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_REPLY_BYTES", 1 << 20)
    script = Scripted((200, b"x" * (1 << 20), {}))
    assert len(script.complete().body) == 1 << 20
    with pytest.raises(CallFailed, match="over 1 MB"):
        Scripted((200, b"x" * ((1 << 20) + 1), {})).complete()


def test_the_key_goes_to_the_server_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JUDGE_KEY", f" {CANARY}\n")
    caplog.set_level(logging.DEBUG)
    echo = f'{{"error": {{"message": "Incorrect API key provided: {CANARY}"}}}}'.encode()
    script = Scripted((400, echo, {}), key="JUDGE_KEY")
    with pytest.raises(CallRejected) as caught:
        script.complete()
    assert script.requests[0].headers["authorization"] == f"Bearer {CANARY}"
    assert script.requests[0].url == f"{URL}/chat/completions"
    chain = f"{caught.value!r} {caught.value} {caught.value.body} {caught.value.__cause__!r}"
    assert "[key]" in chain
    for place in (chain, repr(script.client), caplog.text):
        assert CANARY not in place


@pytest.mark.parametrize(
    ("value", "words"), [("", "is not set"), ("  ", "is not set"), ("a\nb", "unusual"), ("é", "unusual")]
)
def test_a_key_that_cannot_be_one(monkeypatch: pytest.MonkeyPatch, value: str, words: str) -> None:
    monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(UsageError, match=words):
        ChatClient(URL, api_key_env="JUDGE_KEY")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://h:1/v1/", "http://h:1/v1"),
        (" https://h/v1", "https://h/v1"),
        ("http://h/v1/chat/completions", "http://h/v1"),
    ],
)
def test_addresses(given: str, used: str) -> None:
    assert checked_url(given) == used


@pytest.mark.parametrize(
    "given", ["", "h/v1", "ftp://h/v1", "file:///etc/passwd", "http://u:secret@h/v1", "http://h/?key=secret"]
)
def test_addresses_that_are_none_or_carry_a_secret(given: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked_url(given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"error": {"message": "a\\n b", "code": "c"}}', ("c", "a b")),
        ('[{"error": {"message": "m", "status": "X", "code": 400}}]', (None, "m")),
        ('{"detail": "d"}', (None, "d")),
        ('{"error": "plain"}', (None, '{"error": "plain"}')),
        ("<html>no</html>", (None, "<html>no</html>")),
        ("", (None, "(no words)")),
        ("[" * 100_000, (None, "[" * 300)),
    ],
)
def test_words_of_an_error(body: str, expected: tuple[str | None, str]) -> None:
    assert error_words(body) == expected


def through_the_wire(server: Any, *behaviours: Any, retry: RetryPolicy, pace: Pace | None = None) -> Any:
    async def run() -> Any:
        client = ChatClient(server.base_url, retry=retry, pace=pace, draw=lambda: 0.0)
        try:
            return await client.complete([b'{"messages": []}'])
        finally:
            await client.aclose()

    server.then(*behaviours)
    return asyncio.run(run())


QUICK = RetryPolicy(max_attempts=2, first_wait_s=0.01, attempt_s=1.0)


def test_a_real_server_that_misbehaves(server: Any, fake_server: ModuleType) -> None:
    fine = fake_server.verdict("first")
    for bad in (fake_server.cuts(), fake_server.fails(500), fake_server.slow(4.0), fake_server.drips(0.05)):
        reply = through_the_wire(server, bad, fine, retry=QUICK)
        assert reply.n_attempts == 2
        assert "first" in reply.body
    assert server.n_calls == 8


def test_a_real_server_that_stays_slow(server: Any, fake_server: ModuleType) -> None:
    with pytest.raises(CallFailed) as caught:
        through_the_wire(server, fake_server.drips(0.05), fake_server.drips(0.05), retry=QUICK)
    assert caught.value.status is Status.TIMEOUT


def test_the_pace_hears_of_trouble_and_success(server: Any, fake_server: ModuleType) -> None:
    pace = Pace(max_concurrency=8)
    through_the_wire(server, fake_server.fails(429), fake_server.verdict("first"), retry=QUICK, pace=pace)
    assert pace.n_throttled == 1
    assert 4.0 < pace.limit < 8.0


def test_no_slot_is_held_while_waiting() -> None:
    pace = Pace(max_concurrency=1)
    order: list[str] = []

    async def run() -> None:
        answers: dict[bytes, list[tuple[int, bytes, dict[str, str]]]] = {b"a": [error(500), OK], b"b": [OK]}

        def answer(request: httpx2.Request) -> httpx2.Response:
            order.append(request.content.decode())
            status, body, headers = answers[request.content].pop(0)
            return httpx2.Response(status, content=body, headers=headers)

        transport = httpx2.MockTransport(answer)
        retry = RetryPolicy(first_wait_s=0.05)
        client = ChatClient(URL, pace=pace, transport=transport, retry=retry, draw=lambda: 1.0)
        await asyncio.gather(client.complete([b"a"]), client.complete([b"b"]))
        await client.aclose()

    asyncio.run(run())
    assert order == ["a", "b", "a"]


def test_one_client_serves_loops_one_after_the_other(server: Any) -> None:
    client = ChatClient(server.base_url)
    server.behaviour = lambda _: type(
        "R", (), {"status": 200, "body": b"x", "headers": {}, "delay_s": 0, "drip_s": 0, "cut_at": None}
    )()

    async def once(done: Callable[[], Any]) -> str:
        reply = await client.complete([b'{"messages": []}'])
        await done()
        return reply.body

    assert [asyncio.run(once(client.aclose)) for _ in range(2)] == ["x", "x"]
