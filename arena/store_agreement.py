"""What several voters decided on the same pictures, and a judge in both orders, out of an arena's database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import Select, func, select

from paragone.arena.schema import battles, judge_calls, votes
from paragone.arena.store_engine import Database
from paragone.data.records import Winner


def picture_votes(path: Path) -> pd.DataFrame:
    """All votes in their order, with what they are on: `item` names the two pictures, whichever side each was on.

    Columns: model_a, model_b, winner, voter, kind, prompt, item. Two battles of the same two pictures are one item:
    every person is issued battles of their own.
    """
    low, high = func.min(battles.c.sample_a, battles.c.sample_b), func.max(battles.c.sample_a, battles.c.sample_b)
    vote = votes.c
    columns = (battles.c.model_a, battles.c.model_b, vote.winner, vote.voter, vote.voter_kind.label("kind"))
    item = (low + " " + high).label("item")
    query = select(*columns, battles.c.prompt_id.label("prompt"), item).join_from(votes, battles).order_by(vote.id)
    return _frame(path, query)


def calls_as_votes(path: Path) -> pd.DataFrame:
    """Each judge's answered calls as votes, sides as the judge saw them.

    Columns: model_a, model_b, winner, voter (the judge), battle. What was not answered is no vote.
    """
    call = judge_calls.c
    columns = (battles.c.model_a, battles.c.model_b, call.winner, call.judge.label("voter"), call.side_order)
    query = (
        select(*columns, call.battle_id.label("battle"))
        .join_from(judge_calls, battles)
        .where(call.winner.is_not(None))
        .order_by(call.id)
    )
    calls = _frame(path, query)
    exchanged = calls.pop("side_order") == "ba"
    seen = calls.copy()
    seen.loc[exchanged, ["model_a", "model_b"]] = calls.loc[exchanged, ["model_b", "model_a"]].to_numpy()
    seen.loc[exchanged, "winner"] = [str(Winner(word).swapped()) for word in calls.loc[exchanged, "winner"]]
    return seen


def _frame(path: Path, query: Select[Any]) -> pd.DataFrame:
    database = Database(path, create=False)
    try:
        with database.read() as connection:
            result = connection.execute(query)
            return pd.DataFrame(result.all(), columns=list(result.keys()))
    finally:
        database.close()
