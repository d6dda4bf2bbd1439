"""Sharing pictures between the processes of one run (torchrun), with the numbers of a single process.

Each rank takes whole blocks of pictures, the very blocks in which features are cached, extracts their features, and
hands them to the first rank, which alone goes on. Features and logits are those of one process, in its order;
statistics are merged (Chan, Golub & LeVeque 1983), which agrees with one process to rounding.

What travels is arrays and JSON, through gloo on the CPU: float64 is needed there, and features have left the GPU by
then. No rank waits for another but at the end of a step, so shares may differ in length; an error on any rank ends
the step on all, and the first rank reports it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError, ParagoneError
from paragone.data.images import ImageSource
from paragone.data.progress import Progress, silent
from paragone.metrics.catalogue import Side
from paragone.metrics.feature_statistics import FeatureStatistics
from paragone.metrics.features import BLOCK, Extraction, ExtractionOptions, extract_sides, extract_statistics

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
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        return [_unpacked(packed) for packed in self._gather_bytes(content.getvalue())]

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

    def _gather_bytes(self, mine: bytes) -> list[bytes]:
        import torch
        import torch.distributed as dist

        sizes = self._sizes(len(mine))
        if not self.first:
            dist.send(torch.frombuffer(bytearray(mine), dtype=torch.uint8), dst=0)
            return []
        found = [mine]
        for rank in range(1, self.count):
            received = torch.empty(sizes[rank], dtype=torch.uint8)
            dist.recv(received, src=rank)
            found.append(received.numpy().tobytes())
        return found

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


def positions_of(rank: int, n: int, *, count: int) -> list[int]:
    """Positions of one rank's pictures among n: every `count`-th block of them."""
    starts = range(rank * BLOCK, n, count * BLOCK)
    return [position for start in starts for position in range(start, min(start + BLOCK, n))]


