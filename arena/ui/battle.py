"""The battle page: two pictures without names, one vote, then the names.

What is on the page follows from the store alone: a battle whose vote is stored is revealed, any other is blind. An
answer carries its battle's id, and the widget's key does too, so that a second key press, or one meant for the battle
before, can never count for a pair that the voter has not seen.

The next battle is drawn while the voter looks at this one, and its pictures are fetched while the names are read. It is
marked as shown only when it is.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial

import streamlit as st

from paragone.arena.own_votes import take_back, voter_record
from paragone.arena.store import IssuedBattle, Store
from paragone.arena.ui.battle_widget import VOTES, Answer, Shown, answer_of, mount, parse_answer
from paragone.arena.ui.identity import current_voter
from paragone.arena.ui.limits import refusal
from paragone.arena.ui.media import media_url
from paragone.arena.ui.reading import OpenProject
from paragone.arena.ui.reveal import ENOUGH_VOTES, reveal
from paragone.data.errors import InputError, VoteRefused
from paragone.data.records import Task, Winner

FASTEST_MS = 400  # an answer quicker than this was not meant for these pictures: it is not taken
UNDO_S = 60.0
TOO_FAST = "That was quicker than a look at both pictures; please vote again."
TAKEN_BACK = "You took this vote back. It stays in the log and does not count."
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Round:
    """The battle in front of this visitor. Callbacks change it in place, which no rerun can come between."""

    issued: IssuedBattle
    key: str  # of the project that issued it
    shown_at: float | None = None  # time.monotonic(), s
    voted_at: float | None = None
    revealed: bool = False
    turn: int = 0  # answers dealt with
    notice: str = ""
    over: bool = False
    following: IssuedBattle | None = None


def show(project: OpenProject) -> None:
    """Draw the page."""
    voter = current_voter()
    try:
        round_ = _current_round(project, voter)
    except (InputError, VoteRefused) as error:
        st.info("There is no battle to show now.", icon=":material/hourglass_empty:")
        st.text(str(error))
        st.button("Try again", key="try-again")
        return
    vote = None if round_.shown_at is None else project.store.human_vote(round_.issued.battle.id)
    round_.revealed = vote is not None
    with st.container(key="battle"):
        mount(
            _what_to_show(project, round_, voter, None if vote is None else vote.winner),
            partial(_act, project, round_, voter),
        )
    if round_.shown_at is None:
        round_.shown_at = time.monotonic()
        project.store.mark_shown(round_.issued.token)
    if round_.following is None:
        round_.following = _draw_ahead(project.store, voter)


def _what_to_show(project: OpenProject, round_: Round, voter: str, winner: Winner | None) -> Shown:
    issued = round_.issued
    a, b = issued.sample_a, issued.sample_b
    revealed = following = None
    if winner is not None:
        effect = project.store.vote_effect(issued.battle.id)
        since = UNDO_S if round_.voted_at is None else time.monotonic() - round_.voted_at
        undo_ms = max(0, int(1000 * (UNDO_S - since)))
        record = voter_record(project.store, voter, enough=ENOUGH_VOTES)
        revealed = reveal(project.store, project.folder, issued, winner, effect, record, undo_ms=undo_ms)
        following = round_.following
    return Shown(
        battle=issued.battle.id,
        turn=round_.turn,
        question=_question(issued.prompt.task, revealed=winner is not None),
        prompt=issued.prompt.text,
        media=(media_url(issued.token, "a"), media_url(issued.token, "b")),
        source=media_url(issued.token, "s") if issued.prompt.source else None,
        mask=media_url(issued.token, "m") if issued.prompt.source and issued.prompt.mask else None,
        same_size=(a.width, a.height) == (b.width, b.height),
        dwell_ms=FASTEST_MS,
        notice=round_.notice,
        veiled=bool(project.store.flagged((a.id, b.id))),
        reveal=revealed,
        next=None if following is None else (media_url(following.token, "a"), media_url(following.token, "b")),
    )


def _question(task: Task, *, revealed: bool) -> str:
    if task is Task.IMAGE_EDITING:
        return "The instruction was" if revealed else "Which does what was asked, and nothing else?"
    return "The prompt was" if revealed else "Which answers the prompt better?"


def _act(project: OpenProject, round_: Round, voter: str) -> None:
    """Do what was pressed. Nothing here touches the session after the vote is stored."""
    answer = parse_answer(answer_of(round_.issued.battle.id))
    round_.turn += 1
    round_.notice = ""
    if answer is None or answer.battle != round_.issued.battle.id or round_.shown_at is None:
        log.warning("an answer that no page of ours gives was ignored")
        return
    try:
        _obey(project.store, round_, voter, answer)
    except VoteRefused as error:
        log.info("refused: %s", error)  # mostly a second press: the page shows what the first one did
        round_.notice = str(error)


def _obey(store: Store, round_: Round, voter: str, answer: Answer) -> None:
    battle = round_.issued.battle.id
    if answer.act in VOTES:
        dwell_ms = min(answer.dwell_ms, int(1000 * (time.monotonic() - (round_.shown_at or 0.0))))
        refused = TOO_FAST if dwell_ms < FASTEST_MS else refusal("vote")
        if refused:
            raise VoteRefused(refused)
        store.record_vote(round_.issued.token, Winner(answer.act), voter=voter, dwell_ms=dwell_ms)
        round_.voted_at = time.monotonic()
    elif answer.act == "undo":
        take_back(store, battle, voter=voter, within_s=UNDO_S)
        round_.notice = TAKEN_BACK
    else:  # skip a blind one, or go on from a revealed one
        round_.over = (answer.act == "next") == round_.revealed


def _current_round(project: OpenProject, voter: str) -> Round:
    round_: Round | None = st.session_state.get("round")
    if round_ is not None and not round_.over and round_.key == project.key:
        return round_
    ahead = round_.following if round_ is not None and round_.key == project.key else None
    round_ = Round(ahead or _issue(project.store, voter), project.key)
    st.session_state["round"] = round_
    return round_


def _issue(store: Store, voter: str) -> IssuedBattle:
    refused = refusal("battle")
    if refused:
        raise VoteRefused(refused)
    return store.issue_battle(voter)


def _draw_ahead(store: Store, voter: str) -> IssuedBattle | None:
    try:
        return _issue(store, voter)
    except (InputError, VoteRefused):
        return None  # the next page says why
