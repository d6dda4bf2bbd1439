"""The text in pictures: what reads it, how two texts are made alike before comparison, and how far apart they are.

Text is read by any engine with `name` and `read(path)`; Tesseract is one, where it is installed. What is done to both
texts before they are compared is a named rule, which a result states. Errors per character or word are edits
(Levenshtein 1966) over what was wanted; they may exceed 1.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from paragone.data.errors import InputError, PluginError, UsageError
from paragone.data.registry import Registry

TIMEOUT_S = 60.0
QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”|«([^»]+)»|「([^」]+)」')


class TextReader(Protocol):
    """An engine that reads the text in a picture."""

    @property
    def name(self) -> str:
        """The engine with its version and language."""
        ...

    def read(self, path: Path, /) -> str:
        """All text in the picture, in reading order; "" where there is none."""
        ...


READERS = Registry("readers", {"tesseract": "paragone.data.ocr:Tesseract"})


def quoted_text(prompt: str) -> str:
    """The quoted parts of a prompt, joined by spaces; "" where nothing is quoted."""
    return " ".join(next(filter(None, groups)) for groups in QUOTED.findall(prompt))


def character_error_rate(read: str, wanted: str) -> float:
    """Levenshtein distance per character of `wanted`, 0 and up; raises `InputError` when nothing is wanted."""
    if not wanted:
        raise InputError("character error rate: no text is wanted, so there is nothing to divide by")
    return _edits(read, wanted) / len(wanted)


def word_error_rate(read: str, wanted: str) -> float:
    """The same in words, which are what white space parts."""
    words = wanted.split()
    if not words:
        raise InputError("word error rate: no text is wanted, so there is nothing to divide by")
    return _edits(read.split(), words) / len(words)


def _edits(a: Sequence[str], b: Sequence[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def _spaced(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _folded(text: str) -> str:
    return _spaced(unicodedata.normalize("NFKC", text).casefold())


def _letters(text: str) -> str:
    return "".join(character for character in _folded(text) if character.isalnum())


RULES: Mapping[str, Callable[[str], str]] = {
    "spacing": _spaced,  # runs of white space are one space
    "case": _folded,  # and case and compatibility forms do not count
    "letters": _letters,  # and nothing but letters and digits counts
}


class Tesseract:
    """The system's Tesseract, run once a picture. Raises `UsageError` where the program is not on the PATH."""

    def __init__(self, *, program: str = "tesseract", language: str = "eng", page_segmentation: int = 11) -> None:
        found = shutil.which(program)
        if found is None:
            raise UsageError(f"{program} is not on the PATH: install Tesseract, or give another reader of text")
        self._program, self._language, self._segmentation = found, language, page_segmentation
        version = self._run(["--version"]).splitlines() or ["tesseract"]
        self.name = f"{version[0].strip()} {language} psm{page_segmentation}".replace(" ", "-")

    def read(self, path: Path, /) -> str:
        """All text in the picture; raises `InputError` that names the file when Tesseract fails on it."""
        try:
            return self._run([str(path.resolve()), "-", "-l", self._language, "--psm", str(self._segmentation)])
        except PluginError as error:
            raise InputError(f"{path}: {error}") from error

    def _run(self, arguments: list[str]) -> str:
        try:
            done = subprocess.run(
                [self._program, *arguments],
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PluginError(f"{self._program}: {error}") from error
        if done.returncode != 0:
            last = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
            raise PluginError(f"{self._program}: {last[-1]}")
        return done.stdout.decode(errors="replace")
