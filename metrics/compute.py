"""From two sets of pictures or clips to a report: `compute_metrics`, which `paragone metrics` and the demo call.

Everything that can be wrong with a request is found before the first picture is decoded: names, files, numbers of
pictures, weights, tags of statistics files. Two sides whose statistics are on file need neither pictures nor torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paragone.data.errors import UsageError
from paragone.data.images import OnError
from paragone.data.progress import Progress, silent
from paragone.data.videos import VideoSource
from paragone.metrics.captions import (
    CLIP_SCORE,
    Captioned,
    check_captions,
    clip_among,
)
from paragone.metrics.catalogue import ALIASES, Metric, Side
from paragone.metrics.clip_controls import Control, extract_controls
from paragone.metrics.clip_protocols import default_features
from paragone.metrics.distributed import ALONE, Ranks, go_through_together
from paragone.metrics.features import ExtractionOptions, Stream, open_extractor
from paragone.metrics.inputs import (
    ClipReading,
    Given,
    Source,
    check_contributions,
    check_count,
    check_logits,
    check_numbers,
    check_tags,
    choose_metrics,
    open_side,
    rule_of,
    uses,
)
from paragone.metrics.measured import Measured
from paragone.metrics.passes import Found, pass_through
from paragone.metrics.picture_metrics import (
    PICTURE_METRICS,
    check_picture_metrics,
)
from paragone.metrics.protocols import PARAGONE
from paragone.metrics.reporting import Gathered, MetricsReport, Plan, Request, report_of
from paragone.metrics.settings import Values, check_used, settings_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from paragone.metrics.extractors.base import FeatureExtractor
    from paragone.metrics.extractors.clip import Clip


def compute_metrics(
    generated: Source,
    reference: Source | None = None,
    *,
    metrics: Sequence[str] | None = None,
    features: str | Sequence[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    protocol: str = "paragone",
    training: Source | None = None,
    prompts: str | os.PathLike[str] | None = None,
    settings: Values | None = None,
    device: str = "auto",
    batch_size: int = 32,
    workers: int = 1,
    cache: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    clips: ClipReading | None = None,
    seed: int = 0,
    per_image: bool = False,
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> MetricsReport:
    """Compare `generated` with `reference`, both given as pictures (whatever `read_images` takes), clips or statistics.

    `metrics`: names of `ALL_METRICS` and `PICTURE_METRICS`, and clip_score; without them, those of `DEFAULT_METRICS`
    that the two sides allow, and authenticity when there is a `training` set. `reference` may be missing when no metric
    asked for needs it. `features`: the extractor's name, or several, which then share one decoding of each picture; by
    default one without weights, or that of a `protocol` for clips. `clips`: how clips are told from pictures and read.
    `prompts`: a file of captions, for clip_score. `settings`: options of metrics by metric and name, before those of
    the `protocol`. `cache`: a folder for features. `per_image`: also what each generated picture contributes to fd, and
    its clip_score. `ranks`: the processes that share the work, which all call this; the report of any but the first
    is empty.
    Raises `UsageError`, `InputError`, `MissingWeights` or `PluginError` for what cannot be done, `NotComparable` when a
    statistics file was made with other features, `TooFewSamples` when a side is smaller than a metric allows.
    """
    gathered = gather(
        generated,
        reference,
        metrics=metrics,
        features=features,
        weights=weights,
        protocol=protocol,
        training=training,
        prompts=prompts,
        settings=settings,
        device=device,
        batch_size=batch_size,
        workers=workers,
        cache=cache,
        on_error=on_error,
        clips=clips,
        per_image=per_image,
        ranks=ranks,
        progress=progress,
    )
    return MetricsReport((), ()) if gathered is None else report_of(gathered, seed=seed)


def gather(
    generated: Source,
    reference: Source | None = None,
    *,
    metrics: Sequence[str] | None = None,
    features: str | Sequence[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    protocol: str = "paragone",
    training: Source | None = None,
    prompts: str | os.PathLike[str] | None = None,
    settings: Values | None = None,
    device: str = "auto",
    batch_size: int = 32,
    workers: int = 1,
    cache: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    clips: ClipReading | None = None,
    per_image: bool = False,
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> Gathered | None:
    """The expensive half of `compute_metrics`, whose options these are: checks, pictures, features; no number yet.

    None on any rank but the first. `report_of` makes numbers of it, `paragone.metrics.recording` a run record.
    """
    with ranks.step():
        options = ExtractionOptions(device, batch_size, workers, None if cache is None else Path(cache))
        names = _extractor_names(features, weights, per_image=per_image)
        clips = clips or ClipReading()
        sources = {"reference": reference, "generated": generated, "training": training}
        request = _requested(
            {role: source for role, source in sources.items() if source is not None},
            metrics,
            names,
            prompts=prompts,
            settings={ALIASES.get(metric, metric): values for metric, values in (settings or {}).items()},
            weights=weights,
            protocol=protocol,
            on_error=on_error,
            clips=clips,
        )
        contributing = per_image and (request.captioned is None or any(row.name == "fd" for row in request.rows))
        if contributing:
            check_contributions(request.rows, request.sides, request.plans[0].extractor)
    wanted = _wanted(request)
    sides, pairing = request.sides, request.pairing
    found = pass_through(sides, wanted, request.of_pixels, pairing, options, ranks=ranks, progress=progress)
    controls = _controls(request, wanted, options, ranks, progress)
    if not ranks.first:
        return None
    measured = [_measured(plan, wanted, found) for plan in request.plans if request.rows]
    if clips.count is not None:
        check_count(clips.count, [one for of_plan in measured for one in of_plan.values()])
    return Gathered(
        request,
        measured,
        _embedded(request, wanted, found),
        found.seen,
        controls,
        tuple(metrics or ()),
        per_image,
        contributing,
    )


def _requested(
    sources: Mapping[str, Source],
    metrics: Sequence[str] | None,
    asked: Sequence[str] | None,
    *,
    prompts: str | os.PathLike[str] | None,
    settings: Values,
    weights: str | os.PathLike[str] | None,
    protocol: str,
    on_error: OnError,
    clips: ClipReading,
) -> Request:
    first = asked[0] if asked else ""
    sides = {
        role: open_side(role, one, on_error=on_error, features=first, clips=clips) for role, one in sources.items()
    }
    rule = rule_of(sides.values())
    names = asked or (default_features(rule, protocol),)
    of_pixels = [PICTURE_METRICS[name] for name in dict.fromkeys(metrics or ()) if name in PICTURE_METRICS]
    captions = check_captions(CLIP_SCORE in (metrics or ()), prompts, sides["generated"], settings.get(CLIP_SCORE, {}))
    of_features = None if metrics is None else [name for name in metrics if name not in (*PICTURE_METRICS, CLIP_SCORE)]
    chosen = settings_for(protocol, settings)
    elsewhere = of_pixels or captions is not None
    rows, warnings = choose_metrics(of_features, sides, chosen) if of_features or not elsewhere else ([], [])
    options = {row.name: row.settings for row in rows} | dict.fromkeys(row.name for row in of_pixels)
    check_used(settings, options if captions is None else options | {CLIP_SCORE: captions[1]})
    pairing = check_picture_metrics(of_pixels, sides)
    plans = []
    for name in names if any(side.pictures is not None for side in sides.values()) else names[:1]:
        given = {
            # A file of several extractors' statistics is opened for each of them.
            role: side if side.pictures or name == first else open_side(role, sources[role], features=name)
            for role, side in sides.items()
        }
        plans.append(_plan(name, given, rows, weights=weights, protocol=protocol))
    captioned = None
    if captions is not None:
        clip = _clip(names, plans if rows else (), weights=weights, protocol=protocol)
        captioned = Captioned(sides["generated"], captions[0], clip, captions[1])
        warnings = [*warnings, *clip.warnings]
    return Request(sides, names, rows, of_pixels, pairing, plans, captioned, warnings)


# ---- Extractors and what goes through them -------------------------------------------------------------------------


def _extractor_names(
    features: str | Sequence[str] | None, weights: str | os.PathLike[str] | None, *, per_image: bool
) -> tuple[str, ...] | None:
    if features is None:
        return None
    names = (features,) if isinstance(features, str) else tuple(dict.fromkeys(features))
    if not names:
        raise UsageError("no features are asked for; name at least one extractor")
    if len(names) > 1 and weights is not None:
        raise UsageError(f"--weights {weights}: of which of {', '.join(names)}? Keep the files in the cache instead")
    if len(names) > 1 and per_image:
        raise UsageError(f"contributions of pictures are in one extractor's features; choose one of {', '.join(names)}")
    return names


def _plan(
    name: str,
    sides: Mapping[str, Given],
    rows: Sequence[Metric],
    *,
    weights: str | os.PathLike[str] | None,
    protocol: str,
) -> Plan:
    """What the rows look at with the extractor `name`."""
    used = tuple(side for role, side in sides.items() if any(uses(row, role) for row in rows))
    check_numbers(rows, {side.role: (side.origin, side.n) for side in used})
    extractor = extractor_for(used, rows, features=name, weights=weights, protocol=protocol)
    told = () if extractor is None else extractor.warnings
    return Plan(extractor, used, (*told, *check_tags(used, extractor)))


def _wanted(request: Request) -> dict[str, list[FeatureExtractor]]:
    """By role, the extractors that its pictures go through."""
    wanted: dict[str, list[FeatureExtractor]] = {}
    for plan in request.plans if request.rows else ():
        for side in plan.used:
            if side.pictures is not None and plan.extractor is not None:
                wanted.setdefault(side.role, []).append(plan.extractor)
    if request.captioned is not None:
        of_generated = wanted.setdefault("generated", [])
        if request.captioned.clip not in of_generated:
            of_generated.append(request.captioned.clip)
    return wanted


def _controls(
    request: Request,
    wanted: Mapping[str, Sequence[FeatureExtractor]],
    options: ExtractionOptions,
    ranks: Ranks,
    progress: Progress,
) -> Mapping[str, Control]:
    """The altered reference clips, by all extractors of the reference, where an FVD is asked for."""
    reference = request.sides["reference"].pictures if "reference" in request.sides else None
    if not isinstance(reference, VideoSource) or all(row.name != "fd" for row in request.rows):
        return {}
    return extract_controls(reference, wanted["reference"], options, ranks=ranks, progress=progress)


def _measured(plan: Plan, wanted: Mapping[str, Sequence[FeatureExtractor]], found: Found) -> dict[str, Measured]:
    """By role, the sides that the plan's metrics look at."""
    measured = {}
    for side in plan.used:
        if side.statistics is not None:
            measured[side.role] = Measured(side, Side(side.statistics, side.features), side.digest)
        elif plan.extractor is not None:
            one = found.extractions[side.role][wanted[side.role].index(plan.extractor)]
            measured[side.role] = Measured(side, one.side, one.content, one.digests)
    return measured


