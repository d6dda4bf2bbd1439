"""Votes as other arenas write them: which of their columns is which of ours, and what their words for outcomes mean.

    paragone, LMArena, FastChat   model_a, model_b, winner; the voter in `judge` or `judge_hash`, the time in `tstamp`
                                  or `timestamp` (arena-human-preference-100k and -140k, PPE, clean_battle_*.json,
                                  chatbot_arena_conversations, MT-bench's human judgments)
    one column an outcome         winner_model_a, winner_model_b, winner_tie, one of them 1 (arena-human-preference-55k)
    GenAI-Bench                   left_model, right_model, vote_type: leftvote, rightvote, tievote, bothbad_vote
    FastChat or GenAI-Arena log   JSON lines with `type`, `models`, `states`, `ip`, `tstamp`; lines that are not votes
                                  (chat, upvote …) are left out and counted

A file is known by its columns. `Reading` says what was taken for what; a value that no rule names is an error.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from paragone.data.errors import InputError, UnknownOutcome
from paragone.data.records import Winner

REQUIRED = ("model_a", "model_b", "winner")
OPTIONAL: Mapping[str, tuple[str, ...]] = MappingProxyType(  # and what others call them; the first that is there counts
    {
        "weight": ("weight",),
        "voter": ("voter", "judge", "judge_hash"),
        "prompt": ("prompt", "instruct_prompt"),
        "category": ("category",),
        "created_at": ("created_at", "tstamp", "timestamp"),
        "battle": ("battle",),
        "kind": ("kind", "voter_kind"),
        **{name: (name,) for name in ("seconds", "reaction_ms", "dwell_ms", "shown_at", "consumed_at")},
    }
)
BUTTONS = MappingProxyType(
    {
        "leftvote": Winner.MODEL_A,
        "rightvote": Winner.MODEL_B,
        "tievote": Winner.TIE,
        "bothbad_vote": Winner.BOTH_BAD,
    }
)
NOT_VOTES = ("chat", "share", "upvote", "downvote", "flag")  # other lines of a FastChat log
ANONYMOUS = ("", "Model A", "Model B")  # names before the vote; the true ones are then in `states`
_SHOWN_NAME = re.compile(r"(?:<h3>|### )Model [AB]: (?P<name>.*?)(?:</h3>)?\s*", re.DOTALL)

Fields = Mapping[str, Any]  # the names in a file; below a nested one another such table, below others an empty one


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to write votes."""

    name: str
    model_a: str
    model_b: str
    winner: str = ""  # a column, or "" where each outcome has its own
    words: Mapping[str, Winner] = field(default_factory=dict)  # values of `winner`; none: as `Winner.parse` reads them
    flags: Mapping[str, Winner] = field(default_factory=dict)  # columns of 0 and 1

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a file of this layout has."""
        return (self.model_a, self.model_b, *((self.winner,) if self.winner else self.flags))


OURS = Layout("paragone", *REQUIRED)
LAYOUTS = (
    OURS,
    Layout("GenAI-Bench", "left_model", "right_model", "vote_type", BUTTONS),
    Layout(
        "one column an outcome",
        "model_a",
        "model_b",
        flags={"winner_model_a": Winner.MODEL_A, "winner_model_b": Winner.MODEL_B, "winner_tie": Winner.TIE},
    ),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """How one file is read."""

    layout: Layout
    paths: Mapping[str, tuple[str, ...]]  # our column (or one asked for) -> where the file has it

    @property
    def note(self) -> str:
        """What was taken for what, where the file has other names than ours; else empty."""
        renamed = [
            f"{ours} is {'.'.join(path)}"
            for ours, path in self.paths.items()
            if ours in (*REQUIRED, *OPTIONAL) and path != (ours,)
        ]
        if self.layout.flags:
            renamed.append(f"winner is the one of {', '.join(self.layout.flags)} that is 1")
        return f"read as {self.layout.name}: {', '.join(renamed)}" if renamed else ""

    def outcomes(self, votes: pd.DataFrame, source: str) -> pd.Series[Any]:
        """The column `winner` of votes that were read so; other words than the layout's are an error."""
        if self.layout.flags:
            return self._flagged(votes, source)
        if not self.layout.words:
            return votes["winner"]
        words = self.layout.words
        winners = votes["winner"].map(lambda value: str(words[value]) if value in words else None)
        if (unknown := np.flatnonzero(winners.isna())).size:
            row = unknown[0]
            raise UnknownOutcome(
                f"{source}: row {row + 1}: unknown {self.layout.winner} {votes['winner'].iloc[row]!r}; "
                f"{self.layout.name} has {', '.join(words)}"
            )
        return winners

    def _flagged(self, votes: pd.DataFrame, source: str) -> pd.Series[Any]:
        names = list(self.layout.flags)
        flags = votes[names].apply(lambda column: pd.to_numeric(column, errors="coerce")).to_numpy(np.float64)
        good = np.isin(flags, (0, 1)).all(axis=1) & (flags.sum(axis=1) == 1)
        if (bad := np.flatnonzero(~good)).size:
            raise UnknownOutcome(f"{source}: row {bad[0] + 1}: not one of {', '.join(names)} is 1 and the others 0")
        winners = np.array([str(winner) for winner in self.layout.flags.values()], object)
        return pd.Series(winners[flags.argmax(axis=1)], index=votes.index)


