"""What a judge is, and how its verdicts in both orders become one outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from paragone.data.errors import InputError
from paragone.data.progress import Progress, silent
from paragone.data.records import Battle, Judgement, Prompt, Verdict, Winner


@runtime_checkable
class Judge(Protocol):
    """Anything that can say which of two pictures answers a prompt better."""

    @property
    def name(self) -> str:
        """The name that votes are recorded under, version included."""
        ...

    def compare(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        """Judge the pictures in the files `a` and `b`; a failed call is a verdict without a winner, never a guess."""
        ...


@runtime_checkable
class PreparingJudge(Judge, Protocol):
    """A judge that is faster when it sees all pictures at once."""

    def prepare(self, pictures: Sequence[tuple[Prompt, Path]], /) -> None:
        """Look at the pictures that `compare` will be asked about."""
        ...


def judge_battles(
    judge: Judge,
    battles: Sequence[Battle],
    *,
    prompts: Mapping[str, Prompt],
    pictures: Mapping[str, Path],
    progress: Progress = silent,
) -> Iterator[Judgement]:
    """Judge each battle in both orders of its sides. `prompts` by prompt id, `pictures` by sample id.

    Raises `InputError` before the first call when a prompt or a picture is missing.
    """
    for battle in battles:
        check_is_known(battle, prompts, pictures)
    if isinstance(judge, PreparingJudge):
        shown = {sample: battle.prompt_id for battle in battles for sample in (battle.sample_a, battle.sample_b)}
        judge.prepare([(prompts[prompt_id], pictures[sample]) for sample, prompt_id in shown.items()])
    for done, battle in enumerate(battles, start=1):
        prompt, a, b = prompts[battle.prompt_id], pictures[battle.sample_a], pictures[battle.sample_b]
        yield combine(battle, judge.compare(prompt, a, b), judge.compare(prompt, b, a).swapped())
        progress("judge battles", done, len(battles))


def combine(battle: Battle, shown: Verdict, exchanged: Verdict) -> Judgement:
    """One outcome from the two orders, both read in the battle's own order of sides.

    Orders that agree give their outcome. Orders that disagree give a tie marked as inconsistent: the judge prefers a
    place, not a picture. When either order has no winner there is no outcome.
    """
    verdicts = (shown, exchanged)
    if shown.winner is None or exchanged.winner is None:
        return Judgement(battle, verdicts, winner=None, consistent=None)
    consistent = shown.winner is exchanged.winner
    return Judgement(battle, verdicts, shown.winner if consistent else Winner.TIE, consistent)


def check_is_known(battle: Battle, prompts: Mapping[str, Prompt], pictures: Mapping[str, Path]) -> None:
    """Raise `InputError` when the prompt or a picture of a battle is missing."""
    if battle.prompt_id not in prompts:
        raise InputError(f"battle {battle.id}: no prompt has the id {battle.prompt_id!r}")
    for sample in (battle.sample_a, battle.sample_b):
        if sample not in pictures:
            raise InputError(f"battle {battle.id}: no picture for sample {sample}")
