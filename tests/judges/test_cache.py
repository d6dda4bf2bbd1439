"""Nobody pays twice: the cache of replies, the budget, and the exchange that keeps both."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paragone.data.errors import InputError
from paragone.data.records import fingerprint
from paragone.judges.budget import BudgetSpent, Ledger, TokenPrice, read_prices
from paragone.judges.cache import CachingExchange, CountingExchange, MediaFacts, Reply, ReplyCache, send_directly

KEY = {"model": "m", "messages": [{"image": {"sha256": "ab", "mime": "image/png"}}], "seed": 0}
REPLY = Reply('{"choices": []}', 0.25, 120, 8, "m-2026")
DEAR = TokenPrice(Decimal("1.00"), Decimal("4.00"))


class Server:
    """Replies with `reply` after a moment, and counts."""

    def __init__(self, reply: Reply | Exception = REPLY) -> None:
        self.reply = reply
        self.n_sent = 0

    async def __call__(self) -> Reply:
        self.n_sent += 1
        await asyncio.sleep(0)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


def test_a_known_reply_is_not_sent_for_again(tmp_path: Path) -> None:
    server = Server()
    for opened in range(3):  # also by another process, later
        with ReplyCache(tmp_path / "new" / "replies.db") as cache:
            exchange = CachingExchange(cache, ledger=Ledger(DEAR))
            reply = asyncio.run(exchange(KEY, server))
            assert (exchange.n_calls, exchange.n_cached) == ((1, 0) if opened == 0 else (0, 1))
        assert replace(reply, cached=False, cost_usd=None) == replace(REPLY, request_sha256=fingerprint(KEY))
        assert reply.cached == (opened > 0)
        assert reply.cost_usd == (Decimal("0.000152") if opened == 0 else 0)
    assert server.n_sent == 1


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"seed": 1},
        {"sample": 1},
        {"repair": 1},
        {"messages": [{"image": {"sha256": "ac", "mime": "image/png"}}]},
    ],
)
def test_another_request_is_another_reply(tmp_path: Path, change: dict[str, Any]) -> None:
    server = Server()
    with ReplyCache(tmp_path / "replies.db") as cache:
        exchange = CachingExchange(cache)
        asyncio.run(exchange(KEY, server))
        asyncio.run(exchange(dict(reversed((KEY | change).items())), server))
        asyncio.run(exchange(dict(reversed(KEY.items())), server))  # the order of keys is nothing
        assert len(cache) == server.n_sent == 2


def test_a_failed_call_is_not_kept(tmp_path: Path) -> None:
    failing, server = Server(ConnectionError("cut")), Server()
    with ReplyCache(tmp_path / "replies.db") as cache:
        exchange = CachingExchange(cache, ledger=Ledger(DEAR, Decimal("0.01")))
        with pytest.raises(ConnectionError):
            asyncio.run(exchange(KEY, failing, expected=(1000, 1000)))
        assert (len(cache), exchange.n_failed, exchange.ledger.set_aside) == (0, 1, 0)
        assert asyncio.run(exchange(KEY, server)).body == REPLY.body


def test_a_refusal_is_paid_for_and_asked_again(tmp_path: Path) -> None:
    server = Server(replace(REPLY, keep=False))
    with ReplyCache(tmp_path / "replies.db") as cache:
        exchange = CachingExchange(cache, ledger=Ledger(DEAR))
        for _ in range(2):
            asyncio.run(exchange(KEY, server))
        assert (len(cache), exchange.n_calls, exchange.ledger.spent) == (0, 2, Decimal("0.000304"))


def test_requests_on_their_way_are_waited_for() -> None:
    server = Server()
    exchange = CachingExchange(None, ledger=Ledger(DEAR))

    async def many() -> list[Reply]:
        return await asyncio.gather(*(exchange(KEY, server) for _ in range(5)))

    replies = asyncio.run(many())
    assert server.n_sent == 1
    assert [reply.cached for reply in replies] == [False, True, True, True, True]
    assert (exchange.n_calls, exchange.n_cached) == (1, 4)
    assert sum((reply.cost_usd or Decimal(0) for reply in replies), Decimal(0)) == exchange.ledger.spent


def test_all_who_wait_hear_of_a_failure() -> None:
    exchange = CachingExchange(None)

    async def many() -> list[Reply | BaseException]:
        failing = Server(ConnectionError("cut"))
        return await asyncio.gather(*(exchange(KEY, failing) for _ in range(3)), return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(many())] == [ConnectionError] * 3
    assert asyncio.run(exchange(KEY, Server())).body == REPLY.body  # and it may be tried again


def test_without_a_cache_nothing_is_known() -> None:
    server = Server()
    exchange = CachingExchange(None)
    for _ in range(2):
        asyncio.run(exchange(KEY, server))
    assert server.n_sent == 2
    assert asyncio.run(send_directly(KEY, server)).request_sha256 == fingerprint(KEY)


def test_what_a_file_becomes_is_remembered_by_content_and_recipe(tmp_path: Path) -> None:
    facts = (MediaFacts("c" * 64, 224, 112), MediaFacts("d" * 64, 224, 112, 0.5))
    for _ in range(2):
        with ReplyCache(tmp_path / "replies.db") as cache:
            cache.keep_media("a" * 64, "png-1", facts)
            assert cache.known_media("a" * 64, "png-1") == facts
            assert cache.known_media("a" * 64, "png-2") is None
            assert cache.known_media("b" * 64, "png-1") is None


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database " * 100)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE birds (name TEXT)")
    other.close()
    for name in ("text.db", "other.db"):
        with pytest.raises(InputError, match=f"{name}: not a cache"):
            ReplyCache(tmp_path / name)


@given(
    budget=st.decimals("0", "0.01", places=5),
    calls=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 300), st.floats(0, 1)), max_size=30),
)
def test_a_budget_is_never_overdrawn(budget: Decimal, calls: list[tuple[int, int, float]]) -> None:
    ledger = Ledger(DEAR, budget)
    paid = Decimal(0)
    for read, written, share in calls:
        try:
            reserved = ledger.reserve((read, written))
        except BudgetSpent:
            with pytest.raises(BudgetSpent):
                ledger.reserve((0, 0))  # and it stays so
            break
        assert reserved is not None  # nothing is on its way
        paid += ledger.pay(reserved, (int(read * share), int(written * share))) or 0
    assert ledger.spent == paid <= budget
    assert ledger.set_aside == 0


def test_calls_at_once_cannot_overdraw_together() -> None:
    server = Server()
    exchange = CachingExchange(None, ledger=Ledger(DEAR, Decimal("0.0005")))

    async def many() -> list[Reply | BaseException]:
        calls = (exchange(KEY | {"seed": n}, server, expected=(120, 8)) for n in range(9))
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(many())
    assert [isinstance(answer, Reply) for answer in answers] == [True] * 3 + [False] * 6
    assert exchange.ledger.spent == Decimal("0.000456")
    assert "--budget" in str(answers[-1])


@pytest.mark.parametrize("n_calls", [1, 3, 25])
def test_money_that_is_only_set_aside_is_waited_for(n_calls: int) -> None:
    """Estimates are high: calls on their way must not end a run that has money left, only hold it up."""
    exchange = CachingExchange(None, ledger=Ledger(DEAR, Decimal("0.01")))

    async def many() -> None:
        server = Server()
        calls = (exchange(KEY | {"seed": n}, server, expected=(120, 1000)) for n in range(n_calls))
        await asyncio.gather(*calls)

    asyncio.run(many())  # each may cost $0.0041 and costs $0.000152
    assert exchange.n_calls == n_calls
    assert exchange.ledger.spent == n_calls * Decimal("0.000152")
    assert exchange.ledger.set_aside == 0


def test_what_a_reply_does_not_say_is_booked_in_full() -> None:
    ledger = Ledger(DEAR)
    reserved = ledger.reserve((1000, 100))
    assert reserved is not None
    assert ledger.pay(reserved, (None, 3)) == Decimal("0.0014")


def test_a_price_table(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('[m]\ninput = 0.15\noutput = "0.60"\n["org/n"]\ninput = 1\noutput = 0\n')
    prices = read_prices(path)
    assert prices == {"m": TokenPrice(Decimal("0.15"), Decimal("0.60")), "org/n": TokenPrice(Decimal(1), Decimal(0))}
    assert prices["m"].of(1_000_000, 500_000) == Decimal("0.45")


@pytest.mark.parametrize(
    "text",
    [
        "m = 3",
        "[m]\ninput = 1",
        "[m]\ninput = 1\noutput = -1",
        "[m]\ninput = true\noutput = 1",
        "[m",
        "[m]\ninput = 'x'",
    ],
)
def test_what_is_no_price_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"prices\.toml"):
        read_prices(path)


def test_a_rehearsal_counts_and_sends_nothing(tmp_path: Path) -> None:
    server = Server()
    with ReplyCache(tmp_path / "replies.db") as cache:
        asyncio.run(CachingExchange(cache)(KEY, server))
        exchange = CountingExchange(cache)
        asyncio.run(exchange(KEY, server))
        for seed in (1, 2, 2):
            with pytest.raises(BudgetSpent):
                asyncio.run(exchange(KEY | {"seed": seed}, server, expected=(100, 10)))
    assert server.n_sent == 1
    estimate = exchange.estimate
    assert (estimate.n_calls, estimate.n_cached, estimate.input_tokens, estimate.output_tokens) == (2, 2, 200, 20)
