"""Reading and folding votes."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paragone.arena import votes as vote_module
from paragone.arena.vote_files import read_votes
from paragone.arena.votes import OUTCOMES, Cells
from paragone.data.errors import InputError, UnknownOutcome, UsageError

ROWS = [
    {"model_a": "007", "model_b": "NA", "winner": "model_a", "voter": "é", "created_at": "2026-01-01"},
    {"model_a": "null", "model_b": "007", "winner": "tie (bothbad)", "voter": "x", "created_at": "2026-01-02"},
    {"model_a": "1e3", "model_b": 'a "quoted", name', "winner": " TIE ", "voter": "x", "created_at": "2026-01-03"},
    {"model_a": "True", "model_b": "NaN", "winner": "both_bad", "voter": "x", "created_at": "2026-01-04"},
]


def write(folder: Path, name: str, rows: list[dict[str, object]]) -> Path:
    path = folder / name
    if ".jsonl" in name:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        text = pd.DataFrame(rows).to_csv(index=False)
    if name.endswith(".parquet"):
        pd.DataFrame(rows).to_parquet(path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_bytes(text.encode())
    return path


def frame(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["model_a", "model_b", "winner"])


@pytest.mark.parametrize("name", ["v.csv", "v.csv.gz", "v.jsonl", "v.jsonl.gz", "v.ndjson.jsonl", "v.parquet"])
def test_every_format_reads_the_same_and_names_stay_text(tmp_path: Path, name: str) -> None:
    votes = read_votes(write(tmp_path, name, ROWS))
    for column in ("model_a", "model_b", "voter", "created_at"):
        assert votes[column].tolist() == [row[column] for row in ROWS]
    assert votes["winner"].tolist() == ["model_a", "both_bad", "tie", "both_bad"]


def test_a_byte_order_mark_and_newlines_in_quotes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_bytes(b'\xef\xbb\xbfmodel_a,model_b,winner,prompt\na,b,tie,"two\nlines"\n')
    assert read_votes(path)["prompt"].tolist() == ["two\nlines"]


def test_only_known_and_asked_for_columns_are_read(tmp_path: Path) -> None:
    rows = [{**row, "language": "it", "turns": k} for k, row in enumerate(ROWS)]
    for name in ("v.csv", "v.jsonl", "v.parquet"):
        path = write(tmp_path, name, rows)
        assert set(read_votes(path)) == {"model_a", "model_b", "winner", "voter", "created_at"}
        assert set(read_votes(path, extra=["turns"])["turns"].astype(int)) == {0, 1, 2, 3}
        with pytest.raises(InputError, match=r"v\.(csv|jsonl|parquet): no column 'nation'"):
            read_votes(path, extra=["nation"])


def test_weights_are_numbers(tmp_path: Path) -> None:
    rows = [{**row, "weight": k + 1} for k, row in enumerate(ROWS)]
    for name in ("v.csv", "v.jsonl", "v.parquet"):
        assert read_votes(write(tmp_path, name, rows))["weight"].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_jsonl_whose_types_vary_is_read_row_by_row(tmp_path: Path) -> None:
    rows = [{**row, "voter": voter} for row, voter in zip(ROWS, [1, "one", None, True], strict=True)]
    votes = read_votes(write(tmp_path, "v.jsonl", rows))
    assert votes["voter"].tolist()[:2] == [1, "one"]
    assert votes["model_a"].tolist() == [row["model_a"] for row in ROWS]


BAD_FILES = [
    ("v.csv", "model_a,model_b\na,b\n", InputError, "no column 'winner'"),
    ("v.csv", "model_a, model_b,winner\na,b,tie\n", InputError, "no column 'model_b'"),
    ("v.csv", "model_a,model_b,winner\na,b,tie\na,b,Model_C\n", UnknownOutcome, "row 2: unknown outcome 'Model_C'"),
    ("v.csv", "model_a,model_b,winner\na,b,\n", UnknownOutcome, "row 1: unknown outcome ''"),
    ("v.csv", "model_a,model_b,winner\na,b,tie\n,b,tie\n", InputError, "row 2: model_a is empty"),
    ("v.csv", "model_a,model_b,winner\na,b,tie\nb,b,tie\n", InputError, "row 2: 'b' is on both sides"),
    ("v.csv", "model_a,model_b,winner\na,b,tie\na, b,tie\n", InputError, "row 2: model_b is ' b', with blanks"),
    ("v.csv", "model_a,model_b,winner\na,b,tie\na,b\n", InputError, "Row #3: Expected 3 columns, got 2"),
    ("v.csv", "model_a,model_b,winner\na,b,tie,x\n", InputError, "Expected 3 columns, got 4"),
    ("v.csv", "model_a,model_b,winner,winner\na,b,tie,tie\n", InputError, "'winner' is there twice"),
    ("v.csv", "", InputError, "Empty CSV file"),
    ("v.csv", "model_a,model_b,winner,weight\na,b,tie,1\na,b,tie,-1\n", InputError, "row 2: weight"),
    ("v.csv", "model_a,model_b,winner,weight\na,b,tie,nan\n", InputError, "row 1: weight"),
    ("v.txt", "model_a,model_b,winner\n", InputError, "cannot tell the format"),
    ("v.csv.gz", "model_a,model_b,winner\n", InputError, "v.csv.gz: "),
    ("v.parquet", "PAR1", InputError, "v.parquet: "),
    ("v.jsonl", "", InputError, "holds no votes"),
    ("v.jsonl", '{"model_a": "a", "model_b": "b"}\n', InputError, "no column 'winner'"),
    ("v.jsonl", '{"model_a": "a", "model_b": "b", "winner": "tie"}\n{"model_a"\n', InputError, "row 2 is not JSON"),
    ("v.jsonl", '{"model_a": "a", "model_b": "b", "winner": "tie"}\n[1]\n', InputError, "row 2 is not a JSON object"),
    ("v.jsonl", '{"model_a": 7, "model_b": "b", "winner": "tie"}\n', InputError, "row 1: model_a is 7, not text"),
    ("v.jsonl", '{"model_a": "a", "model_b": "b", "winner": null}\n', UnknownOutcome, "row 1: winner is empty"),
    ("v.jsonl", '{"model_a": "a", "model_b": ["b"], "winner": "tie"}\n', InputError, "row 1: model_b is not one value"),
    ("v.jsonl", '{"model_a": "a", "model_b": "b", "winner": "tie"}\n{"model_a": "a"}\n', InputError, "row 2: model_b"),
    ("v.jsonl", '{"model_a": "a", "model_b": "b", "winner": "tie", "winner": "tie"}\n', InputError, "'winner' twice"),
    ("v.jsonl", '{"model_a": "a", "model_b": "b", "winner": "tie", "weight": [1]}\n', InputError, "row 1: weight [1]"),
    ("v.jsonl", '{"model_a": "a", "model_b": "b", "winner": {"x": 1}}\n', InputError, "row 1: winner is not one value"),
]


@pytest.mark.parametrize(("name", "text", "error", "message"), BAD_FILES)
def test_a_bad_file_is_refused_by_name_and_row(
    tmp_path: Path, name: str, text: str, error: type[Exception], message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(error) as caught:
        read_votes(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_bad_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_votes(tmp_path / "none.csv")
    for name, text in (("v.csv", b"model_a,model_b,winner\n\xff,b,tie\n"), ("v.jsonl", b'{"model_a": "\xff"}\n')):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(InputError, match=name):
            read_votes(tmp_path / name)


def test_a_header_alone_gives_no_votes(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("model_a,model_b,winner\n")
    assert len(read_votes(tmp_path / "v.csv")) == 0


def test_tables_are_checked_too() -> None:
    with pytest.raises(InputError, match=r"votes: row 2: model_a is 7, not text"):
        Cells.from_votes(pd.DataFrame({"model_a": ["a", 7], "model_b": ["b", "b"], "winner": ["tie", "tie"]}))
    with pytest.raises(InputError, match=r"row 1: model_b is empty"):
        Cells.from_votes(pd.DataFrame({"model_a": ["a"], "model_b": [None], "winner": ["tie"]}))
    with pytest.raises(UnknownOutcome, match="row 1"):
        Cells.from_votes(pd.DataFrame({"model_a": ["a"], "model_b": ["b"], "winner": [1]}))


NAMES = st.sampled_from(["a", "B", "c", "007", "é"])
VOTES = st.lists(
    st.tuples(NAMES, NAMES, st.sampled_from([str(outcome) for outcome in OUTCOMES])).filter(lambda v: v[0] != v[1]),
    max_size=40,
)


def counted(cells: Cells) -> Counter[tuple[str, str, str]]:
    """The cells as a counter of votes from side i."""
    table: Counter[tuple[str, str, str]] = Counter()
    for outcome, row in zip(OUTCOMES, cells.n, strict=True):
        for i, j, n in zip(cells.i, cells.j, row, strict=True):
            table[cells.models[i], cells.models[j], str(outcome)] += int(n)
    return +table


@given(VOTES)
def test_cells_hold_every_vote_once(votes: list[tuple[str, str, str]]) -> None:
    other = {"model_a": "model_b", "model_b": "model_a"}
    expected = Counter((a, b, w) if a < b else (b, a, other.get(w, w)) for a, b, w in votes)
    cells = Cells.from_votes(frame(*votes))
    assert counted(cells) == expected
    assert cells.n_votes == len(votes)
    assert cells.models == tuple(sorted({name for vote in votes for name in vote[:2]}))
    assert (cells.i < cells.j).all()


@given(VOTES)
def test_counts_are_votes(votes: list[tuple[str, str, str]]) -> None:
    counts = pd.DataFrame(
        [(*vote, n) for vote, n in Counter(votes).items()], columns=["model_a", "model_b", "winner", "count"]
    )
    assert counted(Cells.from_counts(counts)) == counted(Cells.from_votes(frame(*votes)))


@pytest.mark.parametrize("count", [-1, 0.5, float("nan"), "many"])
def test_a_count_must_be_a_number_of_votes(count: object) -> None:
    with pytest.raises(InputError, match="counts: row 1: count"):
        Cells.from_counts(pd.DataFrame({"model_a": ["a"], "model_b": ["b"], "winner": ["tie"], "count": [count]}))


def test_weights_sum_and_their_squares_too() -> None:
    votes = frame(("a", "b", "tie"), ("b", "a", "tie"), ("b", "a", "model_a")).assign(weight=[2.0, 3.0, 0.5])
    cells = Cells.from_votes(votes)
    assert cells.ties.tolist() == [5.0]
    assert cells.wins_j.tolist() == [0.5]
    assert cells.square[2].tolist() == [13.0]
    assert cells.n_votes == 3
    assert cells.weighted


def test_both_bad_is_settled_by_a_named_rule() -> None:
    cells = Cells.from_votes(frame(("a", "b", "both_bad"), ("a", "b", "tie"), ("a", "b", "model_a")))
    assert cells.both_bad.tolist() == [1.0]
    assert (cells.settle("tie").ties.tolist(), cells.settle("tie").n_votes) == ([2.0], 3)
    assert (cells.settle("drop").ties.tolist(), cells.settle("drop").n_votes) == ([1.0], 2)
    assert cells.both_bad.tolist() == [1.0]
    with pytest.raises(UsageError, match="both_bad"):
        cells.settle("loss")  # type: ignore[arg-type]


def test_categorical_and_object_columns_are_read_alike() -> None:
    votes = frame(("a", "b", "tie"), ("b", "c", "model_a"))
    for kind in ("category", "object", "str"):
        cells = Cells.from_votes(votes.astype(kind))
        assert cells.models == ("a", "b", "c")
        assert np.array_equal(cells.n, Cells.from_votes(votes).n)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_models", [2, 7])
def test_few_models_are_folded_as_many_are(monkeypatch: pytest.MonkeyPatch, n_models: int, weighted: bool) -> None:
    rng = np.random.default_rng(n_models)
    a = rng.integers(n_models, size=300)
    b = (a + rng.integers(1, n_models, size=300)) % n_models
    outcome, weight = rng.integers(4, size=300), rng.uniform(0.5, 2, size=300) if weighted else None
    coded = vote_module.CodedVotes(tuple("abcdefg"[:n_models]), a, b, outcome, weight)
    for count in (None, rng.integers(4, size=300)):
        few = vote_module.fold(coded, count=count)
        with monkeypatch.context() as patch:
            patch.setattr(vote_module, "DENSE_MODELS", 0)
            many = vote_module.fold(coded, count=count)
        for name in ("i", "j", "n"):
            assert getattr(few, name).tolist() == getattr(many, name).tolist()
        for name in ("weight", "square"):
            assert getattr(few, name) == pytest.approx(getattr(many, name))
