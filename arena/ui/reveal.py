"""What a voter is told after the vote: the names, and what the vote did, in the words in which Elo is taught.

Elo's rule in one line: a rating moves by K × (score − expected score). The size of that difference is how surprising
the outcome was, 0 for what was certain to come and 1 for what could not happen.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from paragone.arena.own_votes import VoterRecord
from paragone.arena.running import VoteEffect
from paragone.arena.store import IssuedBattle, Store
from paragone.arena.ui.battle_widget import Reveal, Side
from paragone.arena.ui.provenance import Entry, original_provenance
from paragone.data.records import GeneratorCard, Sample, Winner

SCORE_OF_A = {Winner.MODEL_A: 1.0, Winner.MODEL_B: 0.0, Winner.TIE: 0.5, Winner.BOTH_BAD: 0.5}
VERDICTS = {
    Winner.MODEL_A: "You chose A.",
    Winner.MODEL_B: "You chose B.",
    Winner.TIE: "You called it a tie.",
    Winner.BOTH_BAD: "You called both bad.",
}
ENOUGH_VOTES = 20  # before that, agreement with the crowd says nothing, and might teach a voter to follow it
ENOUGH_COMPARED = 10
CARDS_S = 60  # seconds that a changed card takes to be shown


def reveal(
    store: Store,
    folder: Path,
    issued: IssuedBattle,
    winner: Winner,
    effect: VoteEffect | None,
    record: VoterRecord,
    *,
    undo_ms: int,
) -> Reveal:
    """What to tell of a battle whose vote is stored; `effect` is None when the vote does not count."""
    samples = (issued.sample_a, issued.sample_b)
    won = (winner is Winner.MODEL_A, winner is Winner.MODEL_B)
    cards = _cards(store, store.name)
    before = after = (None, None) if effect is None else (0.0, 0.0)
    if effect is not None:
        before, after = (effect.before_a, effect.before_b), (effect.after_a, effect.after_b)
    found = store.provenance(sample.sha256 for sample in samples)
    sides = [
        _side(
            original_provenance(folder, sample, found.get(sample.sha256)),
            sample,
            cards.get(sample.model),
            won=won[n],
            before=before[n],
            after=after[n],
        )
        for n, sample in enumerate(samples)
    ]
    surprise = None if effect is None else abs(SCORE_OF_A[winner] - effect.expected_a)
    return Reveal(
        verdict=VERDICTS[winner],
        sides=(sides[0], sides[1]),
        surprise=surprise,
        surprise_words="" if surprise is None else surprise_words(surprise, winner),
        lesson=lesson(winner, effect),
        yours=yours(record),
        undo_ms=0 if effect is None else undo_ms,
    )


def surprise_words(surprise: float, winner: Winner) -> str:
    """How unlikely an outcome was, in words and as a share."""
    share = f"{100 * surprise:.0f} of 100"
    if SCORE_OF_A[winner] == 0.5:
        return f"{share}: " + ("expected to be even" if surprise < 0.1 else "one side was expected to win")
    if surprise < 0.4:
        return f"{share}: the favourite won"
    return f"{share}: " + ("it could go either way" if surprise <= 0.6 else "an upset")


def lesson(winner: Winner, effect: VoteEffect | None) -> str:
    """One line of how Elo got from the old numbers to the new ones."""
    if effect is None:
        return "This vote does not count: no rating moves."
    score, expected = SCORE_OF_A[winner], effect.expected_a
    gain, delta = score - expected, effect.after_a - effect.before_a
    halves = " (half a point each)" if score == 0.5 else ""
    rule = f"It scored {score:g}{halves}, so it moves by K × ({score:g} − {expected:.2f}) = {_signed(delta)}"
    if abs(gain) > 1e-9:
        rule = rule.replace("K ×", f"{delta / gain:.0f} ×")
    return (
        f"With {effect.before_a:.0f} against {effect.before_b:.0f}, Elo expected A to score {expected:.2f} on average. "
        f"{rule}; B moves by the opposite. A stronger opponent makes a win worth more."
    )


def yours(record: VoterRecord) -> str:
    """How the voter goes with the crowd; nothing before there is enough to say it."""
    if record.n_votes < ENOUGH_VOTES:
        return ""
    told = f"You have given {record.n_votes} votes."
    if record.n_compared >= ENOUGH_COMPARED:
        share = 100 * record.n_agreeing / record.n_compared
        of = f"{record.n_agreeing} of {record.n_compared}"
        told += f" Where the others have a favourite, {share:.0f} % of your votes went with it ({of})."
    return told


def _side(
    made: tuple[Entry, ...],
    sample: Sample,
    card: GeneratorCard | None,
    *,
    won: bool,
    before: float | None,
    after: float | None,
) -> Side:
    return Side(
        model=sample.model,
        facts=_facts(card),
        won=won,
        before=None if before is None else f"{before:.1f}",
        after=None if after is None else f"{after:.1f}",
        delta=None if before is None or after is None else _signed(after - before),
        made=made,
    )


def _facts(card: GeneratorCard | None) -> str:
    if card is None:
        return ""
    weights = {True: "open weights", False: "closed weights", None: None}[card.open_weights]
    return " · ".join(part for part in (card.provider, card.licence, weights) if part)


def _signed(change: float) -> str:
    moved = round(change, 1)
    return "±0.0" if moved == 0 else f"{'+' if moved > 0 else '−'}{abs(moved):.1f}"


@st.cache_resource(ttl=CARDS_S, max_entries=4, show_spinner=False)
def _cards(_store: Store, name: str) -> dict[str, GeneratorCard]:
    return {card.name: card for card in _store.generators()}
