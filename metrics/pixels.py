"""Measures of pixels, which need no weights: PSNR, SSIM and MS-SSIM of pairs, colourfulness and sharpness of pictures.

Pictures are RGB uint8 [H, W, 3]. Structural similarity (Wang, Bovik, Sheikh & Simoncelli 2004, IEEE TIP 13(4), and
Wang, Simoncelli & Bovik 2003, Asilomar, for several scales) is of luminance, as in the papers, with their Gaussian
window of 11 px and σ = 1.5 px, over the positions where the whole window lies inside the picture.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from paragone.data.errors import InputError

Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]
LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
PEAK = 255.0
WINDOW = np.exp(-0.5 * np.square(np.arange(-5, 6) / 1.5))
WINDOW /= WINDOW.sum()
MARGIN = len(WINDOW) // 2
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from fine to coarse
SMALLEST_SSIM_PX = len(WINDOW)
SMALLEST_MS_SSIM_PX = len(WINDOW) * 2 ** (len(SCALE_WEIGHTS) - 1)  # 176


def psnr(one: Pixels, two: Pixels) -> float:
    """Peak signal-to-noise ratio over all channels, in dB; infinite for equal pictures."""
    error = float(np.square(one.astype(np.float64) - two).mean())
    return float(10 * np.log10(PEAK**2 / error)) if error > 0 else float("inf")


def ssim(one: Pixels, two: Pixels) -> float:
    """Structural similarity, at most 1, which is reached by equal pictures only; both sides at least 11 px."""
    _refuse_small(one, SMALLEST_SSIM_PX, "SSIM")
    similarity, _ = _similarity(luminance(one), luminance(two))
    return similarity


def ms_ssim(one: Pixels, two: Pixels) -> float:
    """Structural similarity over five scales, 0..1; both sides at least 176 px.

    A scale halves the picture by averages of 2×2; a negative mean of contrast and structure counts as zero, because
    the weights are no whole powers.
    """
    _refuse_small(one, SMALLEST_MS_SSIM_PX, "MS-SSIM")
    x, y = luminance(one), luminance(two)
    product = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            x, y = _halved(x), _halved(y)
        similarity, structure = _similarity(x, y)
        product *= max(similarity if scale == len(SCALE_WEIGHTS) - 1 else structure, 0.0) ** weight
    return product


def colourfulness(picture: Pixels) -> float:
    """M of Hasler & Süsstrunk (2003, SPIE 5007): 0 for grey, about 33 averagely colourful, over 100 extremely so."""
    red, green, blue = np.moveaxis(picture.astype(np.float64), 2, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def sharpness(picture: Pixels) -> float:
    """Variance of the Laplacian of luminance (4 neighbours, inside the picture; Pech-Pacheco et al. 2000, ICPR).

    In squared grey levels. It falls with blur and rises with noise, and depends on the resolution.
    """
    _refuse_small(picture, 3, "sharpness")
    grey = luminance(picture)
    centre = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    return float(laplacian.var())


def luminance(picture: Pixels) -> Array:
    """[H, W] in 0..255."""
    grey: Array = picture @ LUMINANCE
    return grey


def ssim_map(one: Pixels, two: Pixels) -> Array:
    """SSIM around every position whose window lies inside both pictures: [H - 10, W - 10]."""
    _refuse_small(one, SMALLEST_SSIM_PX, "SSIM")
    structure, luminances = _similarities(luminance(one), luminance(two))
    return structure * luminances


def _similarity(x: Array, y: Array) -> tuple[float, float]:
    """Mean SSIM of two [H, W], and the mean of its factor of contrast and structure alone."""
    structure, luminances = _similarities(x, y)
    return float((luminances * structure).mean()), float(structure.mean())


def _similarities(x: Array, y: Array) -> tuple[Array, Array]:
    """The two factors of SSIM at every position: of contrast and structure, and of luminance."""
    mean_x, mean_y = _windowed(x), _windowed(y)
    variances = _windowed(x * x) - mean_x**2 + _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    structure = (2 * covariance + C2) / (variances + C2)
    luminances = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return structure, luminances


def _windowed(values: Array) -> Array:
    """Gaussian mean around every position whose window lies inside."""
    inside = slice(MARGIN, -MARGIN)
    rows = scipy.ndimage.correlate1d(values, WINDOW, axis=0)[inside]
    means: Array = scipy.ndimage.correlate1d(rows, WINDOW, axis=1)[:, inside]
    return means


def _halved(values: Array) -> Array:
    height, width = (size // 2 * 2 for size in values.shape)
    even = values[:height, :width]
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _refuse_small(picture: Pixels, smallest: int, name: str) -> None:
    if min(picture.shape[:2]) < smallest:
        raise InputError(
            f"{name} needs pictures of at least {smallest}×{smallest} px; this is {picture.shape[1]}×{picture.shape[0]}"
        )
