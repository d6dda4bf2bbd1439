"""Ratings beside their peers: `python benchmarks/ratings.py [--only NAME] [--votes N] [--json FILE]`.

A million votes by names, among 20 and 200 models. Every contender has a process of its own and one thread; they take
turns, what counts is CPU seconds, and a time is believed only when the ratings agree. docs/benchmarks.md tells the
method and the results.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import Measured, Worker, disagreement, machine

PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "evalica", "arena-rank", "jax")
ROUNDS = 3


@dataclass(frozen=True)
class Case:
    """One comparison. The first of `tools` is ours; `ratios` are least ratios of the peers' time to ours."""

    name: str
    title: str
    tools: tuple[str, ...]
    ratios: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None  # CPU seconds that ours may take
    tolerance: float = 1e-4  # relative, of every model's rating


def cases() -> list[Case]:
    """All cases; the number in a name is that of models."""
    found = []
    for n in (20, 200):
        peers = ("evalica", "arena-rank")
        found += [
            Case(
                f"bt-{n}",
                f"Bradley-Terry, {n} models",
                ("paragone", *peers, "evalica-lists"),
                dict.fromkeys(peers, 10.0),
            ),
            Case(
                f"sandwich-{n}",
                f"Bradley-Terry with sandwich intervals, {n} models",
                ("paragone", "arena-rank"),
                {"arena-rank": 10},
            ),
            Case(
                f"elo-{n}", f"Elo, {n} models", ("paragone", "evalica", "evalica-lists"), {"evalica": 5}, tolerance=1e-9
            ),
            Case(
                f"style-{n}",
                f"Bradley-Terry with four covariates and intervals, {n} models",
                ("paragone", "arena-rank"),
                tolerance=1e-3,
            ),
            Case(
                f"bootstrap-{n}",
                f"Bradley-Terry, 1,000 bootstraps, {n} models",
                ("paragone",),
                seconds=0.5 if n == 20 else 4,
            ),
            Case(f"sqlite-{n}", f"from SQLite to a table with intervals, {n} models", ("paragone",), seconds=0.5),
            Case(f"command-{n}", f"`paragone rate votes.csv`, {n} models", ("paragone",), seconds=2),
        ]
    online = Case("online-200", "100 votes, each with new ratings, 200 models", ("paragone", "refit"), seconds=0.5)
    return [*found, online]


def make_votes(folder: Path, n_models: int, n_votes: int) -> pd.DataFrame:
    """Votes of people who follow a Bradley-Terry model with covariates and ties, as .parquet and .csv."""
    path = folder / f"votes-{n_models}.parquet"
    if path.exists():
        return pd.read_parquet(path)
    rng = np.random.default_rng(n_models)
    strength = rng.normal(0, 1, n_models)
    names = np.array([f"laboratory/model-{model:03d}" for model in range(n_models)], object)
    a = rng.integers(n_models, size=n_votes)
    b = (a + rng.integers(1, n_models, size=n_votes)) % n_models
    covariates = rng.normal(size=(n_votes, 4))
    p = 1 / (1 + np.exp(strength[b] - strength[a] - covariates @ [0.3, -0.2, 0.1, 0.0]))
    decided = np.where(rng.random(n_votes) < p, "model_a", "model_b")
    votes = pd.DataFrame(
        {"model_a": names[a], "model_b": names[b], "winner": np.where(rng.random(n_votes) < 0.2, "tie", decided)}
    )
    votes.to_csv(folder / f"votes-{n_models}.csv", index=False)
    votes = votes.assign(**{f"f{k}": column for k, column in enumerate(covariates.T)})
    votes.to_parquet(path)
    return votes


