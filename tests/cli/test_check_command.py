"""`paragone check` and `paragone plan`: exit codes through a process, reports in every form, blessing, looks, votes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from paragone.__main__ import main
from paragone.cli.check_documents import annotation_lines, job_summary, junit, markdown
from paragone.cli.check_report import CheckReport, Outcome
from paragone.data.generators.base import Generation
from paragone.data.records import Status, Task
from paragone.metrics.checks import Finding, Verdict
from paragone.metrics.checks_runs import RunCheck
from paragone.metrics.recording import gates_of, run_of_features
from paragone.metrics.run_files import read_run, write_run
from paragone.metrics.run_items import Items

COMMON = np.random.default_rng(0).standard_normal((200, 4))
REFERENCE = np.random.default_rng(1).standard_normal((300, 4))


def items() -> Items:
    asked = [(f"p{row % 10}", row // 10) for row in range(200)]
    return Items(tuple(f"{p}-{s}.png" for p, s in asked), tuple(p for p, _ in asked), tuple(s for _, s in asked))


def record(path: Path, seed: int, *, scale: float = 1.2, extractor: str = "mine", noise: float = 0.1) -> Path:
    made = scale * (COMMON + noise * np.random.default_rng(seed).standard_normal(COMMON.shape))
    run = run_of_features(made, REFERENCE, items=items(), extractor=extractor, model=path.stem)
    write_run(replace(run, gates=gates_of(run, {"kid": "50%"})), path)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of run records: a baseline, and candidates of every kind."""
    folder = tmp_path_factory.mktemp("runs")
    record(folder / "base.json", 2)
    record(folder / "same.json", 3, noise=0.001)
    record(folder / "near.json", 2)
    record(folder / "worse.json", 3, scale=1.6)
    record(folder / "other.json", 3, extractor="theirs")
    record(folder / "noisy.json", 9, noise=1.0, scale=1.22 / 1.41)
    return folder


