"""The one loop from pictures to features: decode ahead, prepare, batch, extract, accumulate; with a cache that resumes.

Pictures are taken in blocks. A finished block of features is kept in the cache under the digest of its pictures' bytes,
of the extractor and of its protocol, so that an interrupted run goes on from its last block, and changing one picture
costs one block. On a CPU the extractor always sees `CPU_CHUNK` pictures at once, whatever the batch size: kernels may
sum in another order for another size, and equal pictures should have equal features.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from paragone.data.decoding import Decoded
from paragone.data.errors import InputError, PluginError, UsageError
from paragone.data.files import write_atomically
from paragone.data.images import ImageSource, Unreadable
from paragone.data.progress import Progress, silent
from paragone.data.records import fingerprint
from paragone.metrics.catalogue import Side
from paragone.metrics.extractors.table import EXTRACTORS
from paragone.metrics.feature_statistics import FeatureStatistics, StatisticsAccumulator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from paragone.metrics.extractors.base import FeatureExtractor

DEVICES = ("auto", "cpu", "cuda", "mps")
BLOCK = 1024  # pictures that are cached together
CPU_CHUNK = 16  # pictures at once on a CPU; a divisor of BLOCK
CACHE_FORMAT = 1
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExtractionOptions:
    """How features are extracted; nothing here changes them on a CPU.

    `batch_size`: pictures at once on a GPU. `workers`: threads that decode ahead (0: none). `cache`: a folder, or None.
    """

    device: str = "auto"
    batch_size: int = 32
    workers: int = 1
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise UsageError(f"device {self.device!r}: use one of {', '.join(DEVICES)}")
        if self.batch_size < 1:
            raise UsageError(f"batch size {self.batch_size}: it must be at least 1")
        if self.workers < 0:
            raise UsageError(f"workers {self.workers}: it must be 0 or more")
        if self.cache is not None and self.cache.exists() and not self.cache.is_dir():
            raise UsageError(f"{self.cache}: the cache must be a folder; name another with --cache")


class Rows(NamedTuple):
    """Features [N, D] and, where the extractor has them, logits [N, K], of one block or of all pictures."""

    features: NDArray[Any]
    logits: NDArray[Any] | None


class Extraction(NamedTuple):
    """One side's features, and the digest of the pictures' bytes in order."""

    side: Side
    content: str  # sha256, the same as ImageSource.digest()
    digests: bytes = b""  # 32 bytes a picture, in order; `content` is their sha256


def open_extractor(features: str, *, weights: Path | None = None, protocol: str = "paragone") -> FeatureExtractor:
    """The extractor called `features`; raises `PluginError`, `MissingWeights` or `UsageError`, and imports torch."""
    load = EXTRACTORS.load(features)
    try:
        inspect.signature(load).bind(weights=weights, protocol=protocol)
    except (TypeError, ValueError) as error:
        raise PluginError(f"extractor {features!r} cannot be called with weights= and protocol= ({error})") from error
    extractor: FeatureExtractor = load(weights=weights, protocol=protocol)
    return extractor


def extract_side(
    source: ImageSource,
    extractor: FeatureExtractor,
    options: ExtractionOptions,
    *,
    task: str,
    progress: Progress = silent,
) -> Extraction:
    """Features, logits and statistics of every picture in `source`."""
    return extract_sides(source, [extractor], options, task=task, progress=progress)[0]


def extract_sides(
    source: ImageSource,
    extractors: Sequence[FeatureExtractor],
    options: ExtractionOptions,
    *,
    task: str,
    progress: Progress = silent,
) -> tuple[Extraction, ...]:
    """`extract_side` for each of `extractors`, with every picture decoded once for all of them.

    An extractor whose features of a block are in the cache is not called again for it.
    """
    digests = bytearray()
    accumulators = [_accumulator(extractor) for extractor in extractors]
    blocks: list[list[Rows]] = [[] for _ in extractors]
    for contents, found in _blocks(source, extractors, options, task=task, progress=progress):
        digests += contents
        for rows, accumulator, kept in zip(found, accumulators, blocks, strict=True):
            accumulator.add(rows.features)
            kept.append(rows)
    content = hashlib.sha256(digests).hexdigest()
    sides = [_side(accumulator, kept) for accumulator, kept in zip(accumulators, blocks, strict=True)]
    return tuple(Extraction(side, content, bytes(digests)) for side in sides)


def extract_statistics(
    source: ImageSource,
    extractor: FeatureExtractor,
    options: ExtractionOptions,
    *,
    task: str,
    progress: Progress = silent,
) -> FeatureStatistics:
    """Statistics only, of any number of pictures in the memory of one block."""
    accumulator = _accumulator(extractor)
    for _, [rows] in _blocks(source, [extractor], options, task=task, progress=progress):
        accumulator.add(rows.features)
    return accumulator.statistics()


def _side(accumulator: StatisticsAccumulator, blocks: list[Rows]) -> Side:
    rows = _joined(blocks)
    return Side(accumulator.statistics(), rows.features.astype(np.float64), rows.logits)


def _accumulator(extractor: FeatureExtractor) -> StatisticsAccumulator:
    return StatisticsAccumulator(extractor=extractor.name, protocol=extractor.protocol)


# ---- Blocks and their cache ----------------------------------------------------------------------------------------


def _blocks(
    source: ImageSource,
    extractors: Sequence[FeatureExtractor],
    options: ExtractionOptions,
    *,
    task: str,
    progress: Progress,
) -> Iterator[tuple[bytes, list[Rows]]]:
    """The contents' digests and each extractor's rows, a block at a time.

    Raises `InputError` when no picture was readable at all.
    """
    device = choose_device(options.device)
    for extractor in extractors:
        extractor.to(device)
    n_rows = 0
    for start in range(0, len(source), BLOCK):
        span = range(start, min(start + BLOCK, len(source)))
        digests = b"".join(map(source.content_digest, span))
        paths = [_cache_path(options.cache, digests, extractor, device) for extractor in extractors]
        cached = [_load_rows(path, len(span), each) for path, each in zip(paths, extractors, strict=True)]
        missing = [place for place, rows in enumerate(cached) if rows is None]
        wanted = [extractors[place] for place in missing]
        found = dict(enumerate(cached))
        if wanted:
            extracted = _extract_block(source, span, wanted, options, device, task=task, progress=progress)
            found |= zip(missing, extracted, strict=True)
        else:
            progress(task, span.stop, len(source))
        # A block with notes or gaps is read again every time, so that its warnings are given every time.
        if source.is_clean(span):
            for place in missing:
                _save_rows(paths[place], found[place])
        rows_of_all = [rows for rows in found.values() if rows is not None]
        n_rows += len(rows_of_all[0].features)
        yield digests, rows_of_all
    if n_rows == 0:
        raise InputError(f"{source.origin}: none of its {len(source)} pictures could be read")


def _cache_path(cache: Path | None, digests: bytes, extractor: FeatureExtractor, device: torch.device) -> Path | None:
    if cache is None:
        return None
    key = fingerprint(
        {
            "format": CACHE_FORMAT,
            "pictures": hashlib.sha256(digests).hexdigest(),
            "extractor": extractor.name,
            "weights": extractor.fingerprint,
            "protocol": extractor.protocol,
            "resize": extractor.resize,
            "device": device.type,
        }
    )
    return cache / f"{key}.npz"


def _load_rows(path: Path | None, n: int, extractor: FeatureExtractor) -> Rows | None:
    """The cached block, or None when there is none; a damaged file counts as none and is written anew."""
    if path is None:
        return None
    try:
        # Opened here, because numpy leaves a damaged file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            rows = Rows(file["features"], file["logits"] if extractor.has_logits else None)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return rows if rows.features.shape == (n, extractor.dim) else None


def _save_rows(path: Path | None, rows: Rows | None) -> None:
    if path is None or rows is None:
        return
    arrays = {"features": rows.features} | ({"logits": rows.logits} if rows.logits is not None else {})
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_atomically(path, content.getvalue())


# ---- The loop ------------------------------------------------------------------------------------------------------


def _extract_block(
    source: ImageSource,
    span: range,
    extractors: Sequence[FeatureExtractor],
    options: ExtractionOptions,
    device: torch.device,
    *,
    task: str,
    progress: Progress,
) -> list[Rows]:
    """Each extractor's rows of the pictures in `span` that can be read."""
    on_cpu = device.type == "cpu"
    at_once = CPU_CHUNK if on_cpu else options.batch_size
    parts: list[list[Rows]] = [[Rows(np.empty((0, each.dim), np.float32), None)] for each in extractors]
    waiting: list[tuple[int, list[Tensor]]] = []
    for index, prepared in _decoded_ahead(source, span, extractors, options.workers):
        if prepared is not None:
            waiting.append((index, prepared))
        if waiting and (len(waiting) == at_once or index == span[-1]):
            for place, extractor in enumerate(extractors):
                batch = [(picture, tensors[place]) for picture, tensors in waiting]
                parts[place].append(_extract_batch(source, batch, extractor, device, pad_to=at_once if on_cpu else 0))
            waiting = []
        if not waiting:
            progress(task, index + 1, len(source))
    return [_joined(rows) for rows in parts]


