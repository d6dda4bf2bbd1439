"""Generators as a project's `paragone.toml` describes them: adapter, settings, what the board says of them, prices.

[generators.flux-dev]
adapter = "diffusers"
task = "text-to-image"
settings = { model = "models/flux-dev", call = { num_inference_steps = 28 } }
card = { family = "flow matching", open_weights = true, licence = "…", released = 2024-08-01, space = "latent" }
prices = [{ unit = "megapixel", usd = "0.012", valid_from = 2026-01-01, source = "https://…" }]
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from paragone.data.errors import InputError
from paragone.data.generators.pricing import money
from paragone.data.records import SPACES, GeneratorCard, Price, PriceUnit, Task

KEYS = ("adapter", "task", "settings", "card", "prices")
PRICE_KEYS = {"unit", "usd", "valid_from"}
CARD_FIELDS = tuple(part.name for part in fields(GeneratorCard) if part.name not in ("name", "usd_per_image"))


@dataclass(frozen=True, slots=True)
class Described:
    """One generator as it is described; `card` holds only what was said."""

    name: str
    adapter: str
    task: Task | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    prices: tuple[Price, ...] = ()
    base: Path | None = None  # where relative paths in the settings are read from; None: here

    def card_over(self, known: GeneratorCard | None) -> GeneratorCard:
        """What is known of the model, with what is described here in its place."""
        return replace(known or GeneratorCard(self.name), **self.card)


def read_described(path: Path) -> dict[str, Described]:
    """The generators of a `paragone.toml`, none when there is no such file; raises `InputError` that names the key."""
    if not path.is_file():
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    tables = document.get("generators", {})
    if not isinstance(tables, dict):
        raise InputError(f"{path}: generators is no table; write [generators.NAME]")
    return {name: _described(name, table, path) for name, table in tables.items()}


def card_values(card: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a `GeneratorCard` from what was written; raises `InputError` for an unknown one or a wrong kind."""
    values: dict[str, Any] = {}
    for name, value in card.items():
        if name not in CARD_FIELDS:
            raise InputError(f"{where}: has no field {name!r}; use {', '.join(CARD_FIELDS)}")
        if isinstance(value, datetime.date):
            value = value.isoformat()
        if name == "parameters" and isinstance(value, Decimal) and value == value.to_integral_value():
            value = int(value)
        wanted: type = {"open_weights": bool, "parameters": int}.get(name, str)
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise InputError(f"{where}: {name} is {value!r}; it should be {wanted.__name__}")
        values[name] = value
    if values.get("space") not in (None, *SPACES):
        raise InputError(f"{where}: space is {values['space']!r}; use {' or '.join(SPACES)}")
    return values


def _described(name: str, table: Any, path: Path) -> Described:
    where = f"{path}: generators.{name}"
    if not isinstance(table, dict) or not isinstance(table.get("adapter"), str):
        raise InputError(f"{where}: needs an adapter, a name that `paragone plugins` lists or module:attr")
    if strange := [key for key in table if key not in KEYS]:
        raise InputError(f"{where}: has no key {strange[0]!r}; use {', '.join(KEYS)} (an adapter's own go in settings)")
    task = table.get("task")
    if task is not None and task not in tuple(Task):
        raise InputError(f"{where}: task {task!r}; use one of {', '.join(Task)}")
    settings, card = table.get("settings", {}), table.get("card", {})
    if not isinstance(settings, dict) or not isinstance(card, dict):
        raise InputError(f"{where}: settings and card are tables")
    prices = table.get("prices", [])
    rows = [prices] if isinstance(prices, dict) else prices
    if not isinstance(rows, list):
        raise InputError(f"{where}: prices is a list of tables")
    return Described(
        name,
        table["adapter"],
        None if task is None else Task(task),
        settings,
        card_values(card, f"{where}: card"),
        tuple(_price(name, row, f"{where}: price {n}") for n, row in enumerate(rows, start=1)),
        path.parent,
    )


def _price(model: str, row: Any, where: str) -> Price:
    if not isinstance(row, dict) or not {"unit", "usd", "valid_from"} <= row.keys() <= {
        "unit",
        "usd",
        "valid_from",
        "source",
    }:
        raise InputError(f"{where}: wants unit, usd and valid_from (a date), and may have a source")
    if row["unit"] not in tuple(PriceUnit):
        raise InputError(f"{where}: unit {row['unit']!r}; use one of {', '.join(PriceUnit)}")
    try:
        day = datetime.date.fromisoformat(str(row["valid_from"])).isoformat()
    except ValueError:
        raise InputError(f"{where}: valid_from {row['valid_from']!r} is no date such as 2026-01-31") from None
    source = row.get("source")
    return Price(
        model, PriceUnit(row["unit"]), money(row["usd"], f"{where}: usd"), day, None if source is None else str(source)
    )
