"""The middleware's parts by themselves: limits against a slow oracle, keys, cookies, networks, secrets in the log."""

from __future__ import annotations

import asyncio
import io
import logging
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paragone.arena.store import Store
from paragone.arena.ui import identity, redaction
from paragone.arena.ui.access import host_name, is_loopback
from paragone.arena.ui.limits import Limiter, Rate, Rates, retry_after
from paragone.arena.ui.middleware import NETWORK_KEY, Guard
from paragone.data.errors import InputError

UNLIMITED = Rate(10**6, 10**6)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Store(tmp_path / "arena.db", create=True).close()
    monkeypatch.setenv("PARAGONE_DIR", str(tmp_path))
    monkeypatch.delenv("PARAGONE_DB", raising=False)
    return tmp_path


class TestLimits:
    @settings(max_examples=100, deadline=None)
    @given(
        st.integers(1, 6),
        st.sampled_from([0.25, 1.0, 2.0]),
        st.lists(st.integers(0, 40), min_size=1, max_size=60),
    )
    def test_is_a_token_bucket(self, burst: int, per_s: float, gaps: list[int]) -> None:
        """Against a bucket that is filled drop by drop; times are multiples of 1/8 s, so floats are exact."""
        now, tokens, then = 0.0, float(burst), 0.0
        clock = [0.0]
        limiter = Limiter({"vote": Rates(Rate(burst, per_s), UNLIMITED, UNLIMITED)}, clock=lambda: clock[0])
        for gap in gaps:
            now += gap / 8
            clock[0] = now
            tokens, then = min(burst, tokens + (now - then) * per_s), now
            wait = limiter.wait_s("vote", voter="v")
            assert wait == pytest.approx(0.0 if tokens >= 1 else (1 - tokens) / per_s)
            tokens -= tokens >= 1

    def test_waiting_as_told_is_enough(self) -> None:
        clock = [0.0]
        limiter = Limiter({"vote": Rates(Rate(1, 0.3), UNLIMITED, UNLIMITED)}, clock=lambda: clock[0])
        for _ in range(50):
            assert limiter.wait_s("vote", voter="v") == 0.0
            wait = limiter.wait_s("vote", voter="v")
            assert wait > 0
            clock[0] += wait

    def test_keys_are_apart_and_kinds_too(self) -> None:
        one = Rates(Rate(1, 0.01), Rate(2, 0.01), Rate(3, 0.01))
        limiter = Limiter({"vote": one, "battle": one}, clock=lambda: 0.0)
        assert limiter.wait_s("vote", voter="a", network="n") == 0
        assert limiter.wait_s("vote", voter="a", network="m") > 0  # the voter
        assert limiter.wait_s("vote", voter="b", network="n") == 0
        assert limiter.wait_s("vote", voter="c", network="n") > 0  # the network
        assert limiter.wait_s("vote", voter="d", network="m") == 0
        assert limiter.wait_s("vote", voter="e", network="o") > 0  # everyone
        assert limiter.wait_s("battle", voter="a", network="n") == 0

    def test_threads_share_one_bucket(self) -> None:
        limiter = Limiter({"vote": Rates(Rate(100, 0.001), UNLIMITED, UNLIMITED)}, clock=lambda: 0.0)
        went: list[float] = []

        def ask() -> None:
            went.extend(limiter.wait_s("vote", voter="v") for _ in range(50))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert went.count(0.0) == 100

    def test_strangers_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("paragone.arena.ui.limits.MAX_KEYS", 100)
        clock = [0.0]
        limiter = Limiter({"vote": Rates(Rate(2, 1), UNLIMITED, UNLIMITED)}, clock=lambda: clock[0])
        for n in range(1000):
            clock[0] = float(n)
            assert limiter.wait_s("vote", voter=str(n)) == 0
        assert len(limiter._due) <= 101

    def test_retry_after_is_whole_seconds(self) -> None:
        assert [retry_after(wait) for wait in (0.001, 1.0, 1.2)] == ["1", "1", "2"]


