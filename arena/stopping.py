"""When may we stop? Sequential tests of "A is better than B" that may be looked at after every vote.

Outcomes are scores of A in [0, 1]: 1 a win, ½ a tie, 0 a loss; or ¼ steps, the mean score of a pair of votes with the
sides exchanged. σ(Δ) is the expected score at a rating difference Δ.

- `e_process`: the wealth of a gambler who bets against "A's expected score is at most σ(Δ)", mixed over bets (Ville,
  1939; Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86, 2024). Its error
  rate holds at every moment at once, for any outcomes in [0, 1], ties or not, as long as no vote's expected score,
  given those before it, is above σ(Δ).
- `confidence_sequence`: all differences that no gambler has been refuted on; valid at every moment at once.
- `sprt`: the generalised sequential probability ratio test between two differences (Wald 1945; with the likelihood
  maximised over trinomial or pentanomial outcomes as chess engines are tested). Quicker, and it can also reject the
  claim, but its error rates are approximate, and votes must be independent and alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit, logsumexp

from paragone.arena.elo import SCORES, expected_score
from paragone.arena.ratings import check_model
from paragone.arena.votes import BOTH_BAD, FloatArray, IntArray, code_votes
from paragone.data.errors import InputError, UsageError

SCHEMA = "paragone.sequential/1"
Verdict = Literal["continue", "accept", "reject"]
Alternative = Literal["greater", "less", "two-sided"]
OutcomeModel = Literal["trinomial", "pentanomial"]

BETS = np.geomspace(0.01, 0.9, 20)  # shares of the largest bet that cannot ruin the gambler
BLOCK = 1 << 20  # numbers at a time
HALVINGS = 30  # of an interval below 5: bounds to 1e-9 (on the safe side), ratios to all their digits
EMPTY = 1e-3  # votes in an outcome that has not come yet, so that the likelihood exists


@dataclass(frozen=True, slots=True, eq=False)
class SequentialTest:
    """A sequential test after n outcomes. A verdict stands, whatever came after `decided_at`."""

    method: str  # "e-process" or "sprt"
    claim: str
    verdict: Verdict  # of the claim; an e-process never rejects it
    decided_at: int | None  # number of outcomes at which the verdict fell
    outcomes: FloatArray  # [n]
    statistic: FloatArray  # [n] natural logarithm of the e-value, or the log-likelihood ratio, after each outcome
    upper: float  # the claim is accepted when the statistic reaches it
    lower: float | None  # the claim is rejected when the statistic falls to it
    parameters: Mapping[str, Any]

    @property
    def n(self) -> int:
        """Number of outcomes."""
        return self.outcomes.size

    @property
    def score(self) -> float | None:
        """A's mean score; None of nothing."""
        return float(self.outcomes.mean()) if self.n else None

    @property
    def p_value(self) -> float | None:
        """1 over the largest e-value so far: a p-value at any moment. None for an SPRT, which has none."""
        if self.method == "sprt":
            return None
        return min(1.0, math.exp(-float(self.statistic.max(initial=0.0))))

    def extended(self, outcomes: Sequence[float] | NDArray[Any]) -> SequentialTest:
        """The test after more outcomes: the same as if all had come at once."""
        more = np.concatenate([self.outcomes, _check(outcomes)])
        p = self.parameters
        if self.method == "sprt":
            return sprt(
                more,
                elo0=p["elo0"],
                elo1=p["elo1"],
                alpha=p["alpha"],
                beta=p["beta"],
                model=p["model"],
                scale=p["scale"],
                base=p["base"],
            )
        return e_process(
            more, elo=p["elo"], alternative=p["alternative"], alpha=p["alpha"], scale=p["scale"], base=p["base"]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, schema `paragone.sequential/1`, without the outcomes."""
        return {
            "schema": SCHEMA,
            "method": self.method,
            "claim": self.claim,
            "verdict": self.verdict,
            "decided_at": self.decided_at,
            "n": self.n,
            "score": self.score,
            "statistic": float(self.statistic[-1]) if self.n else 0.0,
            "upper": self.upper,
            "lower": self.lower,
            "p_value": self.p_value,
            "parameters": dict(self.parameters),
        }


@dataclass(frozen=True, slots=True, eq=False)
class ConfidenceSequence:
    """Intervals [n] of A's expected score and rating lead, one after each outcome, all true at once with 1 − alpha."""

    lower: FloatArray  # [n] in [0, 1]
    upper: FloatArray
    elo_lower: FloatArray  # [n] rating points; −∞ where a score of 0 is possible
    elo_upper: FloatArray
    level: float


def e_process(
    outcomes: Sequence[float] | NDArray[Any],
    *,
    elo: float = 0.0,
    alternative: Alternative = "greater",
    alpha: float = 0.05,
    scale: float = 400.0,
    base: float = 10.0,
) -> SequentialTest:
    """Test by betting whether A is better than B by more than `elo` points (alternative="greater").

    The claim is accepted when the e-value reaches 1/alpha, which happens with probability alpha at most, ever, where it
    is wrong. "less" claims that A's lead is below `elo`, "two-sided" that it differs.

    Raises:
        InputError: an outcome that is not a number in [0, 1].
        UsageError: an option that cannot work.
    """
    if alternative not in get_args(Alternative):
        raise UsageError(f"alternative={alternative!r}: use one of {', '.join(get_args(Alternative))}")
    _check_options(alpha=alpha, scale=scale, base=base, points=(elo,))
    x, mean = _check(outcomes), expected_score(elo, 0.0, scale=scale, base=base)
    statistic = _log_wealth(x, mean, alternative)
    claim = {
        "greater": f"A is better than B by more than {elo:g} points",
        "less": f"A's lead over B is below {elo:g} points",
        "two-sided": f"A's lead over B is not {elo:g} points",
    }[alternative]
    parameters = {"elo": elo, "alternative": alternative, "alpha": alpha, "scale": scale, "base": base}
    return _decide("e-process", claim, x, statistic, math.log(1 / alpha), None, parameters)


def _log_wealth(x: FloatArray, mean: float, alternative: Alternative) -> FloatArray:
    """[n] log wealth after each outcome."""
    total = np.zeros((2 if alternative == "two-sided" else 1, BETS.size))
    wealth = np.empty(x.size)
    step = max(1, BLOCK // total.size)
    for start in range(0, x.size, step):
        part = x[start : start + step, None, None]
        up, down = 1 - BETS + BETS * part / mean, 1 - BETS + BETS * (1 - part) / (1 - mean)
        sides = {"greater": [up], "less": [down], "two-sided": [up, down]}[alternative]
        grown = total + np.cumsum(np.log(np.concatenate(sides, axis=1)), axis=0)
        wealth[start : start + step] = logsumexp(grown, axis=(1, 2)) - math.log(total.size)
        total = grown[-1]
    return wealth


def confidence_sequence(
    outcomes: Sequence[float] | NDArray[Any],
    *,
    alpha: float = 0.05,
    scale: float = 400.0,
    base: float = 10.0,
) -> ConfidenceSequence:
    """Intervals of A's expected score, and of its rating lead, that hold after every outcome at once.

    After n outcomes: the scores against which no `e_process`, of "greater" or of "less", has reached 2/alpha so far.
    Should the score drift, these may run out, and a lower bound lies above its upper. The work grows with n times the
    number of distinct outcomes. Raises what `e_process` does.
    """
    _check_options(alpha=alpha, scale=scale, base=base, points=())
    x = _check(outcomes)
    values, code = np.unique(x, return_inverse=True)
    lower, upper = np.zeros(x.size), np.ones(x.size)
    seen = np.zeros(values.size)
    step = max(1, BLOCK // (max(values.size, 1) * BETS.size))
    for start in range(0, x.size, step):
        came = np.zeros((min(step, x.size - start), values.size))
        came[np.arange(len(came)), code[start : start + step]] = 1
        count = seen + np.cumsum(came, axis=0)
        seen = count[-1]
        limit = math.log(2 / alpha)
        lower[start : start + step] = _bound(count, values, limit)
        upper[start : start + step] = 1 - _bound(count, 1 - values, limit)
    lower, upper = np.maximum.accumulate(lower), np.minimum.accumulate(upper)
    points = scale / math.log(base)
    return ConfidenceSequence(lower, upper, points * logit(lower), points * logit(upper), 1 - alpha)


def _bound(count: FloatArray, values: FloatArray, limit: float) -> FloatArray:
    """[T] the largest refuted mean below the sample mean, 0 where there is none, of counts [T, V] of the values [V].

    The wealth falls as the mean grows and is at most 1 at the sample mean, so bisection finds where it is the limit.
    """
    low = np.zeros(len(count))
    high = count @ values / count.sum(axis=1)
    for _ in range(HALVINGS):
        middle = np.maximum((low + high) / 2, np.finfo(float).tiny)
        gains = np.log1p(BETS * (values[None, :, None] / middle[:, None, None] - 1))
        wealth = logsumexp(np.einsum("tv,tvk->tk", count, gains), axis=1) - math.log(BETS.size)
        low, high = np.where(wealth >= limit, middle, low), np.where(wealth >= limit, high, middle)
    return low


def sprt(
    outcomes: Sequence[float] | NDArray[Any],
    *,
    elo0: float,
    elo1: float,
    alpha: float = 0.05,
    beta: float = 0.05,
    model: OutcomeModel = "trinomial",
    scale: float = 400.0,
    base: float = 10.0,
) -> SequentialTest:
    """Test H1 "A's lead is `elo1` or more" against H0 "`elo0` or less".

    The claim H1 is accepted when the log-likelihood ratio reaches log((1 − beta)/alpha), and rejected when it falls to
    log(beta/(1 − alpha)); wrongly so with probabilities of about alpha (at elo0) and beta (at elo1).

    Args:
        outcomes: [n] scores of A: 1, ½, 0; or, with model="pentanomial", means of a pair of votes: 1, ¾, ½, ¼, 0.
        elo0: lead under H0, points.
        elo1: lead under H1, above `elo0`; (−20, 0) asks whether A is no worse, (0, 20) whether it is better.
        alpha: chance to accept at elo0.
        beta: chance to reject at elo1.
        model: see `outcomes`. A pair of votes on one battle is not two independent votes: use the pentanomial.
        scale: rating points by which the odds grow `base`-fold.
        base: see `scale`.

    Raises:
        InputError: an outcome that the model does not have.
        UsageError: an option that cannot work.
    """
    if model not in get_args(OutcomeModel):
        raise UsageError(f"model={model!r}: use 'trinomial' or 'pentanomial'")
    _check_sprt(elo0=elo0, elo1=elo1, alpha=alpha, beta=beta, scale=scale, base=base)
    values = np.linspace(0, 1, 3 if model == "trinomial" else 5)
    x = _check(outcomes)
    code = np.rint(x * (values.size - 1)).astype(np.int64)
    if (bad := np.flatnonzero(values[code] != x)).size:
        raise InputError(
            f"outcome {bad[0] + 1} is {x[bad[0]]:g}; a {model} SPRT takes {', '.join(f'{v:g}' for v in values)}"
        )
    means = [expected_score(elo, 0.0, scale=scale, base=base) for elo in (elo0, elo1)]
    statistic = _log_likelihood_ratio(code, values, *means)
    bounds = math.log((1 - beta) / alpha), math.log(beta / (1 - alpha))
    parameters = {"elo0": elo0, "elo1": elo1, "alpha": alpha, "beta": beta}
    parameters |= {"model": model, "scale": scale, "base": base}  # type: ignore[dict-item]
    claim = f"A is better than B by {elo1:g} points or more, rather than by {elo0:g} or less"
    return _decide("sprt", claim, x, statistic, *bounds, parameters)


def _log_likelihood_ratio(code: IntArray, values: FloatArray, mean0: float, mean1: float) -> FloatArray:
    """[n] after each outcome."""
    ratio = np.empty(code.size)
    seen = np.zeros(values.size)
    step = BLOCK // values.size
    for start in range(0, code.size, step):
        part = code[start : start + step]
        count = seen + np.cumsum(np.eye(values.size)[part], axis=0)
        seen = count[-1]
        count = np.maximum(count, EMPTY)
        logs = [np.log1p(_tilt(count, values, mean) * (values - mean)) for mean in (mean0, mean1)]
        ratio[start : start + step] = (count * (logs[0] - logs[1])).sum(axis=1)
    return ratio


def _tilt(count: FloatArray, values: FloatArray, mean: float) -> FloatArray:
    """[T, 1] t such that the probabilities ∝ count/(1 + t(value − mean)) have that mean: the most likely that do."""
    p, away = count / count.sum(axis=1, keepdims=True), values - mean
    low = np.full((len(count), 1), -1 / away[-1])
    high = np.full((len(count), 1), -1 / away[0])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = (p * away / (1 + middle * away)).sum(axis=1, keepdims=True) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    tilt: FloatArray = (low + high) / 2
    return tilt


def sprt_length(
    elo: float,
    *,
    elo0: float,
    elo1: float,
    alpha: float = 0.05,
    beta: float = 0.05,
    ties: float = 0.0,
    scale: float = 400.0,
    base: float = 10.0,
) -> tuple[float, float]:
    """Chance that `sprt` accepts, and the number of votes that it takes on average, when A's lead is `elo`.

    By the Brownian motion with the drift and variance of a vote's log-likelihood ratio, so without what the last vote
    overshoots; `ties` is the share of ties, which lower the variance of a vote.
    """
    _check_sprt(elo0=elo0, elo1=elo1, alpha=alpha, beta=beta, scale=scale, base=base)
    _check_options(alpha=alpha, scale=scale, base=base, points=(elo,))
    s, s0, s1 = (expected_score(points, 0.0, scale=scale, base=base) for points in (elo, elo0, elo1))
    variance = s * (1 - s) - ties / 4
    if not 0 <= ties < 1 or variance <= 0:
        raise UsageError(f"ties={ties}: give a share of ties that a score of {s:.3f} leaves room for")
    drift, spread = (s1 - s0) * (2 * s - s0 - s1) / (2 * variance), (s1 - s0) ** 2 / variance
    up, down = math.log((1 - beta) / alpha), math.log(beta / (1 - alpha))
    if abs(drift) * (up - down) / spread < 1e-6:
        return -down / (up - down), -up * down / spread
    k = 2 * drift / spread
    accept = math.expm1(-k * down) / (math.exp(-k * down) - math.exp(-k * up))
    return accept, (accept * up + (1 - accept) * down) / drift


def scores_against(
    votes: pd.DataFrame, model_a: str, model_b: str, *, both_bad: Literal["tie", "drop"] = "tie"
) -> FloatArray:
    """The outcomes [n] of the votes between two models, as scores of the first, in the order of the rows."""
    if both_bad not in ("tie", "drop"):
        raise UsageError(f"both_bad={both_bad!r}: use 'tie' (count it as a tie) or 'drop' (leave it out)")
    coded = code_votes(votes)
    for name in (model_a, model_b):
        check_model(name, coded.models)
    first, second = coded.models.index(model_a), coded.models.index(model_b)
    straight, turned = (coded.a == first) & (coded.b == second), (coded.a == second) & (coded.b == first)
    keep = (straight | turned) & ((coded.outcome != BOTH_BAD) | (both_bad == "tie"))
    scores = np.where(straight, SCORES[coded.outcome], 1 - SCORES[coded.outcome])
    chosen: FloatArray = scores[keep]
    return chosen


def _decide(
    method: str,
    claim: str,
    outcomes: FloatArray,
    statistic: FloatArray,
    upper: float,
    lower: float | None,
    parameters: Mapping[str, Any],
) -> SequentialTest:
    out = statistic >= upper if lower is None else (statistic >= upper) | (statistic <= lower)
    verdict: Verdict = "continue"
    decided_at = None
    if out.any():
        decided_at = int(np.argmax(out)) + 1
        verdict = "accept" if statistic[decided_at - 1] >= upper else "reject"
    for array in (outcomes, statistic):
        array.flags.writeable = False
    return SequentialTest(method, claim, verdict, decided_at, outcomes, statistic, upper, lower, parameters)


def _check(outcomes: Sequence[float] | NDArray[Any]) -> FloatArray:
    """[n] a copy, as float64."""
    try:
        x = np.array(outcomes, np.float64)
    except (TypeError, ValueError):
        raise InputError("outcomes are numbers: 1 for a win of A, 0.5 for a tie, 0 for a loss") from None
    if x.ndim != 1:
        raise InputError(f"outcomes have shape {x.shape}; give one score of A after another")
    if (bad := np.flatnonzero(~((x >= 0) & (x <= 1)))).size:
        raise InputError(f"outcome {bad[0] + 1} is {x[bad[0]]:g}; give scores of A from 0 (a loss) to 1 (a win)")
    return x


def _check_options(*, alpha: float, scale: float, base: float, points: tuple[float, ...]) -> None:
    if not 0 < alpha < 1:
        raise UsageError(f"alpha={alpha}: give an error rate between 0 and 1")
    if not (math.isfinite(scale) and scale > 0 and math.isfinite(base) and base > 1):
        raise UsageError(f"scale={scale}, base={base}: need scale > 0 and base > 1")
    for elo in points:
        if not math.isfinite(elo) or not 0 < expected_score(elo, 0.0, scale=scale, base=base) < 1:
            raise UsageError(f"{elo} rating points: give a finite difference at which either may win")


def _check_sprt(*, elo0: float, elo1: float, alpha: float, beta: float, scale: float, base: float) -> None:
    _check_options(alpha=alpha, scale=scale, base=base, points=(elo0, elo1))
    if not elo0 < elo1:
        raise UsageError(f"elo0={elo0}, elo1={elo1}: elo0 is the lead under H0 and has to be the lower one")
    if not (0 < beta < 1 and alpha + beta < 1):
        raise UsageError(f"alpha={alpha}, beta={beta}: give two error rates above 0 that add up to less than 1")
