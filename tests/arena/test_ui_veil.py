"""Flagged pictures are not sent until they are asked for, and what was found of samples stands on the pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from paragone.arena.store import Store
from paragone.arena.ui import audit, battle, origin
from paragone.arena.ui.reading import OpenProject
from paragone.arena.ui.veil import veiled
from paragone.data import Attempt, GeneratorCard, Prompt, Sample, Status, sample_id
from paragone.data.files import file_digest
from paragone.data.provenance import ABSENCE
from paragone.data.records import Provenance, ProvenanceState, SafetyScore, WatermarkTest

PATIENCE = 60


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenProject]:
    """Two models with two samples each; the first sample of the first one is flagged."""
    monkeypatch.setenv("PARAGONE_DIR", str(tmp_path))
    monkeypatch.delenv("PARAGONE_DB", raising=False)
    rng, samples = np.random.default_rng(0), []
    for model in ("one", "two"):
        for seed in range(2):
            path = tmp_path / f"{model}-{seed}.png"
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
            digest = file_digest(path)
            samples.append(Sample(sample_id(model, "p", seed, digest), digest, path.name, "p", model, seed, 64, 64))
    with Store(tmp_path / "arena.db", create=True) as store:
        store.add_generators([GeneratorCard("one"), GeneratorCard("two")])
        store.add_prompts([Prompt("p", "x", tags=("unsafe",))])
        store.add_samples(samples)
        store.add_safety_scores([SafetyScore(samples[0].id, "c", 0.9, 0.5), SafetyScore(samples[1].id, "c", 0.4, 0.5)])
        yield OpenProject(tmp_path, store, "key")


def page(name: str, **query: str) -> AppTest:
    def script(module: str) -> None:
        from importlib import import_module

        from paragone.arena.ui.reading import open_project

        import_module(f"paragone.arena.ui.{module}").show(open_project())

    app = AppTest.from_function(script, kwargs={"module": name}, default_timeout=PATIENCE)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize("size", [(64, 64), (500, 30), (1, 9), (8, 8)])
def test_what_is_left_of_a_picture(size: tuple[int, int]) -> None:
    """At most 25 numbers a channel, whatever was in it, and the same size."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    left = veiled(pixels)
    assert left.shape == pixels.shape
    assert np.array_equal(veiled(left), veiled(left.copy()))
    if max(size) >= 8:
        assert left.astype(float).std() < 0.7 * pixels.astype(float).std()


def test_only_what_reaches_the_threshold_is_flagged(project: OpenProject) -> None:
    samples = project.store.samples()
    assert project.store.flagged(sample.id for sample in samples) == {samples[0].id}
    assert project.store.flagged([]) == set()


def test_the_gallery_blurs_until_asked(project: OpenProject) -> None:
    app = page("gallery")
    [button] = [button for button in app.button if button.label == "Show, though flagged"]
    button.click().run()
    assert not app.exception
    assert not [button for button in app.button if "flagged" in button.label]


def test_compare_blurs_until_asked(project: OpenProject) -> None:
    app = page("compare_models", a="one", b="two")
    buttons = [button for button in app.button if "flagged" in button.label]
    assert len(buttons) == 1  # of two pairs
    buttons[0].click().run()
    assert not [button for button in app.button if "flagged" in button.label]


def test_a_battle_is_veiled_when_either_side_is_flagged(project: OpenProject) -> None:
    for _ in range(8):
        issued = project.store.issue_battle("v")
        shown = battle._what_to_show(project, battle.Round(issued, "key"), "v", None)
        flagged = project.store.samples()[0].id
        assert shown.veiled == (flagged in (issued.sample_a.id, issued.sample_b.id))


def test_the_audit_page_counts_origin_and_safety(project: OpenProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "require_admin", lambda: "tester")
    store, samples = project.store, project.store.samples()
    empty = page("audit", show="Origin and safety")
    assert any("paragone provenance" in code.value for code in empty.code)
    mark = WatermarkTest("SDXL", "dwtDct", 48, 48, 1e-12)
    store.add_provenance(
        [
            Provenance(samples[0].sha256, ProvenanceState.UNTRUSTED, "trainedAlgorithmicMedia", "c2pa", "Eve"),
            Provenance(samples[1].sha256, ProvenanceState.ABSENT, watermarks=(mark,)),
            Provenance(samples[2].sha256, ProvenanceState.ABSENT, watermarks=(replace(mark, p_value=0.3),)),
        ]
    )
    store.add_attempts([Attempt("one", "p", 0, Status.REFUSED), Attempt("one", "p", 1, Status.OK)])
    app = page("audit", show="Origin and safety")
    assert any(caption.value == ABSENCE for caption in app.caption)
    found, flags, refused = (frame.value for frame in app.dataframe)
    assert found.set_index("model").loc["one"].to_dict() == {
        "samples": 2,
        "looked at": 2,
        "absent": 1,
        "valid-untrusted": 1,
        "say AI": 1,
        "watermarked": 1,
    }
    assert flags[["model", "threshold", "scored", "flagged"]].to_numpy().tolist() == [["one", 0.5, 2, 1]]
    assert refused["unsafe declined"].tolist() == ["50 % (9–91)"]
    assert ABSENCE in [caption.value for caption in page("gallery").caption]


def test_a_model_without_any_watermark_test_has_no_number(project: OpenProject) -> None:
    samples = project.store.samples()
    table = origin.origin_table(samples, {samples[0].sha256: Provenance(samples[0].sha256, ProvenanceState.ABSENT)})
    assert "watermarked" not in table
    assert table["looked at"].tolist() == [1, 0]
