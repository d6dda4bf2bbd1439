"""A judge that is a function: for tests, for rehearsals without a model, and for judges of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paragone.data.records import Prompt, Verdict, Winner

Decide = Callable[[Prompt, Path, Path], Winner | Verdict]


class ScriptedJudge:
    """Asks `decide(prompt, a, b)` for each battle, with the picture that is shown first as `a`.

    `decide` gives a `Winner`, or a whole `Verdict` where a status, scores or a reason matter. `n_calls` counts the
    questions.
    """

    def __init__(self, decide: Decide, *, name: str = "scripted") -> None:
        self.name = name
        self.n_calls = 0
        self._decide = decide

    def compare(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        """What the function says."""
        self.n_calls += 1
        said = self._decide(prompt, a, b)
        return Verdict(said, judge=self.name) if isinstance(said, Winner) else said
