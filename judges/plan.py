"""Which battles a judge is asked to decide, and in which order of the sides: the same plan each time.

A plan depends only on what is stored, the number of battles and the seed, so a run that was stopped is continued by
making the plan again and leaving out what is answered. The sides of a battle are the order in which its pictures are
shown, so a board can estimate from the votes of a judge that was asked once per battle what being shown first is worth
(the order effect of Davidson & Beaver 1977).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from enum import StrEnum
from itertools import combinations

from paragone.data.battles import round_robin
from paragone.data.records import Battle, Sample, fingerprint

PER_PAIR = 10  # battles of each pair of models, where nobody says how many


class Order(StrEnum):
    """In which order of its sides a judge sees a battle."""

    BOTH = "both"  # two calls; verdicts that disagree are a tie marked as inconsistent
    BALANCED = "balanced"  # one call; within each pair of models each is shown first equally often
    FIRST_ONLY = "first-only"  # one call, sides as the battle has them


def new_battles(samples: Sequence[Sample], *, n_battles: int | None = None, seed: int = 0) -> list[Battle]:
    """Battles of stored samples, each pair of models equally often and first equally often.

    By default `PER_PAIR` of each pair, or as many as the pair with the fewest shared samples allows. Raises
    `TooFewSamples` when a pair cannot have as many as `n_battles` asks of it, or shares no sample at all.
    """
    keys: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for sample in samples:
        keys[sample.model].add((sample.prompt_id, sample.seed))
    pairs = list(combinations(keys.values(), 2))
    if n_battles is None:
        shared = min((len(one & two) for one, two in pairs), default=1)
        n_battles = len(pairs) * max(1, min(PER_PAIR, shared))
    return round_robin(samples, n_battles=n_battles, seed=seed)


def in_order(battles: Sequence[Battle], order: Order) -> list[Battle]:
    """The battles as they are to be shown.

    For `Order.BALANCED` the sides of some are exchanged so that within each pair of models each is shown first equally
    often, up to one battle; such a battle is one of its own, with its own id, and so is its vote.
    """
    if order is not Order.BALANCED:
        return list(battles)
    lead: Counter[tuple[str, str]] = Counter()  # how much oftener the first of the pair's names was shown first
    shown = []
    for battle in battles:
        pair = (min(battle.model_a, battle.model_b), max(battle.model_a, battle.model_b))
        step = 1 if battle.model_a == pair[0] else -1
        if lead[pair] == step:
            battle, step = _exchanged(battle), -step
        lead[pair] += step
        shown.append(battle)
    return shown


def _exchanged(battle: Battle) -> Battle:
    other = battle.swapped()
    name = fingerprint([other.sample_a, other.sample_b])[:32]
    return Battle(name, other.prompt_id, other.model_a, other.model_b, other.sample_a, other.sample_b)