def _joined(parts: list[Rows]) -> Rows:
    logits = [rows.logits for rows in parts if rows.logits is not None]
    return Rows(np.concatenate([rows.features for rows in parts]), np.concatenate(logits) if logits else None)


def _extract_batch(
    source: ImageSource,
    batch: list[tuple[int, Tensor]],
    extractor: FeatureExtractor,
    device: torch.device,
    *,
    pad_to: int,
) -> Rows:
    """Run the extractor on one batch, filled up to `pad_to` with copies of its last picture."""
    import torch

    n = len(batch)
    images = torch.stack([prepared for _, prepared in batch])
    if n < pad_to:
        images = torch.cat([images, images[-1:].expand(pad_to - n, *images.shape[1:])])
    # TensorFloat-32 would keep 10 bits of each factor.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        features, logits = extractor(images.to(device))
    if features.shape != (len(images), extractor.dim):
        raise PluginError(
            f"extractor {extractor.name}: gave features of shape {tuple(features.shape)} for {len(images)} images, "
            f"expected {(len(images), extractor.dim)}"
        )
    rows = Rows(features[:n].cpu().numpy(), None if logits is None else logits[:n].cpu().numpy())
    finite = np.isfinite(rows.features).all(axis=1)
    if not finite.all():
        name = source.name(batch[int(np.argmin(finite))][0])
        raise InputError(f"{source.origin}: {name}: {extractor.name} gives features that are not finite; look at it")
    return rows


