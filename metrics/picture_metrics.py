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
from paragone.data.decoding import Decoded
from paragone.data.errors import InputError, UsageError
from paragone.data.images import ImageSource
from paragone.data.progress import Progress, silent
from paragone.data.records import MetricResult
from paragone.metrics.distributed import ALONE, Arrays, Ranks, adopt_findings, packed_findings
from paragone.metrics.duplicates import NEAR_BITS, near_duplicates, perceptual_hash
from paragone.metrics.estimates import Estimate, normal_estimate
from paragone.metrics.inputs import Given
from paragone.metrics.pairs import Pairing, pair_up
from paragone.metrics.pixels import colourfulness, ms_ssim, psnr, sharpness, ssim

NAMED = 20  # groups of duplicates that are spelt out in the details
Pixels = NDArray[np.uint8]


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
    generated, reference = sides["generated"], sides["reference"]
    names = ", ".join(row.name for row in rows)
    if generated.pictures is None:
        raise UsageError(f"{names}: needs pictures, and {generated.origin} is statistics")
    of_pairs = ", ".join(row.name for row in rows if row.of == "pairs")
    if not of_pairs:
        return None
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


def look_at(
    rows: Sequence[PictureMetric],
    sides: Mapping[str, Given],
    pairing: Pairing | None,
    *,
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> Arrays:
    """What every row found in every picture (or pair) that could be read, by all ranks; nothing but on the first.

    Keys are `row` for the generated side and pairs, `row.reference` for the reference, each with the pictures'
    positions under `positions`, `positions.reference`.
    """
    found: Arrays = {}
    for role in ("generated", "reference"):
        pictures = sides[role].pictures
        looking = [row for row in rows if row.of != "pairs" or role == "generated"]
        if pictures is None or not looking:
            continue
        partners = sides["reference"].pictures
        with ranks.step():
            mine = range(ranks.rank, len(pictures), ranks.count)
            arrays = _look(looking, pictures, partners, pairing, mine, progress if ranks.first else silent, role)
            arrays |= packed_findings(pictures)
        suffix = "" if role == "generated" else ".reference"
        shares = ranks.gather(arrays)
        for share in shares:
            adopt_findings(pictures, range(len(pictures)), share)
        if shares:
            order = np.argsort(np.concatenate([share["positions"] for share in shares]))
            names = ["positions", *(row.name for row in looking)]
            found |= {f"{name}{suffix}": np.concatenate([share[name] for share in shares])[order] for name in names}
    return found


def _look(
    rows: Sequence[PictureMetric],
    pictures: ImageSource,
    partners: ImageSource | None,
    pairing: Pairing | None,
    mine: range,
    progress: Progress,
    role: str,
) -> Arrays:
    """One value a row for each of the pictures at `mine` that could be read, and whose partner could."""
    positions: list[int] = []
    values: dict[str, list[Any]] = {row.name: [] for row in rows}
    order = pairing.order if pairing is not None and role == "generated" else None
    for done, index in enumerate(mine, start=1):
        pixels = _pixels(pictures, index)
        partner = _pixels(partners, order[index]) if order is not None and partners is not None else None
        if pixels is not None and (order is None or partner is not None):
            positions.append(index)
            for row in rows:
                values[row.name].append(_measured(row, pixels, partner, f"{pictures.origin}: {pictures.name(index)}"))
        progress(f"{role} pixels", done, len(mine))
    kinds = {row.name: np.uint64 if row.of == "hashes" else np.float64 for row in rows}
    return {
        "positions": np.array(positions, np.intp),
        **{name: np.array(column, kinds[name]) for name, column in values.items()},
    }


def _pixels(pictures: ImageSource, index: int) -> Pixels | None:
    read = pictures.read(index)
    return read.pixels if pictures.record(index, read) and isinstance(read, Decoded) else None


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
    rows: Sequence[PictureMetric], sides: Mapping[str, Given], pairing: Pairing | None, found: Arrays
) -> tuple[list[MetricResult], list[str]]:
    """The results of `look_at`, and warnings."""
    results, warnings = [], []
    for row in rows:
        values = found[row.name]
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


def _repeated(row: PictureMetric, sides: Mapping[str, Given], found: Arrays) -> tuple[Estimate, list[str]]:
    """The share of generated pictures that are near an earlier one, with the groups, and what is near the reference."""
    generated, reference = sides["generated"].pictures, sides["reference"].pictures
    assert generated is not None
    near = near_duplicates(found[row.name], found.get(f"{row.name}.reference"))
    names = [generated.name(int(position)) for position in found["positions"]]
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
            [names[one], reference.name(int(found["positions.reference"][other]))] for one, other in near.of_reference
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
    reference = sides["reference"].pictures if row.of != "pictures" else None
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
