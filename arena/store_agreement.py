"""What several voters decided on the same pictures, and a judge in both orders, out of an arena's store."""

from __future__ import annotations

import numpy as np
import pandas as pd

from paragone.arena.store import Store
from paragone.data.records import Winner


def picture_votes(store: Store) -> pd.DataFrame:
    """The votes that count, in their order, with what they are on: `item` names the two pictures, whatever their sides.

    Columns: model_a, model_b, winner, voter, kind, prompt, item. Two battles of the same two pictures are one item:
    every person is issued battles of their own.
    """
    votes = store.votes()
    one, two = (votes[name].to_numpy(dtype=object) for name in ("sample_a", "sample_b"))
    item = votes["battle"].to_numpy(dtype=object).copy()  # imported without pictures: a battle is all that is known
    shown = votes["sample_a"].notna().to_numpy(dtype=bool)
    one, two = one[shown], two[shown]
    item[shown] = np.where(one < two, one + " " + two, two + " " + one) if one.size else item[shown]
    columns = ["model_a", "model_b", "winner", "voter", "voter_kind", "prompt"]
    return votes[columns].rename(columns={"voter_kind": "kind"}).assign(item=item)


def calls_as_votes(store: Store) -> pd.DataFrame:
    """Each judge's answered calls as votes, sides as the judge saw them.

    Columns: model_a, model_b, winner, voter (the judge), battle. What was not answered is no vote.
    """
    calls = store.judge_calls()
    calls = calls[calls["winner"].notna()].rename(columns={"judge": "voter"})
    exchanged = calls["side_order"] == "ba"
    seen = calls[["model_a", "model_b", "winner", "voter", "battle"]].reset_index(drop=True)
    exchanged = exchanged.reset_index(drop=True)
    seen.loc[exchanged, ["model_a", "model_b"]] = seen.loc[exchanged, ["model_b", "model_a"]].to_numpy()
    seen.loc[exchanged, "winner"] = [str(Winner(word).swapped()) for word in seen.loc[exchanged, "winner"]]
    return seen
