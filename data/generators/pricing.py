"""What a sample costs: the price of its day, for an output, a million of its pixels or a second of its film.

Money is `Decimal` throughout. A megapixel is 10⁶ pixels of what was delivered, over all frames: 1024 × 1024 are
1.048576 megapixels. A price holds from its day on, until the next one for the same unit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from paragone.data.errors import InputError, ParagoneError
from paragone.data.records import Price, PriceUnit

MEGA = Decimal(1_000_000)
MOST_USD = 10**9
FINEST = Decimal("1e-12")  # US dollars: what a division that does not come out even is rounded to


class BudgetSpent(ParagoneError):
    """The next request could cost more than what is left."""


def money(value: Any, name: str) -> Decimal:
    """An amount of US dollars, exactly as it is written; raises `InputError` for what is none, or negative."""
    try:
        amount = Decimal(value) if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or not 0 <= amount <= MOST_USD:
        raise InputError(f"{name} is {value!r}, which is no amount of US dollars")
    return amount


def prices_on(prices: Iterable[Price], *, model: str, day: str) -> list[Price]:
    """The prices of a model that hold on a day (ISO 8601), the last one of each unit."""
    valid: dict[PriceUnit, Price] = {}
    for price in sorted(prices, key=lambda price: price.valid_from):
        if price.model == model and price.valid_from <= day[:10]:
            valid[price.unit] = price
    return [valid[unit] for unit in PriceUnit if unit in valid]


def megapixels(width: int, height: int, frames: int | None = None) -> Decimal:
    """Millions of pixels of a still, or of all frames of a clip."""
    return Decimal(width * height * (frames or 1)) / MEGA


def cost_of(
    prices: Sequence[Price], *, width: int, height: int, frames: int | None = None, fps: float | None = None
) -> Decimal | None:
    """What one output costs at prices of one day, added up over their units; None without a price.

    None, too, where a second is priced and nobody knows how long the output is.
    """
    if not prices:
        return None
    total = Decimal(0)
    for price in prices:
        if price.unit is PriceUnit.IMAGE:
            total += price.usd
        elif price.unit is PriceUnit.MEGAPIXEL:
            total += price.usd * megapixels(width, height, frames)
        elif frames is None or not fps:
            return None
        else:
            total += price.usd * frames / Decimal(str(fps))
    return _plain(total)


def _plain(amount: Decimal) -> Decimal:
    """The amount without the zeros that add nothing, and without the endless digits of a division."""
    digits = f"{amount.quantize(FINEST):f}".rstrip("0").rstrip(".")
    return Decimal(digits)


@dataclass(slots=True)
class Budget:
    """What may be spent: the dearest request so far is set aside for each that is on its way.

    `expected` is what the first one costs at most, where that is known; where it is not, one request is let through
    alone to learn it, so the budget can be overdrawn by that one. Several threads may share this.
    """

    limit: Decimal | None
    expected: Decimal | None = None
    spent: Decimal = Decimal(0)
    n_on_the_way: int = 0
    _dearest: Decimal | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)

    def __post_init__(self) -> None:
        self._dearest = self.expected

    def reserve(self) -> None:
        """Wait until there is certainly enough for one more request; raises `BudgetSpent` when there cannot be."""
        with self._changed:
            while self.limit is not None:
                each = self._dearest if self._dearest is not None else Decimal(0)
                if self.spent + each > self.limit or self.spent >= self.limit > 0 or self.limit == 0 < each:
                    raise BudgetSpent(
                        f"the budget of ${self.limit:f} is reached: ${self.spent:f} are spent and the next request may "
                        f"cost ${each:f}; raise --budget and run the same command again to go on"
                    )
                alone = self._dearest is None and self.n_on_the_way > 0
                if not alone and self.spent + each * (self.n_on_the_way + 1) <= self.limit:
                    break
                self._changed.wait()
            self.n_on_the_way += 1

    def settle(self, cost: Decimal | None) -> None:
        """Book a request that has come to its end."""
        with self._changed:
            self.n_on_the_way -= 1
            if cost:  # what cost nothing says nothing of the next one
                self.spent += cost
                self._dearest = cost if self._dearest is None else max(self._dearest, cost)
            self._changed.notify_all()
