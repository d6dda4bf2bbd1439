"""What an endpoint refuses for being too much is shown in a weaker way, once and for all, and said in the verdict."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paragone.data.errors import UsageError
from paragone.data.records import Prompt, Status, Task, Winner
from paragone.judges import MLLMJudge
from paragone.judges.cache import CachingExchange, ReplyCache
from paragone.judges.client import CallRejected, RetryPolicy
from paragone.judges.clips import native_clip, read_frames
from paragone.judges.limits import Limits, ways
from paragone.judges.sheets import GAP, GREY, STRIP, contact_sheet, grid, panels

STILL = Prompt("p", "a red cat")
CLIP = Prompt("v", "it gets light", Task.TEXT_TO_VIDEO)
QUICK = RetryPolicy(max_attempts=2, first_wait_s=0.01)
av = pytest.importorskip("av", reason="PyAV is not installed")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ReplyCache]:
    with ReplyCache(tmp_path / "replies.db") as kept:
        yield kept


@pytest.fixture
def noise(tmp_path: Path) -> tuple[Path, Path]:
    """Two pictures that no encoder makes small: about 270 KB each."""
    rng = np.random.default_rng(0)
    paths = tmp_path / "a.png", tmp_path / "b.png"
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def clips(tmp_path: Path) -> tuple[Path, Path]:
    """Two clips of 16 frames that get brighter and darker, with words in their metadata."""
    paths = tmp_path / "a.mp4", tmp_path / "b.mp4"
    for path, greys in zip(paths, (range(0, 240, 15), range(240, 0, -15)), strict=True):
        with av.open(str(path), "w") as container:
            container.metadata["title"] = "canary-title"
            container.metadata["comment"] = "canary-comment"
            stream = container.add_stream("libx264", rate=8)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for grey in greys:
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return paths


def made(server: Any, cache: ReplyCache | None = None, **options: Any) -> MLLMJudge:
    exchange = {} if cache is None else {"exchange": CachingExchange(cache), "memory": cache}
    return MLLMJudge("m", base_url=server.base_url, retry=QUICK, **exchange, **options)


def picture(content: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(("most", "form", "n_images"), [(16, "frames", 16), (2, "sheet", 2), (1, "single", 1)])
def test_clips_are_shown_in_as_few_images_as_the_endpoint_takes(
    server: Any, fake_server: ModuleType, clips: tuple[Path, Path], most: int, form: str, n_images: int
) -> None:
    server.behaviour = fake_server.takes(fake_server.verdict("second"), images=most)
    with made(server) as judge:
        verdict = judge.compare(CLIP, *clips)
        assert verdict.winner is Winner.MODEL_B
        assert len(server.requests[-1].images) == n_images
        shown = verdict.details["shown"]
        assert (shown["form"], shown["scale"]) == (form, 1.0)
        refused = [f"HTTP 400: At most {most} image(s) may be provided in one prompt."]
        assert shown["because"] == ([] if form == "frames" else refused)
        n_calls = server.n_calls
        judge.compare(CLIP, *clips[::-1])
        assert server.n_calls == n_calls + 1, "what was refused once is not tried again"
        assert judge.compare(STILL, *frames_of(clips)).winner is Winner.MODEL_B


def frames_of(clips: tuple[Path, Path]) -> tuple[Path, Path]:
    """The first frame of each, as files."""
    paths = []
    for clip in clips:
        paths.append(clip.with_suffix(".png"))
        Image.fromarray(read_frames(clip, 1)[0][0]).save(paths[-1])
    return paths[0], paths[1]


def test_a_contact_sheet_is_in_the_order_of_time_with_numbers_outside(
    server: Any, fake_server: ModuleType, clips: tuple[Path, Path]
) -> None:
    server.behaviour = fake_server.verdict("first")
    with made(server, clips="sheet") as judge:
        verdict = judge.compare(CLIP, *clips)
    assert verdict.details["shown"] == {"form": "sheet", "scale": 1.0, "because": []}
    (received,) = server.requests
    first, second = (picture(image) for image in received.images)
    assert first.shape == second.shape
    columns, _ = grid(8, 64, 48)
    cells = [
        (GAP + k % columns * (64 + GAP) + 32, GAP + STRIP + k // columns * (48 + STRIP + GAP) + 24) for k in range(8)
    ]
    brightening, darkening = ([int(sheet[y, x, 0]) for x, y in cells] for sheet in (first, second))
    assert brightening == sorted(brightening)
    assert darkening == sorted(darkening, reverse=True)
    assert brightening[0] < 5
    assert brightening[-1] > 215
    assert "as 8 frames on one sheet" in received.text
    assert "1 at 0.00 s" in received.text
    assert "8 at 1.88 s" in received.text


def test_one_canvas_says_what_stands_where(
    server: Any, fake_server: ModuleType, clips: tuple[Path, Path], tmp_path: Path
) -> None:
    server.behaviour = fake_server.verdict("first")
    source = tmp_path / "source.png"
    Image.fromarray(np.full((48, 64, 3), 99, np.uint8)).save(source)
    prompt = Prompt("i", "it gets light", Task.IMAGE_TO_VIDEO, source=str(source))
    for protocol, n_requests in (("pairwise", 1), ("pointwise", 2)):
        server.requests.clear()
        if protocol == "pointwise":
            server.behaviour = fake_server.says(fake_server.grade_text("good"))
        with made(server, clips="single", protocol=protocol) as judge:
            judge.compare(prompt, *clips)
        assert len(server.requests) == n_requests
        assert {len(request.images) for request in server.requests} == {1}
        assert len({picture(request.images[0]).shape for request in server.requests}) == 1
        text = server.requests[0].text
        assert "under SOURCE: the source picture" in text
        assert ("under SECOND: the second video" in text) == (protocol == "pairwise")
        assert ("SECOND: 1 at 0.00 s" in text) == (protocol == "pairwise")


def test_frames_and_names_are_not_painted_over() -> None:
    frames = [np.full((30, 40, 3), k, np.uint8) for k in range(5)]
    sheet = contact_sheet(frames, 3)
    assert sheet.shape == (2 * (30 + STRIP + GAP) + GAP, 3 * (40 + GAP) + GAP, 3)
    outside = sheet.copy()
    for k, frame in enumerate(frames):
        x, y = GAP + k % 3 * (40 + GAP), GAP + STRIP + k // 3 * (30 + STRIP + GAP)
        assert (sheet[y : y + 30, x : x + 40] == frame).all()
        outside[y : y + 30, x : x + 40] = GREY
    assert (outside > 200).any(), "the numbers are there"
    side = panels([("FIRST", frames[0]), ("SECOND", frames[4])], stacked=False)
    assert (side[GAP + STRIP : GAP + STRIP + 30, 2 * GAP + 40 : 2 * GAP + 80] == 4).all()
    below = panels([("FIRST", frames[0]), ("SECOND", frames[4])], stacked=True)
    assert below.shape[0] > below.shape[1]
    assert side.shape[1] > side.shape[0]
    assert grid(8, 160, 90) == (2, 4)
    assert grid(8, 90, 160) == (4, 2)


@pytest.mark.parametrize("limit", [400_000, 100_000])
def test_what_is_too_large_is_reduced_alike_on_both_sides(
    server: Any, fake_server: ModuleType, noise: tuple[Path, Path], limit: int
) -> None:
    server.behaviour = fake_server.takes(fake_server.verdict("first"), n_bytes=limit)
    with made(server) as judge:
        verdict = judge.compare(STILL, *noise)
        assert verdict.winner is Winner.MODEL_A
        shown = verdict.details["shown"]
        sizes = [picture(image).shape for image in server.requests[-1].images]
        assert sizes == [(round(300 * shown["scale"]),) * 2 + (3,)] * 2
        assert 0.2 < shown["scale"] < 1.0
        assert shown["because"] == ["HTTP 413: Request Entity Too Large"]
        n_calls = server.n_calls
        judge.compare(STILL, *noise[::-1])
        assert server.n_calls == n_calls + 1
        small = [noise[0].with_name("s.png"), noise[0].with_name("t.png")]
        for grey, path in enumerate(small):
            Image.fromarray(np.full((300, 300, 3), grey, np.uint8)).save(path)
        assert judge.compare(STILL, small[0], small[1]).details["shown"]["scale"] == 1.0, "only what is too large"


def test_what_no_way_makes_small_enough_is_an_error_with_the_servers_words(
    server: Any, fake_server: ModuleType, noise: tuple[Path, Path]
) -> None:
    server.behaviour = fake_server.takes(fake_server.verdict("first"), n_bytes=10)
    with made(server) as judge:
        verdict = judge.compare(STILL, *noise)
    assert (verdict.winner, verdict.status) == (None, Status.ERROR)
    assert "413" in verdict.reason
    assert server.n_calls <= len(ways("frames", moving=False))


def test_a_cached_rerun_makes_no_call_after_a_refusal_either(
    server: Any, fake_server: ModuleType, clips: tuple[Path, Path], noise: tuple[Path, Path], cache: ReplyCache
) -> None:
    server.behaviour = fake_server.takes(fake_server.verdict("first"), images=2, n_bytes=400_000)
    with made(server, cache) as judge:
        before = [judge.compare(CLIP, *clips), judge.compare(STILL, *noise)]
    n_calls = server.n_calls
    assert n_calls > 2
    with made(server, cache) as judge:
        after = [judge.compare(STILL, *noise), judge.compare(CLIP, *clips)]
    assert server.n_calls == n_calls
    assert [one.details["shown"] for one in after[::-1]] == [one.details["shown"] for one in before]
    assert before[0].details["shown"]["form"] == "sheet"
    assert before[1].details["shown"]["scale"] < 1.0
    digests = {call["request_sha256"] for one in before for call in one.details["calls"]}
    server.behaviour = fake_server.verdict("first")
    with MLLMJudge("m", base_url=server.base_url) as judge:  # no memory: shown as was wished for
        others = [judge.compare(CLIP, *clips), judge.compare(STILL, *noise)]
    assert digests.isdisjoint(call["request_sha256"] for one in others for call in one.details["calls"])


def test_clips_are_sent_as_they_are_without_metadata(
    server: Any, fake_server: ModuleType, clips: tuple[Path, Path], tmp_path: Path
) -> None:
    server.behaviour = fake_server.verdict("first")
    with made(server, clips="native") as judge:
        verdict = judge.compare(CLIP, *clips)
    (received,) = server.requests
    assert verdict.details["shown"] == {"form": "native", "scale": 1.0, "because": []}
    assert (len(received.videos), len(received.images)) == (2, 0)
    assert b"canary" in clips[0].read_bytes()
    for sent, clip in zip(received.videos, clips, strict=True):
        assert b"canary" not in sent
        assert b"x264" not in sent, "nor what the encoder says of itself"
        again = tmp_path / "sent.mp4"
        again.write_bytes(sent)
        frames, wanted = read_frames(again, 16), read_frames(clip, 16)
        assert all((one == other).all() for (one, _), (other, _) in zip(frames, wanted, strict=True))
        assert native_clip(clip)[0] == sent, "the same bytes each time"


def test_an_endpoint_without_video_is_shown_frames_and_the_reason_is_kept(
    server: Any, fake_server: ModuleType, clips: tuple[Path, Path]
) -> None:
    server.behaviour = fake_server.takes(fake_server.verdict("first"), video=False, images=2)
    with made(server, clips="native") as judge:
        shown = judge.compare(CLIP, *clips).details["shown"]
    assert shown["form"] == "sheet"
    assert ["video_url is not supported" in shown["because"][0], "At most 2" in shown["because"][1]] == [True, True]
    assert [len(request.videos) for request in server.requests] == [2, 0, 0]


def test_a_clip_that_cannot_be_sent_as_it_is_is_shown_as_frames(
    server: Any, fake_server: ModuleType, clips: tuple[Path, Path], tmp_path: Path
) -> None:
    server.behaviour = fake_server.verdict("first")
    gif = tmp_path / "c.gif"
    frames = [Image.fromarray(np.full((48, 64, 3), 9 * k, np.uint8)) for k in range(12)]
    frames[0].save(gif, save_all=True, append_images=frames[1:], duration=100)
    with made(server, clips="native") as judge:
        shown = judge.compare(CLIP, clips[0], gif).details["shown"]
    assert shown == {"form": "frames", "scale": 1.0, "because": ["gif clips (gif) cannot be sent as they are"]}
    assert (len(server.requests[0].videos), len(server.requests[0].images)) == (0, 16)


@pytest.mark.parametrize(
    ("status", "words", "learnt"),
    [
        (400, "At most 1 image(s) may be provided in one prompt.", "images"),
        (400, "You set image=16 (or defaulted to it) but only 2 images are supported", "images"),
        (422, "too many images in the request", "images"),
        (400, "This model does not support multiple images", "images"),
        (413, "whatever", "n_bytes"),
        (400, "image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes", "n_bytes"),
        (400, "Payload too large", "n_bytes"),
        (400, "the prompt is empty", None),
        (400, "unknown field 'imagery'", None),
    ],
)
def test_only_what_is_about_too_much_teaches_a_limit(status: int, words: str, learnt: str | None) -> None:
    class Load:
        n_images, n_videos, n_bytes = 16, 0, 9000

    refusal = CallRejected("no", body=f'{{"error": {{"message": "{words}"}}}}', http_status=status)
    limits = Limits().after(refusal, Load())
    assert (limits is None) == (learnt is None)
    if limits is not None:
        assert [limits.images is not None, limits.n_bytes is not None] == [learnt == "images", learnt == "n_bytes"]
        assert limits.objections([Load()]) == (f"HTTP {status}: {words}",)
        assert Limits.from_dict(limits.to_dict()) == limits


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(UsageError, match="use one of native, frames, sheet, single"):
        MLLMJudge("m", base_url="http://127.0.0.1:9/v1", clips="hologram")  # type: ignore[arg-type]
