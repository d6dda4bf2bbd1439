"""Edits from a table to a report: what counts, what is missing and why, what is refused before a picture is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from photographs import photograph
from PIL import Image

from paragone.data.edits import Edit, edits_of_folder, read_edits
from paragone.data.errors import InputError, MissingWeights, UnreadableImage, UsageError
from paragone.data.records import MetricResult, Prompt, Task
from paragone.metrics.direction import direction
from paragone.metrics.edit_metrics import EDIT_METRICS, check_edits
from paragone.metrics.item_measures import ItemReport, Missing

MASK = np.zeros((120, 160), bool)
MASK[30:80, 50:110] = True


def save(path: Path, pixels: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def source_picture(name: str = "china.jpg") -> NDArray[np.uint8]:
    return photograph(name)[20:140, 40:200]


def edited(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    result = picture.copy()
    result[MASK] = 255 - result[MASK] // 2
    return result


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Six edits: good, shifted, spilt, none at all, of another size, of another shape."""
    china, flower = source_picture(), source_picture("flower.jpg")
    save(tmp_path / "in" / "china.png", china)
    save(tmp_path / "in" / "flower.png", flower)
    save(tmp_path / "mask.png", np.uint8(255) * MASK)
    spilt = edited(china)
    spilt[90:, :60] = 0
    results = {
        "good": (china, edited(china)),
        "shifted": (flower, np.roll(edited(flower), 3, axis=1)),
        "spilt": (china, spilt),
        "none": (flower, flower),
        "large": (china, np.asarray(Image.fromarray(edited(china)).resize((320, 240)))),
        "wide": (china, np.asarray(Image.fromarray(edited(china)).resize((240, 120)))),
    }
    rows = []
    for name, (before, after) in results.items():
        save(tmp_path / "out" / f"{name}.png", after)
        row = {"source": "in/china.png" if before is china else "in/flower.png", "result": f"out/{name}.png"}
        rows.append(row | {"instruction": f"make it {name}", "mask": "mask.png"})
    return written(tmp_path / "edits.jsonl", rows)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def by_name(report: ItemReport) -> dict[str, MetricResult]:
    return {result.metric: result for result in report.results}


def items(report: ItemReport) -> dict[str, dict[str, Any]]:
    return {Path(row["name"]).stem: row for row in report.items}


# ---- Reports -------------------------------------------------------------------------------------------------------


def test_each_edit_says_what_it_did(table: Path) -> None:
    report = check_edits(read_edits(table)).report()
    found, results = items(report), by_name(report)
    assert found["good"]["preservation"] == pytest.approx(58.9, abs=0.1)
    assert found["good"]["leakage"] == 0
    assert (found["shifted"]["shift"], found["shifted"]["shift_right"], found["shifted"]["shift_down"]) == (3, 3, 0)
    assert found["shifted"]["preservation_raw"] < 30
    assert found["shifted"]["preservation"] > 40
    assert found["spilt"]["leakage"] > 0.1
    assert found["spilt"]["preservation"] < found["good"]["preservation"] - 20
    assert found["none"]["preservation"] is None
    assert "preservation: changed nothing" in found["none"]["missing"]
    assert found["none"]["unchanged"] == 1
    assert found["wide"]["changed_region"] is None
    assert "another shape" in found["wide"]["missing"]
    assert results["unchanged"].value == pytest.approx(1 / 5)
    assert results["preservation"].n_generated == 4
    assert results["preservation"].details["missing"] == {
        "changed nothing": 1,
        "another shape than the source": 1,
    }
    warnings = " | ".join(report.warnings)
    assert "1 of 6 edits changed nothing beyond a codec's noise, first out/none.png" in warnings
    assert "1 of 6 edits shifted the whole picture" in warnings
    assert "1 of 6 edits have another size than their source and were resized" in warnings


def test_edits_of_one_source_are_one_draw(table: Path) -> None:
    """The standard error is that of sources: four times the same edit say no more than one."""
    edits = [edit for edit in read_edits(table) if edit.result.stem in ("good", "shifted")]
    once = by_name(check_edits(edits, metrics=["changed_region"]).report())["changed_region"]
    twice = by_name(check_edits(edits * 3, metrics=["changed_region"]).report())["changed_region"]
    assert once.value == pytest.approx(twice.value)
    assert once.standard_error == pytest.approx(twice.standard_error)
    [alone] = check_edits(edits[:1], metrics=["changed_region"]).report().results
    assert alone.standard_error is None


