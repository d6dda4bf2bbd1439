"""What was measured of a clip, frame by frame, as a small JSON file: written by whoever measures, read by the pages.

In a project folder it lies at `measures/clips/SHA256.json`, named after the bytes of the clip's file, so that it never
outlives another version of the clip.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paragone.data.errors import InputError
from paragone.data.files import write_atomically

SCHEMA = "paragone.clip-frames/1"
FROZEN_SHARE = 0.9  # of steps that repeat a frame, from which on a clip stands still
Numbers = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class ClipFrames:
    """Values of a clip of T frames. A series has T values, or T - 1, one for each step from a frame to the next."""

    times_s: tuple[float, ...]  # [T]
    series: Mapping[str, Numbers]  # None where nothing can be said
    marks: Mapping[str, tuple[bool, ...]]  # [T - 1]: steps at which something is the case
    loop_s: float | None = None  # after so long the clip begins again

    @property
    def stands_still(self) -> bool:
        """Whether nearly every frame repeats the one before, so far as that is known."""
        repeats = self.marks.get("repeats", ())
        return bool(repeats) and sum(repeats) >= FROZEN_SHARE * len(repeats)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        document = {
            "schema": SCHEMA,
            "times_s": self.times_s,
            "series": dict(self.series),
            "marks": dict(self.marks),
            "loop_s": self.loop_s,
        }
        write_atomically(path, json.dumps(document, allow_nan=False).encode())


def clip_frames_file(project: Path, sha256: str) -> Path:
    """Where the values of the clip with these bytes lie."""
    return project / "measures" / "clips" / f"{sha256}.json"


def load_clip_frames(path: Path) -> ClipFrames | None:
    """What was saved at `path`; None where there is no file. Raises `InputError` for one that is damaged."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it and measure again") from error
    try:
        if document["schema"] != SCHEMA:
            raise ValueError(f"its schema is {document['schema']!r}")
        times = tuple(map(float, document["times_s"]))
        series = {str(name): _numbers(values, len(times)) for name, values in document["series"].items()}
        marks = {str(name): tuple(map(bool, values)) for name, values in document["marks"].items()}
        loop = document["loop_s"]
        return ClipFrames(times, series, marks, None if loop is None else float(loop))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not {SCHEMA} ({error}); delete it and measure again") from error


def _numbers(values: Sequence[Any], n: int) -> Numbers:
    if len(values) not in (n, n - 1):
        raise ValueError(f"{len(values)} values of {n} frames")
    return tuple(None if value is None else float(value) for value in values)
