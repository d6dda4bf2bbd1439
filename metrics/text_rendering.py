"""Does a picture show the words it was asked for? Error rates per character and word, and exact matches, by OCR.

What is wanted stands in the column `text` of the file of prompts, or is what each prompt puts in quotes. Numbers hold
for one engine and one rule of comparison only, so both stand in the signature.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paragone.data.decoding import Decoded
from paragone.data.errors import InputError, UsageError
from paragone.data.generators.runner import encode_png
from paragone.data.images import ImageSource, OnError, read_images
from paragone.data.ocr import READERS, RULES, TextReader, character_error_rate, quoted_text, word_error_rate
from paragone.data.progress import Progress, silent
from paragone.data.table_files import SUFFIXES, read_text, rows_of
from paragone.metrics.captions import captions_of
from paragone.metrics.item_measures import ItemMeasure, ItemReport, Measured, Missing, Value, report_items
from paragone.metrics.settings import TextSettings, Values, checked

WANTED = "text"  # the column of what is to be read
SETTINGS = TextSettings()
NO_TEXT = Missing("asked for no text")


@dataclass(frozen=True, slots=True)
class TextMetric(ItemMeasure):
    """One row: `measure(read, wanted)`, both after the rule."""

    measure: Callable[[str, str], float] = character_error_rate


def exact_match(read: str, wanted: str) -> float:
    """1 when the two are equal."""
    return float(read == wanted)


_TABLE = (
    TextMetric("cer", "Character error rate", False, measure=character_error_rate),
    TextMetric("wer", "Word error rate", False, measure=word_error_rate),
    TextMetric("text_exact", "Pictures whose text is right", True, share=True, measure=exact_match),
)
TEXT_METRICS: dict[str, TextMetric] = {row.name: row for row in _TABLE}


def open_reader(name: str) -> TextReader:
    """The reader called `name`, or made by the function at `module:attribute`; raises `PluginError`, `UsageError`."""
    reader: TextReader = READERS.load(name)()
    return reader


@dataclass(frozen=True, slots=True, eq=False)
class TextRequest:
    """A checked request: rows with the rule of each, the pictures, what each was asked to show, and what reads it."""

    rules: Mapping[str, str]  # row → rule
    source: ImageSource
    wanted: Sequence[str]
    reader: TextReader

    def report(self, progress: Progress = silent) -> ItemReport:
        """Read the pictures. The standard error is that of texts drawn at random, each with all its pictures."""
        source, wanted = self.source, self.wanted
        read = _read(source, self.reader, [bool(text) for text in wanted], progress)
        kept = [index for index, text in enumerate(read) if text is not None]
        if not kept:
            raise InputError(f"{source.origin}: none of its {len(source)} pictures could be read")
        digest = hashlib.sha256(json.dumps(sorted(set(wanted))).encode()).hexdigest()[:12]
        measured = []
        for name, rule in self.rules.items():
            row = TEXT_METRICS[name]
            values = [_value(row, str(read[index]), wanted[index], rule) for index in kept]
            signature = (f"reader:{self.reader.name}", f"rule:{rule}", f"texts:{digest}")
            measured.append(Measured(row, values, signature, {"reader": self.reader.name, "rule": rule}))
        report = report_items(
            measured,
            [source.name(index) for index in kept],
            what="pictures",
            groups=[wanted[index] for index in kept],
            columns=[{"wanted": wanted[index], "read": str(read[index]).strip()} for index in kept],
        )
        return ItemReport(report.results, (*source.warnings, *report.warnings), report.items)


def check_text(
    pictures: str | os.PathLike[str] | ImageSource,
    prompts: str | os.PathLike[str],
    *,
    metrics: Sequence[str] = tuple(TEXT_METRICS),
    reader: str | TextReader = "tesseract",
    settings: Values | None = None,
    on_error: OnError = "raise",
) -> TextRequest:
    """All that can be wrong with a request for error rates of text, before a picture is read.

    `prompts`: a file as for clip_score, with the column `text` or with prompts that quote it. Raises `InputError` for a
    picture without a prompt, and when no prompt asks for text.
    """
    rows = [_row(name) for name in dict.fromkeys(metrics)]
    rules = {row.name: _rule(row, (settings or {}).get(row.name, {})) for row in rows}
    source = read_images(pictures, on_error=on_error)
    wanted = _wanted(prompts, source)
    return TextRequest(rules, source, wanted, open_reader(reader) if isinstance(reader, str) else reader)


def _row(name: str) -> TextMetric:
    if name not in TEXT_METRICS:
        raise UsageError(f"no measure of text is called {name!r}; there are {', '.join(TEXT_METRICS)}")
    return TEXT_METRICS[name]


def _rule(row: TextMetric, values: Mapping[str, object]) -> str:
    settings = checked(row.name, SETTINGS, values)
    assert isinstance(settings, TextSettings)
    if row.name == "wer" and settings.rule == "letters":
        raise UsageError("wer.rule=letters: this rule takes out the spaces that part words; use case or spacing")
    return settings.rule


def _wanted(prompts: str | os.PathLike[str], source: ImageSource) -> list[str]:
    """What each picture was asked to show; "" where it was asked for no text."""
    file = Path(prompts)
    if file.suffix.lower() in SUFFIXES:
        rows = rows_of(file, read_text(file, what="prompts"), what="prompts")
        if rows and WANTED in rows[0][1]:
            return list(captions_of(file, source, column=WANTED))
    wanted = [quoted_text(caption) for caption in captions_of(file, source)]
    if not any(wanted):
        raise InputError(f"{file}: no prompt puts text in quotes; quote what is to be read, or add a column {WANTED}")
    return wanted


def _read(source: ImageSource, engine: TextReader, needed: Sequence[bool], progress: Progress) -> list[str | None]:
    """The text of each picture, "" where none is needed, None where the picture could not be read."""
    found: list[str | None] = []
    with tempfile.TemporaryDirectory(prefix="paragone-") as folder:
        path = Path(folder) / "picture.png"
        for index, wants_text in enumerate(needed):
            decoded = source.read(index)
            if not source.record(index, decoded) or not isinstance(decoded, Decoded):
                found.append(None)
            elif not wants_text:
                found.append("")
            else:
                path.write_bytes(encode_png(decoded.pixels))
                try:
                    found.append(engine.read(path))
                except InputError as error:
                    raise InputError(f"{source.origin}: {source.name(index)}: {error}") from error
            progress("text in pictures", index + 1, len(needed))
    return found


def _value(row: TextMetric, read: str, wanted: str, rule: str) -> Value:
    after = RULES[rule](wanted)
    return row.measure(RULES[rule](read), after) if after else NO_TEXT
