"""Votes become ratings, ratings a leaderboard. Names are loaded when they are first used; nothing imports torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paragone.arena.bradley_terry import fit_bradley_terry
    from paragone.arena.elo import elo_history, expected_score, fit_elo
    from paragone.arena.intervals import simulate_ranks
    from paragone.arena.leaderboard import build_leaderboard
    from paragone.arena.ratings import ALL_RATERS, Ratings
    from paragone.arena.store import Store
    from paragone.arena.ties import fit_davidson, fit_rao_kupper
    from paragone.arena.votes import Cells, read_votes

_HOMES = {
    "ALL_RATERS": "ratings",
    "Cells": "votes",
    "Ratings": "ratings",
    "Store": "store",
    "build_leaderboard": "leaderboard",
    "elo_history": "elo",
    "expected_score": "elo",
    "fit_bradley_terry": "bradley_terry",
    "fit_davidson": "ties",
    "fit_elo": "elo",
    "fit_rao_kupper": "ties",
    "read_votes": "votes",
    "simulate_ranks": "intervals",
}

if __name__ == "arena":  # a second copy of every class, in a checkout whose root is on the path
    raise ImportError("import paragone.arena instead of arena")

__all__ = [
    "ALL_RATERS",
    "Cells",
    "Ratings",
    "Store",
    "build_leaderboard",
    "elo_history",
    "expected_score",
    "fit_bradley_terry",
    "fit_davidson",
    "fit_elo",
    "fit_rao_kupper",
    "read_votes",
    "simulate_ranks",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"paragone.arena.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'paragone.arena' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
