"""How requests to models ended (delivered, refused, filtered, failed), with intervals, and whether models differ.

A request is a prompt with a seed, however often it was tried: it is delivered when any try was, and otherwise ended as
its last try did. Votes are given on what was delivered only, so a model that declines hard prompts is judged on easier
ones. `differential_refusal` says where that happens by more than chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binom

from paragone.arena.pairs import wilson
from paragone.data.records import Attempt, Status

REQUEST_COLUMNS = (
    "n_requests",
    "delivered",
    "delivered_lower",
    "delivered_upper",
    "n_refused",
    "n_filtered",
    "n_failed",
)
DECLINED = (Status.REFUSED, Status.FILTERED)  # the model or its service would not; the other failures could not
ALPHA = 0.01  # of the warning, over all pairs of models

Request = tuple[str, int]  # prompt id, seed
Outcomes = Mapping[str, Mapping[Request, Status]]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of requests with its 95 % Wilson interval; `n` is 0 where nothing was asked, and the rest is NaN then."""

    k: int
    n: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.k / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """From where to where it may lie."""
        if not self.n:
            return float("nan"), float("nan")
        lower, upper = wilson(np.array([self.value]), np.array([float(self.n)]))
        return float(lower[0]), float(upper[0])

    @property
    def percent(self) -> str:
        """In words, `13 % (5–30)`; "–" where nothing was asked."""
        if not self.n:
            return "–"
        lower, upper = self.interval
        return f"{100 * self.value:.0f} % ({100 * lower:.0f}–{100 * upper:.0f})"


@dataclass(frozen=True, slots=True)
class RefusalDifference:
    """Two models, of which one declines what the other delivers by more than chance."""

    model: str  # the one that declines more
    other: str
    more: int  # prompts of which `model` declined the larger share
    less: int  # prompts of which `other` did
    shared: int  # prompts that both were asked
    p_value: float  # of the sign test over these prompts, times the number of pairs
    pairs: int

    def __str__(self) -> str:
        return (
            f"refusals differ between models by more than chance: {self.model} declined more than {self.other} on "
            f"{self.more} of {self.shared} prompts and less on {self.less} (p = {self.p_value:.2g}, corrected for "
            f"{self.pairs} pair{'s' * (self.pairs != 1)}); votes are on what was delivered, so ratings favour whoever "
            "declines what is hard"
        )


def request_outcomes(attempts: Iterable[Attempt]) -> Outcomes:
    """How each model's requests ended; attempts at the same request come in the order of time."""
    ended: dict[str, dict[Request, Status]] = {}
    for attempt in attempts:
        requests = ended.setdefault(attempt.model, {})
        key = attempt.prompt_id, attempt.seed
        if requests.get(key) is not Status.OK:
            requests[key] = attempt.status
    return ended


def request_table(outcomes: Outcomes) -> pd.DataFrame:
    """One row a model (index) with `REQUEST_COLUMNS`; `n_failed` are neither delivered nor declined."""
    rows = {}
    for model, requests in outcomes.items():
        ended = list(requests.values())
        delivered = Share(ended.count(Status.OK), len(ended))
        refused, filtered = (ended.count(status) for status in DECLINED)
        failed = len(ended) - delivered.k - refused - filtered
        rows[model] = (len(ended), delivered.value, *delivered.interval, refused, filtered, failed)
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(REQUEST_COLUMNS))


def differential_refusal(outcomes: Outcomes, *, alpha: float = ALPHA) -> RefusalDifference | None:
    """The two models whose refusals differ most clearly; None when no pair's do at the level `alpha` over all pairs.

    On each prompt that both were asked, the shares of requests that the two declined are compared. Were they as
    likely to decline, each would be ahead as often as the other: an exact two-sided sign test, so that seeds of one
    prompt count once. Bonferroni's correction is for all pairs that share a prompt.
    """
    models = sorted(outcomes)
    shares = _declined_shares([outcomes[model] for model in models])  # [model, prompt], NaN where it was not asked
    found: list[tuple[float, RefusalDifference]] = []
    pairs = 0
    for i in range(len(models)):
        difference = shares[i + 1 :] - shares[i]
        asked = ~np.isnan(difference)
        ahead, behind = (difference > 0).sum(axis=1), (difference < 0).sum(axis=1)
        pairs += int(asked.any(axis=1).sum())
        p_values = np.minimum(1.0, 2 * binom.cdf(np.minimum(ahead, behind), ahead + behind, 0.5))
        for step in np.flatnonzero(p_values <= alpha):
            j = i + 1 + int(step)
            counts = int(max(ahead[step], behind[step])), int(min(ahead[step], behind[step]))
            names = (models[j], models[i]) if ahead[step] > behind[step] else (models[i], models[j])
            p = float(p_values[step])
            found.append((p, RefusalDifference(*names, *counts, int(asked[step].sum()), p, 0)))
    if not found:
        return None
    p, best = min(found, key=lambda entry: entry[0])
    if p * pairs > alpha:
        return None
    return RefusalDifference(best.model, best.other, best.more, best.less, best.shared, p * pairs, pairs)


def _declined_shares(requests: Sequence[Mapping[Request, Status]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    prompts = {prompt: n for n, prompt in enumerate(dict.fromkeys(prompt for of in requests for prompt, _ in of))}
    declined, asked = np.zeros((2, len(requests), len(prompts)))
    for row, ended in enumerate(requests):
        for (prompt, _), status in ended.items():
            asked[row, prompts[prompt]] += 1
            declined[row, prompts[prompt]] += status in DECLINED
    with np.errstate(invalid="ignore"):
        return declined / asked
