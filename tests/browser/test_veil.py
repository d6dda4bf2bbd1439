"""Flagged pictures are blurred until they are asked for: both sides of a battle alike, and tiles of the gallery."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from paragone.arena.store import Store
from paragone.data import GeneratorCard, Prompt, Sample, VoterKind, sample_id
from paragone.data.files import file_digest
from paragone.data.records import SafetyScore

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
FLAGGED = "fine checks"
STRIPES = 32  # px: an eighth of a picture, so that only a blur that hides large shapes passes


def checks(side: int) -> np.ndarray:
    """Black and white squares of `STRIPES` px: the plainer a blur is, the greyer they become."""
    y, x = np.mgrid[:side, :side] // STRIPES
    return np.where((x + y) % 2, 255, 0).astype(np.uint8)


@pytest.fixture(scope="module")
def flagged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server on two models, every picture of one of which is flagged: its address and folder."""
    folder = tmp_path_factory.mktemp("flagged")
    with Store(folder / "arena.db", create=True) as store:
        store.add_generators([GeneratorCard(FLAGGED), GeneratorCard("coarse")])
        store.add_prompts([Prompt("p", "a pattern")])
        for model in (FLAGGED, "coarse"):
            samples = []
            for seed in range(3):
                path = folder / f"{model.split()[0]}-{seed}.png"
                pixels = np.roll(checks(256), 3 * seed, axis=model == FLAGGED)
                Image.fromarray(pixels).save(path)
                digest = file_digest(path)
                name = sample_id(model, "p", seed, digest)
                samples.append(Sample(name, digest, path.name, "p", model, seed, 256, 256))
            store.add_samples(samples)
            if model == FLAGGED:
                store.add_safety_scores(SafetyScore(sample.id, "squares", 0.9, 0.5) for sample in samples)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "paragone", "serve", "--dir", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
        yield url, folder
        process.terminate()
        process.wait(30)


def contrast(place: Locator) -> float:
    """Standard deviation of the grey values that are on the screen in the middle of an element."""
    grey = np.asarray(Image.open(io.BytesIO(place.screenshot())).convert("L"), np.float64)
    height, width = grey.shape
    return float(grey[height // 4 : -height // 4, width // 4 : -width // 4].std())


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport=request.param)
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    yield opened
    context.close()


def votes(folder: Path) -> int:
    with Store(folder / "arena.db") as store:
        return len(store.votes(VoterKind.HUMAN))


def test_both_sides_are_blurred_until_they_are_asked_for(
    page: Page, flagged: tuple[str, Path], screenshots: Path
) -> None:
    url, folder = flagged
    before = votes(folder)
    page.goto(url)
    page.locator(".battle[data-veiled=yes] .pane.a .view img").wait_for()
    page.locator(".battle[data-veiled=yes] .pane.b .view img").wait_for()
    page.wait_for_timeout(700)
    sides = [page.locator(f".pane.{side}") for side in "ab"]
    blurred = [contrast(side) for side in sides]
    size = page.viewport_size
    page.screenshot(path=screenshots / f"veiled-{size['width'] if size else 0}.png")
    assert max(blurred) < 12  # the squares' own is 127
    assert abs(blurred[0] - blurred[1]) < 6  # neither side says which of them was flagged
    assert page.get_by_role("button", name="A is better").is_disabled()
    page.keyboard.press("a")
    page.wait_for_timeout(300)
    assert votes(folder) == before
    for way in ("Flicker", "Slider"):  # no way to look leads around it
        page.get_by_role("button", name=way).click()
        assert contrast(page.locator(".stage")) < 25  # the fade at the edges of the picture is in it
    page.get_by_role("button", name="Side by side").click()
    page.locator(".pane.b").click()
    page.locator(".battle[data-veiled=no][data-seen=yes]").wait_for()
    page.locator("[data-act=model_a]:enabled").wait_for()
    assert min(contrast(side) for side in sides) > 60
    page.screenshot(path=screenshots / f"unveiled-{size['width'] if size else 0}.png")
    page.keyboard.press("a")
    page.locator("[data-act=next]:enabled").wait_for()
    assert votes(folder) == before + 1
    assert min(contrast(side) for side in sides) > 60  # still shown beside the names
    page.keyboard.press("n")
    page.locator(".battle[data-veiled=yes]").wait_for()  # each battle asks anew
    page.keyboard.press("s")  # and can be skipped unseen


def test_a_key_shows_them_too(page: Page, flagged: tuple[str, Path]) -> None:
    page.goto(flagged[0])
    page.locator(".battle[data-veiled=yes] .pane.b .view img").wait_for()
    page.get_by_role("button", name="Show both").wait_for()
    page.keyboard.press("v")
    page.locator("[data-act=model_a]:enabled").wait_for()
    assert page.get_by_role("button", name="Show both").is_hidden()


def test_tiles_of_the_gallery(page: Page, flagged: tuple[str, Path], screenshots: Path) -> None:
    page.goto(f"{flagged[0]}/gallery")
    show = page.get_by_role("button", name="Show 3 flagged")
    show.wait_for()
    tiles = page.locator('[data-testid="stImage"] img')
    tiles.nth(1).wait_for()
    page.wait_for_timeout(500)
    size = page.viewport_size
    page.screenshot(path=screenshots / f"gallery-veiled-{size['width'] if size else 0}.png")
    plain, veiled = contrast(tiles.nth(0)), contrast(tiles.nth(1))  # by name: coarse, fine checks
    assert veiled < 0.3 * plain
    show.click()
    show.wait_for(state="detached")
    page.wait_for_timeout(500)
    assert contrast(tiles.nth(1)) > 0.7 * plain
