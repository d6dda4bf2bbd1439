"""The pages of evidence and upkeep in a real browser: every look, hostile text as text, nothing but loopback."""

from __future__ import annotations

import io
import re
import sqlite3
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from paragone.arena.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 60_000
MARKUP = "img[src='x'], a[href*='evil.example'], img[src*='evil.example'], script:text('alert')"
VIEWS = {  # name of the screenshot: address, and what is there when it is drawn
    "gallery": ("gallery?prompt=p1", "tracing"),
    "metrics": ("metrics", "All measurements"),
    "agreement": ("agreement", "What judges did not answer"),
    "audit-votes": ("audit", "Page 1 of"),
    "audit-checks": ("audit?show=Checks", "Run the checks"),
    "audit-exclusions": ("audit?show=Exclusions", "Events"),
    "audit-influence": ("audit?show=Influence", "Find them"),
    "audit-record": ("audit?show=Record", "Kept boards"),
    "admin-models": ("admin", "Open weights"),
    "admin-prices": ("admin?manage=Prices", "A price holds"),
    "admin-prompts": ("admin?manage=Prompts", "Many at once"),
    "admin-samples": ("admin?manage=Samples", "Pictures and table"),
    "admin-database": ("admin?manage=Database", "Is all well?"),
    "method": ("method", "Data and documentation"),
}


class Visit:
    """An open page that notes what is asked for and what goes wrong."""

    def __init__(self, browser: Browser, viewport: Any = DESKTOP, scheme: Any = "light") -> None:
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme, device_scale_factor=1)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.problems.append(dialog.message), dialog.dismiss()))

    def open(self, address: str, words: str) -> None:
        self.page.goto(address)
        self.page.get_by_text(words).first.wait_for()
        self.settle()

    def settle(self) -> None:
        """Wait until the script has ended and charts and tables are drawn."""
        self.page.wait_for_function(
            "() => !document.querySelector('[data-stale=true], [data-testid=stSkeleton], [data-testid=stStatusWidget]')"
        )
        time.sleep(0.7)

    def close(self, server: Any) -> None:
        self.context.close()
        assert self.problems == []
        assert [url for url in self.requests if not url.startswith((server.url, "data:", "blob:"))] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("look", "viewport", "scheme"), [("light", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light")]
)
def test_every_view_in_every_look(
    browser: Browser, server: Any, screenshots: Path, look: str, viewport: Any, scheme: Any
) -> None:
    visit = Visit(browser, viewport, scheme)
    for name, (address, words) in VIEWS.items():
        visit.open(f"{server.url}/{address}", words)
        visit.page.screenshot(path=screenshots / f"{name}-{look}.png", full_page=True)
        overflow = visit.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{name}: {overflow} px too wide"
        assert visit.page.locator("[data-testid=stException]").count() == 0, name
        assert visit.page.locator(MARKUP).count() == 0, f"{name}: somebody's text is markup"
    visit.close(server)


def test_the_address_of_a_gallery_can_be_shared(browser: Browser, server: Any) -> None:
    visit = Visit(browser)
    visit.open(f"{server.url}/gallery", "tracing")
    visit.page.get_by_role("combobox", name=re.compile("Prompt")).click()
    visit.page.get_by_role("option", name="a handwritten 5").click()
    visit.page.wait_for_url("**/gallery?prompt=p3")
    visit.settle()
    pictures = visit.page.locator("img[alt^='Samples of']")
    mine = [pictures.nth(n).evaluate("i => i.naturalWidth") for n in range(pictures.count())]
    assert len(mine) == 5
    assert min(mine) > 0
    visit.close(server)


def a_zip(content: bytes, name: str = "p/99.png") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
        archive.writestr("manifest.csv", f"file,model,prompt_id,seed\n{name},tracing,p0,99\n")
    return buffer.getvalue()


def test_upload(browser: Browser, server: Any) -> None:
    picture = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(picture, format="PNG")
    visit = Visit(browser)

    def send(content: bytes) -> None:
        visit.open(f"{server.url}/admin?manage=Samples", "Pictures and table")
        file = {"name": "upload.zip", "mimeType": "application/zip", "buffer": content}
        visit.page.locator("input[type=file]").set_input_files(file)
        visit.page.get_by_role("button", name="Check and store").click()

    def stored() -> int:
        with Store(server.folder / "arena.db") as store:
            return store.counts()["samples"]

    before = stored()
    send(a_zip(picture.getvalue() + b"<script>alert(1)</script>"))
    visit.page.get_by_text("25 bytes follow the picture's end").wait_for()
    send(a_zip(picture.getvalue(), "../99.png"))
    visit.page.get_by_text("not a plain path inside of the upload").wait_for()
    assert stored() == before
    send(a_zip(picture.getvalue()))
    visit.page.get_by_text("1 samples, 0.0 MB").wait_for()
    assert stored() == before + 1
    visit.close(server)


def test_exclude_in_the_browser_and_restore(browser: Browser, server: Any) -> None:
    visit = Visit(browser)

    def decide(address: str, action: str) -> None:
        visit.open(f"{server.url}/{address}", "A reason is needed")
        if action == "Restore":
            visit.page.get_by_role("radio", name="Restore").click()
            visit.settle()
        visit.page.get_by_label("Reason (stored with your name)").fill("tried in a browser")
        visit.page.get_by_label("Reason (stored with your name)").press("Enter")
        visit.page.get_by_role("button", name=re.compile(f"{action} [0-9]+ votes")).click()
        visit.page.get_by_text("It is on record and can be taken back").wait_for()

    with Store(server.folder / "arena.db") as store:
        before = store.pair_counts().to_dict("records")
        decide("audit?voter=guest-3", "Exclude")
        assert (store.votes(excluded=True)["voter"] == "guest-3").sum() == 20
        assert (store.votes()["voter"] == "guest-3").sum() == 0
        decide("audit?voter=guest-3&state=excluded", "Restore")
        assert store.pair_counts().to_dict("records") == before
        assert store.verify() == []
    visit.close(server)


def test_the_copy_is_a_database(browser: Browser, server: Any, tmp_path: Path) -> None:
    visit = Visit(browser)
    visit.open(f"{server.url}/admin?manage=Database", "Download a copy")
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download a copy").click()
    copy = tmp_path / "copy.db"
    download.value.save_as(copy)
    connection = sqlite3.connect(copy)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    visit.close(server)
