"""The judges page: the card that an audit wrote, and cards that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from paragone.arena.store import Store
from paragone.arena.ui.judge_cards import read_cards
from paragone.data.records import Verdict, Winner
from paragone.judges.audit import audit_judge
from paragone.judges.scripted import ScriptedJudge

PAGE = """
from paragone.arena.ui import judge_cards
from paragone.arena.ui.reading import open_project
judge_cards.show(open_project())
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with Store(tmp_path / "arena.db", create=True):
        pass
    monkeypatch.setenv("PARAGONE_DIR", str(tmp_path))
    monkeypatch.delenv("PARAGONE_DB", raising=False)
    return tmp_path


def page() -> AppTest:
    app = AppTest.from_string(PAGE, default_timeout=60).run()
    assert not app.exception
    return app


def test_without_a_card_it_says_how_to_make_one(project: Path) -> None:
    assert "paragone judge audit" in page().code[0].value


def test_a_card_is_shown_probe_by_probe(project: Path) -> None:
    first = ScriptedJudge(lambda prompt, a, b: Verdict(Winner.MODEL_A), name="always-first")
    card = audit_judge(first, probes=("order", "identical"), n=4)
    (project / "judge-cards").mkdir()
    (project / "judge-cards" / "first.json").write_text(json.dumps(card.to_dict()))
    app = page()
    assert [title.value for title in app.subheader] == ["Calls", "Order", "Identical"]
    shown = {row["measure"]: row["value"] for table in app.dataframe for row in table.value.to_dict("records")}
    for measure in card.measures:
        if measure.value is not None:
            assert shown[measure.name] == pytest.approx(measure.value)
    assert any(f"{card.n_calls} calls" in text.value for text in app.text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "bad.json: "),
        ('{"schema": "paragone.judge/1"}', "is not a paragone.judge-card/1"),
        ('{"schema": "paragone.judge-card/1", "measures": 3}', "measures is missing"),
    ],
)
def test_a_file_that_is_no_card_is_named(project: Path, content: str, said: str) -> None:
    folder = project / "judge-cards"
    folder.mkdir()
    (folder / "bad.json").write_text(content)
    cards, problems = read_cards(folder)
    assert cards == {}
    assert said in problems[0]
    assert any(said in text.value for text in page().text)
