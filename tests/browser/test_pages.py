"""The pages in a real browser: votes by mouse and key, nothing but loopback, no names before the vote, every look."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from paragone.arena.store import Store
from paragone.data import VoterKind

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 60_000
HOSTILE = re.compile(r"evil\.example")


@dataclass
class Visit:
    """An open page, with all that went over the wire."""

    page: Page
    requests: list[str] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("response", self._keep_response)
        self.page.on("websocket", self._keep_frames)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.problems.append(dialog.message), dialog.dismiss()))

    def _keep_response(self, response: Any) -> None:
        self.received.append(response.url.encode())
        if "/static/" not in response.url and response.request.resource_type != "document":
            self.received.append(repr(response.headers).encode())

    def _keep_frames(self, socket: Any) -> None:
        socket.on(
            "framereceived", lambda data: self.received.append(data if isinstance(data, bytes) else data.encode())
        )

    def wait_for_pair(self) -> str:
        """Both pictures are painted; returns the battle's id, read from the buttons."""
        button = self.page.locator("[class*='st-key-model_a-']")
        button.wait_for()
        self.page.wait_for_function(
            """() => ["Picture A", "Picture B"].every(name => {
                const picture = document.querySelector(`img[alt="${name}"]`);
                return picture && picture.complete && picture.naturalWidth > 0; })"""
        )
        found = re.search(r"st-key-model_a-([0-9a-f]{32})", button.get_attribute("class") or "")
        assert found
        return found[1]

    def wait_for_reveal(self) -> None:
        self.page.locator("[class*='st-key-next-']").wait_for()


@pytest.fixture
def visit(browser: Browser, server: Any) -> Iterator[Visit]:
    context = browser.new_context(viewport=DESKTOP)
    yield Visit(context.new_page())
    context.close()


def human_votes(folder: Path) -> Any:
    with Store(folder / "arena.db") as store:
        return store.votes(VoterKind.HUMAN)


def wait_for_votes(folder: Path, n: int) -> Any:
    deadline = time.monotonic() + 30
    while len(votes := human_votes(folder)) < n and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(votes) == n
    return votes


@pytest.mark.parametrize(
    ("how", "winner"), [("click", "model_a"), ("b", "model_b"), ("t", "tie"), ("x", "both_bad"), ("a", "model_a")]
)
def test_vote(visit: Visit, server: Any, how: str, winner: str) -> None:
    before = len(human_votes(server.folder))
    visit.page.goto(server.url)
    battle = visit.wait_for_pair()
    time.sleep(0.5)  # longer than the shortest answer that is taken
    if how == "click":
        visit.page.get_by_role("button", name="A is better").click()
    else:
        visit.page.keyboard.press(how)
    visit.wait_for_reveal()
    row = wait_for_votes(server.folder, before + 1).iloc[-1]
    assert (row["battle"], row["winner"]) == (battle, winner)
    assert visit.page.get_by_text(f"A: {row['model_a']}", exact=True).count() == 1
    assert visit.page.get_by_text(f"B: {row['model_b']}", exact=True).count() == 1
    visit.page.keyboard.press("n")
    visit.page.locator(f"[class*='st-key-next-{battle}']").wait_for(state="detached")
    assert visit.wait_for_pair() != battle
    assert visit.problems == []


def test_nothing_is_told_before_the_vote(visit: Visit, server: Any) -> None:
    visit.page.goto(server.url)
    visit.wait_for_pair()
    with Store(server.folder / "arena.db") as store:
        samples = store.samples()
    traffic = b"\n".join(visit.received)
    assert b"model_a-" in traffic  # the battle itself did come over this wire
    identities = {str(value) for s in samples for value in (s.id, s.sha256, s.path, Path(s.path).name)}
    for told in {s.model for s in samples} | identities:
        assert told.encode() not in traffic
    pictures = visit.page.locator("img[alt^='Picture']")
    assert [pictures.nth(n).get_attribute("src")[:22] for n in (0, 1)] == ["data:image/png;base64,"] * 2
    boxes = [pictures.nth(n).bounding_box() for n in (0, 1)]
    assert (boxes[0]["width"], boxes[0]["height"]) == (boxes[1]["width"], boxes[1]["height"])


def test_many_keys_are_one_vote_on_what_was_seen(visit: Visit, server: Any) -> None:
    before = len(human_votes(server.folder))
    visit.page.goto(server.url)
    seen = {visit.wait_for_pair()}
    time.sleep(0.5)
    for _ in range(10):
        visit.page.keyboard.press("a")
        time.sleep(0.06)
    visit.wait_for_reveal()
    visit.page.keyboard.press("n")
    for _ in range(5):  # meant for the battle before: too early for any pair that comes now
        visit.page.keyboard.press("b")
    seen.add(visit.wait_for_pair())
    votes = human_votes(server.folder).iloc[before:]
    assert list(votes["winner"]) == ["model_a"]
    assert set(votes["battle"]) <= seen


@pytest.mark.parametrize(
    ("look", "viewport", "scheme"), [("light", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light")]
)
def test_every_page_in_every_look(
    browser: Browser, server: Any, screenshots: Path, look: str, viewport: Any, scheme: Any
) -> None:
    context = browser.new_context(viewport=viewport, color_scheme=scheme, device_scale_factor=1)
    visit = Visit(context.new_page())
    page = visit.page

    def shoot(name: str) -> None:
        page.wait_for_function("() => !document.querySelector('[data-stale=true], [data-testid=stSkeleton]')")
        time.sleep(0.7)  # charts and tables fade in
        page.screenshot(path=screenshots / f"{name}-{look}.png", full_page=True)
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{name}: {overflow} px too wide"

    page.goto(server.url)
    visit.wait_for_pair()
    for name in ("A is better", "B is better", "Tie", "Both bad"):
        box = page.get_by_role("button", name=name).bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert box["y"] + box["height"] <= viewport["height"], f"{name} is below the fold"
    shoot("battle")
    page.get_by_role("button", name="Tie").click()
    visit.wait_for_reveal()
    shoot("reveal")
    page.goto(f"{server.url}/leaderboard")
    page.get_by_role("button", name="CSV").wait_for()
    page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first.wait_for()
    shoot("leaderboard")
    page.goto(f"{server.url}/gallery")
    page.get_by_text("tracing", exact=True).wait_for()
    page.wait_for_function("() => [...document.images].filter(i => i.alt.startsWith('Samples')).length >= 5")
    shoot("gallery")
    page.goto(f"{server.url}/metrics")
    page.get_by_text("All measurements").wait_for()
    shoot("metrics")
    context.close()
    assert visit.problems == []
    outside = [url for url in visit.requests if not url.startswith((server.url, "data:", "blob:"))]
    assert outside == []


def test_downloaded_csv_is_the_board(visit: Visit, server: Any) -> None:
    visit.page.goto(f"{server.url}/leaderboard")
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="CSV").click()
    text = Path(download.value.path()).read_text()
    assert text.startswith("rank,rank_lower,rank_upper,model,rating,")
    assert text.count("\n") == 6


def test_the_server_never_loads_torch(visit: Visit, server: Any) -> None:
    visit.page.goto(server.url)
    visit.wait_for_pair()
    maps = Path(f"/proc/{server.process.pid}/maps")
    if not maps.exists():
        pytest.skip("no /proc here")
    assert "libtorch" not in maps.read_text()
