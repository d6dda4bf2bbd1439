"""Did an edit leave alone what it was to leave alone? Where it changed the picture, after undoing a shift of the whole.

Editors often move the whole picture by a few pixels, which ruins every comparison of pixels and is hardly seen. So the
shift is found first (phase correlation, Kuglin & Hines 1975, refined as in Guizar-Sicairos et al. 2008, Optics Letters
33), and everything is told both as it is (raw) and after the shift is undone (aligned).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_opening, distance_transform_edt, gaussian_filter, shift

from paragone.data.errors import InputError
from paragone.metrics.pixels import MARGIN, PEAK, Pixels, luminance, ssim_map

Flags = NDArray[np.bool_]
Array = NDArray[np.float64]
MARGIN_SHARE = 0.03  # of the diagonal: so far around its mask, an edit may blend in
LARGEST_SHIFT = 0.05  # of the longer side; what is found beyond it is no shift of the whole
FINENESS = 10  # parts of a pixel to which a shift is found
WHOLE = 0.15  # px: a shift so near to whole pixels is one of whole pixels, and needs no interpolation
BLUR_PX = 1.5  # averages out the noise of a codec before changes are looked for
LEAST_LEVELS, MOST_LEVELS = 8.0, 16.0  # a change is at least so many levels of 255; above, however noisy the picture is
NOISES = 6.0  # robust standard deviations of the blurred difference that make a change
ROUNDING = 1 / 12  # squared levels: the error of rounding alone, which bounds every PSNR at 58.9 dB
SPECK = np.ones((3, 3), bool)  # smaller changes are noise


@dataclass(frozen=True, slots=True)
class EditPixels:
    """What the pixels of one edit say. Of an edit without a mask, everything counts as inside."""

    shift_px: tuple[float, float]  # down and right, of the result against its source
    changed_share: float  # of the picture, 0..1
    raw_psnr: float | None  # dB, outside the mask; None without an outside
    aligned_psnr: float | None
    aligned_ssim: float | None
    changed_outside: float | None  # share of the outside
    changed_inside: float  # share of the inside
    changed: Flags  # [H, W]


def edit_pixels(source: Pixels, result: Pixels, mask: Flags | None = None) -> EditPixels:
    """Compare two RGB pictures of one size; `mask` [H, W] is true where the picture may change."""
    if source.shape != result.shape:
        raise InputError(f"edit: source {source.shape} and result {result.shape} are not of one size")
    if mask is not None and mask.shape != source.shape[:2]:
        raise InputError(f"edit: mask {mask.shape} and picture {source.shape[:2]} are not of one size")
    free = np.ones(source.shape[:2], bool) if mask is None else _outside(mask)
    found = find_shift(source, result, free)
    aligned, valid = undo_shift(result, found)
    aligned = np.where(valid[:, :, None], aligned, source)  # what was moved out of view says nothing
    changed = changed_region(source, aligned)
    outside = None if mask is None or not (free & valid).any() else free & valid
    inside = valid if mask is None else mask & valid
    similarity = None
    if outside is not None and min(source.shape[:2]) > 2 * MARGIN:
        places = outside[MARGIN:-MARGIN, MARGIN:-MARGIN]
        similarity = float(ssim_map(source, aligned)[places].mean()) if places.any() else None
    return EditPixels(
        shift_px=found,
        changed_share=float(changed[valid].mean()),
        raw_psnr=None if outside is None else _psnr(source, result, outside),
        aligned_psnr=None if outside is None else _psnr(source, aligned, outside),
        aligned_ssim=similarity,
        changed_outside=None if outside is None else float(changed[outside].mean()),
        changed_inside=float(changed[inside].mean()) if inside.any() else 0.0,
        changed=changed,
    )


def find_shift(source: Pixels, result: Pixels, free: Flags) -> tuple[float, float]:
    """How far `result` lies below and to the right of `source`, in pixels; (0, 0) where a shift explains nothing.

    `free` [H, W]: where the picture was to stay as it is; a shift must make the two more alike there.
    """
    from skimage.registration import phase_cross_correlation

    if np.array_equal(source, result):
        return 0.0, 0.0
    before, after = luminance(source), luminance(result)
    seen, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
        after, before, upsample_factor=FINENESS
    )
    down, right = (float(value) for value in seen)
    near = float(round(down)), float(round(right))
    if max(abs(down - near[0]), abs(right - near[1])) <= WHOLE:
        down, right = near
    if max(abs(down), abs(right)) > LARGEST_SHIFT * max(source.shape[:2]) or not (down or right):
        return 0.0, 0.0
    aligned, valid = undo_shift(result, (down, right))
    where = free & valid if (free & valid).any() else valid
    better = _error(source, aligned, where) < _error(source, result, where)
    return (down, right) if better else (0.0, 0.0)


def undo_shift(picture: Pixels, found: tuple[float, float]) -> tuple[Pixels, Flags]:
    """The picture moved back, and where it has pixels then."""
    valid = np.ones(picture.shape[:2], bool)
    if found == (0.0, 0.0):
        return picture, valid
    whole = all(value == int(value) for value in found)
    if whole:
        moved = np.roll(picture, (-int(found[0]), -int(found[1])), axis=(0, 1))
    else:
        back = (-found[0], -found[1], 0)
        moved = np.rint(np.clip(shift(picture.astype(np.float64), back, order=3, mode="nearest"), 0, PEAK))
    for axis, value in enumerate(found):
        lost = int(np.ceil(abs(value))) + (0 if whole else 2)  # cubic splines look two pixels ahead
        edge = np.moveaxis(valid, axis, 0)
        if value > 0 or not whole:
            edge[len(edge) - lost :] = False
        if value < 0 or not whole:
            edge[:lost] = False
    return moved.astype(np.uint8), valid


def changed_region(source: Pixels, result: Pixels) -> Flags:
    """[H, W]: where two aligned pictures differ by more than a codec's noise.

    The difference is blurred, and counts from 8 levels on; where most of the picture is noisier, from six robust
    standard deviations of it, but never beyond 16 levels.
    """
    difference = source.astype(np.float64) - result
    smooth = np.abs(gaussian_filter(difference, (BLUR_PX, BLUR_PX, 0))).max(axis=2)
    noise = float(np.median(smooth)) / 0.6745
    tolerance = min(max(LEAST_LEVELS, NOISES * noise), MOST_LEVELS)
    return np.asarray(binary_opening(smooth > tolerance, SPECK))


def _outside(mask: Flags) -> Flags:
    """What lies farther from the mask than its margin."""
    if not mask.any():
        return np.ones(mask.shape, bool)
    distance = distance_transform_edt(~mask)
    return np.asarray(distance > MARGIN_SHARE * np.hypot(*mask.shape))


def _error(one: Pixels, two: Pixels, where: Flags) -> float:
    return float(np.square(one[where].astype(np.float64) - two[where]).mean())


def _psnr(one: Pixels, two: Pixels, where: Flags) -> float:
    return float(10 * np.log10(PEAK**2 / (_error(one, two, where) + ROUNDING)))
