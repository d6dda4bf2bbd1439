"""Sharing pictures between the processes of one run (torchrun), with the numbers of a single process.

Each rank takes whole blocks of pictures, the very blocks in which features are cached, extracts their features, and
hands them to the first rank, which alone goes on. Features and logits are those of one process, in its order;
statistics are merged (Chan, Golub & LeVeque 1983), which agrees with one process to rounding.

What travels is arrays and JSON, through gloo on the CPU: float64 is needed there, and features have left the GPU by
then. Rows travel block by block, in the order of the pictures, so that the first rank's memory stays bounded too. No
rank waits for another but at the end of a step, so shares may differ in length; an error on any rank ends the step on
all, and the first rank reports it.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError, ParagoneError
from paragone.data.images import BLOCK, ImageSource
from paragone.data.progress import Progress, silent
from paragone.metrics.block_cache import Rows
from paragone.metrics.catalogue import Side
from paragone.metrics.feature_statistics import FeatureStatistics
from paragone.metrics.feature_store import RowStore
from paragone.metrics.features import (
    Extraction,
    ExtractionOptions,
    Look,
    Passage,
    Pixels,
    Seen,
    Stream,
    extract_statistics,
    extractions_of,
    go_through,
    statistics_of_readable,
)

if TYPE_CHECKING:
    from paragone.metrics.extractors.base import FeatureExtractor

LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(days=7)  # a rank that died is torchrun's business; a slow one is nobody's
DIGEST_BYTES = 32
Arrays = dict[str, NDArray[Any]]


class ReportedElsewhere(SystemExit):
    """Ends a rank other than the first after an error, which the first rank reports; its exit status is 0."""

    def __init__(self) -> None:
        super().__init__(0)


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those of a run. Alone, every exchange is the identity, and nothing of torch is needed."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process gathers, computes and reports."""
        return self.rank == 0

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step that all ranks end together: a `ParagoneError` of any is raised by the first and ends the others."""
        if self.count == 1:
            yield
            return
        error: ParagoneError | None = None
        try:
            yield
        except ParagoneError as caught:
            error = caught
        report = {} if error is None else {"message": str(error), "exit_code": error.exit_code}
        failed = [(rank, told) for rank, told in enumerate(self._exchange_json(report)) if told]
        if not failed:
            return
        if not self.first:
            raise ReportedElsewhere
        if error is not None:
            raise error
        rank, told = failed[0]
        shared = ParagoneError(f"{told['message']} (found by rank {rank})")
        shared.exit_code = told["exit_code"]
        raise shared

    def gather(self, arrays: Arrays) -> list[Arrays]:
        """The arrays of every rank, in order, on the first rank; nothing on the others."""
        if self.count == 1:
            return [arrays]
        mine = _packed(arrays)
        sizes = self._sizes(len(mine))
        if not self.first:
            self._send_bytes(mine)
            return []
        return [arrays, *(_unpacked(self._receive_bytes(rank, sizes[rank])) for rank in range(1, self.count))]

    def send(self, arrays: Arrays) -> None:
        """Hand arrays to the first rank, which must ask for them with `receive`."""
        import torch
        import torch.distributed as dist

        mine = _packed(arrays)
        dist.send(torch.tensor([len(mine)]), dst=0)
        self._send_bytes(mine)

    def receive(self, rank: int) -> Arrays:
        """What `rank` sends to the first."""
        import torch
        import torch.distributed as dist

        size = torch.zeros(1, dtype=torch.int64)
        dist.recv(size, src=rank)
        return _unpacked(self._receive_bytes(rank, int(size)))

    def _exchange_json(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        import torch
        import torch.distributed as dist

        mine = np.frombuffer(json.dumps(document).encode(), dtype=np.uint8)
        sizes = self._sizes(len(mine))
        padded = np.zeros(max(sizes), dtype=np.uint8)
        padded[: len(mine)] = mine
        found = [torch.empty(max(sizes), dtype=torch.uint8) for _ in sizes]
        dist.all_gather(found, torch.from_numpy(padded))
        return [json.loads(bytes(one[:size].numpy())) for one, size in zip(found, sizes, strict=True)]

    def _send_bytes(self, content: bytes) -> None:
        import torch
        import torch.distributed as dist

        dist.send(torch.frombuffer(bytearray(content), dtype=torch.uint8), dst=0)

    def _receive_bytes(self, rank: int, size: int) -> bytes:
        import torch
        import torch.distributed as dist

        received = torch.empty(size, dtype=torch.uint8)
        dist.recv(received, src=rank)
        return received.numpy().tobytes()

    def _sizes(self, mine: int) -> list[int]:
        import torch
        import torch.distributed as dist

        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(sizes, torch.tensor([mine]))
        return [int(size) for size in sizes]


ALONE = Ranks()


@contextmanager
def ranks_of_this_run() -> Iterator[Ranks]:
    """The ranks that torchrun started, connected for as long as the context lasts; otherwise `ALONE`, without torch.

    A rank on a machine with GPUs takes that of its local number.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or any(name not in os.environ for name in LAUNCHED):
        yield ALONE
        return
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


