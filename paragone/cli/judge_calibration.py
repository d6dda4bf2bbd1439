"""Soft verdicts of judges beside what people chose on the same pictures: how sure a judge may be.

Composition: the store knows who decided what on which pictures, `paragone.judges.calibration` fits the temperature.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from paragone.data.errors import TooFewSamples

if TYPE_CHECKING:
    import pandas as pd

    from paragone.arena.store import Store
    from paragone.judges.calibration import Calibration

LEAST = 1e-6  # a probability below it is taken as this: no log-odds are infinite


def calibrations(store: Store) -> dict[str, Calibration]:
    """For each judge with soft verdicts on pictures that people chose between: its calibration, by prompt.

    People's ties and "both bad" have no place here. A judge's two orders count by their mean log-odds.
    """
    from paragone.judges.calibration import calibrate

    votes = store.votes()
    people = _choices(votes[votes["voter_kind"] == "human"])
    found = {}
    for judge in sorted(store.judge_calls()["judge"].unique()):
        soft = _log_odds(store, judge, votes)
        if people.empty or soft.empty:
            continue
        both = people.merge(soft, on="item")
        if both.empty:
            continue
        try:
            found[judge] = calibrate(both["log_odds"], both["chosen"], clusters=both["prompt"])
        except TooFewSamples:  # all on one prompt: folds cannot be told apart
            continue
    return found


def sentence(judge: str, found: Calibration) -> str:
    """What a calibration says, in a line."""
    how = "as sure as it may be"
    if found.at_edge:
        how = "the votes do not determine how sure it may be"
    elif found.temperature > 1.1:
        how = f"surer than it may be: divide its log-odds by {found.temperature:.2f}"
    elif found.temperature < 0.9:
        how = f"less sure than it could be: divide its log-odds by {found.temperature:.2f}"
    ranked = "" if found.auroc is None else f", AUROC {found.auroc:.3f}"
    brier = f"Brier score {found.brier:.3f}, {found.brier_calibrated:.3f} once calibrated (held out)"
    return f"{judge}: soft verdicts beside {found.n} choices of people: {how}; {brier}{ranked}"


def _choices(votes: pd.DataFrame) -> pd.DataFrame:
    """Columns item, chosen (1: the picture whose id sorts first), prompt; decided votes on pictures alone."""
    decided = votes[votes["winner"].isin(["model_a", "model_b"]) & votes["sample_a"].notna()]
    first = decided["sample_a"] < decided["sample_b"]
    chosen = (decided["winner"] == "model_a") == first
    return decided.assign(item=_items(decided), chosen=chosen.astype(float))[["item", "chosen", "prompt"]]


def _items(votes: pd.DataFrame) -> list[str]:
    return [" ".join(sorted(pair)) for pair in zip(votes["sample_a"], votes["sample_b"], strict=True)]


def _log_odds(store: Store, judge: str, votes: pd.DataFrame) -> pd.DataFrame:
    """Columns item, log_odds: of the picture whose id sorts first, the mean over the judge's answers."""
    import pandas as pd

    battles = votes[votes["sample_a"].notna()].drop_duplicates("battle").set_index("battle")
    rows: list[tuple[str, float]] = []
    for call in store.judge_details(judge).to_dict("records"):
        probabilities: dict[str, Any] | None = call["details"].get("probabilities")
        if not probabilities or call["battle"] not in battles.index:
            continue
        shown_first, shown_second = (max(float(probabilities[side]), LEAST) for side in ("first", "second"))
        of_a = math.log(shown_first / shown_second) * (1 if call["side_order"] == "ab" else -1)
        battle = battles.loc[call["battle"]]
        one, two = battle["sample_a"], battle["sample_b"]
        rows.append((" ".join(sorted((one, two))), of_a if one < two else -of_a))
    frame = pd.DataFrame(rows, columns=["item", "log_odds"])
    return frame.groupby("item")["log_odds"].mean().reset_index()
