"""The battle page: two pictures without names, one vote, then the names.

What is on the page follows from the store alone: a battle whose vote is stored is revealed, any other is blind. The
vote's callback takes all it needs as arguments, and the buttons carry the battle's id in their keys, so that a second
key press, or one meant for the battle before, can never count for a pair that the voter has not seen.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from paragone.arena.elo import elo_update, expected_score, fit_elo
from paragone.arena.store import IssuedBattle, Store
from paragone.arena.ui.pictures import read_sample_picture, same_box, to_data_uri, to_png
from paragone.arena.ui.reading import OpenProject
from paragone.data.errors import InputError, UnreadableImage, VoteRefused
from paragone.data.records import Sample, Vote, VoterKind, Winner

BATTLE_PX = 860
FASTEST_MS = 400  # an answer quicker than this was not meant for these pictures: it is not taken
INITIAL_ELO = 1000.0
SCORE_OF_A = {Winner.MODEL_A: 1.0, Winner.MODEL_B: 0.0, Winner.TIE: 0.5, Winner.BOTH_BAD: 0.5}
VERDICTS = {
    Winner.MODEL_A: "You chose A.",
    Winner.MODEL_B: "You chose B.",
    Winner.TIE: "You called it a tie.",
    Winner.BOTH_BAD: "You called both bad.",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Round:
    """The battle in front of this visitor, and since when."""

    issued: IssuedBattle
    shown_at: float  # time.monotonic(), s
    key: str  # of the project that issued it


@dataclass(frozen=True, slots=True)
class Change:
    """What one vote did to a model's Elo."""

    before: float
    after: float
    expected: float  # score in [0, 1]


def show(project: OpenProject) -> None:
    """Draw the page."""
    voter = _voter()
    try:
        round_ = _current_round(project, voter)
    except InputError as error:
        st.info("There is no battle to show yet.", icon=":material/hourglass_empty:")
        st.text(str(error))
        return
    issued = round_.issued
    vote = project.store.human_vote(issued.battle.id)
    try:
        left, right = _data_uris(str(project.folder), issued.sample_a, issued.sample_b)
    except UnreadableImage as error:
        log.error("battle %s: %s", issued.battle.id, error)  # the page must not say which model's file it is
        st.error(
            "A picture of this battle cannot be read. The server's log says which.", icon=":material/broken_image:"
        )
        _next_button(issued, "Another battle")
        return
    with st.container(horizontal_alignment="center"), st.container(key="battle", width=BATTLE_PX):
        st.caption("Which picture answers the prompt better?" if vote is None else "The prompt was")
        st.container(key="prompt").text(issued.prompt.text)
        if vote is None:
            _draw_blind(project.store, round_, voter, left, right)
        else:
            _draw_revealed(project, issued, vote, left, right)


def _draw_blind(store: Store, round_: Round, voter: str, left: str, right: str) -> None:
    side_a, side_b = st.columns(2, wrap=False)
    side_a.image(left, alt="Picture A", width="stretch")
    side_b.image(right, alt="Picture B", width="stretch")
    choices = (
        (side_a, Winner.MODEL_A, "A is better", "a"),
        (side_b, Winner.MODEL_B, "B is better", "b"),
        (side_a, Winner.TIE, "Tie", "t"),
        (side_b, Winner.BOTH_BAD, "Both bad", "x"),
    )
    for side, winner, label, key in choices:
        side.button(
            label,
            key=f"{winner}-{round_.issued.battle.id}",
            on_click=_vote,
            args=(store, round_.issued.token, winner, voter, round_.shown_at),
            shortcut=key,
            type="primary" if winner in (Winner.MODEL_A, Winner.MODEL_B) else "secondary",
            width="stretch",
        )
    store.mark_shown(round_.issued.token)


def _vote(store: Store, token: str, winner: Winner, voter: str, shown_at: float) -> None:
    dwell_ms = int(1000 * (time.monotonic() - shown_at))
    if dwell_ms < FASTEST_MS:
        st.toast("That was quicker than a look at both pictures; please vote again.")
        return
    try:
        store.record_vote(token, winner, voter=voter, dwell_ms=dwell_ms)
    except VoteRefused as error:
        log.info("vote refused: %s", error)  # a second press: the page shows what the first one did


def _draw_revealed(project: OpenProject, issued: IssuedBattle, vote: Vote, left: str, right: str) -> None:
    changes = _elo_changes(project, issued)
    sides = st.columns(2, wrap=False)
    models = (issued.battle.model_a, issued.battle.model_b)
    for side, picture, letter, model, change in zip(sides, (left, right), "AB", models, changes, strict=True):
        side.image(picture, alt=f"Picture {letter}", width="stretch")
        side.container(key=f"name-{letter}").text(f"{letter}: {model}")
        moved = round(change.after - change.before, 1)
        side.metric(
            "Elo",
            f"{change.after:.1f}",
            f"{moved:+.1f} from {change.before:.1f}" if moved else f"still {change.before:.1f}",
            delta_arrow="auto" if moved else "off",
            delta_color="normal" if moved else "off",
        )
    expected = " and ".join(f"{100 * change.expected:.0f} %" for change in changes)
    st.caption(f"{VERDICTS[vote.winner]} Before your vote, A and B were expected to score {expected}.")
    _next_button(issued, "Next battle")


def _next_button(issued: IssuedBattle, label: str) -> None:
    st.button(
        label, key=f"next-{issued.battle.id}", on_click=_forget_round, shortcut="n", type="primary", width="stretch"
    )


def _forget_round() -> None:
    st.session_state.pop("round", None)


def _current_round(project: OpenProject, voter: str) -> Round:
    round_: Round | None = st.session_state.get("round")
    if round_ is None or round_.key != project.key:
        round_ = Round(project.store.issue_battle(voter), time.monotonic(), project.key)
        st.session_state["round"] = round_
    return round_


def _voter() -> str:
    """A name for this visitor that says nothing about them; a reload makes a new one."""
    if "voter" not in st.session_state:
        st.session_state["voter"] = f"guest-{secrets.token_hex(6)}"
    return str(st.session_state["voter"])


def _elo_changes(project: OpenProject, issued: IssuedBattle) -> tuple[Change, Change]:
    """Both models' Elo over the votes of people before and after this battle's vote."""
    votes = project.store.votes(VoterKind.HUMAN)
    place = int((votes["battle"] == issued.battle.id).to_numpy().argmax())
    earlier = votes.iloc[:place]
    ratings = fit_elo(earlier) if place else None
    elo = {} if ratings is None else dict(zip(ratings.models, ratings.rating.tolist(), strict=True))
    before_a, before_b = (elo.get(m, INITIAL_ELO) for m in (issued.battle.model_a, issued.battle.model_b))
    score = SCORE_OF_A[Winner(votes["winner"].iloc[place])]
    after_a, after_b = elo_update(before_a, before_b, score)
    expected = expected_score(before_a, before_b)
    return Change(before_a, after_a, expected), Change(before_b, after_b, 1 - expected)


@st.cache_data(max_entries=8, show_spinner=False)
def _data_uris(folder: str, sample_a: Sample, sample_b: Sample) -> tuple[str, str]:
    a, b = same_box([read_sample_picture(Path(folder), sample) for sample in (sample_a, sample_b)])
    return to_data_uri(to_png(a)), to_data_uri(to_png(b))
