"""Which samples meet: a balanced schedule of battles for judges, who, unlike people, can be asked for all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from paragone.data.errors import TooFewSamples
from paragone.data.records import Battle, Sample, fingerprint


def round_robin(samples: Sequence[Sample], *, n_battles: int, seed: int = 0) -> list[Battle]:
    """At least `n_battles` battles in which each pair of models meets equally often, spread evenly over the prompts
    they share.

    Within a pair every battle shows another couple of samples, drawn without replacement from the seeds that both
    models answered, and the models take turns at side A. The order of battles is shuffled, since online Elo depends
    on it. Raises `TooFewSamples` when a pair shares too few samples for its quota.
    """
    by_model: dict[str, dict[tuple[str, int], Sample]] = defaultdict(dict)
    for sample in samples:
        by_model[sample.model][sample.prompt_id, sample.seed] = sample
    pairs = list(combinations(sorted(by_model), 2))
    if not pairs:
        raise TooFewSamples(f"battles need the samples of two models or more, not of {len(by_model)}")
    quota = -(-n_battles // len(pairs))
    rng = np.random.default_rng(seed)
    battles = []
    for first, second in pairs:
        shared = sorted(by_model[first].keys() & by_model[second].keys())
        if len(shared) < quota:
            raise TooFewSamples(
                f"{first} and {second} share {len(shared)} samples, fewer than the {quota} battles wanted of each pair"
            )
        for turn, key in enumerate(_spread_over_prompts(shared, quota, rng)):
            sides = (by_model[first][key], by_model[second][key])
            battles.append(_battle(*(sides if turn % 2 == 0 else sides[::-1])))
    return [battles[i] for i in rng.permutation(len(battles))]


def _spread_over_prompts(
    shared: Sequence[tuple[str, int]], quota: int, rng: np.random.Generator
) -> list[tuple[str, int]]:
    """`quota` of the shared (prompt, seed) keys, going round the prompts so that their counts differ by one at most."""
    by_prompt: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for index in rng.permutation(len(shared)):
        by_prompt[shared[index][0]].append(shared[index])
    rounds = sorted(
        ((place, prompt) for prompt, keys in by_prompt.items() for place in range(len(keys))),
        key=lambda entry: entry[0],
    )
    return [by_prompt[prompt][place] for place, prompt in rounds[:quota]]


def _battle(a: Sample, b: Sample) -> Battle:
    name = fingerprint([a.id, b.id])[:32]
    return Battle(name, a.prompt_id, a.model, b.model, a.id, b.id)
