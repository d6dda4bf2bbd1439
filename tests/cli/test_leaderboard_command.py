"""`paragone leaderboard`: right kinds of voters, files that hold what they say, a table that fits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from paragone.__main__ import main
from paragone.arena.store import Store
from paragone.cli.leaderboard import publish_leaderboard
from paragone.data import (
    Attempt,
    Battle,
    GeneratorCard,
    Judgement,
    MetricResult,
    Price,
    PriceUnit,
    Prompt,
    Sample,
    Status,
    Verdict,
    Winner,
    sample_id,
)

NAMES = ("anna", "bea", "[red]carl[/red]\x1b[31m")
METRICS = ("fd", "kid", "precision", "recall", "authenticity", "alignment")


def fill(folder: Path, *, judged: bool = True, people: bool = False) -> Path:
    samples = [
        Sample(sample_id(m, "p", s, "0" * 64), "0" * 64, f"samples/{n}/{s}.png", "p", m, s, 8, 8)
        for n, m in enumerate(NAMES)
        for s in range(6)
    ]
    by = {(s.model, s.seed): s.id for s in samples}
    with Store(folder / "arena.db", create=True) as store:
        store.add_generators(GeneratorCard(name) for name in NAMES)
        store.add_prompts([Prompt("p", "x")])
        store.add_samples(samples)
        for n, name in enumerate(NAMES):
            results = [MetricResult(m, 1.25 * n, m != "fd", 10, signature=f"{m}|n:10") for m in METRICS]
            store.add_metric_results(name, results)
        judgements = []
        for n in range(18 if judged else 0):
            a, b = NAMES[n % 3], NAMES[(n + 1) % 3]
            battle = Battle(f"b{n}", "p", a, b, by[a, n % 6], by[b, n % 6])
            winner = (Winner.MODEL_A, Winner.MODEL_B, Winner.TIE, Winner.MODEL_A)[n % 4]
            judgements.append(Judgement(battle, (Verdict(winner),) * 2, winner, True))
        store.record_judgements(judgements, judge="ruler")
        if people:
            issued = store.issue_battle("v")
            store.record_vote(issued.token, Winner.TIE, voter="v")
    return folder


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["leaderboard", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run("--dir", fill(tmp_path)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert max(map(len, lines[:5])) <= 100
    header = next(line for line in lines if "rank" in line)
    assert header.split() == [
        "rank", "model", "rating", "Elo", "votes", "win%", "fd↓", "kid↑", "prec↑", "recall↑", "auth↑", "align↑",
    ]  # fmt: skip
    row = next(line for line in lines if "anna" in line)
    assert re.search(r"^\s*\d(–\d)?\s+anna\s+\d+ ± \d+\s+\d+\s+12\s+\d+\s+0\.00", row)
    assert "18 votes of judges; Bradley-Terry ratings" in out
    assert "[red]carl[/red]" in out  # names are neither markup
    assert "\x1b" not in out  # nor terminal commands


def test_narrow_terminal_names_what_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    assert run("--dir", fill(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "fd↓" in out
    assert "align↑" not in out
    assert re.search(r"No room for: .*alignment", out)


def test_json_on_stdout_is_json_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dir", fill(tmp_path), "--json", "-") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["schema"], document["voters"], document["n_votes"]) == ("paragone.leaderboard/1", "judge", 18)
    assert err == ""


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path)
    files = ("--json", tmp_path / "b.json", "--csv", tmp_path / "b.csv")
    assert run("--dir", tmp_path, "--method", "elo", *files) == 0
    assert "anna" in capsys.readouterr().out
    assert json.loads((tmp_path / "b.json").read_text())["parameters"]["method"] == "elo"
    assert (tmp_path / "b.csv").read_text().count("\n") == 4


def test_two_kinds_are_two_boards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, people=True)
    assert run("--dir", tmp_path) == 0
    out = capsys.readouterr().out
    assert out.index("1 vote of people") < out.index("18 votes of judges")
    assert run("--dir", tmp_path, "--json", "-") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--voters human|judge|all" in err
    assert run("--dir", tmp_path, "--voters", "all", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["n_votes"] == 19


def test_no_votes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dir", fill(tmp_path, judged=False)) == 0
    out = capsys.readouterr().out
    assert "No votes yet" in out
    assert "bea" in out


def test_database_by_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path)
    assert run("--db", f"sqlite:///{tmp_path / 'arena.db'}", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["n_votes"] == 18


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dir", "nowhere"], "nowhere: not a project folder"),
        (["--db", "mysql://host/x"], "only SQLite and PostgreSQL"),
        (["--db", "gone.db"], "gone.db: no such database"),
        (["--json", "missing/folder/x.json"], "does not exist"),
        (["--voters", "robots"], "robots"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_publish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, people=True)
    publish_leaderboard(tmp_path)
    assert "18 votes of judges" in capsys.readouterr().out
    document = json.loads((tmp_path / "leaderboard.json").read_text())
    assert document["voters"] == "judge"
    assert (tmp_path / "leaderboard.csv").read_text().startswith("rank,")


def test_light_import(tmp_path: Path) -> None:
    fill(tmp_path)
    code = (
        "import sys; from paragone.__main__ import main\n"
        f"try: main(['leaderboard', '--dir', {str(tmp_path)!r}])\n"
        "finally: print([m for m in ('torch', 'streamlit') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


CARDS = (
    GeneratorCard(
        "anna", open_weights=True, licence="MIT", parameters=12 * 10**9, released="2026-01-31", family="Flow"
    ),
    GeneratorCard("bea", open_weights=False, parameters=860_000_000, released="2022-08-22"),
    GeneratorCard(NAMES[2]),
)


def with_cards(folder: Path) -> Path:
    fill(folder)
    with Store(folder / "arena.db") as store:
        store.add_generators(CARDS)
        store.add_prices(
            [
                Price("anna", PriceUnit.IMAGE, Decimal(usd), day)
                for usd, day in (("0.04", "2026-01-01"), ("0.03", "2026-02-01"))
            ]
        )
        store.add_prompts(Prompt(f"q{n}", "x") for n in range(20))
        store.add_attempts(
            Attempt(name, f"q{n}", 0, Status.FILTERED if name == "bea" and n < 15 else Status.OK)
            for name in NAMES[:2]
            for n in range(20)
        )
    return folder


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        ("open_weights=yes", ["anna"]),
        ("open_weights!=yes", ["bea"]),  # what is not known is neither
        ("open_weights=unknown", [NAMES[2]]),
        ("parameters<=1e9", ["bea"]),
        ("parameters>860000000", ["anna"]),
        ("released >= 2026-01-01", ["anna"]),
        ("family~flo", ["anna"]),
        ("licence=mit", ["anna"]),
        ("licence!=unknown", ["anna"]),
        ("delivered<1", ["bea"]),
        ("n_filtered=15", ["bea"]),
        ("model~[red]", [NAMES[2]]),
        ("rank=99", []),
    ],
)
def test_filters(tmp_path: Path, capsys: pytest.CaptureFixture[str], condition: str, left: list[str]) -> None:
    assert run("--dir", with_cards(tmp_path), "--filter", condition, "--json", "-") == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in document["models"]] == left
    assert len(document["filter"]) == 1
    assert run("--dir", tmp_path, "--json", "-") == 0
    ranks = {row["model"]: row["rank"] for row in json.loads(capsys.readouterr().out)["models"]}
    assert [row["rank"] for row in document["models"]] == [ranks[model] for model in left]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--filter", "open_weights", "write COLUMN SIGN VALUE"),
        ("--filter", "size=3", "no column is called 'size'; there are rank, "),
        ("--filter", "parameters<many", "'many' is not a number, which parameters is"),
        ("--filter", "open_weights>0", "open_weights is yes, no or unknown"),
        ("--filter", "n_votes~3", "~ looks for words"),
        ("--columns", "licence,lisence", "no column is called 'lisence'"),
        ("--on", "yesterday", "is not a day; write 2026-01-31"),
    ],
)
def test_what_is_no_filter_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, message: str
) -> None:
    assert run("--dir", with_cards(tmp_path), option, value) == 2
    assert message in capsys.readouterr().err


def test_columns_in_the_table_and_the_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    folder, target = with_cards(tmp_path), tmp_path / "board.csv"
    options = ("--columns", "requests,parameters,usd_per_image", "--on", "2026-01-15", "--csv", target)
    assert run("--dir", folder, *options) == 0
    out = capsys.readouterr().out
    row = next(line.split() for line in out.splitlines() if " bea " in line)
    assert row[1:] == ["bea", "20", "25", "%", "11", "%", "47", "%", "0", "15", "0", "860M", "–"]
    assert "refusals differ between models by more than chance: bea declined more than anna" in out
    head, *rows = target.read_text().splitlines()
    assert head.startswith("rank,model,n_requests,delivered,")
    assert head.endswith(",n_failed,parameters,usd_per_image")
    anna = next(line for line in rows if ",anna," in line)
    assert anna.endswith(",12000000000,0.04")


def test_what_was_not_delivered_is_in_the_usual_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dir", with_cards(tmp_path)) == 0
    assert "delivered" in capsys.readouterr().out
