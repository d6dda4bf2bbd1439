"""Several processes, the numbers of one: shares, torchrun with gloo on real digits, errors that end every rank."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import sklearn.datasets
import torch
from PIL import Image

from paragone.__main__ import main
from paragone.data.errors import InputError
from paragone.data.images import BLOCK
from paragone.metrics.distributed import ALONE, positions_of, ranks_of_this_run
from paragone.metrics.extractors.digits import DigitsNetwork
from paragone.metrics.feature_statistics import FeatureStatistics

N_GENERATED = BLOCK + 76  # two blocks, one for each rank
BROKEN = BLOCK + 50  # lies with the second rank


@pytest.mark.parametrize(("n", "count"), [(0, 2), (5, 3), (BLOCK, 2), (BLOCK + 1, 2), (7 * BLOCK + 9, 3)])
def test_shares_are_whole_blocks_disjoint_and_complete(n: int, count: int) -> None:
    shares = [positions_of(rank, n, count=count) for rank in range(count)]
    assert sorted(position for share in shares for position in share) == list(range(n))
    for share in shares:
        for start in range(0, len(share), BLOCK):
            first = share[start]
            assert first % BLOCK == 0
            assert share[start : start + BLOCK] == list(range(first, min(first + BLOCK, n)))


def test_without_torchrun_there_is_one_rank_and_errors_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # without a rank and an address, somebody else's variable
    with ranks_of_this_run() as ranks:
        assert ranks is ALONE
        with pytest.raises(InputError, match="as it is"), ranks.step():
            raise InputError("as it is")


# ---- torchrun --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real digits; the generated ones are dimmed, and one of them is damaged."""
    folder = tmp_path_factory.mktemp("sets")
    digits = (sklearn.datasets.load_digits().images * (255 / 16)).round().astype(np.uint8)
    np.savez(folder / "reference.npz", digits)
    for name, brightness in (("generated", 0.8), ("originals", 1.0)):
        (folder / name).mkdir()
        for index in range(N_GENERATED):
            Image.fromarray((digits[index] * brightness).astype(np.uint8)).save(folder / name / f"{index}.png")
    (folder / "generated" / f"{BROKEN}.png").write_bytes(b"not a picture")
    torch.manual_seed(0)
    DigitsNetwork().save(folder / "digits.safetensors")
    return {
        "folder": folder,
        "reference": folder / "reference.npz",
        "originals": folder / "originals",
        "generated": folder / "generated",
        "weights": folder / "digits.safetensors",
    }


METRICS = ("fd", "cmmd", "precision", "inception_score", "sharpness", "duplicates")
REPORT = [*(part for name in METRICS for part in ("--metric", name)), "--on-error", "skip"]
PAIRS = ["--metric", "psnr", "--metric", "cmmd", "--on-error", "skip"]


def arguments_of_metrics(sets: dict[str, Path], *more: object, reference: str = "reference") -> list[object]:
    extractor = ["--features", "digits", "--weights", sets["weights"], "--device", "cpu", "--no-cache"]
    return ["metrics", sets["generated"], "--reference", sets[reference], *extractor, *more]


def arguments_of_stats(sets: dict[str, Path]) -> list[object]:
    extractor = ["--features", "digits", "--weights", sets["weights"], "--device", "cpu"]
    return ["stats", sets["reference"], *extractor, "-o"]


RANK = """
import contextlib, io, json, sys
from paragone.__main__ import main
from paragone.data.errors import InputError
from paragone.metrics import distributed, feature_store

class Full(distributed.RowStore):
    def append(self, rows):
        raise InputError("no room for rows")

def run(command, rank):
    feature_store.MEMORY_BYTES = command["memory"]
    distributed.RowStore = Full if command["full"] and rank == 0 else feature_store.RowStore
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(command["arguments"])
        except SystemExit as ended:
            return ended.code or 0, out.getvalue(), err.getvalue()

with distributed.ranks_of_this_run() as ranks:  # connected once, for all commands
    distributed.ranks_of_this_run = lambda: contextlib.nullcontext(ranks)
    told = [run(command, ranks.rank) for command in json.loads(sys.argv[1])]
with open(f"{sys.argv[2]}{ranks.rank}.json", "w") as file:
    json.dump(told, file)
"""


class Ended(NamedTuple):
    """How a command ended on one rank."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def by_ranks(sets: dict[str, Path]) -> dict[str, list[Ended]]:
    """Several commands by the same two processes, which torchrun starts once, for that takes long."""
    folder = sets["folder"]
    (folder / "rank.py").write_text(RANK)
    commands = {
        # On disk, rather than in memory as here.
        "report": (0, arguments_of_metrics(sets, *REPORT, "--json", "-", "--per-image", folder / "two.csv")),
        "pairs": (0, arguments_of_metrics(sets, *PAIRS, "--json", "-", reference="originals")),
        "stats": (1 << 20, [*arguments_of_stats(sets), folder / "ranks.npz"]),
        "damaged": (1 << 20, arguments_of_metrics(sets, "--metric", "fd")),
        "full": (1 << 20, arguments_of_metrics(sets, "--metric", "fd", "--on-error", "skip")),
    }
    told = [
        {"arguments": [*map(str, arguments)], "memory": memory, "full": name == "full"}
        for name, (memory, arguments) in commands.items()
    ]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launcher, str(folder / "rank.py"), json.dumps(told), str(folder / "rank")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    ranks = [[Ended(*one) for one in json.loads((folder / f"rank{rank}.json").read_text())] for rank in (0, 1)]
    return {name: [*both] for name, both in zip(commands, zip(*ranks, strict=True), strict=True)}


def here(*arguments: object) -> None:
    """The same command in this process."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert ended.value.code == 0


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open() as file:
        return list(csv.DictReader(file))


