"""Reading clips: the frames that were asked for, at their times, in their colours, or an error that names the file."""

from __future__ import annotations

import io
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made_clips import CODECS, burned, numbers, turned, write_clip
from numpy.typing import NDArray
from PIL import Image

from paragone.data import ClipRule, ClipTooShort, InputError, UnreadableVideo, UsageError, VideoSource, read_videos
from paragone.data.clip_containers import kind_of
from paragone.data.clip_decoding import decode_video
from paragone.data.clip_sampling import WAYS, FrameTimes, evenly, parse_rate
from paragone.data.images import read_images

ALL = ClipRule(None, "all")


def only(path: Path, rule: ClipRule = ALL) -> tuple[NDArray[np.uint8], NDArray[np.float64] | None]:
    [clip] = read_videos(path, rule=rule)
    return clip.frames, clip.times_s


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec, options = CODECS["h264.mp4"]
    return write_clip(tmp_path_factory.mktemp("mp4") / "h264.mp4", codec=codec, options=options)


# ---- Which frames ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CODECS)
def test_every_frame_is_the_one_asked_for(name: str, tmp_path: Path) -> None:
    codec, options = CODECS[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    path = write_clip(tmp_path / name, codec=codec, options=options)
    whole, times = only(path)
    assert numbers(whole) == list(range(60))
    assert times == pytest.approx(np.arange(60) / 24, abs=6e-4)  # Matroska counts milliseconds
    for seed in range(6):  # from a key frame in the middle of the file, with the same pixels
        part, part_times = only(path, ClipRule(5, "random", stride=2, seed=seed))
        chosen = numbers(part)
        assert np.diff(chosen).tolist() == [2] * 4
        np.testing.assert_array_equal(part, whole[chosen])
        np.testing.assert_array_equal(part_times, times[chosen])


def test_decoding_begins_at_a_key_frame_and_ends_with_the_last_chosen(mp4: Path, monkeypatch) -> None:
    decoded = []
    original = decode_video.__globals__["_frames"]

    def counting(*given: object) -> object:
        for frame in original(*given):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setitem(decode_video.__globals__, "_frames", counting)
    rule = next(
        rule for seed in range(999) if (rule := ClipRule(2, "random", seed=seed)).choose(evenly(60, None), "")[0] == 50
    )
    assert numbers(decode_video(mp4, "x", rule).pixels) == [50, 51]
    assert len(decoded) == 4  # 48, a key frame, to 51


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ("endpoints", [0, 14, 27, 41, 55, 69, 82, 96]),
        ("truncated", [0, 13, 27, 41, 54, 68, 82, 96]),
        ("bin-middle", [5, 17, 29, 41, 53, 65, 77, 90]),
        ("left", [0, 12, 24, 36, 48, 60, 72, 84]),
        ("centre", [6, 18, 30, 42, 54, 66, 78, 90]),
        ("first", [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_the_table_of_ways(sampling: str, expected: list[int]) -> None:
    assert ClipRule(8, sampling).choose(evenly(97, None), "x").tolist() == expected


@pytest.mark.parametrize("sampling", WAYS)
@pytest.mark.parametrize("n", [1, 2, 7, 16, 97])
def test_spread_frames_are_in_order_and_within(sampling: str, n: int) -> None:
    chosen = ClipRule(n, sampling).choose(evenly(n, None), "x")
    assert chosen.tolist() == list(range(n))
    few = ClipRule(1, sampling).choose(evenly(n, None), "x")
    assert 0 <= few[0] < n


def test_strides_and_all() -> None:
    times = evenly(20, None)
    assert ClipRule(4, "first", stride=5).choose(times, "x").tolist() == [0, 5, 10, 15]
    assert ClipRule(None, "all", stride=8).choose(times, "x").tolist() == [0, 8, 16]


def test_a_random_place_depends_on_seed_and_bytes_alone() -> None:
    rule = ClipRule(4, "random", stride=2, seed=1)
    starts = [int(rule.choose(evenly(30, None), "x", lambda n=n: bytes([n]))[0]) for n in range(200)]
    assert {start for start in starts if 0 <= start <= 23} == set(range(24))
    assert starts[0] == int(rule.choose(evenly(30, None), "another name", lambda: b"\0")[0])
    assert [int(ClipRule(4, "random", seed=s).choose(evenly(30, None), "x", lambda: b"\0")[0]) for s in (0, 1)] != [
        0,
        0,
    ]


def test_a_random_clip_is_the_same_in_any_folder_and_order(mp4: Path, tmp_path: Path) -> None:
    rule = ClipRule(3, "random", seed=5)
    (tmp_path / "a").mkdir()
    for name in ("a/z.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(mp4.read_bytes())
    found = [numbers(clip.frames) for clip in read_videos(tmp_path, rule=rule)]
    assert found == [numbers(only(mp4, rule)[0])] * 3


def test_another_rate_takes_what_is_shown_at_each_moment() -> None:
    assert ClipRule(None, "all", fps=Fraction(8)).choose(evenly(24, Fraction(24)), "x").tolist() == list(
        range(0, 24, 3)
    )
    assert ClipRule(None, "all", fps=Fraction(48)).choose(evenly(3, Fraction(24)), "x").tolist() == [0, 0, 1, 1, 2, 2]
    # 30 → 24: at 1/24 s frame 1 (1/30 s) is shown, not 2 (2/30 s), which is nearer to nothing yet shown.
    assert ClipRule(None, "all", fps=Fraction(24)).choose(evenly(10, Fraction(30)), "x").tolist() == [
        0,
        1,
        2,
        3,
        5,
        6,
        7,
        8,
    ]
    uneven = FrameTimes(np.array([0, 10, 11, 40]), Fraction(1, 100), 50)
    assert ClipRule(None, "all", fps=Fraction(10)).choose(uneven, "x").tolist() == [0, 1, 2, 2, 3]


def test_times_that_a_file_rounds_are_taken_as_rounded() -> None:
    """Frame 4 of 24 a second is at 166.67 ms, which Matroska writes as 167: it is there at 2 / 12 s."""
    rounded = FrameTimes(np.round(np.arange(240) * 1000 / 24).astype(np.int64), Fraction(1, 1000), 10000)
    for fps in (6, 8, 12, 24):
        expected = list(range(0, 240, 24 // fps))
        assert ClipRule(None, "all", fps=Fraction(fps)).choose(rounded, "x").tolist() == expected


def test_a_rate_is_exact_where_floating_point_is_not() -> None:
    ntsc = Fraction(30000, 1001)
    times = FrameTimes(np.arange(3000, dtype=np.int64) * 1001, Fraction(1, 30000), 3000 * 1001)
    assert ClipRule(None, "all", fps=ntsc).choose(times, "x").tolist() == list(range(3000))


def test_a_clip_of_uneven_speed_keeps_its_frames_and_times(tmp_path: Path) -> None:
    gaps = [33, 33, 120, 40, 500, 17] * 10
    times = np.concatenate([[0], np.cumsum(gaps)])[:60].tolist()
    path = write_clip(tmp_path / "vfr.mkv", options={"bf": "2"}, times_ms=times)
    frames, found = only(path)
    assert numbers(frames) == list(range(60))  # not 210, as a reader that fills up to a constant rate gives
    assert found == pytest.approx(np.array(times) / 1000, abs=1e-3)
    at_four, _ = only(path, ClipRule(8, "first", fps=Fraction(4)))
    expected = np.searchsorted(times, np.arange(8) * 250, side="right") - 1
    assert numbers(at_four) == expected.tolist()


def test_too_short_is_an_error_or_what_is_asked_for(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "five.mp4", 5)
    with pytest.raises(ClipTooShort, match=r"five.mp4: 5 frames, and 8 are wanted; take fewer"):
        only(path, ClipRule(8))
    with pytest.raises(ClipTooShort, match="5 frames, and 8 at a stride of 2 want 15"):
        only(path, ClipRule(8, stride=2))
    assert numbers(only(path, ClipRule(8, short="pad-last"))[0]) == [0, 1, 2, 3, 4, 4, 4, 4]
    assert numbers(only(path, ClipRule(8, short="loop"))[0]) == [0, 1, 2, 3, 4, 0, 1, 2]
    assert numbers(only(path, ClipRule(4, stride=2, short="loop"))[0]) == [0, 2, 4, 1]
    assert numbers(only(path, ClipRule(7, "endpoints", short="pad-last"))[0]) == [0, 1, 2, 3, 4, 4, 4]


def test_a_rule_says_what_it_is() -> None:
    rules = [
        ClipRule(),
        ALL,
        ClipRule(8, "random", stride=4, fps=Fraction(8), short="loop", seed=3),
        ClipRule(8, "endpoints"),
    ]
    assert [rule.name for rule in rules] == ["16-first", "all", "8-random:3/4@8fps+loop", "8-endpoints"]


@pytest.mark.parametrize(
    "options",
    [
        {"frames": 0},
        {"frames": None},
        {"frames": 4, "sampling": "all"},
        {"sampling": "middle"},
        {"sampling": "endpoints", "stride": 2},
        {"stride": 0},
        {"fps": Fraction(0)},
        {"short": "skip"},
    ],
)
def test_rules_that_mean_nothing(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        ClipRule(**options)


def test_rates_in_words() -> None:
    assert [parse_rate(text, "--fps") for text in ("24", "30000/1001", "12.5")] == [
        24,
        Fraction(30000, 1001),
        Fraction(25, 2),
    ]
    for text in ("0", "-1", "x", "1/0"):
        with pytest.raises(UsageError, match="--fps"):
            parse_rate(text, "--fps")


# ---- As it is displayed ----------------------------------------------------------------------------------------------

COLOURS = np.array(
    [(200, 40, 40), (40, 180, 60), (60, 60, 200), (128, 128, 128), (250, 240, 10), (16, 235, 128)], np.uint8
)


def bars(scale: int = 1) -> NDArray[np.uint8]:
    return np.tile(COLOURS.astype(np.uint8).repeat(16 * scale, axis=0), (64 * scale, 1, 1))


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("color_range", [1, 2])
def test_the_declared_matrix_and_range_are_honoured(codec: str, matrix: int, color_range: int, tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "clip.mkv", codec=codec, options={"crf": "1"}, frames=[bars()] * 2, pixel_format="yuv444p",
        matrix=matrix, color_range=color_range,
    )  # fmt: skip
    assert np.abs(only(path)[0][0].astype(int) - bars()).max() <= 3


@pytest.mark.parametrize(("scale", "matrix", "other"), [(1, 5, 1), (12, 1, 5)])
def test_an_undeclared_matrix_is_guessed_by_height(scale: int, matrix: int, other: int, tmp_path: Path) -> None:
    def errors(matrix: int) -> int:
        picture = av.VideoFrame.from_ndarray(bars(scale), format="rgb24")
        path = tmp_path / f"{matrix}.mkv"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=24, options={"crf": "1", "preset": "ultrafast"})
            stream.height, stream.width, stream.pix_fmt = 64 * scale, 96 * scale, "yuv444p"
            output.mux(stream.encode(picture.reformat(format="yuv444p", dst_colorspace=matrix)))
            output.mux(stream.encode())
        return int(np.abs(only(path)[0][0].astype(int) - bars(scale)).max())

    assert errors(matrix) <= 3
    assert errors(other) > 10


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_is_applied(degrees: int, tmp_path: Path) -> None:
    frames, _ = only(turned(write_clip(tmp_path / "turned.mp4", 3), degrees))
    upright = np.rot90(burned(0), -degrees // 90)  # clockwise
    assert frames[0].shape == upright.shape
    assert np.abs(frames[0].astype(int) - upright).mean() < 2


def test_pixels_that_are_not_square_are_widened(tmp_path: Path) -> None:
    assert only(write_clip(tmp_path / "wide.mp4", 2, aspect=Fraction(2)))[0].shape[1:3] == (64, 192)


def test_hdr_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hdr.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.codec_context.color_trc = 16
        output.mux(stream.encode(av.VideoFrame.from_ndarray(burned(0), format="rgb24")))
        output.mux(stream.encode())
    with pytest.raises(UnreadableVideo, match=r"hdr.mkv: an HDR clip \(PQ\)"):
        only(path)


# ---- What cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faststart", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_a_file_that_is_cut_off_is_refused(faststart: bool, share: float, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "cut.mp4", container={"movflags": "+faststart"} if faststart else None)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    for rule in (ALL, ClipRule(2)):  # also where the frames that are wanted are there
        with pytest.raises(UnreadableVideo, match=r"cut.mp4"):
            only(path, rule)


@pytest.mark.parametrize("name", ["h264-open.mkv", "vp9.webm", "mpeg4.avi", "hevc.mp4", "av1.mp4"])
def test_so_is_one_of_another_kind(name: str, tmp_path: Path) -> None:
    codec, options = CODECS[name]
    path = write_clip(tmp_path / name, codec=codec, options=options)
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    with pytest.raises(UnreadableVideo, match=name):
        only(path, ClipRule(2))


def test_damage_is_not_painted_over(mp4: Path, tmp_path: Path) -> None:
    content = mp4.read_bytes()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        at = int(rng.integers(1000, len(content) // 2))  # before it, x264 names itself
        damaged = bytearray(content)
        damaged[at : at + 300] = rng.integers(0, 256, 300, dtype=np.uint8).tobytes()  # of several frames
        (tmp_path / "damaged.mp4").write_bytes(damaged)
        with pytest.raises(UnreadableVideo, match=r"damaged.mp4"):
            only(tmp_path / "damaged.mp4")


@pytest.mark.parametrize("content", [b"", b"text" * 500, b"\0" * 4000])
def test_what_is_no_clip(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(UnreadableVideo, match=r"x.mp4"):
        only(tmp_path / "x.mp4")


def test_a_clip_without_a_frame(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "none.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=24)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        output.start_encoding()
    (tmp_path / "none.y4m").write_bytes(b"YUV4MPEG2 W96 H64 F24:1 Ip A1:1 C420jpeg\n")
    for name in ("none.mkv", "none.y4m"):
        with pytest.raises(UnreadableVideo, match=name):
            only(tmp_path / name, ClipRule(1))


def test_sound_only(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as output:
        track = output.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 48_000), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        output.mux(track.encode(frame))
        output.mux(track.encode())
    with pytest.raises(UnreadableVideo, match="no pictures in it"):
        only(tmp_path / "sound.mp4")


def test_a_trimmed_clip_is_not_a_cut_one(mp4: Path, tmp_path: Path) -> None:
    content = bytearray(mp4.read_bytes())
    entry = content.index(b"elst") + 12
    duration, start = (
        int.from_bytes(content[entry : entry + 4], "big"),
        int.from_bytes(content[entry + 4 : entry + 8], "big"),
    )
    assert duration == 2500  # ms
    content[entry : entry + 8] = (1000).to_bytes(4, "big") + (start + 8 * 512).to_bytes(
        4, "big"
    )  # one second from frame 8 on
    (tmp_path / "trimmed.mp4").write_bytes(content)
    assert numbers(only(tmp_path / "trimmed.mp4")[0]) == list(range(8, 32))


def test_a_playlist_reads_no_other_file(mp4: Path, tmp_path: Path) -> None:
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {mp4}\n")
    (tmp_path / "stream.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/{mp4.name}\n#EXT-X-ENDLIST\n")
    for name in ("list.mp4", "stream.mp4"):
        with pytest.raises(UnreadableVideo, match=name):
            only(tmp_path / name)


def test_left_out_clips_are_named(mp4: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(mp4.read_bytes())
    (tmp_path / "b.mp4").write_bytes(mp4.read_bytes()[:900])
    write_clip(tmp_path / "c.mp4", 4)
    source = read_videos(tmp_path, rule=ClipRule(16), on_error="skip")
    assert [clip.name for clip in source] == ["a.mp4"]
    assert source.skipped == ("b.mp4", "c.mp4")
    assert "2 of 3 clips were unreadable and left out" in source.warnings[0]
    with pytest.raises(UnreadableVideo, match=r"b.mp4: .* \(or leave such files out with --on-error skip\)"):
        list(read_videos(tmp_path, rule=ClipRule(16)))


# ---- Where clips lie -------------------------------------------------------------------------------------------------


def write_animation(path: Path, n: int = 6, durations: int | list[int] = 100) -> Path:
    pictures = [Image.fromarray(burned(number)) for number in range(n)]
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"lossless": True} if path.suffix == ".webp" else {}
    kind = {".gif": "GIF", ".webp": "WEBP"}.get(path.suffix, "PNG")
    pictures[0].save(path, kind, save_all=True, append_images=pictures[1:], duration=durations, **options)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.apng"])
def test_animations(name: str, tmp_path: Path) -> None:
    frames, times = only(write_animation(tmp_path / name, 6, [100, 200, 50, 100, 100, 100]))
    assert numbers(frames) == list(range(6))
    assert times == pytest.approx([0, 0.1, 0.3, 0.35, 0.45, 0.55])
    assert numbers(only(tmp_path / name, ClipRule(4, fps=Fraction(10)))[0]) == [0, 1, 1, 2]


def test_folders_of_frames_in_natural_order(tmp_path: Path) -> None:
    for clip in ("b10", "b2"):
        (tmp_path / clip).mkdir()
        for number in range(12):
            Image.fromarray(burned(number)).save(tmp_path / clip / f"f{number}.png")
    source = read_videos(tmp_path, rule=ClipRule(11))
    assert source.names == ("b2", "b10")
    for clip in source:
        assert numbers(clip.frames) == list(range(11))
        assert clip.times_s is None
    [first, _] = read_videos(tmp_path, rule=ClipRule(3, fps=Fraction(4)), frame_rate=Fraction(12))
    assert numbers(first.frames) == [0, 3, 6]
    assert first.times_s is not None
    assert first.times_s.tolist() == [0, 0.25, 0.5]
    with pytest.raises(InputError, match="have no times to take 4 fps by; state their rate with --frame-rate"):
        list(read_videos(tmp_path, rule=ClipRule(3, fps=Fraction(4))))


def test_arrays_and_archives(mp4: Path, tmp_path: Path) -> None:
    clips = np.stack([[burned(number + clip) for number in range(5)] for clip in range(3)])
    np.save(tmp_path / "clips.npy", clips)
    for source in (clips, tmp_path / "clips.npy"):
        assert [numbers(clip.frames) for clip in read_videos(source, rule=ClipRule(2))] == [[0, 1], [1, 2], [2, 3]]
    (tmp_path / "single").mkdir()
    np.save(tmp_path / "single" / "one.npy", clips[1])
    assert numbers(only(tmp_path / "single")[0]) == [1, 2, 3, 4, 5]
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as archive:
        archive.writestr("deep/a.mp4", mp4.read_bytes())
        archive.writestr("readme.txt", "x")
    np.testing.assert_array_equal(only(tmp_path / "clips.zip")[0], only(mp4)[0])
    (tmp_path / "list.txt").write_text(f"{mp4}\n\n{mp4}\n")
    assert len(list(read_videos(tmp_path / "list.txt"))) == 2


def test_videos_beside_stills_are_refused(mp4: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(mp4.read_bytes())
    Image.fromarray(burned(0)).save(tmp_path / "thumbnail.png")
    for opened in (read_videos, kind_of):
        with pytest.raises(
            InputError, match=r"holds clips \(1, such as a.mp4\) and still pictures \(1, such as thumbnail.png\)"
        ):
            opened(tmp_path)


def test_what_a_set_is_of(mp4: Path, tmp_path: Path) -> None:
    for name in ("videos/a.mp4", "both/a.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(mp4.read_bytes())
    write_animation(tmp_path / "both" / "b.gif")
    write_animation(tmp_path / "moving" / "b.gif")
    write_animation(tmp_path / "moving" / "b.webp")
    write_animation(tmp_path / "some" / "b.gif")
    Image.fromarray(burned(0)).save(tmp_path / "some" / "c.gif")
    np.save(tmp_path / "clips.npy", np.zeros((2, 3, 4, 5, 3), np.uint8))
    np.save(tmp_path / "pictures.npy", np.zeros((2, 4, 5, 3), np.uint8))
    (tmp_path / "list.txt").write_text("videos/a.mp4\n")
    clips = ["videos", "both", "moving", "clips.npy", "list.txt", "videos/a.mp4"]
    assert [kind_of(tmp_path / name) for name in clips] == ["clips"] * len(clips)
    assert [kind_of(tmp_path / name) for name in ("some", "pictures.npy", "nothing")] == ["pictures"] * 3
    assert len(read_videos(tmp_path / "both")) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no clips there"):
        read_videos(tmp_path / "empty")


def test_the_digest_is_of_bytes_and_rule(mp4: Path, tmp_path: Path) -> None:
    (tmp_path / "renamed.mp4").write_bytes(mp4.read_bytes())
    one, other = read_videos(mp4), read_videos(tmp_path / "renamed.mp4")
    assert one.digest() == other.digest()
    assert one.digest() != read_videos(mp4, rule=ClipRule(8)).digest()
    (tmp_path / "renamed.mp4").write_bytes(mp4.read_bytes() + b"\0")
    assert one.digest() != other.digest()


def test_parts_and_shards_keep_the_rule(tmp_path: Path) -> None:
    clips = np.stack([[burned(number + 9 * clip) for number in range(5)] for clip in range(4)])
    source = read_videos(clips, rule=ClipRule(2, "endpoints"))
    assert [numbers(clip.frames) for clip in source.shard(2, 2)] == [[9, 13], [27, 31]]
    assert isinstance(source.part([0]), VideoSource)
    with pytest.raises(UsageError, match="opened as pictures"):
        read_videos(read_images(np.zeros((2, 4, 5, 3), np.uint8)))


def test_see_through_frames_are_put_on_white(tmp_path: Path) -> None:
    frame = np.zeros((8, 8, 4), np.uint8)
    frame[:, 4:] = (10, 20, 30, 255)
    buffer = io.BytesIO()
    pictures = [Image.fromarray(frame), Image.fromarray(np.roll(frame, 1, axis=0) | np.uint8(1))]
    pictures[0].save(buffer, "WEBP", save_all=True, append_images=pictures[1:], duration=100, lossless=True)
    (tmp_path / "a.webp").write_bytes(buffer.getvalue())
    assert only(tmp_path / "a.webp")[0][0, 0, 0].tolist() == [255, 255, 255]
    with av.open(str(tmp_path / "b.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=24)
        stream.height, stream.width, stream.pix_fmt = 8, 8, "yuva444p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgba").reformat(format="yuva444p")))
        output.mux(stream.encode())
    found = only(tmp_path / "b.mkv", ClipRule(1))[0][0]
    assert found[0, 0].tolist() == [255, 255, 255]
    assert np.abs(found[0, 6].astype(int) - (10, 20, 30)).max() <= 2
