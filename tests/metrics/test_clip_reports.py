"""From folders of clips to a report: names, signatures, controls of time, counts, and what is refused."""

from __future__ import annotations

import dataclasses
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import write_clip
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from paragone.data.clip_sampling import ClipRule
from paragone.data.errors import InputError, MissingWeights, NotComparable, TooFewSamples, UnreadableVideo, UsageError
from paragone.data.videos import read_videos
from paragone.metrics import ALL_METRICS, FeatureStatistics, Side, compute_metrics, frechet_distance, metric_named
from paragone.metrics.clip_controls import CONTROL_CLIPS
from paragone.metrics.extractors.module import Preprocessing, from_module
from paragone.metrics.features import ExtractionOptions, extract_statistics, open_extractor
from paragone.metrics.inputs import ClipReading
from paragone.metrics.settings import checked, with_settings

N, T = 12, 6
OWN = "own_clip_networks"


class Moving(nn.Module):
    """Mean brightness of each colour, and how much it changes from frame to frame: 6 features."""

    def forward(self, clips: Tensor) -> Tensor:
        means = clips.mean(dim=(3, 4))
        return torch.cat([means.mean(2), means.diff(dim=2).abs().mean(2)], dim=1)


class Blind(nn.Module):
    """The average frame at 2 × 2: 12 features that do not see time."""

    def forward(self, clips: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(clips.mean(dim=2), 4).flatten(1)


moving = from_module(Moving, name="moving", preprocessing=Preprocessing(8, resize="bilinear", frames=T))
blind = from_module(Blind, name="blind", preprocessing=Preprocessing(8, resize="bilinear", frames=T))


@pytest.fixture(autouse=True)
def own_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, OWN, sys.modules[__name__])


def clips(seed: int, n: int = N, flicker: float = 20.0) -> NDArray[np.uint8]:
    """[n, T + 2, 16, 16, 3]: flat colours that change with time."""
    rng = np.random.default_rng(seed)
    levels = rng.uniform(60, 190, (n, 1, 1, 1, 3)) + rng.normal(0, flicker, (n, T + 2, 1, 1, 3))
    return np.broadcast_to(levels, (n, T + 2, 16, 16, 3)).clip(0, 255).astype(np.uint8)


def side(features: NDArray[np.float64]) -> Side:
    return Side(FeatureStatistics.from_features(features), features)


RULE = ClipReading(rule=ClipRule(T))
REFERENCE, GENERATED = clips(0), clips(1)


def report(*given: object, network: str = "moving", **options: object):
    options.setdefault("clips", RULE)
    options.setdefault("metrics", ["fvd"])
    return compute_metrics(*given, features=f"{OWN}:{network}", device="cpu", **options)


def test_results_bear_the_names_of_clips_and_say_what_was_looked_at() -> None:
    found = report(GENERATED, REFERENCE, metrics=None)
    names = ["fvd", "fvd_infinity", "kvd", "jedi", "precision", "recall", "density", "coverage"]
    assert [result.metric for result in found.results] == names
    fvd = found.results[0]
    assert fvd.protocol == f"paragone/{T}-first"
    assert f"|protocol:paragone/{T}-first|resize:bilinear-8|n:{N}|ref:" in fvd.signature
    assert fvd.standard_error is not None
    assert fvd.details["decoder"].startswith("PyAV ")
    one, other = (
        Moving()(torch.from_numpy(array[:, :T] / 255).permute(0, 4, 1, 2, 3)).numpy()
        for array in (REFERENCE, GENERATED)
    )
    assert fvd.value == pytest.approx(frechet_distance(one, other), rel=1e-4)


def test_the_controls_are_of_the_reference_from_itself() -> None:
    controls = report(GENERATED, REFERENCE).results[0].details["controls"]
    first = np.repeat(REFERENCE[:, :1], T, axis=1)
    expected = report(first, REFERENCE[:, :T]).results[0].value
    assert controls["frozen"] == pytest.approx(expected, rel=1e-6)
    assert controls["shuffled"] > 0
    assert controls["n"] == N


def test_features_that_do_not_see_time_are_told_of() -> None:
    seeing, not_seeing = (report(GENERATED, REFERENCE, network=name) for name in ("moving", "blind"))
    assert seeing.results[0].details["controls"]["shuffled"] > 0.1 * seeing.results[0].value or seeing.warnings
    found = not_seeing.results[0].details["controls"]
    assert found["shuffled"] == pytest.approx(0, abs=1e-9)
    assert any("the shuffled reference is at" in line and "motion is little" in line for line in not_seeing.warnings)


