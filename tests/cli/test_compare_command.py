"""`paragone compare`: results files side by side, refusals that say why, and tested differences of two sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import torch
from numpy.typing import NDArray
from PIL import Image

from paragone.__main__ import COMMANDS, main
from paragone.cli.compare import compare
from paragone.data.images import read_images
from paragone.metrics import frechet_distance
from paragone.metrics.extractors.digits import DigitsNetwork
from paragone.metrics.features import ExtractionOptions, extract_side, open_extractor
from paragone.metrics.frechet_difference import frechet_difference
from paragone.metrics.pairs import pair_up


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as caught:
        main(["compare", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.out, captured.err


# ---- Results files ---------------------------------------------------------------------------------------------------


def result(metric: str, value: float, *, n: int = 500, **parts: str) -> dict[str, Any]:
    named = {"ext": "gist-1", "protocol": "paragone", "resize": "clean-64", "ref": "e453eb349c2b"} | parts
    signature = "|".join([metric, *(f"{key}:{text}" for key, text in named.items()), f"n:{n}", "v:0.1.0"])
    return {
        "metric": metric,
        "value": value,
        "higher_is_better": metric != "fd",
        "n_generated": n,
        "standard_error": 0.25,
        "signature": signature,
        "version": "0.1.0",
    }


def write(path: Path, *results: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"schema": "paragone.metrics/1", "results": results, "warnings": []}))
    return path


def test_two_files_give_values_errors_and_differences(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    a = write(tmp_path / "a.json", result("fd", 12.5), result("recall", 0.25), result("kid", 3.0))
    b = write(tmp_path / "b.json", result("recall", 0.5), result("fd", 11.0, n=400))
    code, out, err = run(capsys, a, b, "--json", "-")
    assert code == 0
    document = json.loads(out)
    assert document["schema"] == "paragone.compare/1"
    assert (document["a"], document["b"], document["pairing"]) == (str(a), str(b), None)
    assert [(row["metric"], row["difference"]) for row in document["results"]] == [("fd", -1.5), ("recall", 0.25)]
    assert (document["results"][0]["n_a"], document["results"][0]["n_b"]) == (500, 400)
    assert document["results"][0]["standard_error_a"] == 0.25
    assert document["results"][0]["standard_error"] is None  # not known how the two sets hang together
    assert "warning: fd: of 500 pictures in A and 400 in B" in err
    assert f"warning: only {a} has kid" in err
    code, out, _ = run(capsys, a, b)
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:3]] == [["fd", "lower"], ["recall", "higher"]]
    assert out.splitlines()[1].split() == ["fd", "lower", "12.5", "0.25", "11", "0.25", "-1.5"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"ext": "inception-2015-12-05"}, "fd: the extractor is gist-1 in the one and inception-2015-12-05 in the"),
        ({"protocol": "pytorch-fid"}, "fd: the protocol is paragone in the one and pytorch-fid in the other"),
        ({"resize": "tf1-299"}, "fd: the resizing is clean-64 in the one and tf1-299"),
        ({"ref": "0000"}, "fd: the reference is e453eb349c2b in the one and 0000 in the other"),
    ],
)
def test_what_differs_is_refused_by_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, part: dict[str, str], message: str
) -> None:
    a, b = write(tmp_path / "a.json", result("fd", 1.0)), write(tmp_path / "b.json", result("fd", 1.0, **part))
    code, out, err = run(capsys, a, b)
    assert (code, out) == (3, "")
    assert message in err
    assert err.count("\n") == 1


def test_files_that_are_no_results(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good = write(tmp_path / "good.json", result("fd", 1.0))
    other = write(tmp_path / "other.json", result("kid", 1.0))
    (tmp_path / "text.json").write_text("no json")
    (tmp_path / "votes.json").write_text('{"schema": "paragone.ratings/1"}')
    (tmp_path / "short.json").write_text('{"schema": "paragone.metrics/1", "results": [{"metric": "fd"}]}')
    for name, code, message in (
        ("text.json", 2, "text.json: not a readable JSON file"),
        ("nowhere.json", 2, "nowhere.json: not a readable"),
        ("votes.json", 2, "votes.json: its schema is 'paragone.ratings/1'"),
        ("short.json", 2, "short.json: damaged results"),
        ("other.json", 3, "no metric in common (fd against kid)"),
    ):
        found, out, err = run(capsys, good, tmp_path / name)
        assert (found, out) == (code, "")
        assert message in err
    assert other.exists()
    assert "two results files (.json), or two sets" in run(capsys, good, tmp_path)[2]
    assert "leave it out" in run(capsys, good, good, "--reference", tmp_path)[2]
    assert "name it with --reference" in run(capsys, tmp_path, tmp_path)[2]


# ---- Two sets --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real digits as reference; A is the other digits dimmed, B the same ones dimmed more."""
    folder = tmp_path_factory.mktemp("sets")
    digits: NDArray[np.float64] = sklearn.datasets.load_digits().images * (255 / 16)
    np.savez(folder / "reference.npz", digits[::2].round().astype(np.uint8))
    for name, brightness in (("a", 0.9), ("b", 0.6)):
        (folder / name).mkdir()
        for index, pixels in enumerate(digits[1::2][:300]):
            Image.fromarray((pixels * brightness).astype(np.uint8)).save(folder / name / f"{index}.png")
    (folder / "renamed").mkdir()
    for path in (folder / "b").iterdir():
        (folder / "renamed" / f"x{path.name}").write_bytes(path.read_bytes())
    torch.manual_seed(0)
    DigitsNetwork().save(folder / "digits.safetensors")
    return {path.stem: path for path in folder.iterdir()}


