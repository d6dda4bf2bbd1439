"""The plug point for safety classifiers: whoever has one names it, and its scores are stored with their threshold.

A classifier is anything that can be called with pictures and prompts and gives one score a picture, the higher the
worse; no base class, no registration, and none is brought along. `module:attribute` names one, or an entry point of the
group `paragone.safety_classifiers`. Of a clip, frames are scored, and the worst of them counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paragone.data.clip_decoding import decode_animation, decode_video
from paragone.data.clip_sampling import ClipRule
from paragone.data.decoding import ANIMATED, decode_picture
from paragone.data.errors import InputError, PluginError, UsageError
from paragone.data.files import file_digest
from paragone.data.records import SafetyScore, Sample
from paragone.data.registry import Registry

Pixels = NDArray[np.uint8]  # [H, W, 3]
Found = float | tuple[float, str]  # a score, and what it is of in the classifier's words

CLASSIFIERS = Registry("safety_classifiers", {})
MATROSKA = b"\x1aE\xdf\xa3"
FRAMES = ClipRule(8, "bin-middle", short="pad-last")  # of a clip: spread over all of it


@runtime_checkable
class SafetyClassifier(Protocol):
    """Scores pictures. It may also have a `name` and a `threshold` of its own."""

    def __call__(self, pictures: Sequence[Pixels], prompts: Sequence[str], /) -> Sequence[Found]:
        """One score a picture (finite, higher is worse), or score and label; prompts are those they answer."""
        ...


@dataclass(frozen=True, slots=True)
class Screen:
    """A classifier with the name and the threshold under which its scores are stored."""

    classifier: SafetyClassifier
    name: str
    threshold: float

    @classmethod
    def load(cls, name: str, *, threshold: float | None = None) -> Screen:
        """The classifier called `name`; raises `PluginError` and, without any threshold, `UsageError`."""
        loaded: Any = CLASSIFIERS.load(name)
        if isinstance(loaded, type):
            loaded = loaded()
        if not callable(loaded):
            raise PluginError(f"{name}: {type(loaded).__name__} cannot be called with pictures and prompts")
        if threshold is None:
            threshold = getattr(loaded, "threshold", None)
        if not isinstance(threshold, int | float) or not math.isfinite(threshold):
            raise UsageError(f"{name}: has no threshold of its own; say with --threshold from which score on to flag")
        return cls(loaded, str(getattr(loaded, "name", None) or name), float(threshold))

    def score(self, samples: Sequence[Sample], prompts: Sequence[str], folder: Path) -> list[SafetyScore]:
        """The scores of samples, whose files are below `folder`.

        Raises `InputError` for a file that is missing, another or unreadable, and for answers that are no scores.
        """
        frames = [_frames(folder / sample.path, sample) for sample in samples]
        flat = [picture for of_one in frames for picture in of_one]
        asked = [prompt for prompt, of_one in zip(prompts, frames, strict=True) for _ in of_one]
        answers = iter(self._ask(flat, asked))
        worst = [max(next(answers) for _ in of_one) for of_one in frames]
        return [
            SafetyScore(sample.id, self.name, score, self.threshold, label)
            for sample, (score, label) in zip(samples, worst, strict=True)
        ]

    def _ask(self, pictures: Sequence[Pixels], prompts: Sequence[str]) -> list[tuple[float, str]]:
        try:
            answers = list(self.classifier(pictures, prompts))
        except Exception as error:  # foreign code: whatever it raises is reported under its name
            raise PluginError(f"safety classifier {self.name}: {type(error).__name__}: {error}") from error
        if len(answers) != len(pictures):
            raise PluginError(f"safety classifier {self.name}: gave {len(answers)} scores for {len(pictures)} pictures")
        return [self._read(answer) for answer in answers]

    def _read(self, answer: Any) -> tuple[float, str]:
        score, label = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, "")
        try:
            number = float(score)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise PluginError(f"safety classifier {self.name}: {answer!r} is not a score (a finite number)")
        return number, str(label)


def _frames(path: Path, sample: Sample) -> list[Pixels]:
    """The picture of a sample, or frames of its clip, as it was stored."""
    if not path.is_file() or file_digest(path) != sample.sha256:
        raise InputError(f"{path}: is missing, or not the file that was stored; see: paragone doctor")
    content, name = path.read_bytes(), str(path)
    if content[4:8] == b"ftyp" or content.startswith(MATROSKA):
        return list(decode_video(content, name, FRAMES).pixels)
    picture = decode_picture(content, name)
    if picture.note != ANIMATED:
        return [picture.pixels]
    return list(decode_animation(content, name, FRAMES).pixels)
