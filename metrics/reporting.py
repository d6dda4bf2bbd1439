"""From what was gathered of two sides to a report: results, and what a reader of them should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paragone.data.records import MetricResult, metrics_document
from paragone.data.videos import VideoSource
from paragone.metrics.captions import Captioned, CaptionScore, caption_result
from paragone.metrics.catalogue import Metric
from paragone.metrics.clip_controls import Control, with_controls
from paragone.metrics.clip_protocols import is_of_clips
from paragone.metrics.features import Seen
from paragone.metrics.inputs import Given, check_numbers
from paragone.metrics.measured import FRECHET, Measured, cautions, result_of
from paragone.metrics.pairs import Pairing
from paragone.metrics.per_image import Contribution, contributions_of
from paragone.metrics.picture_metrics import PictureMetric, picture_results
from paragone.metrics.weights import INCEPTION

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from paragone.metrics.extractors.base import FeatureExtractor


@dataclass(frozen=True, slots=True)
class MetricsReport:
    """Results, and what a reader of them should know.

    First those of features, extractor by extractor, then those of pixels, each in the order of asking, then clip_score.
    """

    results: tuple[MetricResult, ...]
    warnings: tuple[str, ...]
    contributions: tuple[Contribution, ...] = ()
    caption_scores: tuple[CaptionScore, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON document `paragone.metrics/1`."""
        return metrics_document(self.results, self.warnings)


@dataclass(frozen=True, slots=True)
class Plan:
    """One extractor, or None where all is statistics, and the sides that its metrics look at."""

    extractor: FeatureExtractor | None
    used: tuple[Given, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be done, after every check that needs no picture."""

    sides: Mapping[str, Given]
    features: Sequence[str]  # names of extractors
    rows: Sequence[Metric]
    of_pixels: Sequence[PictureMetric]
    pairing: Pairing | None
    plans: Sequence[Plan]
    captioned: Captioned | None
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that pictures had to be read for: by plan the measured sides, CLIP's features, what pixels showed."""

    request: Request
    measured: Sequence[Mapping[str, Measured]]
    embedded: NDArray[np.float64] | None  # [N, D]
    seen: Seen
    controls: Mapping[str, Control]
    asked: tuple[str, ...]
    per_image: bool
    contributing: bool


def report_of(gathered: Gathered, *, seed: int = 0) -> MetricsReport:
    """The numbers of what was gathered."""
    request, embedded = gathered.request, gathered.embedded
    report = _report(
        request,
        gathered.measured,
        gathered.seen,
        gathered.controls,
        seed=seed,
        asked=gathered.asked,
        contributing=gathered.contributing,
    )
    if request.captioned is None or embedded is None:
        return report
    result, scores, told = caption_result(request.captioned, embedded)
    return MetricsReport(
        (*report.results, result),
        tuple(dict.fromkeys([*report.warnings, *told])),
        report.contributions,
        scores if gathered.per_image else (),
    )


def _report(
    request: Request,
    measured: Sequence[Mapping[str, Measured]],
    seen: Seen,
    controls: Mapping[str, Control],
    *,
    seed: int,
    asked: Sequence[str],
    contributing: bool,
) -> MetricsReport:
    results: list[MetricResult] = []
    warnings = [line for side in request.sides.values() if side.pictures for line in side.pictures.warnings]
    warnings += request.warnings
    for plan, found in zip(request.plans, measured, strict=bool(request.rows)):
        # Once more, for unreadable pictures may have been left out.
        check_numbers(request.rows, {role: (one.given.origin, one.side.n) for role, one in found.items()})
        of_plan = [result_of(row, found, plan.extractor, seed=seed) for row in request.rows]
        of_plan, told = _controlled(request, plan, of_plan, found, controls)
        warnings += [*plan.warnings, *cautions(of_plan, found), *told]
        if "fid" in asked and all(result.metric != "fid" for result in of_plan):
            name = next(result.metric for result in of_plan if result.metric in FRECHET)
            warnings.append(f"asked for fid, but the features are not those of {INCEPTION.name}: reported as {name}")
        results += of_plan
    of_pixels, told = picture_results(request.of_pixels, request.sides, request.pairing, seen)
    contributions = contributions_of(measured[0]["reference"], measured[0]["generated"]) if contributing else ()
    return MetricsReport((*results, *of_pixels), tuple(dict.fromkeys([*warnings, *told])), contributions)


def _controlled(
    request: Request,
    plan: Plan,
    results: Sequence[MetricResult],
    measured: Mapping[str, Measured],
    controls: Mapping[str, Control],
) -> tuple[list[MetricResult], list[str]]:
    """The results with controls beside the FVD, and warnings: also that there are none, where clips are compared."""
    of_fvd = [row for row in request.rows if row.name == "fd"]
    reference = measured.get("reference")
    if not of_fvd or reference is None or not is_of_clips(results[0].protocol):
        return list(results), []
    if not isinstance(reference.given.pictures, VideoSource) or plan.extractor is None:
        return list(results), [
            f"{reference.given.origin} is statistics: no controls of whether these features see time"
        ]
    place = [one.extractor for one in request.plans].index(plan.extractor)
    found: list[MetricResult] = []
    told: list[str] = []
    for row, result in zip(request.rows, results, strict=True):
        if row in of_fvd:
            result, warnings = with_controls(result, row, reference.side, controls, reference.given.pictures, place)
            told += warnings
        found.append(result)
    return found, told
