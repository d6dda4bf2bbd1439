"""Editing requests for digits: half of a picture may be redrawn, so that one digit becomes another.

A 3 becomes a 5 by redrawing its top half, since their bottom halves are much alike. Prompt, source picture and mask
make the request; white pixels of the mask may change, the others must not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paragone.data.digits import SIZE_PX, Digits
from paragone.data.errors import InputError
from paragone.data.records import Prompt, Task

EDITS = {  # the digit that is asked for: the digit that is there, and the half to redraw
    0: (6, "right"),
    1: (4, "right"),
    2: (3, "bottom"),
    3: (9, "top"),
    4: (7, "top"),
    5: (3, "top"),
    6: (0, "right"),
    7: (3, "bottom"),
    8: (9, "bottom"),
    9: (8, "bottom"),
}
HALF = SIZE_PX // 2


@dataclass(frozen=True)
class Edit:
    """One request: the picture, the half of it that may change, and the digit that is wanted."""

    target: int
    number: int  # among the requests for this digit
    image: NDArray[np.uint8]  # [8, 8]

    @cached_property
    def prompt(self) -> Prompt:
        """The request in words, with the places of its pictures in a project folder."""
        there, half = EDITS[self.target]
        name = f"edit-{there}-to-{self.target}-{self.number}"
        text = f"turn the handwritten {there} into a {self.target} by redrawing its {half} half"
        source, mask = f"sources/{name}.png", f"sources/mask-{half}.png"
        return Prompt(name, text, Task.IMAGE_EDITING, ("digit edits",), source=source, mask=mask)

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """[8, 8], 255 where the picture may change."""
        return half_mask(EDITS[self.target][1])


def half_mask(half: str) -> NDArray[np.uint8]:
    """[8, 8] with 255 in the "top", "bottom", "left" or "right" half."""
    mask = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    rows, columns = {
        "top": (slice(0, HALF), slice(None)),
        "bottom": (slice(HALF, None), slice(None)),
        "left": (slice(None), slice(0, HALF)),
        "right": (slice(None), slice(HALF, None)),
    }[half]
    mask[rows, columns] = 255
    return mask


def draw_edits(digits: Digits, *, per_digit: int, seed: int) -> list[Edit]:
    """`per_digit` requests for each digit, on random images of `digits`."""
    rng = np.random.default_rng(seed)
    edits = []
    for target, (there, _) in EDITS.items():
        images = digits.of_class(there)
        if len(images) < per_digit:
            raise InputError(f"{per_digit} edits of a {there} need as many images of it; there are {len(images)}")
        chosen = rng.permutation(images)[:per_digit]
        edits += [Edit(target, number, image) for number, image in enumerate(chosen)]
    return edits


def edit_target(prompt: Prompt) -> int:
    """The digit that an editing prompt of this data set asks for."""
    for target, (there, half) in EDITS.items():
        if prompt.text == f"turn the handwritten {there} into a {target} by redrawing its {half} half":
            return target
    raise InputError(f"prompt {prompt.id!r} is none of digit edits: {prompt.text!r}")
