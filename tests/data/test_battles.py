"""The judges' schedule is balanced in everything that could bias it."""

from collections import Counter
from itertools import combinations

import pytest

from paragone.data.battles import round_robin
from paragone.data.errors import TooFewSamples
from paragone.data.records import Sample, sample_id


def samples(models: str, n_prompts: int = 3, n_seeds: int = 10) -> list[Sample]:
    return [
        Sample(sample_id(m, f"p{p}", s, f"{m}{p}{s}"), f"{m}{p}{s}", f"{m}/{p}-{s}.png", f"p{p}", m, s, 8, 8)
        for m in models
        for p in range(n_prompts)
        for s in range(n_seeds)
    ]


def test_pairs_prompts_and_sides_are_balanced() -> None:
    battles = round_robin(samples("abcd"), n_battles=70, seed=1)
    pairs = Counter(frozenset((b.model_a, b.model_b)) for b in battles)
    assert pairs == {frozenset(pair): 12 for pair in combinations("abcd", 2)}
    for pair in pairs:
        of_pair = [b for b in battles if {b.model_a, b.model_b} == set(pair)]
        assert Counter(b.prompt_id for b in of_pair) == {"p0": 4, "p1": 4, "p2": 4}
        assert Counter(b.model_a for b in of_pair) == dict.fromkeys(pair, 6)
        assert len({b.sample_a for b in of_pair} | {b.sample_b for b in of_pair}) == 24
    assert len({b.id for b in battles}) == len(battles)


def test_the_schedule_depends_on_the_seed_and_not_on_the_order_of_samples() -> None:
    pool = samples("abc")
    assert round_robin(pool, n_battles=30, seed=5) == round_robin(pool[::-1], n_battles=30, seed=5)
    assert round_robin(pool, n_battles=30, seed=5) != round_robin(pool, n_battles=30, seed=6)


def test_both_samples_answer_the_same_prompt_with_the_same_seed() -> None:
    pool = {sample.id: sample for sample in samples("ab")}
    for battle in round_robin(list(pool.values()), n_battles=20):
        a, b = pool[battle.sample_a], pool[battle.sample_b]
        assert (a.prompt_id, a.seed) == (b.prompt_id, b.seed)
        assert battle.prompt_id == a.prompt_id


def test_too_few_samples_are_said_to_be_too_few() -> None:
    with pytest.raises(TooFewSamples, match="share 30 samples, fewer than the 31"):
        round_robin(samples("ab"), n_battles=31)
    with pytest.raises(TooFewSamples, match="two models"):
        round_robin(samples("a"), n_battles=1)
