"""The table of metrics that look at pixels and need no extractor: of pairs, of single pictures, of hashes.

They stand beside the metrics of features (`paragone.metrics.catalogue`): a row says what it is of, and one pass over
the pictures feeds all rows that are asked for. Means come with the standard error of independent pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from paragone import __version__
from paragone.data.errors import InputError, UsageError
from paragone.data.images import ImageSource
from paragone.data.records import MetricResult
from paragone.data.videos import VideoSource
from paragone.metrics.duplicates import NEAR_BITS, near_hashes, perceptual_hash
from paragone.metrics.estimates import Estimate, normal_estimate
from paragone.metrics.features import Look, Pixels, Seen
from paragone.metrics.inputs import Given
from paragone.metrics.pairs import Pairing, pair_up
from paragone.metrics.pixels import colourfulness, ms_ssim, psnr, sharpness, ssim

NAMED = 20  # groups of duplicates that are spelt out in the details
PARTNER = "partner"  # the role of the reference in the order of the generated pictures


@dataclass(frozen=True, slots=True)
class PictureMetric:
    """One row. `measure` takes two pictures of one size (`of` pairs) or one picture."""

    name: str
    title: str
    higher_is_better: bool
    of: Literal["pairs", "pictures", "hashes"]
    measure: Callable[..., Any]


_TABLE = (
    PictureMetric("psnr", "Peak signal-to-noise ratio", True, "pairs", psnr),
    PictureMetric("ssim", "Structural similarity", True, "pairs", ssim),
    PictureMetric("ms_ssim", "Structural similarity over scales", True, "pairs", ms_ssim),
    PictureMetric("colourfulness", "Colourfulness", True, "pictures", colourfulness),
    PictureMetric("sharpness", "Sharpness", True, "pictures", sharpness),
    PictureMetric("duplicates", "Near duplicates among the generated", False, "hashes", perceptual_hash),
)
PICTURE_METRICS: dict[str, PictureMetric] = {row.name: row for row in _TABLE}


def check_picture_metrics(rows: Sequence[PictureMetric], sides: Mapping[str, Given]) -> Pairing | None:
    """The pairs that rows of pairs are of; raises `UsageError` for sides that do not do, before a picture is read."""
    if not rows:
        return None
    generated, reference = sides["generated"], sides.get("reference")
    names = ", ".join(row.name for row in rows)
    if generated.pictures is None:
        raise UsageError(f"{names}: needs pictures, and {generated.origin} is statistics")
    if isinstance(generated.pictures, VideoSource):
        raise UsageError(f"{names}: is of pictures, and {generated.origin} is clips")
    of_pairs = ", ".join(row.name for row in rows if row.of == "pairs")
    if not of_pairs:
        return None
    if reference is None:
        raise UsageError(f"{of_pairs}: is of pairs with a reference; name it with --reference")
    if reference.pictures is None:
        raise UsageError(f"{of_pairs}: needs pictures, and {reference.origin} is statistics")
    pairing = pair_up(generated.pictures, reference.pictures)
    if pairing.order is None:
        raise UsageError(
            f"{of_pairs}: is of pairs, and the pictures of {generated.origin} (A) and {reference.origin} (B) are "
            f"{pairing.told}; give both the same file names"
        )
    return pairing


# ---- Looking -------------------------------------------------------------------------------------------------------


def look_of(rows: Sequence[PictureMetric], pictures: Sequence[tuple[str, ImageSource]]) -> Look | None:
    """What to do with one picture of each of `pictures` (role and set), which are read together; None: nothing.

    Found is `row` of the generated side and of pairs, `row.reference` of the reference. A generated picture and that of
    the reference, or its partner, are a pair. What cannot be read is left out, and so is a pair of which one cannot.
    """
    suffixes = {"generated": "", "reference": ".reference"}
    roles = [role for role, _ in pictures]
    singles = [row for row in rows if row.of != "pairs" and any(role in suffixes for role in roles)]
    of_pairs = [row for row in rows if row.of == "pairs" and "generated" in roles and len(roles) == 2]
    if not singles and not of_pairs:
        return None

    def look(index: int, pixels: Sequence[Pixels | None]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        labels = {role: f"{source.origin}: {source.name(index)}" for role, source in pictures}
        of_role = dict(zip(roles, pixels, strict=True))
        for role, one in of_role.items():
            if one is not None and role in suffixes:
                for row in singles:
                    found[row.name + suffixes[role]] = _measured(row, one, None, labels[role])
        partner = next((one for role, one in of_role.items() if role != "generated"), None)
        one = of_role.get("generated")
        if one is not None and partner is not None:
            for row in of_pairs:
                found[row.name] = _measured(row, one, partner, labels["generated"])
        return found

    return look


def _pictures_of(sides: Mapping[str, Given], role: str) -> ImageSource | None:
    return sides[role].pictures if role in sides else None


def _measured(row: PictureMetric, pixels: Pixels, partner: Pixels | None, label: str) -> Any:
    if row.of == "pairs" and partner is not None and pixels.shape != partner.shape:
        sizes = [f"{one.shape[1]}×{one.shape[0]}" for one in (pixels, partner)]
        raise InputError(f"{label}: is {sizes[0]} px and its partner {sizes[1]}; {row.name} is of pictures of one size")
    try:
        return row.measure(pixels, partner) if row.of == "pairs" else row.measure(pixels)
    except InputError as error:
        raise InputError(f"{label}: {error}") from error


# ---- Results -------------------------------------------------------------------------------------------------------


def picture_results(
    rows: Sequence[PictureMetric], sides: Mapping[str, Given], pairing: Pairing | None, found: Seen
) -> tuple[list[MetricResult], list[str]]:
    """The results of what was seen with `look_of`, and warnings."""
    results, warnings = [], []
    for row in rows:
        values = found.get(row.name, np.empty(0))
        if len(values) == 0:
            raise InputError(f"{sides['generated'].origin}: {row.name} is left without pictures that could be read")
        if row.of == "hashes":
            estimate, told = _repeated(row, sides, found)
            warnings += told
        else:
            estimate = _mean(row, values)
            if row.of == "pairs" and pairing is not None:
                estimate.details["pairing"] = pairing.told
            if f"{row.name}.reference" in found:
                beside = _mean(row, found[f"{row.name}.reference"])
                estimate.details["reference"] = {"mean": beside.value, "standard_error": beside.standard_error}
        results.append(_result(row, estimate, sides, len(values)))
    return results, warnings


def _mean(row: PictureMetric, values: NDArray[np.float64]) -> Estimate:
    """Mean ± SE; pairs of equal pictures, whose PSNR is infinite, are counted and left out of the mean."""
    finite = values[np.isfinite(values)]
    details: dict[str, Any] = {"equal_pairs": len(values) - len(finite)} if len(finite) < len(values) else {}
    if len(finite) == 0:
        raise InputError(f"{row.name}: every picture equals its partner, so the value is infinite")
    if len(finite) < 2:
        return Estimate(float(finite.mean()), details=details)
    return normal_estimate(float(finite.mean()), float(finite.std(ddof=1) / np.sqrt(len(finite))), details)


def _repeated(row: PictureMetric, sides: Mapping[str, Given], found: Seen) -> tuple[Estimate, list[str]]:
    """The share of generated pictures that are near an earlier one, with the groups, and what is near the reference."""
    generated, reference = sides["generated"].pictures, _pictures_of(sides, "reference")
    assert generated is not None
    near = near_hashes(found[row.name], found.get(f"{row.name}.reference"))
    names = [generated.name(int(position)) for position in found[f"{row.name}.at"]]
    repeated = sum(len(group) - 1 for group in near.groups)
    details: dict[str, Any] = {
        "within_bits": NEAR_BITS,
        "n_groups": len(near.groups),
        "groups": [[names[index] for index in group] for group in near.groups[:NAMED]],
    }
    warnings = []
    if near.groups:
        largest = max(near.groups, key=len)
        warnings.append(
            f"{generated.origin}: {repeated:,} of {len(names):,} pictures nearly repeat another; the largest group has "
            f"{len(largest):,}, beginning with {names[largest[0]]} and {names[largest[1]]}"
        )
    if reference is not None:
        of_reference = [
            [names[one], reference.name(int(found[f"{row.name}.reference.at"][other]))]
            for one, other in near.of_reference
        ]
        details |= {"n_near_reference": len(of_reference), "near_reference": of_reference[:NAMED]}
        if of_reference:
            one, other = of_reference[0]
            warnings.append(
                f"{generated.origin}: {len(of_reference):,} pictures are nearly in {reference.origin} too, first "
                f"{one} ({other})"
            )
    return Estimate(repeated / len(names), details=details), warnings


def _result(row: PictureMetric, estimate: Estimate, sides: Mapping[str, Given], n: int) -> MetricResult:
    signature = [row.name, "pixels", f"n:{n}"]
    reference = _pictures_of(sides, "reference") if row.of != "pictures" else None
    if reference is not None:
        signature.append(f"ref:{reference.digest()[:12]}")
    return MetricResult(
        metric=row.name,
        value=float(estimate.value),
        standard_error=estimate.standard_error,
        ci_low=estimate.ci_low,
        ci_high=estimate.ci_high,
        higher_is_better=row.higher_is_better,
        n_generated=n,
        n_reference=None if reference is None else len(reference),
        signature="|".join([*signature, f"v:{__version__}"]),
        version=__version__,
        details=estimate.details,
    )
