"""How quick the arena's store is: votes a second, boards over a million votes, import and export of them.

    python benchmarks/arena.py [--votes N] [--models M] [--url postgresql://…] [--json FILE]

Without --url on a SQLite file in a temporary folder; the database that --url names must be empty. CPU seconds are of
this process and its children (a server's are not among them), wall seconds of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from measure import machine

from paragone.arena.exporting import export_arena
from paragone.arena.import_votes import import_votes
from paragone.arena.importing import import_arena
from paragone.arena.leaderboard import store_leaderboard
from paragone.arena.store import Store
from paragone.data import GeneratorCard, Prompt, Sample, VoterKind, Winner, sample_id

PACKAGES = ("sqlalchemy", "psycopg", "numpy", "pandas", "pyarrow")
WRITERS = 8


def cpu_seconds() -> float:
    """Of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


class Report:
    """What was measured, printed as it comes."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def measure(self, what: str, work: Callable[[], object], *, votes: int | None = None) -> None:
        wall, cpu = time.perf_counter(), cpu_seconds()
        work()
        row: dict[str, Any] = {"what": what, "wall_s": time.perf_counter() - wall, "cpu_s": cpu_seconds() - cpu}
        if votes:
            row |= {"votes_per_s": votes / row["wall_s"], "cpu_ms_per_vote": 1000 * row["cpu_s"] / votes}
        row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.rows.append(row)
        each = f"{row['votes_per_s']:9,.0f} votes/s {row['cpu_ms_per_vote']:7.2f} ms CPU a vote" if votes else ""
        print(f"{what:44} {row['wall_s']:8.3f} s  {row['cpu_s']:8.3f} s CPU  {each}", flush=True)


def small_arena(url: str) -> None:
    with Store(url, create=True) as store:
        store.add_generators(GeneratorCard(f"m{n}") for n in range(10))
        store.add_prompts(Prompt(f"p{n}", "a bear") for n in range(20))
        samples = []
        for m in range(10):
            for p in range(20):
                digest = format(20 * m + p, "064x")
                samples.append(
                    Sample(sample_id(f"m{m}", f"p{p}", 0, digest), digest, "x.png", f"p{p}", f"m{m}", 0, 8, 8)
                )
        store.add_samples(samples)


def give_votes(url: str, n: int, seed: int) -> None:
    rng = random.Random(seed)
    with Store(url) as store:
        for number in range(n):
            issued = store.issue_battle(f"voter-{seed}-{number}", rng)
            store.record_vote(issued.token, rng.choice(list(Winner)), voter=f"voter-{seed}-{number}", dwell_ms=900)


def many_voters(url: str, n: int) -> None:
    """As many processes as `WRITERS`, forked before any store is open."""
    children = []
    for seed in range(WRITERS):
        child = os.fork()
        if child == 0:
            give_votes(url, n, 1 + seed)
            os._exit(0)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        raise SystemExit("a voter failed")


def vote_file(path: Path, n_votes: int, n_models: int) -> None:
    """Votes by Bradley-Terry strengths, a tenth of them ties, on a thousand prompts of which a quarter has a tag."""
    rng = np.random.default_rng(0)
    strength = np.sort(rng.normal(0, 1, n_models))
    a = rng.integers(n_models, size=n_votes)
    b = (a + rng.integers(1, n_models, size=n_votes)) % n_models
    won = rng.random(n_votes) < 1 / (1 + np.exp(strength[b] - strength[a]))
    winner = np.where(rng.random(n_votes) < 0.1, "tie", np.where(won, "model_a", "model_b"))
    prompt = rng.integers(1000, size=n_votes)
    start = pd.Timestamp("2026-01-01", tz="UTC")
    table = {
        "model_a": [f"model-{k:03d}" for k in a],
        "model_b": [f"model-{k:03d}" for k in b],
        "winner": winner.tolist(),
        "voter": [f"voter-{k}" for k in rng.integers(20_000, size=n_votes)],
        "prompt": [f"prompt {k}" for k in prompt],
        "category": ["text" if k % 4 == 0 else None for k in prompt],
        "created_at": (start + pd.to_timedelta(np.arange(n_votes), unit="s")).strftime("%Y-%m-%dT%H:%M:%SZ").tolist(),
    }
    pq.write_table(pa.table(table), path)


def boards(report: Report, url: str) -> None:
    with Store(url) as store:
        report.measure("board, first in a process", lambda: store_leaderboard(store, voters="human"))
        report.measure("board, nothing new", lambda: store_leaderboard(store, voters="human"))
        report.measure("board of a tag, first", lambda: store_leaderboard(store, voters="human", tag="text"))
        report.measure("board of a tag", lambda: store_leaderboard(store, voters="human", tag="text"))
        battles = store.votes(VoterKind.HUMAN)["battle"]
        report.measure("what one vote did", lambda: store.vote_effect(battles.iloc[len(battles) // 2]))
        report.measure("pair counts", store.pair_counts)
        report.measure("verify", store.verify)


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--live", type=int, default=400, help="votes one by one, of each process")
    parser.add_argument("--url", help="an empty PostgreSQL database for the large arena; and URL_live for the votes")
    parser.add_argument("--live-url", help="another empty database, for the votes one by one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="paragone-") as name:
        folder = Path(name)
        live = options.live_url or f"sqlite:///{folder}/live.db"
        small_arena(live)
        report.measure("issue + vote, 1 process", lambda: give_votes(live, options.live, 0), votes=options.live)
        many = WRITERS * options.live
        report.measure(f"issue + vote, {WRITERS} processes", lambda: many_voters(live, options.live), votes=many)
        url = options.url or f"sqlite:///{folder}/large.db"
        vote_file(folder / "votes.parquet", options.votes, options.models)
        with Store(url, create=True) as store:
            source = folder / "votes.parquet"
            report.measure("import of a vote file", lambda: import_votes(store, source), votes=options.votes)
        boards(report, url)
        with Store(url) as store:
            report.measure("export (csv)", lambda: export_arena(store, folder / "out"), votes=options.votes)
        with Store(folder / "copy.db", create=True) as store:
            report.measure(
                "import of the export (SQLite)", lambda: import_arena(store, folder / "out"), votes=options.votes
            )
    if options.json:
        document = {"votes": options.votes, "models": options.models, "rows": report.rows}
        options.json.write_text(json.dumps(document | {"machine": machine(PACKAGES, ("../arena",))}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
