"""Votes go where they settle the ranking, every pair keeps a chance, and what is drawn is drawn with the odds said."""

from __future__ import annotations

import hashlib
import math
import random
import sqlite3
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paragone.arena import Store, fit_bradley_terry, matchmaking
from paragone.arena.bradley_terry import BradleyTerry
from paragone.arena.likelihood import Pairs, maximise
from paragone.arena.matchmaking import (
    CLOSEST,
    FLOOR,
    POLICY,
    UNSURE,
    Pair,
    draw_pair,
    expected_drop,
    informative_propensities,
    inverse_propensity_weights,
    pair_propensities,
)
from paragone.arena.votes import Cells
from paragone.data.errors import UsageError
from paragone.data.records import GeneratorCard, Prompt, Sample, Winner

Floats = NDArray[np.float64]
names = st.text(min_size=1, max_size=3)
counts = st.dictionaries(st.tuples(names, names), st.integers(0, 10**6), min_size=1, max_size=12)
MODELS = "abcde"
PAIRS = list(combinations(MODELS, 2))
CELLS = st.dictionaries(
    st.tuples(
        st.sampled_from(MODELS), st.sampled_from(MODELS), st.sampled_from(["model_a", "model_b", "tie", "both_bad"])
    ).filter(lambda cell: cell[0] != cell[1]),
    st.integers(1, 300),
    max_size=20,
)


class TestLeastVoted:
    @given(counts)
    def test_a_distribution_with_a_floor(self, n_votes: dict[tuple[str, str], int]) -> None:
        p = pair_propensities(n_votes)
        assert list(p) == sorted(n_votes)
        assert sum(p.values()) == pytest.approx(1.0)
        assert min(p.values()) >= FLOOR / len(p)
        for one in p:
            for two in p:
                if n_votes[one] < n_votes[two]:
                    assert p[one] >= p[two]

    def test_closed_form(self) -> None:
        p = pair_propensities({("a", "b"): 0, ("a", "c"): 1, ("b", "c"): 2}, floor=0.0)
        assert list(p.values()) == pytest.approx([6 / 11, 3 / 11, 2 / 11])


def slow_drop(theta: Floats, covariance: Floats) -> Floats:
    """The same by refreshing the whole covariance for one pair after the other."""

    def variance(c: Floats, k: int, l: int) -> float:  # noqa: E741
        return float(c[k, k] + c[l, l] - 2 * c[k, l])

    size = theta.size
    drop = np.zeros((size, size))
    for i, j in combinations(range(size), 2):
        p = 1 / (1 + math.exp(theta[j] - theta[i]))
        x = np.zeros(size)
        x[i], x[j] = 1.0, -1.0
        updated = np.linalg.inv(np.linalg.inv(covariance) + p * (1 - p) * np.outer(x, x))
        for k, l in combinations(range(size), 2):  # noqa: E741
            v = variance(covariance, k, l)
            gap = (theta[k] - theta[l]) ** 2 + UNSURE * v
            slope = CLOSEST * v ** (CLOSEST - 1) / gap**CLOSEST
            drop[i, j] += slope * (v - variance(updated, k, l))
    return drop + drop.T


