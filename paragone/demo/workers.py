"""A few worker processes with one thread each, whose progress arrives in this process.

Small networks train fastest on one thread, so the contestants share the machine by process, not by thread. Each
worker holds the reading end of a pipe whose writing end lives here alone: when this process dies, or gives up, the
workers end at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from types import TracebackType
from typing import TypeVar

from paragone.data.progress import Progress

Result = TypeVar("Result")
Message = tuple[str, int, int]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_messages: SimpleQueue[Message | None]  # in a worker: the way back to the parent


class Workers:
    """A pool of processes; `run` gives each job the progress of this process as its keyword `progress`."""

    def __init__(self, progress: Progress, *, n_processes: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._progress = progress
        self._queue: SimpleQueue[Message | None] = context.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        watched, self._alive = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            n_processes or os.cpu_count() or 1,
            mp_context=context,
            initializer=_connect,
            initargs=(self._queue, watched),
        )

    def __enter__(self) -> Workers:
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._alive.close()
        self._pool.shutdown(cancel_futures=True)
        self._queue.put(None)
        self._listener.join()

    def run(
        self, job: Callable[..., Result], arguments: Sequence[tuple[object, ...]], *, task: str | None = None
    ) -> list[Result]:
        """`job(*a, progress=…)` for every tuple `a`, in parallel; the results in the order of the arguments.

        With a `task`, the jobs that are done are reported under that name.
        """
        with _one_thread_each():
            futures = [self._pool.submit(_with_progress, job, each) for each in arguments]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            if task is not None:
                self._progress(task, done, len(futures))
        return [future.result() for future in futures]

    def _listen(self) -> None:
        while (message := self._queue.get()) is not None:
            self._progress(*message)


def _connect(queue: SimpleQueue[Message | None], watched: Connection) -> None:
    global _messages
    _messages = queue
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, args=(watched,), daemon=True).start()


def _end_with_parent(watched: Connection) -> None:
    with suppress(EOFError, OSError):
        watched.recv()
    os._exit(1)


def _with_progress(job: Callable[..., Result], arguments: tuple[object, ...]) -> Result:
    return job(*arguments, progress=lambda task, done, total: _messages.put((task, done, total)))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start inside inherit one thread for every numeric library."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
