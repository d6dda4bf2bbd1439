"""From two sets of pictures to a report: `compute_metrics`, which `paragone metrics` and the demo call.

Everything that can be wrong with a request is found before the first picture is decoded: names, files, numbers of
pictures, weights, tags of statistics files. Two sides whose statistics are on file need neither pictures nor torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paragone import __version__
from paragone.data.images import OnError
from paragone.data.progress import Progress, silent
from paragone.data.records import MetricResult
from paragone.metrics.catalogue import Metric, Side
from paragone.metrics.features import ExtractionOptions, extract_side, open_extractor
from paragone.metrics.inputs import (
    Given,
    Source,
    check_logits,
    check_numbers,
    check_tags,
    choose_metrics,
    open_side,
    uses,
)
from paragone.metrics.weights import INCEPTION

if TYPE_CHECKING:
    from paragone.metrics.extractors.base import FeatureExtractor

SCHEMA = "paragone.metrics/1"
FID_PICTURES = 10_000  # below it, the bias of an FID is of the size of the differences that people report
LOSSY_DIFFERENCE = 0.1  # in the share of lossy files, from which on a warning is due


@dataclass(frozen=True, slots=True)
class MetricsReport:
    """Results in the order in which they were asked for, and what a reader of them should know."""

    results: tuple[MetricResult, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document `paragone.metrics/1`."""
        return {
            "schema": SCHEMA,
            "results": [result.to_dict() for result in self.results],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class _Measured:
    """A side with its features or statistics."""

    given: Given
    side: Side
    digest: str  # sha256 of the pictures' bytes, or of the statistics


def compute_metrics(
    generated: Source,
    reference: Source,
    *,
    metrics: Sequence[str] | None = None,
    features: str = "gist",
    weights: str | os.PathLike[str] | None = None,
    protocol: str = "paragone",
    training: Source | None = None,
    device: str = "auto",
    batch_size: int = 32,
    workers: int = 1,
    cache: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    seed: int = 0,
    progress: Progress = silent,
) -> MetricsReport:
    """Compare `generated` with `reference`, both given as pictures (whatever `read_images` takes) or statistics.

    `metrics`: names of `ALL_METRICS`; without them, those of `DEFAULT_METRICS` that the two sides allow, and
    authenticity when there is a `training` set. `features`: the extractor's name. `cache`: a folder for features.
    Raises `UsageError`, `InputError`, `MissingWeights` or `PluginError` for what cannot be done, `NotComparable` when a
    statistics file was made with other features, `TooFewSamples` when a side is smaller than a metric allows.
    """
    options = ExtractionOptions(device, batch_size, workers, None if cache is None else Path(cache))
    sources = {"reference": reference, "generated": generated} | ({} if training is None else {"training": training})
    sides = {role: open_side(role, source, on_error=on_error) for role, source in sources.items()}
    rows, warnings = choose_metrics(metrics, sides)
    used = [side for side in sides.values() if any(uses(row, side.role) for row in rows)]
    check_numbers(rows, {side.role: (side.origin, side.n) for side in used})
    extractor = None
    if any(side.pictures is not None for side in used):
        extractor = open_extractor(features, weights=None if weights is None else Path(weights), protocol=protocol)
        check_logits(rows, extractor)
        warnings += extractor.warnings
    warnings += check_tags(used, extractor)
    measured = {side.role: _measure(side, extractor, options, progress) for side in used}
    # Once more, for unreadable pictures may have been left out.
    check_numbers(rows, {role: (found.given.origin, found.side.n) for role, found in measured.items()})
    results = tuple(_result(row, measured, extractor, seed) for row in rows)
    warnings += [line for side in used if side.pictures is not None for line in side.pictures.warnings]
    warnings += _cautions(results, measured)
    if metrics is not None and "fid" in metrics and all(result.metric != "fid" for result in results):
        warnings.append(f"asked for fid, but the features are not those of {INCEPTION.name}: reported as fd")
    return MetricsReport(results, tuple(dict.fromkeys(warnings)))


def _measure(
    given: Given, extractor: FeatureExtractor | None, options: ExtractionOptions, progress: Progress
) -> _Measured:
    if given.statistics is not None:
        return _Measured(given, Side(given.statistics), given.digest)
    assert given.pictures is not None
    assert extractor is not None
    found = extract_side(given.pictures, extractor, options, task=f"{given.role} features", progress=progress)
    return _Measured(given, found.side, found.content)


# ---- Results -------------------------------------------------------------------------------------------------------


def _result(
    row: Metric, measured: Mapping[str, _Measured], extractor: FeatureExtractor | None, seed: int
) -> MetricResult:
    sides = {role: found.side for role, found in measured.items() if uses(row, role)}
    generated, training = sides["generated"], sides.get("training")
    estimate = row.compute(reference=sides.get("reference"), generated=generated, training=training, seed=seed)
    tags = [(side.statistics.extractor, side.statistics.protocol) for side in sides.values()]
    name = next((name for name, _ in tags if name is not None), None)
    protocol = next((protocol for _, protocol in tags if protocol is not None), "unknown")
    metric = "fid" if row.name == "fd" and name == INCEPTION.name else row.name
    assert generated.n is not None  # choose_metrics refuses a generated side that does not say it
    signature = [metric, f"ext:{name or 'unknown'}", f"protocol:{protocol}"]
    if extractor is not None:
        signature.append(f"resize:{extractor.resize}")
    signature.append(f"n:{generated.n}")
    for role, short in (("reference", "ref"), ("training", "train")):
        if role in sides:
            signature.append(f"{short}:{measured[role].digest[:12]}")
    return MetricResult(
        metric=metric,
        value=float(estimate.value),
        standard_error=estimate.standard_error,
        ci_low=estimate.ci_low,
        ci_high=estimate.ci_high,
        higher_is_better=row.higher_is_better,
        n_generated=generated.n,
        n_reference=sides["reference"].n if "reference" in sides else None,
        extractor=name,
        protocol=protocol,
        signature="|".join([*signature, f"v:{__version__}"]),
        seed=seed,
        version=__version__,
        details=estimate.details | ({"n_training": training.n} if training is not None else {}),
    )


def _cautions(results: Sequence[MetricResult], measured: Mapping[str, _Measured]) -> list[str]:
    """What makes numbers look better or worse than the generator is."""
    lines = []
    for result in results:
        if result.metric in ("fd", "fid"):
            lines += _small_sample_cautions(result, measured)
    reference, generated = measured.get("reference"), measured["generated"]
    if reference is not None and reference.digest == generated.digest:
        lines.append(f"{generated.given.origin} and {reference.given.origin} are the same, byte for byte")
    shares = {found.given.role: _lossy_share(found.given) for found in measured.values()}
    of_reference, of_generated = shares.get("reference"), shares["generated"]
    if of_reference is not None and of_generated is not None and abs(of_reference - of_generated) > LOSSY_DIFFERENCE:
        lines.append(
            f"{of_reference:.0%} of the reference and {of_generated:.0%} of the generated files are lossy (jpg, webp): "
            "compression on one side alone moves every metric"
        )
    return lines


def _small_sample_cautions(result: MetricResult, measured: Mapping[str, _Measured]) -> list[str]:
    dim = measured["generated"].side.statistics.dim
    known = [n for n in (result.n_generated, result.n_reference) if n is not None]
    lines = []
    if min(known) <= dim:
        lines.append(
            f"{result.metric}: {min(known)} pictures for {dim} dimensions: the covariance lacks full rank and the "
            "value is biased upwards; compare it only with values at the same numbers of pictures"
        )
    if result.metric == "fid" and min(known) < FID_PICTURES:
        lines.append(f"fid: of {min(known):,} pictures; published values are of {FID_PICTURES:,} or more, and lower")
    return lines


def _lossy_share(given: Given) -> float | None:
    return given.pictures.lossy_fraction if given.pictures is not None else None
