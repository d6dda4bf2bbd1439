"""Error rates of text: closed forms, the rule in the signature, engines that fail, and the real Tesseract."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from paragone.data.errors import InputError, PluginError, UsageError
from paragone.data.ocr import character_error_rate, word_error_rate
from paragone.data.records import MetricResult
from paragone.metrics.item_measures import ItemReport
from paragone.metrics.text_rendering import check_text, open_reader


class Engine:
    """Reads what a test has put down for pictures of one mean brightness."""

    name = "fake-1"

    def __init__(self, told: dict[int, str]) -> None:
        self.told = told
        self.asked = 0

    def read(self, path: Path, /) -> str:
        self.asked += 1
        with Image.open(path) as picture:
            text = self.told[int(np.asarray(picture)[0, 0, 0])]
        if text == "(broken)":
            raise InputError("the engine broke")
        return text


def engine() -> Engine:
    return Engine({10: "OPEN  late\n", 20: "Open lats", 30: "", 40: "anything"})


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    for level in (10, 20, 30, 40):
        Image.fromarray(np.full((20, 30, 3), level, np.uint8)).save(folder / f"{level}.png")
    return folder


def prompts(path: Path, texts: list[str], column: str = "prompt") -> Path:
    rows = [{"file": f"{10 * (place + 1)}.png", column: text} for place, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


SIGNS = ['a sign "Open late"', 'a door "Open late"', 'a wall "Hi"', "a cat"]


def by_name(report: ItemReport) -> dict[str, MetricResult]:
    return {result.metric: result for result in report.results}


def test_error_rates_are_edits_per_unit() -> None:
    assert character_error_rate("kitten", "sitting") == pytest.approx(3 / 7)
    assert character_error_rate("", "abc") == 1
    assert character_error_rate("abcdef", "ab") == 2
    assert word_error_rate("the cat sat", "the cat sat down") == pytest.approx(1 / 4)
    assert word_error_rate("a b c", "x") == 3
    with pytest.raises(InputError, match="no text is wanted"):
        word_error_rate("x", "  ")


def test_pictures_with_words(pictures: Path, tmp_path: Path) -> None:
    reader = engine()
    report = check_text(pictures, prompts(tmp_path / "p.jsonl", SIGNS), reader=reader).report()
    found = by_name(report)
    assert [row["cer"] for row in report.items] == [0, pytest.approx(1 / 9), 1, None]
    assert [row["wer"] for row in report.items] == [0, 0.5, 1, None]
    assert [row["text_exact"] for row in report.items] == [1, 0, 0, None]
    assert report.items[1] == {
        "name": "20.png",
        "wanted": "Open late",
        "read": "Open lats",
        "cer": pytest.approx(1 / 9),
        "wer": 0.5,
        "text_exact": 0.0,
        "missing": "",
    }
    assert reader.asked == 3  # not of the cat
    assert found["cer"].n_generated == 3
    assert found["cer"].details["missing"] == {"asked for no text": 1}
    assert found["cer"].signature.startswith("cer|reader:fake-1|rule:case|texts:")
    assert found["text_exact"].higher_is_better
    assert not found["cer"].higher_is_better


def test_the_rule_is_set_and_stored(pictures: Path, tmp_path: Path) -> None:
    file = prompts(tmp_path / "p.jsonl", SIGNS)
    strict = check_text(
        pictures, file, metrics=["cer"], reader=engine(), settings={"cer": {"rule": "spacing"}}
    ).report()
    assert strict.items[0]["cer"] == pytest.approx(3 / 9)
    assert "rule:spacing" in strict.results[0].signature
    with pytest.raises(UsageError, match="takes out the spaces that part words"):
        check_text(pictures, file, metrics=["wer"], settings={"wer": {"rule": "letters"}}).report()
    with pytest.raises(UsageError, match=r"cer\.rule=loud: use case or spacing or letters"):
        check_text(pictures, file, metrics=["cer"], settings={"cer": {"rule": "loud"}}).report()


def test_compatibility_forms_do_not_count(pictures: Path, tmp_path: Path) -> None:
    reader = Engine({10: "ＯＰＥＮ ﬁne", 20: "x", 30: "x", 40: "x"})
    file = prompts(tmp_path / "p.jsonl", ["open FINE", "x", "x", "x"], "text")
    assert by_name(check_text(pictures, file, reader=reader).report())["text_exact"].value == 1


def test_the_column_text_goes_before_quotes(pictures: Path, tmp_path: Path) -> None:
    file = prompts(tmp_path / "p.jsonl", ["OPEN LATE", "Open lats", "Hi", "anything"], "text")
    report = check_text(pictures, file, reader=engine()).report()
    assert [row["text_exact"] for row in report.items] == [1, 1, 0, 1]


def test_what_does_not_fit_is_named(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prompt puts text in quotes"):
        check_text(pictures, prompts(tmp_path / "p.jsonl", ["a", "b", "c", "d"]), reader=engine()).report()
    with pytest.raises(InputError, match=r"1 of 4 pictures of .* have no prompt there, first 40\.png"):
        check_text(pictures, prompts(tmp_path / "p.jsonl", SIGNS[:3]), reader=engine()).report()
    broken = Engine({10: "(broken)", 20: "", 30: "", 40: ""})
    with pytest.raises(InputError, match=r"10\.png: the engine broke"):
        check_text(pictures, prompts(tmp_path / "p.jsonl", SIGNS), reader=broken).report()
    with pytest.raises(PluginError, match="no reader is called 'tesserakt'; did you mean 'tesseract'"):
        open_reader("tesserakt")


def test_unreadable_pictures_are_left_out(pictures: Path, tmp_path: Path) -> None:
    (pictures / "20.png").write_bytes(b"nothing")
    report = check_text(
        pictures, prompts(tmp_path / "p.jsonl", SIGNS), metrics=["cer"], reader=engine(), on_error="skip"
    ).report()
    assert [row["name"] for row in report.items] == ["10.png", "30.png", "40.png"]
    assert any("20.png" in line for line in report.warnings)


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed")
def test_tesseract_reads_what_is_there_and_not_what_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    font = ImageFont.load_default(size=44)
    for name, text in (("right.png", "Open late"), ("wrong.png", "Closed now"), ("blank.png", "")):
        picture = Image.new("RGB", (420, 120), "white")
        ImageDraw.Draw(picture).text((30, 30), text, fill="black", font=font)
        picture.save(folder / name)
    file = tmp_path / "p.csv"
    file.write_text(
        'file,prompt\nright.png,"a ""Open late"" sign"\nwrong.png,"a ""Open late"" sign"\nblank.png,"""Open late"""\n'
    )
    report = check_text(folder, file).report()
    found = {row["name"]: row for row in report.items}
    assert found["right.png"]["cer"] == 0
    assert found["right.png"]["text_exact"] == 1
    assert found["wrong.png"]["cer"] > 0.5
    assert found["blank.png"]["cer"] == 1
    assert "reader:tesseract-" in report.results[0].signature
    assert report.results[0].standard_error is None  # one text, however many pictures of it
