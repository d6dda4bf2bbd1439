"""Do 95 % intervals hold the truth in 95 % of cases? Simulated arenas, every method, one table.

    python benchmarks/coverage.py [--arenas 1000] [--scenario NAME]

An arena draws strengths, pairs that meet unequally often, and votes by Davidson's model (ν = 0: no ties). The truth of
a method is what it would estimate from the same battles if each outcome came exactly as often as its probability; with
half-win ties or voters of their own taste that is not the strengths themselves. The Monte Carlo error of a coverage
over 1000 arenas of 10 models is about 0.3 points. Arenas whose votes leave a rating without bound are drawn again, and
counted: a method cannot be judged where it refuses to answer.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paragone.arena import Cells, Ratings, fit_bradley_terry, fit_davidson, pairwise, simulate_ranks
from paragone.arena.votes import CodedVotes, fold
from paragone.data.errors import NotIdentifiable

Array = NDArray[Any]
MODELS = 10
REPLICATES = 200
Fit = Callable[..., Ratings]


@dataclass(frozen=True)
class Scenario:
    """How an arena is drawn."""

    name: str
    votes: int
    nu: float  # Davidson's tie parameter
    spread: float = 0.8  # standard deviation of the strengths, natural units
    voters: int = 0  # each of as many votes; 0: every vote is somebody else's
    taste: float = 0.0  # standard deviation of a voter's own strengths about everybody's


@dataclass(frozen=True)
class Method:
    """A way to intervals."""

    name: str
    fit: Fit
    fits_ties: bool = False
    needs_voters: bool = False


METHODS = (
    Method("bt sandwich", fit_bradley_terry),
    Method("bt bootstrap", partial(fit_bradley_terry, ci="bootstrap", bootstrap=REPLICATES)),
    Method("bt profile", partial(fit_bradley_terry, ci="profile")),
    Method("davidson sandwich", fit_davidson, fits_ties=True),
    Method("davidson profile", partial(fit_davidson, ci="profile"), fits_ties=True),
    Method("bt by voter", partial(fit_bradley_terry, cluster="voter"), needs_voters=True),
)
SCENARIOS = (
    Scenario("no ties, few votes", 150, 0.0, spread=0.6),
    Scenario("no ties", 500, 0.0),
    Scenario("ties", 500, 1.0),
    Scenario("ties, many votes", 5000, 1.0),
    Scenario("60 voters with taste", 600, 0.0, voters=60, taste=1.2),
)


@dataclass(frozen=True)
class Arena:
    """Votes, the strengths behind them, and the probability of each outcome of each vote."""

    table: pd.DataFrame
    theta: Array  # [M]
    expected: Cells  # the same battles with their outcomes at their probabilities

    @property
    def cells(self) -> Cells:
        """The votes, counted."""
        return Cells.from_votes(self.table)


def draw(scenario: Scenario, rng: np.random.Generator) -> Arena:
    """An arena; models met with odds from 1 to 3, so pairs from 1 to 9."""
    theta = rng.normal(0, scenario.spread, MODELS)
    theta -= theta.mean()
    share = np.linspace(1, 3, MODELS)
    a, b = np.argsort(-(np.log(share) + rng.gumbel(size=(scenario.votes, MODELS))), axis=1)[:, :2].T
    d = theta[a] - theta[b]
    voter = np.arange(scenario.votes) if not scenario.voters else np.arange(scenario.votes) % scenario.voters
    own = d
    if scenario.taste:
        taste = rng.normal(0, scenario.taste, (scenario.voters, MODELS))
        own = d + taste[voter, a] - taste[voter, b]
    outcome = (rng.random(scenario.votes) > np.cumsum(davidson(own, scenario.nu), axis=0)[:2]).sum(axis=0)
    names = np.array([f"m{k}" for k in range(MODELS)], object)
    winner = np.array(["model_a", "model_b", "tie"], object)[outcome]
    table = pd.DataFrame({"model_a": names[a], "model_b": names[b], "winner": winner, "voter": voter})
    return Arena(table, theta, _expected(a, b, d, scenario))


def davidson(d: Array, nu: float) -> Array:
    """[3, …] probabilities of win, loss and tie."""
    share = np.stack([np.exp(d / 2), np.exp(-d / 2), np.full_like(d, nu)])
    return np.asarray(share / share.sum(axis=0))


def _expected(a: Array, b: Array, d: Array, scenario: Scenario) -> Cells:
    """Probabilities over the voters' tastes by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    shift = np.sqrt(2) * scenario.taste * nodes[:, None]
    p = np.einsum("q,oqv->ov", weights / weights.sum(), davidson(d + shift, scenario.nu))
    models = tuple(f"m{k}" for k in range(MODELS))
    three = [CodedVotes(models, a, b, np.full(a.size, outcome), p[outcome]) for outcome in range(3) if p[outcome].any()]
    whole = CodedVotes(
        models,
        np.concatenate([votes.a for votes in three]),
        np.concatenate([votes.b for votes in three]),
        np.concatenate([votes.outcome for votes in three]),
        np.concatenate([votes.weight for votes in three if votes.weight is not None]),
    )
    return fold(whole)