def options(sets: dict[str, Path]) -> list[object]:
    return ["--reference", sets["reference"], "--features", "digits", "--weights", sets["digits"], "--device", "cpu"]


def test_paired_sets_are_tested_as_pairs(capsys: pytest.CaptureFixture[str], sets: dict[str, Path]) -> None:
    documents = {}
    for name in ("b", "renamed"):
        arguments = [sets["a"], sets[name], *options(sets), "--metric", "fd", "--metric", "precision", "--json", "-"]
        code, out, _ = run(capsys, *arguments)
        assert code == 0
        documents[name] = json.loads(out)
    assert documents["b"]["pairing"] == "paired by file name: 300 pairs"
    assert documents["renamed"]["pairing"].startswith("unpaired: by file name, 0 of 300 in A have a partner")
    extractor = open_extractor("digits", weights=sets["digits"])
    x, a, b = (
        extract_side(read_images(sets[name]), extractor, ExtractionOptions("cpu"), task="").side.features
        for name in ("reference", "a", "b")
    )
    assert x is not None
    assert a is not None
    assert b is not None
    for name, paired in (("b", True), ("renamed", False)):
        fd, precision = documents[name]["results"]
        expected = frechet_difference(x, b, a, paired=paired)
        assert fd["difference"] == pytest.approx(expected.difference, rel=1e-9)
        assert fd["standard_error"] == pytest.approx(expected.standard_error, rel=1e-9)
        assert fd["p_value"] == pytest.approx(expected.p_value, rel=1e-6, abs=1e-300)
        assert fd["ci_low"] < fd["difference"] < fd["ci_high"]
        assert fd["value_a"] == pytest.approx(frechet_distance(x, a), rel=1e-9)
        assert fd["value_b"] > fd["value_a"]
        assert precision["standard_error"] is None
        assert precision["difference"] == pytest.approx(precision["value_b"] - precision["value_a"])
    assert documents["b"]["results"][0]["standard_error"] < documents["renamed"]["results"][0]["standard_error"]


def test_pairs_follow_manifests_before_names(sets: dict[str, Path], tmp_path: Path) -> None:
    requests = {}
    for name, order in (("one", [0, 1, 2]), ("two", [2, 0, 1])):
        (tmp_path / name).mkdir()
        lines = [{"schema": "paragone.samples/1", "recipe": "r"}]
        for place, seed in enumerate(order):
            Image.new("RGB", (4, 4)).save(tmp_path / name / f"{place}.png")
            lines.append({"prompt_id": "p", "seed": seed, "status": "ok", "file": f"{place}.png"})
        (tmp_path / name / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
        requests[name] = read_images(tmp_path / name)
    pairing = pair_up(requests["one"], requests["two"])
    assert pairing.order == (1, 2, 0)
    assert pairing.told == "paired by prompt and seed: 3 pairs"


def test_too_few_are_shown_and_not_tested(capsys: pytest.CaptureFixture[str], sets: dict[str, Path]) -> None:
    arguments = [sets["a"], sets["b"], "--reference", sets["reference"], "--metric", "fd", "--no-cache"]
    code, out, err = run(capsys, *arguments)  # GIST has 752 dimensions
    assert code == 0
    assert "fd: not tested: " in err
    assert out.splitlines()[1].split()[:2] == ["fd", "lower"]


def test_help_agrees_with_the_list_of_commands() -> None:
    assert (compare.help or "").splitlines()[0] == COMMANDS["compare"][1]
