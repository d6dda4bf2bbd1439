"""From a generator to files: the one path that every model's samples take.

A model's folder holds one file a sample and `manifest.jsonl`: a first line with the recipe's fingerprint, then one
line a request with its status, the file's name and its sha256. Requests are answered in fixed chunks; a run that was
killed goes on with the first chunk that is not whole on disk, and ends with the same bytes as a run that was not.
Anything but `ok` is kept in the manifest as it is: a refusal is a result, not a gap. (`running` is for models that are
asked one by one, over a network or at a price.)
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paragone.data.errors import InputError
from paragone.data.files import file_digest, write_atomically
from paragone.data.generators.base import Generation, GenerationRequest, GeneratorAdapter
from paragone.data.generators.media import encode_clip, encode_png
from paragone.data.progress import Progress, silent
from paragone.data.records import Attempt, Prompt, Sample, Status, fingerprint, sample_id

__all__ = [
    "ManifestEntry",
    "encode_png",
    "is_whole",
    "read_manifest",
    "requests_for",
    "to_attempt",
    "to_sample",
    "write_samples",
]

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
    frames: int | None = None  # of a clip
    fps: float | None = None
    revised_prompt: str | None = None
    model_served: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    request: str | None = None  # fingerprint of what was asked, in words and pictures
    created_at: str | None = None  # ISO 8601, UTC

    @property
    def key(self) -> tuple[str, int]:
        """What was asked: prompt and seed."""
        return self.prompt_id, self.seed


def requests_for(
    prompts: Sequence[Prompt], *, seeds: Sequence[int], folder: Path | None = None
) -> list[GenerationRequest]:
    """Every prompt with every seed, prompt by prompt; `folder` is the project's, where input pictures are looked for.

    Raises `InputError` when a prompt names an input picture or mask that is not there.
    """
    requests = []
    for prompt in prompts:
        source = _input_file(prompt, "source", prompt.source, folder)
        mask = _input_file(prompt, "mask", prompt.mask, folder)
        requests += [GenerationRequest(prompt, seed, source, mask) for seed in seeds]
    return requests


def _input_file(prompt: Prompt, what: str, path: str | None, folder: Path | None) -> Path | None:
    if path is None:
        return None
    if folder is None:
        raise InputError(f"prompt {prompt.id!r} has a {what} picture; say in which folder it lies")
    found = (folder / path).resolve()
    if not found.is_file():
        raise InputError(f"prompt {prompt.id!r}: its {what} {found} is not there")
    return found


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
        if not all(request.key in done for request in chunk):
            done |= {entry.key: entry for entry in _stored(adapter, chunk, folder)}
            _write_manifest(folder, recipe, list(done.values()))
        progress(task, min((number + 1) * CHUNK, len(requests)), len(requests))
    return [done[request.key] for request in requests]


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
        frames=entry.frames,
        fps=entry.fps,
    )


def to_attempt(entry: ManifestEntry, model: str) -> Attempt:
    """How the request of an entry ended, for the store."""
    ok = entry.status is Status.OK and entry.sha256 is not None
    return Attempt(
        model=model,
        prompt_id=entry.prompt_id,
        seed=entry.seed,
        status=entry.status,
        message=entry.message,
        latency_s=entry.latency_s,
        cost_usd=None if entry.cost_usd is None else Decimal(entry.cost_usd),
        sample_id=sample_id(model, entry.prompt_id, entry.seed, str(entry.sha256)) if ok else None,
        created_at=entry.created_at,
    )


def answers(adapter: GeneratorAdapter, chunk: Sequence[GenerationRequest]) -> Iterator[Generation]:
    """What the adapter answers; raises `InputError` when it leaves out a request or answers one twice or unasked."""
    asked = {request.key for request in chunk}
    for generation in adapter.generate(chunk):
        key = generation.request.key
        if key not in asked:
            raise InputError(f"generator {adapter.name!r} answered prompt {key[0]!r}, seed {key[1]}, twice or unasked")
        asked.remove(key)
        yield generation
    if asked:
        prompt_id, seed = min(asked)
        raise InputError(
            f"generator {adapter.name!r} left {len(asked)} of {len(chunk)} requests unanswered, "
            f"the first being prompt {prompt_id!r}, seed {seed}; an adapter must yield a status for each"
        )


def _stored(adapter: GeneratorAdapter, chunk: Sequence[GenerationRequest], folder: Path) -> Iterator[ManifestEntry]:
    return (store_generation(generation, folder) for generation in answers(adapter, chunk))


class Size(NamedTuple):
    """How large a sample is: px, and for a clip its frames and the frames a second."""

    height: int
    width: int
    frames: int | None = None
    fps: float | None = None


def store_generation(generation: Generation, folder: Path, *, durable: bool = False, **facts: Any) -> ManifestEntry:
    """Write the file of a generation that is ok into `folder`; returns its line of the manifest."""
    prompt_id, seed = generation.request.key
    cost = None if generation.cost_usd is None else f"{generation.cost_usd:f}"
    ended: dict[str, Any] = {
        "message": generation.message,
        "latency_s": generation.latency_s,
        "cost_usd": cost,
        "revised_prompt": generation.revised_prompt,
        "model_served": generation.model_served,
        "details": dict(generation.details),
        **facts,
    }
    if generation.status is not Status.OK:
        return ManifestEntry(prompt_id, seed, generation.status, **ended)
    size = size_of(generation)
    suffix, content = _encoded(generation)
    name = _file_name(prompt_id, seed, suffix)
    write_atomically(folder / name, content, durable=durable)
    digest = hashlib.sha256(content).hexdigest()
    return ManifestEntry(prompt_id, seed, Status.OK, name, digest, **size._asdict(), **ended)


def size_of(generation: Generation) -> Size:
    """The size of a generation that is ok; raises `InputError` unless it has exactly one image, clip or file."""
    name = f"prompt {generation.request.prompt.id!r}, seed {generation.request.seed}"
    image, clip, file = generation.image, generation.clip, generation.file
    if sum(part is not None for part in (image, clip, file)) != 1:
        raise InputError(f"{name}: a generation that is ok has one of image, clip and file")
    if file is not None:
        return Size(file.height, file.width, file.frames, file.fps)
    if clip is not None:
        if generation.fps is None or not generation.fps > 0:
            raise InputError(f"{name}: a clip needs its frames a second (fps), not {generation.fps}")
        _check_pixels(clip, (4,), name)
        return Size(clip.shape[1], clip.shape[2], clip.shape[0], generation.fps)
    assert image is not None  # the only one left
    _check_pixels(image, (2, 3), name)
    return Size(*image.shape[:2])


def _check_pixels(pixels: object, axes: tuple[int, ...], name: str) -> None:
    """Adapters are foreign code: what is no picture is named before anything is written."""
    kind = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
    good = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim in axes and pixels.size > 0
    if not good or (isinstance(pixels, np.ndarray) and pixels.ndim > 2 and pixels.shape[-1] != 3):
        raise InputError(f"{name}: {kind} is no picture or clip: uint8 is wanted, with three channels last")


def _encoded(generation: Generation) -> tuple[str, bytes]:
    """Suffix and bytes of the file of a generation that `size_of` found to be whole."""
    if generation.file is not None:
        return generation.file.suffix, generation.file.content
    if generation.clip is not None and generation.fps is not None:
        return ".mp4", encode_clip(generation.clip, generation.fps)
    assert generation.image is not None
    return ".png", encode_png(generation.image)


def _file_name(prompt_id: str, seed: int, suffix: str) -> str:
    """A readable name where the prompt's id allows it, otherwise a digest: ids come from users' files."""
    stem = prompt_id if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", prompt_id) else fingerprint(prompt_id)[:16]
    return f"{stem}-{seed:06d}{suffix}"


def is_whole(folder: Path, entry: ManifestEntry) -> bool:
    """Whether the file of an entry is there with the bytes that were written; an entry that is not ok has none."""
    if entry.status is not Status.OK or entry.file is None:
        return True
    path = folder / entry.file
    return path.is_file() and file_digest(path) == entry.sha256


def manifest_line(entry: ManifestEntry) -> str:
    """One line of the manifest, without its end."""
    fields = {name: getattr(entry, name) for name in ManifestEntry.__slots__}
    return json.dumps({name: value for name, value in fields.items() if value not in (None, "", {})})


def _write_manifest(folder: Path, recipe: str, entries: Sequence[ManifestEntry]) -> None:
    lines = [json.dumps({"schema": "paragone.samples/1", "recipe": recipe}), *map(manifest_line, entries)]
    write_atomically(folder / MANIFEST, ("\n".join(lines) + "\n").encode())