def _embedded(
    request: Request, wanted: Mapping[str, Sequence[FeatureExtractor]], found: Found
) -> NDArray[np.float64] | None:
    """CLIP's features of the generated side for clip_score; None without it."""
    if request.captioned is None:
        return None
    place = wanted["generated"].index(request.captioned.clip)
    features = found.extractions["generated"][place].side.features
    return None if features is None else features.astype("float64")


def _clip(
    names: Sequence[str], plans: Sequence[Plan], *, weights: str | os.PathLike[str] | None, protocol: str
) -> Clip:
    """The CLIP of clip_score: that of a plan if there is one, so that it is loaded once."""
    name = clip_among(names)
    asked_for = name in names
    for one, plan in zip(names, plans, strict=False):
        if one == name and plan.extractor is not None:
            return plan.extractor  # type: ignore[return-value]
    # Weights and a protocol are those of the features; they are CLIP's where there are no other features.
    given = weights if asked_for or not plans else None
    return open_extractor(  # type: ignore[return-value]
        name, weights=None if given is None else Path(given), protocol=protocol if asked_for else PARAGONE
    )


def extractor_for(
    used: Sequence[Given],
    rows: Sequence[Metric],
    *,
    features: str,
    weights: str | os.PathLike[str] | None,
    protocol: str,
) -> FeatureExtractor | None:
    """The extractor called `features` where a side is pictures; raises `UsageError` when a metric needs its logits."""
    if all(side.pictures is None for side in used):
        return None
    extractor = open_extractor(
        features, weights=None if weights is None else Path(weights), protocol=protocol, rule=rule_of(used)
    )
    check_logits(rows, extractor)
    return extractor


def measure(
    sides: Sequence[Given],
    extractors: Sequence[FeatureExtractor],
    options: ExtractionOptions,
    *,
    task: str,
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> list[Measured]:
    """One side, as it is given for each extractor: the same pictures, or statistics. Empty but on the first rank."""
    pictures = sides[0].pictures
    if pictures is None:
        given = [(side, side.statistics) for side in sides]
        return [Measured(side, Side(statistics), side.digest) for side, statistics in given if statistics is not None]
    stream = Stream(pictures, extractors)
    found = go_through_together([stream], options, task=task, ranks=ranks, progress=progress).extractions
    return [Measured(sides[0], one.side, one.content, one.digests) for of_side in found for one in of_side]
