"""The progress of judges and generators on stderr: what is done, time left, what it cost so far."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from paragone.cli.output import stderr
from paragone.cli.tables import printable

Report: TypeAlias = Callable[[int, str], None]  # how many are done, and what it took so far
LINE_EVERY_S = 30.0


@contextmanager
def judging(judge: str, total: int, what: str = "battles") -> Iterator[Report]:
    """A bar for one judge or generator; where stderr is no terminal, a line each `LINE_EVERY_S` seconds and at the end.

    `what` is counted: battles, samples.
    """
    if not stderr.is_terminal:
        yield _Lines(printable(judge), total, what)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=stderr) as bar:
        task = bar.add_task(escape(printable(judge)), total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


class _Lines:
    def __init__(self, judge: str, total: int, what: str) -> None:
        self._judge, self._total, self._what = judge, total, what
        self._begun = self._last = time.monotonic()

    def __call__(self, done: int, note: str) -> None:
        now = time.monotonic()
        if done < self._total and now - self._last < LINE_EVERY_S:
            return
        self._last = now
        left = (now - self._begun) / done * (self._total - done) if done else 0.0
        eta = f", about {left:.0f} s left" if done < self._total else ""
        print(f"{self._judge}: {done} of {self._total} {self._what}{f', {note}' if note else ''}{eta}", file=sys.stderr)
