"""The battle in a real browser: votes by mouse and key, none that was not meant, no names before, one lens for both."""

from __future__ import annotations

import io
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from paragone.arena.store import Store
from paragone.data import GeneratorCard, Prompt, Sample, VoterKind, sample_id
from paragone.data.files import file_digest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 60_000
FASTEST_MS = 400
MEDIA = re.compile(r"/arena/m/[^/]+/[ab]$")
HOSTILE = re.compile(r"evil\.example")
ROOT = "[...document.querySelectorAll('*')].map(node => node.shadowRoot).find(root => root?.querySelector('.battle'))"
TRANSFORMS = f"""() => {{
    const root = {ROOT};
    return [...root.querySelectorAll('.pane:not([hidden]) .view > *')].map(picture => picture.style.transform); }}"""


@dataclass
class Visit:
    """An open battle, with all that went over the wire."""

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

    def open(self, url: str) -> str:
        """Go to the page; returns the id of the battle that can be voted on."""
        self.page.goto(url)
        return self.wait_for_pair()

    def wait_for_pair(self, *, other_than: str = "") -> str:
        """Both pictures have been painted, and long enough for a vote; returns the battle's id."""
        battle = self.page.locator(f".battle[data-seen=yes]:not([data-battle='{other_than}'])")
        battle.wait_for()
        self.page.locator("[data-act=model_a]:enabled").wait_for()
        return str(battle.get_attribute("data-battle"))

    def wait_for_reveal(self) -> None:
        self.page.locator("[data-act=next]:enabled").wait_for()

    def media(self) -> list[str]:
        return [url for url in self.requests if MEDIA.search(url)]


@pytest.fixture
def visit(browser: Browser, server: Any) -> Iterator[Visit]:
    context = browser.new_context(viewport=DESKTOP)
    visit = Visit(context.new_page())
    yield visit
    context.close()
    assert visit.problems == []
    outside = [url for url in visit.requests if not url.startswith((server.url, "data:", "blob:"))]
    assert outside == []


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
    ("how", "winner"), [("click", "model_a"), ("b", "model_b"), ("t", "tie"), ("x", "both_bad"), ("A", "model_a")]
)
def test_vote(visit: Visit, server: Any, how: str, winner: str) -> None:
    before = len(human_votes(server.folder))
    battle = visit.open(server.url)
    if how == "click":
        visit.page.get_by_role("button", name="A is better").click()
    else:
        visit.page.keyboard.press(how)
    visit.wait_for_reveal()
    row = wait_for_votes(server.folder, before + 1).iloc[-1]
    assert (row["battle"], row["winner"]) == (battle, winner)
    assert row["dwell_ms"] >= FASTEST_MS
    for letter, model in (("A", row["model_a"]), ("B", row["model_b"])):
        assert visit.page.locator(".card .name", has_text=f"{letter}: {model}").count() == 1
    visit.page.keyboard.press("n")
    assert visit.wait_for_pair(other_than=battle) != battle


def test_nothing_names_a_model_before_the_vote(visit: Visit, server: Any) -> None:
    with Store(server.folder / "arena.db") as store:
        samples, models = store.samples(), [card.name for card in store.generators()]
    identities = {value for s in samples for value in (s.id, s.sha256, s.path, s.path.split("/")[1])} | set(models)
    visit.open(server.url)
    pictures = [visit.page.context.request.get(url).body() for url in visit.media()]
    assert len(pictures) == 2
    assert all(picture.startswith(b"\x89PNG") and len(picture) % 65536 == 0 for picture in pictures)
    traffic = b"\n".join([*visit.received, *pictures])
    for told in identities:
        assert told.encode() not in traffic
    boxes = [visit.page.get_by_role("img", name=f"Picture {side}").bounding_box() for side in "AB"]
    assert (boxes[0]["width"], boxes[0]["height"]) == (boxes[1]["width"], boxes[1]["height"])


