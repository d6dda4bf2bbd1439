"""Letting a generator answer a baseline's prompts and seeds, for `paragone check --generator`.

Samples go the way of every model's (one folder, one manifest, resumable). Whatever the generator raises is a failure
of the surroundings, not a regression, and so are too many answers that ended in an error.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paragone.data.errors import InfrastructureError, ParagoneError, PluginError, UsageError
from paragone.data.generators.base import GeneratorAdapter
from paragone.data.generators.runner import ManifestEntry, requests_for, write_samples
from paragone.data.images import ImageSource, read_images
from paragone.data.progress import Progress
from paragone.data.records import Prompt, Status, fingerprint

FAILURES = 0.05  # share of requests that may end in an error before a run counts as failed


def open_generator(target: str) -> GeneratorAdapter:
    """The adapter called `target`, or the object, or what the class or function returns, at `module:attribute`."""
    from paragone.data.generators.table import GENERATORS

    found: Any = GENERATORS.load(target)
    if isinstance(found, type) or not hasattr(found, "generate"):
        try:
            found = found()
        except Exception as error:
            raise PluginError(f"generator {target!r}: calling it failed: {type(error).__name__}: {error}") from error
    if not isinstance(found, GeneratorAdapter):
        raise PluginError(f"generator {target!r}: {type(found).__name__} lacks name, task or generate(requests)")
    return found


def prompts_of(path: Path | None, texts: Mapping[str, str]) -> tuple[Prompt, ...]:
    """The prompts in a .csv or .jsonl file (`prompt_id`, `prompt`) or .txt file (one a line), or the baseline's."""
    if path is None:
        if not texts:
            raise UsageError("the baseline does not hold its prompts' texts; name their file with --prompts")
        return tuple(Prompt(name, text) for name, text in texts.items())
    from paragone.metrics.captions import read_rows

    if not path.is_file():
        raise UsageError(f"{path}: no such file of prompts")
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".txt":
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        found = [(f"prompt-{number:05d}", line) for number, line in enumerate(lines)]
    else:
        found = [(str(row.get("prompt_id", "")), str(row.get("prompt", ""))) for _, row in read_rows(path, text)]
    if not found or not all(name and words for name, words in found):
        raise UsageError(f"{path}: every row needs prompt_id and prompt")
    if len({name for name, _ in found}) < len(found):
        raise UsageError(f"{path}: a prompt_id occurs twice")
    return tuple(Prompt(name, words) for name, words in found)


def generate(
    adapter: GeneratorAdapter,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    folder: Path,
    *,
    progress: Progress,
) -> ImageSource:
    """The adapter's pictures for every prompt and seed; raises `InfrastructureError` when it does not deliver."""
    weights = getattr(adapter, "fingerprint", None)
    # Without a name for its weights nothing says that samples on disk are still this generator's.
    recipe = fingerprint([adapter.name, weights if isinstance(weights, str) else secrets.token_hex(16)])
    requests = requests_for(prompts, seeds=seeds)
    try:
        entries = write_samples(adapter, requests, folder, recipe=recipe, progress=progress)
    except Exception as error:
        known = isinstance(error, ParagoneError)
        told = str(error) if known else f"{type(error).__name__}: {error}"
        raise InfrastructureError(f"generator {adapter.name!r} failed: {told}") from error
    _refuse_failures(adapter.name, entries)
    wanted = {entry.file for entry in entries if entry.file is not None}
    pictures = read_images(folder)
    return pictures.part([index for index, name in enumerate(pictures.names) if name in wanted])


def _refuse_failures(name: str, entries: Iterable[ManifestEntry]) -> None:
    all_entries = list(entries)
    failed = [entry for entry in all_entries if entry.status in (Status.ERROR, Status.TIMEOUT, Status.INVALID)]
    if len(failed) > FAILURES * len(all_entries):
        raise InfrastructureError(
            f"generator {name!r}: {len(failed):,} of {len(all_entries):,} requests ended in {failed[0].status}, first "
            f"prompt {failed[0].prompt_id!r}, seed {failed[0].seed}: {failed[0].message or 'no message'}"
        )
    if all(entry.file is None for entry in all_entries):
        raise InfrastructureError(f"generator {name!r} delivered no picture for {len(all_entries):,} requests")
