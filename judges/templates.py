"""Templates: what a judge is asked, as Markdown files with a version and a digest, readable without the code.

A template has a heading `# name-version` and these sections: `## system`, `## question`, one `## rubric TASK` for each
task it can judge (lines `- criterion: question`), and `## contract`, where `{schema}` stands for the JSON schema in
words. A verdict records the digest, so that verdicts of two templates are never taken for one judge's.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from paragone.data.errors import UsageError
from paragone.data.records import Task

Protocol = Literal["pairwise", "pointwise", "yes-no"]
PROTOCOLS: tuple[Protocol, ...] = ("pairwise", "pointwise", "yes-no")
FOLDER = Path(__file__).parent / "templates"
_CRITERION = re.compile(r"^- ([a-z][a-z0-9_]*): (\S.*)$", re.MULTILINE)
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9-]*-\d+")


@dataclass(frozen=True, slots=True)
class Rubric:
    """What to look at for one task: criterion id → question, in order."""

    text: str
    criteria: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """One version of the words of a protocol."""

    name: str  # e.g. pairwise-1
    sha256: str
    system: str
    question: str
    contract: str
    rubrics: dict[Task, Rubric]

    def rubric(self, task: Task) -> Rubric:
        """The rubric for a task; raises `UsageError` when the template has none."""
        try:
            return self.rubrics[task]
        except KeyError:
            raise UsageError(f"template {self.name}: no section '## rubric {task}'; add it or use another") from None


def load_template(protocol: str, path: Path | str | None = None) -> Template:
    """The newest built-in template of a protocol, or the one in the file `path`; raises `UsageError`."""
    if protocol not in PROTOCOLS:
        raise UsageError(f"protocol {protocol!r}: use one of {', '.join(PROTOCOLS)}")
    return _built_in(protocol) if path is None else _read(Path(path))


@cache
def _built_in(protocol: str) -> Template:
    versions = sorted(FOLDER.glob(f"{protocol}-*.md"), key=lambda path: int(path.stem.rpartition("-")[2]))
    return _read(versions[-1])


def _read(path: Path) -> Template:
    try:
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"template {path}: cannot be read ({error})") from error
    return parse_template(text, str(path))


def parse_template(text: str, origin: str) -> Template:
    """A template from its Markdown; raises `UsageError` naming what is missing."""
    heading = text.partition("\n")[0].removeprefix("# ").strip()
    if not _NAME.fullmatch(heading):
        raise UsageError(f"template {origin}: the first line should be '# name-version' (e.g. '# pairwise-2')")
    pieces = _SECTION.split(text)[1:]
    sections = {name.strip().lower(): body.strip() for name, body in zip(pieces[::2], pieces[1::2], strict=True)}
    for wanted in ("system", "question", "contract"):
        if not sections.get(wanted):
            raise UsageError(f"template {origin}: no section '## {wanted}'")
    rubrics = {Task(task): _rubric(sections[f"rubric {task}"], origin) for task in Task if f"rubric {task}" in sections}
    if not rubrics:
        raise UsageError(f"template {origin}: no section '## rubric {Task.TEXT_TO_IMAGE}'")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Template(heading, digest, sections["system"], sections["question"], sections["contract"], rubrics)


def _rubric(body: str, origin: str) -> Rubric:
    criteria = tuple(name for name, _ in _CRITERION.findall(body))
    if not criteria or len(set(criteria)) != len(criteria):
        raise UsageError(f"template {origin}: a rubric needs lines '- criterion: question', each criterion once")
    return Rubric(body, criteria)
