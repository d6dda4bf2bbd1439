"""Features that are many lie on disk: the same bytes, the same numbers, bounded memory, nothing left behind."""

from __future__ import annotations

import errno
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from paragone.data.errors import InputError
from paragone.metrics import block_cache, feature_store
from paragone.metrics.feature_store import RowStore

RNG = np.random.default_rng(0)
BLOCKS = [RNG.standard_normal((n, 5)).astype(np.float32) for n in (3, 1, 40, 7)]


def stored(folder: Path, blocks: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    with RowStore(folder) as store:
        for block in blocks:
            store.append(block)
        return store.rows()


@pytest.mark.parametrize("limit", [0, 100, 10**6])
def test_rows_come_back_as_they_went_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(feature_store, "MEMORY_BYTES", limit)
    rows = stored(tmp_path, BLOCKS)
    assert type(rows) is np.ndarray
    assert rows.dtype == np.float32
    assert rows.tobytes() == np.concatenate(BLOCKS).tobytes()
    assert rows.flags.writeable == (limit > rows.nbytes)  # what is mapped is not to be changed
    assert list(tmp_path.iterdir()) == []  # even while the rows are in use


def test_rows_of_another_kind_are_refused(tmp_path: Path) -> None:
    for other in (np.zeros((2, 4), np.float32), np.zeros((2, 5))):
        with RowStore(tmp_path) as store:
            store.append(BLOCKS[0])
            with pytest.raises(InputError, match=r"rows from 3 on are float.*float32 \(5,\)"):
                store.append(other)
    with RowStore(tmp_path) as store, pytest.raises(InputError, match="no rows"):
        store.rows()


class FullDisk:
    """A file on a disk with room for 100 bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.room = file, 100

    def write(self, content: memoryview) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        n = self.file.write(content[: self.room])
        self.room -= n
        return n

    def close(self) -> None:
        self.file.close()


def test_a_full_disk_is_one_line_that_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, opened = tmp_path / "cache", tempfile.TemporaryFile
    monkeypatch.setattr(feature_store, "MEMORY_BYTES", 0)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **options: FullDisk(opened(**options)))
    with pytest.raises(InputError, match=rf"{folder}: features cannot be written there \(No space left.*TMPDIR"):
        stored(folder, BLOCKS)
    assert list(folder.iterdir()) == []


def test_a_cache_without_room_is_one_line_that_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(block_cache, "write_atomically", refuse)
    with pytest.raises(InputError, match=rf"{tmp_path}: features cannot be written there \(No space left on device\)"):
        block_cache.save_block(tmp_path / "block.npz", block_cache.Rows(BLOCKS[0], None))


# ---- Memory ----------------------------------------------------------------------------------------------------------

MEASURED = '''
import sys, threading, time
from pathlib import Path
import numpy as np
from paragone.metrics import feature_statistics, feature_store, kernel
from paragone.metrics.estimates import Side
from paragone.metrics.kernel import kernel_distance
from paragone.metrics.catalogue import ALL_METRICS
from paragone.metrics.feature_statistics import StatisticsAccumulator

folder, limit, n, dim = Path(sys.argv[1]), int(sys.argv[2]), 40_000, 256
names = ("fd", "vendi")
feature_store.MEMORY_BYTES = limit
feature_statistics.BLOCK_BYTES = kernel.BLOCK_BYTES = 2 << 20

def in_memory():
    """What the process holds that no file stands behind, in MiB."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("RssAnon:") + 1]) / 1024

def side(seed):
    rng, accumulator = np.random.default_rng(seed), StatisticsAccumulator()
    with feature_store.RowStore(folder) as store:
        for _ in range(n // 1000):
            block = rng.standard_normal((1000, dim), dtype=np.float32)
            block[:, :9] += seed
            accumulator.add(block)
            store.append(block)
        return Side(accumulator.statistics(), store.rows())

peak, running = 0, True
def watch():
    global peak
    while running:
        peak = max(peak, in_memory())
        time.sleep(0.002)

compute = [ALL_METRICS[name].compute for name in names]
before = in_memory()
thread = threading.Thread(target=watch)
thread.start()
sides = [side(1), side(2)]
found = [each(reference=sides[0], generated=sides[1]) for each in compute]
found.append(kernel_distance(sides[0].features, sides[1].features, subsets=3))
running = False
thread.join()
print(round(peak - before))
print(found)
'''


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to tell memory from mapped files")
def test_memory_is_bounded_and_numbers_are_the_same_bits(tmp_path: Path) -> None:
    """Two sides of 40,000 × 256 features, 39 MiB each: they fit, or none of it does."""
    told = []
    for limit in (1 << 30, 4 << 20):
        ended = subprocess.run(
            [sys.executable, "-c", MEASURED, str(tmp_path), str(limit)], capture_output=True, text=True, timeout=120
        )
        assert ended.returncode == 0, ended.stderr
        told.append(ended.stdout.splitlines())
    (held, numbers), (bounded, same_numbers) = told
    assert same_numbers == numbers
    assert int(held) > 78, "the sides in memory"
    assert int(bounded) < 60, f"MiB beside {held} with both sides in memory"
