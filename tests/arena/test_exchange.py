"""Other arenas' exports, written here as their documentation describes them, and read as votes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from paragone.arena.exchange import nested_path
from paragone.arena.vote_files import read_votes, vote_columns
from paragone.data.errors import InputError, ParagoneError, UnknownOutcome

BATTLES: list[dict[str, Any]] = [
    {
        "question_id": "q1",
        "model_a": "kandinsky",
        "model_b": "sdxl",
        "winner": "model_b",
        "judge": "arena_user_1",
        "conversation_a": [{"role": "user", "content": "a fox"}],
        "turn": 1,
        "anony": True,
        "language": "English",
        "tstamp": 1682351591.1,
        "category_tag": {"math_v0.1": {"math": False}, "criteria_v0.1": {"complexity": True}},
        "conv_metadata": {"sum_assistant_a_tokens": 120, "sum_assistant_b_tokens": 40},
    },
    {
        "question_id": "q2",
        "model_a": "sdxl",
        "model_b": "kandinsky",
        "winner": "tie (bothbad)",
        "judge": "arena_user_2",
        "conversation_a": [],
        "turn": 2,
        "anony": True,
        "language": "Italian",
        "tstamp": 1682351600.2,
        "category_tag": {"math_v0.1": {"math": True}, "criteria_v0.1": {"complexity": False}},
        "conv_metadata": {"sum_assistant_a_tokens": 10, "sum_assistant_b_tokens": 11},
    },
]
NESTED = ["language", "category_tag.math_v0.1.math", "conv_metadata.sum_assistant_a_tokens"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The same rows in the format that the name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        lines = path.name.startswith("lines") or ".jsonl" in path.name
        text = "\n".join(json.dumps(row) for row in rows) if lines else json.dumps(rows, indent=2)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["b.parquet", "b.json", "b.json.gz", "b.jsonl", "lines.json"])
def test_arena_battles_in_every_format(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, BATTLES)
    votes = read_votes(path, extra=[*NESTED, "judge", "voter"])
    assert votes["model_a"].tolist() == ["kandinsky", "sdxl"]
    assert votes["winner"].tolist() == ["model_b", "both_bad"]
    assert votes["voter"].tolist() == votes["judge"].tolist() == ["arena_user_1", "arena_user_2"]
    assert votes["created_at"].tolist() == [1682351591.1, 1682351600.2]
    assert votes["language"].tolist() == ["English", "Italian"]
    assert votes["category_tag.math_v0.1.math"].tolist() == [False, True]
    assert votes["conv_metadata.sum_assistant_a_tokens"].tolist() == [120, 10]
    assert votes.attrs["read_as"] == f"{path}: read as paragone: voter is judge, created_at is tstamp"
    assert {"winner", "anony", *NESTED} <= set(vote_columns(path))
    with pytest.raises(InputError, match=r"no column 'conv_metadata\.rating'"):
        read_votes(path, extra=["conv_metadata.rating"])


def test_a_file_with_our_own_names_needs_no_note(tmp_path: Path) -> None:
    rows = [{"model_a": "a", "model_b": "b", "winner": "tie", "voter": "v", "judge": "j"}]
    votes = read_votes(write(tmp_path / "v.csv", rows))
    assert votes["voter"].tolist() == ["v"]
    assert not votes.attrs


def test_only_the_optional_columns_asked_for_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "b.parquet", BATTLES)
    assert set(read_votes(path, optional=["created_at"])) == {"model_a", "model_b", "winner", "created_at"}
    assert set(read_votes(path, optional=())) == {"model_a", "model_b", "winner"}


GENAI = ["leftvote", "rightvote", "tievote", "bothbad_vote"]


@pytest.mark.parametrize("name", ["g.csv", "g.jsonl", "g.parquet"])
def test_genai_bench(tmp_path: Path, name: str) -> None:
    rows = [{"prompt": "p", "left_model": "A", "right_model": "B", "vote_type": vote} for vote in GENAI]
    votes = read_votes(write(tmp_path / name, rows))
    assert votes["winner"].tolist() == ["model_a", "model_b", "tie", "both_bad"]
    assert (votes["model_a"] == "A").all()
    assert (votes["prompt"] == "p").all()
    assert "model_a is left_model, model_b is right_model, winner is vote_type" in votes.attrs["read_as"]
    rows[2]["vote_type"] = "Tie"
    with pytest.raises(UnknownOutcome, match=r"row 3: unknown vote_type 'Tie'; GenAI-Bench has leftvote, "):
        read_votes(write(tmp_path / name, rows))


@pytest.mark.parametrize("name", ["k.csv", "k.parquet", "k.jsonl"])
def test_one_column_an_outcome(tmp_path: Path, name: str) -> None:
    names = ["winner_model_a", "winner_model_b", "winner_tie"]
    rows = [
        {"model_a": "A", "model_b": "B", **{other: int(k == place) for place, other in enumerate(names)}}
        for k in range(3)
    ]
    votes = read_votes(write(tmp_path / name, rows))
    assert votes["winner"].tolist() == ["model_a", "model_b", "tie"]
    assert set(votes) == {"model_a", "model_b", "winner"}
    assert "winner is the one of winner_model_a" in votes.attrs["read_as"]
    rows[1]["winner_tie"] = 1
    with pytest.raises(UnknownOutcome, match="row 2: not one of winner_model_a"):
        read_votes(write(tmp_path / name, rows))


def line(kind: str, models: list[object], names: list[object] | None = None, **more: object) -> dict[str, Any]:
    hidden = [{"model_name": name} for name in names] if names else [{"conv_id": "1"}, {"conv_id": "2"}]
    return {"tstamp": 1.5, "type": kind, "models": models, "states": hidden, "ip": "1.2.3.4"} | more


LOG = [
    {"tstamp": 1.0, "type": "chat", "model": "x"},
    line("leftvote", ["", ""], ["A", "B"]),
    line("bothbad_vote", ["Model A", "Model B"], ["B", "C"]),
    line("upvote", ["A", "B"]),
    line("rightvote", ["<h3>Model A: A</h3>\n", "### Model B: C"], ["A", "C"]),
    line("tievote", ["C", "A"]),
]


@pytest.mark.parametrize("name", ["lines.json", "log.jsonl", "log.json"])
def test_a_fastchat_log(tmp_path: Path, name: str) -> None:
    votes = read_votes(write(tmp_path / name, LOG), extra=["anony"])
    assert votes[["model_a", "model_b", "winner"]].to_numpy().tolist() == [
        ["A", "B", "model_a"],
        ["B", "C", "both_bad"],
        ["A", "C", "model_b"],
        ["C", "A", "tie"],
    ]
    assert votes["anony"].tolist() == [True, True, False, False]
    assert votes["voter"].tolist() == ["1.2.3.4"] * 4
    assert votes.attrs["read_as"].endswith("no votes and left out: 1 chat, 1 upvote")


BAD_LINES = [
    (line("dislike", ["A", "B"]), "row 2: unknown type 'dislike'"),
    (line("leftvote", ["A"]), "row 2: models and states are not one for each side"),
    (line("leftvote", ["A", None]), "row 2: models has None for a name"),
    (line("leftvote", ["", "B"], ["A", "B"]), "row 2: one model is named and the other is not"),
    (line("leftvote", ["", ""]), "row 2: the models are not named"),
    (line("leftvote", ["A", "B"], ["A", "C"]), "row 2: models says"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_LINES)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "log.jsonl", [LOG[1], bad])
    with pytest.raises(ParagoneError, match=message) as caught:
        read_votes(path)
    assert str(caught.value).startswith(str(path))


BAD_FILES = [
    ("[]", "holds no votes"),
    ("[1]", "row 1 is not a JSON object"),
    ("[{", "is not JSON"),
    ('{"type": "chat", "tstamp": 1}', "the log holds no votes"),
    ('[{"left_model": "A", "right_model": "B"}]', r"no column 'model_a' \(it has: left_model, right_model\)"),
    ('[{"model_a": "A", "model_b": "B", "winner": "tie (inconsistent)"}]', "row 1: unknown outcome"),
    ('[{"model_a": "A", "model_b": "B", "winner": "tie"}, {"model_a": "A", "model_b": "B"}]', "row 2: winner is empty"),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_json_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "v.json"
    path.write_text(text)
    with pytest.raises(ParagoneError, match=message) as caught:
        read_votes(path)
    assert str(caught.value).startswith(str(path))


def test_keys_with_dots_are_found() -> None:
    fields: dict[str, Any] = {"a": {"b.c": {"d": {}}, "b": {}}, "a.b": {"x": {}}}
    assert nested_path("a.b.c.d", fields) == ("a", "b.c", "d")
    assert nested_path("a.b.x", fields) == ("a.b", "x")
    assert nested_path("a.b", fields) == ("a.b",)
    assert nested_path("a.b.c.e", fields) is None
