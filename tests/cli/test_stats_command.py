"""`paragone stats`: its three forms, and files that agree with each other to the last bit or the last digit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paragone.__main__ import COMMANDS, main
from paragone.cli.stats import stats
from paragone.metrics import FeatureStatistics


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    made = tmp_path / "set"
    made.mkdir()
    for index in range(7):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(made / f"{index}.png")
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as caught:
        main(["stats", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.out, captured.err


def test_make_writes_a_file_that_show_and_others_read(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    code, out, _ = run(capsys, folder, "-o", tmp_path / "a.npz")
    assert code == 0
    statistics = FeatureStatistics.load(tmp_path / "a.npz")
    assert (statistics.n, statistics.dim, statistics.extractor, statistics.protocol) == (7, 752, "gist-1", "paragone")
    code, shown, err = run(capsys, "show", tmp_path / "a.npz")
    assert (code, err) == (0, "")
    assert shown == out
    assert ["pictures", "7"] in [line.split() for line in shown.splitlines()]
    with np.load(tmp_path / "a.npz") as file:
        assert file["mu"].shape == (752,)


def test_bits_do_not_depend_on_options_that_only_concern_speed(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    run(capsys, folder, "-o", tmp_path / "a.npz")
    run(capsys, "--batch-size", 3, "--workers", 0, folder, "--output", tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_shards_merge_into_the_whole(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    shards = [tmp_path / f"{number}.npz" for number in (1, 2, 3)]
    for number, shard in enumerate(shards, start=1):
        assert run(capsys, folder, "-o", shard, "--shard", f"{number}/3")[0] == 0
    assert run(capsys, "merge", *shards, "-o", tmp_path / "merged.npz")[0] == 0
    run(capsys, folder, "-o", tmp_path / "whole.npz")
    merged, whole = (FeatureStatistics.load(tmp_path / name) for name in ("merged.npz", "whole.npz"))
    assert merged.n == whole.n == 7
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["merge", "show", "make"])
def test_a_folder_with_a_subcommands_name(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert run(capsys, f"./{name}", "-o", "a.npz")[0] == 0
    assert FeatureStatistics.load(tmp_path / "a.npz").n == 7


def test_make_is_the_long_form(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    assert run(capsys, "make", folder, "-o", tmp_path / "long.npz")[0] == 0
    assert run(capsys, folder, "-o", tmp_path / "short.npz")[0] == 0
    assert (tmp_path / "long.npz").read_bytes() == (tmp_path / "short.npz").read_bytes()


def test_help_lists_both_commands_and_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for part in ("[make] SOURCE -o FILE", "--shard", "--features", "merge", "show"):
        assert part in out
    assert "Merge statistics" in run(capsys, "merge", "--help")[1]
    assert (stats.help or "").splitlines()[0] == COMMANDS["stats"][1]


def test_wrong_requests(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    def fails(*arguments: object, code: int = 2) -> str:
        found, out, err = run(capsys, *arguments)
        assert (found, out) == (code, "")
        return err.splitlines()[-1]

    target = tmp_path / "a.npz"
    assert "SOURCE" in fails()
    assert "--output" in fails(folder)
    assert "nowhere: no such file" in fails("nowhere", "-o", target)
    assert "write I/K" in fails(folder, "-o", target, "--shard", "2")
    assert "1 ≤ i ≤ k" in fails(folder, "-o", target, "--shard", "4/3")
    assert "does not exist" in fails(folder, "-o", tmp_path / "no" / "a.npz")
    assert "no such file" in fails("show", tmp_path / "nowhere.npz")
    (folder / "3.png").write_bytes(b"")
    assert "3.png" in fails(folder, "-o", target)
    assert not target.exists()


def test_unreadable_pictures_can_be_left_out(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    (folder / "3.png").write_bytes(b"")
    code, _, err = run(capsys, folder, "-o", tmp_path / "a.npz", "--on-error", "skip")
    assert code == 0
    assert "1 of 7 pictures were unreadable" in err
    assert FeatureStatistics.load(tmp_path / "a.npz").n == 6


def test_merge_refuses_what_does_not_belong_together(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(5, 3))
    for name in ("one", "two"):
        FeatureStatistics.from_features(features, extractor=name, protocol="paragone").save(tmp_path / f"{name}.npz")
    np.savez(tmp_path / "foreign.npz", mu=np.zeros(3), sigma=np.eye(3))
    code, out, err = run(capsys, "merge", tmp_path / "one.npz", tmp_path / "two.npz", "-o", tmp_path / "c.npz")
    assert (code, out) == (3, "")
    assert "two.npz: is of two, protocol paragone, 3 dimensions, but" in err
    code, _, err = run(capsys, "merge", tmp_path / "one.npz", tmp_path / "foreign.npz", "-o", tmp_path / "c.npz")
    assert code == 2
    assert "foreign.npz" in err
    code, _, err = run(capsys, "merge", tmp_path / "one.npz", "-o", tmp_path / "c.npz")
    assert code == 2
    assert "at least two files" in err
    assert not (tmp_path / "c.npz").exists()
    assert "unknown (another tool's file)" in run(capsys, "show", tmp_path / "foreign.npz")[1]
