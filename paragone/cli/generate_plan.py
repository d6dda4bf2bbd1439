"""What `paragone generate` was asked for: which generators, with which settings and prices, and which prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paragone.data.errors import UsageError
from paragone.data.generators.described import Described, read_described
from paragone.data.generators.pricing import money
from paragone.data.generators.settings import Words
from paragone.data.generators.table import GENERATORS
from paragone.data.project import Project
from paragone.data.prompts import read_prompts
from paragone.data.records import Price, PriceUnit, Prompt, Task


@dataclass(frozen=True, slots=True)
class Wish:
    """The options that say who is asked."""

    names: tuple[str, ...]
    target: str | None
    settings: Mapping[str, Any]
    model_name: str | None
    task: Task | None
    prices: tuple[str, ...]


def chosen(project: Project, wish: Wish) -> list[Described]:
    """The generators that are asked, each with its task; raises `UsageError` when it is not clear which."""
    described = read_described(project.config)
    if wish.target is not None:
        if wish.names:
            raise UsageError(f"--generator is for one that paragone.toml does not describe; leave out {wish.names[0]}")
        name = wish.model_name or wish.target.rpartition(":")[2]
        if name in described:
            raise UsageError(f"{project.config} describes another {name!r}; choose another --model-name")
        picked = [Described(name, wish.target, wish.task)]
    elif wish.names:
        if unknown := [name for name in wish.names if name not in described]:
            known = f"it describes {', '.join(described)}" if described else "it describes none"
            raise UsageError(f"{project.config}: no generator is called {unknown[0]!r}; {known} (or use --generator)")
        picked = [described[name] for name in dict.fromkeys(wish.names)]
    else:
        picked = list(described.values())
    if not picked:
        raise UsageError(f"name a generator with --generator, or describe one in {project.config}")
    if len(picked) > 1 and (wish.settings or wish.prices or wish.model_name):
        raise UsageError("--set, --price and --model-name are for one generator; name it")
    return [_complete(generator, wish) for generator in picked]


def settings_of(pairs: Sequence[str]) -> dict[str, Any]:
    """`a.b=1` as {"a": {"b": 1}}; values stay words until the adapter says what they are."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {pair}: write KEY=VALUE")
        *parents, last = name.split(".")
        table = settings
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise UsageError(f"--set {pair}: {parent} has a value already")
        table[last] = Words(value)
    return settings


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others in their place; tables are merged, too."""
    result = dict(below)
    for name, value in above.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def planned_prompts(path: Path, generators: Sequence[Described], wish: Wish) -> list[Prompt]:
    """The prompts of a file; those that do not say their task have the one that was asked for."""
    tasks = {wish.task or generator.task for generator in generators}
    task = tasks.pop() if len(tasks) == 1 else None
    return read_prompts(path, task=task or Task.TEXT_TO_IMAGE)


def task_of(generator: Described, prompts: Sequence[Prompt]) -> Task:
    """What a generator is asked for: what is said of it, or else what all prompts ask for."""
    tasks = {prompt.task for prompt in prompts}
    return generator.task or (tasks.pop() if len(tasks) == 1 else Task.TEXT_TO_IMAGE)


def _complete(generator: Described, wish: Wish) -> Described:
    GENERATORS.load(generator.adapter)  # an unknown or broken one is an error before the first request
    name = wish.model_name or generator.name
    today = datetime.now(UTC).date().isoformat()
    prices = tuple(_price(name, text, today) for text in wish.prices)
    return replace(
        generator,
        name=name,
        task=wish.task or generator.task,
        settings=merged(generator.settings, wish.settings),
        prices=(*(replace(price, model=name) for price in generator.prices), *prices),
    )


def _price(model: str, text: str, day: str) -> Price:
    unit, equals, usd = text.partition("=")
    if not equals or unit not in tuple(PriceUnit):
        raise UsageError(f"--price {text}: write UNIT=USD, with one of {', '.join(PriceUnit)}")
    return Price(model, PriceUnit(unit), money(usd, f"--price {unit}"), day, "given on the command line")
