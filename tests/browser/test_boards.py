"""The pages of results in a real browser: filters that stand in the address, a phone's navigation, every look."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 90_000
LOOKS = [("light", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light")]
PAGES = ("leaderboard", "compare", "win-matrix", "pareto", "history")
BUSY = "[data-stale=true], [data-testid=stSkeleton], [data-testid=stSpinner]"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport=DESKTOP)
    page = watched(context.new_page())
    yield page
    context.close()
    assert page.problems == []  # type: ignore[attr-defined]


def watched(page: Page) -> Page:
    """The page, which remembers what went wrong and whom it asked."""
    problems: list[str] = []
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: problems.append(request.url) if "evil.example" in request.url else None)
    page.problems = problems  # type: ignore[attr-defined]
    return page


def settle(page: Page, *, charts: bool = True) -> None:
    """Until nothing moves any more."""
    page.locator("[data-testid=stMainBlockContainer]").wait_for()
    if charts:
        page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first.wait_for()
    page.wait_for_function(f"() => !document.querySelector('{BUSY}')")
    time.sleep(0.5)  # charts and tables fade in
    page.wait_for_function(f"() => !document.querySelector('{BUSY}')")


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def too_wide(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width


def shoot(page: Page, target: Path, viewport: Any) -> None:
    """The whole page: it scrolls inside the window, so the window is made as high as the page."""
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": viewport["width"], "height": max(viewport["height"], min(height, 4000))})
    time.sleep(0.5)
    page.screenshot(path=target)
    page.set_viewport_size(viewport)


def test_filters_stand_in_the_address_and_come_back_from_it(page: Page, browser: Browser, server: Any) -> None:
    page.goto(f"{server.url}/leaderboard")
    page.get_by_text("votes of judges").wait_for()
    page.get_by_role("radio", name="People").or_(page.get_by_role("button", name="People", exact=True)).first.click()
    page.get_by_text(re.compile("votes of people.")).wait_for()
    page.wait_for_function("() => location.search.includes('voters=human')")
    page.get_by_text("Open weights only").click()
    page.get_by_text("4 of 5 models").wait_for()
    box = page.get_by_role("textbox", name="Search")
    box.fill("noi")
    box.press("Enter")
    page.get_by_text("1 of 5 models").wait_for()
    page.wait_for_function("() => location.search.includes('q=noi')")
    assert query(page) == {"voters": ["human"], "open": ["1"], "q": ["noi"]}
    other = browser.new_context(viewport=DESKTOP).new_page()
    other.set_default_timeout(PATIENCE_MS)
    other.goto(page.url)
    other.get_by_text("1 of 5 models").wait_for()
    other.get_by_text(re.compile("votes of people.")).wait_for()
    settle(other)
    assert other.get_by_role("textbox", name="Search").input_value() == "noi"
    other.context.close()


def test_an_address_with_nonsense_is_a_page_with_notes(page: Page, server: Any) -> None:
    page.goto(f"{server.url}/leaderboard?voters=%3Cb%3E&method=x&category=tag:no&votes=-5&q=%F0%9F%99%82")
    page.get_by_text("The address asks for voters=").wait_for()
    assert page.get_by_text("The address asks for").count() == 4
    page.get_by_text("None of the 5 models is left").wait_for()


def test_two_models_by_their_address(page: Page, server: Any) -> None:
    page.goto(f"{server.url}/compare?a=noisy&b=faint")
    page.get_by_text("Evidence, vote by vote").wait_for()
    settle(page)
    page.get_by_text("left: noisy").wait_for()
    page.wait_for_function("() => [...document.images].filter(i => i.alt.startsWith('Both models')).length === 6")


def test_a_phone_reaches_every_page(browser: Browser, server: Any) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True)
    page = watched(context.new_page())
    page.goto(f"{server.url}/leaderboard")
    settle(page)
    page.get_by_test_id("stExpandSidebarButton").click()
    links = page.get_by_test_id("stSidebarNavLink")
    links.first.wait_for()
    names = {re.sub(r"^\w+\n", "", text).strip() for text in links.all_inner_texts()}
    for name in ("Battle", "Leaderboard", "Compare", "Win matrix", "Pareto", "History", "Gallery", "Method"):
        assert any(name in found for found in names), f"{name} is not among {names}"
    links.filter(has_text="Pareto").first.click()
    page.wait_for_url("**/pareto")
    settle(page)
    assert page.problems == []  # type: ignore[attr-defined]
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize(("look", "viewport", "scheme"), LOOKS)
def test_results_in_every_look(
    browser: Browser, server: Any, screenshots: Path, look: str, viewport: Any, scheme: Any
) -> None:
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    page = watched(context.new_page())
    for name in PAGES:
        page.goto(f"{server.url}/{name}")
        settle(page)
        assert page.locator("[data-testid=stException]").count() == 0
        assert too_wide(page) <= 0, f"{name}: {too_wide(page)} px too wide"
        chart = page.locator("[data-testid=stVegaLiteChart]").first.bounding_box()
        assert chart is not None
        assert chart["x"] >= 0
        assert chart["x"] + chart["width"] <= viewport["width"]
        shoot(page, screenshots / f"{name}-{look}.png", viewport)
    assert page.problems == []  # type: ignore[attr-defined]
    context.close()
