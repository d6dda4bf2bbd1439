"""Clips in step over their plots, and battles of edits with source, instruction and mask, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from made_clips import write_clip
from photographs import flickering, pan, photograph
from PIL import Image

from paragone.arena.store import Store
from paragone.data import GeneratorCard, MetricResult, Prompt, Sample, Task, sample_id
from paragone.data.clip_frames import ClipFrames, clip_frames_file
from paragone.data.files import file_digest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PATIENCE_MS = 60_000
FRAMES = 36
LOOKS = {
    "light": ({"width": 1280, "height": 900}, "light"),
    "dark": ({"width": 1280, "height": 900}, "dark"),
    "phone": ({"width": 390, "height": 844}, "light"),
}
HOSTILE = "<img src=x onerror=alert(1)> **clip**"
ROOT = "[...document.querySelectorAll('*')].map(node => node.shadowRoot).find(root => root?.querySelector('{0}'))"
CLIPS, BATTLE = ROOT.format(".clips"), ROOT.format(".battle")


def add(store: Store, folder: Path, path: Path, model: str, prompt: str, size: tuple[int, int], **more: Any) -> Sample:
    digest = file_digest(path)
    place = path.relative_to(folder).as_posix()
    sample = Sample(sample_id(model, prompt, 0, digest), digest, place, prompt, model, 0, *size, **more)
    store.add_samples([sample])
    return sample


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, serving: Any) -> Iterator[Any]:
    """Three clips: one with known values of its frames, one that stands still, one that was not measured."""
    folder = tmp_path_factory.mktemp("clips")
    made = {"steady": pan(FRAMES, 3), "still": pan(FRAMES, 0), HOSTILE: flickering(FRAMES, 0.1)}
    with Store(folder / "arena.db", create=True) as store:
        store.add_prompts([Prompt("p", "a slow pan", Task.TEXT_TO_VIDEO)])
        for number, (model, frames) in enumerate(made.items()):
            store.add_generators([GeneratorCard(model)])
            path = write_clip(folder / "samples" / str(number) / "clip.mp4", frames=list(frames))
            sample = add(store, folder, path, model, "p", (160, 120), frames=FRAMES, fps=24.0)
            store.add_metric_results(model, [MetricResult("motion", 0.1 * number, True, 1, signature="motion|n:1")])
            if number < 2:
                ramp = tuple(step / 100 for step in range(FRAMES - 1))
                ClipFrames(
                    times_s=tuple(frame / 24 for frame in range(FRAMES)),
                    series={
                        "motion": ramp if number == 0 else (0.0,) * (FRAMES - 1),
                        "warp_error": (*ramp[:10], None, *ramp[11:]),
                        "brightness": (0.5,) * FRAMES,
                    },
                    marks={
                        "cuts": tuple(step == 10 for step in range(FRAMES - 1)),
                        "repeats": (number == 1,) * (FRAMES - 1),
                    },
                ).save(clip_frames_file(folder, sample.sha256))
    with serving(folder) as server:
        yield server


@pytest.fixture(scope="module")
def edits(tmp_path_factory: pytest.TempPathFactory, serving: Any) -> Iterator[Any]:
    """Two edits of a photograph under one mask."""
    folder = tmp_path_factory.mktemp("edits")
    source = photograph()[:240, :360]
    mask = np.zeros((240, 360), np.uint8)
    mask[80:160, 100:220] = 255
    Image.fromarray(source).save(folder / "in.png")
    Image.fromarray(mask).save(folder / "mask.png")
    with Store(folder / "arena.db", create=True) as store:
        prompt = Prompt("e", "paint the roof blue", Task.IMAGE_EDITING, source="in.png", mask="mask.png")
        store.add_prompts([prompt])
        for number, model in enumerate(("model-anna", "model-bert")):
            store.add_generators([GeneratorCard(model)])
            result = source.copy()
            result[mask > 0] = result[mask > 0] // (2 + number)
            path = folder / f"{model}.png"
            Image.fromarray(result).save(path)
            add(store, folder, path, model, "e", (360, 240))
    with serving(folder) as server:
        yield server


class Visit:
    """A page with all that went wrong on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: (self.problems.append(dialog.message), dialog.dismiss()))

    def wide(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def visit(browser: Browser, look: str) -> Iterator[Visit]:
    viewport, scheme = LOOKS[look]
    context = browser.new_context(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    visit = Visit(context.new_page())
    yield visit
    context.close()
    assert visit.problems == []


def test_clips_play_in_step_over_their_plots(visit: Visit, clips: Any, look: str, screenshots: Path) -> None:
    page = visit.page
    if not page.evaluate("() => document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.64001e\"')"):
        pytest.skip("this Chromium plays no H.264")
    page.goto(f"{clips.url}/gallery")
    page.locator(".clips .tile video").nth(2).wait_for()
    ready = f"() => [...({CLIPS}).querySelectorAll('video')].every(video => video.duration > 1.4)"
    page.wait_for_function(ready)
    assert page.locator(".tile figcaption").all_text_contents() == sorted([HOSTILE, "steady", "still"])
    assert page.locator(".tile").nth(0).locator(".none").text_content() == "not measured"
    assert page.locator(".tile").nth(2).locator(".none").text_content() == "stands still: its warp error does not count"
    page.get_by_role("button", name="Pause").click()
    plot = page.get_by_label("Motion of steady", exact=False)
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    plot.click(position={"x": 0.5 * box["width"], "y": 20})
    moments = f"() => [...({CLIPS}).querySelectorAll('video')].map(video => video.currentTime)"
    page.wait_for_function(f"() => Math.abs(({moments})()[0] - {(FRAMES - 1) / 48}) < 0.02")
    assert np.ptp(page.evaluate(moments)) < 1e-3
    page.wait_for_timeout(150)
    values = page.locator(".tile").nth(1).locator(".value").all_text_contents()
    assert values[1].endswith("/s")
    assert float(values[1].removesuffix("/s")) == pytest.approx(0.17, abs=0.011)  # the ramp at half the clip
    now = page.locator(".tile").nth(1).locator(".now").first
    assert float(now.get_attribute("x1") or 0) == pytest.approx(500, abs=15)
    assert page.locator(".tile").nth(1).locator(".cut").count() == 3
    page.get_by_role("button", name="One frame on").click()
    page.wait_for_function(f"() => ({moments})()[0] > {(FRAMES - 1) / 48 + 0.02}")
    page.screenshot(path=screenshots / f"gallery-clips-{look}.png", full_page=True)
    assert visit.wide() <= 0


@pytest.mark.parametrize("look", ["light"], indirect=True)
def test_the_metrics_page_shows_them_too(visit: Visit, clips: Any, look: str, screenshots: Path) -> None:
    visit.page.goto(f"{clips.url}/metrics?metric=motion")
    visit.page.locator(".clips .tile").nth(2).wait_for()
    visit.page.get_by_text("The clips, frame by frame").wait_for()
    visit.page.screenshot(path=screenshots / f"metrics-clips-{look}.png", full_page=True)
    assert visit.wide() <= 0


def test_a_clip_is_sent_in_parts_and_a_picture_is_none(browser: Browser, clips: Any, edits: Any) -> None:
    context = browser.new_context()
    with Store(clips.folder / "arena.db") as store:
        name = store.samples(model="steady")[0].id
    answer = context.request.get(f"{clips.url}/arena/clips/{name}", headers={"Range": "bytes=4-7"})
    assert (answer.status, answer.body(), answer.headers["content-type"]) == (206, b"ftyp", "video/mp4")
    assert context.request.get(f"{clips.url}/arena/clips/none").status == 404
    with Store(edits.folder / "arena.db") as store:
        picture = store.samples()[0].id
    assert context.request.get(f"{edits.url}/arena/clips/{picture}").status == 404
    context.close()


def test_battles_of_edits_show_source_instruction_and_mask(
    visit: Visit, edits: Any, look: str, screenshots: Path
) -> None:
    page = visit.page
    page.goto(edits.url)
    page.locator(".battle[data-seen=yes]").wait_for()
    page.locator(".pane.b .outline").wait_for(state="attached")
    assert page.locator(".question").text_content() == "Which does what was asked, and nothing else?"
    assert page.locator(".prompt").text_content() == "paint the roof blue"
    for label in ("Source picture", "Picture A", "Picture B", "Where the picture may change"):
        assert page.get_by_role("img", name=label).is_visible(), label
    assert not page.locator(".pane.a .outline").is_visible()
    page.screenshot(path=screenshots / f"battle-edits-{look}.png", full_page=True)
    page.keyboard.press("m")
    assert page.locator(".pane.a .outline").is_visible()
    assert page.get_by_role("button", name="Mask").get_attribute("aria-pressed") == "true"
    transforms = page.evaluate(
        f"() => [...({BATTLE}).querySelectorAll('.pane.a .view > *')].map(layer => layer.style.transform)"
    )
    assert len(transforms) == 2
    assert transforms[0] == transforms[1] != ""
    page.screenshot(path=screenshots / f"battle-edits-mask-{look}.png", full_page=True)
    page.get_by_role("button", name="Mask").click()
    assert not page.locator(".pane.a .outline").is_visible()
    assert visit.wide() <= 0