class TestExpectedDrop:
    @pytest.mark.parametrize("seed", range(5))
    def test_equals_the_slow_way(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        root = rng.normal(size=(6, 6))
        theta = rng.normal(size=6)
        covariance = root @ root.T / 50 + np.eye(6) / 20
        np.testing.assert_allclose(expected_drop(theta, covariance), slow_drop(theta, covariance), rtol=1e-9)

    @given(CELLS, st.permutations(MODELS))
    def test_names_do_not_matter(self, cells: dict[tuple[str, str, str], int], order: list[str]) -> None:
        new = dict(zip(MODELS, order, strict=True))
        renamed = {(new[a], new[b], winner): n for (a, b, winner), n in cells.items()}
        p, q = informative_propensities(PAIRS, cells), informative_propensities(PAIRS, renamed)
        for a, b in PAIRS:
            mapped = min(new[a], new[b]), max(new[a], new[b])
            assert q[mapped] == pytest.approx(p[a, b], rel=1e-6)

    @given(CELLS)
    def test_sides_do_not_matter(self, cells: dict[tuple[str, str, str], int]) -> None:
        other = {"model_a": "model_b", "model_b": "model_a", "tie": "both_bad", "both_bad": "tie"}
        mirrored: Counter[tuple[str, str, str]] = Counter()
        for (a, b, winner), n in cells.items():
            mirrored[b, a, other[winner]] += n
        p, q = informative_propensities(PAIRS, cells), informative_propensities(PAIRS, mirrored)
        assert list(q.values()) == pytest.approx(list(p.values()), rel=1e-6)

    @given(CELLS)
    def test_a_distribution_with_a_floor(self, cells: dict[tuple[str, str, str], int]) -> None:
        p = informative_propensities(PAIRS, cells)
        assert list(p) == PAIRS
        assert sum(p.values()) == pytest.approx(1.0)
        assert min(p.values()) >= FLOOR / len(p)

    def test_without_votes_all_pairs_are_alike(self) -> None:
        assert list(informative_propensities(PAIRS, {}).values()) == pytest.approx([0.1] * 10)
        assert informative_propensities([], {}) == {}

    def test_votes_of_models_that_cannot_be_shown_do_not_count(self) -> None:
        cells = {("a", "b", "model_a"): 5, ("a", "z", "model_b"): 100}
        shown = [("a", "b"), ("b", "c")]
        assert informative_propensities(shown, cells) == informative_propensities(shown, {("a", "b", "model_a"): 5})

    def test_close_models_meet_more_than_settled_ones(self) -> None:
        """Models a and b are equal after 400 votes, c is far below both: votes on a against b are wanted."""
        cells = {("a", "b", "model_a"): 200, ("b", "a", "model_a"): 200}
        cells |= {(top, "c", winner): n for top in "ab" for winner, n in (("model_a", 360), ("model_b", 40))}
        p = informative_propensities([("a", "b"), ("a", "c"), ("b", "c")], cells)
        assert p["a", "b"] > 0.9

    def test_a_new_model_comes_first_and_then_steps_back(self) -> None:
        old = {(a, b, winner): 300 for a, b in combinations("abcd", 2) for winner in ("model_a", "model_b")}

        def share(own: int) -> float:
            cells = old | {("e", b, winner): own for b in "abcd" for winner in ("model_a", "model_b") if own}
            return sum(p for pair, p in informative_propensities(PAIRS, cells).items() if "e" in pair)

        assert share(0) > 0.9
        assert share(0) > share(30) > share(100)
        assert share(300) == pytest.approx(0.4, abs=0.01)

    def test_an_undefeated_model_can_be_drawn_for(self) -> None:
        p = informative_propensities([("a", "b"), ("a", "c"), ("b", "c")], {("a", "b", "model_a"): 50})
        assert max(p, key=lambda pair: p[pair]) != ("a", "b")

    def test_options(self) -> None:
        cells = {("a", "b", "model_a"): 50}
        assert list(informative_propensities(PAIRS, cells, floor=1.0).values()) == pytest.approx([0.1] * 10)
        assert list(informative_propensities(PAIRS, cells, sharpness=0.0).values()) == pytest.approx([0.1] * 10)
        with pytest.raises(UsageError, match=r"floor=1.5"):
            informative_propensities(PAIRS, cells, floor=1.5)


def test_drawn_as_said() -> None:
    p = informative_propensities(PAIRS, {("a", "b", "model_a"): 9, ("a", "c", "tie"): 30})
    rng = random.Random(1)
    drawn = Counter(draw_pair(p, rng) for _ in range(20_000))
    for pair, probability in p.items():
        assert drawn[pair] / 20_000 == pytest.approx(probability, abs=0.015)


class TestStore:
    def test_propensities_are_kept_until_samples_or_one_percent_of_votes_are_new(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        computed: list[int] = []

        def counted(pairs: list[Pair], cells: dict[tuple[str, str, str], int]) -> dict[Pair, float]:
            computed.append(sum(cells.values()))
            return informative_propensities(pairs, cells)

        monkeypatch.setattr(matchmaking, "informative_propensities", counted)
        with Store(tmp_path / "arena.db", create=True) as store:
            store.add_generators([GeneratorCard(name) for name in "abc"])
            store.add_prompts([Prompt("p", "x"), Prompt("q", "y")])
            store.add_samples([_sample(name, "p") for name in "ab"])
            rng = random.Random(0)
            for _ in range(103):
                issued = store.issue_battle("v", rng)
                store.record_vote(issued.token, Winner.MODEL_A, voter="v")
            assert computed == [*range(101), 102]  # at 100 votes one more is not yet more than 1 %
            store.add_samples([_sample("c", "p")])
            assert 0 < store.issue_battle("v", rng).propensity < 1
            assert computed[-1] == 103

    def test_the_policy_is_stored_with_the_battle(self, tmp_path: Path) -> None:
        with Store(tmp_path / "arena.db", create=True) as store:
            store.add_generators([GeneratorCard(name) for name in "ab"])
            store.add_prompts([Prompt("p", "x")])
            store.add_samples([_sample(name, "p") for name in "ab"])
            issued = store.issue_battle("v")
        with sqlite3.connect(tmp_path / "arena.db") as connection:
            row = connection.execute("SELECT policy, propensity FROM battles").fetchone()
        connection.close()
        assert row == (POLICY, 1.0)
        assert issued.propensity == 1.0


def _sample(model: str, prompt: str) -> Sample:
    digest = hashlib.sha256(f"{model} {prompt}".encode()).hexdigest()
    return Sample(f"{model}-{prompt}", digest, f"samples/{model}.png", prompt, model, 0, 8, 8)


class Arena:
    """An arena in which batches of votes are drawn by a policy; `strength` is the truth, in natural units."""

    def __init__(self, strength: Floats, seed: int) -> None:
        self.strength, self.rng = strength, np.random.default_rng(seed)
        self.names = [f"m{k:02d}" for k in range(strength.size)]
        self.i, self.j = np.triu_indices(strength.size, 1)
        self.chance = 1 / (1 + np.exp(strength[self.j] - strength[self.i]))
        self.won, self.lost = np.zeros(self.i.size, np.int64), np.zeros(self.i.size, np.int64)

    def cells(self) -> dict[tuple[str, str, str], int]:
        return {
            (self.names[i], self.names[j], winner): int(n)
            for winner, row in (("model_a", self.won), ("model_b", self.lost))
            for i, j, n in zip(self.i, self.j, row, strict=True)
            if n
        }

    def vote(self, n: int, *, adaptive: bool) -> None:
        p = np.full(self.i.size, 1 / self.i.size)
        if adaptive:
            pairs = [(self.names[i], self.names[j]) for i, j in zip(self.i, self.j, strict=True)]
            p = np.array(list(informative_propensities(pairs, self.cells()).values()))
        drawn = self.rng.multinomial(n, p / p.sum())
        won = self.rng.binomial(drawn, self.chance)
        self.won += won
        self.lost += drawn - won

    def separated(self) -> bool:
        """Whether neighbours in rank are 1.96 standard errors apart."""
        weight = np.stack([self.won, self.lost, np.zeros(self.i.size)]).astype(np.float64)
        fit = maximise(BradleyTerry(), Pairs(self.strength.size, self.i, self.j), weight, tolerance=1e-5, precision=0.2)
        covariance, order = np.linalg.inv(fit.information), np.argsort(-fit.theta)
        steps = np.eye(order.size)[order[:-1]] - np.eye(order.size)[order[1:]]
        z = steps @ fit.theta / np.sqrt(np.einsum("ij,jk,ik->i", steps, covariance, steps))
        return bool((z > 1.96).all())


def votes_needed(strength: Floats, seed: int, *, adaptive: bool, most: int = 60_000) -> int:
    arena, n = Arena(strength, seed), 0
    while n < most:
        batch = max(50, n // 10)
        arena.vote(batch, adaptive=adaptive)
        n += batch
        if arena.separated():
            return n
    return most


def test_neighbours_are_told_apart_with_fewer_votes_than_by_uniform_draws() -> None:
    """`benchmarks/matchmaking.py` in small: at least 1.5 times fewer votes in the median."""
    ratios = []
    for seed in range(7):
        rng = np.random.default_rng(seed)
        strength = rng.permutation(np.cumsum(rng.uniform(0.15, 0.5, 10)))
        uniform, adaptive = (votes_needed(strength, seed, adaptive=adaptive) for adaptive in (False, True))
        ratios.append(uniform / adaptive)
    assert np.median(ratios) >= 1.5, ratios


def test_intervals_of_adaptively_drawn_votes_hold_the_truth() -> None:
    """95 % intervals of differences from the strongest model, over 40 arenas of 8 models: 280 draws, 3 % of error."""
    held = []
    for seed in range(40):
        strength = np.linspace(-0.6, 0.6, 8)
        arena = Arena(strength, seed)
        for _ in range(15):
            arena.vote(100, adaptive=True)
        frame = pd.DataFrame(
            [(*cell, n) for cell, n in arena.cells().items()], columns=["model_a", "model_b", "winner", "count"]
        )
        ratings = fit_bradley_terry(Cells.from_counts(frame))
        for k in range(7):
            difference, error = ratings.difference(arena.names[7], arena.names[k])
            truth = (strength[7] - strength[k]) * 400 / math.log(10)
            held.append(abs(difference - truth) <= 1.96 * error)
    assert 0.92 <= np.mean(held) <= 0.98, np.mean(held)


class TestInversePropensityWeights:
    def test_closed_form(self) -> None:
        np.testing.assert_allclose(inverse_propensity_weights([0.5, 0.25, 0.125], 4), [0.5, 1.0, 2.0])
        np.testing.assert_allclose(inverse_propensity_weights([0.5, 0.01], [2, 4], clip=3.0), [1.0, 3.0])

    def test_weighted_win_rates_are_those_of_a_uniform_draw(self) -> None:
        """Model c always beats b and loses to a; b is drawn nine times as often; drawn uniformly, c wins half."""
        rng = np.random.default_rng(0)
        against_b = rng.random(20_000) < 0.9
        weight = inverse_propensity_weights(np.where(against_b, 0.9, 0.1), 2)
        assert against_b.mean() == pytest.approx(0.9, abs=0.01)
        assert np.average(against_b, weights=weight) == pytest.approx(0.5, abs=0.01)

    @pytest.mark.parametrize("p", [0.0, -0.1, 1.1, math.nan])
    def test_no_propensity(self, p: float) -> None:
        with pytest.raises(UsageError, match="propensity of vote 2"):
            inverse_propensity_weights([0.5, p], 3)

    def test_other_options(self) -> None:
        with pytest.raises(UsageError, match="n_pairs"):
            inverse_propensity_weights([0.5], 0)
        with pytest.raises(UsageError, match="clip"):
            inverse_propensity_weights([0.5], 2, clip=0.0)