def extract_sides_together(
    source: ImageSource,
    extractors: Sequence[FeatureExtractor],
    options: ExtractionOptions,
    *,
    task: str,
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> tuple[Extraction, ...]:
    """`extract_sides` by all ranks: the extractions on the first, none on the others.

    What any rank noted of its pictures is recorded in the first rank's `source`.
    """
    if ranks.count == 1:
        return extract_sides(source, extractors, options, task=task, progress=progress)
    part = source.part(positions_of(ranks.rank, len(source), count=ranks.count))
    with ranks.step():
        arrays: Arrays = {"digests": np.empty((0, DIGEST_BYTES), np.uint8)}
        if _any_readable(part):
            shown = _shown(progress, ranks)
            found = extract_sides(part, extractors, options, task=_task(task, ranks), progress=shown)
            for number, extraction in enumerate(found):
                arrays |= _packed_side(extraction.side, number)
            arrays["digests"] = np.frombuffer(found[0].digests, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        elif len(part):
            arrays["digests"] = np.stack([np.frombuffer(part.content_digest(at), np.uint8) for at in range(len(part))])
        arrays |= packed_findings(part)
    shares = _collected(source, arrays, ranks)
    if not shares:
        return ()
    order = np.argsort(np.concatenate([share.positions for share in shares]))
    digests = np.concatenate([share.arrays["digests"] for share in shares])[order].tobytes()
    content = hashlib.sha256(digests).hexdigest()
    sides = [_side(shares, extractor, number) for number, extractor in enumerate(extractors)]
    return tuple(Extraction(side, content, digests) for side in sides)


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
    part = source.part(positions_of(ranks.rank, len(source), count=ranks.count))
    with ranks.step():
        arrays: Arrays = {}
        if _any_readable(part):
            shown = _shown(progress, ranks)
            found = extract_statistics(part, extractor, options, task=_task(task, ranks), progress=shown)
            arrays = {f"0.{name}": array for name, array in _packed(found).items()}
        arrays |= packed_findings(part)
    shares = _collected(source, arrays, ranks)
    return _merged(shares, extractor, 0) if shares else None


def _task(task: str, ranks: Ranks) -> str:
    return f"{task}, rank 1 of {ranks.count}"  # the only one that is shown


def _shown(progress: Progress, ranks: Ranks) -> Progress:
    return progress if ranks.first else silent


def _any_readable(part: ImageSource) -> bool:
    """Whether a share holds a picture that can be read; one without is no error as long as another share has some.

    Reads until it finds one. With `on_error="raise"` the extraction will name what is wrong.
    """
    if part.on_error == "raise" or len(part) == 0:
        return len(part) > 0
    return any(part.record(index, part.read(index)) for index in range(len(part)))


def _packed_side(side: Side, number: int) -> Arrays:
    assert isinstance(side.statistics, FeatureStatistics)
    assert side.features is not None
    arrays = _packed(side.statistics) | {"features": _as_extracted(side.features)}
    arrays |= {} if side.logits is None else {"logits": side.logits}
    return {f"{number}.{name}": array for name, array in arrays.items()}


def _as_extracted(features: NDArray[np.float64]) -> NDArray[Any]:
    """Features as float32 where that loses nothing, which is where the extractor made them so."""
    narrow = features.astype(np.float32)
    return narrow if np.array_equal(narrow, features) else features


def _packed(statistics: FeatureStatistics) -> Arrays:
    upper = np.triu_indices(statistics.dim)
    return {"n": np.array(statistics.n), "mean": statistics.mean, "scatter_upper": statistics.scatter[upper]}


def packed_findings(part: ImageSource) -> Arrays:
    """What a rank noted of its pictures, for `adopt_findings` on the first rank."""
    notes, skipped = part.findings()
    return {"findings": np.frombuffer(json.dumps([notes, skipped]).encode(), dtype=np.uint8)}


# ---- On the first rank ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Share:
    """What one rank handed in: its pictures' positions, which of them gave rows, and its arrays."""

    positions: NDArray[np.intp]
    kept: NDArray[np.intp]
    arrays: Arrays


def _collected(source: ImageSource, arrays: Arrays, ranks: Ranks) -> list[_Share]:
    """The shares of all ranks on the first, which records their findings in `source`; nothing on the others."""
    shares = []
    with ranks.step():
        for rank, found in enumerate(ranks.gather(arrays)):
            positions = positions_of(rank, len(source), count=ranks.count)
            skipped = adopt_findings(source, positions, found)
            kept = [position for index, position in enumerate(positions) if index not in skipped]
            shares.append(_Share(np.array(positions, np.intp), np.array(kept, np.intp), found))
        if ranks.first and all(len(share.kept) == 0 for share in shares):
            raise InputError(f"{source.origin}: none of its {len(source)} pictures could be read")
    return shares


def adopt_findings(source: ImageSource, positions: Sequence[int], arrays: Arrays) -> dict[int, str]:
    """Record in `source` what was noted of a part that lay at `positions`; which of the part was left out, and why."""
    told = json.loads(arrays["findings"].tobytes())
    notes, skipped = ({int(index): text for index, text in kind.items()} for kind in told)
    source.adopt(positions, notes, skipped)
    return skipped


def _rows(shares: list[_Share], name: str) -> NDArray[Any]:
    """Rows of all shares in the order of the pictures."""
    rows = np.concatenate([share.arrays[name] for share in shares if name in share.arrays])
    return rows[np.argsort(np.concatenate([share.kept for share in shares]))]


def _side(shares: list[_Share], extractor: FeatureExtractor, number: int) -> Side:
    features = _rows(shares, f"{number}.features").astype(np.float64)
    logits = _rows(shares, f"{number}.logits") if extractor.has_logits else None
    return Side(_merged(shares, extractor, number), features, logits)


def _merged(shares: list[_Share], extractor: FeatureExtractor, number: int) -> FeatureStatistics:
    tags = {"extractor": extractor.name, "protocol": extractor.protocol}
    found = []
    for arrays in (share.arrays for share in shares if f"{number}.n" in share.arrays):
        n, mean, triangle = (arrays[f"{number}.{name}"] for name in ("n", "mean", "scatter_upper"))
        dim = len(mean)
        scatter = np.zeros((dim, dim))
        scatter[np.triu_indices(dim)] = triangle
        scatter += np.triu(scatter, 1).T
        found.append(FeatureStatistics(int(n), mean, scatter, **tags))
    return reduce(FeatureStatistics.merge, found)


def _unpacked(content: bytes) -> Arrays:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