def close(one: Any, two: Any) -> bool:
    """Equal, with numbers to 1e-10."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(close(one[key], two[key]) for key in one)
    return one == (pytest.approx(two, rel=1e-10, abs=1e-12) if isinstance(one, float) else two)


def same_results(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert two["warnings"] == one["warnings"]
    assert len(two["results"]) == len(one["results"])
    for result_one, result_two in zip(one["results"], two["results"], strict=True):
        assert close(result_two, result_one)
        assert result_two["signature"] == result_one["signature"]


def test_two_ranks_give_the_report_of_one_process(sets: dict[str, Path], by_ranks: dict[str, list[Ended]]) -> None:
    folder = sets["folder"]
    first, second = by_ranks["report"]
    assert first.code == 0, first.stderr
    assert second[:2] == (0, "")
    here(*arguments_of_metrics(sets, *REPORT, "--json", folder / "one.json", "--per-image", folder / "one.csv"))
    one = json.loads((folder / "one.json").read_text())
    two = json.loads(first.stdout)
    same_results(one, two)
    assert f"left out: {sets['generated']}/{BROKEN}.png" in " ".join(two["warnings"])
    assert [result["n_generated"] for result in two["results"]] == [N_GENERATED - 1] * len(METRICS)
    cmmd = [result["value"] for report in (one, two) for result in report["results"] if result["metric"] == "cmmd"]
    assert cmmd[0] == cmmd[1]  # features are the same bits, in the same order
    tables = [rows_of(folder / "one.csv"), rows_of(folder / "two.csv")]
    assert [row["name"] for row in tables[1]] == [row["name"] for row in tables[0]]
    np.testing.assert_allclose(
        [float(row["contribution"]) for row in tables[1]],
        [float(row["contribution"]) for row in tables[0]],
        rtol=1e-9,
        atol=1e-12,
    )


def test_two_ranks_look_at_pairs_as_one_process_does(sets: dict[str, Path], by_ranks: dict[str, list[Ended]]) -> None:
    first, _ = by_ranks["pairs"]
    assert first.code == 0, first.stderr
    target = sets["folder"] / "pairs.json"
    here(*arguments_of_metrics(sets, *PAIRS, "--json", target, reference="originals"))
    one, two = json.loads(target.read_text()), json.loads(first.stdout)
    same_results(one, two)
    assert [(result["metric"], result["n_generated"]) for result in two["results"]] == [
        ("cmmd", N_GENERATED - 1),
        ("psnr", N_GENERATED - 1),
    ]


def test_statistics_by_ranks_and_by_shards_are_those_of_one_process(
    sets: dict[str, Path], by_ranks: dict[str, list[Ended]]
) -> None:
    folder = sets["folder"]
    first, second = by_ranks["stats"]
    assert first.code == 0, first.stderr
    assert second[:2] == (0, ""), second.stderr
    make = arguments_of_stats(sets)
    here(*make, folder / "whole.npz")
    shards = [folder / f"{part}.npz" for part in (1, 2, 3)]
    for part, shard in enumerate(shards, start=1):
        here(*make, shard, "--shard", f"{part}/3")
    here("stats", "merge", *shards, "-o", folder / "shards.npz")
    whole = FeatureStatistics.load(folder / "whole.npz")
    assert whole.n == len(sklearn.datasets.load_digits().images)
    for name in ("ranks", "shards"):
        found = FeatureStatistics.load(folder / f"{name}.npz")
        assert (found.n, found.extractor, found.protocol) == (whole.n, whole.extractor, whole.protocol)
        np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.scatter, whole.scatter, rtol=1e-10, atol=1e-10 * np.abs(whole.scatter).max())


def the_line(ended: Ended) -> str:
    """The one line that a command which failed tells."""
    assert (ended.code, ended.stdout) == (2, "")
    [line] = [line for line in ended.stderr.splitlines() if line.startswith("paragone: ")]
    return line


def test_an_error_on_another_rank_is_reported_once_by_the_first(
    sets: dict[str, Path], by_ranks: dict[str, list[Ended]]
) -> None:
    first, second = by_ranks["damaged"]
    assert f"{sets['generated']}/{BROKEN}.png: damaged" in the_line(first)
    assert the_line(first).endswith("(found by rank 1)")
    assert second[:2] == (0, "")
    assert "paragone: " not in second.stderr


def test_no_rank_waits_for_a_first_one_without_room_for_their_rows(by_ranks: dict[str, list[Ended]]) -> None:
    first, second = by_ranks["full"]
    assert the_line(first) == "paragone: no room for rows"
    assert second[:2] == (0, "")
    assert "paragone: " not in second.stderr