class TestKey:
    def test_is_made_once_by_whoever_is_first(self, tmp_path: Path) -> None:
        keys: list[bytes] = []
        path = tmp_path / "k"
        threads = [threading.Thread(target=lambda: keys.append(identity.read_or_make_key(path))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(keys)) == 1
        assert len(keys) == 8
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_open_file_is_closed(self, tmp_path: Path) -> None:
        path = tmp_path / "k"
        key = identity.read_or_make_key(path)
        path.chmod(0o644)
        assert identity.read_or_make_key(path) == key
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_damaged_file_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "sleep", lambda _: None)
        path = tmp_path / "k"
        path.write_text("not a key")
        with pytest.raises(InputError, match="holds no key; delete it"):
            identity.read_or_make_key(path)

    def test_without_a_project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PARAGONE_DIR", str(tmp_path / "none"))
        assert identity.server_key() == identity.server_key()
        assert identity.voter_of(identity.new_cookie()) is not None


class TestVoters:
    def test_same_cookie_same_voter_and_no_way_back(self) -> None:
        cookie = identity.new_cookie()
        voter = identity.voter_of(cookie)
        assert voter == identity.voter_of(cookie)
        assert voter is not None
        number, mark = cookie.split(".")
        assert voter.removeprefix("guest-") not in cookie
        assert identity.voter_of(f"{voter.removeprefix('guest-')}12345678.{mark}") is None
        assert identity.voter_of(f"{mark}.{number}") is None

    def test_another_projects_cookie_is_nobodys(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cookie = identity.new_cookie()
        other = tmp_path / "other"
        other.mkdir()
        Store(other / "arena.db", create=True).close()
        monkeypatch.setenv("PARAGONE_DIR", str(other))
        assert identity.voter_of(cookie) is None

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=80))
    def test_made_up_cookies_are_nobodys(self, cookie: str) -> None:
        assert identity.voter_of(cookie) is None


class TestNetworks:
    def test_prefixes(self) -> None:
        same = [
            ("192.0.2.1", "192.0.2.254"),
            ("2001:db8:1::1", "2001:db8:1:ffff::9"),
            ("::ffff:192.0.2.1", "192.0.2.9"),
        ]
        apart = [("192.0.2.1", "192.0.3.1"), ("2001:db8:1::1", "2001:db8:2::1"), ("192.0.2.1", "unknown")]
        assert all(identity.network_of(one) == identity.network_of(two) for one, two in same)
        assert all(identity.network_of(one) != identity.network_of(two) for one, two in apart)

    def test_addresses_are_not_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = identity.network_of("192.0.2.1")
        other = tmp_path / "other"
        other.mkdir()
        Store(other / "arena.db", create=True).close()
        monkeypatch.setenv("PARAGONE_DIR", str(other))
        assert identity.network_of("192.0.2.1") != before


class TestHostNames:
    @pytest.mark.parametrize(
        ("host", "name"),
        [("localhost", "localhost"), ("LOCALHOST.:80", "localhost"), ("[::1]:80", "::1"), ("[::1]", "::1"),
         ("a.b-c_d.org", "a.b-c_d.org"), ("a:b", ""), ("a:80:90", ""), ("u@a", ""), ("a/b", ""), ("[::1", ""),
         ("[::1]x", ""), ("", ""), ("a b", ""), ("é", ""), ("a#b", ""), (":80", "")],
    )  # fmt: skip
    def test_names(self, host: str, name: str) -> None:
        assert host_name(host) == name

    def test_loopback(self) -> None:
        assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
        assert not any(map(is_loopback, ("", "localhost.evil.example", "0.0.0.0", "10.0.0.1", "127.0.0.1.nip.io")))


