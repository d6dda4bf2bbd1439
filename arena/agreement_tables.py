"""What stands beside the coefficients of agreement: who answered what, on which prompts, and what was not answered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from paragone.arena.items import code_items
from paragone.arena.pairs import wilson
from paragone.arena.voter_agreement import CATEGORY, Agreement, BothBad, agreement_by_kind
from paragone.arena.votes import BOTH_BAD, TIE
from paragone.data.errors import InputError
from paragone.data.records import Status, VoterKind

ANSWERS = ("one side", "tie", "the other", "both bad")  # in the order of a confusion matrix
CALL_COLUMNS = ("judge", "model", "n_calls", *map(str, Status), "answered", "lower", "upper")


def share_of(n_yes: int, n: int) -> tuple[float, float, float]:
    """A share and its 95 % interval (Wilson's); n is above 0."""
    lower, upper = wilson(np.array([n_yes / n]), np.array([float(n)]))
    return n_yes / n, float(lower[0]), float(upper[0])


def confusion(votes: pd.DataFrame, *, both_bad: BothBad = "own") -> pd.DataFrame:
    """What people (rows) and judges (columns) answered on the same pictures: [4, 4] pairs of a person and a judge.

    `votes` are as `picture_votes` gives them. Which picture is "one side" is the item's own and means nothing; so a
    table that is not symmetric about the tie says nothing either. `both_bad` as for `agreement_by_kind`.
    """
    table = np.zeros((len(ANSWERS), len(ANSWERS)), np.int64)
    if len(votes):
        items = code_items(votes, "item")
        merged = np.where((items.outcome == BOTH_BAD) & (both_bad == "tie"), TIE, items.outcome)
        answers = pd.DataFrame({"item": items.item, "kind": votes["kind"].to_numpy(object), "answer": CATEGORY[merged]})
        answers = answers[(answers["answer"] < len(ANSWERS) - 1) | (both_bad == "own")]
        human, judge = (answers[answers["kind"] == kind] for kind in (VoterKind.HUMAN, VoterKind.JUDGE))
        pairs = human.merge(judge, on="item", suffixes=("_human", "_judge"))
        np.add.at(table, (pairs["answer_human"].to_numpy(), pairs["answer_judge"].to_numpy()), 1)
    return pd.DataFrame(table, index=pd.Index(ANSWERS, name="people"), columns=pd.Index(ANSWERS, name="judges"))


def agreement_by_tag(
    votes: pd.DataFrame, tags: Mapping[str, tuple[str, ...]], *, both_bad: BothBad = "own"
) -> dict[str, tuple[Agreement, ...]]:
    """Agreement of the kinds of voter on each tag's prompts; `tags` are by prompt. Tags without any are left out."""
    found = {}
    for tag in sorted({tag for of_prompt in tags.values() for tag in of_prompt}):
        on = {prompt for prompt, of_prompt in tags.items() if tag in of_prompt}
        chosen = votes[votes["prompt"].isin(on)].reset_index(drop=True)
        try:
            found[tag] = agreement_by_kind(chosen, item="item", both_bad=both_bad, repeats="first")
        except InputError:  # nobody shares an item here
            continue
    return found


def judge_coverage(calls: pd.DataFrame) -> pd.DataFrame:
    """How judges' calls ended, by judge and model: `CALL_COLUMNS`; `answered` is a share with its 95 % interval.

    `calls` are as `Store.judge_calls` gives them. A call is on two models and counts for both; of a battle that was
    asked again the last attempt counts.
    """
    last = calls.groupby(["judge", "battle"])["attempt"].transform("max") == calls["attempt"]
    calls = calls[last.astype(bool)] if len(calls) else calls
    sides = [calls[["judge", side, "status"]].rename(columns={side: "model"}) for side in ("model_a", "model_b")]
    counted = pd.concat(sides).groupby(["judge", "model", "status"]).size()
    rows = []
    for judge, model in dict.fromkeys((judge, model) for judge, model, _ in counted.index):
        by_status = {str(status): int(counted.get((judge, model, str(status)), 0)) for status in Status}
        n = sum(by_status.values())
        rows.append((judge, model, n, *by_status.values(), *share_of(by_status[str(Status.OK)], n)))
    return pd.DataFrame(rows, columns=list(CALL_COLUMNS))
