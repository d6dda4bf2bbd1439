"""Several processes, the numbers of one: shares, torchrun with gloo on real digits, errors that end every rank."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import torch
from PIL import Image

from paragone.__main__ import main
from paragone.data.errors import InputError
from paragone.metrics.distributed import ALONE, positions_of, ranks_of_this_run
from paragone.metrics.extractors.digits import DigitsNetwork
from paragone.metrics.feature_statistics import FeatureStatistics
from paragone.metrics.features import BLOCK

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
    (folder / "generated").mkdir()
    for index in range(N_GENERATED):
        Image.fromarray((digits[index] * 0.8).astype(np.uint8)).save(folder / "generated" / f"{index}.png")
    (folder / "generated" / f"{BROKEN}.png").write_bytes(b"not a picture")
    torch.manual_seed(0)
    DigitsNetwork().save(folder / "digits.safetensors")
    return {
        "folder": folder,
        "reference": folder / "reference.npz",
        "generated": folder / "generated",
        "weights": folder / "digits.safetensors",
    }


def by_torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "paragone"]
    command = [sys.executable, *launcher, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def by_two_processes(*arguments: object) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of two ranks that another launcher than torchrun might have started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "paragone", *map(str, arguments)]
    processes = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **address, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    streams = [process.communicate(timeout=120) for process in processes]
    return [(process.returncode, *of_both) for process, of_both in zip(processes, streams, strict=True)]


def here(*arguments: object) -> None:
    """The same command in this process."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert ended.value.code == 0


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open() as file:
        return list(csv.DictReader(file))


def arguments_of_metrics(sets: dict[str, Path], *more: object) -> list[object]:
    extractor = ["--features", "digits", "--weights", sets["weights"], "--device", "cpu", "--no-cache"]
    return ["metrics", sets["generated"], "--reference", sets["reference"], *extractor, *more]


def close(one: Any, two: Any) -> bool:
    """Equal, with numbers to 1e-10."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(close(one[key], two[key]) for key in one)
    return one == (pytest.approx(two, rel=1e-10, abs=1e-12) if isinstance(one, float) else two)


def test_two_ranks_give_the_report_of_one_process(sets: dict[str, Path]) -> None:
    folder = sets["folder"]
    names = [
        part
        for name in ("fd", "kid", "precision", "inception_score", "sharpness", "duplicates")
        for part in ("--metric", name)
    ]
    options = [*names, "--on-error", "skip", "--json"]
    here(*arguments_of_metrics(sets, *options, folder / "one.json", "--per-image", folder / "one.csv"))
    ended = by_torchrun(*arguments_of_metrics(sets, *options, "-", "--per-image", folder / "two.csv"))
    assert ended.returncode == 0, ended.stderr
    one = json.loads((folder / "one.json").read_text())
    two = json.loads(ended.stdout)  # one document: no rank but the first prints
    tables = [rows_of(folder / "one.csv"), rows_of(folder / "two.csv")]
    assert two["warnings"] == one["warnings"]
    assert f"left out: {sets['generated']}/{BROKEN}.png" in " ".join(two["warnings"])
    assert [result["n_generated"] for result in two["results"]] == [N_GENERATED - 1] * 6
    for result_one, result_two in zip(one["results"], two["results"], strict=True):
        assert close(result_two, result_one)
        assert result_two["signature"] == result_one["signature"]
    assert [row["name"] for row in tables[1]] == [row["name"] for row in tables[0]]
    np.testing.assert_allclose(
        [float(row["contribution"]) for row in tables[1]],
        [float(row["contribution"]) for row in tables[0]],
        rtol=1e-9,
        atol=1e-12,
    )


def test_statistics_by_ranks_and_by_shards_are_those_of_one_process(sets: dict[str, Path]) -> None:
    folder = sets["folder"]
    make = ["stats", sets["reference"], "--features", "digits", "--weights", sets["weights"], "--device", "cpu", "-o"]
    first, second = by_two_processes(*make, folder / "ranks.npz")
    assert first[0] == 0, first[2]
    assert second[:2] == (0, ""), second[2]
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


def test_an_error_on_another_rank_is_reported_once_by_the_first(sets: dict[str, Path]) -> None:
    first, second = by_two_processes(*arguments_of_metrics(sets, "--metric", "fd"))
    assert (first[0], first[1]) == (2, "")
    [line] = [line for line in first[2].splitlines() if line.startswith("paragone: ")]
    assert f"{sets['generated']}/{BROKEN}.png: damaged" in line
    assert line.endswith("(found by rank 1)")
    assert second[:2] == (0, "")
    assert "paragone: " not in second[2]
