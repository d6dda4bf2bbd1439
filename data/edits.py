"""Edits of pictures: what was there, what was asked for, what came of it, and where it was to happen.

A table of edits (.csv or .jsonl) has the columns `source`, `result` and `instruction`, and may have `mask`,
`source_caption` and `target_caption`. Paths are relative to the table. In a mask, white (luminance of at least 128) may
change, and black is to stay.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paragone.data.decoding import decode_picture
from paragone.data.errors import InputError, UnreadableImage
from paragone.data.generators.runner import MANIFEST, read_manifest
from paragone.data.records import Prompt
from paragone.data.table_files import SUFFIXES, read_text, rows_of

NEEDED = ("source", "result", "instruction")
OPTIONAL = ("mask", "source_caption", "target_caption")


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit; `name` says which in messages and tables. Captions describe the picture before and after."""

    name: str
    source: Path
    result: Path
    instruction: str
    mask: Path | None = None
    source_caption: str | None = None
    target_caption: str | None = None


def is_table_of_edits(path: str | os.PathLike[str]) -> bool:
    """Whether `path` looks like a table of edits: no other set of pictures is a .csv or .jsonl file."""
    return Path(path).suffix.lower() in SUFFIXES


def read_edits(path: str | os.PathLike[str]) -> tuple[Edit, ...]:
    """The edits of a table, in its order; files are looked for, and not opened.

    Raises `InputError` that names the line for a missing column, value or file, and for a result that occurs twice.
    """
    file = Path(path)
    rows = rows_of(file, read_text(file, what="edits"), what="edits")
    if not rows:
        raise InputError(f"{file}: no edits there")
    if missing := [name for name in NEEDED if name not in rows[0][1]]:
        raise InputError(f"{file}: no column {missing[0]}; edits have {', '.join(NEEDED)}, and may have {_optional()}")
    edits = [_edit(f"{file}: line {line}", row, file.parent) for line, row in rows]
    _refuse_repeated(str(file), edits)
    return tuple(edits)


def edits_of_folder(folder: Path, prompts: Mapping[str, Prompt], project: Path) -> tuple[Edit, ...]:
    """The edits of a model's folder with a manifest: its samples that are ok, with the source and mask of their prompt.

    Paths of `prompts` (by id) are relative to `project`. Raises `InputError` when one has no source, or is unknown.
    """
    edits = []
    for entry in read_manifest(folder):
        if entry.file is None:
            continue
        prompt = prompts.get(entry.prompt_id)
        if prompt is None or not prompt.source:
            wrong = "is unknown" if prompt is None else "has no source picture"
            raise InputError(f"{folder / MANIFEST}: {entry.file} answers prompt {entry.prompt_id}, which {wrong}")
        row = {"source": prompt.source, "mask": prompt.mask, "instruction": prompt.text}
        edits.append(_edit(f"prompt {prompt.id}", row | {"result": str((folder / entry.file).resolve())}, project))
    if not edits:
        raise InputError(f"{folder}: no samples that are ok in its {MANIFEST}")
    return tuple(edits)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] of a file, by the policies of every metric; raises `UnreadableImage`."""
    try:
        return decode_picture(path.read_bytes(), str(path)).pixels
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read ({error})") from error


def _edit(where: str, row: Mapping[str, Any], base: Path) -> Edit:
    values = {name: _text(where, name, row.get(name)) for name in (*NEEDED, *OPTIONAL)}
    for name in NEEDED:
        if values[name] is None:
            raise InputError(f"{where}: no {name}; every edit needs one")
    files = {name: base / value for name in ("source", "result", "mask") if (value := values[name]) is not None}
    for name, path in files.items():
        if not path.is_file():
            raise InputError(f"{where}: {name}: no file {values[name]}")
    return Edit(
        name=str(values["result"]) if not Path(str(values["result"])).is_absolute() else files["result"].name,
        source=files["source"],
        result=files["result"],
        instruction=str(values["instruction"]),
        mask=files.get("mask"),
        source_caption=values["source_caption"],
        target_caption=values["target_caption"],
    )


def _text(where: str, name: str, value: Any) -> str | None:
    """A value without white space around it; None where there is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise InputError(f"{where}: {name} is a {type(value).__name__}, not text")
    return value.strip()


def _refuse_repeated(origin: str, edits: Sequence[Edit]) -> None:
    seen: set[Path] = set()
    for edit in edits:
        if edit.result in seen:
            raise InputError(f"{origin}: the result {edit.name} occurs twice")
        seen.add(edit.result)


def _optional() -> str:
    return ", ".join(OPTIONAL)
