"""The battle's widget (a Streamlit component, version 2): what it is sent, and what it may answer.

All that the page shows of a battle is in one component, so a vote costs one element. What comes back is the browser's
word and is read as such: nothing but a known battle, a known action and a plausible time passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import streamlit as st

from paragone.arena.ui import widget_part
from paragone.data.records import Winner

Act = Literal["model_a", "model_b", "tie", "both_bad", "skip", "next", "undo"]
ACTS = frozenset(get_args(Act))
VOTES = frozenset(str(winner) for winner in Winner)
LONGEST_MS = 24 * 3600 * 1000  # a page that was left open overnight


@dataclass(frozen=True, slots=True)
class Side:
    """One model after the vote; ratings in words, None where the vote moved nothing."""

    model: str
    facts: str
    won: bool
    before: str | None
    after: str | None
    delta: str | None
    made: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reveal:
    """All that is told after the vote."""

    verdict: str
    sides: tuple[Side, Side]
    surprise: float | None  # |score − expected score|, in [0, 1]
    surprise_words: str
    lesson: str
    yours: str
    undo_ms: int  # for so long the vote can be taken back


@dataclass(frozen=True, slots=True)
class Shown:
    """What the browser is sent of a battle; `reveal` only when its vote is stored."""

    battle: str
    turn: int  # counts the answers that the server has dealt with
    question: str
    prompt: str
    media: tuple[str, str]  # addresses
    source: str | None
    mask: str | None  # the edge of what may change in the source
    same_size: bool
    dwell_ms: int
    notice: str
    veiled: bool = False  # both sides are blurred until the voter asks to see them
    reveal: Reveal | None = None
    next: tuple[str, ...] | None = None  # addresses to fetch ahead


@dataclass(frozen=True, slots=True)
class Answer:
    """What the browser says was pressed, and how long both sides had been on its screen."""

    battle: str
    act: Act
    dwell_ms: int


def parse_answer(payload: object) -> Answer | None:
    """The answer in a trigger's payload; None for anything but exactly an answer."""
    if not isinstance(payload, dict) or payload.keys() != {"battle", "act", "dwell_ms"}:
        return None
    battle, act, dwell_ms = payload["battle"], payload["act"], payload["dwell_ms"]
    if not isinstance(battle, str) or not isinstance(act, str) or act not in ACTS:
        return None
    if not isinstance(dwell_ms, int) or isinstance(dwell_ms, bool) or not 0 <= dwell_ms <= LONGEST_MS:
        return None
    return Answer(battle, act, dwell_ms)  # type: ignore[arg-type]  # act is one of ACTS


def widget_key(battle: str) -> str:
    """The widget's key: an answer can only ever reach the battle that it was given to."""
    return f"battle-{battle}"


def mount(shown: Shown, on_act: Callable[[], None]) -> None:
    """Put the battle on the page."""
    _component(key=widget_key(shown.battle), data=asdict(shown), on_act_change=on_act)


def answer_of(battle: str) -> object:
    """What the widget of a battle has just sent; to be asked in its callback."""
    return getattr(st.session_state.get(widget_key(battle)), "act", None)


_component: Callable[..., Any] = st.components.v2.component(
    "paragone_battle",
    html=widget_part("battle.html"),
    css=widget_part("battle.css"),
    js="\n".join(widget_part(name) for name in ("lens.js", "player.js", "battle.js")),
)
