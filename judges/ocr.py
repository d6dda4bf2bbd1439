"""Text accuracy: does a picture show the words that its prompt puts in quotes?

The score is 1 - CER, the character error rate, at least 0, as a reader of `paragone.data.ocr` reads the picture. The
rule by which texts are compared is part of the judge's name.
"""

from __future__ import annotations

from pathlib import Path

from paragone.data.errors import InputError, UsageError
from paragone.data.ocr import RULES, Tesseract, TextReader, character_error_rate, quoted_text
from paragone.data.records import Prompt, Status, Verdict
from paragone.judges.scorers import ScoreJudge, one_by_one


class TextJudge:
    """The picture whose text is nearer to what the prompt quotes wins; nothing legible in either is both bad.

    A prompt that quotes nothing gets no verdict but the status `invalid`, a picture that the engine fails on `error`.
    """

    def __init__(self, reader: TextReader, *, rule: str = "case", margin: float = 0.0, floor: float = 0.25) -> None:
        if rule not in RULES:
            raise UsageError(f"no rule {rule!r} for comparing texts: use {', '.join(RULES)}")
        self.name = f"text-1 {reader.name} {rule}".replace(" ", "-")
        self._reader, self._rule = reader, RULES[rule]
        self._judge = ScoreJudge(one_by_one(self.accuracy), name=self.name, margin=margin, floor=floor)

    def accuracy(self, prompt: Prompt, path: Path) -> float:
        """1 − CER of the text in a picture, in 0..1; raises `InputError` when the prompt quotes nothing."""
        wanted = self._rule(quoted_text(prompt.text))
        return 1.0 - min(character_error_rate(self._rule(self._reader.read(path)), wanted), 1.0)

    def compare(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        """The picture with the more accurate text."""
        if not self._rule(quoted_text(prompt.text)):
            return Verdict(None, Status.INVALID, "the prompt puts no text in quotes", judge=self.name)
        try:
            return self._judge.compare(prompt, a, b)
        except InputError as error:
            return Verdict(None, Status.ERROR, str(error), judge=self.name)


def tesseract_judge() -> TextJudge:
    """Text accuracy as Tesseract reads it."""
    return TextJudge(Tesseract())
