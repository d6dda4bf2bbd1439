"""Clips from files to a report: real encoders, times from the file, the cache, clips that cannot be read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from made_clips import write_clip
from photographs import flickering, pan
from PIL import Image

from paragone.data.errors import InputError, UnreadableVideo, UsageError
from paragone.data.records import MetricResult
from paragone.metrics import watching
from paragone.metrics.item_measures import ItemReport
from paragone.metrics.watching import check_clips

LOSSLESS = {"crf": "0", "preset": "veryfast"}
LIGHT = ("frozen_frames", "looped", "scene_cuts", "brightness_flicker")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("clips")
    for name, frames in {"pan": pan(5, 5), "flicker": flickering(5, 0.05), "frozen": pan(5, 0)}.items():
        write_clip(home / f"{name}.mp4", frames=list(frames), options={"crf": "18"})
    return home


def by_name(report: ItemReport) -> dict[str, MetricResult]:
    return {result.metric: result for result in report.results}


def test_encoded_clips_keep_their_order(folder: Path) -> None:
    report, frames = check_clips(folder).report()
    found = {row["name"]: row for row in report.items}
    assert found["pan.mp4"]["warp_error"] < 0.2 * found["flicker.mp4"]["warp_error"]
    assert found["pan.mp4"]["motion"] == pytest.approx(5 * 24 / 200, rel=0.05)
    assert found["frozen.mp4"]["warp_error"] is None
    assert found["frozen.mp4"]["motion"] < 0.01
    assert found["frozen.mp4"]["frozen_frames"] == 1
    results = by_name(report)
    assert "subject_drift" not in results
    assert results["warp_error"].n_generated == 2
    assert results["motion"].n_generated == 3
    assert results["motion"].signature == "motion|frames:all|flow:ilk-192|n:3|v:0.1.0"
    assert frames["pan.mp4"].times_s == pytest.approx(np.arange(5) / 24)
    assert len(frames["pan.mp4"].series["motion"]) == 4


def test_times_are_those_of_the_file(tmp_path: Path) -> None:
    """The same motion a second, shown at a varying rate: 5 px are 1/24 s, and 10 px are 2/24 s."""
    frames = [pan(9, 5)[at] for at in (0, 1, 3, 4, 6, 8)]
    write_clip(tmp_path / "vfr.mkv", frames=frames, times_ms=[0, 42, 125, 167, 250, 333], options=LOSSLESS)
    report, kept = check_clips(tmp_path, metrics=["motion"]).report()
    assert report.results[0].value == pytest.approx(5 * 24 / 200, rel=0.05)
    assert kept["vfr.mkv"].times_s == pytest.approx([0, 0.042, 0.125, 0.167, 0.25, 0.333])


def test_what_is_cached_is_not_watched_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = check_clips(folder, metrics=LIGHT, cache=tmp_path).report()
    assert len(list((tmp_path / "clips").iterdir())) == 3

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("watched again")

    monkeypatch.setattr(watching, "clip_series", refuse)
    again, _ = check_clips(folder, metrics=LIGHT, cache=tmp_path).report()
    assert again == first
    with pytest.raises(AssertionError):  # flow was not wanted then
        check_clips(folder, metrics=["motion"], cache=tmp_path).report()
    monkeypatch.undo()
    for path in (tmp_path / "clips").iterdir():
        path.write_text("{")
    assert check_clips(folder, metrics=LIGHT, cache=tmp_path).report()[0] == first


def test_a_changed_clip_misses_the_cache(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in" / "a.mp4", frames=list(pan(4, 0)))
    [still] = check_clips(tmp_path / "in", metrics=["frozen_frames"], cache=tmp_path).report()[0].results
    write_clip(clip, frames=list(pan(4, 6)))
    [moving] = check_clips(tmp_path / "in", metrics=["frozen_frames"], cache=tmp_path).report()[0].results
    assert (still.value, moving.value) == (1, 0)


def test_drift_is_in_any_extractor(folder: Path) -> None:
    report, _ = check_clips(folder, metrics=["subject_drift"], features="gist", device="cpu").report()
    [drift] = report.results
    found = {row["name"]: row["subject_drift"] for row in report.items}
    assert found["frozen.mp4"] is None
    assert found["pan.mp4"] > found["flicker.mp4"] > 0
    assert drift.extractor == "gist-1"
    assert drift.signature.startswith("subject_drift|frames:all|ext:gist-1|protocol:paragone|resize:clean-64")


def test_frames_without_times_need_a_rate(tmp_path: Path) -> None:
    for number, frame in enumerate(pan(4, 5)):
        (tmp_path / "clips" / "a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(tmp_path / "clips" / "a" / f"{number}.png")
    with pytest.raises(InputError, match=r"a: does not say when its frames are shown; .*--frame-rate"):
        check_clips(tmp_path / "clips", metrics=["motion"]).report()
    report, _ = check_clips(tmp_path / "clips", metrics=["motion"], frame_rate=Fraction(12)).report()
    assert report.results[0].value == pytest.approx(5 * 12 / 200, rel=0.05)


def test_damaged_clips_stop_or_are_left_out_by_name(folder: Path, tmp_path: Path) -> None:
    for name in ("pan.mp4", "flicker.mp4"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    whole = (tmp_path / "pan.mp4").read_bytes()
    (tmp_path / "pan.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableVideo, match=r"pan\.mp4"):
        check_clips(tmp_path, metrics=LIGHT).report()
    report, _ = check_clips(tmp_path, metrics=LIGHT, on_error="skip").report()
    assert [row["name"] for row in report.items] == ["flicker.mp4"]
    assert any("left out" in line and "pan.mp4" in line for line in report.warnings)
    (tmp_path / "flicker.mp4").unlink()
    with pytest.raises(InputError, match="none of its 1 clips could be read"):
        check_clips(tmp_path, metrics=LIGHT, on_error="skip").report()


def test_a_clip_of_one_frame_is_named(tmp_path: Path) -> None:
    write_clip(tmp_path / "one.mp4", frames=list(pan(1, 0)))
    with pytest.raises(InputError, match=r"one\.mp4: 1 frame; measures of clips need at least 2"):
        check_clips(tmp_path, metrics=LIGHT).report()


def test_unknown_names_are_refused_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no measure of clips is called 'fd'"):
        check_clips(tmp_path / "nowhere", metrics=["fd"]).report()
