"""From what was gathered of a run's pictures to its record: a column a metric, the statistics, and the yardsticks.

Columns are computed on the features as a record keeps them (float16 in standard deviations), of both sides, so that a
run that is read back and one that has just been measured agree to the last bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from paragone import __version__
from paragone.data.errors import InputError, TooFewSamples, UsageError
from paragone.data.generators.runner import MANIFEST, read_manifest
from paragone.data.images import ImageSource
from paragone.data.records import Prompt, Status
from paragone.metrics.captions import caption_result
from paragone.metrics.catalogue import ALIASES, Metric, Side, metric_named
from paragone.metrics.checks import Gate
from paragone.metrics.checks_columns import Sides, column_of, mean_column
from paragone.metrics.feature_statistics import FeatureStatistics, as_rows
from paragone.metrics.inputs import Given, uses
from paragone.metrics.measured import Measured, description_of
from paragone.metrics.pairs import requests_of
from paragone.metrics.picture_metrics import PictureMetric
from paragone.metrics.reporting import Gathered, Request
from paragone.metrics.run_files import now
from paragone.metrics.run_items import Items
from paragone.metrics.run_record import KEPT_ROWS, Measure, Packed, Recipe, RunRecord, Yardstick

if TYPE_CHECKING:
    from paragone.metrics.extractors.base import FeatureExtractor

DEFAULT_MARGIN = "5%"


def record_of(
    gathered: Gathered,
    recipe: Recipe,
    *,
    model: str = "",
    asked: tuple[Prompt, ...] = (),
    keep_features: bool = False,
) -> RunRecord:
    """The record of the generated side; raises `UsageError` when it is statistics, which have no samples."""
    request = gathered.request
    pictures = request.sides["generated"].pictures
    if pictures is None:
        raise UsageError(f"{request.sides['generated'].origin} is statistics; a run record is made of pictures")
    if len(gathered.measured) > 1:
        raise UsageError("a run record holds the features of one extractor; name one with --features")
    items = items_of(pictures)
    measured = gathered.measured[0] if gathered.measured else {}
    packed = {role: _packed(one) for role, one in measured.items()}
    extractor = request.plans[0].extractor if measured else None
    measures = _of_features(request.rows, measured, packed, items, extractor, seed=recipe.seed)
    measures += [_of_pixels(row, gathered, request, len(items)) for row in request.of_pixels]
    measures += _of_captions(gathered, items)
    generated = measured.get("generated")
    statistics = None if generated is None else generated.side.statistics
    return RunRecord(
        model=model or Path(pictures.origin).name,
        created=now(),
        version=__version__,
        items=items,
        generated=pictures.digest() if generated is None else generated.digest,
        recipe=recipe,
        measures={one.metric: one for one in measures},
        statistics=statistics if isinstance(statistics, FeatureStatistics) else None,
        yardsticks={
            role: Yardstick(role, one.given.origin, one.digest, one.side.statistics, _small(packed[role]))
            for role, one in measured.items()
            if role != "generated"
        },
        packed=packed.get("generated") if keep_features else None,
        weights=_weights_of(pictures),
        prompts=asked,
        unanswered=_unanswered(pictures),
    )


def run_of_features(
    generated: ArrayLike,
    reference: ArrayLike | None = None,
    *,
    training: ArrayLike | None = None,
    metrics: Sequence[str] = ("fd", "kid", "precision", "recall"),
    items: Items | None = None,
    model: str = "run",
    extractor: str | None = None,
    protocol: str | None = None,
    seed: int = 0,
    keep_features: bool = False,
) -> RunRecord:
    """The record of features [N, D] that were extracted elsewhere; `extractor` and `protocol` say how, and must agree.

    `items` names the samples (by default by their row). Errors are those of the metrics.
    """
    given = {"generated": generated, "reference": reference, "training": training}
    measured = {}
    for role, features in given.items():
        if features is not None:
            rows = as_rows(features, name=role)
            digest = hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()
            statistics = FeatureStatistics.from_features(rows, extractor=extractor, protocol=protocol)
            side = Given(role, f"{role} features", None, statistics, digest, rows)
            measured[role] = Measured(side, Side(statistics, rows), digest)
    n = measured["generated"].side.n or 0
    items = items or Items(tuple(f"[{number}]" for number in range(n)))
    if len(items) != n:
        raise InputError(f"{n} rows of features, but {len(items)} items; name each row once")
    rows_of = [metric_named(name) for name in metrics]
    packed = {role: _packed(one) for role, one in measured.items()}
    measures = _of_features(rows_of, measured, packed, items, None, seed=seed)
    of_generated = measured["generated"].side.statistics
    assert isinstance(of_generated, FeatureStatistics)
    return RunRecord(
        model=model,
        created=now(),
        version=__version__,
        items=items,
        generated=measured["generated"].digest,
        recipe=Recipe(extractor or "unknown", protocol or "unknown", tuple(row.name for row in rows_of), {}, seed),
        measures={one.metric: one for one in measures},
        statistics=of_generated,
        yardsticks={
            role: Yardstick(role, one.given.origin, one.digest, one.side.statistics, _small(packed[role]))
            for role, one in measured.items()
            if role != "generated"
        },
        packed=packed["generated"] if keep_features else None,
    )


def items_of(pictures: ImageSource) -> Items:
    """The samples behind the rows: by prompt and seed where the folder has a manifest, otherwise by name."""
    requests = requests_of(pictures)
    if requests is None:
        return Items(pictures.kept_names)
    prompts, seeds = zip(*requests, strict=True)
    return Items(pictures.kept_names, prompts, seeds)


def _packed(measured: Measured) -> Packed | None:
    features = measured.side.features
    return None if features is None else Packed.of(features, measured.side.statistics)


def _small(packed: Packed | None) -> Packed | None:
    return packed if packed is not None and len(packed.units) <= KEPT_ROWS else None


# ---- Measures ------------------------------------------------------------------------------------------------------


def _of_features(
    rows: Sequence[Metric],
    measured: Mapping[str, Measured],
    packed: Mapping[str, Packed | None],
    items: Items,
    extractor: FeatureExtractor | None,
    *,
    seed: int,
) -> list[Measure]:
    if not measured:
        return []
    kept = {
        role: Side(one.side.statistics, None if (kept_features := packed[role]) is None else kept_features.rows())
        for role, one in measured.items()
    }
    sides = Sides(kept["generated"], items, kept.get("reference"), kept.get("training"))
    found = []
    for row in rows:
        described = description_of(row, measured, extractor)
        try:
            column = column_of(row, sides, seed=seed)
        except TooFewSamples as error:
            value = _plain_value(row, kept, seed=seed)
            found.append(Measure(described.metric, row.higher_is_better, described.signature, value, None, str(error)))
            continue
        value = column.value if column.plain is None else column.plain
        found.append(Measure(described.metric, row.higher_is_better, described.signature, value, column))
    return found


def _plain_value(row: Metric, sides: Mapping[str, Side], *, seed: int) -> float:
    used = {role: side for role, side in sides.items() if uses(row, role)}
    found = row.estimate(
        reference=used.get("reference"), generated=used["generated"], training=used.get("training"), seed=seed
    )
    return float(found.value)


def _of_pixels(row: PictureMetric, gathered: Gathered, request: Request, n: int) -> Measure:
    if row.of == "hashes":
        raise UsageError(f"{row.name}: is of the set, not of single pictures, so it cannot be in a run record")
    values = gathered.seen[row.name].astype(np.float64)
    if len(values) != n or not np.isfinite(values).all():
        raise InputError(f"{row.name}: {n} pictures, but {int(np.isfinite(values).sum())} finite values of them")
    signature = [row.name, "pixels", f"n:{n}"]
    reference = request.sides.get("reference")
    if row.of == "pairs" and reference is not None and reference.pictures is not None:
        signature.append(f"ref:{reference.pictures.digest()[:12]}")
    return Measure(row.name, row.higher_is_better, "|".join(signature), float(values.mean()), mean_column(values))


def _of_captions(gathered: Gathered, items: Items) -> list[Measure]:
    if gathered.request.captioned is None or gathered.embedded is None:
        return []
    result, scores, _ = caption_result(gathered.request.captioned, gathered.embedded)
    by_name = {one.name: one.clip_score for one in scores}
    values = np.array([by_name[name] for name in items.names])
    return [Measure(result.metric, True, result.signature, result.value, mean_column(values))]


# ---- The folder's manifest -----------------------------------------------------------------------------------------


def _manifest(pictures: ImageSource) -> Path | None:
    path = Path(pictures.origin) / MANIFEST
    return path if path.is_file() else None


def _weights_of(pictures: ImageSource) -> str:
    """The recipe's fingerprint in the first line of the manifest."""
    path = _manifest(pictures)
    if path is None:
        return ""
    with path.open(encoding="utf-8") as file:
        return str(json.loads(file.readline()).get("recipe", ""))