class TestGuard:
    """In process, where the connection's own address can be chosen."""

    def ask(self, client: str, monkeypatch: pytest.MonkeyPatch, proxies: str | None, *pairs: tuple[str, str]) -> Any:
        if proxies is None:
            monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
        else:
            monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxies)
        seen: dict[str, Any] = {}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.update(scope)

        async def nothing(*_: Any) -> Any:
            return {"type": "http.request"}

        headers = [(b"host", b"localhost"), *((name.encode(), value.encode()) for name, value in pairs)]
        kind = {"type": "http", "method": "GET", "path": "/healthz", "headers": headers, "client": (client, 5)}
        asyncio.run(Guard(app)(kind, nothing, nothing))
        return seen

    def test_forged_header_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = self.ask("192.0.2.1", monkeypatch, "none")[NETWORK_KEY]
        forged = self.ask("192.0.2.1", monkeypatch, "none", ("x-forwarded-for", "198.51.100.7"))[NETWORK_KEY]
        assert plain == forged == identity.network_of("192.0.2.1")

    def test_where_nobody_said_whom_to_believe_forgers_are_one_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """By itself, uvicorn would have put the header's address in the place of this machine's."""
        keys = {
            self.ask(f"198.51.{n}.1", monkeypatch, None, ("x-forwarded-for", f"198.51.{n}.1"))[NETWORK_KEY]
            for n in range(5)
        }
        assert len(keys) == 1

    @pytest.mark.parametrize(
        ("address", "allowed", "yes", "no"),
        [
            ("127.0.0.1", [], ["localhost"], ["192.0.2.1", "me", "arena.example"]),
            ("127.0.0.1", ["Arena.example."], ["localhost", "arena.example"], ["192.0.2.1", "me", "a.arena.example"]),
            ("0.0.0.0", [], ["localhost", "192.0.2.1", "[2001:db8::1]:80", "me"], ["arena.example"]),
            (
                "0.0.0.0",
                ["*.arena.example"],
                ["192.0.2.1", "a.arena.example"],
                ["arena.example", "me", "xarena.example"],
            ),
            ("0.0.0.0", ["*"], ["anything.example"], ["a/b"]),
        ],
    )
    def test_hosts(
        self, monkeypatch: pytest.MonkeyPatch, address: str, allowed: list[str], yes: list[str], no: list[str]
    ) -> None:
        from paragone.arena.ui import middleware

        options = {"server.address": address, "server.allowedHosts": allowed, "server.maxUploadSize": 1}
        monkeypatch.setattr(middleware, "st", SimpleNamespace(get_option=options.get))
        monkeypatch.setattr(middleware.socket, "gethostname", lambda: "Me")

        async def app(*_: Any) -> None: ...

        guard = Guard(app)
        assert [host for host in yes if not guard._is_our_host(host)] == []
        assert [host for host in no if guard._is_our_host(host)] == []

    def test_long_bodies_are_cut_off(self) -> None:
        from paragone.arena.ui.middleware import _limited

        sent = [{"type": "http.request", "body": b"x" * 400, "more_body": True} for _ in range(5)]

        async def receive() -> Any:
            return sent.pop(0)

        async def read_all() -> list[str]:
            limited = _limited(receive, 1000)
            return [(await limited())["type"] for _ in range(4)]

        assert asyncio.run(read_all()) == ["http.request", "http.request", "http.disconnect", "http.disconnect"]

    def test_a_page_that_talks_too_much_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from paragone.arena.ui import middleware

        slept: list[float] = []
        now = [0.0]

        async def sleep(wait: float) -> None:
            slept.append(wait)
            now[0] += wait

        async def receive() -> Any:
            return {}

        async def read(n: int) -> None:
            for _ in range(n):
                await paced()

        monkeypatch.setattr(middleware, "asyncio", SimpleNamespace(sleep=sleep))
        monkeypatch.setattr(middleware, "time", SimpleNamespace(monotonic=lambda: now[0]))
        monkeypatch.setattr(middleware, "MESSAGES", Rate(100, 20))
        paced = middleware._paced(receive)
        asyncio.run(read(100))
        assert slept == []
        asyncio.run(read(40))
        assert now[0] == pytest.approx(2.0)
        now[0] += 1.0
        slept.clear()
        asyncio.run(read(20))
        assert slept == []

    def test_pages_cannot_be_told_another_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", "none")
        seen: dict[str, Any] = {}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.update(scope)

        async def nothing(*_: Any) -> Any:
            return {}

        headers = [(b"host", b"localhost"), (identity.NETWORK_HEADER.encode(), b"forged")]
        kind = {"type": "websocket", "path": "/_stcore/stream", "headers": headers, "client": ("192.0.2.1", 5)}
        asyncio.run(Guard(app)(kind, nothing, nothing))
        told = [value for name, value in seen["headers"] if name == identity.NETWORK_HEADER.encode()]
        assert told == [identity.network_of("192.0.2.1").encode()]

    def test_costs_little(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """CPU time a request, the median of runs: about 0.01 ms where this was written, and never a millisecond."""
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", "none")

        async def app(scope: Any, receive: Any, send: Any) -> None: ...

        async def nothing(*_: Any) -> Any: ...

        guard, cookie = Guard(app), f"{identity.COOKIE}={identity.new_cookie()}".encode()
        headers = [(b"host", b"localhost"), (b"cookie", cookie), *((b"accept", b"*/*"),) * 8]

        async def run() -> None:
            for _ in range(300):
                kind = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": ("192.0.2.1", 5)}
                await guard(kind, nothing, nothing)

        times = []
        for _ in range(5):
            started = time.process_time()
            asyncio.run(run())
            times.append(time.process_time() - started)
        assert sorted(times)[2] / 300 < 1e-3


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a handler writes, with the record factory guarded."""
    monkeypatch.setattr(redaction, "_hidden", frozenset())
    plain, stream = logging.getLogRecordFactory(), io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("somebody.else")
    logger.addHandler(handler)
    redaction.guard_log()
    yield stream
    logger.removeHandler(handler)
    logging.setLogRecordFactory(plain)


class TestRedaction:
    def test_wherever_it_stands(self, log: io.StringIO) -> None:
        redaction.hide("sesame-canary")
        logger = logging.getLogger("somebody.else")
        logger.warning("message sesame-canary 100 %")
        logger.warning("argument %s of %d %%", "sesame-canary", 3)
        logger.warning("does not fit %d", "sesame-canary")
        try:
            raise ValueError("inside sesame-canary")
        except ValueError:
            logger.exception("failed")
        logger.warning("with %s", "stack", stack_info=True)
        text = log.getvalue()
        assert "sesame" not in text
        assert text.count(redaction.BLACK) >= 4
        assert "100 %" in text
        assert "argument [secret] of 3 %" in text
        assert "Traceback" in text
        assert "ValueError: inside [secret]" in text

    def test_environment(self, log: io.StringIO) -> None:
        environment = {
            "VENDOR_API_KEY": "api-canary",
            "PARAGONE_DB": "postgresql://me:p%40ss-canary@host/name",
            "DB_PASSWORD": "db-canary",
            "PASSWORD_FILE": "/run/password",
            "HOME": "/home/somebody",
            "BAD_URL": "http://[::1",
        }
        redaction.hide_environment(environment)
        logger = logging.getLogger("somebody.else")
        for value in (*environment.values(), "p@ss-canary"):
            logger.warning(value)
        text = log.getvalue()
        assert "canary" not in text
        assert "/home/somebody" in text
        assert "/run/password" in text

    def test_short_words_stay(self, log: io.StringIO) -> None:
        redaction.hide("the", "")
        logging.getLogger("somebody.else").warning("the log")
        assert "the log" in log.getvalue()

    def test_guarding_twice_is_guarding_once(self, log: io.StringIO) -> None:
        factory = logging.getLogRecordFactory()
        redaction.guard_log()
        assert logging.getLogRecordFactory() is factory
