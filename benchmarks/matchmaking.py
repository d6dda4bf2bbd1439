"""Votes needed to tell neighbours in rank apart, by policy: `python benchmarks/matchmaking.py [--arenas N]`.

Simulated arenas of 10 to 20 models whose neighbours are 15 to 80 Elo points apart. All policies draw batches of 5 % of
the votes so far, between which the propensities stand still, as they do in the store (1 % there). An arena ends when
all neighbours of the estimated ranking are 1.96 standard errors apart. Then the coverage of 95 % intervals under
adaptive draws, with ties, and the time of a draw among 200 models. docs/matchmaking.md has the results.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import inv
from scipy.special import expit

from paragone.arena import fit_bradley_terry
from paragone.arena.bradley_terry import BradleyTerry
from paragone.arena.likelihood import Pairs, maximise
from paragone.arena.matchmaking import draw_pair, informative_propensities, pair_propensities
from paragone.arena.votes import Cells

Floats = NDArray[np.float64]
POINTS = 400 / math.log(10)
MOST = 300_000  # votes after which an arena is given up
OUTCOMES = ("model_a", "model_b", "tie")


class Arena:
    """The truth, and the votes so far, [3, P] by outcome and pair."""

    def __init__(self, strength: Floats, ties: float, seed: int) -> None:
        self.strength, self.rng = strength, np.random.default_rng(seed)
        self.names = [f"m{k:02d}" for k in range(strength.size)]
        self.i, self.j = np.triu_indices(strength.size, 1)
        self.pairs = [(self.names[i], self.names[j]) for i, j in zip(self.i, self.j, strict=True)]
        d = strength[self.i] - strength[self.j]
        three = np.stack([np.exp(d / 2), np.exp(-d / 2), np.full(d.size, ties)])  # Davidson
        self.chance = three / three.sum(axis=0)
        self.votes = np.zeros((3, d.size), np.int64)

    def draw(self, n: int, p: Floats) -> None:
        """`n` more votes on pairs drawn with probabilities `p`."""
        for k, times in enumerate(self.rng.multinomial(n, p)):
            self.votes[:, k] += self.rng.multinomial(times, self.chance[:, k])

    def cells(self) -> dict[tuple[str, str, str], int]:
        return {
            (*pair, OUTCOMES[o]): int(self.votes[o, k])
            for k, pair in enumerate(self.pairs)
            for o in np.flatnonzero(self.votes[:, k])
        }

    def ranking(self) -> tuple[Floats, Floats]:
        """Strengths, and how many standard errors neighbours in rank are apart (under the prior of the policy)."""
        size = self.strength.size
        weight = self.votes.astype(np.float64)
        fit = maximise(BradleyTerry(), Pairs(size, self.i, self.j), weight, tolerance=1e-6, precision=0.19)
        order = np.argsort(-fit.theta)
        steps = np.eye(size)[order[:-1]] - np.eye(size)[order[1:]]
        variance = np.einsum("ij,jk,ik->i", steps, inv(fit.information), steps)
        return fit.theta, steps @ fit.theta / np.sqrt(variance)


Policy = Callable[[Arena], Floats]


def uniform(arena: Arena) -> Floats:
    """Every pair alike."""
    return np.full(len(arena.pairs), 1 / len(arena.pairs))


def least_voted(arena: Arena) -> Floats:
    """Our policy before: 1/(1 + votes), and a floor."""
    n = arena.votes.sum(axis=0)
    return np.array(list(pair_propensities(dict(zip(arena.pairs, n.tolist(), strict=True))).values()))


def chatbot_arena(arena: Arena) -> Floats:
    """In proportion to √(S/n) − √(S/(n + 1)), S the variance of the score (Chiang et al., arXiv:2403.04132)."""
    n = np.maximum(arena.votes.sum(axis=0), 1)
    theta, _ = arena.ranking()
    p = expit(theta[arena.i] - theta[arena.j])
    wanted = np.sqrt(p * (1 - p) / n) - np.sqrt(p * (1 - p) / (n + 1))
    return wanted / wanted.sum()


def ours(arena: Arena) -> Floats:
    """What the store draws by."""
    return np.array(list(informative_propensities(arena.pairs, arena.cells()).values()))


POLICIES: dict[str, Policy] = {
    "uniform": uniform,
    "least voted": least_voted,
    "Chatbot Arena's": chatbot_arena,
    "expected drop": ours,
}


def votes_needed(strength: Floats, policy: Policy, seed: int) -> tuple[int, bool]:
    """Votes until all neighbours are told apart, and whether their order is then the true one."""
    arena, n = Arena(strength, 0.0, seed), 0
    while n < MOST:
        batch = max(20, n // 20)
        arena.draw(batch, policy(arena))
        n += batch
        theta, z = arena.ranking()
        if (z > 1.96).all():
            return n, bool((np.argsort(theta) == np.argsort(strength)).all())
    return MOST, False


def coverage(policy: Policy, arenas: int, votes: int = 3000) -> tuple[float, float]:
    """Share of 95 % intervals that hold the rating that all votes there could be have, and of differences that do."""
    held, held_differences = [], []
    for seed in range(arenas):
        strength = np.random.default_rng(seed).normal(0, 0.6, 12)
        arena = Arena(strength, 0.4, seed)
        while arena.votes.sum() < votes:
            arena.draw(100, policy(arena))
        rows = [(*cell, n) for cell, n in arena.cells().items()]
        found = fit_bradley_terry(
            Cells.from_counts(pd.DataFrame(rows, columns=["model_a", "model_b", "winner", "count"]))
        )
        weight = arena.chance * arena.votes.sum(axis=0)  # what the votes on these pairs say in the mean
        fit = maximise(BradleyTerry(), Pairs(strength.size, arena.i, arena.j), weight, tolerance=1e-8)
        truth = dict(zip(arena.names, 1000 + POINTS * (fit.theta - fit.theta.mean()), strict=True))
        target = np.array([truth[name] for name in found.models])
        assert found.rating_lower is not None
        assert found.rating_upper is not None
        held += ((found.rating_lower <= target) & (target <= found.rating_upper)).tolist()
        for a, b in zip(found.models[:-1], found.models[1:], strict=True):
            difference, error = found.difference(a, b)
            held_differences.append(abs(difference - truth[a] + truth[b]) <= 1.96 * error)
    return float(np.mean(held)), float(np.mean(held_differences))


def cost(models: int = 200, votes: int = 100_000) -> tuple[float, float]:
    """CPU seconds to compute the propensities of all pairs, and to draw one."""
    arena = Arena(np.random.default_rng(0).normal(0, 0.6, models), 0.4, 0)
    arena.names = [f"m{k:03d}" for k in range(models)]
    arena.pairs = list(combinations(arena.names, 2))
    arena.draw(votes, uniform(arena))
    cells, rng = arena.cells(), random.Random(0)
    times = [time.process_time()]
    for _ in range(5):
        propensities = informative_propensities(arena.pairs, cells)
        times.append(time.process_time())
    start = time.process_time()
    for _ in range(100):
        draw_pair(propensities, rng)
    return float(np.min(np.diff(times))), (time.process_time() - start) / 100


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arenas", type=int, default=40)
    arguments = parser.parse_args()
    needed: dict[str, list[int]] = {name: [] for name in POLICIES}
    right: dict[str, list[bool]] = {name: [] for name in POLICIES}
    for seed in range(arguments.arenas):
        rng = np.random.default_rng(seed)
        gaps = rng.uniform(15, 80, int(rng.integers(9, 20)))
        strength = rng.permutation(np.concatenate([[0.0], np.cumsum(gaps)])) / POINTS
        for name, policy in POLICIES.items():
            n, ordered = votes_needed(strength, policy, 1000 + seed)
            needed[name].append(n)
            right[name].append(ordered)
    print(f"votes until all neighbours are 1.96 standard errors apart, {arguments.arenas} arenas")
    print(f"{'policy':>16} {'median':>9} {'fewer than uniform (quartiles)':>32} {'order right':>12} {'given up':>9}")
    for name, votes in needed.items():
        ratios = [u / n for u, n in zip(needed["uniform"], votes, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        times = f"{middle:.2f}x ({low:.2f} to {high:.2f})"
        given_up = sum(n >= MOST for n in votes)
        print(f"{name:>16} {statistics.median(votes):>9,.0f} {times:>32} {np.mean(right[name]):>12.0%} {given_up:>9}")
    print(f"\ncoverage of 95 % intervals, {2 * arguments.arenas} arenas of 12 models, 3,000 votes, ties")
    for name in ("uniform", "expected drop"):
        ratings, differences = coverage(POLICIES[name], 2 * arguments.arenas)
        print(f"{name:>16} ratings {ratings:.3f}, differences of neighbours {differences:.3f}")
    all_pairs, draw = cost()
    print(f"\n200 models: propensities of all pairs {1e3 * all_pairs:.0f} ms, a draw {1e3 * draw:.1f} ms (CPU)")


if __name__ == "__main__":
    main()
