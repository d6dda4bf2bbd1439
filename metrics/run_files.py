"""Run records on disk: NAME.json, for people and diffs, and NAME.npz, without pickle, that it names by its digest.

Equal runs give equal bytes but for the date, which $SOURCE_DATE_EPOCH fixes. Both files are written whole or not at
all, the arrays first, so that the JSON never names arrays that are not there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError, NotComparable, ParagoneError
from paragone.data.files import write_atomically
from paragone.data.records import Prompt, Task
from paragone.metrics.checks import Gate
from paragone.metrics.checks_paired import Column
from paragone.metrics.feature_statistics import FeatureStatistics, ForeignStatistics, Statistics
from paragone.metrics.run_items import Items
from paragone.metrics.run_record import SCHEMA, Measure, Packed, Recipe, RunRecord, Yardstick

Arrays = dict[str, NDArray[Any]]


def now() -> str:
    """The time in UTC, to the second; that of $SOURCE_DATE_EPOCH where it is set."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.now(UTC) if fixed is None else datetime.fromtimestamp(int(fixed), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def arrays_file(path: Path) -> Path:
    """The file of arrays beside the JSON at `path`."""
    return path.with_suffix(".npz")


def is_run_record(path: Path) -> bool:
    """Whether `path` is the JSON of a run record, judged by its suffix and its first lines."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        return SCHEMA.encode() in file.read(4096)


# ---- Writing -------------------------------------------------------------------------------------------------------


def write_run(run: RunRecord, path: Path) -> None:
    """Write `run` to `path` (.json) and its arrays beside it."""
    if path.suffix.lower() != ".json":
        raise InputError(f"{path}: a run record is a .json file (with an .npz beside it); name it so")
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **_arrays_of(run))
    document = _document_of(run, {"file": arrays_file(path).name, "sha256": _sha256(content.getvalue())})
    write_atomically(arrays_file(path), content.getvalue())
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, text.encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _document_of(run: RunRecord, arrays: dict[str, str]) -> dict[str, Any]:
    recipe = run.recipe
    return {
        "schema": SCHEMA,
        "model": run.model,
        "created": run.created,
        "version": run.version,
        "weights": run.weights or None,
        "samples": {"n": len(run.items), "sha256": run.generated, "unanswered": run.unanswered},
        "prompts": {"n": len(run.items.prompt_ids), "sha256": run.items.prompts_digest, "seeds": ranges(run.seeds)}
        if run.items.prompts is not None
        else None,
        "measured": {
            "features": recipe.features,
            "protocol": recipe.protocol,
            "metrics": list(recipe.metrics),
            "settings": {metric: dict(values) for metric, values in recipe.settings.items()},
            "seed": recipe.seed,
            "clips": dict(recipe.clips),
        },
        "yardsticks": {
            role: {
                "origin": one.origin,
                "n": one.statistics.n,
                "sha256": one.digest,
                "kept": "features" if one.packed is not None else "statistics",
            }
            for role, one in run.yardsticks.items()
        },
        "measures": {name: _measure_document(one) for name, one in run.measures.items()},
        "gates": {gate.metric: {"margin": gate.margin, "stated": gate.stated} for gate in run.gates},
        "error_rate": run.alpha,
        "power": run.power,
        "looks": [ranges(seeds) for seeds in run.looks],
        "notes": list(run.notes),
        "arrays": arrays,
    }


def _measure_document(one: Measure) -> dict[str, Any]:
    column = one.column
    return {
        "value": one.value,
        "compared": None if column is None else column.value,
        "higher_is_better": one.higher_is_better,
        "signature": one.signature,
        "method": "" if column is None else column.method,
        "of": "" if column is None else column.of,
        "is_mean": column is not None and column.is_mean,
        "depends_on_n": column is not None and column.depends_on_n,
        "reason": one.reason,
    }


def ranges(numbers: Sequence[int]) -> str:
    """Sorted numbers in words: 0-99,200."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def _arrays_of(run: RunRecord) -> Arrays:
    items = run.items
    told = {
        "names": items.names,
        "prompts": items.prompts,
        "seeds": items.seeds,
        "asked": [_prompt(one) for one in run.prompts],
    }
    arrays: Arrays = {"items": np.frombuffer(json.dumps(told, ensure_ascii=False, sort_keys=True).encode(), np.uint8)}
    for name, one in run.measures.items():
        if one.column is not None:
            arrays[f"column.{name}"] = one.column.contributions
    if run.statistics is not None:
        arrays |= _moments("generated", run.statistics)
    if run.packed is not None:
        arrays |= _packed("generated", run.packed)
    for role, side in run.yardsticks.items():
        arrays |= _moments(role, side.statistics)
        if side.packed is not None:
            arrays |= _packed(role, side.packed)
    return arrays


def _prompt(one: Prompt) -> dict[str, Any]:
    return {"id": one.id, "text": one.text, "task": one.task, "tags": list(one.tags)}


def _moments(role: str, statistics: Statistics) -> Arrays:
    """Mean and upper triangle, of the scatter where n is known, otherwise of the covariance; and the tags."""
    known = isinstance(statistics, FeatureStatistics)
    second = statistics.scatter if isinstance(statistics, FeatureStatistics) else statistics.sigma
    arrays: Arrays = {
        f"{role}.n": np.array(statistics.n if known else -1, dtype=np.int64),
        f"{role}.mean": statistics.mean,
        f"{role}.{'scatter' if known else 'sigma'}_upper": second[np.triu_indices(statistics.dim)],
    }
    for tag in ("extractor", "protocol"):
        if getattr(statistics, tag) is not None:
            arrays[f"{role}.{tag}"] = np.array(getattr(statistics, tag))
    return arrays


