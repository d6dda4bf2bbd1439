"""How often a check is right: short versions of benchmarks/check_calibration.py, whose code they run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def calibration() -> ModuleType:
    """The benchmark as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / "check_calibration.py"
    spec = importlib.util.spec_from_file_location("paragone_check_calibration", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_tenth_more_covariance_is_caught_in_a_thousand_pairs(calibration: ModuleType) -> None:
    row = calibration.covariance_row(runs=6)
    assert row["verdicts"] == {"regressed": 1.0}


def test_unequal_numbers_of_one_law_are_no_regression(calibration: ModuleType) -> None:
    """500 against 2,000 in 64 dimensions: the plain FD is off by more than ten of its standard errors."""
    row = calibration.unequal_row(runs=8)
    assert row["verdicts"].get("regressed", 0.0) == 0.0
    fd = row["gates"]["fd"]
    assert abs(fd["mean_worsening"]) < 1.5 * fd["mean_standard_error"]


@pytest.mark.slow
def test_pairs_of_one_law_seldom_regress(calibration: ModuleType) -> None:
    row = calibration.covariance_row(runs=200, dim=64, n=512, inflation=1.0)
    assert row["verdicts"].get("regressed", 0.0) <= 0.08
    assert 0.01 <= row["gates"]["fd"]["p_worse_below_0.05"] <= 0.09


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_the_digits_checkpoints(calibration: ModuleType, tmp_path: Path) -> None:
    """Trains the demo's flow model: 15 re-seeds pass or stay open; early, guided and replaying ones are caught."""
    reseed, early, guided, replay = calibration.digits_rows(tmp_path, runs=15, others=10)
    assert reseed["verdicts"].get("regressed", 0.0) <= 0.08
    assert early["verdicts"] == {"regressed": 1.0}
    assert guided["verdicts"] == {"regressed": 1.0}
    assert guided["gates"]["alignment"]["verdicts"]["improved"] == 1.0
    assert guided["gates"]["recall"]["verdicts"]["regressed"] > 0.8
    assert replay["gates"]["authenticity"]["verdicts"]["regressed"] == 1.0
