"""Scores of single samples that were made elsewhere (by a judge, a classifier, a person) as measures of a run.

A .csv or .jsonl file has one row a sample: `file`, or `prompt_id` and `seed`, and one column a score. Columns `judge`
and `template`, which must then be the same in every row, say who scored and with which words; both are part of what has
to agree between two runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paragone.data.errors import InputError, UsageError
from paragone.data.records import fingerprint
from paragone.data.table_files import rows_of
from paragone.metrics.checks_columns import mean_column
from paragone.metrics.run_items import Items
from paragone.metrics.run_record import Measure

IDENTITY = ("judge", "template")
KEYS = ("file", "prompt_id", "seed", "prompt")
_PLAIN = re.compile(r"[\w./@+-]{1,80}")  # what may stand in a signature as it is; otherwise its digest does


def read_scores(path: Path, items: Items, *, lower_is_better: Collection[str] = ()) -> list[Measure]:
    """The measures in `path`, in the order of `items`; raises `InputError` that names the row or sample at fault."""
    if not path.is_file():
        raise InputError(f"{path}: no such file of scores")
    try:
        rows = rows_of(path, path.read_text(encoding="utf-8-sig"), what="scores")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    if not rows:
        raise InputError(f"{path}: no rows; one a sample is wanted")
    columns = [name for name in rows[0][1] if name not in (*KEYS, *IDENTITY)]
    unknown = sorted(set(lower_is_better) - set(columns))
    if not columns or unknown:
        wrong = f"no column {unknown[0]!r}" if unknown else "no column of scores"
        raise UsageError(f"{path}: {wrong}; there are {', '.join(columns) or 'none but keys'}")
    by_key = _by_key(path, rows, items)
    missing = [name for name, key in zip(items.names, _keys(rows[0][1], items, path), strict=True) if key not in by_key]
    if missing:
        raise InputError(f"{path}: {len(missing)} of {len(items)} samples have no row there, first {missing[0]}")
    order = [by_key[key] for key in _keys(rows[0][1], items, path)]
    signature = _signature(path, rows)
    found = []
    for name in columns:
        column = mean_column(np.array([_number(path, line, row, name) for line, row in order]))
        text = f"{name}|{signature}n:{len(items)}"
        found.append(Measure(name, name not in lower_is_better, text, column.value, column))
    return found


def _keys(first: Mapping[str, Any], items: Items, path: Path) -> list[tuple[str, ...]]:
    """What each sample is called in this file."""
    if "file" in first:
        return [(name,) for name in items.names]
    if "prompt_id" in first and "seed" in first and items.prompts is not None and items.seeds is not None:
        return [(prompt, str(seed)) for prompt, seed in zip(items.prompts, items.seeds, strict=True)]
    raise InputError(
        f"{path}: its rows need the column file"
        + (", or prompt_id and seed" if items.prompts is not None else " (the samples have no manifest)")
    )


def _by_key(
    path: Path, rows: list[tuple[int, dict[str, Any]]], items: Items
) -> dict[tuple[str, ...], tuple[int, dict[str, Any]]]:
    names = ("file",) if "file" in rows[0][1] else ("prompt_id", "seed")
    found: dict[tuple[str, ...], tuple[int, dict[str, Any]]] = {}
    for line, row in rows:
        key = tuple(str(row.get(name, "")) for name in names)
        if key in found:
            raise InputError(f"{path}: line {line}: {' '.join(key)} occurs twice")
        found[key] = line, row
    return found


def _number(path: Path, line: int, row: Mapping[str, Any], name: str) -> float:
    try:
        value = float(row[name])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or isinstance(row.get(name), bool):
        raise InputError(f"{path}: line {line}: {name} is {row.get(name)!r}, no number; leave no sample unscored")
    return value


def _signature(path: Path, rows: list[tuple[int, dict[str, Any]]]) -> str:
    parts = []
    for name in IDENTITY:
        values = {str(row[name]) for _, row in rows if row.get(name) not in (None, "")}
        if len(values) > 1:
            raise InputError(f"{path}: {len(values)} values of {name}; the scores of one run are made in one way")
        parts += [f"{name}:{value if _PLAIN.fullmatch(value) else fingerprint(value)[:12]}|" for value in values]
    return "".join(parts)
