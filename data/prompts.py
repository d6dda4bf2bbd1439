"""Files of prompts: a line each (.txt), a JSON object each (.jsonl, or a list in .json), or a row each (.csv).

Columns: `text` (or `prompt`), and where wanted `id` (or `prompt_id`), `task`, `tags` (a list, or words with ; between),
`source` and `mask` (pictures, relative to the file). What else is in a row is left aside. A prompt without an id gets
one from its words, so that the same words have the same name in every file.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paragone.data.errors import InputError
from paragone.data.media import MediaFolder
from paragone.data.records import Prompt, Task, fingerprint

FORMATS = (".txt", ".jsonl", ".json", ".csv")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
SLUG = 40  # characters of the words that an id repeats


def read_prompts(path: Path, *, task: Task = Task.TEXT_TO_IMAGE) -> list[Prompt]:
    """The prompts of a file, in order; `task` is that of prompts which do not say theirs.

    Raises `InputError` that names the row for an empty text, an unknown task, or an id that stands for two prompts.
    """
    prompts: dict[str, Prompt] = {}
    for number, row in _rows(path):
        prompt = _prompt(row, task, f"{path}, row {number}")
        if prompt.id in prompts:
            raise InputError(f"{path}, row {number}: the prompt {prompt.id!r} is there already; each needs its own id")
        prompts[prompt.id] = prompt
    if not prompts:
        raise InputError(f"{path}: has no prompts")
    return list(prompts.values())


def prompt_id_of(text: str, *also: object) -> str:
    """An id made of the words, readable, and different for different prompts."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:SLUG].strip("-")
    return f"{slug or 'prompt'}-{fingerprint([text, *map(str, also)])[:8]}"


def place_pictures(prompts: list[Prompt], *, beside: Path, project: Path) -> list[Prompt]:
    """The prompts with their pictures, given relative to the folder `beside`, as paths of the project.

    A picture that lies in the project stays where it is; others are copied into its `media/`, by content. Raises
    `InputError` when a picture is missing.
    """
    return [
        replace(
            prompt,
            source=_placed(prompt, "source", prompt.source, beside, project),
            mask=_placed(prompt, "mask", prompt.mask, beside, project),
        )
        for prompt in prompts
    ]


def _placed(prompt: Prompt, what: str, path: str | None, beside: Path, project: Path) -> str | None:
    if path is None:
        return None
    found = (beside / path).resolve()
    if not found.is_file():
        raise InputError(f"prompt {prompt.id!r}: its {what} {found} is not there")
    if found.is_relative_to(project.resolve()):
        return found.relative_to(project.resolve()).as_posix()
    if found.suffix.lower() not in PICTURES:
        raise InputError(f"prompt {prompt.id!r}: its {what} {found} is none of {', '.join(PICTURES)}")
    return MediaFolder(project).put(found.read_bytes(), suffix=found.suffix)


def _prompt(row: Mapping[str, Any], task: Task, where: str) -> Prompt:
    text = _first(row, "text", "prompt")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: has no text")
    asked = row.get("task") or task
    if asked not in tuple(Task):
        raise InputError(f"{where}: task {asked!r}; use one of {', '.join(Task)}")
    tags = row.get("tags") or ()
    if isinstance(tags, str):
        tags = re.split("[;,]", tags)
    if not isinstance(tags, (list, tuple)) or not all(isinstance(tag, str) for tag in tags):
        raise InputError(f"{where}: tags are a list of words, or words with ; between")
    source, mask = row.get("source") or None, row.get("mask") or None
    given = _first(row, "id", "prompt_id")
    name = str(given) if given not in (None, "") else prompt_id_of(text, asked, *filter(None, (source, mask)))
    words = tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    return Prompt(name, text, Task(asked), words, source, mask)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"{path}: the suffix says what is in it; use one of {', '.join(FORMATS)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if suffix == ".txt":
        yield from ((n, {"text": line.strip()}) for n, line in enumerate(text.splitlines(), 1) if line.strip())
    elif suffix == ".csv":
        reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
        if not {"text", "prompt"} & set(reader.fieldnames or ()):
            raise InputError(f"{path}: has no column text")
        yield from enumerate(reader, start=2)
    else:
        yield from _json_rows(path, text, lines=suffix == ".jsonl")


def _json_rows(path: Path, text: str, *, lines: bool) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: is no JSON: {error}") from error
    if not isinstance(rows, list):
        raise InputError(f"{path}: holds no list of prompts")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, (dict, str)):
            raise InputError(f"{path}, row {number}: is neither an object nor a text")
        yield number, {"text": row} if isinstance(row, str) else row


def _first(row: Mapping[str, Any], *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)