@pytest.mark.slow
def test_two_hundred_quick_keys_are_no_phantom_votes(visit: Visit, server: Any) -> None:
    """Keys at random, 0 to 60 ms apart: a vote is stored for a pair only after it was on the screen long enough."""
    page, rng = visit.page, random.Random(7)
    before = len(human_votes(server.folder))
    visit.open(server.url)
    page.evaluate(
        f"""() => {{
            window.seen = {{}};
            const look = () => {{
                const shown = ({ROOT})?.querySelector('.battle[data-seen=yes]');
                if (shown) window.seen[shown.dataset.battle] ??= performance.now();
                requestAnimationFrame(look); }};
            look(); }}"""
    )
    for _ in range(200):
        page.keyboard.press(rng.choice("abtxnabtxns"))
        time.sleep(rng.uniform(0, 0.06))
    time.sleep(2)
    seen = page.evaluate("window.seen")
    votes = human_votes(server.folder).iloc[before:]
    assert 1 <= len(votes) <= len(seen)
    assert votes["battle"].is_unique
    assert set(votes["battle"]) <= set(seen)
    assert (votes["dwell_ms"] >= FASTEST_MS).all()
    assert votes["shown_at"].notna().all()


def test_keys_that_are_held_or_typed_are_no_votes(visit: Visit, server: Any) -> None:
    before = len(human_votes(server.folder))
    visit.open(server.url)
    page = visit.page
    page.evaluate("() => document.dispatchEvent(new KeyboardEvent('keydown', {key: 'a', repeat: true}))")
    page.evaluate("() => { const box = document.createElement('input'); box.id = 'typed'; document.body.append(box); }")
    page.locator("#typed").focus()
    page.keyboard.type("abtx")
    page.keyboard.press("Control+a")
    assert page.locator("#typed").input_value() == "abtx"
    time.sleep(0.7)
    assert len(human_votes(server.folder)) == before


def test_no_vote_before_both_pictures_are_there(visit: Visit, server: Any) -> None:
    before = len(human_votes(server.folder))
    held: list[Any] = []
    visit.page.route("**/arena/m/*/b", lambda route: held.append(route))
    visit.page.goto(server.url)
    visit.page.locator(".battle").wait_for()
    while not held:
        visit.page.wait_for_timeout(50)
    visit.page.wait_for_timeout(2 * FASTEST_MS)
    assert visit.page.get_by_role("button", name="A is better").is_disabled()
    visit.page.keyboard.press("a")
    visit.page.wait_for_timeout(300)
    assert len(human_votes(server.folder)) == before
    held[0].continue_()
    visit.wait_for_pair()


def test_a_picture_that_cannot_be_had_can_only_be_skipped(visit: Visit, server: Any) -> None:
    visit.page.route("**/arena/m/*/b", lambda route: route.fulfill(status=500, body="no"), times=1)
    visit.page.goto(server.url)
    visit.page.get_by_text("cannot be loaded").wait_for()
    assert visit.page.get_by_role("button", name="A is better").is_disabled()
    visit.page.keyboard.press("s")
    visit.wait_for_pair()


def test_the_next_pair_is_there_before_it_is_asked_for(visit: Visit, server: Any) -> None:
    battle = visit.open(server.url)
    with visit.page.expect_response(MEDIA), visit.page.expect_response(MEDIA):
        visit.page.keyboard.press("a")
    visit.wait_for_reveal()
    visit.page.wait_for_timeout(300)
    fetched = len(visit.media())
    assert fetched == 4
    with Store(server.folder / "arena.db") as store, store._database.read() as connection:
        query = "SELECT count(*) FROM battles WHERE shown_at IS NULL AND voter IS NOT NULL AND issued_at > '2000'"
        assert connection.exec_driver_sql(query).scalar_one() >= 1
    visit.page.keyboard.press("n")
    visit.wait_for_pair(other_than=battle)
    assert len(visit.media()) == fetched