def _packed(role: str, packed: Packed) -> Arrays:
    return {
        f"{role}.features.mean": packed.mean,
        f"{role}.features.scale": packed.scale,
        f"{role}.features.units": packed.units,
    }


# ---- Reading -------------------------------------------------------------------------------------------------------


def read_run(path: Path) -> RunRecord:
    """The run record at `path`; raises `NotComparable` when there is none, `InputError` when it is damaged."""
    if not path.is_file():
        raise NotComparable(f"{path}: no such run record; make one with `paragone check --bless {path} …`")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable JSON file ({error})") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise InputError(f"{path}: its schema is {schema!r}, wanted {SCHEMA!r}: a file of paragone check --bless")
    try:
        return _run_of(document, _read_arrays(path, document["arrays"]))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{path}: a damaged run record ({type(error).__name__}: {error}); restore it, or delete it and bless anew"
        ) from error
    except ParagoneError as error:
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def _read_arrays(path: Path, told: Mapping[str, str]) -> Arrays:
    file = path.with_name(Path(told["file"]).name)
    if not file.is_file():
        raise InputError(f"{path}: its arrays, {file.name}, are not beside it; commit or copy both files")
    content = file.read_bytes()
    if _sha256(content) != told["sha256"]:
        raise InputError(f"{path}: {file.name} beside it is not the file it names (sha256 differs); copy both again")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: cannot be read as .npz without pickle ({error})") from error


def _run_of(document: Mapping[str, Any], arrays: Arrays) -> RunRecord:
    told = json.loads(arrays["items"].tobytes())
    prompts, seeds = told["prompts"], told["seeds"]
    items = Items(
        tuple(told["names"]), None if prompts is None else tuple(prompts), None if seeds is None else tuple(seeds)
    )
    measured = document["measured"]
    statistics = _statistics_of("generated", arrays) if "generated.n" in arrays else None
    return RunRecord(
        model=document["model"],
        created=document["created"],
        version=document["version"],
        items=items,
        generated=document["samples"]["sha256"],
        recipe=Recipe(
            features=measured["features"],
            protocol=measured["protocol"],
            metrics=tuple(measured["metrics"]),
            settings=measured["settings"],
            seed=measured["seed"],
            clips=measured["clips"],
        ),
        measures={name: _measure_of(name, one, arrays) for name, one in document["measures"].items()},
        statistics=statistics if isinstance(statistics, FeatureStatistics) else None,
        yardsticks={
            role: Yardstick(role, one["origin"], one["sha256"], _statistics_of(role, arrays), _packed_of(role, arrays))
            for role, one in document["yardsticks"].items()
        },
        packed=_packed_of("generated", arrays),
        weights=document["weights"] or "",
        gates=tuple(Gate(name, one["margin"], one["stated"]) for name, one in document["gates"].items()),
        alpha=document["error_rate"],
        power=document["power"],
        looks=tuple(numbers_in(text) for text in document["looks"]),
        prompts=tuple(Prompt(one["id"], one["text"], Task(one["task"]), tuple(one["tags"])) for one in told["asked"]),
        unanswered=document["samples"]["unanswered"],
        notes=tuple(document["notes"]),
    )


def numbers_in(text: str) -> tuple[int, ...]:
    """The whole numbers that `ranges` put in words, such as 0-3,7; raises `ValueError` for other words."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        found += range(int(first), int(last if dash else first) + 1)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{text!r}: write rising numbers, such as 0-99 or 0-3,7")
    return tuple(found)


def _measure_of(name: str, one: Mapping[str, Any], arrays: Arrays) -> Measure:
    column = None
    if one["compared"] is not None:
        column = Column(
            value=one["compared"],
            contributions=arrays[f"column.{name}"],
            of=one["of"],
            is_mean=one["is_mean"],
            method=one["method"],
            depends_on_n=one["depends_on_n"],
        )
    return Measure(name, one["higher_is_better"], one["signature"], one["value"], column, one["reason"])


def _statistics_of(role: str, arrays: Arrays) -> Statistics:
    mean = arrays[f"{role}.mean"]
    n = int(arrays[f"{role}.n"])
    second = np.zeros((mean.size, mean.size))
    second[np.triu_indices(mean.size)] = arrays[f"{role}.{'scatter' if n >= 0 else 'sigma'}_upper"]
    second += np.triu(second, 1).T
    extractor, protocol = (str(arrays[key]) if (key := f"{role}.{tag}") in arrays else None for tag in _TAGS)
    if n < 0:
        return ForeignStatistics(mean, second, source=role, extractor=extractor, protocol=protocol)
    return FeatureStatistics(n, mean, second, extractor=extractor, protocol=protocol)


_TAGS = ("extractor", "protocol")


def _packed_of(role: str, arrays: Arrays) -> Packed | None:
    if f"{role}.features.units" not in arrays:
        return None
    return Packed(*(arrays[f"{role}.features.{part}"] for part in ("mean", "scale", "units")))
