"""Filters of the boards' pages. The address is their only state: widgets are set from it and write it when they change.

So a link shows what its sender saw. A value in an address that means nothing here is left out, with a note that names
it, and never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import cast

import pandas as pd
import streamlit as st

from paragone.arena.leaderboard import METHODS, Voters
from paragone.arena.ui.address import is_day
from paragone.arena.ui.reading import OpenProject

LABELS: dict[str, str] = {"human": "People", "judge": "Judges", "joint": "Joint", "all": "Both, mixed"}
METHOD_LABELS = {"bradley-terry": "Bradley-Terry", "davidson": "Davidson", "elo": "Elo"}
EVERYTHING = "all votes"
WORDS = ("licence", "family", "space")  # facts of a card that are chosen from a list
ROWS = ("q", "open", "licence", "votes")  # filters that say which rows are seen …
CARD_ROWS = ("family", "space", "since", "size")  # … and those that are needed less often
MOST_VOTES = 10**9
SEARCH_LENGTH = 200  # characters
SHOWN_LENGTH = 60  # of a bad value, in its note


@dataclass(frozen=True, slots=True)
class Filters:
    """What a board shows. The first three say which votes count and how; the others which rows are seen."""

    voters: str = ""  # "": the more numerous kind
    method: str = "bradley-terry"
    category: str = ""  # "tag:…", "task:…", or "" for all votes
    open: bool = False
    licence: str = ""
    family: str = ""
    space: str = ""
    since: str = ""  # ISO 8601: released on that day or later
    size: int = 0  # at most so many millions of parameters; 0 for any
    votes: int = 0
    q: str = ""

    def but(self, name: str, value: str | int | bool) -> Filters:
        """The same but for one field."""
        return replace(self, **{name: value})  # type: ignore[arg-type]

    @property
    def board_voters(self) -> Voters:
        """Whose board it is."""
        return cast(Voters, self.voters or "all")

    @property
    def tag(self) -> str | None:
        """The prompt tag that votes are on."""
        return self.category[4:] if self.category.startswith("tag:") else None

    @property
    def task(self) -> str | None:
        """The task that votes are on."""
        return self.category[5:] if self.category.startswith("task:") else None

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of a board that are seen; ranks stay those among all models."""
        keep = frame["n_votes"] >= self.votes
        if self.open:
            keep &= frame["open_weights"].fillna(False).astype(bool)
        for name in WORDS:
            if wanted := getattr(self, name):
                keep &= (frame[name] == wanted).fillna(False).astype(bool)
        if self.since:
            keep &= (frame["released"] >= self.since).fillna(False).astype(bool)
        if self.size:
            keep &= (frame["parameters"] <= self.size * 10**6).fillna(False).astype(bool)
        if self.q:
            part = self.q.casefold()
            keep &= pd.Series([part in str(model).casefold() for model in frame["model"]], frame.index, dtype=bool)
        return frame[keep].reset_index(drop=True)


@dataclass(frozen=True, slots=True)
class Choices:
    """What can be chosen in this project."""

    voters: tuple[str, ...]  # the default first
    categories: tuple[str, ...]
    licences: tuple[str, ...]
    families: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ()
    dated: bool = False  # whether any model has a day of release
    sized: bool = False  # whether any has a number of parameters

    @property
    def of_cards(self) -> bool:
        """Whether cards say anything that `CARD_ROWS` could choose by."""
        return bool(self.families or self.spaces or self.dated or self.sized)

    @classmethod
    def of(cls, project: OpenProject, *, joint: bool = True) -> Choices:
        """Of a project; `joint` boards are for pages of ratings."""
        kinds: list[str] = list(project.kinds())
        mixed = ("joint", "all") if joint else ("all",)
        voters = (*kinds, *mixed) if len(kinds) > 1 else tuple(kinds)
        of = project.categories()
        categories = [*(f"task:{task}" for task in of.tasks if len(of.tasks) > 1), *(f"tag:{tag}" for tag in of.tags)]
        cards = project.generators()
        licences, families, spaces = (
            tuple(sorted({str(word) for card in cards if (word := getattr(card, name))})) for name in WORDS
        )
        dated, sized = any(card.released for card in cards), any(card.parameters for card in cards)
        return cls(voters, tuple(categories), licences, families, spaces, dated, sized)


def read_filters(query: Mapping[str, str], choices: Choices) -> tuple[Filters, list[str]]:
    """The filters that an address names, and a note for each value that means nothing here."""
    found, notes = Filters(voters=choices.voters[0] if choices.voters else ""), []
    allowed = {
        "voters": choices.voters,
        "method": METHODS,
        "category": choices.categories,
        "licence": choices.licences,
        "family": choices.families,
        "space": choices.spaces,
        "open": ("1",),
    }
    for name, values in allowed.items():
        if (given := query.get(name)) is None:
            continue
        if given in values:
            found = found.but(name, given == "1" if name == "open" else given)
        else:
            notes.append(_note(name, given))
    for name in ("votes", "size"):
        if (given := query.get(name)) is not None:
            if given.isascii() and given.isdigit() and len(given) < 10:
                found = found.but(name, int(given))
            else:
                notes.append(_note(name, given))
    if (given := query.get("since")) is not None:
        if is_day(given):
            found = replace(found, since=given)
        else:
            notes.append(_note("since", given))
    found = replace(found, q=query.get("q", "")[:SEARCH_LENGTH])
    if found.voters == "joint" and found.method != "bradley-terry":
        notes.append("A joint board has Bradley-Terry ratings only.")
        found = replace(found, method="bradley-terry")
    return found, notes


