"""A program as a generator: a list of arguments, never a shell.

One request a call. These are replaced wherever they stand in an argument:

    {prompt_file}   a file with the words        {prompt}     the words themselves
    {out}           the file to write            {seed}       the seed
    {source}        the input picture            {mask}       the mask

With `stdin = true` the words also arrive on standard input. Or many requests a call, where `{requests}` and `{results}`
stand instead: a JSON line a request goes into the one file (`prompt_id`, `prompt`, `seed`, `task`, `source`, `mask`,
`out`), and a JSON line an answer is expected in the other (`prompt_id`, `seed`, `file`, or a `status` and a `message`;
`latency_s` and `cost_usd` where they are known).

The program runs in a process group of its own. After `timeout_s` the whole group is killed, and what batch mode has
answered until then counts. The end of what it wrote to standard error is in the message of a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from paragone.data.errors import InputError, UsageError
from paragone.data.generators.base import VIDEO_TASKS, Generation, GenerationRequest
from paragone.data.generators.media import delivered
from paragone.data.generators.pricing import money
from paragone.data.records import Status, Task

TIMEOUT_S = 600.0
TAIL = 2000  # characters of standard error that a message repeats
MOST_AT_ONCE = 64
GRACE_S = 2.0  # for reading the rest of standard error after the end


@dataclass
class CommandGenerator:
    """Starts a program for each request, or for each batch of them."""

    name: str
    task: Task
    argv: list[str]
    stdin: bool = False
    timeout_s: float = TIMEOUT_S  # for one call, whatever it answers
    suffix: str = ""  # of {out}; by default .png or .mp4
    statuses: Mapping[str, str] = field(default_factory=dict)  # exit code → refused, filtered …
    folder: Path | None = None  # where the program is started
    batch: int = 16  # requests in a call of batch mode
    version: str = ""  # to be changed when the program changes: samples of two versions are not mixed
    base_folder: Path | None = None  # where it is started when nobody says
    at_once: int = field(default=MOST_AT_ONCE, init=False)
    incidental: tuple[str, ...] = field(default=("timeout_s", "batch"), init=False)

    def __post_init__(self) -> None:
        if not self.argv:
            raise UsageError(f"{self.name}: argv is empty; write the program and its arguments as a list")
        text = " ".join(self.argv)
        self._many = "{requests}" in text
        if self._many != ("{results}" in text):
            raise UsageError(f"{self.name}: argv needs both {{requests}} and {{results}}, or neither")
        if not self._many and "{out}" not in text:
            raise UsageError(f"{self.name}: argv has no {{out}}: the program must be told which file to write")
        for code, status in self.statuses.items():
            if not code.isdigit() or status not in set(Status) - {Status.OK}:
                raise UsageError(f"{self.name}: statuses: {code} = {status!r} is no exit code and status")
        self.batch = self.batch if self._many else 1
        self.suffix = self.suffix or (".mp4" if self.task in VIDEO_TASKS else ".png")

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Run the program, and read what it wrote."""
        if self._many:
            for start in range(0, len(requests), self.batch):
                yield from self._run_batch(requests[start : start + self.batch])
        else:
            for request in requests:
                yield self._run_one(request)

    def _run_one(self, request: GenerationRequest) -> Generation:
        with tempfile.TemporaryDirectory(prefix="paragone-") as folder:
            out, prompt_file = Path(folder) / f"out{self.suffix}", Path(folder) / "prompt.txt"
            prompt_file.write_text(request.prompt.text, encoding="utf-8")
            words = {
                "prompt_file": str(prompt_file),
                "prompt": request.prompt.text,
                "out": str(out),
                "seed": str(request.seed),
                "source": str(request.source or ""),
                "mask": str(request.mask or ""),
            }
            ended = self._run(words, request.prompt.text if self.stdin else None)
            if ended.status is not Status.OK:
                return Generation(request, status=ended.status, message=ended.message, latency_s=ended.took_s)
            return _read(request, out, ended, latency_s=ended.took_s)

    def _run_batch(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        with tempfile.TemporaryDirectory(prefix="paragone-") as name:
            folder = Path(name)
            asked, results = folder / "requests.jsonl", folder / "results.jsonl"
            asked.write_text("".join(self._row(n, request, folder) for n, request in enumerate(requests)))
            ended = self._run({"requests": str(asked), "results": str(results)}, None)
            rows = _result_rows(results)
            for request in requests:
                row = rows.get(request.key)
                if row is not None:
                    yield _answer(request, row, folder, ended)
                else:
                    status = ended.status if ended.status is not Status.OK else Status.ERROR
                    message = ended.message or f"the program answered {len(rows)} of {len(requests)}, not this one"
                    yield Generation(request, status=status, message=message)

    def _row(self, number: int, request: GenerationRequest, folder: Path) -> str:
        row = {
            "prompt_id": request.prompt.id,
            "prompt": request.prompt.text,
            "seed": request.seed,
            "task": str(request.prompt.task),
            "source": None if request.source is None else str(request.source),
            "mask": None if request.mask is None else str(request.mask),
            "out": str(folder / f"out-{number:05d}{self.suffix}"),
        }
        return json.dumps(row) + "\n"

    def _run(self, words: Mapping[str, str], given: str | None) -> _Ended:
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                [_filled(argument, words) for argument in self.argv],
                stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=self.folder or self.base_folder,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # not there, arguments too long, a NUL in the words
            return _Ended(Status.ERROR, f"{self.argv[0]}: cannot be started: {error}", 0.0)
        tail = _Tail(process.stderr)
        try:
            _feed(process, given)
            code = process.wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            return _Ended(Status.TIMEOUT, f"was killed after {self.timeout_s:g} s{tail.words()}", self.timeout_s)
        except BaseException:
            _kill(process)
            raise
        took_s = time.monotonic() - started
        if code:
            status = Status(self.statuses.get(str(code), Status.ERROR))
            return _Ended(status, f"{self.argv[0]} ended with code {code}{tail.words()}", took_s)
        return _Ended(Status.OK, "", took_s, tail)


@dataclass(frozen=True, slots=True)
class _Ended:
    status: Status
    message: str
    took_s: float
    tail: _Tail | None = None


class _Tail:
    """The last words of a stream, read in a thread so that the program is never held up by a full pipe."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._stream, self._last = stream, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def words(self) -> str:
        """`: …` with the end of what was written; empty when nothing was."""
        self._thread.join(GRACE_S)  # a grandchild may hold the stream open
        text = " ".join(self._last.decode("utf-8", errors="replace").split())
        return f": …{text[-TAIL:]}" if len(text) > TAIL else f": {text}" if text else ""

    def _read(self) -> None:
        if self._stream is None:
            return
        with self._stream:
            while chunk := os.read(self._stream.fileno(), 65_536):
                self._last = (self._last + chunk)[-4 * TAIL :]


def _feed(process: subprocess.Popen[bytes], given: str | None) -> None:
    """Write to standard input in a thread: a program need not read it."""
    stream = process.stdin
    if stream is None or given is None:
        return

    def write() -> None:
        try:
            with stream:
                stream.write(given.encode())
        except OSError:  # the program does not want to know
            pass

    threading.Thread(target=write, daemon=True).start()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the program and all that it started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _filled(argument: str, words: Mapping[str, str]) -> str:
    """The argument with its placeholders replaced, once: what stands in a prompt is not looked at again."""
    parts, rest = [], argument
    while (found := _first(rest, words)) is not None:
        before, name = found
        parts += [rest[:before], words[name]]
        rest = rest[before + len(name) + 2 :]
    return "".join([*parts, rest])


def _first(text: str, words: Mapping[str, str]) -> tuple[int, str] | None:
    places = [(text.find(f"{{{name}}}"), name) for name in words]
    return min((place for place in places if place[0] >= 0), default=None)


def _result_rows(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    rows = {}
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        try:
            row = json.loads(line)
            rows[str(row["prompt_id"]), int(row["seed"])] = row
        except (ValueError, KeyError, TypeError):  # the half line of a program that was killed
            continue
    return rows


def _answer(request: GenerationRequest, row: Mapping[str, Any], folder: Path, ended: _Ended) -> Generation:
    try:
        status = Status(row.get("status") or Status.OK)
        latency_s = None if row.get("latency_s") is None else float(row["latency_s"])
        cost = None if row.get("cost_usd") is None else money(str(row["cost_usd"]), "cost_usd")
        if status is not Status.OK:
            message = str(row.get("message") or status)
            return Generation(request, status=status, message=message, latency_s=latency_s, cost_usd=cost)
        path = (folder / str(row["file"])).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise InputError(f"{path}: lies outside of the folder of {{results}}")
        return _read(request, path, ended, latency_s=latency_s, cost_usd=cost)
    except (InputError, ValueError, KeyError, TypeError) as error:
        return Generation(request, status=Status.ERROR, message=f"a result that cannot be used: {error}")


def _read(request: GenerationRequest, path: Path, ended: _Ended, **facts: Any) -> Generation:
    words = "" if ended.tail is None else ended.tail.words()
    if not path.is_file():
        return Generation(request, status=Status.ERROR, message=f"the program wrote no {path.name}{words}")
    try:
        return Generation(request, file=delivered(path.read_bytes(), path.name), **facts)
    except InputError as error:
        return Generation(request, status=Status.ERROR, message=f"{error}{words}")
