"""What calls cost: prices in US dollars for a million tokens, and a budget that is never overdrawn.

Money is `Decimal` throughout. A call is paid for twice: before it is sent, the most that it can cost is set aside, and
when its reply is there, what the reply says it used is taken. A budget is therefore kept by calls that run at once,
too. What an endpoint really charges is for its owner to say: prices come from the user, none are built in.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from paragone.data.errors import InputError, ParagoneError

MILLION = Decimal(1_000_000)


class BudgetSpent(ParagoneError):
    """The next call could cost more than what is left. Judges let it pass; the runner stops at it."""


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """US dollars for a million tokens read, and for a million written."""

    input: Decimal
    output: Decimal

    def of(self, input_tokens: int, output_tokens: int) -> Decimal:
        """What so many tokens cost, exactly."""
        return (self.input * input_tokens + self.output * output_tokens) / MILLION


@dataclass(slots=True)
class Ledger:
    """What was spent, what is set aside for calls on their way, and what is the most that may be spent.

    A call whose reply does not say what it used is booked at what was set aside for it, never at nothing.
    """

    price: TokenPrice | None = None
    budget: Decimal | None = None
    spent: Decimal = Decimal(0)
    set_aside: Decimal = Decimal(0)
    dearest: Decimal = Decimal(0)  # the most that one call has cost: estimates of pictures' tokens can be too low
    _stopped: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if self.budget is not None and self.price is None:
            raise InputError("a budget needs prices to be kept")

    def reserve(self, expected: tuple[int, int]) -> Decimal | None:
        """Set aside the most that a call of so many (input, output) tokens costs.

        None when there may be enough for it once calls on their way have cost less than was set aside for them: ask
        again then. Raises `BudgetSpent` when there is not enough whatever they cost; after that all others are refused,
        too, for a smaller call may not slip past a larger one.
        """
        if self.price is None:
            return Decimal(0)
        wanted = max(self.price.of(*expected), self.dearest)
        if self.budget is not None:
            if self._stopped or self.spent + wanted > self.budget:
                self._stopped = True
                raise BudgetSpent(
                    f"the budget of ${self.budget} is reached: ${self.spent:f} are spent and the next call may cost "
                    f"${wanted:f}; raise --budget and run the same command again to go on"
                )
            if self.spent + self.set_aside + wanted > self.budget:
                return None
        self.set_aside += wanted
        return wanted

    def release(self, reserved: Decimal) -> None:
        """Give back what was set aside for a call that failed."""
        self.set_aside -= reserved

    def pay(self, reserved: Decimal, used: tuple[int | None, int | None]) -> Decimal | None:
        """Book a call by the (input, output) tokens that its reply says it used; None when no price is known."""
        self.set_aside -= reserved
        if self.price is None:
            return None
        read, written = used
        cost = reserved if read is None or written is None else self.price.of(read, written)
        self.spent += cost
        self.dearest = max(self.dearest, cost)
        return cost


def read_prices(path: Path) -> dict[str, TokenPrice]:
    """A price table in TOML: a table a model with `input` and `output`, US dollars for a million tokens.

    Raises `InputError` that names the model for anything else.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a price table: {error}") from error
    return {model: _token_price(path, model, row) for model, row in document.items()}


def _token_price(path: Path, model: str, row: Any) -> TokenPrice:
    if not isinstance(row, Mapping) or row.keys() != {"input", "output"}:
        raise InputError(f"{path}: [{model!r}] wants input and output, US dollars for a million tokens, and no more")
    return TokenPrice(*(_money(f"{path}: {side} of {model!r}", row[side]) for side in ("input", "output")))


def _money(name: str, value: Any) -> Decimal:
    try:
        amount = Decimal(value) if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or amount < 0:
        raise InputError(f"{name} is {value!r}, which is no price")
    return amount
