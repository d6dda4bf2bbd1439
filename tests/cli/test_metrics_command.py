"""`paragone metrics` from the outside: streams, files, exit codes, and numbers that follow the damage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from numpy.typing import NDArray
from PIL import Image

from paragone.__main__ import COMMANDS, main
from paragone.cli.metrics import metrics
from paragone.cli.tables import check_table, write_table
from paragone.metrics import ALL_METRICS, FeatureStatistics
from paragone.metrics.picture_metrics import PICTURE_METRICS

PHOTOGRAPHS = [Path(sklearn.datasets.__file__).parent / "images" / name for name in ("china.jpg", "flower.jpg")]
KEYS = {
    *("metric", "value", "standard_error", "ci_low", "ci_high", "higher_is_better", "n_generated", "n_reference"),
    *("extractor", "protocol", "signature", "seed", "version", "details"),
}


def patches(seed: int, n: int = 24, size: int = 64) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    cut = []
    for index in range(n):
        pixels = np.asarray(Image.open(PHOTOGRAPHS[index % 2]))
        y, x = (rng.integers(0, length - size) for length in pixels.shape[:2])
        cut.append(pixels[y : y + size, x : x + size])
    return np.stack(cut)


def write(folder: Path, images: NDArray[np.uint8]) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A reference, other patches of the same photographs, and two more damaged copies of those."""
    home = tmp_path_factory.mktemp("sets")
    other = patches(seed=1)
    made = {"reference": write(home / "reference", patches(seed=0)), "fair": write(home / "fair", other)}
    for name, sd in (("noisy", 10), ("noisier", 40)):
        damaged = other + np.random.default_rng(2).normal(0, sd, other.shape)
        made[name] = write(home / name, np.clip(np.rint(damaged), 0, 255).astype(np.uint8))
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as caught:
        main(["metrics", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.out, captured.err


def fails(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    """The one line on stderr of a command that fails with `code` and prints nothing else."""
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert err.count("\n") == 1
    return err


def test_json_on_stdout_is_all_there_is(capsys: pytest.CaptureFixture[str], sets: dict[str, Path]) -> None:
    code, out, err = run(capsys, sets["fair"], "--reference", sets["reference"], "--json", "-")
    assert code == 0
    document = json.loads(out)
    assert list(document) == ["schema", "results", "warnings"]
    assert document["schema"] == "paragone.metrics/1"
    assert [result["metric"] for result in document["results"]] == [
        *("fd", "kid", "precision", "recall", "density", "coverage")
    ]
    for result in document["results"]:
        assert set(result) == KEYS
        assert (result["n_generated"], result["n_reference"]) == (24, 24)
        assert result["extractor"] == "gist-1"
    assert f"warning: {document['warnings'][0]}" in err


def test_the_numbers_follow_the_damage(capsys: pytest.CaptureFixture[str], sets: dict[str, Path]) -> None:
    values = []
    for name in ("reference", "fair", "noisy", "noisier"):
        arguments = [sets[name], "--reference", sets["reference"], "--metric", "fd", "--json", "-"]
        values.append(json.loads(run(capsys, *arguments)[1])["results"][0]["value"])
    assert values[0] == pytest.approx(0, abs=1e-9)
    assert (np.diff(values) > 0).all()


def test_table_and_file(capsys: pytest.CaptureFixture[str], sets: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    arguments = [sets["fair"], "--reference", sets["reference"], "--metric", "precision", "--metric", "fd"]
    code, out, _ = run(capsys, *arguments, "--json", file)
    assert code == 0
    document = json.loads(file.read_text())
    lines = out.splitlines()
    assert lines[0].split() == ["metric", "better", "value", "±", "SE", "95", "%", "interval", "n", "gen.", "n", "ref."]
    assert lines[1].split()[:2] == ["precision", "higher"]
    assert lines[2].split()[:2] == ["fd", "lower"]
    assert f"{document['results'][1]['value']:.5g}" in lines[2]
    assert lines[3:] == [result["signature"] for result in document["results"]]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_contributions_are_written_as_the_suffix_says(tmp_path: Path, suffix: str) -> None:
    rows = [{"name": "b.png", "contribution": 0.5}, {"name": "a,b.png", "contribution": -0.5}]
    path = tmp_path / f"table.{suffix}"
    check_table(path)
    write_table(rows, path, schema="paragone.per-image/1")
    if suffix == "json":
        assert json.loads(path.read_text()) == {"schema": "paragone.per-image/1", "rows": rows}
    else:
        read = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
        assert read.to_dict("records") == rows


def test_contributions_are_refused_before_the_work(
    capsys: pytest.CaptureFixture[str], sets: dict[str, Path], tmp_path: Path
) -> None:
    arguments = [sets["fair"], "--reference", sets["reference"], "--metric", "fd"]
    message = fails(capsys, *arguments, "--per-image", tmp_path / "x.csv")
    assert "fair: contributions to fd need more pictures than dimensions" in message or "reference: contrib" in message
    assert ".csv, .json, .parquet" in fails(capsys, *arguments, "--per-image", tmp_path / "x.txt")
    assert "does not exist" in fails(capsys, *arguments, "--per-image", tmp_path / "no" / "x.csv")
    assert not (tmp_path / "x.csv").exists()


def test_pixels_and_features_in_one_table(capsys: pytest.CaptureFixture[str], sets: dict[str, Path]) -> None:
    options = ["--reference", sets["fair"], "--metric", "psnr", "--metric", "kid"]
    code, out, _ = run(capsys, sets["noisy"], *options)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["kid", "psnr"]
    several = ["--features", "gist", "--features", "digits", "--weights", sets["fair"]]
    assert "of which of gist, digits" in fails(capsys, sets["noisy"], *options, *several)


def test_features_are_kept_by_default_and_not_with_no_cache(
    capsys: pytest.CaptureFixture[str], sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARAGONE_HOME", str(tmp_path / "home"))
    arguments = [sets["fair"], "--reference", sets["reference"], "--metric", "kid"]
    run(capsys, *arguments, "--no-cache")
    assert not (tmp_path / "home").exists()
    run(capsys, *arguments)
    assert len(list((tmp_path / "home" / "features").iterdir())) == 2
    run(capsys, *arguments, "--cache", tmp_path / "other")
    assert len(list((tmp_path / "other").iterdir())) == 2
    message = fails(capsys, *arguments, "--cache", tmp_path / "other", "--no-cache")
    assert "--cache and --no-cache exclude each other" in message


def test_a_truncated_picture_is_named(
    capsys: pytest.CaptureFixture[str], sets: dict[str, Path], tmp_path: Path
) -> None:
    folder = write(tmp_path / "generated", patches(seed=3, n=6))
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes()[:500])
    arguments = [folder, "--reference", sets["reference"], "--metric", "fd", "--json", "-"]
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert f"{folder}/4.png" in err.splitlines()[-1]
    assert "--on-error skip" in err.splitlines()[-1]
    code, out, err = run(capsys, *arguments, "--on-error", "skip")
    assert code == 0
    assert json.loads(out)["results"][0]["n_generated"] == 5
    assert f"warning: left out: {folder}/4.png" in err


def test_wrong_requests(capsys: pytest.CaptureFixture[str], sets: dict[str, Path], tmp_path: Path) -> None:
    fair, reference = sets["fair"], sets["reference"]
    (tmp_path / "empty").mkdir()
    assert "nowhere: no such file or folder" in fails(capsys, fair, "--reference", tmp_path / "nowhere")
    assert "empty: no pictures there" in fails(capsys, tmp_path / "empty", "--reference", reference)
    assert "did you mean 'recall'" in fails(capsys, fair, "--reference", reference, "--metric", "recal")
    assert "did you mean 'gist'" in fails(capsys, fair, "--reference", reference, "--features", "gis")
    message = fails(capsys, fair, "--reference", reference, "--features", "inception")
    for part in ("pt_inception-2015-12-05-6726825d.pth", "95,628,359", "--weights FILE", "--features gist"):
        assert part in message
    assert "--weights FILE" in fails(capsys, fair, "--reference", reference, "--features", "digits")
    assert "knows paragone" in fails(capsys, fair, "--reference", reference, "--protocol", "adm")
    assert "does not exist" in fails(capsys, fair, "--reference", reference, "--json", tmp_path / "no" / "x.json")
    assert "--reference" in fails(capsys, fair)


def test_statistics_of_other_features_exit_with_3(
    capsys: pytest.CaptureFixture[str], sets: dict[str, Path], tmp_path: Path
) -> None:
    features = np.random.default_rng(0).normal(size=(9, 4))
    FeatureStatistics.from_features(features, extractor="digits@0", protocol="paragone").save(tmp_path / "other.npz")
    message = fails(capsys, sets["fair"], "--reference", tmp_path / "other.npz", code=3)
    assert "other.npz: its extractor is digits@0, that of the pictures is gist-1" in message


def test_help_names_every_metric_and_agrees_with_the_list_of_commands() -> None:
    assert (metrics.help or "").splitlines()[0] == COMMANDS["metrics"][1]
    [option] = [parameter for parameter in metrics.params if parameter.name == "metric_names"]
    for name in (*ALL_METRICS, *PICTURE_METRICS):
        assert name in (getattr(option, "help", None) or "")


@pytest.mark.parametrize("arguments", [["metrics", "--help"], ["stats", "--help"], ["weights", "list"], ["two files"]])
def test_light_paths_do_not_import_torch(arguments: list[str], tmp_path: Path) -> None:
    if arguments == ["two files"]:
        statistics = FeatureStatistics.from_features(np.random.default_rng(0).normal(size=(9, 4)))
        statistics.save(tmp_path / "a.npz")
        arguments = ["metrics", str(tmp_path / "a.npz"), "--reference", str(tmp_path / "a.npz")]
    code = (
        "import sys; from paragone.__main__ import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as stop: print('torch' in sys.modules, stop.code)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "False 0", ended.stderr