def read_as(fields: Fields, *, extra: Sequence[str], optional: Iterable[str], source: str) -> Reading:
    """How to read a file with these fields; raises `InputError` when it holds no votes or lacks a column of `extra`."""
    fitting = [layout for layout in LAYOUTS if all(name in fields for name in layout.columns)]
    layout = fitting[0] if fitting else OURS
    has = ", ".join(map(str, fields)) or "none"
    paths: dict[str, tuple[str, ...]] = {}
    for ours, theirs in zip(("model_a", "model_b", "winner"), layout.columns, strict=False):
        if theirs not in fields:
            raise InputError(f"{source}: no column {theirs!r} (it has: {has}); votes need {', '.join(REQUIRED)}")
        paths[ours] = (theirs,)
    if layout.flags:
        del paths["winner"]
        paths |= {name: (name,) for name in layout.flags}
    for ours in optional:
        found = next((name for name in OPTIONAL[ours] if name in fields), None)
        if found is not None:
            paths[ours] = (found,)
    for name in extra:
        path = paths.get(name) or nested_path(name, fields)
        if path is None:
            path = next(((other,) for other in OPTIONAL.get(name, ()) if other in fields), None)
        if path is None:
            raise InputError(f"{source}: no column {name!r} (it has: {has})")
        paths[name] = path
    return Reading(layout, paths)


def nested_path(name: str, fields: Fields) -> tuple[str, ...] | None:
    """Where a name such as `conv_metadata.turns` leads; keys may hold dots themselves."""
    if name in fields:
        return (name,)
    for key, below in fields.items():
        if isinstance(below, Mapping) and name.startswith(f"{key}."):
            rest = nested_path(name[len(key) + 1 :], below)
            if rest is not None:
                return (key, *rest)
    return None


def leaves(fields: Fields) -> list[str]:
    """The names of all values, nested ones with dots."""
    found = []
    for key, below in fields.items():
        found += [f"{key}.{name}" for name in leaves(below)] if below else [str(key)]
    return found


def fields_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The names in one JSON object."""
    return {key: fields_of(value) if isinstance(value, Mapping) else {} for key, value in row.items()}


def pick(row: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The value that a path leads to, None where it ends before."""
    value: Any = row
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


# ---- JSON files that are one array, and logs -------------------------------------------------------------------------


def array_rows(text: str, source: str) -> list[dict[str, Any]]:
    """The objects of a JSON array."""
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{source}: is not JSON: {error}") from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{source}: row {number} is not a JSON object")
    return list(rows)


def is_log(row: Mapping[str, Any]) -> bool:
    """Whether a row is a line of a FastChat log."""
    return "type" in row and "tstamp" in row and "model_a" not in row


def log_votes(rows: Iterable[Mapping[str, Any]], source: str) -> tuple[list[dict[str, Any]], str]:
    """The votes in a FastChat log, with our names, and a note on what was left out."""
    votes, others = [], Counter[str]()
    for number, row in enumerate(rows, 1):
        kind = row.get("type")
        if kind in NOT_VOTES:
            others[str(kind)] += 1
            continue
        if not isinstance(kind, str) or kind not in BUTTONS:
            raise InputError(
                f"{source}: row {number}: unknown type {kind!r}; votes are {', '.join(BUTTONS)}, "
                f"and {', '.join(NOT_VOTES)} are left out"
            )
        votes.append(_log_vote(row, BUTTONS[kind], f"{source}: row {number}"))
    left_out = ", ".join(f"{count:,} {kind}" for kind, count in sorted(others.items()))
    note = "read as FastChat log: winner is type, voter is ip, created_at is tstamp"
    return votes, f"{note}; no votes and left out: {left_out}" if left_out else note


def _log_vote(row: Mapping[str, Any], winner: Winner, where: str) -> dict[str, Any]:
    shown, states = row.get("models"), row.get("states")
    if not (_is_two(shown) and _is_two(states) and all(isinstance(state, Mapping) for state in states or ())):
        raise InputError(f"{where}: models and states are not one for each side")
    names = [_shown_name(name, where) for name in shown or ()]
    hidden = [state.get("model_name") for state in states or ()]
    anonymous = names[0] in ANONYMOUS
    if anonymous != (names[1] in ANONYMOUS):
        raise InputError(f"{where}: one model is named and the other is not")
    if anonymous and not all(isinstance(name, str) and name for name in hidden):
        raise InputError(f"{where}: the models are not named, neither in models nor in states")
    if not anonymous and any(name not in (None, names[side]) for side, name in enumerate(hidden)):
        raise InputError(f"{where}: models says {names!r} but states say {hidden!r}")
    model_a, model_b = hidden if anonymous else names
    vote = {"model_a": model_a, "model_b": model_b, "winner": str(winner), "created_at": row.get("tstamp")}
    return vote | {"voter": row.get("ip"), "anony": anonymous}


def _is_two(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def _shown_name(name: object, where: str) -> str:
    if not isinstance(name, str):
        raise InputError(f"{where}: models has {name!r} for a name")
    match = _SHOWN_NAME.fullmatch(name)
    return match["name"] if match else name


def frame_of(rows: Sequence[Mapping[str, Any]], reading: Reading) -> pd.DataFrame:
    """The columns of a reading from JSON objects."""
    columns: Iterator[tuple[str, pd.Series[Any]]] = (
        (name, pd.Series([pick(row, path) for row in rows], dtype=object)) for name, path in reading.paths.items()
    )
    return pd.DataFrame(dict(columns))