# ---- Shares --------------------------------------------------------------------------------------------------------


def positions_of(rank: int, n: int, *, count: int, block: int = BLOCK) -> list[int]:
    """Positions of one rank's pictures among n: every `count`-th block of them."""
    starts = range(rank * block, n, count * block)
    return [position for start in starts for position in range(start, min(start + block, n))]


def _share(source: ImageSource, rank: int, ranks: Ranks) -> list[int]:
    return positions_of(rank, len(source), count=ranks.count, block=source.block)


class Together(NamedTuple):
    """What all ranks found, on the first; nothing on the others."""

    extractions: tuple[tuple[Extraction, ...], ...]  # of each stream, by each of its extractors
    seen: Seen


def go_through_together(
    streams: Sequence[Stream],
    options: ExtractionOptions,
    *,
    task: str,
    look: Look | None = None,
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> Together:
    """`go_through` by all ranks. What any rank noted of its pictures is recorded in the first rank's sources."""
    sources = [stream.source for stream in streams]
    if ranks.count == 1:
        passage = go_through(streams, options, task=task, look=look, progress=progress)
        return Together(extractions_of(sources, passage), passage.seen)
    positions = _share(sources[0], ranks.rank, ranks)
    parts = [stream._replace(source=stream.source.part(positions)) for stream in streams]

    def look_here(index: int, pixels: Sequence[Pixels | None]) -> Mapping[str, Any]:
        assert look is not None
        return look(positions[index], pixels)

    here = None if look is None else look_here
    with ranks.step():
        mine = go_through(parts, options, task=_task(task, ranks), look=here, progress=_shown(progress, ranks))
    together: list[tuple[Side | None, ...]] = []
    digests: list[bytes] = []
    for place, (stream, part) in enumerate(zip(streams, parts, strict=True)):
        with ranks.step():
            sides, contents = _together(mine.sides[place], mine.digests[place], stream, part.source, options, ranks)
        together.append(sides)
        digests.append(contents)
    seen = _seen_by_all(mine.seen, positions, ranks)
    with ranks.step():
        found = extractions_of(sources, Passage(tuple(together), tuple(digests), {})) if ranks.first else ()
    return Together(found, seen)


def extract_statistics_together(
    source: ImageSource,
    extractor: FeatureExtractor,
    options: ExtractionOptions,
    *,
    task: str,
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> FeatureStatistics | None:
    """`extract_statistics` by all ranks: the statistics on the first, None on the others."""
    if ranks.count == 1:
        return extract_statistics(source, extractor, options, task=task, progress=progress)
    part = source.part(_share(source, ranks.rank, ranks))
    with ranks.step():
        mine = statistics_of_readable(
            part, extractor, options, task=_task(task, ranks), progress=_shown(progress, ranks)
        )
    shares = ranks.gather(_arrays_of(mine, 0) | packed_findings(part))
    _adopt(source, shares, ranks)
    with ranks.step():
        found = _merged(shares, extractor, 0)
        if ranks.first and found is None:
            raise InputError(f"{source.origin}: none of its {len(source)} {source.noun} could be read")
    return found


def _task(task: str, ranks: Ranks) -> str:
    return f"{task}, rank 1 of {ranks.count}"  # the only one that is shown


def _shown(progress: Progress, ranks: Ranks) -> Progress:
    return progress if ranks.first else silent


def _arrays_of(statistics: FeatureStatistics | None, number: int) -> Arrays:
    if statistics is None:
        return {}
    upper = np.triu_indices(statistics.dim)
    arrays = {"n": np.array(statistics.n), "mean": statistics.mean, "scatter_upper": statistics.scatter[upper]}
    return {f"{number}.{name}": array for name, array in arrays.items()}


def packed_findings(part: ImageSource) -> Arrays:
    """What a rank noted of its pictures, for `adopt_findings` on the first rank."""
    notes, skipped = part.findings()
    return {"findings": np.frombuffer(json.dumps([notes, skipped]).encode(), dtype=np.uint8)}


def _packed(arrays: Arrays) -> bytes:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _unpacked(content: bytes) -> Arrays:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


# ---- Rows, block by block ------------------------------------------------------------------------------------------


def _together(
    mine: Sequence[Side | None],
    digests: bytes,
    stream: Stream,
    part: ImageSource,
    options: ExtractionOptions,
    ranks: Ranks,
) -> tuple[tuple[Side | None, ...], bytes]:
    """One stream's sides and digests by all ranks, on the first; a side is None where no picture could be read."""
    arrays = packed_findings(part) | {"digests": np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES)}
    for number, side in enumerate(mine):
        if side is not None:
            assert isinstance(side.statistics, FeatureStatistics)
            arrays |= _arrays_of(side.statistics, number)
    shares = ranks.gather(arrays)
    if not ranks.first:
        counts = _counts(stream.source, map(_share(stream.source, ranks.rank, ranks).__getitem__, part.findings()[1]))
        for side in mine:
            _send_rows(side, counts, ranks)
        return (), b""
    counts = _counts(stream.source, _adopt(stream.source, shares, ranks))
    sides: list[Side | None] = []
    failed: list[InputError] = []  # raised when all ranks are rid of their rows
    for number, extractor in enumerate(stream.extractors):
        try:
            rows = _collected(_rows_in_order(mine[number], counts, ranks), options.cache)
        except InputError as error:
            failed.append(error)
            continue
        statistics = _merged(shares, extractor, number)
        sides.append(None if rows is None or statistics is None else Side(statistics, *rows))
    if failed:
        raise failed[0]
    if not stream.extractors:
        return (), b""
    places = np.concatenate([_share(stream.source, rank, ranks) for rank in range(ranks.count)])
    in_order = np.concatenate([share["digests"] for share in shares])[np.argsort(places)]
    return tuple(sides), in_order.tobytes()


def _counts(source: ImageSource, skipped: Iterable[int]) -> list[int]:
    """How many pictures there are in each block but for those at the positions `skipped`."""
    n, block = len(source), source.block
    counts = [min(block, n - start) for start in range(0, n, block)]
    for position in skipped:
        counts[position // block] -= 1
    return counts


def _own_rows(side: Side | None, counts: Sequence[int], ranks: Ranks) -> Iterator[Rows]:
    """The rows of this rank's blocks, but of those where all was left out."""
    start = 0
    for count in filter(None, counts[ranks.rank :: ranks.count]):
        assert side is not None
        assert side.features is not None
        part = slice(start, start + count)
        yield Rows(side.features[part], None if side.logits is None else side.logits[part])
        start += count


def _send_rows(side: Side | None, counts: Sequence[int], ranks: Ranks) -> None:
    for rows in _own_rows(side, counts, ranks):
        ranks.send({"features": rows.features} | ({} if rows.logits is None else {"logits": rows.logits}))


def _rows_in_order(side: Side | None, counts: Sequence[int], ranks: Ranks) -> Iterator[Rows]:
    """The rows of all blocks of all ranks, on the first; each rank sends its own in this order."""
    own = _own_rows(side, counts, ranks)
    for block, count in enumerate(counts):
        if count and block % ranks.count == 0:
            yield next(own)
        elif count:
            found = ranks.receive(block % ranks.count)
            yield Rows(found["features"], found.get("logits"))


def _collected(blocks: Iterator[Rows], folder: Path | None) -> Rows | None:
    """All rows, in a store of their own; None when there are none."""
    with RowStore(folder) as features, RowStore(folder) as logits:
        for rows in blocks:
            try:
                features.append(rows.features)
                if rows.logits is not None:
                    logits.append(rows.logits)
            except InputError:
                for _ in blocks:  # which the other ranks wait to be rid of
                    pass
                raise
        return Rows(features.rows(), logits.rows() if logits.n else None) if features.n else None


# ---- On the first rank ---------------------------------------------------------------------------------------------


def _adopt(source: ImageSource, shares: Sequence[Arrays], ranks: Ranks) -> list[int]:
    """Record in `source` what the ranks noted; the positions of what was left out."""
    left_out = []
    for rank, share in enumerate(shares):
        positions = _share(source, rank, ranks)
        told = json.loads(share["findings"].tobytes())
        notes, skipped = ({int(index): text for index, text in kind.items()} for kind in told)
        source.adopt(positions, notes, skipped)
        left_out += [positions[index] for index in skipped]
    return left_out


def _merged(shares: Sequence[Arrays], extractor: FeatureExtractor, number: int) -> FeatureStatistics | None:
    """The statistics of all shares; None where none has any."""
    tags = {"extractor": extractor.name, "protocol": extractor.protocol}
    found = []
    for arrays in (share for share in shares if f"{number}.n" in share):
        n, mean, triangle = (arrays[f"{number}.{name}"] for name in ("n", "mean", "scatter_upper"))
        dim = len(mean)
        scatter = np.zeros((dim, dim))
        scatter[np.triu_indices(dim)] = triangle
        scatter += np.triu(scatter, 1).T
        found.append(FeatureStatistics(int(n), mean, scatter, **tags))
    return reduce(FeatureStatistics.merge, found) if found else None


def _seen_by_all(mine: Seen, positions: Sequence[int], ranks: Ranks) -> Seen:
    """What all ranks saw, in the order of the pictures, on the first; nothing on the others."""
    here = np.array(positions, np.intp)
    shares = ranks.gather({name: here[found] if name.endswith(".at") else found for name, found in mine.items()})
    columns: Seen = {}
    for name in dict.fromkeys(name for share in shares for name in share if not name.endswith(".at")):
        have = [share for share in shares if name in share]
        places = np.concatenate([share[f"{name}.at"] for share in have])
        order = np.argsort(places)
        columns[name] = np.concatenate([share[name] for share in have])[order]
        columns[f"{name}.at"] = places[order]
    return columns
