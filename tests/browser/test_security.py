"""A real browser against a hostile project and hostile neighbours: nothing runs, nothing leaves, nobody gets in."""

from __future__ import annotations

import base64
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from paragone.arena.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.browser

PATIENCE_MS = 60_000
PAGES = ("", "leaderboard", "compare", "win-matrix", "pareto", "history", "gallery", "metrics", "agreement", "method",
         "audit", "admin")  # fmt: skip


@pytest.fixture
def context(browser: Browser, server: Any) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


def settle(page: Page) -> None:
    page.locator("[data-testid=stMain]").wait_for()
    page.wait_for_function(
        """() => document.querySelector("[data-testid=stMain] [data-testid=stVerticalBlock]")?.childElementCount > 0
            && !document.querySelector("[data-testid=stStatusWidget], [data-testid=stSkeleton], [data-stale=true]")"""
    )


def test_hostile_names_do_nothing_on_any_page(context: BrowserContext, server: Any) -> None:
    page = context.new_page()
    happened: list[str] = []
    page.on("dialog", lambda dialog: (happened.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("pageerror", lambda error: happened.append(f"error {error}"))
    page.on("request", lambda request: happened.append(request.url) if "evil.example" in request.url else None)
    page.on("console", lambda said: happened.append(said.text) if "Content Security Policy" in said.text else None)
    for name in PAGES:
        page.goto(f"{server.url}/{name}")
        settle(page)
        assert page.locator("[data-testid=stMain] a[href*='evil.example']").count() == 0, name
        assert page.locator("img[src='x'], [data-testid=stMain] script").count() == 0, name
    assert happened == []


def test_what_a_script_could_do_is_little(context: BrowserContext, server: Any) -> None:
    """Were markup to get in after all: it could neither run, nor evaluate, nor send anything away."""
    page = context.new_page()
    page.goto(server.url)
    settle(page)
    assert page.evaluate("document.cookie.includes('paragone_voter')") is False
    inline = """() => new Promise(resolve => { const s = document.createElement("script");
        s.textContent = "window.ran = 1"; document.body.append(s);
        setTimeout(() => resolve(window.ran ?? 0), 300); })"""
    assert page.evaluate(inline) == 0
    evaluating = """() => { const s = document.createElement("div"); s.setAttribute("onclick", "window.ran = 2");
        document.body.append(s); s.click(); return window.ran ?? 0; }"""
    assert page.evaluate(evaluating) == 0
    away = "() => fetch('http://evil.example/').then(() => 'went', () => 'refused')"
    assert page.evaluate(away) == "refused"


@pytest.fixture
def neighbour() -> Iterator[str]:
    """Another site on this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<p>elsewhere</p>")

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()


def test_other_sites_cannot_use_a_visit(context: BrowserContext, server: Any, neighbour: str) -> None:
    context.new_page().goto(server.url)  # so that there is a cookie
    page = context.new_page()
    page.goto(neighbour)
    stream = f"{server.url.replace('http', 'ws')}/_stcore/stream"
    socket = f"""() => new Promise(resolve => {{ const s = new WebSocket("{stream}");
        s.onopen = () => resolve("open"); s.onerror = () => resolve("refused"); }})"""
    assert page.evaluate(socket) == "refused"
    assert page.evaluate(f"fetch('{server.url}/healthz').then(() => 'read', () => 'refused')") == "refused"
    framed = f"""() => new Promise(resolve => {{ const f = document.createElement("iframe"); f.src = "{server.url}/";
        f.onload = () => {{ try {{ resolve(f.contentDocument === null ? "apart" : "read"); }}
            catch {{ resolve("apart"); }} }}; document.body.append(f); }})"""
    assert page.evaluate(framed) == "apart"
    assert [frame.locator("#root").count() for frame in page.frames] == [0, 0]  # nothing of ours is in the frame


def test_pictures_of_a_battle_are_its_voters_alone(browser: Browser, context: BrowserContext, server: Any) -> None:
    page = context.new_page()
    addresses: list[str] = []
    received: list[bytes] = []

    def keep(response: Any) -> None:
        if "/arena/m/" in response.url:
            addresses.append(response.url)
            received.append(response.url.encode() + repr(response.headers).encode())

    page.on("response", keep)
    page.goto(server.url)
    settle(page)
    page.wait_for_function("() => performance.getEntriesByType('resource').some(e => e.name.includes('/arena/m/'))")
    page.wait_for_timeout(500)
    assert addresses
    assert all(re.fullmatch(rf"{re.escape(server.url)}/arena/m/[A-Za-z0-9_-]{{43}}/[abs]", url) for url in addresses)
    with Store(server.folder / "arena.db") as store:
        for sample in store.samples():
            digest = bytes.fromhex(sample.sha256)
            for name in (
                sample.model,
                sample.id,
                sample.sha256,
                base64.b64encode(digest).decode(),
                Path(sample.path).name,
            ):
                assert not any(name.encode() in text for text in received)
    assert context.request.get(addresses[0]).status == 200
    stranger = browser.new_context()
    assert stranger.request.get(addresses[0]).status == 404
    stranger.new_page().goto(server.url)
    assert stranger.request.get(addresses[0]).status == 404
    stranger.close()


def test_voter_survives_a_reload(context: BrowserContext, server: Any) -> None:
    page = context.new_page()
    page.goto(server.url)
    settle(page)
    (first,) = (cookie["value"] for cookie in context.cookies() if cookie["name"] == "paragone_voter")
    page.reload()
    settle(page)
    (second,) = (cookie["value"] for cookie in context.cookies() if cookie["name"] == "paragone_voter")
    assert first == second
