"""Measure contenders fairly: a process each, one thread each, taking turns, CPU seconds rather than the clock.

A contender is set up (imports, weights, inputs in memory) before its time counts; what that took is told apart. It is
`build(folder)`, which gives an object with `run() -> numbers` and `check(peer) -> numbers`.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

LIMITED = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in LIMITED} | {"LOKY_MAX_CPU_COUNT": "1"}
HERE = Path(__file__).parent
Numbers = dict[str, float]


class Contender(Protocol):
    """One tool, ready to run."""

    def run(self) -> Numbers: ...  # the timed work, and what came out

    def check(self, peer: str) -> Numbers: ...  # numbers that must agree between us and `peer`; not timed


@dataclass
class Measured:
    """What one contender took. Times are CPU seconds of the process and its children; memory is MiB."""

    tool: str
    seconds: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    setup_seconds: float = 0.0
    setup_mib: float = 0.0
    failure: str = ""

    @property
    def median(self) -> float:
        """Median CPU seconds."""
        return statistics.median(self.seconds)


class Worker:
    """A contender in a process of its own, which does one thing at a time when told to."""

    def __init__(self, case: str, tool: str, folder: Path, program: str = "contenders.py") -> None:
        self.measured = Measured(tool)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(HERE / program), case, tool, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        ready = self._reply()
        self.measured.setup_seconds = ready.get("seconds", 0.0)
        self.measured.setup_mib = ready.get("peak_mib", 0.0)

    def run(self) -> Numbers:
        """Run once, add the time and the memory to `measured`; no numbers when it failed."""
        reply = self._ask("run")
        if not self.measured.failure:
            self.measured.seconds.append(reply["seconds"])
            self.measured.wall.append(reply["wall"])
            self.measured.peak_mib = reply["peak_mib"]
        return reply.get("numbers", {})

    def check(self, peer: str) -> Numbers:
        """The numbers that must agree with those of `peer`."""
        return self._ask("check", peer).get("numbers", {})

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, *words: str) -> dict[str, Any]:
        if self.measured.failure:
            return {}
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        reply: dict[str, Any] = json.loads(line) if line else {"failure": f"died (exit {self._process.wait()})"}
        self.measured.failure = reply.get("failure", "")
        return reply


def serve(build: Callable[[], Contender]) -> None:
    """The other end of a `Worker`: JSON lines on what was stdout; what tools print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contender: Contender | None = None

    def work(line: str) -> dict[str, Any]:
        nonlocal contender
        if not line:
            contender = build()
            return {}
        assert contender is not None
        command, *peer = line.split()
        return {"numbers": contender.run() if command == "run" else contender.check(*peer)}

    for line in itertools.chain([""], iter(sys.stdin.readline, "")):
        cpu, wall = cpu_seconds(), time.perf_counter()
        try:
            reply = work(line)
        except Exception as error:  # a dead peer is a result, too
            reply = {"failure": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        reply |= {"seconds": cpu_seconds() - cpu, "wall": time.perf_counter() - wall, "peak_mib": peak_mib()}
        print(json.dumps(reply), file=answers, flush=True)


def cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def peak_mib() -> float:
    """Peak resident memory. On Linux that of this program only, not of the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024)


def disagreement(ours: Mapping[str, float], theirs: Mapping[str, float], tolerance: float) -> str:
    """What is too far apart, relative to the larger of the two; empty when all agrees."""
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return "no number in common"
    far = [
        f"{key} {ours[key]:.8g} ≠ {theirs[key]:.8g}"
        for key in shared
        if not abs(ours[key] - theirs[key]) <= tolerance * max(abs(ours[key]), abs(theirs[key]))
    ]
    return "; ".join(far)


IMAGE_PACKAGES = ("numpy", "scipy", "torch", "torchmetrics", "torch-fidelity", "clean-fid", "pytorch-fid", "prdc")


def machine(
    packages: Sequence[str] = IMAGE_PACKAGES, sources: Sequence[str] = ("../metrics", "../data")
) -> dict[str, Any]:
    """The commit, the processor and the versions that the numbers belong to; `sources` are what the commit is of."""
    import importlib.metadata

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line for line in lines if line.startswith("flags")), "")
    vector = next((name for name in ("avx512f", "avx2", "avx") if name in flags), "")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "missing"
    changed = " and changes" if git("status", "--porcelain", "--", *sources) else ""
    return {
        "commit": git("rev-parse", "--short", "HEAD") + changed,
        "cpu": f"{model} ({vector}), {os.cpu_count()} cores",
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": versions,
    }


def prepare(folder: Path, names: Sequence[str]) -> None:
    """Make the inputs in a process of its own, so that this one stays small."""
    command = [sys.executable, "-W", "ignore", str(HERE / "inputs.py"), str(folder), *names]
    subprocess.run(command, check=True, env=os.environ | ONE_THREAD)
