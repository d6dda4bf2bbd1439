"""The one loop from pictures to features: decode ahead, prepare, batch, extract, accumulate; with a cache that resumes.

Pictures are taken in blocks. A finished block of features is kept in the cache under the digest of its pictures' bytes,
of the extractor and of its protocol, so that an interrupted run goes on from its last block, and changing one picture
costs one block. On a CPU the extractor always sees the same number of pictures at once (`ImageSource.cpu_chunk`),
whatever the batch size: kernels may sum in another order for another size, and equal pictures should have equal
features. Clips go the same way as pictures, in smaller blocks and one at a time.

Every picture is decoded once for all that want it: several extractors, and whatever looks at pixels. Sets whose
pictures belong together in pairs go through side by side.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from paragone.data.clip_sampling import ClipRule
from paragone.data.decoding import Decoded
from paragone.data.errors import InputError, PluginError, UsageError
from paragone.data.images import ImageSource, Unreadable
from paragone.data.progress import Progress, silent
from paragone.metrics.block_cache import Rows, block_path, joined, load_block, save_block
from paragone.metrics.catalogue import Side
from paragone.metrics.clip_extractors import suited
from paragone.metrics.devices import DEVICES, choose_device, device_kind
from paragone.metrics.extractors.table import EXTRACTORS
from paragone.metrics.feature_statistics import FeatureStatistics, StatisticsAccumulator
from paragone.metrics.feature_store import RowStore

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from paragone.metrics.extractors.base import FeatureExtractor

Pixels = NDArray[np.uint8]
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


class Extraction(NamedTuple):
    """One side's features, and the digest of the pictures' bytes in order."""

    side: Side
    content: str  # sha256, the same as ImageSource.digest()
    digests: bytes = b""  # 32 bytes a picture, in order; `content` is their sha256


class Stream(NamedTuple):
    """Pictures to go through, and the extractors that want them."""

    source: ImageSource
    extractors: Sequence[FeatureExtractor] = ()


# What is seen in the pixels of one picture of each stream (None: unreadable), under names; called by several threads.
Look = Callable[[int, Sequence[Pixels | None]], Mapping[str, Any]]
Seen = dict[str, NDArray[Any]]  # name → what was seen, `name.at` → in which pictures


class Passage(NamedTuple):
    """What one way through the streams gave. A side is None where no picture could be read."""

    sides: tuple[tuple[Side | None, ...], ...]  # of each stream, by each of its extractors
    digests: tuple[bytes, ...]  # of each stream: 32 bytes a picture; empty where there are no extractors
    seen: Seen


def open_extractor(
    features: str, *, weights: Path | None = None, protocol: str = "paragone", rule: ClipRule | None = None
) -> FeatureExtractor:
    """The extractor called `features`, of clips under `rule` or, without one, of pictures; most import torch.

    Raises `PluginError`, `MissingWeights` or `UsageError`.
    """
    load = EXTRACTORS.load(features)
    try:
        inspect.signature(load).bind(weights=weights, protocol=protocol)
    except (TypeError, ValueError) as error:
        raise PluginError(f"extractor {features!r} cannot be called with weights= and protocol= ({error})") from error
    return suited(load(weights=weights, protocol=protocol), features, rule)


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
    passage = go_through([Stream(source, extractors)], options, task=task, progress=progress)
    return extractions_of([source], passage)[0]


def extractions_of(sources: Sequence[ImageSource], passage: Passage) -> tuple[tuple[Extraction, ...], ...]:
    """The extractions of each source; raises `InputError` when none of its pictures could be read."""
    found = []
    for source, sides, digests in zip(sources, passage.sides, passage.digests, strict=True):
        content, extractions = hashlib.sha256(digests).hexdigest(), []
        for side in sides:
            if side is None:
                raise _nothing_read(source)
            extractions.append(Extraction(side, content, digests))
        found.append(tuple(extractions))
    return tuple(found)


def extract_statistics(
    source: ImageSource,
    extractor: FeatureExtractor,
    options: ExtractionOptions,
    *,
    task: str,
    progress: Progress = silent,
) -> FeatureStatistics:
    """Statistics only, of any number of pictures in the memory of one block."""
    found = statistics_of_readable(source, extractor, options, task=task, progress=progress)
    if found is None:
        raise _nothing_read(source)
    return found


def statistics_of_readable(
    source: ImageSource,
    extractor: FeatureExtractor,
    options: ExtractionOptions,
    *,
    task: str,
    progress: Progress = silent,
) -> FeatureStatistics | None:
    """`extract_statistics`, but None when no picture could be read."""
    accumulator = _accumulator(extractor)
    for block in _blocks([Stream(source, [extractor])], options, None, task=task, progress=progress):
        accumulator.add(block.rows[0][0].features)
    return accumulator.statistics() if accumulator.n else None


def _nothing_read(source: ImageSource) -> InputError:
    return InputError(f"{source.origin}: none of its {len(source)} {source.noun} could be read")


def go_through(
    streams: Sequence[Stream],
    options: ExtractionOptions,
    *,
    task: str,
    look: Look | None = None,
    progress: Progress = silent,
) -> Passage:
    """All pictures of all streams, which are equally long, once and side by side.

    Features that are many lie on disk, in the cache's folder or, without one, that of the system for temporary files.
    """
    digests = [bytearray() for _ in streams]
    seen: list[tuple[int, Mapping[str, Any]]] = []
    with ExitStack() as stack:
        collected = [
            [stack.enter_context(_Collected(each, options.cache)) for each in one.extractors] for one in streams
        ]
        for block in _blocks(streams, options, look, task=task, progress=progress):
            seen += block.seen
            for place, contents in enumerate(block.digests):
                digests[place] += contents
                for rows, of_extractor in zip(block.rows[place], collected[place], strict=True):
                    of_extractor.add(rows)
        sides = tuple(tuple(one.side() for one in of_stream) for of_stream in collected)
    return Passage(sides, tuple(map(bytes, digests)), _columns(seen))


class _Collected:
    """One extractor's rows of one stream, while they come in; a context, for they may lie in a file."""

    def __init__(self, extractor: FeatureExtractor, folder: Path | None) -> None:
        self._accumulator = _accumulator(extractor)
        self._features, self._logits = RowStore(folder), RowStore(folder)

    def __enter__(self) -> _Collected:
        return self

    def __exit__(self, *_: object) -> None:
        self._features.close()
        self._logits.close()

    def add(self, rows: Rows) -> None:
        if len(rows.features) == 0:
            return
        self._accumulator.add(rows.features)
        self._features.append(rows.features)
        if rows.logits is not None:
            self._logits.append(rows.logits)

    def side(self) -> Side | None:
        if self._features.n == 0:
            return None
        logits = self._logits.rows() if self._logits.n else None
        return Side(self._accumulator.statistics(), self._features.rows(), logits)


