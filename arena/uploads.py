"""Samples from outside: a folder, a zip or loose files, with a table that says what each picture is.

`manifest.csv` has a row a picture: file, model, prompt_id, seed, and where known latency_s and cost_usd. Everything is
checked before anything is stored, and all problems are named at once. Pictures are then stored by content, and their
rows in one transaction: an upload is in the arena whole or not at all. A run that was killed is started again; what
is there already is left alone.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

from paragone.arena.store import Store
from paragone.arena.upload_pictures import PictureFacts, inspect_picture
from paragone.arena.upload_sources import MANIFEST, Limits, Source, check_name, open_source
from paragone.data.errors import InputError, ParagoneError
from paragone.data.files import file_digest
from paragone.data.media import MediaFolder
from paragone.data.progress import Progress, silent
from paragone.data.records import Prompt, Sample, Task, sample_id

__all__ = ["Limits", "Upload", "check_upload", "ingest_samples", "read_manifest", "read_prompts", "store_upload"]

REQUIRED = ("file", "model", "prompt_id", "seed")
OPTIONAL = ("latency_s", "cost_usd")
PROMPT_COLUMNS = ("id", "text", "task", "tags", "source", "mask")
PICTURE_TASKS = (Task.TEXT_TO_IMAGE, Task.IMAGE_EDITING)
MOST_SEED = 2**63 - 1
NAMED = 20  # problems that a refusal names
_SEED = re.compile("[0-9]{1,19}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a manifest."""

    file: str
    model: str
    prompt_id: str
    seed: int
    latency_s: float | None = None
    cost_usd: Decimal | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What names a sample."""
        return self.model, self.prompt_id, self.seed


@dataclass(frozen=True, slots=True)
class Upload:
    """What a check found: the rows to store with their pictures' facts, or what is wrong."""

    new: tuple[tuple[Row, PictureFacts], ...]
    n_known: int  # rows that are in the store already, picture and all
    n_bytes: int
    problems: tuple[str, ...]  # empty when all is well; nothing is stored otherwise


