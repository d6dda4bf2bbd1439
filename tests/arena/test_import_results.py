"""Results of metrics come into an arena whole or not at all, and again without change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paragone.arena import Store
from paragone.arena.import_results import import_results
from paragone.data.errors import InputError
from paragone.data.records import GeneratorCard, MetricResult, metrics_document

RESULT = MetricResult("motion", 0.3, True, 4, standard_error=0.1, signature="motion|n:4", version="0.1.0")
VBENCH = {
    "dynamic_degree": [0.5, [{"video_path": f"{i}.mp4", "video_results": i % 2 == 0} for i in range(4)]],
    "color": [None, [{"video_path": "0.mp4", "video_results": 1.0}]],
}


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_ours_and_vbenchs(tmp_path: Path) -> None:
    ours = written(tmp_path / "ours.json", metrics_document([RESULT], ["a warning"]))
    theirs = written(tmp_path / "theirs.json", VBENCH)
    with Store(tmp_path / "arena.db", create=True) as store:
        first = import_results(store, ours, model="m")
        assert dict(first.new) == {"generators": 1, "metric_results": 1}
        second = import_results(store, theirs, model="m")
        assert dict(second.new) == {"metric_results": 1}
        assert any("color" in note for note in second.notes)
        again = import_results(store, theirs, model="m")
        assert (dict(again.new), dict(again.present)) == ({}, {"metric_results": 1})
        rows = store.metric_results()
        assert rows["metric"].tolist() == ["motion", "vbench_dynamic_degree"]
        assert rows["value"].tolist() == [0.3, 0.5]
        assert store.verify() == []


def test_a_models_card_stays(tmp_path: Path) -> None:
    with Store(tmp_path / "arena.db", create=True) as store:
        store.add_generators([GeneratorCard("m", description="mine")])
        import_results(store, written(tmp_path / "x.json", metrics_document([RESULT], [])), model="m")
        [card] = store.generators()
        assert card.description == "mine"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a": 1}, r"neither paragone\.metrics/1 .* nor VBench's"),
        (metrics_document([], []), "holds no results"),
        ({"schema": "paragone.metrics/1", "results": [{"metric": "x"}]}, "result 1 is not whole"),
        ({"schema": "paragone.metrics/1", "results": [{"metric": "x", "odd": 1}]}, "result 1 is not one of"),
        (
            {"schema": "paragone.metrics/1", "results": [RESULT.to_dict(), RESULT.to_dict() | {"value": None}]},
            "result 2: value is None, which is no number",
        ),
    ],
)
def test_what_is_no_results_is_refused_and_leaves_nothing(tmp_path: Path, document: Any, message: str) -> None:
    with Store(tmp_path / "arena.db", create=True) as store:
        with pytest.raises(InputError, match=message):
            import_results(store, written(tmp_path / "x.json", document), model="m")
        assert store.generators() == []
