"""How often do tests that are looked at after every vote raise a false alarm, and when do they stop?

`python benchmarks/stopping.py`: simulated streams of votes, each test looked at after every one of them. The z-test is
the usual one, "is the mean score 1.96 standard errors away from ½", which is meant to be looked at once.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from numpy.typing import NDArray

from paragone.arena.elo import expected_score
from paragone.arena.stopping import confidence_sequence, e_process, sprt, sprt_length

Array = NDArray[np.float64]
WARM_UP = 20  # votes before the z-test is looked at: before, its standard error may be 0


def streams(rng: np.random.Generator, *, elo: float, ties: float, n_streams: int, n_votes: int) -> Array:
    """[S, T] scores of A; `ties` is their share, wins and losses are such that the mean score is that of `elo`."""
    win = expected_score(elo, 0.0) - ties / 2
    u = rng.random((n_streams, n_votes))
    return np.where(u < win, 1.0, np.where(u < win + ties, 0.5, 0.0))


def z_alarms(x: Array) -> NDArray[np.int64]:
    """[S] the first vote at which |z| > 1.96, 0 where there is none."""
    n = np.arange(1, x.shape[1] + 1)
    mean = np.cumsum(x, axis=1) / n
    error = np.sqrt(np.maximum(np.cumsum(x**2, axis=1) / n - mean**2, 1e-12) / n)
    out = (np.abs(mean - 0.5) > 1.96 * error) & (n >= WARM_UP)
    return np.where(out.any(axis=1), out.argmax(axis=1) + 1, 0)


def pentanomial(rng: np.random.Generator, *, elo: float, n_streams: int, n_pairs: int, place: float = 1.0) -> Array:
    """[S, T] mean scores of pairs of votes in both orders, by a judge who leans to the side shown first."""
    taste = rng.logistic(size=(n_streams, n_pairs)) * 0.7 + elo * math.log(10) / 400
    sides = [(taste + lean + rng.logistic(size=taste.shape) * 0.4 > 0).astype(float) for lean in (place, -place)]
    return (sides[0] + sides[1]) / 2


def report(name: str, stopped: NDArray[np.int64], right: NDArray[np.bool_], n: int) -> None:
    """One line: the share that accepted, and how many votes they took on average, cut off at n."""
    print(f"  {name:34s} accepted {right.mean():6.1%}   mean votes {np.where(stopped > 0, stopped, n).mean():7.0f}")


def stops(tests: list[object]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """[S] where each stopped (0: nowhere) and whether it accepted."""
    at = np.array([test.decided_at or 0 for test in tests])  # type: ignore[attr-defined]
    return at, np.array([test.verdict == "accept" for test in tests])  # type: ignore[attr-defined]


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--votes", type=int, default=2000)
    options = parser.parse_args()
    n_streams, n = options.streams, options.votes
    rng = np.random.default_rng(0)
    print(f"{n_streams} streams of up to {n} votes, looked at after every vote, 5 % two-sided (the SPRT: 5 % and 5 %)")
    for elo, ties in ((0.0, 0.0), (0.0, 0.3), (20.0, 0.3), (35.0, 0.0), (70.0, 0.0), (70.0, 0.3), (107.5, 0.0)):
        x = streams(rng, elo=elo, ties=ties, n_streams=n_streams, n_votes=n)
        print(f"true lead {elo:g} points, {ties:.0%} ties" + (" (every alarm is false)" if elo == 0 else ""))
        at = z_alarms(x)
        report("z-test", at, at > 0, n)
        report("e-process, two-sided", *stops([e_process(row, alternative="two-sided") for row in x]), n)
        report("e-process, A is better", *stops([e_process(row) for row in x]), n)
        report("SPRT(0, 35)", *stops([sprt(row, elo0=0, elo1=35) for row in x[: n_streams // 4]]), n)
        accept, length = sprt_length(elo, elo0=0, elo1=35, ties=ties)
        print(f"  {'SPRT(0, 35) by sprt_length':34s} accepted {accept:6.1%}   mean votes {length:7.0f}")
    x = streams(rng, elo=35.0, ties=0.3, n_streams=n_streams // 10, n_votes=n)
    sequences = [confidence_sequence(row) for row in x]
    always = np.mean([(s.elo_lower.max() <= 35.0) & (s.elo_upper.min() >= 35.0) for s in sequences])
    widths = {t: np.mean([s.elo_upper[t - 1] - s.elo_lower[t - 1] for s in sequences]) for t in (100, 500, n)}
    shown = ", ".join(f"{width:.0f} after {t}" for t, width in widths.items())
    print(f"confidence sequence: true at every vote in {always:.1%} of streams; mean width in points: {shown}")
    pairs = pentanomial(rng, elo=0.0, n_streams=n_streams // 4, n_pairs=n // 2)
    print("a judge in both orders, true lead 0, SPRT(0, 35) on pairs")
    report("pentanomial (in pairs)", *stops([sprt(row, elo0=0, elo1=35, model="pentanomial") for row in pairs]), n // 2)


if __name__ == "__main__":
    main()
