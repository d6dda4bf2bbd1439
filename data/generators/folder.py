"""Samples that exist already: a folder of outputs, found by a manifest or by a rule for their names.

    pattern = "{prompt_id}-{seed}.png"      one file a request; {seed:06d} and other formats of Python work
    pattern = "{prompt}-{seed}.mp4"         VBench's names: the words of the prompt and 0 to 4
    pattern = "{prompt_id}/{seed}"          without a suffix, whichever picture or clip of that name is there

A manifest (jsonl or csv) has a row a sample: `file` (relative to the folder), `prompt_id` or `prompt`, `seed` (0 when
there is none), and, where they are known, `status`, `message`, `latency_s`, `cost_usd`, `revised_prompt`,
`model_served`. Files are kept byte for byte. A request without a file is an error that says which file was looked for.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any

from paragone.data.errors import InputError, UsageError
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.media import delivered
from paragone.data.generators.pricing import money
from paragone.data.records import Status, Task

MANIFESTS = ("manifest.jsonl", "manifest.csv")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".webm")
FIELDS = ("prompt_id", "prompt", "seed")
PATTERN = "{prompt_id}-{seed}"


@dataclass
class FolderGenerator:
    """Answers each request with the file that is there for it."""

    name: str
    task: Task
    path: Path
    pattern: str | None = None
    manifest: Path | None = None  # by default, manifest.jsonl or manifest.csv in the folder
    keep_going: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path)
        if not self.path.is_dir():
            raise InputError(f"{self.path}: no such folder")
        if self.pattern is not None and self.manifest is not None:
            raise UsageError(f"{self.name}: both pattern and manifest say where files lie; leave out one")
        found = self.manifest or next((self.path / name for name in MANIFESTS if (self.path / name).is_file()), None)
        self._rows = None if self.pattern is not None or found is None else _rows_by_request(found)
        self.pattern = self.pattern or PATTERN
        _check_pattern(self.pattern)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """What the folder holds for each request."""
        return (self._answer(request) for request in requests)

    def _answer(self, request: GenerationRequest) -> Generation:
        row: Mapping[str, Any] = {}
        if self._rows is not None:
            found = self._rows.get(request.key) or self._rows.get((f"\n{request.prompt.text}", request.seed))
            if found is None:
                return Generation(request, status=Status.ERROR, message="the manifest has no row for this request")
            row = found
        facts = _facts(row, f"{self.path}: prompt {request.prompt.id!r}, seed {request.seed}")
        status = Status(row.get("status") or Status.OK)
        if status is not Status.OK:
            return Generation(request, status=status, message=str(row.get("message") or f"{status} in the manifest"))
        try:
            path = self._inside(str(row["file"])) if row else self._file(request)
            return Generation(request, file=delivered(path.read_bytes(), str(path)), **facts)
        except (OSError, InputError) as error:
            return Generation(request, status=Status.ERROR, message=str(error))

    def _file(self, request: GenerationRequest) -> Path:
        assert self.pattern is not None  # set by __post_init__
        words = {"prompt_id": request.prompt.id, "prompt": request.prompt.text, "seed": request.seed}
        named = self._inside(self.pattern.format(**words))
        if named.suffix.lower() in SUFFIXES:
            return named
        for suffix in SUFFIXES:
            if (path := named.with_name(named.name + suffix)).is_file():
                return path
        raise InputError(f"{named}.*: no such picture or clip")

    def _inside(self, relative: str) -> Path:
        path = self.path / relative
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise InputError(f"{path}: lies outside of {self.path}")
        return path


def _check_pattern(pattern: str) -> None:
    try:
        names = [name for _, name, _, _ in Formatter().parse(pattern) if name is not None]
    except ValueError as error:
        raise UsageError(f"pattern {pattern!r}: {error}") from None
    if not names or not set(names) <= set(FIELDS):
        raise UsageError(f"pattern {pattern!r}: write it with {{prompt_id}} or {{prompt}}, and {{seed}}")


def _rows_by_request(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows by (prompt id, seed); where a row gives the words of a prompt only, by these after a line break."""
    table: dict[tuple[str, int], dict[str, Any]] = {}
    ours = False
    for number, row in enumerate(_rows(path), start=1):
        if "prompt_id" not in row and "prompt" not in row:
            if row.get("schema"):  # the first line of a manifest of ours, where the last of several attempts counts
                ours = True
                continue
            raise InputError(f"{path}, row {number}: needs prompt_id or prompt")
        try:
            seed = int(row.get("seed") or row.get("index") or 0)
            Status(row.get("status") or Status.OK)
        except ValueError as error:
            raise InputError(f"{path}, row {number}: {error}") from None
        if not row.get("file") and (row.get("status") or Status.OK) == Status.OK:
            raise InputError(f"{path}, row {number}: names no file, and no status that says why")
        key = str(row["prompt_id"]) if row.get("prompt_id") else f"\n{row['prompt']}"
        if (key, seed) in table and not ours:
            raise InputError(f"{path}, row {number}: prompt {key.strip()!r}, seed {seed} has two rows")
        table[key, seed] = row
    return table


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".csv":
            yield from csv.DictReader(text.splitlines())
            return
        for line in text.splitlines():
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"{line[:40]!r} is no object")
                yield row
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a manifest: {error}") from error


def _facts(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a row says of a sample besides its file."""
    facts: dict[str, Any] = {field: row[field] for field in ("revised_prompt", "model_served") if row.get(field)}
    if row.get("latency_s"):
        facts["latency_s"] = float(row["latency_s"])
    if row.get("cost_usd"):
        facts["cost_usd"] = money(str(row["cost_usd"]), f"{name}: cost_usd")
    return facts
