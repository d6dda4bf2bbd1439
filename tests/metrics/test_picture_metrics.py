"""Metrics of pixels through `compute_metrics`: pairs by name, means of sets, near duplicates, refusals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from paragone.data.decoding import Decoded
from paragone.data.errors import InputError, UnreadableImage, UsageError
from paragone.data.images import ImageSource, Unreadable, read_images
from paragone.metrics import FeatureStatistics, compute_metrics
from paragone.metrics.picture_metrics import PICTURE_METRICS
from paragone.metrics.pixels import colourfulness, ms_ssim, psnr, sharpness, ssim

SIZE = 192
PICTURES = [
    np.asarray(picture)[start : start + SIZE, start : start + SIZE]
    for picture in (data.chelsea(), data.astronaut(), data.coffee())
    for start in (0, 100)
]


def damaged(picture: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, 4 + seed, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


DAMAGED = [damaged(picture, seed) for seed, picture in enumerate(PICTURES)]


def write(folder: Path, pictures: list[NDArray[np.uint8]], suffix: str = "png") -> Path:
    folder.mkdir()
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{index}.{suffix}")
    return folder


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "generated", DAMAGED), write(tmp_path / "reference", PICTURES)


def test_pairs_are_measured_by_name_with_their_standard_error(sets: tuple[Path, Path]) -> None:
    report = compute_metrics(*sets, metrics=["ssim", "psnr", "ms_ssim"])
    for result, measure in zip(report.results, (ssim, psnr, ms_ssim), strict=True):
        expected = [measure(one, two) for one, two in zip(DAMAGED, PICTURES, strict=True)]
        assert result.value == pytest.approx(np.mean(expected), rel=1e-12)
        assert result.standard_error == pytest.approx(np.std(expected, ddof=1) / np.sqrt(6), rel=1e-12)
        assert (result.n_generated, result.n_reference, result.extractor) == (6, 6, None)
        assert result.details["pairing"] == "paired by file name: 6 pairs"
        assert result.signature.startswith(f"{result.metric}|pixels|n:6|ref:")
    assert report.warnings == ()


def test_pairs_by_stem_and_by_position(sets: tuple[Path, Path], tmp_path: Path) -> None:
    by_name = compute_metrics(*sets, metrics=["psnr"]).results[0]
    bitmaps = write(tmp_path / "bitmaps", PICTURES, "bmp")
    by_stem = compute_metrics(sets[0], bitmaps, metrics=["psnr"]).results[0]
    assert by_stem.value == by_name.value
    assert by_stem.details["pairing"] == "paired by file name without suffix: 6 pairs"
    np.savez(tmp_path / "generated.npz", np.stack(DAMAGED))
    by_position = compute_metrics(tmp_path / "generated.npz", np.stack(PICTURES), metrics=["psnr"]).results[0]
    assert by_position.value == by_name.value


def test_sets_are_measured_beside_features(sets: tuple[Path, Path]) -> None:
    report = compute_metrics(*sets, metrics=["colourfulness", "kid", "sharpness"])
    assert [result.metric for result in report.results] == ["kid", "colourfulness", "sharpness"]
    for result, measure in zip(report.results[1:], (colourfulness, sharpness), strict=True):
        assert result.value == pytest.approx(np.mean([measure(picture) for picture in DAMAGED]), rel=1e-12)
        of_reference = [measure(picture) for picture in PICTURES]
        assert result.details["reference"]["mean"] == pytest.approx(np.mean(of_reference), rel=1e-12)


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each picture is decoded from now on."""
    decodes: Counter[str] = Counter()
    read = ImageSource.read

    def counted(source: ImageSource, index: int) -> Decoded | Unreadable:
        decodes[f"{Path(source.origin).name}/{source.name(index)}"] += 1
        return read(source, index)

    monkeypatch.setattr(ImageSource, "read", counted)
    return decodes


