"""Services that take an order and deliver later: each job's number is written down before it is waited for.

A run that is killed while a job is on its way finds the number again and goes on waiting, instead of ordering and
paying a second time.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from paragone.data.generators.base import GenerationRequest
from paragone.data.generators.http_service import RequestFailed
from paragone.data.records import Status, fingerprint

T = TypeVar("T")
JOBS = "jobs.jsonl"


class JobLog:
    """Jobs that were ordered and not yet fetched, by the request they are for; in memory only without a folder."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / JOBS
        self._lock = threading.Lock()
        self._open: dict[str, Any] = {}
        if self._path is not None and self._path.is_file():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                self._take(line)

    def find(self, key: str) -> Any | None:
        """What was noted of the job that is under way for a request."""
        return self._open.get(key)

    def ordered(self, key: str, job: Any) -> None:
        """Write down a job before waiting for it."""
        self._write({"request": key, "job": job})

    def ended(self, key: str) -> None:
        """Nothing is under way for this request any more."""
        if key in self._open:
            self._write({"request": key, "job": None})

    def _take(self, line: str) -> None:
        try:
            row = json.loads(line)
            key, job = row["request"], row["job"]
        except (ValueError, KeyError, TypeError):  # the half line of a run that was killed
            return
        if job is None:
            self._open.pop(key, None)
        else:
            self._open[key] = job

    def _write(self, row: dict[str, Any]) -> None:
        line = json.dumps(row)
        with self._lock:
            self._take(line)
            if self._path is None:
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+b") as file:
                torn = file.tell() > 0 and _last_byte(file) != b"\n"
                file.write((b"\n" if torn else b"") + line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a job is waited for; times in seconds."""

    every_s: float = 2.0  # between two looks, growing to `longest_s`
    longest_s: float = 15.0
    deadline_s: float = 1800.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def until(self, look: Callable[[], T | None], what: str) -> T:
        """Ask `look` until it gives something; raises `RequestFailed` (timeout) after the deadline."""
        started, pause = self.clock(), self.every_s
        while (found := look()) is None:
            if self.clock() - started + pause > self.deadline_s:
                raise RequestFailed(f"{what} was not finished within {self.deadline_s:.0f} s", status=Status.TIMEOUT)
            self.sleep(pause)
            pause = min(pause * 1.25, max(self.longest_s, self.every_s))
        return found


def request_key(request: GenerationRequest, order: Any) -> str:
    """The name of a request to a service: what is ordered, for which prompt and seed."""
    return fingerprint([request.prompt.id, request.prompt.text, request.seed, order])


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    last: bytes = file.read(1)
    return last