def _unanswered(pictures: ImageSource) -> int:
    path = _manifest(pictures)
    return 0 if path is None else sum(entry.status is not Status.OK for entry in read_manifest(path.parent))


# ---- Margins -------------------------------------------------------------------------------------------------------


def gates_of(run: RunRecord, margins: Mapping[str, str]) -> tuple[Gate, ...]:
    """A gate for every measure that can be tested, with the margins asked for, or 5 % of the value.

    A default margin is one standard error of the value at least: a smaller one would ask for what the baseline itself
    does not know. Raises `UsageError` for a margin of a metric that the run does not have, or that makes no sense.
    """
    asked = {named(run, metric): text for metric, text in margins.items()}
    gates = []
    for name, one in run.measures.items():
        if one.column is None:
            if name in asked:
                raise UsageError(f"--margin {name}={asked[name]}: {one.reason}")
            continue
        margin, stated = _margin(name, asked.get(name), one)
        gates.append(Gate(name, margin, stated))
    if not gates:
        raise UsageError("no metric of this run can be tested, so there would be no gate; measure more samples")
    return tuple(gates)


def named(run: RunRecord, metric: str) -> str:
    """The measure of `run` that `metric` means: by its name, or fd for fid and the other way round."""
    names = (metric, *(name for name in run.measures if ALIASES.get(name, name) == ALIASES.get(metric, metric)))
    found = next((name for name in names if name in run.measures), None)
    if found is None:
        raise UsageError(f"{metric} is not measured there; there are {', '.join(run.measures)}")
    return found


def _margin(name: str, text: str | None, one: Measure) -> tuple[float, str]:
    assert one.column is not None
    share, value = text or DEFAULT_MARGIN, abs(one.column.value)
    try:
        number = float(share.strip().removesuffix("%"))
    except ValueError:
        raise UsageError(f"--margin {name}={share}: write a number in the metric's units, or a percentage") from None
    if not share.strip().endswith("%"):
        return number, share.strip()
    margin = value * number / 100
    if text is None and margin < one.column.standard_error:
        return one.column.standard_error, "its standard error"
    return margin, share.strip()
