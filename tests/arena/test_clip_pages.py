"""Pages of clips and edits without a browser: which samples are clips, what is plotted, where a mask's edge is."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from made_clips import write_clip
from PIL import Image
from streamlit.testing.v1 import AppTest

from paragone.arena.store import Store
from paragone.arena.ui.clip_wall import has_frames, is_clip
from paragone.arena.ui.renditions import render_outline
from paragone.data import GeneratorCard, MetricResult, Prompt, Sample, UnreadableImage, sample_id
from paragone.data.clip_frames import ClipFrames, clip_frames_file
from paragone.data.files import file_digest

PATIENCE = 30


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models: one made a clip, the other a picture."""
    with Store(tmp_path / "arena.db", create=True) as store:
        store.add_prompts([Prompt("p", "something that moves")])
        clip = write_clip(tmp_path / "clip.mp4", 6)
        picture = tmp_path / "picture.png"
        Image.new("RGB", (96, 64)).save(picture)
        for model, path in (("clips", clip), ("pictures", picture)):
            store.add_generators([GeneratorCard(model)])
            digest = file_digest(path)
            store.add_samples([Sample(sample_id(model, "p", 0, digest), digest, path.name, "p", model, 0, 96, 64)])
            store.add_metric_results(model, [MetricResult("motion", 0.5, True, 1, signature="motion|n:1")])
    monkeypatch.setenv("PARAGONE_DIR", str(tmp_path))
    monkeypatch.delenv("PARAGONE_DB", raising=False)
    return tmp_path


def samples(folder: Path) -> list[Sample]:
    with Store(folder / "arena.db") as store:
        return store.samples()


def page(module: str) -> AppTest:
    script = (
        f"from paragone.arena.ui import {module}\n"
        "from paragone.arena.ui.reading import open_project\n"
        f"{module}.show(open_project())\n"
    )
    app = AppTest.from_string(script, default_timeout=PATIENCE).run()
    assert not app.exception, app.exception
    return app


def walls(app: AppTest) -> list[dict[str, object]]:
    """What the components of clips on a page were sent."""

    def nodes(block: object) -> list[object]:
        children = getattr(block, "children", {})
        return [block, *(node for child in children.values() for node in nodes(child))]

    found = [str(getattr(node.proto, "json", "")) for node in nodes(app._tree) if hasattr(node, "proto")]
    return [json.loads(text) for text in found if '"tiles"' in text]


def test_samples_are_clips_by_their_record_or_their_bytes(folder: Path) -> None:
    clip, picture = samples(folder)
    assert is_clip(folder, clip)
    assert not is_clip(folder, picture)
    (folder / "clip.mp4").unlink()
    recorded = Sample(clip.id, clip.sha256, "gone.mp4", "p", "clips", 0, 96, 64, frames=6, fps=24.0)
    assert is_clip(folder, recorded)


def test_the_gallery_has_clips_with_what_was_measured(folder: Path) -> None:
    clip = samples(folder)[0]
    assert not has_frames(folder)
    [bare] = walls(page("gallery"))
    assert bare["plots"] == []
    frames = ClipFrames(
        (0.0, 0.5, 1.0), {"motion": (0.123456789, None), "other": (1.0, 2.0, 3.0)}, {"cuts": (False, True)}, loop_s=0.5
    )
    frames.save(clip_frames_file(folder, clip.sha256))
    assert has_frames(folder)
    app = page("gallery")
    [wall] = walls(app)
    assert [plot["name"] for plot in wall["plots"]] == ["motion"]  # type: ignore[index, attr-defined]
    assert wall["tiles"] == [
        {
            "model": "clips",
            "url": f"/arena/clips/{clip.id}",
            "times": [0.0, 0.5, 1.0],
            "series": {"motion": [0.12346, None]},
            "cuts": [1.0],
            "note": "begins again after 0.5 s",
        }
    ]
    assert any("pictures: a still picture" in text.value for text in app.text)


def test_damaged_values_are_told_and_the_clip_is_shown(folder: Path) -> None:
    path = clip_frames_file(folder, samples(folder)[0].sha256)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    app = page("gallery")
    assert len(walls(app)) == 1
    assert any("delete it and measure again" in text.value for text in app.text)


def test_the_metrics_page_has_them_once_there_are_any(folder: Path) -> None:
    assert walls(page("measures")) == []
    ClipFrames((0.0, 1.0), {"motion": (0.1,)}, {}).save(clip_frames_file(folder, samples(folder)[0].sha256))
    assert len(walls(page("measures"))) == 1


def test_the_outline_lies_around_what_may_change(tmp_path: Path) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 30:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    with Image.open(io.BytesIO(render_outline(tmp_path, "mask.png"))) as picture:
        alpha = np.asarray(picture)[:, :, 3]
    assert alpha.shape == mask.shape
    assert not alpha[mask > 0].any()  # what may change is not covered
    rows, columns = np.nonzero(alpha)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (18, 41, 28, 51)
    assert alpha[30, 29] == alpha[19, 40] == 255
    with pytest.raises(UnreadableImage, match="leads out of the project"):
        render_outline(tmp_path, "../mask.png")
