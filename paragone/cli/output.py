"""What the commands share: where results go (stdout, a file), where progress goes (stderr)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from paragone.data.errors import UsageError
from paragone.data.files import write_atomically
from paragone.data.progress import Progress

stderr = Console(stderr=True, highlight=False)
stdout = Console(highlight=False)


def write_json(document: dict[str, Any], target: str) -> None:
    """Write one JSON document to the file `target`, or to stdout when it is `-`. NaN is refused: missing is null."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        write_atomically(Path(target), text.encode())


def check_writable(target: str | None) -> None:
    """Fail before the expensive part when a result could not be written to `target` afterwards."""
    if target is None or target == "-":
        return
    folder = Path(target).resolve().parent
    if not folder.is_dir():
        raise UsageError(f"{target}: the folder {folder} does not exist; create it first")
    if Path(target).is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"{target}: cannot write there; choose another file")


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """A `Progress` that draws one bar a task on stderr; where stderr is no terminal, a line when a task is done."""
    if not stderr.is_terminal:
        yield _report_finished
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=stderr) as bars:
        tasks: dict[str, TaskID] = {}

        def report(task: str, done: int, total: int, /) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(escape(task), total=total)
            bars.update(tasks[task], completed=done, total=total)

        yield report


def _report_finished(task: str, done: int, total: int, /) -> None:
    if done == total:
        print(f"{task}: {done} of {total}", file=sys.stderr)
