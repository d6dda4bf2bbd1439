"""Two generators side by side: two results files, or two sets of pictures against one reference. Nothing is gated.

Results are compared only when their signatures agree in all that moves a number; what differs is named. Of two sets of
pictures the Fréchet distances are tested (paragone.metrics.frechet_difference), pair by pair when both sets answer the
same requests. Differences are B - A throughout.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from paragone.data.errors import InputError, NotComparable, TooFewSamples
from paragone.data.images import OnError
from paragone.data.progress import Progress, silent
from paragone.data.records import METRICS_SCHEMA, MetricResult
from paragone.metrics.clip_protocols import default_features
from paragone.metrics.compute import extractor_for, measure
from paragone.metrics.distributed import ALONE, Ranks
from paragone.metrics.features import ExtractionOptions
from paragone.metrics.frechet_difference import frechet_difference
from paragone.metrics.inputs import (
    ClipReading,
    Given,
    Source,
    check_numbers,
    check_tags,
    choose_metrics,
    open_side,
    rule_of,
    uses,
)
from paragone.metrics.measured import FRECHET, Measured, cautions, result_of
from paragone.metrics.pairs import Pairing, pair_up
from paragone.metrics.settings import settings_for

SCHEMA = "paragone.compare/1"
MUST_AGREE = {  # parts of a signature, and what they are
    "ext": "extractor",
    "protocol": "protocol",
    "resize": "resizing",
    "ref": "reference",
    "train": "training set",
    "prompts": "set of prompts",
    "set": "settings",
    "judge": "judge",
    "template": "judge's template",
}
DEFAULT_SETTINGS = "the defaults"


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of both. `difference` is B - A; of a tested Fréchet distance it is corrected for the bias of finite n,
    so it is not that of the two values, and it has a standard error, an interval (95 %) and a two-sided p-value.
    """

    metric: str
    higher_is_better: bool
    value_a: float
    standard_error_a: float | None
    n_a: int
    value_b: float
    standard_error_b: float | None
    n_b: int
    difference: float
    standard_error: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    bias_correction: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `paragone compare` prints. `pairing` is empty for results files, which do not tell."""

    a: str
    b: str
    rows: tuple[Compared, ...]
    pairing: str = ""
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON document `paragone.compare/1`."""
        return {
            "schema": SCHEMA,
            "a": self.a,
            "b": self.b,
            "pairing": self.pairing or None,
            "results": [asdict(row) for row in self.rows],
            "warnings": list(self.warnings),
        }


# ---- Two results files ---------------------------------------------------------------------------------------------


def compare_results(a: Path, b: Path) -> Comparison:
    """Metrics that two `paragone metrics --json` files share; raises `NotComparable` that says in what they differ."""
    results_a, results_b = read_results(a), read_results(b)
    rows, differences, warnings = [], [], []
    for one in results_a:
        others = [other for other in results_b if other.metric == one.metric]
        found = [(other, signature_differences(one.signature, other.signature)) for other in others]
        same = [other for other, different in found if not different]
        if same:
            rows.append(_side_by_side(one, same[0]))
            warnings += _remarks(one, same[0])
        elif found:
            differences += [f"{one.metric}: {text}" for text in found[0][1]]
    if differences:
        raise NotComparable(f"{a} and {b} cannot be compared: {'; '.join(differences)}; compute both in the same way")
    if not rows:
        raise NotComparable(f"{a} and {b} have no metric in common ({_names(results_a)} against {_names(results_b)})")
    for path, mine, others_ in ((a, results_a, results_b), (b, results_b, results_a)):
        alone = [one for one in mine if all(one.metric != other.metric for other in others_)]
        warnings += [f"only {path} has {_names(alone)}"] if alone else []
    return Comparison(str(a), str(b), tuple(rows), warnings=tuple(dict.fromkeys(warnings)))


