"""Clips in the order in which they deserve it: real photographs, known motion, and VBench's formula beside ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from photographs import Frames, flickering, noisy, pan, photograph
from PIL import Image

from paragone.data.clip_frames import clip_frames_file, load_clip_frames
from paragone.data.errors import InputError
from paragone.metrics.clip_metrics import (
    CLIP_METRICS,
    WatchedClip,
    clip_report,
    clip_value,
    stands_still,
    subject_drift,
)
from paragone.metrics.clip_series import ClipSeries, clip_series, series_of
from paragone.metrics.item_measures import ItemMeasure, Measured, Missing, report_items
from paragone.metrics.optical_flow import WORKING_PX, step_between, working_frame

FPS = 24


def watched(frames: Frames, fps: float = FPS, name: str = "clip") -> WatchedClip:
    return WatchedClip(name, clip_series(frames, np.arange(len(frames)) / fps, name=name))


def value(metric: str, clip: WatchedClip) -> float:
    found = clip_value(CLIP_METRICS[metric], clip)
    assert not isinstance(found, Missing), found
    return found


def vbench_temporal_flickering(frames: Frames) -> float:
    """VBench's formula (temporal_flickering.py): higher is better."""
    steps = np.abs(np.diff(frames.astype(np.float64), axis=0))
    return float((255 - steps.mean()) / 255)


@pytest.fixture(scope="module")
def clips() -> dict[str, WatchedClip]:
    made = {
        "pan": pan(6, 5),
        "flicker": flickering(6, 0.05),
        "frozen": pan(6, 0),
        "noisy": noisy(pan(6, 5), 8),
        "doubled": np.repeat(pan(4, 5), 2, axis=0),
    }
    return {name: watched(frames, name=name) for name, frames in made.items()}


# ---- Order ---------------------------------------------------------------------------------------------------------


def test_a_pan_beats_a_flicker_which_vbenchs_formula_inverts(clips: dict[str, WatchedClip]) -> None:
    assert value("warp_error", clips["pan"]) < 0.1 * value("warp_error", clips["flicker"])
    assert value("warp_error", clips["pan"]) < 0.2 * value("warp_error", clips["noisy"])
    assert vbench_temporal_flickering(pan(6, 5)) < vbench_temporal_flickering(flickering(6, 0.05))


def test_a_frozen_clip_does_not_win(clips: dict[str, WatchedClip]) -> None:
    assert vbench_temporal_flickering(pan(6, 0)) == 1  # the best there is
    frozen = clips["frozen"]
    assert stands_still(frozen.series)
    assert value("motion", frozen) == 0
    assert value("frozen_frames", frozen) == 1
    for name, row in CLIP_METRICS.items():
        if row.moving:
            assert isinstance(clip_value(row, frozen), Missing), name
    report = clip_report([CLIP_METRICS["warp_error"], CLIP_METRICS["motion"]], [clips["pan"], frozen], rule="all")
    error, motion = report.results
    assert (error.n_generated, motion.n_generated) == (1, 2)
    assert error.value == value("warp_error", clips["pan"])
    assert "stands still" in next(iter(error.details["missing"]))
    assert any("1 of 2 clips stand still, first frozen" in line for line in report.warnings)
    alone = clip_report([CLIP_METRICS["warp_error"]], [frozen], rule="all")
    assert alone.results == ()
    assert "warp_error: no value" in alone.warnings[0]


def test_noise_of_a_codec_does_not_make_a_still_clip_move() -> None:
    still = watched(noisy(pan(5, 0), 1.5))
    assert stands_still(still.series)
    assert value("motion", still) < 0.02