def make_store(folder: Path, n_models: int, votes: pd.DataFrame) -> None:
    """The same votes in a project's database; the rows are like those of `Store`, without their digests."""
    from paragone.arena import Store

    path = folder / f"arena-{n_models}.db"
    if path.exists():
        return
    with Store(path, create=True):
        pass
    names = sorted({*votes["model_a"], *votes["model_b"]})
    with sqlite3.connect(path) as database:
        database.executemany(
            "INSERT INTO generators (name, description, family) VALUES (?, '', '')", [(n,) for n in names]
        )
        database.execute("INSERT INTO prompts (id, text, task, tags) VALUES ('p', 'p', 'text-to-image', '[]')")
        samples = ((name, "0" * 64, f"{name}.png", name) for name in names)
        database.executemany(
            "INSERT INTO samples (id, sha256, path, prompt_id, model, seed, width, height) "
            "VALUES (?, ?, ?, 'p', ?, 0, 1, 1)",
            samples,
        )
        rows = list(zip(votes["model_a"], votes["model_b"], votes["winner"], strict=True))
        battles = ((str(k), a, b, a, b) for k, (a, b, _) in enumerate(rows))
        database.executemany(
            "INSERT INTO battles (id, prompt_id, model_a, model_b, sample_a, sample_b) VALUES (?, 'p', ?, ?, ?, ?)",
            battles,
        )
        database.executemany(
            "INSERT INTO votes (battle_id, prompt_id, model_a, model_b, criterion, winner, voter, voter_kind, "
            "created_at, digest) VALUES (?, 'p', ?, ?, 'overall', ?, ?, 'human', '2026-01-01T00:00:00.000Z', '')",
            ((str(k), *row, f"v{k % 5000}") for k, row in enumerate(rows)),
        )
        database.execute(
            "INSERT INTO pair_counts (model_a, model_b, winner, voter_kind, criterion, count) "
            "SELECT b.model_a, b.model_b, v.winner, v.voter_kind, v.criterion, count(*) "
            "FROM votes v JOIN battles b ON b.id = v.battle_id GROUP BY 1, 2, 3, 4, 5"
        )


def measured(case: Case, folder: Path, rounds: int) -> dict[str, Any]:
    """Run one case: set everybody up, take turns, compare the ratings."""
    workers = [Worker(case.name, tool, folder, "rating_contenders.py") for tool in case.tools]
    ours, *peers = workers
    for _ in range(rounds):
        for worker in workers:
            worker.run()
    for peer in peers:
        name = peer.measured.tool
        numbers = ours.check(name), peer.check(name)
        if not (ours.measured.failure or peer.measured.failure):
            apart = disagreement(*numbers, case.tolerance)
            peer.measured.failure = f"other ratings: {apart[:120]}" if apart else ""
    for worker in workers:
        worker.close()
        print(f"  {worker.measured.tool}: {_spread(worker.measured)}", file=sys.stderr)
    return {"case": asdict(case), "measured": [asdict(worker.measured) for worker in workers]}


def rows(result: dict[str, Any]) -> list[str]:
    """The lines of a case in the Markdown table."""
    case, (ours, *peers) = result["case"], [Measured(**each) for each in result["measured"]]
    lines = []
    for each in (ours, *peers):
        title = case["title"] if each is ours else ""
        if each.failure:
            lines.append(f"| {title} | {each.tool} | dead: {each.failure} | | | |")
            continue
        ratio, wanted = "", ""
        if each is not ours and not ours.failure:
            ratio = f"**{each.median / ours.median:.1f}×**"
            wanted = f"{case['ratios'][each.tool]:g}×" if each.tool in case["ratios"] else ""
        elif each is ours and case["seconds"] is not None:
            wanted = f"{case['seconds']:g} s"
        peak = "" if case["name"].startswith("command") else f"{each.peak_mib:.0f}"  # that is of a process of its own
        lines.append(f"| {title} | {each.tool} | {_spread(each)} | {ratio} | {wanted} | {peak} |")
    return lines


def _spread(measured: Measured) -> str:
    if measured.failure or not measured.seconds:
        return f"dead: {measured.failure}"
    low, middle, high = min(measured.seconds), statistics.median(measured.seconds), max(measured.seconds)
    return f"{low:.3f}–**{middle:.3f}**–{high:.3f}"


def main() -> None:
    """Run what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", help="one case, or all of a kind: bt-20, bt, elo")
    parser.add_argument("--votes", metavar="N", type=int, default=1_000_000, help="[default: 1,000,000]")
    parser.add_argument("--rounds", metavar="N", type=int, default=ROUNDS, help="turns of each contender [default: 3]")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything measured to FILE, too")
    parser.add_argument("--dir", metavar="DIR", type=Path, help="keep the votes in DIR (default: a temporary folder)")
    asked = parser.parse_args()
    known = cases()
    chosen = [case for case in known if asked.only is None or f"{case.name}-".startswith(f"{asked.only}-")]
    if not chosen:
        parser.error(f"--only {asked.only}: no case is called so; there are {', '.join(case.name for case in known)}")
    about, results = machine(PACKAGES, ("../arena", "../data")), []
    print(f"{about['cpu']}; Python {about['python']}; commit {about['commit']}; load {about['load']:.1f}")
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    print("\n| | | CPU s: least–median–most | ours is faster by | wanted | peak MiB |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.dir or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for case in chosen:
            n = int(case.name.split("-")[1])
            votes = make_votes(folder, n, asked.votes)
            if case.name.startswith("sqlite"):
                make_store(folder, n, votes)
            del votes
            print(case.name, file=sys.stderr)
            results.append(measured(case, folder, asked.rounds))
            print("\n".join(rows(results[-1])), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps({"machine": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
