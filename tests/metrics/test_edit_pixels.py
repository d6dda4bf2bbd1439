"""What an edit left alone: masks, codecs, shifts of the whole, on real photographs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from photographs import photograph
from PIL import Image
from scipy.ndimage import shift as moved

from paragone.data.errors import InputError
from paragone.metrics.edit_pixels import EditPixels, changed_region, edit_pixels, find_shift

Picture = NDArray[np.uint8]
EVERYWHERE = np.ones((200, 300), bool)


def source(name: str = "china.jpg") -> Picture:
    return photograph(name)[30:230, 40:340]


def masked() -> NDArray[np.bool_]:
    mask = np.zeros((200, 300), bool)
    mask[60:120, 80:160] = True
    return mask


def edited(picture: Picture, mask: NDArray[np.bool_]) -> Picture:
    """Inverted and darkened where the mask allows it."""
    result = picture.copy()
    result[mask] = 255 - result[mask] // 2
    return result


def jpeg(picture: Picture, quality: int) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def shifted(picture: Picture, down: float, right: float) -> Picture:
    """Moved, with the border mirrored: as an editor that redraws everything does it."""
    if down == int(down) and right == int(right):
        padded = np.pad(picture, ((9, 9), (9, 9), (0, 0)), mode="reflect")
        top, left = 9 - int(down), 9 - int(right)
        return padded[top : top + picture.shape[0], left : left + picture.shape[1]]
    smooth = moved(picture.astype(np.float64), (down, right, 0), order=3, mode="reflect")
    return np.clip(np.rint(smooth), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
@pytest.mark.parametrize("quality", [100, 95, 75])
def test_an_edit_inside_its_mask_leaks_nothing_whatever_the_codec(name: str, quality: int) -> None:
    picture, mask = source(name), masked()
    result = edited(picture, mask)
    found = edit_pixels(picture, result if quality == 100 else jpeg(result, quality), mask)
    assert found.changed_outside == 0
    assert found.changed_inside > 0.85
    assert found.changed_share == pytest.approx(mask.mean(), rel=0.2)
    assert found.shift_px == (0, 0)


def test_an_edit_outside_its_mask_leaks() -> None:
    picture, mask = source(), masked()
    elsewhere = np.roll(mask, 120, axis=1)
    found = edit_pixels(picture, edited(picture, elsewhere), mask)
    assert found.changed_outside is not None
    assert found.changed_outside > 0.05
    assert found.changed_inside < 0.01


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_a_shift_of_three_pixels_ruins_the_raw_value_only(name: str) -> None:
    picture, mask = source(name), masked()
    result = edited(picture, mask)
    still, moved_by = edit_pixels(picture, result, mask), edit_pixels(picture, shifted(result, 0, 3), mask)
    assert moved_by.shift_px == (0, 3)
    assert still.raw_psnr == still.aligned_psnr == pytest.approx(58.9, abs=0.1)  # rounding is all
    assert moved_by.raw_psnr is not None
    assert moved_by.raw_psnr < 30
    assert moved_by.aligned_psnr is not None
    assert moved_by.aligned_psnr > 40
    assert moved_by.aligned_ssim is not None
    assert moved_by.aligned_ssim > 0.99
    assert moved_by.changed_outside == 0
    assert moved_by.changed_inside > 0.95


@pytest.mark.parametrize("by", [(1, 0), (-2, 5), (4, -7), (1.5, -0.4), (0.0, 2.3)])
def test_shifts_are_found(by: tuple[float, float]) -> None:
    picture = source()
    result = shifted(edited(picture, masked()), *by)
    assert find_shift(picture, jpeg(result, 95), ~masked()) == pytest.approx(by, abs=0.15)
    before, after = edit_pixels(picture, edited(picture, masked()), masked()), edit_pixels(picture, result, masked())
    assert after.changed_share == pytest.approx(before.changed_share, rel=0.1)


def test_what_is_no_shift_is_none() -> None:
    picture = source()
    assert find_shift(picture, picture, EVERYWHERE) == (0, 0)
    assert find_shift(picture, source("flower.jpg"), EVERYWHERE) == (0, 0)
    assert find_shift(picture, np.full_like(picture, 90), EVERYWHERE) == (0, 0)


def test_an_identity_edit_changes_nothing_even_after_a_codec_and_a_shift() -> None:
    picture = source()
    for result in (picture, jpeg(picture, 75), shifted(picture, 2, 0)):
        found = edit_pixels(picture, result, masked())
        assert not found.changed.any()
        assert found.changed_inside == 0


def test_without_a_mask_the_changed_region_is_estimated() -> None:
    picture, mask = source(), masked()
    found = edit_pixels(picture, jpeg(edited(picture, mask), 90))
    overlap = (found.changed & mask).sum() / (found.changed | mask).sum()
    assert overlap > 0.85
    assert (found.raw_psnr, found.changed_outside) == (None, None)
    everything = edit_pixels(picture, np.clip(picture * 0.6, 0, 255).astype(np.uint8))
    assert everything.changed_share > 0.5


def test_a_mask_of_everything_leaves_no_outside() -> None:
    found = edit_pixels(source(), edited(source(), masked()), EVERYWHERE)
    assert (found.raw_psnr, found.aligned_psnr, found.aligned_ssim, found.changed_outside) == (None,) * 4


def test_sizes_must_agree() -> None:
    picture = source()
    with pytest.raises(InputError, match="not of one size"):
        edit_pixels(picture, picture[:-1])
    with pytest.raises(InputError, match="not of one size"):
        edit_pixels(picture, picture, masked()[:-1])


def test_a_change_of_one_level_is_below_every_threshold() -> None:
    picture = np.clip(source(), 0, 250)
    assert not changed_region(picture, picture + 5).any()
    assert changed_region(picture, np.where(masked()[:, :, None], picture - np.minimum(picture, 40), picture)).any()


def test_values_are_plain(tmp_path: object) -> None:
    found = edit_pixels(source(), edited(source(), masked()), masked())
    assert isinstance(found, EditPixels)
    assert all(isinstance(value, float) for value in (*found.shift_px, found.raw_psnr, found.changed_share))