def test_take_a_vote_back(visit: Visit, server: Any) -> None:
    before = len(human_votes(server.folder))
    visit.open(server.url)
    visit.page.keyboard.press("a")
    visit.wait_for_reveal()
    visit.page.keyboard.press("u")
    visit.page.get_by_text("You took this vote back").wait_for()
    assert len(human_votes(server.folder)) == before
    assert visit.page.get_by_role("button", name="Take it back").is_hidden()
    visit.page.keyboard.press("b")  # the names are known now
    visit.page.wait_for_timeout(300)
    assert len(human_votes(server.folder)) == before


def test_one_lens_for_both(visit: Visit, server: Any) -> None:
    visit.open(server.url)
    page = visit.page
    whole = page.evaluate(TRANSFORMS)
    assert whole[0] == whole[1]
    box = page.locator(".pane.a .view").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.wheel(0, -600)
    page.wait_for_timeout(100)
    closer = page.evaluate(TRANSFORMS)
    assert closer[0] == closer[1] != whole[0]
    page.mouse.down()
    page.mouse.move(box["x"] + 40, box["y"] + 30)
    page.mouse.up()
    moved = page.evaluate(TRANSFORMS)
    assert moved[0] == moved[1] != closer[0]
    page.get_by_role("button", name="Fit").click()
    assert page.evaluate(TRANSFORMS) == whole
    page.keyboard.press("z")
    assert page.evaluate(TRANSFORMS) != whole


def test_ways_to_look(visit: Visit, server: Any) -> None:
    visit.open(server.url)
    page = visit.page
    place = page.locator(".pane.a .view").bounding_box()
    for front in "aba":
        page.keyboard.press(" ")
        assert page.locator(f".pane.{front} .view").is_visible()
        assert page.locator(f".pane.{'b' if front == 'a' else 'a'} .view").is_hidden()
        assert page.locator(f".pane.{front} .view").bounding_box()["y"] == place["y"]
    page.get_by_role("button", name="Slider").click()
    page.get_by_role("slider", name="Where A ends").fill("20")
    assert "20%" in page.locator(".pane.b .view").evaluate("view => getComputedStyle(view).clipPath")
    page.get_by_role("button", name="Difference").click()
    assert page.locator(".pane.b").evaluate("pane => getComputedStyle(pane).mixBlendMode") == "difference"
    page.keyboard.press("Escape")
    assert page.get_by_role("button", name="Side by side").get_attribute("aria-pressed") == "true"


def clip(brightness: int, n_frames: int) -> bytes:
    """A WebM video (VP8, 24 frames a second) whose frames get brighter."""
    av = pytest.importorskip("av", reason="PyAV is not installed")
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(n_frames):
            pixels = np.full((48, 64, 3), min(255, brightness + n), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def test_videos_play_in_step(visit: Visit, server: Any) -> None:
    clips = {"a": clip(0, 48), "b": clip(100, 60)}
    visit.page.route(MEDIA, lambda route: route.fulfill(body=clips[route.request.url[-1]], content_type="video/webm"))
    visit.open(server.url)
    page = visit.page
    times = "() => [...(" + ROOT + ").querySelectorAll('video')].map(video => video.currentTime)"
    assert page.get_by_label("Video A").count() == page.get_by_label("Video B").count() == 1
    page.wait_for_timeout(700)
    a, b = page.evaluate(times)
    assert a > 0.1
    assert abs(a - b) < 0.2
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="One frame on").click()
    page.wait_for_timeout(200)
    a, b = page.evaluate(times)
    assert abs(a - b) < 1e-3
    page.get_by_role("button", name="One frame on").click()
    page.wait_for_timeout(200)
    later, _ = page.evaluate(times)
    assert 0.02 < later - a < 0.06
    page.get_by_role("button", name="Speed").click()
    rates = page.evaluate("() => [...(" + ROOT + ").querySelectorAll('video')].map(video => video.playbackRate)")
    assert rates == [0.5, 0.5]
    page.keyboard.press("t")
    visit.wait_for_reveal()


