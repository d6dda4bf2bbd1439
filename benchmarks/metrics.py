"""The image metrics beside their peers: `python benchmarks/metrics.py [--only NAME] [--json FILE] [--quick]`.

Every contender has a process of its own and one thread; they take turns (A B A B …), and what counts is CPU seconds,
so that a busy machine does less harm. Numbers must agree before a time is believed. docs/benchmarks.md tells the
method and the results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measure import Measured, Worker, disagreement, machine, prepare

LONG_SECONDS = 60  # a contender that takes longer runs once


@dataclass(frozen=True)
class Case:
    """One comparison. The first of `tools` is ours; `targets` are least ratios of the peers' time to ours."""

    name: str
    title: str
    inputs: tuple[str, ...]
    tools: tuple[str, ...]
    targets: dict[str, float]
    tolerance: float  # relative, for the numbers that both sides give
    pictures: int = 0  # decoded in a run; 0 where there are none
    rounds: int = 3


def cases(n: int) -> list[Case]:
    """All cases, with `n` pictures a side where there are pictures."""
    moments = ("statistics-10000-0.npz", "statistics-10000-1.npz")
    rows = ("features-10000-0.npy", "features-10000-1.npy")
    network = ("weights.pth", f"pictures-{n}-256-0", f"pictures-{n}-256-1", "pictures-16-256-0", "pictures-16-256-1")
    peers = ("torch-fidelity", "torchmetrics", "pytorch-fid")
    return [
        Case(
            "fd-10000",
            "Fréchet distance, D=2048, statistics of 10,000 samples given",
            moments,
            ("paragone", *peers),
            {"torch-fidelity": 2.5, "torchmetrics": 2.5, "pytorch-fid": 9},
            1e-8,
        ),
        Case(
            "fd-1000",
            "Fréchet distance, D=2048, from features of 1,000 samples",
            rows,
            ("paragone", *peers, "clean-fid"),
            {"torch-fidelity": 15, "torchmetrics": 15},
            1e-4,
        ),
        Case(
            "fd-500",
            "Fréchet distance, D=2048, from features of 500 samples",
            rows,
            ("paragone", *peers, "clean-fid"),
            {"torch-fidelity": 50, "torchmetrics": 50},
            1e-4,
        ),
        Case(
            f"fid-{n}",
            f"{n} PNG files of 256² px to mean and covariance, decoding included",
            network,
            ("paragone", "torchmetrics", "torch-fidelity", "clean-fid", "pytorch-fid"),
            {"torchmetrics": 1.5, "torch-fidelity": 1.5, "clean-fid": 1.5, "pytorch-fid": 1.5},
            1e-3,
            pictures=n,
        ),
        Case(
            f"combined-{n}",
            f"FID, KID, IS, precision and recall of {n} and {n} PNG files of 256² px, in one run",
            network,
            ("paragone", "torch-fidelity"),
            {"torch-fidelity": 1.5},
            1e-3,
            pictures=2 * n,
        ),
        Case(
            f"cache-{n}",
            f"FID of {n} and {n} PNG files from the cache, beside the first run",
            network,
            ("second", "first"),
            {"first": 50},
            0.0,
            pictures=2 * n,
        ),
        Case(
            "prdc-10000",
            "precision, recall, density and coverage of 10,000 and 10,000 × 2048, k=5",
            rows,
            ("paragone", "prdc"),
            {"prdc": 3},
            2e-3,
            rounds=1,
        ),
    ]


def measured(case: Case, folder: Path) -> dict[str, Any]:
    """Run one case: set everybody up, check that the numbers agree, take turns."""
    prepare(folder, case.inputs)
    workers = [Worker(case.name, tool, folder) for tool in case.tools]
    ours, *peers = workers
    for number in range(case.rounds):
        for worker in workers:
            if number == 0 or max(worker.measured.seconds, default=LONG_SECONDS) < LONG_SECONDS:
                worker.run()
                print(f"  {worker.measured.tool}: {_spread(worker.measured)}", file=sys.stderr)
    for peer in peers:
        name = peer.measured.tool
        numbers = ours.check(name), peer.check(name)
        if not (ours.measured.failure or peer.measured.failure):
            apart = disagreement(*numbers, case.tolerance)
            peer.measured.failure = f"other numbers: {apart}" if apart else ""
    for worker in workers:
        worker.close()
    return {"case": asdict(case), "measured": [asdict(worker.measured) for worker in workers]}


def report(result: dict[str, Any]) -> str:
    """A case as a Markdown table."""
    case, (ours, *peers) = result["case"], [Measured(**each) for each in result["measured"]]
    lines = [
        f"**{case['name']}**: {case['title']} (agreement within {case['tolerance']:g})",
        "",
        "| | CPU s: least, median, most (runs) | ours is faster by | wanted | peak MiB (set up) | |",
        "|---|---|---|---|---|---|",
    ]
    for each in (ours, *peers):
        if each.failure:
            lines.append(f"| {each.tool} | dead: {each.failure} | | | | |")
            continue
        rate = f"{case['pictures'] / each.median:.2f} pictures per CPU s" if case["pictures"] else ""
        ratio = f"{each.median / ours.median:.2f}×" if each is not ours and not ours.failure else ""
        target = case["targets"].get(each.tool)
        wanted = "" if target is None else f"{target:g}×"
        memory = f"{each.peak_mib:.0f} ({each.setup_mib:.0f})"
        lines.append(f"| {each.tool} | {_spread(each)} | {ratio} | {wanted} | {memory} | {rate} |")
    return "\n".join(lines)


def _spread(measured: Measured) -> str:
    if measured.failure or not measured.seconds:
        return f"dead: {measured.failure}"
    digits = 3 if measured.median < 10 else 1
    found = (min(measured.seconds), statistics.median(measured.seconds), max(measured.seconds))
    return ", ".join(f"{value:.{digits}f}" for value in found) + f" ({len(measured.seconds)})"


def main() -> None:
    """Run what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", help="one case, or all of a kind: fd-500, fd, prdc")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything measured to FILE, too")
    parser.add_argument("--quick", action="store_true", help="32 pictures instead of 128, and every contender once")
    parser.add_argument("--dir", metavar="DIR", type=Path, help="keep the inputs in DIR (default: a temporary folder)")
    asked = parser.parse_args()
    known = cases(32 if asked.quick else 128)
    chosen = [case for case in known if asked.only is None or f"{case.name}-".startswith(f"{asked.only}-")]
    if not chosen:
        parser.error(f"--only {asked.only}: no case is called so; there are {', '.join(case.name for case in known)}")
    about, results = machine(), []
    print(f"{about['cpu']}; Python {about['python']}; commit {about['commit']}; load {about['load']:.1f}")
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.dir or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for case in chosen:
            print(case.name, file=sys.stderr)
            results.append(measured(_once(case) if asked.quick else case, folder))
            print(f"\n{report(results[-1])}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps({"machine": about, "results": results}, indent=1) + "\n")


def _once(case: Case) -> Case:
    return Case(**{**asdict(case), "rounds": 1})


if __name__ == "__main__":
    main()
