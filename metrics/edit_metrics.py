"""The table of measures of edits, and `check_edits`, by which `paragone metrics EDITS.jsonl` begins.

An edit that changes nothing preserves everything. So edits in which nothing changed beyond a codec's noise count under
`unchanged` only: they have no preservation, leakage or direction, and are told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paragone.data.edits import Edit, read_picture
from paragone.data.errors import InputError, UnreadableImage, UsageError
from paragone.data.images import OnError
from paragone.data.progress import Progress, silent
from paragone.metrics.direction import Directions, directional_similarity
from paragone.metrics.edit_pixels import (
    FINENESS,
    LEAST_LEVELS,
    MARGIN_SHARE,
    MOST_LEVELS,
    EditPixels,
    edit_pixels,
)
from paragone.metrics.item_measures import ItemMeasure, ItemReport, Measured, Missing, Value, report_items
from paragone.metrics.pixels import Pixels, luminance

if TYPE_CHECKING:
    from paragone.metrics.perceptual import Lpips

WHITE = 128  # luminance from which on a mask lets the picture change
SAME_SHAPE = 0.02  # relative difference of aspect ratios up to which a result is resized to its source
UNCHANGED = Missing("changed nothing")
NO_MASK = Missing("no mask")
DEFAULT = ("unchanged", "preservation", "preservation_raw", "leakage", "changed_region", "shift")
PIXEL_RULE = f"margin:{MARGIN_SHARE:g}|levels:{LEAST_LEVELS:g}-{MOST_LEVELS:g}"
ALIGNED = f"aligned:1/{FINENESS}px"


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """One edit that could be read, and what its pixels say; or why these cannot be compared."""

    edit: Edit
    pixels: EditPixels | Missing
    resized: bool = False
    distance: float | Missing | None = None  # LPIPS


@dataclass(frozen=True, slots=True)
class EditMetric(ItemMeasure):
    """One row. `measure` takes what the pixels say; it is None for rows that need a network."""

    measure: Callable[[EditPixels], Value] | None = None
    rule: tuple[str, ...] = ()  # of the signature
    masked: bool = False  # needs a mask
    changed: bool = True  # only of edits that changed something


def _outside(value: float | None) -> Value:
    return Missing("nothing outside the mask") if value is None else value


def _leakage(pixels: EditPixels) -> Value:
    if pixels.changed_outside is None:
        return _outside(None)
    if pixels.changed_inside == 0:
        return Missing("changed nothing inside the mask")
    return pixels.changed_outside / pixels.changed_inside


_TABLE = (
    EditMetric(
        "unchanged",
        "Edits that changed nothing",
        False,
        share=True,
        measure=lambda pixels: float(not pixels.changed.any()),
        rule=(ALIGNED, PIXEL_RULE),
        changed=False,
    ),
    EditMetric(
        "preservation",
        "PSNR outside the mask, aligned",
        True,
        measure=lambda pixels: _outside(pixels.aligned_psnr),
        rule=(ALIGNED, PIXEL_RULE),
        masked=True,
    ),
    EditMetric(
        "preservation_raw",
        "PSNR outside the mask, as it is",
        True,
        measure=lambda pixels: _outside(pixels.raw_psnr),
        rule=(PIXEL_RULE,),
        masked=True,
    ),
    EditMetric(
        "preservation_ssim",
        "SSIM outside the mask, aligned",
        True,
        lowest=-1.0,
        measure=lambda pixels: _outside(pixels.aligned_ssim),
        rule=(ALIGNED, PIXEL_RULE),
        masked=True,
    ),
    EditMetric(
        "leakage",
        "Change outside the mask over change inside",
        False,
        measure=_leakage,
        rule=(ALIGNED, PIXEL_RULE),
        masked=True,
    ),
    EditMetric(
        "changed_region",
        "Share of the picture that changed",
        False,
        measure=lambda pixels: pixels.changed_share,
        rule=(ALIGNED, PIXEL_RULE),
        changed=False,
    ),
    EditMetric(
        "shift",
        "Shift of the whole picture",
        False,
        measure=lambda pixels: float(np.hypot(*pixels.shift_px)),
        rule=(ALIGNED,),
        changed=False,
    ),
    EditMetric("directional_similarity", "Directional similarity of CLIP", True, lowest=-1.0),
    EditMetric("lpips", "LPIPS to the source", False, changed=False),
)
EDIT_METRICS: dict[str, EditMetric] = {row.name: row for row in _TABLE}


@dataclass(frozen=True, slots=True, eq=False)
class EditRequest:
    """A checked request: rows, edits, and the networks of rows that need one."""

    rows: Sequence[EditMetric]
    edits: Sequence[Edit]
    directions: Directions | None
    distance: Lpips | None
    on_error: OnError

    def report(self, progress: Progress = silent) -> ItemReport:
        """The measures, with standard errors by source picture, for edits of one source are alike."""
        looked, warnings = _look(self.edits, self.distance, on_error=self.on_error, progress=progress)
        if not looked:
            raise InputError(f"none of {len(self.edits):,} edits could be read")
        measured = [self._measured(row, looked, progress) for row in self.rows]
        report = report_items(
            measured,
            [one.edit.name for one in looked],
            what="edits",
            groups=[str(one.edit.source) for one in looked],
            columns=[_columns(one) for one in looked],
        )
        told = self.directions.warnings if self.directions else ()
        return ItemReport(report.results, (*warnings, *told, *report.warnings, *_cautions(looked)), report.items)

    def _measured(self, row: EditMetric, looked: Sequence[Looked], progress: Progress) -> Measured:
        if row.name == "directional_similarity" and self.directions is not None:
            values = directional_similarity(self.directions, looked, progress=progress)
            return Measured(row, values, self.directions.signature, {}, self.directions.name)
        if row.name == "lpips" and self.distance is not None:
            distances = [one.distance for one in looked if one.distance is not None]
            return Measured(row, distances, [f"ext:{self.distance.name}"], {}, self.distance.name)
        return Measured(row, [_value(row, one) for one in looked], list(row.rule))


def check_edits(
    edits: Sequence[Edit],
    *,
    metrics: Sequence[str] | None = None,
    lpips: Sequence[Path] = (),
    clip: str = "clip",
    weights: Path | None = None,
    device: str = "auto",
    on_error: OnError = "raise",
) -> EditRequest:
    """All that can be wrong with a request for measures of edits, before a picture is read.

    `metrics`: names of `EDIT_METRICS`; without them, those of pixels that the edits allow. `lpips`: files for `lpips`.
    `clip`, `weights`: the extractor of `directional_similarity` and its file.
    """
    rows = [_row(name) for name in dict.fromkeys(metrics if metrics is not None else _default(edits))]
    _check(rows, edits, lpips)
    names = {row.name for row in rows}
    directions = Directions(clip, weights, device) if "directional_similarity" in names else None
    return EditRequest(rows, edits, directions, _lpips(lpips, device) if "lpips" in names else None, on_error)


# ---- Checks --------------------------------------------------------------------------------------------------------


def _default(edits: Sequence[Edit]) -> list[str]:
    """The measures of pixels that the edits allow."""
    masks = any(edit.mask for edit in edits)
    return [name for name in DEFAULT if masks or not EDIT_METRICS[name].masked]


def _row(name: str) -> EditMetric:
    if name not in EDIT_METRICS:
        raise UsageError(f"no measure of edits is called {name!r}; there are {', '.join(EDIT_METRICS)}")
    return EDIT_METRICS[name]


def _check(rows: Sequence[EditMetric], edits: Sequence[Edit], lpips: Sequence[Path]) -> None:
    names = {row.name for row in rows}
    if (masked := [row.name for row in rows if row.masked]) and not any(edit.mask for edit in edits):
        raise UsageError(f"{', '.join(masked)}: no edit has a mask; add the column mask, or ask for changed_region")
    if "directional_similarity" in names and not any(edit.source_caption and edit.target_caption for edit in edits):
        raise UsageError("directional_similarity: no edit has both source_caption and target_caption; add the columns")
    if "lpips" in names and not lpips:
        raise UsageError("lpips: needs its files; name the backbone and the factors with --lpips FILE, twice")
    if lpips and "lpips" not in names:
        raise UsageError(f"--lpips {lpips[0]}: lpips is not asked for; add --metric lpips")


def _lpips(files: Sequence[Path], device: str) -> Lpips:
    from paragone.metrics.devices import choose_device
    from paragone.metrics.perceptual import load_lpips

    distance = load_lpips(files)
    distance.to(choose_device(device))
    return distance


# ---- Looking -------------------------------------------------------------------------------------------------------


def _look(
    edits: Sequence[Edit], distance: Lpips | None, *, on_error: OnError, progress: Progress
) -> tuple[list[Looked], list[str]]:
    looked, warnings = [], []
    for number, edit in enumerate(edits, start=1):
        try:
            looked.append(_looked(edit, distance))
        except UnreadableImage as error:
            if on_error == "raise":
                raise UnreadableImage(f"{error} (or leave such edits out with --on-error skip)") from error
            warnings.append(f"left out: {error}")
        progress("edits", number, len(edits))
    return looked, warnings


def _looked(edit: Edit, distance: Lpips | None) -> Looked:
    source, result = read_picture(edit.source), read_picture(edit.result)
    mask = None if edit.mask is None else read_mask(edit.mask, source)
    fitted = _fitted(result, source)
    if fitted is None:
        reason = Missing("another shape than the source")
        return Looked(edit, reason, distance=None if distance is None else reason)
    pixels = edit_pixels(source, fitted, mask)
    far = None if distance is None else distance.distance(source, fitted)
    return Looked(edit, pixels, fitted is not result, far)


def read_mask(path: Path, picture: Pixels) -> NDArray[np.bool_]:
    """[H, W]: true where the mask is white; raises `UnreadableImage` unless it has the picture's size and is mixed."""
    mask = luminance(read_picture(path)) >= WHITE
    if mask.shape != picture.shape[:2]:
        sizes = [f"{one.shape[1]}×{one.shape[0]}" for one in (mask, picture)]
        raise UnreadableImage(f"{path}: the mask is {sizes[0]} px and its source {sizes[1]}")
    if not mask.any():
        raise UnreadableImage(f"{path}: the mask is black everywhere, so nothing may change; white is what may")
    return np.asarray(mask)


