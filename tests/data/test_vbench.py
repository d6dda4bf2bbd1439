"""VBench's results as metric results: what it states stays, what it lacks stays missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paragone.data.errors import InputError
from paragone.data.vbench import is_vbench, vbench_results


def videos(values: list[Any], name: str = "a cat-{}.mp4") -> list[dict[str, Any]]:
    return [{"video_path": f"/data/{name.format(index)}", "video_results": value} for index, value in enumerate(values)]


def test_scores_come_with_the_standard_error_of_their_videos() -> None:
    values = [0.98, 0.94, 0.99, 0.97]
    document = {"motion_smoothness": [float(np.mean(values)), videos(values)]}
    assert is_vbench(document)
    [result], notes = vbench_results(document, "x.json")
    assert notes == ()
    assert (result.metric, result.value) == ("vbench_motion_smoothness", pytest.approx(0.97))
    assert result.standard_error == pytest.approx(np.std(values, ddof=1) / 2)
    assert result.ci_low == pytest.approx(0.97 - 1.96 * np.std(values, ddof=1) / 2, abs=1e-5)
    assert (result.n_generated, result.higher_is_better, result.protocol) == (4, True, "vbench")


def test_yes_and_no_and_percent_are_what_vbench_means_by_them() -> None:
    document = {
        "dynamic_degree": [0.75, videos([True, True, False, True])],
        "imaging_quality": [0.65, videos([60.0, 70.0, 65.0])],  # MUSIQ's scale beside a share
    }
    (dynamic, imaging), notes = vbench_results(document, "x.json")
    assert notes == ()
    assert dynamic.standard_error == pytest.approx(0.25)
    assert imaging.standard_error == pytest.approx(0.05 / np.sqrt(3))


def test_a_score_that_weighs_frames_is_kept_and_told() -> None:
    """Two videos, 17 frames of 0.99 and 129 of 0.80: one GPU of VBench says 0.8211, two say 0.895."""
    (result,), (note,) = vbench_results({"subject_consistency": [0.8211, videos([0.99, 0.80])]}, "x.json")
    assert result.value == 0.8211
    assert result.details["mean_of_videos"] == pytest.approx(0.895)
    assert "0.8211 is not the mean of its videos, 0.895" in note


def test_what_is_missing_is_not_zero() -> None:
    document = {
        "scene": [0.5, videos([1.0, None])],
        "color": [None, videos([1.0])],
        "human_action": [float("nan"), videos([1.0])],
        "object_class": [0.4, []],
        "temporal_style": [True, videos([1.0])],
    }
    (scene,), notes = vbench_results(document, "x.json")
    assert scene.metric == "vbench_scene"
    assert (scene.n_generated, scene.standard_error) == (1, None)
    assert scene.details["videos_without_value"] == 1
    assert len(notes) == 5
    assert any("color: its score is None, which is no number; left out, not counted as 0" in note for note in notes)
    with pytest.raises(InputError, match=r"x\.json: no dimension of VBench with a score"):
        vbench_results({"color": [None, videos([1.0])]}, "x.json")


def test_signatures_agree_where_the_videos_do() -> None:
    def signature(values: list[Any], name: str = "a cat-{}.mp4") -> str:
        document = {"color": [float(np.mean(values)), videos(values, name)]}
        return vbench_results(document, "x.json").results[0].signature

    assert signature([0.1, 0.2]) == signature([0.7, 0.9])
    assert signature([0.1, 0.2]) == signature([0.1, 0.2], r"other\folder\a cat-{}.mp4")
    assert signature([0.1, 0.2]) != signature([0.1, 0.2], "a dog-{}.mp4")


@pytest.mark.parametrize("document", [[], {}, {"a": 1}, {"a": [1]}, {"schema": "x", "results": []}, "text", None])
def test_other_documents_are_not_taken_for_it(document: object) -> None:
    assert not is_vbench(document)
