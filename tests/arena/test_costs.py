"""Money to the last digit, prices of the day, and what refusals and failures add to the price of what came."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest

from paragone.arena.costs import COST_COLUMNS, bill_notes, bills, megapixels, model_costs, prices_on
from paragone.data import Attempt, Price, PriceUnit, Sample, Status

PRICES = [
    Price("a", PriceUnit.IMAGE, Decimal("0.04"), "2026-01-01"),
    Price("a", PriceUnit.IMAGE, Decimal("0.03"), "2026-03-01"),
    Price("a", PriceUnit.SECOND, Decimal("0.5"), "2026-02-01"),
    Price("b", PriceUnit.MEGAPIXEL, Decimal("0.012"), "2025-06-01"),
]


def sample(model: str = "a", seed: int = 0, *, size: tuple[int, int] = (1024, 1024), **more: object) -> Sample:
    return Sample(f"{model}{seed}", "0" * 64, "a.png", "p", model, seed, *size, **more)  # type: ignore[arg-type]


def test_megapixels_are_decimal_and_exact() -> None:
    assert megapixels(sample()) == Decimal("1.048576")
    assert megapixels(sample(size=(1280, 720), frames=5 * 24, fps=24.0)) == Decimal("110.592")


@pytest.mark.parametrize(
    ("day", "image"),
    [("2025-12-31", None), ("2026-01-01", "0.04"), ("2026-02-28", "0.04"), ("2026-03-01", "0.03"), (None, "0.03")],
)
def test_a_price_holds_from_its_day_until_the_next(day: str | None, image: str | None) -> None:
    holding = prices_on(PRICES[::-1], day)
    found = holding.get(("a", PriceUnit.IMAGE))
    assert (None if found is None else str(found.usd)) == image
    assert ("b", PriceUnit.MEGAPIXEL) in holding
    table = model_costs(PRICES, [], day=day)
    if image is None:
        assert "a" not in table.index
    else:
        assert table.at["a", "usd_per_image"] == float(image)
    assert math.isnan(table.at["b", "usd_per_image"])


def test_ten_thousand_cents_are_a_hundred_dollars() -> None:
    attempts = [Attempt("a", "p", n, Status.OK, cost_usd=Decimal("0.01")) for n in range(10_000)]
    bill = bills([sample(seed=n, size=(1000, 1000)) for n in range(10_000)], attempts)["a"]
    assert bill.usd == Decimal("100.00")
    assert bill.usd_per_delivered == Decimal("0.01")
    assert bill.usd_per_megapixel == Decimal("0.01")


def test_what_did_not_come_makes_what_came_dearer() -> None:
    attempts = [
        *(Attempt("a", "p", n, Status.OK, cost_usd=Decimal("0.04")) for n in range(3)),
        Attempt("a", "p", 3, Status.REFUSED, cost_usd=Decimal("0.04")),
        Attempt("a", "p", 4, Status.ERROR, cost_usd=Decimal("0")),
    ]
    table = model_costs([], [sample(seed=n) for n in range(3)], attempts, bad_shares={"a": 0.2})
    assert table.at["a", "usd_paid"] == 0.16
    assert table.at["a", "usd_per_delivered"] == pytest.approx(0.16 / 3)
    assert table.at["a", "usd_per_accepted"] == pytest.approx(0.16 / 3 / 0.8)
    assert table.at["a", "usd_paid_per_megapixel"] == pytest.approx(0.16 / (3 * 1.048576))
    without_votes = model_costs([], [], attempts)
    assert math.isnan(without_votes.at["a", "usd_per_accepted"])  # nobody has said what is good enough
    assert math.isnan(without_votes.at["a", "usd_paid_per_megapixel"])


def test_a_missing_cost_is_not_zero() -> None:
    attempts = [Attempt("a", "p", 0, Status.OK, cost_usd=Decimal("0.04")), Attempt("a", "p", 1, Status.REFUSED)]
    found = bills([], attempts)
    assert found["a"].usd is None
    assert bill_notes(found) == ["a: the cost of 1 of 2 requests is not known, so what was paid is left out"]
    assert bill_notes(bills([sample()], [])) == []  # of which nothing at all is known: nothing to warn of
    assert "a" not in model_costs([], [sample()]).index


def test_waiting_times_are_of_what_came() -> None:
    attempts = [Attempt("a", "p", n, Status.OK, latency_s=float(n)) for n in range(101)]
    attempts.append(Attempt("a", "p", 101, Status.TIMEOUT, latency_s=9000.0))
    samples = [sample("a", latency_s=77.0), sample("b", latency_s=2.0), sample("b", 1, latency_s=4.0)]
    table = model_costs([], samples, attempts)
    assert list(table.columns) == list(COST_COLUMNS)
    assert table.loc["a", ["latency_s", "latency_p95_s"]].tolist() == [50.0, 95.0]
    assert table.loc["b", ["latency_s", "latency_p95_s"]].tolist() == [3.0, float(np.quantile([2.0, 4.0], 0.95))]