def _fitted(result: Pixels, source: Pixels) -> Pixels | None:
    """The result at its source's size; None when it has another shape."""
    if result.shape == source.shape:
        return result
    height, width = source.shape[:2]
    if abs(result.shape[1] * height / (result.shape[0] * width) - 1) > SAME_SHAPE:
        return None
    return np.asarray(Image.fromarray(result).resize((width, height), Image.Resampling.LANCZOS))


# ---- Values --------------------------------------------------------------------------------------------------------


def _value(row: EditMetric, looked: Looked) -> Value:
    assert row.measure is not None
    if row.masked and looked.edit.mask is None:
        return NO_MASK
    if isinstance(looked.pixels, Missing):
        return looked.pixels
    if row.changed and not looked.pixels.changed.any():
        return UNCHANGED
    return row.measure(looked.pixels)


def _columns(looked: Looked) -> Mapping[str, Any]:
    edit, pixels = looked.edit, looked.pixels
    down, right = (None, None) if isinstance(pixels, Missing) else pixels.shift_px
    return {"source": str(edit.source), "instruction": edit.instruction, "shift_down": down, "shift_right": right}


def _cautions(looked: Sequence[Looked]) -> list[str]:
    lines = []
    told = {
        "changed nothing beyond a codec's noise": [
            one for one in looked if not isinstance(one.pixels, Missing) and not one.pixels.changed.any()
        ],
        "shifted the whole picture; aligned values undo it": [
            one for one in looked if not isinstance(one.pixels, Missing) and any(one.pixels.shift_px)
        ],
        "have another size than their source and were resized to it": [one for one in looked if one.resized],
    }
    for what, found in told.items():
        if found:
            lines.append(f"{len(found):,} of {len(looked):,} edits {what}, first {found[0].edit.name}")
    return lines