def _accumulator(extractor: FeatureExtractor) -> StatisticsAccumulator:
    return StatisticsAccumulator(extractor=extractor.name, protocol=extractor.protocol)


def _columns(seen: Sequence[tuple[int, Mapping[str, Any]]]) -> Seen:
    columns: Seen = {}
    for name in dict.fromkeys(name for _, values in seen for name in values):
        columns[name] = np.array([values[name] for _, values in seen if name in values])
        columns[f"{name}.at"] = np.array([index for index, values in seen if name in values], np.intp)
    return columns


# ---- Blocks --------------------------------------------------------------------------------------------------------


class _Block(NamedTuple):
    """Some pictures of all streams."""

    digests: list[bytes]  # of each stream
    rows: list[list[Rows]]  # of each stream, by each of its extractors
    seen: list[tuple[int, Mapping[str, Any]]]


def _blocks(
    streams: Sequence[Stream], options: ExtractionOptions, look: Look | None, *, task: str, progress: Progress
) -> Iterator[_Block]:
    extracted_at_all = any(stream.extractors for stream in streams)
    kind = device_kind(options.device) if extracted_at_all else ""
    device: torch.device | None = None
    ready: set[int] = set()  # those that were moved there: when something is missing, and no sooner
    [n] = {len(stream.source) for stream in streams}
    block = streams[0].source.block
    for start in range(0, n, block):
        span = range(start, min(start + block, n))
        parts = [_Part(stream, span, options.cache, kind) for stream in streams]
        for extractor in (each for part in parts for each in part.missing if id(each) not in ready):
            device = device or choose_device(options.device)
            extractor.to(device)
            ready.add(id(extractor))
        seen: list[tuple[int, Mapping[str, Any]]] = []
        if look is not None or any(part.missing for part in parts):
            seen = _extract_block(parts, span, options, device, look, task=task, progress=progress)
        else:
            progress(task, span.stop, n)
        yield _Block([part.digests for part in parts], [part.kept() for part in parts], seen)


