"""`paragone judge audit` from the outside: built-in judges, and a server that speaks the API."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from paragone.cli.judge_audit import GATE_HELP, audit
from paragone.data.errors import ParagoneError
from paragone.judges.budget import BudgetSpent
from paragone.judges.judge_card import GATES, JudgeCard

FAKE_SERVER = Path(__file__).parents[1] / "judges" / "fake_server.py"


@pytest.fixture(scope="module")
def fake_server() -> Any:
    name = "paragone_fake_server"
    if name not in sys.modules:
        spec = spec_from_file_location(name, FAKE_SERVER)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def server(fake_server: Any) -> Iterator[Any]:
    with fake_server.FakeServer(behaviour=fake_server.always_first()) as running:
        yield running


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("PARAGONE_HOME", str(tmp_path / "home"))

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(audit, [str(argument) for argument in arguments])

    return invoke


def test_gates_are_those_of_the_card() -> None:
    assert set(GATE_HELP) == set(GATES)


def test_a_judge_of_digits(run: Callable[..., Result], tmp_path: Path) -> None:
    page, card_file = tmp_path / "card.md", tmp_path / "card.json"
    options = ("--judge", "digits", "--material", "digits", "--items", 10)
    ended = run(*options, "--markdown", page, "--json", card_file, "--max-flip-rate", 0.15, "--min-coverage", 1)
    assert ended.exit_code == 0, ended.output
    card = JudgeCard.from_dict(json.loads(card_file.read_text()))
    assert card.judge == "digits-judge-1"
    assert page.read_text() == card.to_markdown()
    assert "flip rate: right against wrong" in ended.stdout
    assert "left out: injection: badge" in ended.stderr
    assert f"{card.n_calls} calls" in ended.stderr


def test_a_model_that_prefers_a_place_does_not_keep_the_limit(run: Callable[..., Result], server: Any) -> None:
    options = ("--judge", "mllm", "--model", "eyes", "--base-url", server.base_url, "--items", 2)
    probes = ("--probe", "order", "--probe", "repeat")
    plan = json.loads(run(*options, *probes, "--dry-run", "--json", "-").stdout)
    assert server.n_calls == 0
    ended = run(*options, *probes, "--json", "-", "--max-flip-rate", 0.15, "--min-self-consistency", 0.9)
    assert ended.exit_code == 1
    assert "not kept: max_flip_rate: 1.000, the limit is 0.15" in ended.stderr
    assert "min_self_consistency" not in ended.stderr
    card = JudgeCard.from_dict(json.loads(ended.stdout))
    assert card.n_calls == plan["n_calls"] == server.n_calls == 12
    assert plan["calls_by_probe"] == {"order": 8, "repeat": 4}
    again = run(*options, *probes, "--json", "-")
    assert again.exit_code == 0
    assert server.n_calls == 12  # every reply was kept, repetitions apart from each other
    assert json.loads(again.stdout) == card.to_dict()


def test_an_audit_that_ran_out_of_money_goes_on_where_it_stopped(run: Callable[..., Result], server: Any) -> None:
    options = ("--judge", "mllm", "--model", "eyes", "--base-url", server.base_url, "--items", 4, "--probe", "order")
    prices = ("--price-in", 1, "--price-out", 2, "--max-concurrency", 1)
    ended = run(*options, *prices, "--budget", "0.01")
    assert isinstance(ended.exception, BudgetSpent)
    asked = server.n_calls
    assert 0 < asked < 16
    again = run(*options, *prices, "--json", "-")
    assert again.exit_code == 0
    assert JudgeCard.from_dict(json.loads(again.stdout)).n_calls == server.n_calls == 16
    assert "paid: $" in again.stderr


def test_what_was_not_measured_keeps_no_limit(run: Callable[..., Result]) -> None:
    options = ("--judge", "paragone.judges.scorers:sharpness_judge", "--items", 2, "--probe", "identical")
    ended = run(*options, "--max-flip-rate", 0.5)
    assert ended.exit_code == 1
    assert "max_flip_rate: not measured" in ended.stderr
    assert run(*options, "--min-identical-tie-rate", 1).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--judge", "digits", "--judge", "mllm", "--model", "x"), "of one judge, not of 2"),
        (("--judge", "digits", "--probe", "charm"), "no probe 'charm'"),
        (("--judge", "digits", "--json", "/nowhere/card.json"), "does not exist"),
        (
            ("--judge", "mllm", "--model", "x", "--base-url", "http://127.0.0.1:9/v1", "--budget", "1"),
            "needs the prices",
        ),
    ],
)
def test_usage_errors_come_before_the_first_call(
    run: Callable[..., Result], arguments: tuple[str, ...], says: str
) -> None:
    ended = run(*arguments)
    assert isinstance(ended.exception, ParagoneError)
    assert says in str(ended.exception)
