"""What the gate itself takes, without extraction: read a baseline, make the candidate's columns, decide.

    python benchmarks/check_speed.py [--n 5000] [--dim 2048]

One thread, features as wide as Inception's. Each step's CPU time is printed, and what the same check would take if the
baseline's columns had not been kept.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from paragone.metrics.catalogue import ALL_METRICS, Side
from paragone.metrics.checks_columns import Sides, column_of
from paragone.metrics.checks_paired import Column
from paragone.metrics.checks_runs import check_runs
from paragone.metrics.feature_statistics import FeatureStatistics
from paragone.metrics.recording import gates_of, run_of_features
from paragone.metrics.run_files import read_run, write_run
from paragone.metrics.run_record import Packed

T = TypeVar("T")


def timed(label: str, work: Callable[[], T]) -> tuple[T, float]:
    """The result, and the CPU seconds, which are printed."""
    start = time.process_time()
    found = work()
    taken = time.process_time() - start
    print(f"{label:44} {taken:7.2f} s", flush=True)
    return found, taken


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--metrics", default="fd,kid,precision,recall")
    options = parser.parse_args()
    with threadpool_limits(1):
        measure(options.n, options.dim, tuple(options.metrics.split(",")))


def measure(n: int, dim: int, metrics: tuple[str, ...]) -> None:
    """The times for two checkpoints of `n` samples."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, dim + 1) ** -0.4
    reference = (np.maximum(rng.standard_normal((n, dim)) * spectrum, -0.1)).astype(np.float32)
    common = rng.standard_normal((n, dim)) * spectrum
    first, second = (
        np.maximum(common + 0.3 * spectrum * rng.standard_normal((n, dim)), -0.1).astype(np.float32) for _ in "ab"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "baseline.json"
        run, blessing = timed("bless (once)", lambda: run_of_features(first, reference, metrics=metrics))
        write_run(replace(run, gates=gates_of(run, {})), path)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        baseline, reading = timed(f"read the baseline ({size / 1e6:.0f} MB)", lambda: read_run(path))
    statistics = FeatureStatistics.from_features(second)  # what extraction leaves behind
    yardstick = baseline.yardsticks["reference"].as_side()
    packed, packing = timed("pack the candidate's features", lambda: Packed.of(second, statistics).rows())
    sides = Sides(Side(statistics, packed), baseline.items, Side(yardstick.statistics, yardstick.features))
    columns: dict[str, Column] = {}
    total = reading + packing
    for metric in metrics:
        columns[metric], taken = timed(
            f"candidate: {metric}", lambda metric=metric: column_of(ALL_METRICS[metric], sides)
        )
        total += taken
    candidate = replace(
        baseline,
        model="candidate",
        generated="",
        measures={name: replace(one, column=columns[name]) for name, one in baseline.measures.items()},
    )
    found, deciding = timed("decide", lambda: check_runs(baseline, candidate, baseline.gates, alpha=0.05, power=0.8))
    total += deciding
    print(", ".join(f"{one.metric} {one.verdict}" for one in found.findings))
    print(
        f"{n:,} samples, {dim:,} dimensions: the gate takes {total:.1f} s of CPU; with the baseline's columns computed "
        f"anew {total + blessing:.1f} s"
    )


if __name__ == "__main__":
    main()