def _decoded_ahead(
    source: ImageSource, span: range, extractors: Sequence[FeatureExtractor], workers: int
) -> Iterator[tuple[int, list[Tensor] | None]]:
    """Index and picture as each extractor wants it, in order; None for one that is left out.

    `workers` threads run ahead.
    """

    def prepare(index: int) -> tuple[Decoded | Unreadable, list[Tensor]]:
        read = source.read(index)
        if isinstance(read, Unreadable):
            return read, []
        # The pixels are dropped here: a long queue of large pictures would not fit.
        return read._replace(pixels=read.pixels[:0]), [extractor.prepare(read.pixels) for extractor in extractors]

    for index, (read, prepared) in zip(span, _in_order(prepare, span, workers), strict=True):
        yield index, prepared if source.record(index, read) else None


def _in_order(work: Callable[[int], T], items: range, workers: int) -> Iterator[T]:
    """`map(work, items)`, with up to 4 results a thread computed ahead, which are dropped when the caller stops."""
    if workers == 0:
        yield from map(work, items)
        return
    ahead: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > 4 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def choose_device(name: str) -> torch.device:
    """The device called `name`; auto is CUDA where there is one, otherwise the CPU. MPS has to be asked for."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: torch sees no MPS device here; use --device cpu")
    return torch.device(name)