@pytest.fixture
def clips(tmp_path: Path, serving: Any) -> Iterator[tuple[str, Path]]:
    """A server on a project of two models that make clips, its address and its folder."""
    with Store(tmp_path / "arena.db", create=True) as store:
        store.add_prompts([Prompt("p", "it gets brighter")])
        for model, brightness in (("model-anna", 0), ("model-bert", 100)):
            store.add_generators([GeneratorCard(model)])
            path = tmp_path / f"{model}.webm"
            path.write_bytes(clip(brightness, 48))
            digest = file_digest(path)
            store.add_samples([Sample(sample_id(model, "p", 0, digest), digest, path.name, "p", model, 0, 64, 48)])
    with serving(tmp_path) as server:
        yield server.url, tmp_path


def test_battle_of_two_clips(browser: Browser, clips: tuple[str, Path], screenshots: Path) -> None:
    url, folder = clips
    context = browser.new_context(viewport=DESKTOP)
    visit = Visit(context.new_page())
    page = visit.page
    if not page.evaluate("() => document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.64001e\"')"):
        pytest.skip("this Chromium plays no H.264")
    held: list[Any] = []
    page.route("**/arena/m/*/b", lambda route: held.append(route), times=1)
    page.goto(url)
    page.locator(".battle").wait_for()
    while not held:
        page.wait_for_timeout(50)
    page.wait_for_timeout(2 * FASTEST_MS)
    assert page.get_by_role("button", name="A is better").is_disabled()
    held[0].continue_()
    battle = visit.wait_for_pair()
    assert page.get_by_label("Video A").count() == page.get_by_label("Video B").count() == 1
    page.wait_for_function(
        f"() => [...({ROOT}).querySelectorAll('video')].every(video => video.currentTime > 0.2 && video.duration > 1.9)"
    )
    sides = [context.request.get(address) for address in visit.media()[:2]]
    for side in sides:
        assert (side.headers["content-type"], side.headers["cache-control"]) == ("video/mp4", "private, no-store")
        assert len(side.body()) % 65536 == 0
        assert b"model-" not in side.body()
    part = context.request.get(visit.media()[0], headers={"Range": "bytes=4-7"})
    assert (part.status, part.body()) == (206, b"ftyp")
    page.screenshot(path=screenshots / "battle-clips.png")
    assert human_votes(folder).empty
    page.keyboard.press("a")
    visit.wait_for_reveal()
    assert wait_for_votes(folder, 1).iloc[-1]["battle"] == battle
    context.close()
    assert visit.problems == []


@pytest.mark.parametrize(
    ("look", "viewport", "scheme"), [("light", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light")]
)
def test_every_look(browser: Browser, server: Any, screenshots: Path, look: str, viewport: Any, scheme: Any) -> None:
    context = browser.new_context(viewport=viewport, color_scheme=scheme, device_scale_factor=1)
    visit = Visit(context.new_page())
    page = visit.page
    visit.open(server.url)
    names = ("A is better", "B is better", "Tie", "Both bad")
    boxes = [page.get_by_role("button", name=name).bounding_box() for name in names]
    boxes += [page.get_by_role("img", name=f"Picture {side}").bounding_box() for side in "AB"]
    for name, box in zip((*names, "A", "B"), boxes, strict=True):
        assert box["height"] >= 44, name
        assert box["y"] + box["height"] <= viewport["height"], f"{name} is below the fold"
    page.screenshot(path=screenshots / f"battle-{look}.png")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.get_by_role("button", name="Tie").click()
    visit.wait_for_reveal()
    next_button = page.get_by_role("button", name="Next battle").bounding_box()
    assert next_button["y"] + next_button["height"] <= viewport["height"]
    page.screenshot(path=screenshots / f"reveal-{look}.png", full_page=True)
    context.close()
    assert visit.problems == []


def test_buttons_are_reached_in_order(visit: Visit, server: Any) -> None:
    visit.open(server.url)
    page = visit.page
    page.locator(".prompt").focus()
    labels = []
    for _ in range(4):
        page.keyboard.press("Tab")
        labels.append(
            page.evaluate(
                """() => {
                let at = document.activeElement;
                while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
                return at.firstElementChild.textContent; }"""
            )
        )
    assert labels == ["A is better", "Tie", "Both bad", "B is better"]
