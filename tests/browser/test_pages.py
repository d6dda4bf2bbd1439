"""The server in a real browser, besides its pages: what is downloaded, and what is never loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PATIENCE_MS = 60_000


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    yield page
    context.close()


def test_downloaded_csv_is_the_board(page: Page, server: Any) -> None:
    page.goto(f"{server.url}/leaderboard")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    text = Path(download.value.path()).read_text()
    assert text.startswith("rank,rank_lower,rank_upper,model,rating,")
    assert text.count("\n") == 6


def test_the_server_never_loads_torch(page: Page, server: Any) -> None:
    page.goto(server.url)
    page.locator(".battle[data-seen=yes]").wait_for()
    maps = Path(f"/proc/{server.process.pid}/maps")
    if not maps.exists():
        pytest.skip("no /proc here")
    assert "libtorch" not in maps.read_text()