def ingest_samples(
    store: Store,
    folder: Path,
    source: Path | bytes | Mapping[str, bytes],
    *,
    manifest: Sequence[Row] | None = None,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> Upload:
    """Check an upload and store all of it in the project `folder` and its `store`; raises `InputError` or stores all.

    Args:
        store: the arena; models and prompts must be in it.
        folder: the project folder; pictures go to its `media/`.
        source: a folder or a zip archive with `manifest.csv` at its top, a zip's bytes, or files by name.
        manifest: the rows, where the source has no table.
        limits: how much one upload may be.
        progress: told of every picture, twice (checked, stored).
    """
    with open_source(source, limits=limits or Limits()) as files:
        upload = check_upload(store, files, manifest=manifest, progress=progress)
        if upload.problems:
            more = f" (and {len(upload.problems) - 1} more problems)" if len(upload.problems) > 1 else ""
            raise InputError(f"{upload.problems[0]}{more}; nothing was stored")
        store_upload(store, folder, files, upload, progress=progress)
        return upload


def check_upload(
    store: Store, files: Source, *, manifest: Sequence[Row] | None = None, progress: Progress = silent
) -> Upload:
    """Check all of an upload; stores nothing."""
    names = set(files.names)
    if manifest is None and MANIFEST not in names:
        return Upload((), 0, 0, (f"{MANIFEST}: is missing; it has the columns {', '.join(REQUIRED)}",))
    try:
        rows = read_manifest(files.read(MANIFEST)) if manifest is None else list(manifest)
    except ParagoneError as error:
        return Upload((), 0, 0, (str(error),))
    problems = list(_first(_row_problems(store, rows, names - {MANIFEST}), NAMED))
    facts, unreadable = _inspect_all(files, rows, progress) if not problems else ({}, [])
    if problems or unreadable:
        return Upload((), 0, 0, tuple(problems + unreadable))
    known = _known(store, rows)
    clashes = [
        f"{row.file}: {row.model!r} has another picture for prompt {row.prompt_id!r} and seed {row.seed}; a new "
        "checkpoint needs a new name"
        for row in rows
        if row.key in known and known[row.key] != facts[row.file].sha256
    ]
    new = tuple((row, facts[row.file]) for row in rows if row.key not in known)
    size = sum(fact.n_bytes for _, fact in new)
    return Upload(new, len(rows) - len(new) - len(clashes), size, tuple(clashes[:NAMED]))


def store_upload(store: Store, folder: Path, files: Source, upload: Upload, *, progress: Progress = silent) -> None:
    """Store what a check let pass: pictures first, then all rows in one transaction."""
    if upload.problems:
        raise InputError(f"{upload.problems[0]}; nothing was stored")
    media = MediaFolder(folder)
    samples = []
    for done, (row, fact) in enumerate(upload.new):
        progress("storing", done, len(upload.new))
        path = media.put(files.read(row.file), suffix=fact.suffix)
        if file_digest(folder / path) != fact.sha256:
            raise InputError(f"{row.file}: changed after it was checked; upload it again")
        samples.append(
            Sample(
                id=sample_id(*row.key, fact.sha256),
                sha256=fact.sha256,
                path=path,
                prompt_id=row.prompt_id,
                model=row.model,
                seed=row.seed,
                width=fact.width,
                height=fact.height,
                latency_s=row.latency_s,
                cost_usd=row.cost_usd,
            )
        )
    store.add_samples(samples)


def read_manifest(content: bytes) -> list[Row]:
    """The rows of a manifest; raises `InputError` that names the row (the header is row 1)."""
    rows = []
    for number, cells in _table(content, MANIFEST, REQUIRED, OPTIONAL):
        where = f"{MANIFEST}, row {number}"
        if not _SEED.fullmatch(cells["seed"]) or int(cells["seed"]) > MOST_SEED:
            raise InputError(f"{where}: seed {cells['seed']!r} is not a whole number from 0 to {MOST_SEED}")
        check_name(cells["file"])
        rows.append(
            Row(
                cells["file"],
                cells["model"],
                cells["prompt_id"],
                int(cells["seed"]),
                _seconds(cells.get("latency_s", ""), where),
                amount(cells.get("cost_usd", ""), f"{where}: cost_usd"),
            )
        )
    if not rows:
        raise InputError(f"{MANIFEST}: has no rows; it needs one a picture")
    return rows


def read_prompts(content: bytes) -> list[Prompt]:
    """Prompts from a table with the columns id, text and, where wanted, task, tags (with ; between), source, mask."""
    prompts = []
    for number, cells in _table(content, "prompts.csv", PROMPT_COLUMNS[:2], PROMPT_COLUMNS[2:]):
        task = cells.get("task") or str(Task.TEXT_TO_IMAGE)
        if task not in tuple(Task):
            raise InputError(f"prompts.csv, row {number}: task {task!r}; use one of {', '.join(Task)}")
        tags = split_tags(cells.get("tags", ""))
        inputs = (cells.get(name) or None for name in ("source", "mask"))
        prompts.append(Prompt(cells["id"], cells["text"], Task(task), tags, *inputs))
    return prompts


def split_tags(text: str) -> tuple[str, ...]:
    """Tags written with ; or , between them, each once, in their order."""
    return tuple(dict.fromkeys(tag for tag in (part.strip() for part in re.split("[;,]", text)) if tag))


def amount(text: str, what: str) -> Decimal | None:
    """USD as written, None for an empty text; raises `InputError` for what is no amount."""
    if not text.strip():
        return None
    try:
        usd = Decimal(text.strip())
    except InvalidOperation:
        raise InputError(f"{what}: {text!r} is not an amount in USD; write 0.04") from None
    if not usd.is_finite() or usd < 0:
        raise InputError(f"{what}: {text!r} is not an amount in USD; write 0.04")
    return usd


def _seconds(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InputError(f"{where}: latency_s {text!r} is not a number of seconds")
    return seconds


def _table(
    content: bytes, name: str, required: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and cells of each row of a CSV in UTF-8; unknown columns and empty cells of required ones are errors."""
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = [column.strip() for column in reader.fieldnames or ()]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{name}: not a CSV table in UTF-8 ({error})") from error
    reader.fieldnames = header
    if missing := [column for column in required if column not in header]:
        raise InputError(f"{name}: has no column {missing[0]!r}; it needs {', '.join(required)}")
    if strange := [column for column in header if column not in (*required, *optional)]:
        raise InputError(f"{name}: has an unknown column {strange[0]!r}; use {', '.join((*required, *optional))}")
    try:
        for number, cells in enumerate(reader, start=2):
            if None in cells or None in cells.values():
                raise InputError(f"{name}, row {number}: has another number of cells than the header")
            plain = {column: cell.strip() for column, cell in cells.items()}
            if empty := [column for column in required if not plain[column]]:
                raise InputError(f"{name}, row {number}: {empty[0]} is empty")
            yield number, plain
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: not a CSV table ({error})") from error


def _row_problems(store: Store, rows: Sequence[Row], names: set[str]) -> Iterator[str]:
    """What is wrong with the rows, before any picture is read."""
    models = {card.name for card in store.generators()}
    tasks = {prompt.id: prompt.task for prompt in store.prompts()}
    first_of: dict[object, int] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{MANIFEST}, row {number}"
        if row.file not in names:
            yield f"{where}: there is no file {row.file!r} in the upload"
        if row.model not in models:
            yield f"{where}: there is no model {row.model!r}; add it first"
        if row.prompt_id not in tasks:
            yield f"{where}: there is no prompt {row.prompt_id!r}; add it first"
        elif tasks[row.prompt_id] not in PICTURE_TASKS:
            yield f"{where}: prompt {row.prompt_id!r} asks for a video; pictures are uploaded here"
        for value, what in ((row.file, "file"), (row.key, "model, prompt and seed")):
            if (first := first_of.setdefault(value, number)) != number:
                yield f"{where}: has the same {what} as row {first}"
    if stray := sorted(names - {row.file for row in rows}):
        yield f"{stray[0]}: is not in the manifest ({len(stray)} such); list it there, or leave it out"


def _inspect_all(files: Source, rows: Sequence[Row], progress: Progress) -> tuple[dict[str, PictureFacts], list[str]]:
    facts: dict[str, PictureFacts] = {}
    problems: list[str] = []
    for done, row in enumerate(rows):
        progress("checking", done, len(rows))
        try:
            facts[row.file] = inspect_picture(files.read(row.file), row.file)
        except InputError as error:
            problems.append(str(error))
            if len(problems) == NAMED:
                break
    return facts, problems


def _known(store: Store, rows: Sequence[Row]) -> dict[tuple[str, str, int], str]:
    """sha256 of the samples that are there already, by model, prompt and seed."""
    wanted = {row.key for row in rows}
    known = {}
    for model in {row.model for row in rows}:
        for sample in store.samples(model=model):
            if (key := (sample.model, sample.prompt_id, sample.seed)) in wanted:
                known[key] = sample.sha256
    return known


def _first(found: Iterable[T], n: int) -> Iterator[T]:
    return (value for value, _ in zip(found, range(n), strict=False))
