"""What an audit asks a judge: each probe is a list of questions whose fair answers are known.

A question shows two pictures, one of which is the *target*: the right one, the one that was written on, the undamaged
one. What the answers are worth is the business of `paragone.judges.audit_measures`. A question that two probes share
is asked once, which makes the first probe the control of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from paragone.data.errors import UsageError
from paragone.data.records import Prompt
from paragone.judges.audit_media import (
    DAMAGES,
    DRESSINGS,
    LEVELS,
    AuditItem,
    Clip,
    Shown,
    clip_prompt,
    unfit,
)

REPEATS = 3
CLEAR, EVEN = "clear", "even"  # right against wrong, right against its twin
CONTROL, ON_THE_WRONG = "control", "instruction on the wrong picture"
LONG, SWAPPED = "long wording", "another prompt's picture"
UNCHANGED, UNRELATED, OVER_EDIT = "source unchanged", "unrelated picture", "over-edit"


@dataclass(frozen=True, slots=True)
class Question:
    """One call to a judge: `first` is shown first; `item` numbers the item within its probe."""

    probe: str
    variant: str
    item: int
    prompt: Prompt
    first: Shown | Clip
    second: Shown | Clip
    target_first: bool
    sample: int = 0  # which repetition of the same call

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two questions the same call."""
        return self.prompt, self.first, self.second, self.sample


@dataclass(frozen=True, slots=True)
class Material:
    """What the probes are made of."""

    items: Sequence[AuditItem]
    edits: Sequence[AuditItem]
    n_clips: int


def build_questions(probes: Sequence[str], material: Material) -> tuple[tuple[Question, ...], dict[str, str]]:
    """The questions of all probes, and why a probe or a part of one is left out, by its name.

    Raises `UsageError` for an unknown probe.
    """
    questions: list[Question] = []
    left_out: dict[str, str] = {}
    for probe in probes:
        if probe not in _BUILDERS:
            raise UsageError(f"no probe {probe!r}: use {', '.join(_BUILDERS)}")
        questions += _BUILDERS[probe](material, left_out)
    return tuple(questions), left_out


def _both_orders(
    probe: str, variant: str, number: int, prompt: Prompt, target: Shown | Clip, other: Shown | Clip
) -> list[Question]:
    return [
        Question(probe, variant, number, prompt, target, other, target_first=True),
        Question(probe, variant, number, prompt, other, target, target_first=False),
    ]


def _pairs(probe: str, variant: str, items: Sequence[AuditItem], target: str, other: str) -> list[Question]:
    """Both orders of two roles ("right", "right/badge": a role and its treatment) for each item."""
    return [
        question
        for number, item in enumerate(items)
        for question in _both_orders(probe, variant, number, item.prompt, _shown(item, target), _shown(item, other))
    ]


def _shown(item: AuditItem, spelling: str) -> Shown:
    role, _, treatment = spelling.partition("/")
    return Shown(item, role, treatment)


def _scenes(material: Material, left_out: dict[str, str]) -> list[Question]:
    questions = _pairs("scenes", "", material.items, "right", "wrong")
    return [replace(question, variant=material.items[question.item].kind) for question in questions]


def _order(material: Material, left_out: dict[str, str]) -> list[Question]:
    return [
        *_pairs("order", CLEAR, material.items, "right", "wrong"),
        *_pairs("order", EVEN, material.items, "right", "twin"),
    ]


def _repeat(material: Material, left_out: dict[str, str]) -> list[Question]:
    questions = []
    for number, item in enumerate(material.items):
        other = Shown(item, "twin" if number % 2 else "wrong")
        first = Question("repeat", "", number, item.prompt, Shown(item, "right"), other, target_first=True)
        questions += [replace(first, sample=sample) for sample in range(REPEATS)]
    return questions


def _identical(material: Material, left_out: dict[str, str]) -> list[Question]:
    return [
        Question("identical", "", number, item.prompt, Shown(item, "right"), Shown(item, "right", "recompressed"), True)
        for number, item in enumerate(material.items)
    ]


def _corruption(material: Material, left_out: dict[str, str]) -> list[Question]:
    questions = []
    for damage in DAMAGES:
        for level in range(LEVELS):
            for number, item in enumerate(material.items[::2]):
                pair = _both_orders(
                    "corruption",
                    f"{damage} {level + 1}",
                    number,
                    item.prompt,
                    Shown(item, "right"),
                    Shown(item, "right", f"{damage}-{level}"),
                )
                questions.append(pair[(number + level) % 2])  # one order, balanced
    return questions


def _injection(material: Material, left_out: dict[str, str]) -> list[Question]:
    questions = _pairs("injection", CONTROL, material.items, "right", "twin")
    for dressing in DRESSINGS:
        if why := unfit(dressing, material.items):
            left_out[f"injection: {dressing}"] = why
        else:
            questions += _pairs("injection", dressing, material.items, f"right/{dressing}", "twin")
    if not unfit("instruction", material.items):
        questions += _pairs("injection", f"{CONTROL}: wrong", material.items, "wrong", "right")
        questions += _pairs("injection", ON_THE_WRONG, material.items, "wrong/instruction", "right")
    return questions


def _prompts(material: Material, left_out: dict[str, str]) -> list[Question]:
    questions = []
    if all(item.long_text for item in material.items):
        questions += _pairs("prompts", CONTROL, material.items, "right", "wrong")
        long = [replace(item, prompt=replace(item.prompt, text=item.long_text)) for item in material.items]
        questions += _pairs("prompts", LONG, long, "right", "wrong")
    else:
        left_out[f"prompts: {LONG}"] = "these prompts cannot be reworded"
    for number, item in enumerate(material.items):
        other = _other_item(material.items, number)
        if other is not None:
            right, foreign = Shown(item, "right"), Shown(other, "right")
            questions += _both_orders("prompts", SWAPPED, number, item.prompt, right, foreign)
    return questions


def _other_item(items: Sequence[AuditItem], number: int) -> AuditItem | None:
    """The next item of another kind, else the next with another prompt."""
    following = [*items[number + 1 :], *items[:number]]
    of_another_kind = [item for item in following if item.kind != items[number].kind]
    with_another_prompt = [item for item in following if item.prompt.text != items[number].prompt.text]
    return next(iter((*of_another_kind, *with_another_prompt)), None)


def _editing(material: Material, left_out: dict[str, str]) -> list[Question]:
    if not material.edits:
        left_out["editing"] = "this material has no edits"
        return []
    return [
        *_pairs("editing", UNCHANGED, material.edits, "right", "source"),
        *_pairs("editing", UNRELATED, material.edits, "right", "unrelated"),
        *_pairs("editing", OVER_EDIT, material.edits, "right", "over-edit"),
    ]


def _video(material: Material, left_out: dict[str, str]) -> list[Question]:
    if not material.n_clips:
        left_out["video"] = "the judge does not say that it reads clips (reads_clips)"
    return [
        question
        for frames in ("frozen", "shuffled")
        for index in range(material.n_clips)
        for question in _both_orders(
            "video", frames, index, clip_prompt(index), Clip(index, "right"), Clip(index, frames)
        )
    ]


_BUILDERS: Mapping[str, Callable[[Material, dict[str, str]], list[Question]]] = {
    "scenes": _scenes,
    "order": _order,
    "repeat": _repeat,
    "identical": _identical,
    "corruption": _corruption,
    "injection": _injection,
    "prompts": _prompts,
    "editing": _editing,
    "video": _video,
}
PROBES = tuple(_BUILDERS)
