"""Measures of single items (a clip, an edit, a picture with words): one value each, or the reason why there is none.

An item counts once, however many frames or pixels it has. What has no value is counted under its reason and left out;
it is never zero, and never silently gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paragone import __version__
from paragone.data.records import MetricResult, metrics_document
from paragone.metrics.estimates import Estimate, clustered_error, normal_estimate, share_estimate


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no value, and why: a few words that many items may share, such as "no mask"."""

    reason: str


Value = float | Missing


@dataclass(frozen=True, slots=True)
class ItemMeasure:
    """What a mean of items is called. `share`: values are 0 or 1, so that the mean is a share of the items.

    No value lies below `lowest`, and no interval is said to.
    """

    name: str
    title: str
    higher_is_better: bool
    share: bool = False
    lowest: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure's values of all items, in their order; `signature` and `details` say how they came to be."""

    row: ItemMeasure
    values: Sequence[Value]
    signature: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    extractor: str | None = None
    protocol: str = "paragone"


@dataclass(frozen=True, slots=True)
class ItemReport:
    """The results in the order of asking, warnings, and a row for every item."""

    results: tuple[MetricResult, ...]
    warnings: tuple[str, ...]
    items: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document `paragone.metrics/1`."""
        return metrics_document(self.results, self.warnings)


def report_items(
    measured: Sequence[Measured],
    names: Sequence[str],
    *,
    what: str,
    groups: Sequence[Hashable] | None = None,
    columns: Sequence[Mapping[str, Any]] = (),
) -> ItemReport:
    """Means with standard errors. `what` items are, in the plural; `columns`: what else each item's row says.

    `groups`: what the items belong to, such as a source picture that several edits share; the standard error is then
    that of groups drawn at random. A measure without any value has no result, but a warning.
    """
    results, warnings = [], []
    for one in measured:
        found = [index for index, value in enumerate(one.values) if not isinstance(value, Missing)]
        reasons = Counter(value.reason for value in one.values if isinstance(value, Missing))
        told = "; ".join(f"{reason} ({n:,})" for reason, n in reasons.most_common())
        if not found:
            warnings.append(f"{one.row.name}: no value, for none of the {len(names):,} {what} has one: {told}")
            continue
        if reasons:
            warnings.append(f"{one.row.name}: {len(found):,} of {len(names):,} {what} count; the others: {told}")
        own = None if groups is None else [groups[index] for index in found]
        results.append(_result(one, [one.values[index] for index in found], own, dict(reasons)))
    rows = [_row(index, name, measured, columns) for index, name in enumerate(names)]
    return ItemReport(tuple(results), tuple(warnings), tuple(rows))


def _result(
    measured: Measured, found: Sequence[Any], groups: Sequence[Hashable] | None, reasons: Mapping[str, int]
) -> MetricResult:
    row, values = measured.row, np.array(found, np.float64)
    details = {**measured.details, **({"missing": dict(reasons)} if reasons else {})}
    estimate = _estimate(row, values, groups, details)
    signature = [row.name, *measured.signature, f"n:{len(values)}", f"v:{__version__}"]
    return MetricResult(
        metric=row.name,
        value=estimate.value,
        standard_error=estimate.standard_error,
        ci_low=estimate.ci_low,
        ci_high=estimate.ci_high,
        higher_is_better=row.higher_is_better,
        n_generated=len(values),
        extractor=measured.extractor,
        protocol=measured.protocol,
        signature="|".join(signature),
        version=__version__,
        details=estimate.details,
    )


def _estimate(
    row: ItemMeasure, values: np.ndarray[Any, Any], groups: Sequence[Hashable] | None, details: dict[str, Any]
) -> Estimate:
    mean = float(values.mean())
    if row.share and (groups is None or len(set(groups)) == len(groups)):
        return share_estimate(mean, len(values), "the items are drawn at random", details)
    error = clustered_error(values, range(len(values)) if groups is None else groups)
    return (
        Estimate(mean, details=details) if error is None else normal_estimate(mean, error, details, lowest=row.lowest)
    )


def _row(index: int, name: str, measured: Sequence[Measured], columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One item: its name, what else is said of it, its values (None: missing), and why these are missing."""
    values = {one.row.name: one.values[index] for one in measured}
    reasons = [f"{key}: {value.reason}" for key, value in values.items() if isinstance(value, Missing)]
    plain = {key: None if isinstance(value, Missing) else value for key, value in values.items()}
    return {"name": name, **(columns[index] if columns else {}), **plain, "missing": "; ".join(reasons)}
