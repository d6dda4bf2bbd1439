"""`paragone agreement` from the outside: files, project folders, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paragone.__main__ import main
from paragone.arena.agreement import krippendorff_alpha
from paragone.arena.store import Store
from paragone.data import Battle, GeneratorCard, Judgement, Prompt, Sample, Verdict, Winner, sample_id

NAMES = ("anna", "bea", "carl")
CYCLE = [Winner.MODEL_A, Winner.MODEL_B, Winner.TIE, Winner.MODEL_A, Winner.MODEL_B]


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    rows = []
    for n in range(60):
        for voter, kind, every in (("ann", "human", 7), ("bob", "human", 5), ("ruler", "judge", 3)):
            winner = CYCLE[n % 5] if n % every else CYCLE[(n + 1) % 5]
            rows.append(("x", "y", str(winner), voter, kind, f"b{n}", f"p{n % 20}", ("day", "night")[n % 2]))
    path = tmp_path / "votes.csv"
    columns = ["model_a", "model_b", "winner", "voter", "kind", "battle", "prompt", "category"]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as caught:
        main(["agreement", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.out, captured.err


def test_the_tables(capsys: pytest.CaptureFixture[str], votes: Path) -> None:
    code, out, err = run(capsys, votes)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["kinds", "of", "voters"]
    assert lines[1] == ["between", "and", "items", "agree", "κ", "α", "AC1"]
    assert [line[:3] for line in lines[2:4]] == [["human", "human", "60"], ["human", "judge", "60"]]
    assert lines[4] == ["voters"]
    assert {tuple(line[:2]) for line in lines[6:9]} == {("ann", "bob"), ("ann", "ruler"), ("bob", "ruler")}


def test_json_holds_every_coefficient_and_nothing_else_is_printed(
    capsys: pytest.CaptureFixture[str], votes: Path
) -> None:
    code, out, err = run(capsys, votes, "--cluster", "prompt", "--json", "-")
    assert (code, err) == (0, "")
    document: dict[str, Any] = json.loads(out)
    assert document["schema"] == "paragone.agreement/1"
    assert document["parameters"]["cluster"] == "prompt"
    row = next(row for row in document["voters"] if {row["first"], row["second"]} == {"ann", "bob"})
    assert row["n_clusters"] == 20
    table = pd.read_csv(votes).pivot_table(index="battle", columns="voter", values="winner", aggfunc="first")
    alpha = row["coefficients"]["alpha"]
    assert alpha["value"] == pytest.approx(krippendorff_alpha([table["ann"].tolist(), table["bob"].tolist()]))
    assert alpha["lower"] < alpha["value"] < alpha["upper"]


def test_one_table_for_each_value_of_a_column(capsys: pytest.CaptureFixture[str], votes: Path) -> None:
    code, out, _ = run(capsys, votes, "--by", "category")
    assert code == 0
    assert "category = day: voters" in out
    document = json.loads(run(capsys, votes, "--by", "category", "--json", "-")[1])
    assert document["by"] == "category"
    assert [row["n_items"] for row in document["groups"]["night"]["voters"]] == [30, 30, 30]


def test_both_orders_of_a_judge_in_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, votes: Path) -> None:
    table = pd.read_csv(votes)
    ruler = table[table["voter"] == "ruler"].rename(columns={"model_a": "model_b", "model_b": "model_a"})
    path = tmp_path / "both.csv"
    pd.concat([table, ruler]).to_csv(path, index=False)
    code, _, err = run(capsys, path)
    assert code == 2
    assert "'ruler' voted on the same item in row 3" in err
    code, out, _ = run(capsys, path, "--repeats", "combine")
    assert code == 0
    assert "ruler: 20.0% of 60 battles decided alike in both orders" in out


def test_what_is_undefined_is_a_dash_and_a_note(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "ties.csv"
    rows = [("x", "y", "tie", voter, f"b{n}") for n in range(4) for voter in ("ann", "bob")]
    pd.DataFrame(rows, columns=["model_a", "model_b", "winner", "voter", "battle"]).to_csv(path, index=False)
    code, out, err = run(capsys, path)
    assert code == 0
    assert out.splitlines()[-1].split() == ["ann", "bob", "4", "1.00", "–", "–", "–"]
    assert "κ of ann and bob: undefined: every rating is of one category" in err


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"voter": "ann"}, ["--repeats", "first"], "only 'ann' voted"),
        ({}, ["--item", "nothing"], "nothing"),
        ({}, ["--dir", "."], "two sources"),
        ({"winner": "unparsed"}, [], "unknown outcome 'unparsed'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], votes: Path, change: dict[str, str], options: list[str], message: str
) -> None:
    pd.read_csv(votes).assign(**change).to_csv(votes, index=False)
    code, out, err = run(capsys, votes, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def project(folder: Path, *, judges: tuple[str, ...], people: int = 0) -> Path:
    samples = [
        Sample(sample_id(m, "p", s, "0" * 64), "0" * 64, f"samples/{n}/{s}.png", "p", m, s, 8, 8)
        for n, m in enumerate(NAMES)
        for s in range(4)
    ]
    by = {(s.model, s.seed): s.id for s in samples}
    with Store(folder / "arena.db", create=True) as store:
        store.add_generators(GeneratorCard(name) for name in NAMES)
        store.add_prompts([Prompt("p", "x")])
        store.add_samples(samples)
        battles = [
            Battle(f"b{k}{s}", "p", NAMES[k], NAMES[(k + 1) % 3], by[NAMES[k], s], by[NAMES[(k + 1) % 3], s])
            for k in range(3)
            for s in range(4)
        ]
        for j, judge in enumerate(judges):
            judgements = []
            for n, battle in enumerate(battles):
                shown, exchanged = CYCLE[(n + j) % 5], CYCLE[n % 5]
                alike = shown is exchanged
                winner = shown if alike else Winner.TIE
                judgements.append(Judgement(battle, (Verdict(shown), Verdict(exchanged)), winner, alike))
            store.record_judgements(judgements, judge=judge)
        for n in range(people):
            for voter in ("ann", "bob"):
                issued = store.issue_battle(voter)
                store.record_vote(issued.token, CYCLE[n % 5], voter=voter)
    return folder


def test_a_project_with_one_judge_says_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "--dir", project(tmp_path, judges=("ruler",)))
    assert (code, out) == (2, "")
    assert "only the judge 'ruler' has voted" in err
    assert "paragone serve" in err


def test_a_project_without_votes_or_without_a_project(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "--dir", project(tmp_path, judges=()))
    assert code == 2
    assert "no votes yet" in err
    code, _, err = run(capsys, "--dir", tmp_path / "elsewhere")
    assert code == 2
    assert "not a project folder" in err


def test_a_project_of_judges_and_people(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = project(tmp_path, judges=("ruler", "coin"), people=30)
    code, out, err = run(capsys, "--dir", folder)
    assert code == 0
    assert "human    human" in out
    assert "human    judge" in out
    assert "ruler: 100.0% of 12 battles decided alike in both orders" in out
    assert "coin: 0.0% of 12 battles" in out
    assert "had compared before" in err  # 30 battles each, of 12 pairs of pictures
    code, out, err = run(capsys, "--dir", project_of_judges(tmp_path))
    assert code == 0
    assert "the ceiling" in err


def project_of_judges(tmp_path: Path) -> Path:
    folder = tmp_path / "judges"
    folder.mkdir()
    return project(folder, judges=("ruler", "coin"))