def test_without_masks_the_changed_region_remains(table: Path) -> None:
    edits = [Edit(edit.name, edit.source, edit.result, edit.instruction) for edit in read_edits(table)]
    report = check_edits(edits).report()
    assert [result.metric for result in report.results] == ["unchanged", "changed_region", "shift"]
    assert items(report)["good"]["changed_region"] == pytest.approx(MASK.mean(), rel=0.2)
    with pytest.raises(UsageError, match="preservation, leakage: no edit has a mask"):
        check_edits(edits, metrics=["preservation", "leakage"])


def test_signatures_hold_the_rules(table: Path) -> None:
    found = by_name(check_edits(read_edits(table)[:2]).report())
    assert found["preservation"].signature == "preservation|aligned:1/10px|margin:0.03|levels:8-16|n:2|v:0.1.0"
    assert found["preservation_raw"].signature == "preservation_raw|margin:0.03|levels:8-16|n:2|v:0.1.0"


def test_unreadable_edits_stop_or_are_left_out_by_name(table: Path) -> None:
    (table.parent / "out" / "spilt.png").write_bytes(b"nothing")
    with pytest.raises(UnreadableImage, match=r"spilt\.png.*--on-error skip"):
        check_edits(read_edits(table)).report()
    report = check_edits(read_edits(table), on_error="skip", metrics=["shift"]).report()
    assert len(report.items) == 5
    assert any("left out" in line and "spilt.png" in line for line in report.warnings)


def test_masks_fit_or_are_refused(table: Path) -> None:
    save(table.parent / "mask.png", np.zeros((60, 80), np.uint8))
    with pytest.raises(UnreadableImage, match=r"mask\.png: the mask is 80×60 px and its source 160×120"):
        check_edits(read_edits(table)).report()
    save(table.parent / "mask.png", np.zeros((120, 160), np.uint8))
    with pytest.raises(UnreadableImage, match="the mask is black everywhere"):
        check_edits(read_edits(table)).report()


# ---- Requests ------------------------------------------------------------------------------------------------------


