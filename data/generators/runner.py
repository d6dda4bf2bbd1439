"""From a generator to files: the one path that every model's samples take.

A model's folder holds one file a sample and `manifest.jsonl`: a first line with the recipe's fingerprint, then one
line a request with its status, the file's name and its sha256. Requests are answered in fixed chunks; a run that was
killed goes on with the first chunk that is not whole on disk, and ends with the same bytes as a run that was not.
Anything but `ok` is kept in the manifest as it is: a refusal is a result, not a gap.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paragone.data.errors import InputError
from paragone.data.files import file_digest, write_atomically
from paragone.data.generators.base import Generation, GenerationRequest, GeneratorAdapter
from paragone.data.progress import Progress, silent
from paragone.data.records import Prompt, Sample, Status, fingerprint, sample_id

CHUNK = 250  # requests answered in one call; part of what makes a resumed run equal to an unbroken one
MANIFEST = "manifest.jsonl"


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """How one request ended. `file`, `sha256` and the size are None unless `status` is ok."""

    prompt_id: str
    seed: int
    status: Status
    file: str | None = None
    sha256: str | None = None
    width: int | None = None  # px
    height: int | None = None  # px
    message: str = ""
    latency_s: float | None = None
    cost_usd: str | None = None  # a decimal number in words, so that no cent is lost

    @property
    def key(self) -> tuple[str, int]:
        """What was asked: prompt and seed."""
        return self.prompt_id, self.seed


def requests_for(prompts: Sequence[Prompt], *, seeds: Sequence[int]) -> list[GenerationRequest]:
    """Every prompt with every seed, prompt by prompt."""
    return [GenerationRequest(prompt, seed) for prompt in prompts for seed in seeds]


def write_samples(
    adapter: GeneratorAdapter,
    requests: Sequence[GenerationRequest],
    folder: Path,
    *,
    recipe: str,
    progress: Progress = silent,
) -> list[ManifestEntry]:
    """Answer what is still missing in `folder` and return the entries of all `requests`, in their order.

    `recipe` is the fingerprint of the model's weights and settings: samples of another recipe are never mixed in,
    they are made anew. Raises `InputError` when the adapter leaves a request unanswered or answers one that was not
    asked.
    """
    done = {entry.key: entry for entry in read_manifest(folder, recipe=recipe) if is_whole(folder, entry)}
    chunks = [requests[start : start + CHUNK] for start in range(0, len(requests), CHUNK)]
    task = f"sample {adapter.name}"
    for number, chunk in enumerate(chunks):
        if not all((request.prompt.id, request.seed) in done for request in chunk):
            done |= {entry.key: entry for entry in _answer(adapter, chunk, folder)}
            _write_manifest(folder, recipe, list(done.values()))
        progress(task, min((number + 1) * CHUNK, len(requests)), len(requests))
    return [done[request.prompt.id, request.seed] for request in requests]


def read_manifest(folder: Path, *, recipe: str | None = None) -> list[ManifestEntry]:
    """The entries of `folder`; none when there is no manifest, or one of another `recipe`."""
    path = folder / MANIFEST
    if not path.is_file():
        return []
    try:
        head, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if recipe is not None and head["recipe"] != recipe:
            return []
        return [ManifestEntry(**line | {"status": Status(line["status"])}) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a manifest of samples ({error}); delete it to make the samples anew") from error


def to_sample(entry: ManifestEntry, *, model: str, folder: str) -> Sample:
    """The sample of an entry that is ok; `folder` is the model's folder relative to the project."""
    if entry.status is not Status.OK or entry.sha256 is None or entry.width is None or entry.height is None:
        raise InputError(f"{model}: prompt {entry.prompt_id}, seed {entry.seed} has no sample: {entry.status}")
    return Sample(
        id=sample_id(model, entry.prompt_id, entry.seed, entry.sha256),
        sha256=entry.sha256,
        path=f"{folder}/{entry.file}",
        prompt_id=entry.prompt_id,
        model=model,
        seed=entry.seed,
        width=entry.width,
        height=entry.height,
        latency_s=entry.latency_s,
        cost_usd=None if entry.cost_usd is None else Decimal(entry.cost_usd),
    )


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """PNG without metadata of grey [H, W] or RGB [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def _answer(adapter: GeneratorAdapter, chunk: Sequence[GenerationRequest], folder: Path) -> Iterator[ManifestEntry]:
    asked = {(request.prompt.id, request.seed) for request in chunk}
    for generation in adapter.generate(chunk):
        key = generation.request.prompt.id, generation.request.seed
        if key not in asked:
            raise InputError(f"generator {adapter.name!r} answered prompt {key[0]!r}, seed {key[1]}, twice or unasked")
        asked.remove(key)
        yield _store(generation, folder)
    if asked:
        prompt_id, seed = min(asked)
        raise InputError(
            f"generator {adapter.name!r} left {len(asked)} of {len(chunk)} requests unanswered, "
            f"the first being prompt {prompt_id!r}, seed {seed}; an adapter must yield a status for each"
        )


def _store(generation: Generation, folder: Path) -> ManifestEntry:
    prompt_id, seed = generation.request.prompt.id, generation.request.seed
    cost = None if generation.cost_usd is None else str(generation.cost_usd)
    ended: dict[str, Any] = {"message": generation.message, "latency_s": generation.latency_s, "cost_usd": cost}
    if generation.status is not Status.OK:
        return ManifestEntry(prompt_id, seed, generation.status, **ended)
    if generation.image is None:
        raise InputError(f"prompt {prompt_id!r}, seed {seed}: a generation that is ok has an image")
    content = encode_png(generation.image)
    name = _file_name(prompt_id, seed)
    write_atomically(folder / name, content)
    height, width = generation.image.shape[:2]
    digest = hashlib.sha256(content).hexdigest()
    return ManifestEntry(prompt_id, seed, Status.OK, name, digest, width, height, **ended)


def _file_name(prompt_id: str, seed: int) -> str:
    """A readable name where the prompt's id allows it, otherwise a digest: ids come from users' files."""
    stem = prompt_id if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", prompt_id) else fingerprint(prompt_id)[:16]
    return f"{stem}-{seed:06d}.png"


def is_whole(folder: Path, entry: ManifestEntry) -> bool:
    """Whether the file of an entry is there with the bytes that were written; an entry that is not ok has none."""
    if entry.status is not Status.OK or entry.file is None:
        return True
    path = folder / entry.file
    return path.is_file() and file_digest(path) == entry.sha256


def _write_manifest(folder: Path, recipe: str, entries: Sequence[ManifestEntry]) -> None:
    lines = [json.dumps({"schema": "paragone.samples/1", "recipe": recipe})]
    for entry in entries:
        fields = {name: getattr(entry, name) for name in ManifestEntry.__slots__}
        lines.append(json.dumps({name: value for name, value in fields.items() if value not in (None, "")}))
    write_atomically(folder / MANIFEST, ("\n".join(lines) + "\n").encode())
