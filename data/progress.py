"""How long-running functions report progress without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with the name of a task, the steps done and the steps in all (the command line draws a bar from it)."""

    def __call__(self, task: str, done: int, total: int, /) -> None: ...


def silent(task: str, done: int, total: int, /) -> None:
    """Report to nobody."""
