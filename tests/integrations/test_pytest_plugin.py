"""The pytest plugin: silent unless used, and each verdict as the outcome of a test."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from paragone.metrics.recording import gates_of, run_of_features
from paragone.metrics.run_files import write_run

COMMON = np.random.default_rng(0).standard_normal((200, 4))
TESTS = """
import pytest

@pytest.mark.parametrize("name", ["near", "worse", "open", "other"])
def test_checkpoint(paragone_check, name):
    paragone_check(f"{name}.json", baseline="base.json")
"""


def write(path: Path, seed: int, *, scale: float = 1.2, noise: float = 0.1, extractor: str = "mine") -> None:
    reference = np.random.default_rng(1).standard_normal((300, 4))
    made = scale * (COMMON + noise * np.random.default_rng(seed).standard_normal(COMMON.shape))
    run = run_of_features(made, reference, metrics=("fd", "kid"), extractor=extractor, model=path.stem)
    write_run(replace(run, gates=gates_of(run, {"kid": "50%"})), path)


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "paragone.integrations.pytest_plugin", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("suite")
    write(found / "base.json", 2)
    write(found / "near.json", 2)
    write(found / "worse.json", 3, scale=1.6)
    write(found / "open.json", 9, noise=1.0, scale=1.22 / 1.41)
    write(found / "other.json", 3, extractor="theirs")
    (found / "test_model.py").write_text(TESTS)
    (found / "test_unrelated.py").write_text(
        "import sys\n\ndef test_nothing_is_loaded():\n"
        "    assert not {'torch', 'numpy', 'scipy', 'click'} & set(sys.modules)\n"
    )
    return found


def test_a_suite_that_does_not_use_it_does_not_notice(folder: Path) -> None:
    found = run_pytest(folder, "test_unrelated.py", "-q")
    assert found.returncode == 0, found.stdout
    assert "paragone" not in found.stdout
    assert "paragone_check" in run_pytest(folder, "--fixtures", "-q", "test_unrelated.py").stdout


def test_each_verdict_is_the_outcome_of_a_test(folder: Path) -> None:
    found = run_pytest(folder, "test_model.py", "-rA", "--junitxml=out.xml")
    assert "PASSED test_model.py::test_checkpoint[near]" in found.stdout
    assert "FAILED test_model.py::test_checkpoint[worse] - Failed: paragone: regressed" in found.stdout
    assert "1 skipped" in found.stdout
    assert "the extractor is mine in the one and theirs in the other" in found.stdout
    root = ElementTree.parse(folder / "out.xml").getroot()
    verdicts = [one.get("value") for one in root.iter("property") if one.get("name") == "paragone_verdict"]
    assert sorted(verdicts) == ["inconclusive", "not comparable", "pass", "regressed"]
    strict = run_pytest(folder, "test_model.py", "-q", "--paragone-strict", "-k", "open or near")
    assert "1 failed, 1 passed" in strict.stdout


def test_bless_writes_the_baseline(folder: Path) -> None:
    (folder / "test_bless.py").write_text(
        "def test_it(paragone_check):\n    paragone_check('worse.json', baseline='fresh.json')\n"
    )
    assert run_pytest(folder, "test_bless.py", "-q", "--paragone-bless").returncode == 0
    assert (folder / "fresh.json").is_file()
    assert run_pytest(folder, "test_bless.py", "-q").returncode == 0