def write_filters(filters: Filters, choices: Choices) -> dict[str, str]:
    """The part of an address that says what differs from the defaults."""
    usual = Filters(voters=choices.voters[0] if choices.voters else "")
    changed = {f.name: getattr(filters, f.name) for f in fields(filters)}
    return {
        name: "1" if value is True else str(value) for name, value in changed.items() if value != getattr(usual, name)
    }


def _note(name: str, value: str) -> str:
    shown = value if len(value) <= SHOWN_LENGTH else f"{value[:SHOWN_LENGTH]}…"
    return f"The address asks for {name}={shown!r}, which there is not here; it is left out."


def draw_filters(project: OpenProject, *, page: str, only: Sequence[str] = (), joint: bool = True) -> Filters:
    """Widgets for the filters (those named in `only`, else all), notes on bad values, and what is chosen."""
    choices = Choices.of(project, joint=joint)
    filters, notes = read_filters(st.query_params, choices)
    drawn = only or tuple(f.name for f in fields(Filters))

    def changed(name: str) -> None:
        value = st.session_state[f"{page}-{name}"]
        now, _ = read_filters(st.query_params, choices)
        value = value.isoformat() if isinstance(value, date) else value
        now = now.but(name, "" if value in (EVERYTHING, None) else value)
        for key, text in ((f.name, write_filters(now, choices).get(f.name)) for f in fields(Filters)):
            if text is not None:
                st.query_params[key] = text
            elif key in st.query_params:
                del st.query_params[key]

    for name in drawn:
        key, value = f"{page}-{name}", getattr(filters, name) or _empty(name)
        if name == "since":
            value = date.fromisoformat(filters.since) if filters.since else None
        if st.session_state.get(key) != value:
            st.session_state[key] = value
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"filters-{page}"):
        _draw_votes(choices, filters, page, drawn, changed)
    if rows := [name for name in ROWS if name in drawn]:
        with st.container(horizontal=True, vertical_alignment="bottom", key=f"rows-{page}"):
            _draw_rows(choices, page, rows, changed)
    if (rows := [name for name in CARD_ROWS if name in drawn]) and choices.of_cards:
        used = any(getattr(filters, name) for name in rows)
        with st.expander("More filters", expanded=used), st.container(horizontal=True, vertical_alignment="bottom"):
            _draw_rows(choices, page, rows, changed)
    for note in notes:
        st.text(note)
    return filters


def _empty(name: str) -> str | int | bool:
    """What a widget holds when its filter is off."""
    empty: dict[str, str | int | bool] = {"category": EVERYTHING, "votes": 0, "size": 0, "open": False}
    return empty.get(name, EVERYTHING if name in WORDS else "")


def _draw_votes(
    choices: Choices, filters: Filters, page: str, drawn: Sequence[str], changed: Callable[[str], None]
) -> None:
    """Which votes count, and how: asked only where there is a choice. A mix has to be asked for."""
    if "voters" in drawn and len(choices.voters) > 1:
        st.segmented_control(
            "Votes of",
            choices.voters,
            required=True,
            wrap=True,
            format_func=lambda kind: LABELS[kind],
            key=f"{page}-voters",
            on_change=changed,
            args=("voters",),
            help="Joint: people's ratings, sharpened by the judges' votes on the same battles."
            if "joint" in choices.voters
            else None,
        )
    if "method" in drawn:
        st.selectbox(
            "Ratings",
            METHODS if filters.voters != "joint" else METHODS[:1],
            format_func=lambda method: METHOD_LABELS[method],
            key=f"{page}-method",
            on_change=changed,
            args=("method",),
            width=170,
        )
    if "category" in drawn and choices.categories:
        st.selectbox(
            "Category",
            (EVERYTHING, *choices.categories),
            format_func=_category_label,
            key=f"{page}-category",
            on_change=changed,
            args=("category",),
            width=170,
            help="Votes on prompts of one task, or with one tag.",
        )


def _category_label(category: str) -> str:
    kind, _, name = category.partition(":")
    return category if not name else f"{name.replace('_', ' ')} ({kind})"


def _draw_rows(choices: Choices, page: str, rows: Sequence[str], changed: Callable[[str], None]) -> None:
    """Which rows are seen."""
    if "q" in rows:
        st.text_input(
            "Search",
            key=f"{page}-q",
            on_change=changed,
            args=("q",),
            placeholder="part of a name",
            width=170,
            max_chars=SEARCH_LENGTH,
        )
    for name, words in zip(WORDS, (choices.licences, choices.families, choices.spaces), strict=True):
        if name in rows and words:
            st.selectbox(
                name.capitalize(),
                (EVERYTHING, *words),
                format_func=lambda word: "any" if word == EVERYTHING else word,
                key=f"{page}-{name}",
                on_change=changed,
                args=(name,),
                width=170,
            )
    if "since" in rows and choices.dated:
        st.date_input(
            "Released since", None, key=f"{page}-since", on_change=changed, args=("since",), width=170, max_value=None
        )
    if "size" in rows and choices.sized:
        st.number_input(
            "Millions of parameters, at most",
            min_value=0,
            max_value=MOST_VOTES - 1,
            step=1000,
            key=f"{page}-size",
            on_change=changed,
            args=("size",),
            width=170,
            help="0 for any. A model whose size is not known is not small.",
        )
    if "votes" in rows:
        st.number_input(
            "Least votes",
            min_value=0,
            max_value=MOST_VOTES,
            step=10,
            key=f"{page}-votes",
            on_change=changed,
            args=("votes",),
            width=170,
        )
    if "open" in rows:
        st.toggle("Open weights only", key=f"{page}-open", on_change=changed, args=("open",))


def voters_of(filters: Filters) -> Voters:
    """Whose votes a page of single votes shows: those that a joint board counts are people's."""
    return "human" if filters.voters == "joint" else filters.board_voters
