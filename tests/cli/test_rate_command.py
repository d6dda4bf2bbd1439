"""`paragone rate` from the outside: streams, files, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paragone.__main__ import COMMANDS, main
from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.ratings import ALL_RATERS
from paragone.arena.votes import read_votes
from paragone.cli.rate import METHODS, rate

PAIRS = [("cat", "dog"), ("dog", "owl"), ("owl", "cat")]


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    rows = [
        (a, b, winner, category, f"v{n % 35}")
        for a, b in PAIRS
        for n, winner in enumerate(["model_a"] * 30 + ["model_b"] * 20 + ["tie"] * 9 + ["both_bad"])
        for category in ("night", "day")
    ]
    path = tmp_path / "votes.csv"
    pd.DataFrame(rows, columns=["model_a", "model_b", "winner", "category", "voter"]).to_csv(path, index=False)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as caught:
        main(["rate", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.out, captured.err


def test_the_table(capsys: pytest.CaptureFixture[str], votes: Path) -> None:
    code, out, err = run(capsys, votes)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["rank", "ranks", "model", "rating", "95", "%", "interval", "votes", "win", "rate"]
    assert len(lines) == 5
    assert lines[-1] == "bradley-terry, 360 votes, 95 % intervals: sandwich"
    assert all("1–3" in line and "240" in line and "50.0%" in line for line in lines[1:4])


@pytest.mark.parametrize("method", METHODS)
def test_json_on_stdout_is_all_there_is(capsys: pytest.CaptureFixture[str], votes: Path, method: str) -> None:
    code, out, err = run(capsys, votes, "--method", method, "--json", "-")
    assert code == 0
    document = json.loads(out)
    assert document["schema"] == "paragone.ratings/1"
    assert document["method"] == method
    assert document["n_votes"] == 360
    assert {row["model"] for row in document["models"]} == {"cat", "dog", "owl"}
    assert ("warning: Elo depends on the order" in err) == (method == "elo")
    assert document == json.loads(json.dumps(ALL_RATERS[method].fit(read_votes(votes)).to_dict()))


def test_files(capsys: pytest.CaptureFixture[str], votes: Path, tmp_path: Path) -> None:
    code, out, _ = run(capsys, votes, "--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv")
    assert code == 0
    assert "bradley-terry" in out
    expected = fit_bradley_terry(read_votes(votes))
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(json.dumps(expected.to_dict()))
    written = pd.read_csv(tmp_path / "r.csv")
    assert list(written) == list(expected.to_frame())
    assert written["rating"].to_numpy() == pytest.approx(expected.rating)


def test_one_board_a_value(capsys: pytest.CaptureFixture[str], votes: Path, tmp_path: Path) -> None:
    code, out, _ = run(capsys, votes, "--by", "category", "--json", "-", "--csv", tmp_path / "r.csv")
    assert code == 0
    document = json.loads(out)
    assert document["schema"] == "paragone.ratings/1"
    assert document["by"] == "category"
    assert list(document["groups"]) == ["day", "night"]
    table = read_votes(votes)
    day = fit_bradley_terry(table[table["category"] == "day"])
    assert document["groups"]["day"] == json.loads(json.dumps(day.to_dict()))
    assert pd.read_csv(tmp_path / "r.csv")["category"].tolist() == ["day"] * 3 + ["night"] * 3
    _, out, _ = run(capsys, votes, "--by", "category")
    assert "category = day" in out
    assert "category = night" in out


def document_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code, out, err = run(capsys, *arguments, "--json", "-")
    assert code == 0, err
    parsed: dict[str, Any] = json.loads(out)
    return parsed


def test_options_reach_the_fit(capsys: pytest.CaptureFixture[str], votes: Path) -> None:
    drawn = document_of(capsys, votes, "--ci", "bootstrap", "--bootstrap", 200, "--seed", 3)["parameters"]
    assert (drawn["ci"], drawn["bootstrap"], drawn["seed"]) == ("bootstrap", 200, 3)
    tied = document_of(
        capsys, votes, "--anchor", "dog=1200", "--cluster", "voter", "--both-bad", "drop", "--prior", 250
    )
    assert tied["parameters"]["anchor"] == {"dog": 1200.0}
    assert tied["parameters"]["cluster"] == "voter"
    assert tied["parameters"]["both_bad"] == "drop"
    assert tied["parameters"]["prior"] == 250.0
    assert tied["n_votes"] == 354
    bare = document_of(capsys, votes, "--ci", "none")
    assert bare["models"][0]["rating_lower"] is None
    elo = document_of(capsys, votes, "--method", "elo", "--k", 32)
    assert elo["parameters"]["k"] == 32.0


def test_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    rows = ["[bold]007[/bold],a=b,tie", "a=b,\x1b[31mred,tie", "\x1b[31mred,[bold]007[/bold],tie"]
    path.write_text("model_a,model_b,winner\n" + "\n".join(rows * 3))
    code, out, _ = run(capsys, path, "--anchor", "a=b=1500")
    assert code == 0
    assert "[bold]007[/bold]" in out
    assert "\x1b" not in out
    assert "1500.0" in out


BAD = [
    ("a,b,tie\na,b,Model_C\n", [], "votes: row 2: unknown outcome 'Model_C'"),
    ("a,b,model_a\n", [], "undefeated by all others: a"),
    ("a,b,tie\nc,d,tie\n", [], "never met"),
    ("", [], "no votes"),
    ("a,b,tie\n", ["--anchor", "b"], "MODEL=RATING"),
    ("a,b,tie\n", ["--anchor", "b=x"], "MODEL=RATING"),
    ("a,b,tie\n", ["--anchor", "c=1"], "no votes on a model called 'c'"),
    ("a,b,tie\n", ["--by", "nation"], "no column 'nation'"),
    ("a,b,tie\n", ["--cluster", "voter"], "no column 'voter'"),
    ("a,b,tie\n", ["--k", "4"], "--k does nothing with --method bradley-terry"),
    ("a,b,tie\n", ["--seed", "4"], "--seed does nothing"),
    ("a,b,tie\n", ["--bootstrap", "400"], "--bootstrap does nothing"),
    ("a,b,tie\n", ["--bootstrap", "4", "--ci", "bootstrap"], "--bootstrap"),
    ("a,b,tie\n", ["--method", "elo", "--prior", "300"], "--prior does nothing"),
    ("a,b,tie\n", ["--method", "elo", "--ci", "sandwich"], "elo has bootstrap intervals only"),
    ("a,b,tie\n", ["--method", "elo", "--k", "-1"], "k=-1"),
    ("a,b,tie\n", ["--prior", "0"], "prior=0"),
    ("a,b,tie\n", ["--method", "glicko"], "glicko"),
    ("a,b,tie\n", ["--json", "/no/such/folder/r.json"], "does not exist"),
    ("a,b,tie\n", ["--csv", "-"], "--json -"),
    ("a,b,tie\n", ["--csv", "/no/such/folder/r.csv"], "does not exist"),
]


@pytest.mark.parametrize(("rows", "arguments", "message"), BAD)
def test_bad_input_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, rows: str, arguments: list[str], message: str
) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("model_a,model_b,winner\n" + rows)
    code, out, err = run(capsys, path, *arguments)
    assert (code, out) == (2, "")
    assert message in err.replace(f"{path}: row", "votes: row")
    assert err.count("\n") == 1
    if not arguments:
        assert str(path) in err


def test_an_error_names_its_group(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("model_a,model_b,winner,category\na,b,tie,x\na,b,model_a,y\n")
    code, out, err = run(capsys, path, "--by", "category")
    assert (code, out) == (2, "")
    assert f"{path}: category = y: ratings have no bound" in err
    path.write_text("model_a,model_b,winner,category\na,b,tie,x\na,b,model_a,\n")
    code, out, err = run(capsys, path, "--by", "category")
    assert (code, out) == (2, "")
    assert f"{path}: row 2: category is empty" in err


def test_warnings_name_their_group(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("model_a,model_b,winner,category\na,b,tie,x\na,b,model_a,y\n")
    code, _, err = run(capsys, path, "--by", "category", "--prior", "300")
    assert code == 0
    assert "warning: category = x: all votes on a, b are ties" in err
    assert "warning: category = y: ratings have no bound" in err


def test_a_missing_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, tmp_path / "none.parquet")
    assert (code, out) == (2, "")
    assert "none.parquet: no such file" in err


def test_the_table_of_methods_is_all_raters() -> None:
    assert tuple(ALL_RATERS) == METHODS


def test_help_opens_with_the_line_of_the_root_and_loads_no_pandas() -> None:
    assert (rate.help or "").split("\n\n")[0].strip() == COMMANDS["rate"][1]
    code = (
        "import contextlib, sys\nfrom paragone.__main__ import main\nwith contextlib.suppress(SystemExit):\n"
        "    main(['rate', '--help'])\nprint(sorted({'pandas', 'scipy', 'torch', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--anchor MODEL=RATING" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