@dataclass
class Tally:
    """What one method did over the arenas of one scenario."""

    held: list[float]  # share of the intervals of each arena that held the truth
    width: list[float]  # mean width, rating points
    refused: int = 0
    seconds: float = 0.0

    @property
    def coverage(self) -> float:
        """Share of all intervals that held the truth."""
        return float(np.mean(self.held))


def run(
    scenario: Scenario, *, arenas: int, methods: Sequence[Method] = METHODS, joint: bool = True, seed: int = 0
) -> dict[str, Tally]:
    """The tally of each method that applies and, with `joint`, of pairs and ranks by the sandwich."""
    tallies: dict[str, Tally] = defaultdict(lambda: Tally([], []))
    for number in range(arenas):
        arena = draw(scenario, np.random.default_rng([seed, number]))
        for method in methods:
            if (method.fits_ties and not scenario.nu) or (method.needs_voters and not scenario.voters):
                continue
            tally = tallies[method.name]
            start = time.process_time()
            try:
                fitted = method.fit(arena.table if method.needs_voters else arena.cells)
                truth = _truth(arena, method)
            except NotIdentifiable:
                tally.refused += 1
                continue
            tally.seconds += time.process_time() - start
            _count(tally, fitted, truth)
            if joint and method.name in ("bt sandwich", "bt by voter"):
                _count_pairs_and_ranks(tallies, method.name, fitted, truth)
    return dict(tallies)


def _truth(arena: Arena, method: Method) -> dict[str, float]:
    """What the method estimates, by model."""
    if method.fits_ties:
        points = 400 / np.log(10)
        return {f"m{k}": 1000 + points * float(theta) for k, theta in enumerate(arena.theta)}
    fitted = fit_bradley_terry(arena.expected, ci="none")
    return dict(zip(fitted.models, fitted.rating.tolist(), strict=True))


def _count(tally: Tally, fitted: Ratings, truth: dict[str, float]) -> None:
    goal = np.array([truth[model] for model in fitted.models])
    assert fitted.rating_lower is not None
    assert fitted.rating_upper is not None
    tally.held.append(float(((fitted.rating_lower <= goal) & (goal <= fitted.rating_upper)).mean()))
    tally.width.append(float((fitted.rating_upper - fitted.rating_lower).mean()))


def _count_pairs_and_ranks(tallies: dict[str, Tally], name: str, fitted: Ratings, truth: dict[str, float]) -> None:
    pairs = {"pairs": pairwise(fitted), "all pairs at once": pairwise(fitted, simultaneous=True, draws=1000)}
    for label, table in pairs.items():
        goal = np.array([truth[a] - truth[b] for a, b in zip(table["model_a"], table["model_b"], strict=True)])
        held = ((table["lower"] <= goal) & (goal <= table["upper"])).to_numpy()
        tally = tallies[f"{name}: {label}"]
        tally.held.append(float(held.all() if "once" in label else held.mean()))
        tally.width.append(float((table["upper"] - table["lower"]).mean()))
    best_first = sorted(truth, key=lambda model: -truth[model])
    place = np.array([1 + best_first.index(model) for model in fitted.models])
    interval = fitted.rank_interval
    assert interval is not None
    drawn, together = (simulate_ranks(fitted, draws=1000, simultaneous=both) for both in (False, True))
    ranks = {
        "ranks of the intervals": interval,
        "ranks by draws": (drawn["rank_lower"].to_numpy(), drawn["rank_upper"].to_numpy()),
        "all ranks at once": (together["rank_lower"].to_numpy(), together["rank_upper"].to_numpy()),
    }
    for label, (lower, upper) in ranks.items():
        held = (lower <= place) & (place <= upper)
        tally = tallies[f"{name}: {label}"]
        tally.held.append(float(held.all() if "once" in label else held.mean()))
        tally.width.append(float((upper - lower).mean()))


def main() -> None:
    """Print one line a scenario and method."""
    parser = argparse.ArgumentParser(description="Coverage of 95 % intervals in simulated arenas.")
    parser.add_argument("--arenas", type=int, default=1000)
    parser.add_argument("--scenario", choices=[scenario.name for scenario in SCENARIOS])
    options = parser.parse_args()
    print(f"{'scenario':22s} {'method':38s} {'coverage':>8s} {'width':>7s} {'refused':>7s} {'CPU s':>6s}")
    for scenario in SCENARIOS:
        if options.scenario in (None, scenario.name):
            for name, tally in run(scenario, arenas=options.arenas).items():
                print(
                    f"{scenario.name:22s} {name:38s} {100 * tally.coverage:7.1f}% {np.mean(tally.width):7.1f} "
                    f"{tally.refused:7d} {tally.seconds:6.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
