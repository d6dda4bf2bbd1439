"""Refusals are counted, with intervals, and where models differ in them by more than chance a board says so."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from scipy.stats import binomtest

from paragone.arena.deliveries import REQUEST_COLUMNS, differential_refusal, request_outcomes, request_table
from paragone.arena.leaderboard import store_leaderboard
from paragone.arena.store import Store
from paragone.data import Attempt, GeneratorCard, Prompt, Status


def attempts(model: str, statuses: list[Status], *, seeds: int = 1) -> list[Attempt]:
    return [Attempt(model, f"p{n}", seed, status) for n, status in enumerate(statuses) for seed in range(seeds)]


def some(n_declined: int, n: int) -> list[Status]:
    return [Status.REFUSED if k < n_declined else Status.OK for k in range(n)]


def test_a_request_is_delivered_when_any_try_was() -> None:
    tries = [
        Attempt("a", "p", 0, Status.ERROR, created_at="1"),
        Attempt("a", "p", 0, Status.OK, created_at="2"),
        Attempt("a", "p", 0, Status.TIMEOUT, created_at="3"),
        Attempt("a", "p", 1, Status.TIMEOUT, created_at="1"),
        Attempt("a", "p", 1, Status.FILTERED, created_at="2"),
        Attempt("a", "q", 0, Status.REFUSED),
        Attempt("a", "q", 1, Status.INVALID),
    ]
    table = request_table(request_outcomes(tries))
    assert list(table.columns) == list(REQUEST_COLUMNS)
    row = table.loc["a"]
    assert row[["n_requests", "delivered", "n_refused", "n_filtered", "n_failed"]].tolist() == [4, 0.25, 1, 1, 1]


@pytest.mark.parametrize(("k", "n"), [(0, 10), (7, 40), (40, 40), (1, 1)])
def test_the_interval_is_wilsons(k: int, n: int) -> None:
    row = request_table(request_outcomes(attempts("a", some(n - k, n)))).loc["a"]
    exact = binomtest(k, n).proportion_ci(method="wilson")
    assert row["delivered_lower"] == pytest.approx(exact.low, abs=1e-12)
    assert row["delivered_upper"] == pytest.approx(exact.high, abs=1e-12)


def test_who_declines_more_is_named_with_the_exact_p_value() -> None:
    tries = [*attempts("shy", some(12, 40)), *attempts("bold", some(0, 40)), *attempts("usual", some(1, 40))]
    found = differential_refusal(request_outcomes(tries))
    assert found is not None
    assert (found.model, found.other, found.more, found.less, found.shared) == ("shy", "bold", 12, 0, 40)
    assert found.p_value == pytest.approx(3 * binomtest(12, 12).pvalue)
    assert "shy declined more than bold on 12 of 40 prompts and less on 0" in str(found)


def test_few_or_equal_refusals_are_chance() -> None:
    assert differential_refusal({}) is None
    assert differential_refusal(request_outcomes(attempts("a", some(9, 9)))) is None
    assert differential_refusal(request_outcomes([*attempts("a", some(5, 40)), *attempts("b", some(0, 40))])) is None
    same = [*attempts("a", some(20, 40)), *attempts("b", some(20, 40))]
    assert differential_refusal(request_outcomes(same)) is None


def test_only_prompts_that_both_were_asked_count() -> None:
    apart = [*attempts("a", some(30, 30)), *(Attempt("b", f"q{n}", 0, Status.OK) for n in range(30))]
    assert differential_refusal(request_outcomes(apart)) is None


def test_seeds_of_a_prompt_are_not_independent_evidence() -> None:
    """Three prompts with thirty seeds each: ninety refusals, and yet three prompts."""
    tries = [*attempts("a", some(3, 3), seeds=30), *attempts("b", some(0, 3), seeds=30)]
    assert differential_refusal(request_outcomes(tries)) is None


def test_equal_models_seldom_raise_the_warning() -> None:
    """Six models that decline the same hard prompts by chance, a hundred times: at most a few false alarms at 1 %."""
    rng = random.Random(0)
    alarms = 0
    for _ in range(100):
        chances = [rng.choice([0.0, 0.1, 0.5, 0.9]) for _ in range(30)]
        tries = [
            Attempt(f"m{m}", f"p{n}", 0, Status.REFUSED if rng.random() < chance else Status.OK)
            for m in range(6)
            for n, chance in enumerate(chances)
        ]
        alarms += differential_refusal(request_outcomes(tries)) is not None
    assert alarms <= 4  # P(Bin(100, 0.01) > 4) = 0.003


def test_a_board_counts_them_and_warns(tmp_path: Path) -> None:
    with Store(tmp_path / "arena.db", create=True) as store:
        store.add_generators([GeneratorCard("shy", parameters=12 * 10**9, space="latent"), GeneratorCard("bold")])
        store.add_generators([GeneratorCard("uploaded")])
        store.add_prompts(Prompt(f"p{n}", "x") for n in range(40))
        store.add_attempts([*attempts("shy", some(12, 40)), *attempts("bold", some(0, 40))])
        board = store_leaderboard(store, voters="all")
        rows = {row["model"]: row for row in board.document()["models"]}
        assert (rows["shy"]["n_requests"], rows["shy"]["delivered"], rows["shy"]["n_refused"]) == (40, 0.7, 12)
        assert (rows["shy"]["parameters"], rows["shy"]["space"]) == (12 * 10**9, "latent")
        assert rows["uploaded"]["n_requests"] is None  # nobody knows what it was asked: not 0
        assert board.refusals in board.warnings
        assert "shy declined more than bold" in board.refusals
        store.add_attempts(attempts("bold", [Status.REFUSED] * 12 + [Status.OK] * 30)[:12])  # the same requests again
        assert store_leaderboard(store, voters="all").frame.set_index("model").loc["bold", "n_refused"] == 0
