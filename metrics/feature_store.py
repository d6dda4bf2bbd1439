"""Rows that come in block by block, in bounded memory: few are kept as they are, many go to a file that is mapped.

The file has no name (it is unlinked as soon as it is open), so that it is gone when its rows are no longer used,
however the process ends. It is written, not mapped for writing: a full disk is then an error and not a signal. What is
mapped counts as cache, which the system takes back when memory is short.
"""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError

MEMORY_BYTES = 256 << 20  # of rows that are kept in memory; with more, all of them are on disk


class RowStore:
    """Collects rows [n, D] of one type and width. `folder`: of the file; by default that for temporary files."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._blocks: list[NDArray[Any]] = []  # in memory; empty once there is a file
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._first: NDArray[Any] | None = None  # no rows, but their type and width
        self.n = 0

    def __enter__(self) -> RowStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, rows: NDArray[Any]) -> None:
        """Take the next rows; raises `InputError` that names the folder when the disk is full."""
        if self._first is None:
            self._first = rows[:0].copy()
        if rows.dtype != self._first.dtype or rows.shape[1:] != self._first.shape[1:]:
            raise InputError(
                f"features: rows from {self.n} on are {rows.dtype} {rows.shape[1:]}, those before "
                f"{self._first.dtype} {self._first.shape[1:]}"
            )
        self.n += len(rows)
        self._bytes += rows.nbytes
        if self._bytes <= MEMORY_BYTES:
            self._blocks.append(rows)
            return
        for block in (*self._blocks, rows):
            self._write(block)
        self._blocks = []

    def rows(self) -> NDArray[Any]:
        """All rows so far [N, D], of which those on disk are read-only; ends the collecting."""
        if self._first is None:
            raise InputError("no rows were collected")
        if self._file is None:
            return self._together(np.empty((self.n, *self._first.shape[1:]), self._first.dtype))
        with self._file as file:  # the mapping keeps what it needs of it
            mapped = np.memmap(file, self._first.dtype, mode="r", shape=(self.n, *self._first.shape[1:]))
        return np.asarray(mapped)

    def _together(self, found: NDArray[Any]) -> NDArray[Any]:
        start, blocks = 0, deque(self._blocks)
        self._blocks = []
        while blocks:  # each is gone when its rows are copied, so that they are not held twice
            block = blocks.popleft()
            found[start : start + len(block)] = block
            start += len(block)
        return found

    def close(self) -> None:
        """Give up what was collected; rows that were asked for stay."""
        self._blocks = []
        if self._file is not None:
            self._file.close()

    def _write(self, rows: NDArray[Any]) -> None:
        content = np.ascontiguousarray(rows).data.cast("B")
        try:
            if self._file is None:
                if self._folder is not None:
                    self._folder.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by rows or close
            while content:
                content = content[self._file.write(content) :]
        except OSError as error:
            self.close()
            raise no_room(self._folder or Path(tempfile.gettempdir()), error) from error


def no_room(folder: Path, error: OSError) -> InputError:
    """What to tell the user when features cannot be written in `folder`."""
    return InputError(
        f"{folder}: features cannot be written there ({error.strerror or error}); make room, or name another folder "
        "with --cache (without a cache: with the variable TMPDIR)"
    )
