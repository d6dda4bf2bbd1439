"""Where every pixel went between two frames, where that may be believed, and what differs once it is undone.

Flow is scikit-image's iterative Lucas-Kanade (Le Besnerais & Champagnat 2005, ICIP), on luminance whose mean and spread
are taken out of each frame: a change of brightness is then no motion, and stays in the warp error. Flow is believed
where going forth and back leads home (Sundaram, Brox & Keutzer 2010, ECCV):
|F_ba + F_ab(p + F_ba)|² < 0.01 (|F_ba|² + |F_ab|²) + 0.5.
The warp error is that of Lai et al. (2018, arXiv:1808.00449): the mean, over pixels where flow is believed, of
(x_b(p) - x_a(p + F_ba))², x in 0..1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates, uniform_filter

from paragone.metrics.pixels import LUMINANCE, Pixels

Array = NDArray[np.float32]
WORKING_PX = 192  # longer side of the frames between which flow is taken; smaller frames are not enlarged
BLUR_PX = 1.0
RADIUS_PX = 7  # half a window of Lucas-Kanade
WARPS = 3  # refinements on every scale
FLATTEST = 1e-3  # spread of luminance below which a frame has no texture to follow
TEXTURE = 0.01  # spread of luminance within a window, from which on it can be seen to move at all
LEAST_VISIBLE = 0.05  # share of pixels with believable flow below which a step says nothing


class Step(NamedTuple):
    """From frame a to the next one, b. Flows are [2, h, w], rows before columns, in working pixels."""

    back: Array  # F_ba, at the pixels of b
    forth: Array  # F_ab, at the pixels of a
    visible: NDArray[np.bool_]  # [h, w], at the pixels of b
    followed: NDArray[np.bool_]  # those of them that have enough texture around them to be followed
    warp_error: float  # NaN where too little is visible
    path_px: float  # mean |F_ba| over the pixels that are followed; NaN likewise


def working_frame(frame: Pixels) -> NDArray[np.float16]:
    """RGB uint8 [H, W, 3] → [h, w, 3] in 0..1, longer side at most `WORKING_PX`, and blurred.

    The blur (σ = 1 px) keeps what is left of a moved edge between pixels far below a flicker of 1 %.
    """
    height, width = frame.shape[:2]
    factor = min(1.0, WORKING_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    planes = []
    for plane in np.moveaxis(frame, 2, 0):
        small = Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        planes.append(gaussian_filter(np.asarray(small), BLUR_PX, truncate=3.0))
    return (np.stack(planes, axis=2) / np.float32(255)).astype(np.float16)


def step_between(a: Array, b: Array) -> Step:
    """The step from `a` to `b`, both [h, w, 3] in 0..1."""
    luma_a, luma_b = _texture(a), _texture(b)
    back, forth = _flow(luma_a, luma_b), _flow(luma_b, luma_a)
    places = _grid(*luma_a.shape) + back
    home = sampled(forth, places)
    lengths = np.square(back).sum(0) + np.square(home).sum(0)
    visible = np.square(back + home).sum(0) < 0.01 * lengths + 0.5
    visible &= _inside(places, luma_a.shape)
    followed = visible & _textured(b)
    error = path = float("nan")
    if visible.mean() >= LEAST_VISIBLE:
        difference = np.moveaxis(b, 2, 0) - sampled(np.moveaxis(a, 2, 0), places)
        error = float(np.square(difference)[:, visible].mean())
    if followed.mean() >= LEAST_VISIBLE:
        path = float(np.hypot(*back)[followed].mean())
    return Step(back, forth, visible, followed, error, path)


def change_of_velocity(before: Step, after: Step, last: Step, durations: tuple[float, float, float]) -> float:
    """Mean |v₃ - 2 v₂ + v₁| of points followed over three steps, in working pixels a second; NaN where none can be.

    `durations` [s] are those of the steps. The points are the pixels of the frame between `before` and `after`.
    """
    places = _grid(*before.visible.shape) + after.forth
    velocities = [
        -before.back / durations[0],
        after.forth / durations[1],
        sampled(last.forth, places) / durations[2],
    ]
    followed = before.followed & _inside(places, before.visible.shape)
    followed &= sampled(after.visible[None].astype(np.float32), places)[0] > 0.5
    if followed.mean() < LEAST_VISIBLE:
        return float("nan")
    second = velocities[2] - 2 * velocities[1] + velocities[0]
    return float(np.hypot(*second)[followed].mean())


def sampled(planes: Array, places: Array) -> Array:
    """[C, h, w] at `places` [2, h, w], bilinear; beyond the border its nearest pixel."""
    return np.stack([map_coordinates(plane, places, order=1, mode="nearest") for plane in planes])


def _flow(start: Array, end: Array) -> Array:
    """[2, h, w]: end(p) ≈ start(p + flow(p)); zero where a frame has no texture."""
    from skimage.registration import optical_flow_ilk

    if not (start.any() and end.any()):
        return np.zeros((2, *start.shape), np.float32)
    found: Array = optical_flow_ilk(  # type: ignore[no-untyped-call]
        end, start, radius=RADIUS_PX, num_warp=WARPS, dtype=np.float32
    )
    return found


def _texture(frame: Array) -> Array:
    """Luminance [h, w] with mean 0 and spread 1; all zero in a flat frame."""
    luma = frame @ LUMINANCE.astype(np.float32)
    spread = float(luma.std())
    return (luma - luma.mean()) / np.float32(spread) if spread > FLATTEST else np.zeros_like(luma)


def _textured(frame: Array) -> NDArray[np.bool_]:
    """[h, w]: where the window of Lucas-Kanade around a pixel is not flat."""
    luma = frame @ LUMINANCE.astype(np.float32)
    window = 2 * RADIUS_PX + 1
    variance = uniform_filter(np.square(luma), window) - np.square(uniform_filter(luma, window))
    return np.asarray(variance > TEXTURE**2)


def _grid(height: int, width: int) -> Array:
    return np.indices((height, width), dtype=np.float32)


def _inside(places: Array, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where `places` [2, h, w] lie inside a frame of `shape`."""
    last = np.array(shape, np.float32)[:, None, None] - 1
    return np.asarray(((places >= 0) & (places <= last)).all(0))
