"""Run records on disk: the same bits back, one set of bytes for one run, and every damage by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paragone.data.errors import InputError, NotComparable, UsageError
from paragone.metrics import FeatureStatistics
from paragone.metrics.recording import gates_of, run_of_features
from paragone.metrics.run_files import arrays_file, is_run_record, numbers_in, ranges, read_run, write_run
from paragone.metrics.run_items import Items
from paragone.metrics.run_record import Packed, RunRecord


def keys(n: int) -> Items:
    return Items(
        tuple(f"p{row % 4}-{row // 4}.png" for row in range(n)),
        tuple(f"p{row % 4}" for row in range(n)),
        tuple(row // 4 for row in range(n)),
    )


@pytest.fixture
def run() -> RunRecord:
    rng = np.random.default_rng(0)
    made, reference = rng.normal(1000.0, 1.0, (120, 5)), rng.normal(1000.0, 1.0, (150, 5))
    found = run_of_features(
        made,
        reference,
        training=reference[:60],
        metrics=("fd", "kid", "recall", "authenticity"),
        items=keys(120),
        extractor="mine-1",
        protocol="paragone",
        keep_features=True,
    )
    return replace(found, gates=gates_of(found, {"kid": "0.5", "fd": "2%"}), looks=((0, 1, 2), tuple(range(3, 30))))


def test_a_record_comes_back_bit_by_bit(run: RunRecord, tmp_path: Path) -> None:
    write_run(run, tmp_path / "run.json")
    back = read_run(tmp_path / "run.json")
    assert back.items.keys == run.items.keys
    assert back.gates == run.gates
    assert back.looks == run.looks
    assert back.recipe == run.recipe
    for name, one in run.measures.items():
        assert back.measures[name].column.value == one.column.value
        assert np.array_equal(back.measures[name].column.contributions, one.column.contributions)
        assert back.measures[name].signature == one.signature
    for role, one in run.yardsticks.items():
        assert np.array_equal(back.yardsticks[role].statistics.scatter, one.statistics.scatter)
        assert np.array_equal(back.yardsticks[role].packed.rows(), one.packed.rows())
    assert np.array_equal(back.packed.units, run.packed.units)
    assert is_run_record(tmp_path / "run.json")


def test_equal_runs_give_equal_bytes(run: RunRecord, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_run(run, tmp_path / name / "run.json")
    for file in ("run.json", "run.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_json_is_short_and_names_what_must_agree(run: RunRecord, tmp_path: Path) -> None:
    write_run(run, tmp_path / "run.json")
    text = (tmp_path / "run.json").read_text()
    assert len(text.splitlines()) < 120
    document = json.loads(text)
    assert document["schema"] == "paragone.run/1"
    assert document["prompts"]["seeds"] == "0-29"
    assert document["gates"]["fd"]["stated"] == "2%"
    assert document["gates"]["kid"] == {"margin": 0.5, "stated": "0.5"}
    assert document["looks"] == ["0-2", "3-29"]
    assert "ext:mine-1" in document["measures"]["kid"]["signature"]


def test_features_keep_three_digits_of_each_dimensions_spread(run: RunRecord) -> None:
    rng = np.random.default_rng(1)
    features = rng.standard_normal((300, 4)) * [1e-6, 1.0, 1e6, 0.0] + [1.0, 1e3, -1e8, 7.0]
    packed = Packed.of(features, FeatureStatistics.from_features(features))
    spread = features.std(axis=0)
    assert (np.abs(packed.rows()[:, 1:3] - features[:, 1:3]) < 2e-3 * spread[1:3]).all()
    assert (packed.rows()[:, 3] == 7.0).all()


def test_a_baseline_that_is_missing_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(NotComparable, match="--bless"):
        read_run(tmp_path / "none.json")


def test_every_damage_is_named(run: RunRecord, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_run(run, path)
    good, arrays = path.read_text(), arrays_file(path).read_bytes()
    for text, words in (
        ("{", "not a readable JSON"),
        ('{"schema": "paragone.metrics/1"}', "paragone.run/1"),
        (good.replace('"measures"', '"measurs"'), "damaged"),
        (good.replace('"margin": 0.5', '"margin": -1'), "kid"),
    ):
        path.write_text(text)
        with pytest.raises((InputError, UsageError), match=words):
            read_run(path)
    path.write_text(good)
    arrays_file(path).write_bytes(arrays[:-1])
    with pytest.raises(InputError, match="sha256"):
        read_run(path)
    arrays_file(path).unlink()
    with pytest.raises(InputError, match="not beside it"):
        read_run(path)


def test_arrays_with_a_pickle_in_them_are_refused(run: RunRecord, tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "run.json"
    write_run(run, path)
    np.savez(arrays_file(path), items=np.array([print], dtype=object))
    document = json.loads(path.read_text())
    document["arrays"]["sha256"] = hashlib.sha256(arrays_file(path).read_bytes()).hexdigest()
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="pickle"):
        read_run(path)


def test_margins_are_shares_or_numbers_and_never_nothing(run: RunRecord) -> None:
    by_name = {gate.metric: gate for gate in gates_of(run, {"fd": "10%", "recall": "0.02"})}
    assert by_name["fd"].margin == pytest.approx(0.1 * run.measures["fd"].column.value)
    assert by_name["recall"].margin == 0.02
    kid = run.measures["kid"].column
    assert by_name["kid"].margin == pytest.approx(max(0.05 * abs(kid.value), kid.standard_error))
    with pytest.raises(UsageError, match="clip_score is not measured"):
        gates_of(run, {"clip_score": "1%"})
    with pytest.raises(UsageError, match="number"):
        gates_of(run, {"fd": "small"})
    assert {gate.metric for gate in gates_of(run, {"fid": "1%"})} == set(run.measures)


def test_numbers_in_words_and_back() -> None:
    assert ranges([0, 1, 2, 7, 9, 10]) == "0-2,7,9-10"
    assert numbers_in("0-2,7,9-10") == (0, 1, 2, 7, 9, 10)
    for wrong in ("", "a", "1,1", "3-"):
        with pytest.raises(ValueError, match=r"rising|invalid"):
            numbers_in(wrong)