class _Part:
    """One stream's pictures of one block: the rows that are in the cache, and the extractors whose rows are missing."""

    def __init__(self, stream: Stream, span: range, cache: Path | None, device: str) -> None:
        self.source, self._span = stream.source, span
        self.digests = b"".join(map(stream.source.content_digest, span)) if stream.extractors else b""
        self._paths = [block_path(cache, self.digests, extractor, device) for extractor in stream.extractors]
        self._rows = [
            load_block(path, len(span), extractor)
            for path, extractor in zip(self._paths, stream.extractors, strict=True)
        ]
        self.missing = [
            extractor for rows, extractor in zip(self._rows, stream.extractors, strict=True) if rows is None
        ]

    def fill(self, found: Sequence[Rows]) -> None:
        """Take the rows of the missing extractors, and cache them.

        A block with notes or gaps is read again every time, so that its warnings are given every time.
        """
        places = [place for place, rows in enumerate(self._rows) if rows is None]
        for place, rows in zip(places, found, strict=True):
            self._rows[place] = rows
            if self.source.is_clean(self._span):
                save_block(self._paths[place], rows)

    def kept(self) -> list[Rows]:
        return [rows for rows in self._rows if rows is not None]


# ---- The loop ------------------------------------------------------------------------------------------------------


def _extract_block(
    parts: Sequence[_Part],
    span: range,
    options: ExtractionOptions,
    device: torch.device | None,
    look: Look | None,
    *,
    task: str,
    progress: Progress,
) -> list[tuple[int, Mapping[str, Any]]]:
    """Fill the parts with what is missing of the pictures in `span` that can be read; what was seen in them."""
    batches = [_Batches(part, options, device) for part in parts]
    seen: list[tuple[int, Mapping[str, Any]]] = []
    n = len(parts[0].source)
    for index, looked in _decoded_ahead(parts, span, look, options.workers):
        for one, prepared in zip(batches, looked.prepared, strict=True):
            one.add(index, prepared, last=index == span[-1])
        if looked.seen:
            seen.append((index, looked.seen))
        if not any(one.waiting for one in batches):
            progress(task, index + 1, n)
    for part, one in zip(parts, batches, strict=True):
        part.fill([joined(rows) for rows in one.rows])
    return seen


class _Batches:
    """One stream's pictures on their way to the extractors whose rows are missing."""

    def __init__(self, part: _Part, options: ExtractionOptions, device: torch.device | None) -> None:
        self._part, self._device = part, device
        self._on_cpu = device is None or device.type == "cpu"
        self._at_once = part.source.cpu_chunk if self._on_cpu else options.batch_size
        if any(getattr(each, "one_at_a_time", False) for each in part.missing):
            self._at_once = 1
        self.waiting: list[tuple[int, list[Tensor]]] = []
        self.rows = [[Rows(np.empty((0, each.dim), np.float32), None)] for each in part.missing]

    def add(self, index: int, prepared: list[Tensor] | None, *, last: bool) -> None:
        """Take a picture, or None for one that is left out; extract a batch when it is full or there are no more."""
        if prepared:
            self.waiting.append((index, prepared))
        if not self.waiting or not (last or len(self.waiting) == self._at_once):
            return
        assert self._device is not None
        pad_to = self._at_once if self._on_cpu else 0
        for place, extractor in enumerate(self._part.missing):
            batch = [(picture, tensors[place]) for picture, tensors in self.waiting]
            self.rows[place].append(_extract_batch(self._part.source, batch, extractor, self._device, pad_to=pad_to))
        self.waiting = []


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


class _Looked(NamedTuple):
    """One picture of each stream, as the extractors want it (None: left out or not wanted), and what was seen."""

    prepared: list[list[Tensor] | None]
    seen: Mapping[str, Any]


def _decoded_ahead(
    parts: Sequence[_Part], span: range, look: Look | None, workers: int
) -> Iterator[tuple[int, _Looked]]:
    """Index and pictures in order; `workers` threads run ahead."""
    wanted = [look is not None or bool(part.missing) for part in parts]

    def prepare(index: int) -> tuple[list[Decoded | Unreadable | None], _Looked]:
        reads = [part.source.read(index) if want else None for part, want in zip(parts, wanted, strict=True)]
        pixels = [read.pixels if isinstance(read, Decoded) else None for read in reads]
        prepared = [
            None if one is None else [extractor.prepare(one) for extractor in part.missing]
            for one, part in zip(pixels, parts, strict=True)
        ]
        seen = {} if look is None else look(index, pixels)
        # The pixels are dropped here: a long queue of large pictures would not fit.
        light = [read._replace(pixels=read.pixels[:0]) if isinstance(read, Decoded) else read for read in reads]
        return light, _Looked(prepared, seen)

    for index, (reads, looked) in zip(span, _in_order(prepare, span, workers), strict=True):
        for part, read in zip(parts, reads, strict=True):
            if read is not None:
                part.source.record(index, read)
        yield index, looked


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
