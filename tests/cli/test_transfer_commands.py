"""`paragone export` and `paragone import`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paragone.__main__ import main

VOTES = "model_a,model_b,winner,voter,kind\na,b,model_a,eve,human\nb,a,tie,ruler,judge\n"


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "votes.csv").write_text(VOTES)
    assert run("import", tmp_path / "votes.csv", "--dir", tmp_path / "project") == 0
    return tmp_path / "project"


def test_there_and_back(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", tmp_path / "a.zip", "--dir", project, "--votes", tmp_path / "out.jsonl") == 0
    said = capsys.readouterr().out
    assert "2 generators, 1 prompts, 2 battles, 2 votes" in said
    assert "out.jsonl: 2 votes" in said
    assert run("import", tmp_path / "a.zip", "--dir", tmp_path / "copy", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["new"]["votes"] == 2
    assert run("import", tmp_path / "a.zip", "--dir", tmp_path / "copy") == 0
    assert "nothing new" in capsys.readouterr().out
    assert run("export", tmp_path / "b.zip", "--dir", tmp_path / "copy") == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_what_fails_leaves_no_arena_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "votes.csv").write_text(VOTES + "a,b,maybe,eve,human\n")
    assert run("import", tmp_path / "votes.csv", "--dir", tmp_path / "project") == 2
    assert "row 3: unknown outcome 'maybe'" in capsys.readouterr().err
    assert not list((tmp_path / "project").glob("*"))
    assert run("import", tmp_path / "gone.csv") == 2
    assert "gone.csv: no such file" in capsys.readouterr().err


def test_where_to_has_to_be_said(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "--dir", project) == 2
    assert "TARGET" in capsys.readouterr().err
    url = f"sqlite:///{project}/arena.db"
    assert run("export", tmp_path / "x", "--db", url, "--media") == 2
    assert "--dir" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_board_of_a_tag(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more.csv").write_text("model_a,model_b,winner,prompt,category\na,b,tie,a sign,text\n")
    assert run("import", tmp_path / "more.csv", "--dir", project) == 0
    capsys.readouterr()
    assert run("leaderboard", "--dir", project, "--voters", "human", "--tag", "text") == 0
    assert "1 vote of people on prompts of tag text" in capsys.readouterr().out
    assert run("leaderboard", "--dir", project, "--tag", "none") == 2
    assert "no prompt has tag 'none'; the store has the tags text" in capsys.readouterr().err