def paragone(*arguments: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")} | variables
    command = [sys.executable, "-m", "paragone", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def inside(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The same in this process, which is quicker: exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


# ---- Exit codes ----------------------------------------------------------------------------------------------------

CRASHES = """
class Crashing:
    name = "crashing"
    task = "text-to-image"
    def generate(self, requests):
        raise ConnectionError("the GPU has gone")
generator = Crashing()
"""


def test_exit_codes(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "crashing.py").write_text(CRASHES)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt_id": f"p{n}", "prompt": f"a {n}"}) + "\n" for n in range(10)))
    base = ("--baseline", runs / "base.json")
    cases = {
        0: [runs / "near.json", *base],
        1: [runs / "worse.json", *base],
        2: [runs / "near.json", *base, "--margin", "fd"],
        3: [runs / "other.json", *base],
        4: [runs / "noisy.json", *base, "--strict", "--margin", "fd=0.1%"],
        5: ["--generator", "crashing:generator", "--prompts", prompts, *base],
    }
    for code, arguments in cases.items():
        found = paragone(
            "check",
            *arguments,
            "--json",
            "-",
            cwd=tmp_path,
            PYTHONPATH=os.environ["PYTHONPATH"] + f":{tmp_path}" if "PYTHONPATH" in os.environ else str(tmp_path),
        )
        assert found.returncode == code, (code, found.stderr, found.stdout)
        if code == 2:
            assert found.stdout == ""
            assert found.stderr.count("\n") == 1
        else:
            assert json.loads(found.stdout)["exit_code"] == code
    assert "Traceback" not in found.stderr
    assert "the GPU has gone" in found.stderr


def test_a_missing_baseline_is_not_comparable_and_a_vanished_metric_neither(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = inside(capsys, "check", runs / "near.json", "--baseline", tmp_path / "none.json")
    assert code == 3
    assert "--bless" in err
    run = read_run(runs / "near.json")
    write_run(replace(run, measures={"fd": run.measures["fd"]}), tmp_path / "less.json")
    code, _, err = inside(capsys, "check", tmp_path / "less.json", "--baseline", runs / "base.json")
    assert code == 3
    assert "kid is gated, but was not measured" in err


def test_a_stale_baseline_is_a_warning_and_strictly_an_end(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(replace(read_run(runs / "base.json"), created="2020-01-01T00:00:00Z"), tmp_path / "old.json")
    code, _, err = inside(capsys, "check", runs / "near.json", "--baseline", tmp_path / "old.json")
    assert code == 0
    assert "days old" in err
    code, _, err = inside(capsys, "check", runs / "near.json", "--baseline", tmp_path / "old.json", "--strict")
    assert code == 3
    assert (
        inside(capsys, "check", runs / "near.json", "--baseline", tmp_path / "old.json", "--strict", "--max-age", 1e5)[
            0
        ]
        == 0
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "GENERATED or --generator"),
        (["near.json", "--generator", "x:y"], "GENERATED or --generator"),
        (["near.json", "--extend"], "--generator"),
        (["near.json", "--metric", "fd"], "--bless"),
        (["near.json", "--seeds", "0-9"], "--bless"),
        (["near.json", "--margin", "psnr=1"], "psnr is not measured"),
        (["near.json", "--margin", "fd=much"], "percentage"),
        (["near.json", "--margin", "fd=0"], "no tolerance"),
        (["near.json", "--json", "-", "--markdown", "-"], "stdout has room"),
        (["near.json", "--html", "-"], "name a file"),
        (["near.json", "--junit", "nowhere/x.xml"], "does not exist"),
        (["near.json", "--baseline-images", "x"], "--html"),
        (["no-such-folder"], "no-such-folder"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: list[str], words: str, runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    code, out, err = inside(capsys, "check", "--baseline", "base.json", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


# ---- Reports -------------------------------------------------------------------------------------------------------


def test_the_terminal_says_what_decides(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inside(capsys, "check", runs / "worse.json", "--baseline", runs / "base.json", "--no-github")
    assert code == 1
    assert "paired by prompt and seed: 200 samples" in out
    assert "90 % interval" in out
    assert "regressed" in out
    assert "→ regressed" in out


def test_every_form_of_report(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = {name: tmp_path / f"report.{name}" for name in ("json", "junit", "markdown", "html", "model-card")}
    options = [part for name, path in targets.items() for part in (f"--{name}", path)]
    code, _, _ = inside(
        capsys, "check", runs / "worse.json", runs / "near.json", "--baseline", runs / "base.json", *options
    )
    assert code == 1
    document = json.loads(targets["json"].read_text())
    assert document["schema"] == "paragone.check/1"
    assert [one["verdict"] for one in document["candidates"]] == ["regressed", "pass"]
    assert document["candidates"][0]["check"]["alpha"] == 0.025  # two candidates share the error rate
    suites = ElementTree.parse(targets["junit"]).getroot()
    assert int(suites.get("failures")) == len(suites.findall(".//failure")) > 0
    assert int(suites.get("tests")) == len(suites.findall(".//testcase")) == 8
    assert targets["markdown"].read_text().count("### ") == 2
    page = targets["html"].read_text()
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")
    card = targets["model-card"].read_text()
    assert card.startswith("---\nmodel-index:")
    assert "n = 200" in card


def test_github_gets_annotations_a_summary_and_outputs(runs: Path, tmp_path: Path) -> None:
    summary, output = tmp_path / "summary.md", tmp_path / "output.txt"
    found = paragone(
        "check",
        runs / "worse.json",
        "--baseline",
        runs / "base.json",
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(summary),
        GITHUB_OUTPUT=str(output),
    )
    assert found.returncode == 1
    assert "\n::error title=paragone%3A regressed::fd regressed" in found.stdout
    assert "| fd |" in summary.read_text()
    assert "verdict=regressed\nexit-code=1\n" in output.read_text()


def finding(metric: str, verdict: Verdict) -> Finding:
    return Finding(
        metric,
        False,
        verdict,
        1.0,
        "5%",
        1.0,
        2.0,
        10,
        10,
        "t",
        0.05,
        0.8,
        1.0,
        0.1,
        0.8,
        1.2,
        0.01,
        0.02,
        0.9,
        0.5,
        0.3,
        None,
        "100 % more\nneeded: a, b",
    )


def report(findings: int, verdict: Verdict) -> CheckReport:
    check = RunCheck("new", "old", tuple(finding(f"metric-{n}", verdict) for n in range(findings)), "paired", 0.05, 0.8)
    return CheckReport("b.json", "old", "2026-01-01T00:00:00Z", 3.0, False, (Outcome("new", "", check),))


def test_githubs_limits_are_kept() -> None:
    lines = annotation_lines(report(30, Verdict.REGRESSED))
    assert sum(line.startswith("::error") for line in lines) == 10
    assert "21 more" in lines[9]
    assert "%25 more%0Aneeded: a, b" in annotation_lines(report(1, Verdict.INCONCLUSIVE))[0]
    long = report(9_500, Verdict.INCONCLUSIVE)
    assert len(markdown(long).encode()) > 1 << 20
    assert len(job_summary(long).encode()) < 1 << 20
    assert len(job_summary(long, used=500_000).encode()) < (1 << 20) - 500_000


def test_in_junit_an_open_gate_is_skipped_and_an_incomparable_run_an_error() -> None:
    suite = ElementTree.fromstring(junit(report(2, Verdict.INCONCLUSIVE)))
    assert (suite.get("skipped"), suite.get("failures")) == ("2", "0")
    lost = CheckReport("b", "old", "", 0.0, False, (Outcome("new", "", None, "not comparable", "bad \x00 <&>"),))
    suite = ElementTree.fromstring(junit(lost))
    assert suite.get("errors") == "1"
    assert lost.exit_code == 3


# ---- Pictures ------------------------------------------------------------------------------------------------------


def pictures(folder: Path, seed: int, *, contrast: float = 1.0, n: int = 40) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(n):
        field = rng.normal(128, 40 * contrast, (6, 6)).clip(0, 255).astype(np.uint8)
        Image.fromarray(field).resize((32, 32), Image.Resampling.BILINEAR).save(folder / f"{number}.png")
    return folder


def test_pictures_are_blessed_checked_and_blessed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, reference = tmp_path / "baselines" / "main.json", pictures(tmp_path / "reference", 0)
    first, same, flat = (
        pictures(tmp_path / name, seed, contrast=contrast)
        for name, seed, contrast in (("first", 1, 1.0), ("same", 1, 1.0), ("flat", 2, 0.3))
    )
    common = ("--baseline", base, "--no-cache")
    code, out, err = inside(
        capsys,
        "check",
        first,
        *common,
        "--bless",
        "--reference",
        reference,
        "--metric",
        "kid",
        "--metric",
        "precision",
        "--metric",
        "sharpness",
        "--margin",
        "kid=20%",
    )
    assert code == 0, err
    assert "margin" in out
    code, out, err = inside(capsys, "check", same, *common)
    assert (code, "byte for byte" in out) == (0, True), err
    code, out, _ = inside(capsys, "check", flat, *common, "--html", tmp_path / "r.html", "--baseline-images", first)
    assert code == 1
    page = (tmp_path / "r.html").read_text()
    assert "Where sharpness fell most" in page
    assert page.count("data:image/png") >= 24
    before = base.read_text()
    code, out, _ = inside(capsys, "check", flat, *common, "--bless")
    assert code == 0
    assert "was: kid:" in out
    changed = [line for line in base.read_text().splitlines() if line not in before.splitlines()]
    assert 3 < len(changed) < 40  # a diff that can be read
    assert json.loads(base.read_text())["gates"]["kid"]["stated"] == "20%"


def test_a_reference_that_was_changed_is_not_comparable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, reference = tmp_path / "main.json", pictures(tmp_path / "reference", 0)
    first = pictures(tmp_path / "first", 1)
    common = ("--baseline", base, "--no-cache", "--reference", reference)
    assert inside(capsys, "check", first, *common, "--bless", "--metric", "kid")[0] == 0
    Image.new("L", (32, 32), 7).save(reference / "0.png")
    code, _, err = inside(capsys, "check", first, *common)
    assert code == 3
    assert "the reference is" in err


def test_a_reference_that_is_too_large_to_keep_is_named_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paragone.metrics.recording.KEPT_ROWS", 10)
    reference, first = pictures(tmp_path / "reference", 0), pictures(tmp_path / "first", 1)
    common = ("check", first, "--baseline", tmp_path / "b.json", "--no-cache")
    assert inside(capsys, *common, "--bless", "--reference", reference, "--metric", "kid")[0] == 0
    code, _, err = inside(capsys, *common)
    assert code == 2
    assert "name it again with --reference" in err
    assert inside(capsys, *common, "--reference", reference)[0] == 0


def test_clips_are_read_as_the_baseline_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed, contrast in (("reference", 0, 1.0), ("first", 1, 1.0), ("flat", 2, 0.3)):
        clips = np.random.default_rng(seed).normal(128, 40 * contrast, (24, 6, 16, 16, 3))
        np.save(tmp_path / f"{name}.npy", clips.clip(0, 255).astype(np.uint8))
    common = ("--baseline", tmp_path / "b.json", "--no-cache")
    code, out, err = inside(
        capsys,
        "check",
        tmp_path / "first.npy",
        *common,
        "--bless",
        "--reference",
        tmp_path / "reference.npy",
        "--metric",
        "kid",
        "--clip-frames",
        "4",
        "--frame-rate",
        "8",
    )
    assert code == 0, err
    assert "kvd" in out
    assert json.loads((tmp_path / "b.json").read_text())["measured"]["clips"] == {"clip_frames": 4, "frame_rate": "8"}
    assert inside(capsys, "check", tmp_path / "first.npy", *common)[0] == 0
    assert inside(capsys, "check", tmp_path / "flat.npy", *common)[0] == 1
    assert inside(capsys, "check", tmp_path / "flat.npy", *common, "--clip-frames", "5")[0] == 2


def test_metrics_record_is_a_candidate_and_a_pilot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference, first = pictures(tmp_path / "reference", 0), pictures(tmp_path / "first", 1)
    made = tmp_path / "run.json"
    code, out, err = inside(
        capsys,
        "metrics",
        first,
        "--reference",
        reference,
        "--metric",
        "kid",
        "--metric",
        "recall",
        "--no-cache",
        "--record",
        made,
        "--json",
        "-",
    )
    assert code == 0, err
    assert json.loads(out)["results"][0]["metric"] == "kid"
    assert (
        inside(
            capsys,
            "check",
            first,
            "--baseline",
            tmp_path / "b.json",
            "--bless",
            "--no-cache",
            "--reference",
            reference,
            "--metric",
            "kid",
            "--metric",
            "recall",
        )[0]
        == 0
    )
    assert inside(capsys, "check", made, "--baseline", tmp_path / "b.json")[0] == 0
    code, out, _ = inside(capsys, "plan", made, "--margin", "kid=10%", "--json", "-")
    assert code == 0
    assert {row["metric"] for row in json.loads(out)["rows"]} == {"kid", "recall"}
    code, _, err = inside(capsys, "check", first, "--baseline", made, "--no-cache")
    assert code == 2
    assert "no baseline" in err


# ---- Generators and looks ------------------------------------------------------------------------------------------


class Painter:
    """Grey fields whose contrast may have been lost; `asked` counts what it was asked for."""

    task = Task.TEXT_TO_IMAGE

    def __init__(self, contrast: float, noise: int = 0, name: str = "painter") -> None:
        self.name, self.contrast, self.noise = name, contrast, noise
        self.fingerprint = f"{contrast}-{noise}"
        self.asked = 0

    def generate(self, requests, /):
        for request in requests:
            self.asked += 1
            rng = np.random.default_rng([self.noise, request.seed, int(request.prompt.id[1:])])
            field = rng.normal(128, 40 * self.contrast, (6, 6)).clip(0, 255).astype(np.uint8)
            yield Generation(request, np.asarray(Image.fromarray(field).resize((32, 32))))


class Failing(Painter):
    def generate(self, requests, /):
        for request in requests:
            yield Generation(request, None, Status.ERROR, "out of memory")


GOOD, FLAT, SIMILAR, FAILING = Painter(1.0), Painter(0.3), Painter(1.0, noise=5), Failing(1.0, name="failing")


@pytest.fixture
def looks(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """A baseline of three looks, blessed from a generator, and the options that all calls share."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "painters", sys.modules[__name__])
    pictures(tmp_path / "reference", 0, n=60)
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("prompt_id,prompt\n" + "".join(f"p{n},field {n}\n" for n in range(4)))
    common = ("--baseline", "b.json", "--no-cache")
    code, _, err = inside(
        capsys,
        "check",
        *common,
        "--bless",
        "--generator",
        "painters:GOOD",
        "--prompts",
        prompts,
        "--reference",
        "reference",
        "--metric",
        "kid",
        "--metric",
        "precision",
        "--look",
        "0-7",
        "--look",
        "8-15",
        "--look",
        "16-23",
    )
    assert code == 0, err
    return common


def test_a_generator_answers_the_baselines_own_requests(
    looks: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = inside(capsys, "check", *looks, "--generator", "painters:GOOD", "--json", "-")
    assert code == 0, err
    assert json.loads(out)["verdict"] == "pass"
    assert "sample painter" in err


def test_looks_stop_as_soon_as_they_may_and_draw_what_was_declared(
    looks: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    FLAT.asked = SIMILAR.asked = 0
    code, out, _ = inside(capsys, "check", *looks, "--generator", "painters:FLAT", "--extend", "--json", "-")
    check = json.loads(out)["candidates"][0]["check"]
    assert (code, check["look"], check["looks"]) == (1, 1, 3)
    assert FLAT.asked == 32
    code, out, _ = inside(capsys, "check", *looks, "--generator", "painters:SIMILAR", "--extend", "--json", "-")
    check = json.loads(out)["candidates"][0]["check"]
    assert (code, check["look"]) == (0, 3)
    assert check["findings"][0]["level"] < 0.05
    assert check["findings"][0]["n_candidate"] == 96


def test_looks_are_declared_before_and_cover_the_seeds(
    looks: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = inside(
        capsys, "check", "check-samples/painter", *looks, "--bless", "--look", "0-7", "--look", "8-15"
    )
    assert code == 2
    assert "must be all of its seeds" in err
    assert inside(capsys, "check", *looks, "--generator", "painters:GOOD", "--extend", "--prompts", "none.csv")[0] == 2


def test_a_generator_that_fails_is_infrastructure(
    looks: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = inside(capsys, "check", *looks, "--generator", "painters:FAILING")
    assert code == 5
    assert "out of memory" in err
    assert inside(capsys, "check", *looks, "--generator", "painters:NOTHING")[0] == 2


# ---- Votes and plans -----------------------------------------------------------------------------------------------


def votes(path: Path, share: float, n: int, *, swapped: bool = True) -> Path:
    rng = np.random.default_rng(0)
    rows = ["battle,model_a,model_b,winner"]
    for battle in range(n):
        for first in (True, False) if swapped else (True,):
            wins = rng.uniform() < share
            pair = ("near", "base") if first else ("base", "near")
            rows.append(f"{battle},{pair[0]},{pair[1]},{'model_a' if wins == first else 'model_b'}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize(
    ("share", "n", "verdict"),
    [(0.5, 2500, "pass"), (0.35, 400, "regressed"), (0.7, 400, "improved"), (0.49, 40, "inconclusive")],
)
def test_votes_in_both_orders_are_one_gate_more(
    share: float, n: int, verdict: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = votes(tmp_path / "votes.csv", share, n)
    code, out, _ = inside(
        capsys, "check", runs / "near.json", "--baseline", runs / "base.json", "--votes", table, "--json", "-"
    )
    found = json.loads(out)["candidates"][0]["check"]["findings"][-1]
    assert (found["metric"], found["verdict"]) == ("arena", verdict)
    assert code == (1 if verdict == "regressed" else 0)
    assert found["n_candidate"] == n  # not twice as many
    assert "both orders" in found["method"]


def test_votes_in_one_order_and_names_that_are_not_there(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = votes(tmp_path / "votes.csv", 0.35, 800, swapped=False)
    base = ("check", runs / "near.json", "--baseline", runs / "base.json", "--votes", table)
    code, out, _ = inside(capsys, *base, "--margin", "arena=40", "--json", "-")
    found = json.loads(out)["candidates"][0]["check"]["findings"][-1]
    assert (code, found["method"]) == (1, "SPRT(-40, 0) on votes")
    code, _, err = inside(capsys, *base, "--vote-names", "near", "nobody")
    assert code == 2
    assert "nobody" in err


def test_plan_of_votes(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inside(capsys, "plan", "--elo", 50, "--usd", 0.1)
    assert code == 0
    assert "votes, looked at once" in out
    assert "USD" in out
    assert inside(capsys, "plan")[0] == 2
    assert inside(capsys, "plan", "--elo", -3)[0] == 2
