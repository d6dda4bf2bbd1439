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
from paragone.arena import vote_quality
from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.ratings import ALL_RATERS
from paragone.arena.vote_files import read_votes
from paragone.cli.rate import rate
from paragone.cli.rate_plan import FLAGS, INTERVALS, METHODS

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


def test_sections_beside_the_board(capsys: pytest.CaptureFixture[str], votes: Path, tmp_path: Path) -> None:
    arguments = (votes, "--pairs", "--matrix", "--explain", "dog")
    document = document_of(capsys, *arguments)
    assert [(row["model_a"], row["model_b"]) for row in document["pairs"]] == [
        (a, b) for k, a in enumerate(models_of(document)) for b in models_of(document)[k + 1 :]
    ]
    assert {(row["model_a"], row["model_b"]) for row in document["win_matrix"]} == {*PAIRS, *((b, a) for a, b in PAIRS)}
    assert document["explanation"]["schema"] == "paragone.explanation/1"
    assert document["explanation"]["model"] == "dog"
    code, out, _ = run(capsys, *arguments, "--markdown", tmp_path / "r.md")
    assert code == 0
    for title in ("Pairs", "Win matrix", "Opponents"):
        assert f"\n{title} " in out
        assert f"### {title}" in (tmp_path / "r.md").read_text()
    square = out.split("Win matrix")[1].splitlines()[1:5]
    assert square[0].split() == ["score", "of", *models_of(document)]
    first = models_of(document)[0]
    assert square[1].split()[0] == first
    assert square[1].split()[1] in ("58%", "42%")  # nothing against itself: 40½ or 29½ of 70 votes
    code, alone, _ = run(capsys, *arguments, "--markdown", "-")
    assert (code, alone) == (0, (tmp_path / "r.md").read_text())


def models_of(document: dict[str, Any]) -> list[str]:
    return [row["model"] for row in document["models"]]


def test_markdown_means_what_it_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    rows = ["a|b,*c*_d,tie", '"<img src=x>\nz",a|b,tie', '*c*_d,"<img src=x>\nz",model_a']
    path.write_text("model_a,model_b,winner\n" + "\n".join(rows * 3))
    code, out, _ = run(capsys, path, "--prior", 300, "--markdown", "-")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "| rank | ranks | model | rating | 95 % interval | votes | win rate |"
    assert lines[1] == "| --: | --: | :-- | --: | --: | --: | --: |"
    names = {line.split(" | ")[2] for line in lines[2:5]}
    assert names == {r"a\|b", r"\*c\*\_d", r"\<img src=x\> z"}
    assert lines[6] == "bradley-terry, 9 votes, 95 % intervals: sandwich."
    assert lines[8].startswith(r"- all votes on a\|b are ties")


