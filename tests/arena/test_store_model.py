"""The store against a dictionary: whatever is done, in whatever order, both say the same."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from paragone.arena import running
from paragone.arena.chain import EventKind
from paragone.arena.exporting import export_arena
from paragone.arena.importing import import_arena
from paragone.arena.snapshots import check_snapshots, take_snapshot
from paragone.arena.store import IssuedBattle, Store, VoteEvent
from paragone.data import Battle, GeneratorCard, Judgement, Prompt, Sample, Verdict, VoterKind, Winner, sample_id
from paragone.data.errors import VoteRefused

MODELS = ("a", "b", "c")
THOROUGH = bool(os.environ.get("PARAGONE_THOROUGH"))  # CI; minutes
WINNERS = st.sampled_from(list(Winner))


@dataclass(frozen=True)
class Known:
    """A vote as the model remembers it."""

    battle: Battle
    winner: Winner
    voter: str
    kind: VoterKind
    excluded: bool = False


def sample(model: str, prompt: str) -> Sample:
    digest = f"{MODELS.index(model)}{prompt}" * 32
    return Sample(sample_id(model, prompt, 0, digest), digest, f"{model}{prompt}.png", prompt, model, 0, 8, 8)


class StoreMachine(RuleBasedStateMachine):
    """Issue, vote, vote twice, judge, say things of votes, keep boards, export and import; and read after each."""

    issued = Bundle("issued")
    spent = Bundle("spent")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.n = 0
        self.store = Store(Path(self.folder.name) / "0.db", create=True)
        self.store.add_generators(GeneratorCard(name) for name in MODELS)
        self.store.add_prompts(Prompt(name, "x") for name in "01")
        self.store.add_samples(sample(m, p) for m in MODELS for p in "01")
        self.votes: list[Known] = []
        self.events = 0
        self.judged: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    @rule(target=issued, voter=st.sampled_from(["eve", "adam"]), seed=st.randoms(use_true_random=False))
    def issue(self, voter: str, seed: object) -> tuple[IssuedBattle, str]:
        return self.store.issue_battle(voter, seed), voter  # type: ignore[arg-type]

    @rule(target=spent, battle=consumes(issued), winner=WINNERS)
    def vote(self, battle: tuple[IssuedBattle, str], winner: Winner) -> tuple[IssuedBattle, str]:
        issued, voter = battle
        with pytest.raises(VoteRefused):
            self.store.record_vote(issued.token, winner, voter="somebody else")
        self.store.record_vote(issued.token, winner, voter=voter)
        self.votes.append(Known(issued.battle, winner, voter, VoterKind.HUMAN))
        return battle

    @rule(battle=spent, winner=WINNERS)
    def vote_again(self, battle: tuple[IssuedBattle, str], winner: Winner) -> None:
        with pytest.raises(VoteRefused):
            self.store.record_vote(battle[0].token, winner, voter=battle[1])

    @rule(judge=st.sampled_from(["ruler", "scale"]), sides=st.permutations(MODELS), winner=WINNERS)
    def judge(self, judge: str, sides: list[str], winner: Winner) -> None:
        a, b, _ = sides
        battle = Battle(f"{a}{b}", "0", a, b, sample(a, "0").id, sample(b, "0").id)
        new = self.store.record_judgements([Judgement(battle, (Verdict(winner),), winner, None)], judge=judge)
        assert new == ((judge, battle.id) not in self.judged)
        if new:
            self.judged.add((judge, battle.id))
            self.votes.append(Known(battle, winner, judge, VoterKind.JUDGE))

    @rule(data=st.data(), kind=st.sampled_from(list(EventKind)), winner=WINNERS)
    def say(self, data: st.DataObject, kind: EventKind, winner: Winner) -> None:
        if not self.votes:
            return
        number = data.draw(st.integers(1, len(self.votes)))
        corrected = winner if kind is EventKind.CORRECT else None
        self.store.add_events([VoteEvent(number, kind, winner=corrected)])
        self.events += 1
        vote = self.votes[number - 1]
        if kind in (EventKind.EXCLUDE, EventKind.RESTORE):
            vote = replace(vote, excluded=kind is EventKind.EXCLUDE)
        self.votes[number - 1] = replace(vote, winner=corrected or vote.winner)

    @rule()
    def keep_a_board(self) -> None:
        if not all(vote.excluded for vote in self.votes):
            take_snapshot(self.store, voters="all")

    @rule()
    def move(self) -> None:
        """Export everything, go on in a new database made of it, and find the export of that the same."""
        folder = Path(self.folder.name)
        self.n += 1
        export_arena(self.store, folder / f"out{self.n}")
        self.store.close()
        self.store = Store(folder / f"{self.n}.db", create=True)
        import_arena(self.store, folder / f"out{self.n}")
        assert not +import_arena(self.store, folder / f"out{self.n}").new
        export_arena(self.store, folder / f"again{self.n}")
        one, two = (sorted((folder / f"{name}{self.n}").iterdir()) for name in ("out", "again"))
        assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]

    @invariant()
    def both_say_the_same(self) -> None:
        if not hasattr(self, "store"):
            return
        counting = [vote for vote in self.votes if not vote.excluded]
        stored = self.store.votes()
        found = zip(
            stored["battle"], stored["model_a"], stored["model_b"], stored["winner"], stored["voter"], strict=True
        )
        assert list(found) == [(v.battle.id, v.battle.model_a, v.battle.model_b, v.winner, v.voter) for v in counting]
        cells = Counter((v.battle.model_a, v.battle.model_b, str(v.winner)) for v in counting)
        counts = self.store.pair_counts()
        assert {tuple(row[:3]): row[3] for row in counts.itertuples(index=False)} == cells
        columns = self.store.running.columns()
        rows = columns.counting(None)
        assert columns.frame(rows)["winner"].tolist() == [v.winner for v in counting]
        assert len(self.store.events()) == self.events

    def check_whole(self) -> None:
        assert self.store.verify() == []
        assert list(check_snapshots(self.store)) == []


class EndsWhole(StoreMachine):
    """The same, looked over as a whole in the end."""

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.check_whole()
        super().teardown()


@pytest.fixture(autouse=True)
def _short_strides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "STRIDE", 3)


class TestStoreAgainstAModel(EndsWhole.TestCase):  # type: ignore[misc,valid-type]
    settings = settings(
        max_examples=200 if THOROUGH else 5,
        stateful_step_count=40 if THOROUGH else 15,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=not THOROUGH,
    )
