"""The chain that votes hang on: each row's digest covers its content and the digest of the row before.

Whoever knows the last digest (the head) can tell whether any vote before it was changed, dropped, added or moved: an
exported log is checked with `first_break`, and nothing but the log is needed for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

# As `paragone.data.records.fingerprint` writes lists, but made once: a chain has a million links.
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
GENESIS = "0" * 64  # what comes before the first row
Row = Mapping[Any, Any]  # column name -> value

# What the digest of a vote covers: the vote, and the battle that it decides.
VOTE_FACTS = (
    "battle_id",
    "prompt_id",
    "model_a",
    "model_b",
    "sample_a",
    "sample_b",
    "criterion",
    "winner",
    "voter",
    "voter_kind",
    "dwell_ms",
    "created_at",
)
EVENT_FACTS = ("vote_id", "kind", "winner", "rule", "reason", "actor", "created_at")


class EventKind(StrEnum):
    """What can be said of a vote after it was given. The vote itself never changes."""

    FLAG = "flag"  # worth a look; still counts
    UNFLAG = "unflag"
    EXCLUDE = "exclude"  # no longer counts
    RESTORE = "restore"
    CORRECT = "correct"  # counts as another outcome


def link(previous: str, row: Row, facts: tuple[str, ...]) -> str:
    """The digest of a row that follows the row with digest `previous`."""
    content = _ENCODER.encode([previous, *[row[name] for name in facts]])
    return hashlib.sha256(content.encode()).hexdigest()


def first_break(rows: Iterable[Row], facts: tuple[str, ...]) -> int | None:
    """The position (from 0) of the first row whose `digest` does not follow from the rows before; None when sound."""
    previous = GENESIS
    for position, row in enumerate(rows):
        if row["digest"] != link(previous, row, facts):
            return position
        previous = row["digest"]
    return None