def test_what_cannot_be_done_is_said_first(table: Path, tmp_path: Path) -> None:
    edits = read_edits(table)
    for edit in edits:
        edit.result.write_bytes(b"never opened")
    with pytest.raises(UsageError, match="no measure of edits is called 'fd'"):
        check_edits(edits, metrics=["fd"])
    with pytest.raises(UsageError, match="directional_similarity: no edit has both source_caption"):
        check_edits(edits, metrics=["directional_similarity"])
    with pytest.raises(UsageError, match="lpips: needs its files"):
        check_edits(edits, metrics=["lpips"])
    with pytest.raises(UsageError, match="lpips is not asked for"):
        check_edits(edits, lpips=[tmp_path / "x.pth"])
    with pytest.raises(MissingWeights, match=r"no such file: .*x\.pth"):
        check_edits(edits, metrics=["lpips"], lpips=[tmp_path / "x.pth"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"result": "b.png", "instruction": "x"}, "no column source"),
        ({"source": "a.png", "result": "b.png", "instruction": ""}, "line 1: no instruction"),
        ({"source": "a.png", "result": "c.png", "instruction": "x"}, "line 1: result: no file c.png"),
        ({"source": "a.png", "result": "b.png", "instruction": "x", "mask": "m.png"}, "line 1: mask: no file m.png"),
        ({"source": "a.png", "result": "b.png", "instruction": 3}, "line 1: instruction is a int, not text"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    save(tmp_path / "a.png", source_picture())
    save(tmp_path / "b.png", source_picture())
    with pytest.raises(InputError, match=message):
        read_edits(written(tmp_path / "edits.jsonl", [row]))


def test_csv_does_too_and_a_result_occurs_once(tmp_path: Path) -> None:
    save(tmp_path / "a.png", source_picture())
    save(tmp_path / "b.png", edited(source_picture()))
    file = tmp_path / "edits.csv"
    file.write_text('source,result,instruction,mask\na.png,b.png,"make it dark, please",\n')
    [edit] = read_edits(file)
    assert (edit.instruction, edit.mask) == ("make it dark, please", None)
    file.write_text("source,result,instruction\na.png,b.png,x\na.png,b.png,y\n")
    with pytest.raises(InputError, match=r"the result b\.png occurs twice"):
        read_edits(file)
    file.write_text("source,result,instruction\n")
    with pytest.raises(InputError, match="no edits there"):
        read_edits(file)
    with pytest.raises(InputError, match="no such file of edits"):
        read_edits(tmp_path / "none.csv")


def test_a_models_folder_has_edits_where_prompts_have_sources(tmp_path: Path) -> None:
    save(tmp_path / "in.png", source_picture())
    save(tmp_path / "mask.png", np.uint8(255) * MASK)
    folder = tmp_path / "samples" / "model"
    save(folder / "p-000000.png", edited(source_picture()))
    lines: list[dict[str, Any]] = [
        {"schema": "paragone.samples/1", "recipe": "r"},
        {"prompt_id": "p", "seed": 0, "status": "ok", "file": "p-000000.png"},
        {"prompt_id": "q", "seed": 0, "status": "refused"},
    ]
    written(folder / "manifest.jsonl", lines)
    prompt = Prompt("p", "make it dark", Task.IMAGE_EDITING, source="in.png", mask="mask.png")
    [edit] = edits_of_folder(folder, {"p": prompt}, tmp_path)
    assert edit.name == "p-000000.png"
    assert by_name(check_edits([edit]).report())["leakage"].value == 0
    with pytest.raises(InputError, match="answers prompt p, which has no source picture"):
        edits_of_folder(folder, {"p": Prompt("p", "a cat")}, tmp_path)


# ---- Direction -----------------------------------------------------------------------------------------------------


def test_direction_is_a_cosine_or_has_a_reason() -> None:
    seen = np.array([0.3, 0.4, 0.0])
    assert direction(seen, 2 * seen) == pytest.approx(1)
    assert direction(seen, -seen) == pytest.approx(-1)
    assert direction(seen, np.array([0.4, -0.3, 0.0])) == pytest.approx(0)
    assert direction(np.zeros(3), seen) == Missing("the same to CLIP before and after")
    assert direction(seen, np.full(3, 1e-7)) == Missing("captions that say the same to CLIP")


def test_directional_similarity_on_the_whole_way(table: Path, tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    torch = pytest.importorskip("torch")
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    }
    (tmp_path / "edited-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "edited-clip.json")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = open_clip.CLIP(**config)
        for parameter in network.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    torch.save(network.state_dict(), tmp_path / "clip.pt")
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for row in rows:
        row |= {"source_caption": "a house", "target_caption": "a dark house"}
    rows[2]["target_caption"] = "A house"
    del rows[4]["source_caption"]
    report = check_edits(
        read_edits(written(table, rows)),
        metrics=["directional_similarity"],
        clip="clip:edited-clip",
        weights=tmp_path / "clip.pt",
        device="cpu",
    ).report()
    [result] = report.results
    assert result.details["missing"] == {
        "equal captions of source and target": 1,
        "changed nothing": 1,
        "no captions of source and target": 1,
    }
    from paragone.metrics.extractors.clip import load

    clip = load(weights=tmp_path / "clip.pt", protocol="paragone", variant="edited-clip")
    with torch.inference_mode():
        pictures = [np.asarray(Image.open(table.parent / rows[0][name])) for name in ("source", "result")]
        seen = [clip(clip.prepare(picture)[None])[0][0].double().numpy() for picture in pictures]
        tokens = open_clip.get_tokenizer("edited-clip")(["a house", "a dark house"])
        said = clip.network.encode_text(tokens).double().numpy()
    unit = [row / np.linalg.norm(row) for row in (*seen, *said)]
    a, b = unit[1] - unit[0], unit[3] - unit[2]
    assert items(report)["good"]["directional_similarity"] == pytest.approx(
        float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), abs=1e-5
    )
    assert result.extractor == clip.name
    assert result.n_generated == 3


def test_every_row_has_a_place() -> None:
    assert {row.name for row in EDIT_METRICS.values() if row.measure is None} == {"directional_similarity", "lpips"}
