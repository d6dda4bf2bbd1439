"""Auditing a judge before its votes count: is it fair to places, steady, and about the pictures?

Peers that publish judge scores measure none of this. The battery follows what is known of MLLM judges: position bias
(Zheng et al. 2023, arXiv:2306.05685), blindness to damage and to composition, and scores that rise with instructions
written on the picture (FRAME, 2025, arXiv:2505.15249). The questions and pictures depend on the seed alone, so an
interrupted audit of a judge with a cache goes on where it stopped, and their number is known before the first call.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol, runtime_checkable

from paragone import __version__
from paragone.data.errors import InputError, UsageError
from paragone.data.progress import Progress, silent
from paragone.data.records import Prompt, Task, Verdict
from paragone.judges.audit_measures import Answer, measure_answers
from paragone.judges.audit_media import AuditItem, Media, Shown, edit_items, scene_items
from paragone.judges.audit_probes import PROBES, Material, Question, build_questions
from paragone.judges.base import Judge, PreparingJudge
from paragone.judges.judge_card import JudgeCard

N_ITEMS = 20
CACHED_REPEATS = "repetitions of a judge without with_sample may be answered from a cache: self-consistency may flatter"


@runtime_checkable
class ManyJudge(Judge, Protocol):
    """A judge that answers many questions faster than one after the other."""

    def compare_many(self, questions: Sequence[tuple[Prompt, Path, Path]], /) -> Iterator[Verdict]:
        """The verdicts in the order of the questions."""
        ...


@runtime_checkable
class SamplingJudge(Judge, Protocol):
    """A judge that can be asked the same thing again without a cache giving the old answer."""

    def with_sample(self, index: int, /) -> Judge:
        """The judge whose calls are repetition `index` of the same call; 0 is itself."""
        ...


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """What an audit will ask, before it asks."""

    questions: tuple[Question, ...]
    left_out: dict[str, str]
    n_items: int
    material: str
    seed: int

    @property
    def n_calls(self) -> int:
        """Calls to the judge; a question that two probes share is asked once."""
        return len({question.key for question in self.questions})

    @property
    def calls_by_probe(self) -> dict[str, int]:
        """Calls by the first probe that asks them; they add up to `n_calls`."""
        first = {question.key: question.probe for question in reversed(self.questions)}
        counts = Counter(first.values())
        return {probe: counts[probe] for probe in PROBES if probe in counts}


def plan_audit(
    *,
    items: Sequence[AuditItem] | None = None,
    probes: Sequence[str] = PROBES,
    n: int = N_ITEMS,
    seed: int = 0,
    reads_clips: bool = False,
) -> AuditPlan:
    """The questions of an audit.

    Args:
        items: pictures of one's own (`digit_items`, or any); verifiable scenes by default.
        probes: names in `PROBES`.
        n: items; with `items` as many as those.
        seed: of scenes and edits.
        reads_clips: whether to ask about video.

    Raises `UsageError` for an unknown probe, no probe at all or fewer than 2 items.
    """
    if not probes:
        raise UsageError(f"an audit without probes measures nothing: use some of {', '.join(PROBES)}")
    if n < 2 or (items is not None and len(items) < 2):
        raise UsageError("an audit needs at least 2 items")
    scenes = items is None
    chosen = tuple(items) if items is not None else scene_items(n, seed=seed)
    edits = edit_items(len(chosen), seed=seed) if scenes and "editing" in probes else ()
    material = Material(chosen, edits, n_clips=len(chosen) // 2 if reads_clips else 0)
    questions, left_out = build_questions(tuple(dict.fromkeys(probes)), material)
    if not questions:
        raise UsageError(f"nothing to ask: {'; '.join(f'{name}: {why}' for name, why in left_out.items())}")
    kind = "scenes" if scenes else ", ".join(dict.fromkeys(item.kind for item in chosen))
    return AuditPlan(questions, left_out, len(chosen), kind, seed)


def audit_judge(
    judge: Judge,
    *,
    items: Sequence[AuditItem] | None = None,
    probes: Sequence[str] = PROBES,
    n: int = N_ITEMS,
    seed: int = 0,
    media: Path | None = None,
    progress: Progress = silent,
) -> JudgeCard:
    """Ask a judge all questions of an audit and measure the answers.

    Calls without a verdict are counted in `coverage` and `statuses` and decide nothing. The video probe is for judges
    with a true `reads_clips`.

    Args:
        judge: any judge; it must show picture `a` first. One with `compare_many` is asked through that.
        items: as in `plan_audit`.
        probes: as in `plan_audit`.
        n: as in `plan_audit`.
        seed: as in `plan_audit`.
        media: a folder for the pictures, kept; by default a temporary one.
        progress: told of each picture drawn and of each call.

    Raises `UsageError` for options that cannot work; an error that the judge raises ends the audit.
    """
    reads_clips = bool(getattr(judge, "reads_clips", False))
    plan = plan_audit(items=items, probes=probes, n=n, seed=seed, reads_clips=reads_clips)
    with tempfile.TemporaryDirectory(prefix="paragone-audit-") as temporary:
        answers = _ask(judge, plan.questions, Media(media or Path(temporary)), progress)
    distinct = {answer.question.key: answer for answer in answers}.values()
    statuses = Counter(str(answer.verdict.status) for answer in distinct)
    return JudgeCard(
        judge=judge.name,
        measures=measure_answers(answers),
        n_items=plan.n_items,
        n_calls=plan.n_calls,
        seed=seed,
        material=plan.material,
        version=__version__,
        statuses=dict(statuses.most_common()),
        left_out=plan.left_out,
        warnings=_warnings(judge, plan, statuses),
    )


def _ask(judge: Judge, questions: Sequence[Question], media: Media, progress: Progress) -> list[Answer]:
    """Draw all pictures, make each distinct call once, by repetition; then every question with its verdict."""
    distinct = sorted({question.key: question for question in questions}.values(), key=lambda q: q.sample)
    pictures = dict.fromkeys(shown for question in distinct for shown in (question.first, question.second))
    for done, shown in enumerate(pictures, start=1):
        media.path(shown)
        progress("draw pictures", done, len(pictures))
    verdicts: dict[tuple[object, ...], Verdict] = {}
    for sample, group in groupby(distinct, key=lambda question: question.sample):
        calls = list(group)
        asked = judge.with_sample(sample) if sample and isinstance(judge, SamplingJudge) else judge
        for question, verdict in zip(calls, _verdicts(asked, calls, media), strict=True):
            verdicts[question.key] = verdict
            progress("audit", len(verdicts), len(distinct))
    return [Answer(question, verdicts[question.key]) for question in questions]


def _verdicts(judge: Judge, questions: Sequence[Question], media: Media) -> Iterator[Verdict]:
    calls = [
        (_prompt(question, media), media.path(question.first), media.path(question.second)) for question in questions
    ]
    if isinstance(judge, ManyJudge):
        yield from judge.compare_many(calls)
        return
    if isinstance(judge, PreparingJudge):
        judge.prepare([(prompt, path) for prompt, a, b in calls for path in dict.fromkeys((a, b))])
    for prompt, a, b in calls:
        yield judge.compare(prompt, a, b)


def _prompt(question: Question, media: Media) -> Prompt:
    """The prompt with the file of its source picture, for an edit."""
    if question.prompt.task is not Task.IMAGE_EDITING or not isinstance(question.first, Shown):
        return question.prompt
    if "source" not in question.first.item.pictures:
        raise InputError(f"prompt {question.prompt.id}: an editing item needs a picture in the role source")
    return replace(question.prompt, source=str(media.path(Shown(question.first.item, "source")).resolve()))


def _warnings(judge: Judge, plan: AuditPlan, statuses: Counter[str]) -> tuple[str, ...]:
    lines = []
    unanswered = plan.n_calls - statuses["ok"]
    if unanswered:
        kinds = ", ".join(f"{count} {status}" for status, count in statuses.items() if status != "ok")
        lines.append(
            f"{unanswered} of {plan.n_calls} calls gave no verdict ({kinds}); items with one of them are not counted"
        )
    if any(question.sample for question in plan.questions) and not isinstance(judge, SamplingJudge):
        lines.append(CACHED_REPEATS)
    return tuple(lines)