def test_many_clips_are_controlled_by_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paragone.metrics.clip_controls.CONTROL_CLIPS", 5)
    assert report(GENERATED, REFERENCE).results[0].details["controls"]["n"] == 5
    assert CONTROL_CLIPS == 256


def test_a_reference_of_statistics_has_no_controls_and_must_be_of_the_same_rule() -> None:
    def statistics(rule: ClipRule):
        extractor = open_extractor(f"{OWN}:moving", rule=rule)
        return extract_statistics(read_videos(REFERENCE, rule=rule), extractor, ExtractionOptions("cpu"), task="")

    found = report(GENERATED, statistics(ClipRule(T)))
    assert found.results[0].value == pytest.approx(report(GENERATED, REFERENCE).results[0].value, rel=1e-9)
    assert "controls" not in found.results[0].details
    assert any("is statistics: no controls" in line for line in found.warnings)
    with pytest.raises(NotComparable, match=f"its protocol is paragone/{T}-endpoints, that of the"):
        report(GENERATED, statistics(ClipRule(T, "endpoints")))


def test_clips_under_different_rules_and_beside_pictures_are_refused() -> None:
    one, other = read_videos(GENERATED, rule=ClipRule(T)), read_videos(REFERENCE, rule=ClipRule(T, "endpoints"))
    other.origin = "another array"
    with pytest.raises(NotComparable, match=f"by {T}-endpoints"):
        report(one, other)
    with pytest.raises(UsageError, match=r"is clips, and .* pictures; folders of frames are read as clips with --kind"):
        report(GENERATED, np.zeros((4, 8, 8, 3), np.uint8))
    for metric in ("psnr", "colourfulness", "duplicates"):
        with pytest.raises(UsageError, match=f"{metric}: is of pictures, and array is clips"):
            report(GENERATED, REFERENCE, metrics=[metric])


def test_fewer_clips_than_asked_are_an_error_and_never_a_recount(tmp_path: Path) -> None:
    asked = dataclasses.replace(RULE, count=8)
    assert report(GENERATED, REFERENCE, clips=asked).results[0].n_generated == 8
    with pytest.raises(TooFewSamples, match="array: 13 clips are asked for, and there are 12"):
        report(GENERATED, REFERENCE, clips=dataclasses.replace(RULE, count=13))
    for name, length in (("a", T), ("b", T), ("c", T), ("short", T - 1)):
        write_clip(tmp_path / f"{name}.mp4", length)
    with pytest.raises(UnreadableVideo, match=f"short.mp4: {T - 1} frames, and {T} are wanted"):
        report(tmp_path, REFERENCE)
    skipping = report(tmp_path, REFERENCE, on_error="skip")
    assert skipping.results[0].n_generated == 3
    assert any("1 of 4 clips were unreadable and left out" in line for line in skipping.warnings)
    with pytest.raises(TooFewSamples, match="4 clips are asked for, and 3 of those drawn could be read"):
        report(tmp_path, REFERENCE, on_error="skip", clips=dataclasses.replace(RULE, count=4))


def test_a_control_leaves_out_what_the_reference_leaves_out(tmp_path: Path) -> None:
    for name, length in (("a", T), ("b", T), ("short", T - 1), ("z", T)):
        write_clip(tmp_path / f"{name}.mp4", length)
    found = report(GENERATED, tmp_path, on_error="skip").results[0]
    assert found.details["controls"]["n"] == 3


def test_the_draw_depends_on_the_seed_alone() -> None:
    readings = [dataclasses.replace(RULE, count=6, seed=seed) for seed in (0, 0, 1)]
    values = [report(GENERATED, REFERENCE, clips=reading).results[0].value for reading in readings]
    assert values[0] == values[1] != values[2]


def test_features_are_cached_by_bytes_and_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, folder in enumerate(("generated", "reference")):
        for number, clip in enumerate(clips(seed, n=4)):
            write_clip(tmp_path / folder / f"{number}.mkv", codec="ffv1", frames=clip)
    calls: list[int] = []
    forward = Moving.forward
    monkeypatch.setattr(Moving, "forward", lambda self, given: calls.append(len(given)) or forward(self, given))

    def run(reading: ClipReading = RULE) -> int:
        calls.clear()
        report(tmp_path / "generated", tmp_path / "reference", clips=reading, cache=tmp_path / "cache")
        return sum(calls) - 2  # the look at two black clips

    assert run() == 4 + 4 + 2 * 4
    assert run() == 0
    assert run(dataclasses.replace(RULE, rule=ClipRule(T, "endpoints"))) == 16
    (tmp_path / "reference" / "3.mkv").rename(tmp_path / "reference" / "9.mkv")
    assert run() == 0
    write_clip(tmp_path / "reference" / "9.mkv", codec="ffv1", frames=clips(7, n=1)[0])
    assert run() == 4 + 2 * 4  # the reference's block, and its controls


