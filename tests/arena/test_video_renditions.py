"""Clips for voters: the same frames at the same times, both sides alike, nothing of the model's file, made once."""

from __future__ import annotations

import io
import itertools
import struct
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.requests import Request

from paragone.arena.ui import media, video_renditions
from paragone.arena.ui.media import send_part
from paragone.arena.ui.pictures import MovingPicture
from paragone.arena.ui.renditions import SIZE_STEP, Pair
from paragone.arena.ui.video_renditions import ClipRenditions, shared_box, survey
from paragone.data import Sample
from paragone.data.errors import ParagoneError, UnreadableImage
from paragone.data.files import file_digest

av = pytest.importorskip("av", reason="PyAV is not installed")

CANARY = "wan-canary-4f02"
COLOURS = np.array([(200, 40, 40), (40, 180, 60), (60, 60, 200), (128, 128, 128)], np.uint8)
KINDS = {"mp4": "libx264", "mov": "libx264", "webm": "libvpx-vp9", "matroska": "libx264"}


def frame_of(n: int, height: int, width: int) -> np.ndarray:
    """Four bars of colour, the same in all frames, and a white square that moves."""
    pixels = np.ascontiguousarray(COLOURS.repeat(-(-width // 4), axis=0)[None, :width].repeat(height, axis=0))
    pixels[: height // 4, (4 * n) % (width - 8) :][:, :8] = 255
    return pixels


def clip(
    kind: str = "mp4", *, n_frames: int = 24, rate: int = 24, size: tuple[int, int] = (48, 64), sound: bool = False
) -> bytes:
    """A clip with the canary in every place that its container has for words."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        container.metadata.update(title=CANARY, comment=CANARY, encoder=CANARY, artist=CANARY)
        stream = container.add_stream(KINDS[kind], rate=rate)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.metadata.update(title=CANARY, handler_name=CANARY)
        track = container.add_stream("aac", rate=48_000) if sound else None
        for n in range(n_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_of(n, *size), format="rgb24")))
        container.mux(stream.encode())
        if track is not None:
            noise = av.AudioFrame.from_ndarray(np.zeros((2, 48_000), np.float32), format="fltp", layout="stereo")
            noise.sample_rate = 48_000
            container.mux(track.encode(noise))
            container.mux(track.encode())
    return file.getvalue()


def animation(kind: str, durations: list[int], size: tuple[int, int] = (48, 64)) -> bytes:
    frames = [Image.fromarray(frame_of(n, *size)) for n in range(len(durations))]
    buffer = io.BytesIO()
    options = {"comment": CANARY.encode()} if kind == "GIF" else {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=durations, **options)
    return buffer.getvalue()


def put(folder: Path, name: str, content: bytes) -> Sample:
    (folder / name).write_bytes(content)
    return Sample(name, file_digest(folder / name), name, "p", name, 0, 64, 48)


def rendered(folder: Path, one: bytes, two: bytes | None = None) -> Pair:
    return ClipRenditions().pair(folder, put(folder, "one.bin", one), put(folder, "two.bin", two or one))


def frames(content: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(content)) as source:
        return [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]


def fields(content: bytes) -> tuple[object, ...]:
    """What a probe tells of a file."""
    with av.open(io.BytesIO(content)) as source:
        (stream,) = source.streams
        context = stream.codec_context
        return (
            source.format.name, dict(source.metadata), dict(stream.metadata), context.name, context.profile,
            context.pix_fmt, context.height, context.width, stream.average_rate, stream.time_base,
            context.colorspace, context.color_range, [p.pts for p in source.demux(stream) if p.is_keyframe],
        )  # fmt: skip


class TestBlind:
    @pytest.mark.parametrize("kind", KINDS)
    def test_nothing_of_the_file_is_left(self, tmp_path: Path, kind: str) -> None:
        original = clip(kind, sound=kind == "mp4")
        assert CANARY.encode() in original
        for side in rendered(tmp_path, original):
            assert CANARY.encode() not in side
            assert b"Lavf" not in side
            assert b"Lavc" not in side
            assert len(side) % SIZE_STEP == 0
            boxes = top_boxes(side)
            assert [name for name, _ in boxes] == [b"ftyp", b"moov", b"free", b"mdat", b"free"]
            assert not any(name in side for name in (b"uuid", b"x264"))
            assert side[side.index(b"ilst") - 4 :].startswith(b"\0\0\0\x08ilst")  # the list of tags is empty
            assert side[4:8] == b"ftyp"
            with av.open(io.BytesIO(side)) as source:
                assert [stream.type for stream in source.streams] == ["video"]
                assert "creation_time" not in source.metadata | source.streams[0].metadata

    @pytest.mark.parametrize(("one", "two"), list(itertools.combinations(KINDS, 2)))
    def test_sides_are_alike(self, tmp_path: Path, one: str, two: str) -> None:
        pair = rendered(tmp_path, clip(one), clip(two, size=(64, 50)))
        assert fields(pair.a) == fields(pair.b)
        assert fields(pair.a)[3:9] == ("h264", "High", "yuv420p", 64, 64, 24)
        assert pair.a != pair.b

    def test_where_there_is_no_h264(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        rest = {name: settings for name, settings in video_renditions.CODECS.items() if name != "libx264"}
        monkeypatch.setattr(video_renditions, "CODECS", rest)
        pair = rendered(tmp_path, clip(), clip("webm", rate=24))
        assert fields(pair.a) == fields(pair.b)
        assert fields(pair.a)[3] == "vp9"
        assert len(frames(pair.a)) == 24
        monkeypatch.setattr(video_renditions, "CODECS", {})
        with pytest.raises(ParagoneError, match="install its own wheel"):
            rendered(tmp_path, clip())

    def test_odd_sizes(self, tmp_path: Path) -> None:
        assert shared_box([(33, 64), (20, 65)]) == (34, 66)
        pair = rendered(tmp_path, animation("GIF", [100] * 4, (33, 65)))
        assert fields(pair.a)[6:8] == (34, 66)
        assert fields(rendered(tmp_path, animation("GIF", [100] * 2, (9, 17))).a)[6:8] == (10, 18)


def top_boxes(content: bytes) -> list[tuple[bytes, int]]:
    boxes, at = [], 0
    while at < len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        assert size >= 8
        boxes.append((name, size))
        at += size
    assert at == len(content)
    return boxes


class TestFaithful:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("rate", [16, 24, 30])
    def test_frames_times_and_colours(self, tmp_path: Path, kind: str, rate: int) -> None:
        side = rendered(tmp_path, clip(kind, n_frames=20, rate=rate)).a
        with av.open(io.BytesIO(side)) as source:
            stream = source.streams.video[0]
            assert stream.average_rate == rate
            assert stream.duration * stream.time_base == Fraction(20, rate)
            assert [frame.time for frame in source.decode(stream)] == pytest.approx([n / rate for n in range(20)])
        shown = frames(side)
        assert len(shown) == 20
        for bar in range(4):  # away from the bars' edges and the square
            colour = shown[10][30:40, 16 * bar + 5 : 16 * bar + 11].mean(axis=(0, 1))
            assert np.abs(colour - COLOURS[bar]).max() < 6
        brightest = [int(frame[2:10].sum(axis=(0, 2)).argmax()) for frame in shown]
        assert len(set(brightest)) > 5  # it moves

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
    def test_animations_keep_their_own_times(self, tmp_path: Path, kind: str) -> None:
        durations = [100, 400, 100, 60, 200]
        side = rendered(tmp_path, animation(kind, durations)).a
        with av.open(io.BytesIO(side)) as source:
            times = [frame.time for frame in source.decode(video=0)]
        assert times == pytest.approx([0, 0.1, 0.5, 0.6, 0.66], abs=1e-4)
        assert CANARY.encode() not in side

    def test_frames_that_say_no_time_are_shown_as_browsers_do(self) -> None:
        assert survey(animation("GIF", [0, 0, 0, 0]), "x").rate == 10

    def test_turned_clips_are_upright(self) -> None:
        """The matrix of a track (ISO/IEC 14496-12, 8.3.2) for a quarter turn clockwise, written by hand."""
        content = clip(size=(48, 64))
        fixed = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000]
        turned = [0, 0x10000, 0, -0x10000, 0, 0, 48 << 16, 0, 0x40000000]
        at = content.index(b"tkhd")
        place = content.index(struct.pack(">9i", *fixed), at)
        content = content[:place] + struct.pack(">9i", *turned) + content[place + 36 :]
        assert survey(content, "x").shape == (64, 48)
        (_, first), *_ = video_renditions._frames(content, "x")
        expected = np.rot90(frame_of(0, 48, 64), -1)
        assert np.abs(first.astype(int) - expected).mean() < 12


class TestRefused:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.9])
    def test_cut_off(self, tmp_path: Path, kind: str, share: float) -> None:
        content = clip(kind)
        content = content[: max(16, int(share * len(content)))]
        with pytest.raises(UnreadableImage, match=r"one\.bin: "):
            rendered(tmp_path, content)
        assert not (tmp_path / "cache").exists()

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
    def test_animation_cut_off(self, kind: str) -> None:
        content = animation(kind, [100] * 6)
        with pytest.raises(UnreadableImage, match="x: "):
            survey(content[: len(content) * 3 // 5], "x")

    def test_damaged_in_the_middle(self) -> None:
        content = clip()
        place = content.index(b"mdat") + 900
        with pytest.raises(UnreadableImage, match=r"x: .*damaged"):
            survey(content[:place] + bytes(200) + content[place + 200 :], "x")

    def test_no_frames(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            track = container.add_stream("aac", rate=48_000)
            noise = av.AudioFrame.from_ndarray(np.zeros((2, 4800), np.float32), format="fltp", layout="stereo")
            noise.sample_rate = 48_000
            container.mux(track.encode(noise))
            container.mux(track.encode())
        with pytest.raises(UnreadableImage, match="x: no pictures in it"):
            survey(file.getvalue(), "x")
        with pytest.raises(UnreadableImage, match="x: "):
            survey(clip(n_frames=0), "x")

    @pytest.mark.parametrize(
        ("limit", "value", "words"),
        [("MOST_FRAMES", 23, "over 23 frames"), ("LONGEST_S", 0, "or 0 s"),
         ("MOST_PIXELS", 70_000, "megapixels in all"), ("LARGEST_PX", 60, "up to 60 px a side")],
    )  # fmt: skip
    @pytest.mark.parametrize("content", [clip(), animation("GIF", [40] * 24)], ids=["mp4", "gif"])
    def test_too_much(
        self, monkeypatch: pytest.MonkeyPatch, content: bytes, limit: str, value: int, words: str
    ) -> None:
        assert len(survey(content, "x").times) == 24
        monkeypatch.setattr(video_renditions, limit, value)
        with pytest.raises(UnreadableImage, match=f"x: .*{words}"):
            survey(content, "x")

    def test_what_the_encoder_refuses(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(video_renditions, "CODECS", {"libx264": {"preset": "nothing"}})
        with pytest.raises(UnreadableImage, match=r"one\.bin: cannot be written anew"):
            rendered(tmp_path, clip())
        assert not (tmp_path / "cache").exists()

    def test_a_picture_against_a_clip(self, tmp_path: Path) -> None:
        Image.new("RGB", (64, 48)).save(tmp_path / "still.png")
        still = put(tmp_path, "still.png", (tmp_path / "still.png").read_bytes())
        moving = put(tmp_path, "moving.mp4", clip())
        for pair in ((still, moving), (moving, still)):
            with pytest.raises(MovingPicture, match=r"moving\.mp4: a clip, against the picture .*still\.png"):
                media._pair(tmp_path, *pair)
        assert media._pair(tmp_path, still, still)[1] == media.PNG
        assert media._pair(tmp_path, moving, moving)[1] == media.MP4

    def test_another_file_than_recorded(self, tmp_path: Path) -> None:
        one, two = put(tmp_path, "one.mp4", clip()), put(tmp_path, "two.mp4", clip("mov"))
        (tmp_path / "two.mp4").write_bytes(clip("webm"))
        with pytest.raises(UnreadableImage, match=r"two\.mp4: has changed"):
            ClipRenditions().pair(tmp_path, one, two)

    def test_sources_stay_in_the_project(self, tmp_path: Path) -> None:
        (tmp_path / "project").mkdir()
        (tmp_path / "outside.mp4").write_bytes(clip())
        with pytest.raises(UnreadableImage, match="leads out of the project"):
            ClipRenditions().source(tmp_path / "project", "../outside.mp4")
        put(tmp_path, "inside.mp4", clip())
        assert fields(ClipRenditions().source(tmp_path, "inside.mp4"))[6:9] == (48, 64, 24)


class TestOnce:
    @pytest.fixture
    def made(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The files that were written anew."""
        made: list[str] = []
        original = video_renditions.render_clip

        def slowly(content: bytes, name: str, *rest: object) -> bytes:
            made.append(Path(name).name)
            time.sleep(0.05)
            return original(content, name, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(video_renditions, "render_clip", slowly)
        return made

    def test_by_one_thread(self, tmp_path: Path, made: list[str]) -> None:
        one, two = put(tmp_path, "one.mp4", clip()), put(tmp_path, "two.mp4", clip(rate=30))
        clips, pairs = ClipRenditions(), []
        threads = [threading.Thread(target=lambda: pairs.append(clips.pair(tmp_path, one, two))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == ["one.mp4", "two.mp4"]
        assert len(set(pairs)) == 1
        assert clips._making == {}

    def test_for_good(self, tmp_path: Path, made: list[str]) -> None:
        one, two = put(tmp_path, "one.mp4", clip()), put(tmp_path, "two.mp4", clip(rate=30))
        first = ClipRenditions().pair(tmp_path, one, two)
        assert ClipRenditions().pair(tmp_path, two, one) == first[::-1]  # another process
        assert len(made) == 2
        kept = sorted((tmp_path / "cache" / "renditions").iterdir())
        assert len(kept) == 2
        kept[0].write_bytes(kept[0].read_bytes()[:-1])  # not whole: made anew
        assert ClipRenditions().pair(tmp_path, one, two) == first
        assert len(made) == 3

    def test_a_folder_that_cannot_be_written(
        self, tmp_path: Path, made: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "cache").write_text("in the way")
        pair = rendered(tmp_path, clip())
        assert pair.a == pair.b
        assert "made anew each time" in caplog.text


class TestParts:
    CONTENT = bytes(range(200))

    def ask(self, asked: str | None, method: str = "GET", **more: str) -> tuple[int, dict[str, str], bytes]:
        headers = ({"range": asked} if asked is not None else {}) | {k.replace("_", "-"): v for k, v in more.items()}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        answer = send_part(Request({"type": "http", "method": method, "headers": raw}), self.CONTENT, media.MP4)
        return answer.status_code, dict(answer.headers), bytes(answer.body)

    @pytest.mark.parametrize(
        ("asked", "first", "last"),
        [("bytes=0-0", 0, 0), ("bytes=0-", 0, 199), ("bytes=10-19", 10, 19), ("bytes=190-900", 190, 199),
         ("bytes=-5", 195, 199), ("bytes=-900", 0, 199), ("bytes=199-", 199, 199)],
    )  # fmt: skip
    def test_part(self, asked: str, first: int, last: int) -> None:
        status, headers, body = self.ask(asked)
        assert (status, body) == (206, self.CONTENT[first : last + 1])
        assert headers["content-range"] == f"bytes {first}-{last}/200"
        assert headers["content-length"] == str(len(body))
        assert headers["cache-control"] == "private, no-store"
        assert headers["content-type"] == "video/mp4"

    @pytest.mark.parametrize("asked", ["bytes=200-", "bytes=900-901", "bytes=-0"])
    def test_no_such_part(self, asked: str) -> None:
        status, headers, body = self.ask(asked)
        assert (status, headers["content-range"], body) == (416, "bytes */200", b"")

    @pytest.mark.parametrize(
        "asked",
        [None, "bytes=-", "bytes=5-4", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "bytes=" + "9" * 40 + "-"],
    )
    def test_all_of_it(self, asked: str | None) -> None:
        status, headers, body = self.ask(asked)
        assert (status, body, headers["accept-ranges"]) == (200, self.CONTENT, "bytes")
        assert "content-range" not in headers

    def test_conditions_and_other_methods(self) -> None:
        assert self.ask("bytes=0-1", if_range='"x"')[0] == 200  # nothing has a validator, so no condition holds
        assert self.ask("bytes=0-1", "HEAD")[0] == 200