ASKED = ["fd", "kid", "psnr", "ssim", "sharpness", "duplicates", "near_duplicates"]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_picture_is_decoded_once_for_all_that_is_asked(
    sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    training = write(tmp_path / "training", PICTURES[::-1])
    options: dict[str, Any] = {"training": training, "workers": workers, "cache": tmp_path / "cache"}
    decodes = count_decodes(monkeypatch)
    first = compute_metrics(*sets, metrics=ASKED, **options)
    assert len(decodes) == 18
    assert set(decodes.values()) == {1}
    decodes.clear()
    again = compute_metrics(*sets, metrics=ASKED, **options)
    assert set(decodes) == {f"{name}/{index}.png" for name in ("generated", "reference") for index in range(6)}
    assert set(decodes.values()) == {1}  # for pixels alone: features of all three sets are in the cache
    assert again == first
    decodes.clear()
    compute_metrics(*sets, metrics=["kid", "near_duplicates"], **options)
    assert not decodes
    alone = [compute_metrics(*sets, metrics=[name], training=training).results for name in ASKED[-1:]]
    alone += [compute_metrics(*sets, metrics=[name]).results for name in ASKED[:-1]]
    assert sorted(first.results, key=str) == sorted((result for [result] in alone), key=str)


def test_pairs_in_another_order_than_the_files_read_their_partners_again(
    sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (sets[1] / "2.png").write_bytes(b"")
    reference = read_images(sets[1], on_error="skip").part([3, 1, 0, 2, 5, 4])
    decodes = count_decodes(monkeypatch)
    report = compute_metrics(sets[0], reference, metrics=["psnr", "kid"], on_error="skip")
    expected = [psnr(DAMAGED[index], PICTURES[index]) for index in (0, 1, 3, 4, 5)]
    assert report.results[1].value == pytest.approx(np.mean(expected), rel=1e-12)
    assert report.results[1].n_generated == 5
    assert sum("1 of 6 pictures were unreadable" in line for line in report.warnings) == 1
    assert sorted(decodes.values()) == [1] * 6 + [2] * 6


def test_near_duplicates_are_counted_named_and_warned_of(tmp_path: Path) -> None:
    generated = write(tmp_path / "generated", [PICTURES[0], DAMAGED[0], PICTURES[2], PICTURES[3]])
    reference = write(tmp_path / "reference", [PICTURES[5], damaged(PICTURES[3], 1)])
    report = compute_metrics(generated, reference, metrics=["duplicates"])
    [result] = report.results
    assert result.value == 0.25
    assert result.details["groups"] == [["0.png", "1.png"]]
    assert result.details["near_reference"] == [["3.png", "1.png"]]
    assert "1 of 4 pictures nearly repeat another" in report.warnings[0]
    assert "1 pictures are nearly in" in report.warnings[1]


def test_copies_byte_for_byte_are_warned_of_without_being_asked(tmp_path: Path) -> None:
    generated = write(tmp_path / "generated", [*DAMAGED, DAMAGED[0], PICTURES[1]])
    report = compute_metrics(generated, write(tmp_path / "reference", PICTURES), metrics=["kid"])
    assert any("1 of 8 pictures repeat another, byte for byte" in line for line in report.warnings)
    assert any("1 pictures are also in" in line for line in report.warnings)


def test_equal_pairs_are_counted_and_not_averaged(tmp_path: Path) -> None:
    reference = write(tmp_path / "reference", PICTURES[:3])
    generated = write(tmp_path / "generated", [PICTURES[0], *DAMAGED[1:3]])
    [result] = compute_metrics(generated, reference, metrics=["psnr"]).results
    assert result.details["equal_pairs"] == 1
    assert result.value == pytest.approx(np.mean([psnr(DAMAGED[i], PICTURES[i]) for i in (1, 2)]), rel=1e-12)
    with pytest.raises(InputError, match="every picture equals its partner"):
        compute_metrics(reference, reference, metrics=["psnr"])


def test_unreadable_partners_are_left_out_in_pairs(sets: tuple[Path, Path]) -> None:
    generated, reference = sets
    (generated / "1.png").write_bytes(b"")
    (reference / "2.png").write_bytes(b"")
    with pytest.raises(UnreadableImage, match=r"1\.png"):
        compute_metrics(generated, reference, metrics=["ssim"])
    report = compute_metrics(generated, reference, metrics=["ssim"], on_error="skip")
    expected = [ssim(DAMAGED[index], PICTURES[index]) for index in (0, 3, 4, 5)]
    assert report.results[0].value == pytest.approx(np.mean(expected), rel=1e-12)
    assert report.results[0].n_generated == 4
    assert sum("1 of 6 pictures were unreadable" in line for line in report.warnings) == 2


def test_wrong_requests(sets: tuple[Path, Path], tmp_path: Path) -> None:
    generated, reference = sets
    other = write(tmp_path / "other", PICTURES[:4])
    with pytest.raises(UsageError, match=r"psnr: is of pairs, .*4 of 6 in A have a partner among 4 in B"):
        compute_metrics(generated, other, metrics=["psnr"])
    FeatureStatistics.from_features(np.random.default_rng(0).normal(size=(9, 4))).save(tmp_path / "statistics.npz")
    with pytest.raises(UsageError, match="ssim: needs pictures"):
        compute_metrics(generated, tmp_path / "statistics.npz", metrics=["ssim"])
    with pytest.raises(UsageError, match="sharpness: needs pictures"):
        compute_metrics(tmp_path / "statistics.npz", reference, metrics=["sharpness"])
    small = write(tmp_path / "small", [picture[:100, :100] for picture in PICTURES])
    with pytest.raises(InputError, match=r"generated: 0\.png: is 192×192 px and its partner 100×100"):
        compute_metrics(generated, small, metrics=["psnr"])
    with pytest.raises(InputError, match=r"small: 0\.png: MS-SSIM needs pictures of at least 176"):
        compute_metrics(small, small, metrics=["ms_ssim"])


def test_rows_describe_themselves() -> None:
    for name, row in PICTURE_METRICS.items():
        assert row.name == name
        assert row.title
