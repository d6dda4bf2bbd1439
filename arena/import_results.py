"""Results of metrics into a store: those of `paragone metrics --json`, and VBench's."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from paragone.arena.importing import Imported
from paragone.arena.store import Store
from paragone.data.errors import InputError
from paragone.data.records import METRICS_SCHEMA, GeneratorCard, MetricResult
from paragone.data.vbench import is_vbench, vbench_results

NUMBERS = ("value", "standard_error", "ci_low", "ci_high")


def import_results(store: Store, source: Path, *, model: str) -> Imported:
    """Add the results in a JSON file as measurements of `model`, which is made when there is none.

    A result of the same metric and signature is replaced. Raises `InputError` that names the file and what is wrong
    with it; nothing is stored then.
    """
    results, notes = _read(source)
    done = Imported(notes=notes)
    if not model.strip():
        raise InputError("a model needs a name: write --model NAME")
    if model not in {card.name for card in store.generators()}:
        store.add_generators([GeneratorCard(model)])
        done.new["generators"] += 1
    known = store.metric_results()
    rows = known[known["model"] == model]
    there = set(zip(rows["metric"], rows["signature"], rows["value"], strict=True))
    for result in results:
        key = (result.metric, result.signature, result.value)
        (done.present if key in there else done.new)["metric_results"] += 1
    store.add_metric_results(model, results)
    return done


def _read(source: Path) -> tuple[list[MetricResult], list[str]]:
    try:
        document = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: not a JSON file of results ({error})") from error
    if isinstance(document, dict) and document.get("schema") == METRICS_SCHEMA:
        return _ours(source, document), []
    if is_vbench(document):
        found = vbench_results(document, str(source))
        return list(found.results), list(found.notes)
    raise InputError(
        f"{source}: neither {METRICS_SCHEMA} (of `paragone metrics --json`) nor VBench's results (a score and a list "
        "of videos for each dimension)"
    )


def _ours(source: Path, document: dict[str, Any]) -> list[MetricResult]:
    known = {field.name for field in fields(MetricResult)}
    results = []
    for number, row in enumerate(document.get("results") or [], start=1):
        if not isinstance(row, dict) or not row.keys() <= known:
            raise InputError(f"{source}: result {number} is not one of `paragone metrics --json`")
        try:
            result = MetricResult(**row)
        except TypeError as error:
            raise InputError(f"{source}: result {number} is not whole ({error})") from error
        for name in NUMBERS:
            value = getattr(result, name)
            missing = value is None and name != "value"
            if not missing and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise InputError(f"{source}: result {number}: {name} is {value!r}, which is no number")
        results.append(result)
    if not results:
        raise InputError(f"{source}: holds no results")
    return results
