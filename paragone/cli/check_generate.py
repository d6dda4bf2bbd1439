"""Letting a generator answer a baseline's prompts and seeds, for `paragone check --generator`.

Samples go the way of every model's (one folder, one manifest, resumable). Whatever the generator raises is a failure
of the surroundings, not a regression, and so are too many answers that ended in an error.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from paragone.data.errors import InfrastructureError, ParagoneError, UsageError
from paragone.data.generators.base import GeneratorAdapter
from paragone.data.generators.described import Described, read_described
from paragone.data.generators.runner import ManifestEntry, requests_for, write_samples
from paragone.data.generators.table import description_of, load_generator
from paragone.data.images import ImageSource
from paragone.data.progress import Progress
from paragone.data.prompts import read_prompts
from paragone.data.records import Prompt, Status, Task, fingerprint
from paragone.metrics.inputs import ClipReading, open_samples

FAILURES = 0.05  # share of requests that may end in an error before a run counts as failed


class Opened(NamedTuple):
    """An adapter, and the fingerprint of what its samples depend on."""

    adapter: GeneratorAdapter
    recipe: str


def open_generator(name: str) -> Opened:
    """The generator that the `paragone.toml` here calls `name`, or an adapter of that name, or a `module:attribute`."""
    described = read_described(Path("paragone.toml")).get(name) or Described(name.rpartition(":")[2], name)
    adapter = load_generator(
        described.adapter,
        name=described.name,
        task=described.task or Task.TEXT_TO_IMAGE,
        settings=described.settings,
        base=described.base,
    )
    made_by = description_of(adapter, described.adapter, described.settings)
    if ":" in described.adapter and "weights" not in made_by:
        # Code without a name for its weights: nothing says that samples on disk are still this generator's.
        made_by["run"] = secrets.token_hex(16)
    return Opened(adapter, fingerprint(made_by))


def prompts_of(path: Path | None, known: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    """The prompts in a file (paragone.data.prompts), or the baseline's own."""
    prompts = known if path is None else tuple(read_prompts(path))
    if not prompts:
        raise UsageError("the baseline does not hold its prompts' words; name their file with --prompts")
    with_pictures = [prompt.id for prompt in prompts if prompt.source is not None]
    if with_pictures:
        raise UsageError(
            f"prompt {with_pictures[0]!r} starts from a picture: use `paragone generate`, and check the folder it fills"
        )
    return prompts


def generate(
    opened: Opened,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    folder: Path,
    *,
    clips: ClipReading,
    progress: Progress,
) -> ImageSource:
    """The adapter's pictures for every prompt and seed; raises `InfrastructureError` when it does not deliver."""
    adapter = opened.adapter
    requests = requests_for(prompts, seeds=seeds)
    try:
        entries = write_samples(adapter, requests, folder, recipe=opened.recipe, progress=progress)
    except Exception as error:
        known = isinstance(error, ParagoneError)
        told = str(error) if known else f"{type(error).__name__}: {error}"
        raise InfrastructureError(f"generator {adapter.name!r} failed: {told}") from error
    _refuse_failures(adapter.name, entries)
    wanted = {entry.file for entry in entries if entry.file is not None}
    pictures = open_samples(folder, on_error="raise", clips=clips)
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