def read_results(path: Path) -> list[MetricResult]:
    """The results in a file that `paragone metrics --json` wrote; raises `InputError` that names what is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable JSON file ({error})") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != METRICS_SCHEMA:
        raise InputError(
            f"{path}: its schema is {schema!r}, wanted {METRICS_SCHEMA!r}: a file of paragone metrics --json"
        )
    try:
        results = [MetricResult(**result) for result in document["results"]]
        for result in results:
            if not isinstance(result.value, int | float) or not isinstance(result.signature, str):
                raise TypeError(f"{result.metric}: no number or no signature")
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged results ({error}); compute them again") from error
    return results


def signature_differences(one: str, two: str) -> list[str]:
    """In what two signatures differ that must agree; a part that one of them lacks is unknown, not different."""
    left, right = _parts(one), _parts(two)
    return [
        f"the {what} is {left[key]} in the one and {right[key]} in the other"
        for key, what in MUST_AGREE.items()
        if key in left and key in right and left[key] != right[key]
    ]


def signature_gaps(one: str, two: str, keys: Sequence[str]) -> list[str]:
    """Which of `keys` only one of two signatures has, in words: for comparisons that take nothing on trust."""
    left, right = _parts(one), _parts(two)
    return [
        f"the {MUST_AGREE[key]} is {left.get(key, 'unknown')} in the one and {right.get(key, 'unknown')} in the other"
        for key in keys
        if (key in left) != (key in right)
    ]


def _parts(signature: str) -> dict[str, str]:
    return {"set": DEFAULT_SETTINGS} | dict(part.split(":", 1) for part in signature.split("|") if ":" in part)


def _remarks(one: MetricResult, two: MetricResult) -> list[str]:
    lines = []
    if one.n_generated != two.n_generated:
        lines.append(
            f"{one.metric}: of {one.n_generated:,} pictures in A and {two.n_generated:,} in B"
            + ("; its bias depends on that" if one.metric in (*FRECHET, "inception_score") else "")
        )
    if one.version != two.version:
        lines.append(f"made by paragone {one.version or 'unknown'} and {two.version or 'unknown'}")
    return lines


def _names(results: Sequence[MetricResult]) -> str:
    return ", ".join(result.metric for result in results) or "nothing"


def _side_by_side(one: MetricResult, two: MetricResult) -> Compared:
    return Compared(
        metric=one.metric,
        higher_is_better=one.higher_is_better,
        value_a=one.value,
        standard_error_a=one.standard_error,
        n_a=one.n_generated,
        value_b=two.value,
        standard_error_b=two.standard_error,
        n_b=two.n_generated,
        difference=two.value - one.value,
    )


# ---- Two sets of pictures ------------------------------------------------------------------------------------------


def compare_sets(
    a: Source,
    b: Source,
    reference: Source,
    *,
    metrics: Sequence[str] | None = None,
    features: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    protocol: str = "paragone",
    device: str = "auto",
    batch_size: int = 32,
    workers: int = 1,
    cache: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    clips: ClipReading | None = None,
    seed: int = 0,
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> Comparison:
    """Measure `a` and `b` against one `reference`, and test whether they are equally far from it.

    Options and errors are those of `compute_metrics`. The comparison is empty on any rank but the first.
    """
    with ranks.step():
        options = ExtractionOptions(device, batch_size, workers, None if cache is None else Path(cache))
        known, *sides = (
            open_side(role, source, on_error=on_error, features=features or "", clips=clips or ClipReading())
            for role, source in (("reference", reference), ("generated", a), ("generated", b))
        )
        features = features or default_features(rule_of([known, *sides]), protocol)
        settings = settings_for(protocol)
        chosen = [choose_metrics(metrics, {"reference": known, "generated": side}, settings) for side in sides]
        rows = [row for row in chosen[0][0] if row in chosen[1][0]]
        used = [*([known] if any(uses(row, "reference") for row in rows) else []), *sides]
        for side in used:
            check_numbers(rows, {side.role: (side.origin, side.n)})
        extractor = extractor_for(used, rows, features=features, weights=weights, protocol=protocol)
        warnings = [*chosen[0][1], *chosen[1][1], *(() if extractor is None else extractor.warnings)]
        warnings += check_tags(used, extractor)
    tasks = {id(known): "reference", id(sides[0]): "A", id(sides[1]): "B"}
    extractors = [] if extractor is None else [extractor]
    measured: list[Measured] = []
    for side in used:
        task = f"{tasks[id(side)]} features"
        measured += measure([side], extractors, options, task=task, ranks=ranks, progress=progress)
    if not ranks.first:
        return Comparison("", "", ())
    beside = {} if len(measured) == 2 else {"reference": measured[0]}
    both = [{**beside, "generated": one} for one in measured[-2:]]
    compared, pairing = [], _paired(sides[0], sides[1])
    for of_set in both:
        check_numbers(rows, {role: (one.given.origin, one.side.n) for role, one in of_set.items()})
    results = [[result_of(row, of_set, extractor, seed=seed) for row in rows] for of_set in both]
    for one, two in zip(*results, strict=True):
        row = _side_by_side(one, two)
        if one.metric in FRECHET:
            row, remarks = _tested(row, both, pairing, seed=seed)
            warnings += remarks
        compared.append(row)
        warnings += _remarks(one, two)
    warnings += [line for side in used if side.pictures is not None for line in side.pictures.warnings]
    warnings += [line for of_set, of_one in zip(both, results, strict=True) for line in cautions(of_one, of_set)]
    return Comparison(sides[0].origin, sides[1].origin, tuple(compared), pairing.told, tuple(dict.fromkeys(warnings)))


def _paired(a: Given, b: Given) -> Pairing:
    if a.pictures is None or b.pictures is None:
        return Pairing(None, "unpaired: statistics have no pictures to pair")
    return pair_up(a.pictures, b.pictures)


def _tested(
    row: Compared, both: Sequence[Mapping[str, Measured]], pairing: Pairing, *, seed: int
) -> tuple[Compared, list[str]]:
    """The row with the tested difference, or as it is with the reason why there is no test."""
    reference = both[0]["reference"].side
    a, b = (of_set["generated"].side.features for of_set in both)
    if a is None or b is None:
        return row, [f"{row.metric}: not tested, for the features of A or B are not known"]
    if pairing.order is not None and list(pairing.order) != list(range(len(b))):
        b = b[list(pairing.order)]
    try:
        found = frechet_difference(
            reference.statistics,
            b,
            a,
            reference_features=reference.features,
            paired=pairing.order is not None,
            seed=seed,
        )
    except TooFewSamples as error:
        return row, [f"{row.metric}: not tested: {error}"]
    row = replace(
        row,
        difference=found.difference,
        standard_error=found.standard_error,
        ci_low=found.ci_low,
        ci_high=found.ci_high,
        p_value=found.p_value,
        bias_correction=found.bias_correction,
    )
    remarks = []
    if found.reference_fixed:
        remarks.append(f"{row.metric}: the reference is taken as fixed: its sampling is not in the standard error")
    return row, remarks