def test_any_number_of_workers_gives_the_same(tmp_path: Path) -> None:
    for number, clip in enumerate(clips(0, n=5)):
        write_clip(tmp_path / f"{number}.mp4", frames=clip)
    found = [report(tmp_path, REFERENCE, workers=workers).results[0] for workers in (0, 1, 3)]
    assert len({result.value for result in found}) == 1


def test_folders_of_frames_are_clips_on_demand(tmp_path: Path) -> None:
    for side, array in (("generated", GENERATED), ("reference", REFERENCE)):
        for number, clip in enumerate(array[:5]):
            for place, frame in enumerate(clip):
                path = tmp_path / side / str(number) / f"{place}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(frame).save(path)
    sides = tmp_path / "generated", tmp_path / "reference"
    found = report(*sides, clips=dataclasses.replace(RULE, kind="clips"))
    assert found.results[0].value == pytest.approx(report(GENERATED[:5], REFERENCE[:5]).results[0].value, rel=1e-9)
    with pytest.raises(UsageError, match="takes clips, and these are pictures"):
        report(*sides)
    half = ClipReading("clips", ClipRule(T, fps=Fraction(4), short="pad-last"), frame_rate=Fraction(8))
    assert report(*sides, clips=half).results[0].protocol == f"paragone/{T}-first@4fps+pad-last"


def test_without_features_the_protocol_decides() -> None:
    found = compute_metrics(GENERATED, metrics=["vendi"], clips=RULE, device="cpu")
    assert found.results[0].extractor == "gist3d-1"
    for protocol, extractor in (("styleganv", "i3d"), ("cd-videomae", "videomae"), ("jedi", "vjepa")):
        with pytest.raises(MissingWeights, match=f"the extractor {extractor} needs"):
            compute_metrics(GENERATED, REFERENCE, protocol=protocol)


# ---- What tools do with features -------------------------------------------------------------------------------------


def test_ddof_and_eps() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(40, 3)) * (1, 2, 3), rng.normal(size=(50, 3)) + 1

    def reference_formula(ddof: int, eps: float) -> float:
        a, b = (np.cov(x, rowvar=False, ddof=ddof) + eps * np.eye(3) for x in (one, other))
        values = np.linalg.eigvals(a @ b)
        return float(np.square(one.mean(0) - other.mean(0)).sum() + np.trace(a + b) - 2 * np.sqrt(values.real).sum())

    for ddof, eps in ((1, 0.0), (0, 0.0), (1, 0.5), (0, 1e-2)):
        row = with_settings(ALL_METRICS["fd"], {"ddof": ddof, "eps": eps})
        found = row.estimate(reference=side(one), generated=side(other))
        assert found.value == pytest.approx(reference_formula(ddof, eps), rel=1e-9)
        assert found.standard_error is not None


def test_eps_makes_up_for_a_missing_rank() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(3, 6)), rng.normal(size=(4, 6))
    a, b = (np.cov(x, rowvar=False) + 0.1 * np.eye(6) for x in (one, other))
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(a + b)
    expected -= 2 * np.sqrt(np.linalg.eigvals(a @ b).real).sum()
    row = with_settings(ALL_METRICS["fd"], {"eps": "0.1"})
    assert row.estimate(reference=side(one), generated=side(other)).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("value", ["x", "-1", "nan", "inf", True, None])
def test_eps_is_a_number(value: object) -> None:
    with pytest.raises(UsageError, match=r"fd\.eps"):
        checked("fd", ALL_METRICS["fd"].settings, {"eps": value})


def test_names_of_clips_are_names_of_rows() -> None:
    assert metric_named("fvd") is ALL_METRICS["fd"]
    assert metric_named("fvd_infinity") is ALL_METRICS["fd_infinity"]
    assert metric_named("kvd") is ALL_METRICS["kid"]


def test_a_mixed_folder_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", T)
    Image.fromarray(GENERATED[0, 0]).save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"holds clips .* and still pictures"):
        report(tmp_path, REFERENCE)
