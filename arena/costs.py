"""What outputs cost and how long they take: list prices as of a day, what was really paid, and waiting times.

Money is added up in `Decimal` and becomes a float only in the table. Megapixels are decimal: 1024 × 1024 pixels are
1.048576. What a refusal or a failed request cost is part of the price of what was delivered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pandas as pd

from paragone.data.records import Attempt, Price, PriceUnit, Sample, Status

COST_COLUMNS = (
    "usd_per_image",
    "usd_per_megapixel",
    "usd_per_second",
    "latency_s",
    "latency_p95_s",
    "usd_paid",
    "usd_per_delivered",
    "usd_per_accepted",
    "usd_paid_per_megapixel",
)


@dataclass(frozen=True, slots=True)
class Bill:
    """What a model's outputs have cost; `usd` is None while the cost of any request is unknown: missing is not 0."""

    usd: Decimal | None
    n_delivered: int
    megapixels: Decimal  # of what was delivered
    n_unknown: int  # requests whose cost nobody wrote down
    n: int  # requests that were billed or not

    @property
    def usd_per_delivered(self) -> Decimal | None:
        """Paid for everything, over what came."""
        return self.usd / self.n_delivered if self.usd is not None and self.n_delivered else None

    @property
    def usd_per_megapixel(self) -> Decimal | None:
        """Paid for everything, over the megapixels that came."""
        return self.usd / self.megapixels if self.usd is not None and self.megapixels else None


def megapixels(sample: Sample) -> Decimal:
    """10⁶ pixels, over all frames of a clip."""
    return Decimal(sample.width * sample.height * (sample.frames or 1)) / 10**6


def today() -> str:
    """The day in UTC, ISO 8601."""
    return datetime.now(UTC).date().isoformat()


def prices_on(prices: Sequence[Price], day: str | None) -> dict[tuple[str, PriceUnit], Price]:
    """The price of each model and unit that holds on a day (ISO 8601): the last that began by then; None: the last."""
    holding: dict[tuple[str, PriceUnit], Price] = {}
    for price in sorted(prices, key=lambda price: price.valid_from):
        if day is None or price.valid_from <= day:
            holding[price.model, price.unit] = price
    return holding


def bills(samples: Sequence[Sample], attempts: Sequence[Attempt]) -> dict[str, Bill]:
    """What each model's outputs have cost: by its attempts where there are any, else by its samples."""
    tried = {attempt.model for attempt in attempts}
    paid: dict[str, list[Decimal | None]] = {}
    delivered: dict[str, int] = {}
    area: dict[str, Decimal] = {}
    for attempt in attempts:
        paid.setdefault(attempt.model, []).append(attempt.cost_usd)
        delivered[attempt.model] = delivered.get(attempt.model, 0) + (attempt.status is Status.OK)
    for sample in samples:
        area[sample.model] = area.get(sample.model, Decimal(0)) + megapixels(sample)
        if sample.model not in tried:
            paid.setdefault(sample.model, []).append(sample.cost_usd)
            delivered[sample.model] = delivered.get(sample.model, 0) + 1
    made = {}
    for model, costs in paid.items():
        known = [cost for cost in costs if cost is not None]
        total = sum(known, Decimal(0)) if len(known) == len(costs) else None
        made[model] = Bill(total, delivered[model], area.get(model, Decimal(0)), len(costs) - len(known), len(costs))
    return made


def bill_notes(bills: Mapping[str, Bill]) -> list[str]:
    """A line for each model some of whose requests have a cost and some not, so that its price is not known."""
    return [
        f"{model}: the cost of {bill.n_unknown} of {bill.n} requests is not known, so what was paid is left out"
        for model, bill in sorted(bills.items())
        if 0 < bill.n_unknown < bill.n
    ]


def model_costs(
    prices: Sequence[Price],
    samples: Sequence[Sample],
    attempts: Sequence[Attempt] = (),
    *,
    day: str | None = None,
    bad_shares: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """What each model costs and how long it takes. Index: model; columns: `COST_COLUMNS`, NaN where nothing is known.

    Args:
        prices: with the days from which they hold.
        samples: what was delivered; their size makes the megapixels.
        attempts: how requests ended; a model without any is billed by its samples.
        day: the list prices of that day (ISO 8601); None for the last ones.
        bad_shares: the share of a model's votes that called both sides bad. An output is *accepted* when it is
            delivered and not bad, so the price of an accepted one is that of a delivered one / (1 − this share).
    """
    table: dict[str, dict[str, float]] = {}
    for (model, unit), price in prices_on(prices, day).items():
        table.setdefault(model, {})[f"usd_per_{unit}"] = float(price.usd)
    for model, seconds in _latencies(samples, attempts).items():
        p50, p95 = np.quantile(seconds, [0.5, 0.95])
        table.setdefault(model, {}).update(latency_s=float(p50), latency_p95_s=float(p95))
    for model, bill in bills(samples, attempts).items():
        each, per_megapixel = bill.usd_per_delivered, bill.usd_per_megapixel
        bad = (bad_shares or {}).get(model, 1.0)
        amounts = {
            "usd_paid": bill.usd,
            "usd_per_delivered": each,
            "usd_per_accepted": None if each is None or bad >= 1 else float(each) / (1 - bad),
            "usd_paid_per_megapixel": per_megapixel,
        }
        known = {name: float(amount) for name, amount in amounts.items() if amount is not None}
        if known:
            table.setdefault(model, {}).update(known)
    return pd.DataFrame.from_dict(table, orient="index", columns=list(COST_COLUMNS), dtype=np.float64)


def _latencies(samples: Sequence[Sample], attempts: Sequence[Attempt]) -> dict[str, list[float]]:
    """Seconds until each output of a model came; failures are left out, for some fail at once."""
    seconds: dict[str, list[float]] = {}
    for attempt in attempts:
        if attempt.status is Status.OK and attempt.latency_s is not None:
            seconds.setdefault(attempt.model, []).append(attempt.latency_s)
    by_attempts = set(seconds)
    for sample in samples:
        if sample.model not in by_attempts and sample.latency_s is not None:
            seconds.setdefault(sample.model, []).append(sample.latency_s)
    return seconds