def test_motion_is_the_same_at_any_rate() -> None:
    found = [value("motion", watched(pan(fps // 6 + 1, 48 // fps), fps)) for fps in (12, 24, 48)]
    assert found == pytest.approx([48 / np.hypot(120, 160)] * 3, rel=0.03)
    times = np.array([0, 1, 2, 5, 6, 8]) / 24  # a varying rate: what moves by 3 px in 3/24 s moves no faster
    source = photograph()
    frames = np.stack([source[40:160, 5 + round(48 * t) : 165 + round(48 * t)] for t in times])
    assert value("motion", WatchedClip("", clip_series(frames, times))) == pytest.approx(found[1], rel=0.03)


def test_doubled_frames_jerk_four_times_as_much_as_they_move(clips: dict[str, WatchedClip]) -> None:
    doubled = clips["doubled"]
    assert value("jerk", doubled) == pytest.approx(4 * value("motion", clips["pan"]) / 2, rel=0.1)
    assert value("jerk", clips["pan"]) < 0.1 * value("jerk", doubled)
    assert value("frozen_frames", doubled) == pytest.approx(4 / 7)


@pytest.mark.parametrize("share", [0.05, 0.10])
def test_flicker_is_its_amplitude(share: float) -> None:
    frames = flickering(8, share)
    series = clip_series(frames, np.arange(8) / FPS, flow=False)
    assert np.isnan(series.warp_error).all()
    found = clip_value(CLIP_METRICS["brightness_flicker"], WatchedClip("", series))
    assert found == pytest.approx(share / 2 / (1 + share / 2), rel=0.05)


def test_slow_light_and_motion_are_no_flicker() -> None:
    still = pan(1, 0)[0].astype(np.float64)
    dusk = np.stack([np.rint(still * (0.9 - 0.02 * t)).astype(np.uint8) for t in range(24)])
    series = clip_series(dusk, np.arange(24) / FPS, flow=False)
    assert clip_value(CLIP_METRICS["brightness_flicker"], WatchedClip("", series)) < 0.003  # type: ignore[operator]
    slow = clip_series(pan(3, 2), np.arange(3) / 3.0, flow=False)
    assert clip_value(CLIP_METRICS["brightness_flicker"], WatchedClip("", slow)) == Missing(
        "too few frames a second for changes faster than 2 Hz"
    )
    black = clip_series(np.zeros((4, 32, 32, 3), np.uint8), np.arange(4) / FPS)
    assert clip_value(CLIP_METRICS["brightness_flicker"], WatchedClip("", black)) == Missing("black")


# ---- Cuts, loops, odd clips ----------------------------------------------------------------------------------------


def test_a_cut_is_found_and_left_out() -> None:
    whole = watched(np.concatenate([pan(4, 3), pan(4, 3, name="flower.jpg")]))
    assert np.flatnonzero(whole.series.cuts).tolist() == [3]
    assert np.isnan(whole.series.warp_error[3])
    assert np.isnan(whole.series.jerk[2:5]).all()
    parts = [watched(pan(4, 3)), watched(pan(4, 3, name="flower.jpg"))]
    means = [value("warp_error", part) for part in parts]
    assert value("warp_error", whole) == pytest.approx(np.mean(means))
    assert value("scene_cuts", whole) == 1


def test_flashes_and_fast_motion_are_no_cuts() -> None:
    flash = flickering(8, 0.0)
    flash[4] = np.clip(flash[4] * 1.6, 0, 255)
    assert not clip_series(flash, np.arange(8) / FPS, flow=False).cuts.any()
    assert not clip_series(pan(8, 20), np.arange(8) / FPS, flow=False).cuts.any()


def test_a_loop_is_found_in_what_goes_elsewhere_in_between() -> None:
    def loop(frames: Frames) -> float | None:
        return clip_series(frames, np.arange(len(frames)) / FPS, flow=False).loop_s

    assert loop(np.concatenate([pan(8, 6)] * 2)) == pytest.approx(8 / FPS)
    assert loop(np.concatenate([pan(5, 6)] * 3)) == pytest.approx(5 / FPS)
    assert loop(flickering(12, 0.10)) is None
    assert loop(pan(12, 1)) is None
    assert loop(pan(12, 0)) is None
    assert loop(np.concatenate([pan(8, 6), pan(8, 6)[::-1]])) is None


def test_two_frames_are_a_clip_and_one_is_none() -> None:
    two = watched(pan(2, 4))
    assert value("motion", two) == pytest.approx(4 * FPS / np.hypot(120, 160), rel=0.05)
    assert isinstance(clip_value(CLIP_METRICS["jerk"], two), Missing)
    assert value("motion", watched(pan(2, 0))) == 0  # VBench calls every two frames dynamic
    with pytest.raises(InputError, match=r"short\.mp4: 1 frame; measures of clips need at least 2"):
        clip_series(pan(1, 0), [0.0], name="short.mp4")
    with pytest.raises(InputError, match="3 frames but times of shape"):
        clip_series(pan(3, 1), [0.0, 0.1])
    with pytest.raises(InputError, match="frame 3 is not later"):
        clip_series(pan(3, 1), [0.0, 0.1, 0.1])


def test_nothing_can_be_followed_in_flat_frames() -> None:
    grey = np.stack([np.full((40, 60, 3), 90 + 20 * t, np.uint8) for t in range(4)])
    clip = watched(grey)
    assert clip_value(CLIP_METRICS["motion"], clip) == Missing("nothing that can be followed")
    assert value("warp_error", clip) == pytest.approx((20 / 255) ** 2, rel=0.01)


def test_large_frames_are_reduced_and_small_ones_left() -> None:
    assert working_frame(np.zeros((1080, 1920, 3), np.uint8)).shape == (108, WORKING_PX, 3)
    assert working_frame(np.zeros((50, 64, 3), np.uint8)).shape == (50, 64, 3)
    assert working_frame(np.zeros((1, 4000, 3), np.uint8)).shape == (1, WORKING_PX, 3)


def test_what_comes_into_view_is_not_visible() -> None:
    a, b = (working_frame(frame).astype(np.float32) for frame in pan(2, 8))
    step = step_between(a, b)
    assert step.visible[:, -8:].mean() < 0.1  # what the pan uncovers has no place in the frame before
    assert step.visible[:, :-12].mean() > 0.7


# ---- Reports -------------------------------------------------------------------------------------------------------


def test_every_clip_counts_once_however_long() -> None:
    """VBench's subject consistency on one GPU weighs frames: 17 frames of 0.99 and 129 of 0.80 become 0.8211."""
    values = [0.99] * 16 + [0.80] * 128
    assert np.mean(values) == pytest.approx(0.8211, abs=1e-4)
    report = report_items([Measured(ItemMeasure("x", "x", True), [0.99, 0.80])], ["short", "long"], what="clips")
    [result] = report.results
    assert result.value == pytest.approx(0.895)
    assert result.standard_error == pytest.approx(np.std([0.99, 0.80], ddof=1) / np.sqrt(2))


def test_drift_is_one_minus_vbenchs_subject_consistency() -> None:
    features = np.random.default_rng(0).normal(size=(9, 12)) + 1.0

    def cosine(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return max(0.0, float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)))

    similar = [
        (cosine(features[0], features[t]) + cosine(features[t - 1], features[t])) / 2 for t in range(1, len(features))
    ]
    assert subject_drift(features) == pytest.approx(1 - np.mean(similar))
    assert subject_drift(np.ones((4, 3))) == pytest.approx(0)


def test_a_set_without_loops_may_still_have_some() -> None:
    report = clip_report(
        [CLIP_METRICS["looped"]],
        [WatchedClip(str(i), clip_series(pan(4, 3), np.arange(4) / FPS, flow=False)) for i in range(3)],
        rule="all",
    )
    [result] = report.results
    assert result.value == 0
    assert result.standard_error is not None
    assert result.standard_error > 0  # Wilson's
    assert result.ci_high is not None
    assert result.ci_high > 0.3


def test_series_come_back_from_their_file(tmp_path: Path, clips: dict[str, WatchedClip]) -> None:
    series = clips["doubled"].series
    path = clip_frames_file(tmp_path, "ab" * 32)
    series.to_frames().save(path)
    kept = load_clip_frames(path)
    assert kept is not None
    again = series_of(kept)
    for name in ClipSeries.__slots__:
        assert np.array_equal(getattr(again, name), getattr(series, name), equal_nan=name not in ("loop_s",))  # type: ignore[arg-type]
    assert load_clip_frames(tmp_path / "none.json") is None
    path.write_text('{"schema": "paragone.clip-frames/1", "times_s": [0, 1], "series": {"x": [1, 2, 3]}, "marks": {}}')
    with pytest.raises(InputError, match="3 values of 2 frames"):
        load_clip_frames(path)


def test_brightness_is_mean_luminance() -> None:
    frames = np.zeros((2, 20, 30, 3), np.uint8)
    frames[..., 0], frames[1, ..., 1] = 255, 51
    found = clip_series(frames, [0, 1], flow=False).brightness
    assert found == pytest.approx([0.299, 0.299 + 0.2 * 0.587], abs=1e-3)
    assert Image.fromarray(frames[0]).convert("L").getpixel((0, 0)) == pytest.approx(0.299 * 255, abs=1)
