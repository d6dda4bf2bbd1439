"""Is the joint board of people and judges right? `python benchmarks/joint.py`: simulated arenas with biased judges.

Everybody looks at the same pictures: a battle has a quality difference of its own, which the judge sees with noise and
with three biases (for the side shown first, for one model, for length). Columns: the correlation of the two scores, λ,
coverage of 95 % intervals of the people's ratings by people alone, by all votes in one pot, by the joint board; and the
width of the joint intervals over the people's.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paragone.arena import fit_bradley_terry
from paragone.arena.joint import fit_joint
from paragone.arena.ratings import Ratings

POINTS = 400 / math.log(10)
Array = NDArray[np.float64]


def arena(
    rng: np.random.Generator, theta: Array, *, n_human: int, n_judged: int, noise: float, biased: bool = True
) -> pd.DataFrame:
    """Votes on `n_judged` battles; people voted on the first `n_human` of them, the judge on all.

    A person prefers A when θ_a − θ_b + u > 0 with u logistic: exactly Bradley-Terry. The judge sees that same sum, so
    agrees with the person, but for `noise` (logistic units) and its biases.
    """
    m = theta.size
    a = rng.integers(m, size=n_judged)
    b = (a + rng.integers(1, m, size=n_judged)) % m
    seen = theta[a] - theta[b] + rng.logistic(size=n_judged)
    length = rng.normal(size=n_judged)
    favourite = (a == 0).astype(float) - (b == 0)
    bias = 0.6 + 1.0 * favourite + 0.5 * length if biased else 0.0
    judged = seen + bias + rng.normal(0, noise, n_judged)
    names = np.array([f"m{k}" for k in range(m)], object)

    def rows(score: Array, kind: str, n: int) -> pd.DataFrame:
        tie = np.abs(score[:n]) < 0.15 if kind == "judge" else np.zeros(n, bool)
        winner = np.where(tie, "tie", np.where(score[:n] > 0, "model_a", "model_b"))
        return pd.DataFrame(
            {"model_a": names[a[:n]], "model_b": names[b[:n]], "winner": winner, "kind": kind, "battle": np.arange(n)}
        )

    return pd.concat([rows(seen, "human", n_human), rows(judged, "judge", n_judged)], ignore_index=True)


def covered(fitted: Ratings, theta: Array) -> list[bool]:
    """Whether each model's interval holds its rating."""
    truth = 1000 + POINTS * (theta - theta.mean())
    assert fitted.rating_lower is not None
    assert fitted.rating_upper is not None
    goal = np.array([truth[int(model[1:])] for model in fitted.models])
    return ((fitted.rating_lower <= goal) & (goal <= fitted.rating_upper)).tolist()


def width(fitted: Ratings) -> float:
    """Mean width of the intervals, points."""
    assert fitted.rating_lower is not None
    assert fitted.rating_upper is not None
    return float((fitted.rating_upper - fitted.rating_lower).mean())


def correlation(votes: pd.DataFrame) -> float:
    """Of the human and the judge's score on shared battles."""
    score = votes["winner"].map({"model_a": 1.0, "tie": 0.5, "model_b": 0.0})
    people = votes["kind"] == "human"
    n = int(people.sum())
    return float(np.corrcoef(score[people], score[~people].iloc[:n])[0, 1])


def simulate(
    *, arenas: int, models: int, n_human: int, n_judged: int, noise: float, biased: bool = True
) -> dict[str, float]:
    """Means over `arenas`: correlation, λ, coverages, ratio of widths, effective gain."""
    hits: dict[str, list[bool]] = {"people": [], "pooled": [], "joint": []}
    numbers: dict[str, list[float]] = {"correlation": [], "lambda": [], "width": [], "gain": []}
    for seed in range(arenas):
        rng = np.random.default_rng(seed)
        theta = rng.normal(0, 0.8, models)
        votes = arena(rng, theta, n_human=n_human, n_judged=n_judged, noise=noise, biased=biased)
        people = fit_bradley_terry(votes[votes["kind"] == "human"])
        joint = fit_joint(votes)
        for name, fitted in (("people", people), ("pooled", fit_bradley_terry(votes)), ("joint", joint)):
            hits[name] += covered(fitted, theta)
        numbers["correlation"].append(correlation(votes))
        numbers["lambda"].append(joint.parameters["lambda"])
        numbers["width"].append(width(joint) / width(people))
        numbers["gain"].append(joint.parameters["effective_gain"])
    return {name: float(np.mean(values)) for name, values in (numbers | hits).items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--arenas", type=int, default=200)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--human", type=int, default=600)
    parser.add_argument("--judged", type=int, default=6000)
    options = parser.parse_args()
    print(f"{options.arenas} arenas, {options.models} models, {options.human} human and {options.judged} judge votes")
    print("noise  corr  lambda | coverage: people  pooled  joint | width joint/people  effective gain")
    for noise in (8.0, 4.0, 2.0, 1.0, 0.5, 0.0):
        row = simulate(
            arenas=options.arenas, models=options.models, n_human=options.human, n_judged=options.judged, noise=noise
        )
        print(
            f"{noise:5.1f}  {row['correlation']:.2f}  {row['lambda']:6.2f} |           {row['people']:.3f}"
            f"   {row['pooled']:.3f}   {row['joint']:.3f} | {row['width']:18.2f}  {row['gain']:14.2f}"
        )


if __name__ == "__main__":
    main()