def test_the_other_fits_are_reached(capsys: pytest.CaptureFixture[str], votes: Path, tmp_path: Path) -> None:
    table = read_votes(votes, extra=["voter"])
    seconds = pd.DataFrame({"seconds_a": range(len(table)), "seconds_b": [3] * len(table)}) + 1
    path = tmp_path / "more.csv"
    kind = ["human", "judge"] * (len(table) // 2)
    table.assign(seconds_a=seconds["seconds_a"], seconds_b=seconds["seconds_b"], source=kind).to_csv(path, index=False)
    styled = document_of(capsys, path, "--covariate", "seconds:log", "--side")
    assert styled["method"] == "contextual"
    assert [row["name"] for row in styled["parameters"]["covariates"]] == ["seconds:log", "side"]
    _, out, _ = run(capsys, path, "--covariate", "seconds:log", "--side")
    assert "Covariates, in points a unit" in out
    crowd = document_of(capsys, path, "--voter", "voter")
    assert crowd["method"] == "crowd-bt"
    assert crowd["parameters"]["crowd"]["voter"] == "voter"
    pooled = document_of(capsys, path, "--by", "category", "--pool")["groups"]
    assert list(pooled) == ["day", "night"]
    assert all("pool" in board["parameters"] for board in pooled.values())
    profile = document_of(capsys, path, "--ci", "profile")
    assert profile["parameters"]["ci"] == "profile"


def test_a_joint_board(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "joint.csv"
    rows = []
    for battle in range(240):
        a, b = PAIRS[battle % 3]
        winner = ("model_a", "model_b", "tie", "model_a", "model_b")[battle % 5]
        rows.append((a, b, winner, f"b{battle}", "judge"))
        if battle % 2:
            rows.append((a, b, ("model_a", "model_b")[battle % 7 > 3], f"b{battle}", "human"))
    pd.DataFrame(rows, columns=["model_a", "model_b", "winner", "battle", "source"]).to_csv(path, index=False)
    joint = document_of(capsys, path, "--joint", "source")
    assert joint["method"] == "joint"
    assert joint["parameters"]["n_human"] == 120
    assert run(capsys, path, "--joint", "source", "--pairs")[0] == 0


def test_plots(capsys: pytest.CaptureFixture[str], votes: Path, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="draws png and svg")
    names = {"intervals": "i.svg", "matrix": "m.svg", "history": "h.svg"}
    plots = [text for kind, name in names.items() for text in ("--plot", f"{kind}={tmp_path / name}")]
    code, _, _ = run(capsys, votes, *plots, "--plot", tmp_path / "plain.svg", "--dark", "--k", 16)
    assert code == 0
    found = {path.name: path.read_text() for path in tmp_path.glob("*.svg")}
    assert found["i.svg"] == found["plain.svg"]
    assert "95 % intervals: sandwich" in found["i.svg"]
    assert "score of the row" in found["m.svg"]
    assert "Elo, K = 16" in found["h.svg"]
    assert all("#17171c" in svg or "rgb(23, 23, 28)" in svg for svg in found.values())


def test_flagged_votes_are_written_and_left_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [
        (a, b, winner, f"v{n % 10}", f"p{n}-{k}", 2.5)
        for k, (a, b) in enumerate(PAIRS)
        for n, winner in enumerate(["model_a"] * 20 + ["model_b"] * 18 + ["tie"] * 2)
    ]
    fast = [("cat", "dog", "model_a", "robot", f"r{n}", 0.01) for n in range(12)]
    path, columns = tmp_path / "v.csv", ["model_a", "model_b", "winner", "voter", "battle", "seconds"]
    pd.DataFrame([*rows, *fast], columns=columns).to_csv(path, index=False)
    code, out, err = run(capsys, path, "--flags", tmp_path / "flags.csv", "--exclude-flagged", "fast", "--json", "-")
    assert code == 0
    document = json.loads(out)
    assert document["n_votes"] == 120
    assert document["flags"]["excluded"] == ["fast"]
    assert document["flags"]["n_excluded"] == 12
    assert "12 of 132 votes are left out" in err
    flags = pd.read_csv(tmp_path / "flags.csv")
    assert flags.loc[flags["flag"] == "fast", "row"].tolist() == list(range(121, 133))
    kept = document_of(capsys, path, "--flags", tmp_path / "flags.json")
    assert kept["n_votes"] == 132
    assert json.loads((tmp_path / "flags.json").read_text())["schema"] == "paragone.flags/1"
    code, out, err = run(capsys, path, "--exclude-flagged", "burst")
    assert (code, out) == (2, "")
    assert "--exclude-flagged burst: the votes have no column 'created_at'" in err


def test_an_export_says_how_it_was_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "battles.json"
    winners = ["leftvote", "rightvote", "tievote"] * 4
    path.write_text(json.dumps([{"left_model": "a", "right_model": "b", "vote_type": winner} for winner in winners]))
    code, _, err = run(capsys, path)
    assert code == 0
    assert err.startswith(f"note: {path}: read as GenAI-Bench: model_a is left_model, model_b is right_model, ")


def test_nothing_is_written_when_something_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text("model_a,model_b,winner\na,b,model_a\n")
    targets = ("--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv", "--markdown", tmp_path / "r.md")
    assert run(capsys, path, *targets, "--plot", tmp_path / "r.svg")[0] == 2
    assert [file.name for file in tmp_path.iterdir()] == ["v.csv"]


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
    ("a,b,tie\n", ["--json", "-", "--markdown", "-"], "stdout has room for one"),
    ("a,b,tie\n", ["--markdown", "/no/such/folder/r.md"], "does not exist"),
    ("a,b,tie\n", ["--plot", "/no/such/folder/r.png"], "does not exist"),
    ("a,b,tie\n", ["--plot", "r.pdf"], "use one of .png, .svg, .html"),
    ("a,b,tie\n", ["--plot", "lines=r.png"], "with a KIND of intervals, matrix, history"),
    ("a,b,tie\n", ["--plot", "r.png", "--by", "winner"], "--plot draws one board"),
    ("a,b,tie\n", ["--dark"], "--dark does nothing without --plot"),
    ("a,b,tie\n", ["--pool"], "--by COLUMN --pool"),
    ("a,b,tie\n", ["--by", "winner", "--pool", "--ci", "sandwich"], "--ci sandwich does nothing with --pool"),
    ("a,b,tie\n", ["--by", "winner", "--pool", "--method", "elo"], "--pool is for Bradley-Terry ratings"),
    ("a,b,tie\n", ["--by", "winner", "--pool", "--joint", "kind"], "cannot be combined"),
    ("a,b,tie\n", ["--joint", "kind", "--ci", "none"], "--ci none does nothing with --joint"),
    ("a,b,tie\n", ["--joint", "kind", "--prior", "300"], "--prior does nothing"),
    ("a,b,tie\n", ["--joint", "kind"], "no column 'kind'"),
    ("a,b,tie\n", ["--explain", "a", "--by", "winner"], "leave --by out"),
    ("a,b,tie\n", ["--explain", "a", "--method", "davidson"], "--explain is for Bradley-Terry ratings"),
    ("a,b,model_a\na,b,model_b\n", ["--explain", "c"], "no votes on a model called 'c'"),
    ("a,b,tie\n", ["--side", "--method", "davidson"], "--side does nothing with --method davidson"),
    ("a,b,tie\n", ["--covariate", "seconds"], "needs the columns seconds_a and seconds_b"),
    ("a,b,tie\n", ["--voter", "voter", "--method", "elo"], "--voter does nothing"),
    ("a,b,tie\n", ["--voter", "voter"], "no column 'voter'"),
    ("a,b,tie\n", ["--voter", "voter", "--ci", "bootstrap"], "crowd-bt has sandwich intervals only"),
    ("a,b,tie\n", ["--method", "elo", "--ci", "profile"], "elo has bootstrap intervals only"),
    ("a,b,tie\n", ["--ci", "profile", "--cluster", "voter"], "--cluster does nothing"),
    ("a,b,model_a\na,b,model_b\n", ["--ci", "none", "--pairs"], "ci='sandwich'"),
    ("a,b,tie\n", ["--flags", "flags.txt"], "the suffix says what to write"),
    ("a,b,tie\n", ["--exclude-flagged", "fast"], "no column 'voter'"),
    ("a,b,tie\n", ["--exclude-flagged", "slow"], "slow"),
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


def test_the_tables_for_help_are_those_of_the_library() -> None:
    assert tuple(ALL_RATERS) == METHODS
    assert set(FLAGS) == {*vote_quality.FLAGS} - {"golden"}
    for rater in ALL_RATERS.values():
        assert ("bootstrap" in INTERVALS[rater.name]) == rater.has_bootstrap
        assert ("sandwich" in INTERVALS[rater.name]) == rater.has_intervals


def test_help_opens_with_the_line_of_the_root_and_loads_no_pandas() -> None:
    assert (rate.help or "").split("\n\n")[0].strip() == COMMANDS["rate"][1]
    code = (
        "import contextlib, sys\nfrom paragone.__main__ import main\nwith contextlib.suppress(SystemExit):\n"
        "    main(['rate', '--help'])\nprint(sorted({'pandas', 'scipy', 'torch', 'rich', 'altair'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--anchor MODEL=RATING" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
