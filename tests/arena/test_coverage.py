"""95 % intervals hold the truth in about 95 % of simulated arenas: a short run of benchmarks/coverage.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def coverage() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("benchmarks_coverage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def tallies(coverage: Any, name: str, *, arenas: int, methods: tuple[str, ...], joint: bool = False) -> dict[str, Any]:
    scenario = next(scenario for scenario in coverage.SCENARIOS if scenario.name == name)
    chosen = [method for method in coverage.METHODS if method.name in methods]
    assert len(chosen) == len(methods)
    found: dict[str, Any] = coverage.run(scenario, arenas=arenas, methods=chosen, joint=joint)
    return found


# 120 arenas of 10 models: the Monte Carlo error is about 0.8 points; 2.5 points are three of them.
@pytest.mark.parametrize(
    ("scenario", "methods"), [("no ties", ("bt sandwich",)), ("ties", ("bt sandwich", "davidson sandwich"))]
)
def test_sandwich_intervals_cover(coverage: Any, scenario: str, methods: tuple[str, ...]) -> None:
    for method, tally in tallies(coverage, scenario, arenas=120, methods=methods).items():
        assert 0.925 <= tally.coverage <= 0.975, method


@pytest.mark.slow
def test_profile_and_bootstrap_intervals_cover(coverage: Any) -> None:
    found = tallies(coverage, "ties", arenas=40, methods=("bt profile", "davidson profile", "bt bootstrap"))
    for method, tally in found.items():
        assert 0.91 <= tally.coverage <= 0.99, method


@pytest.mark.slow
def test_intervals_by_voter_cover_where_plain_ones_do_not(coverage: Any) -> None:
    found = tallies(coverage, "60 voters with taste", arenas=120, methods=("bt sandwich", "bt by voter"))
    assert found["bt sandwich"].coverage < 0.925
    assert 0.925 <= found["bt by voter"].coverage <= 0.975


@pytest.mark.slow
def test_pairs_and_ranks_cover(coverage: Any) -> None:
    found = tallies(coverage, "ties", arenas=60, methods=("bt sandwich",), joint=True)
    assert 0.92 <= found["bt sandwich: pairs"].coverage <= 0.98
    assert found["bt sandwich: all pairs at once"].coverage >= 0.88
    for kind in ("ranks of the intervals", "ranks by draws", "all ranks at once"):
        assert found[f"bt sandwich: {kind}"].coverage >= 0.95
    narrow, wide = (found[f"bt sandwich: {kind}"] for kind in ("ranks by draws", "ranks of the intervals"))
    assert np.mean(narrow.width) < np.mean(wide.width)
