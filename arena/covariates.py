"""Covariates of a vote: columns become differences between the two sides, a − b.

A mirrored vote is thus the same vote. A covariate is written as text:

    NAME             numeric columns NAME_a and NAME_b, or one numeric column NAME that is a − b already
    NAME:log         log NAME_a − log NAME_b, such as the logarithm of the ratio of megapixels
    NAME:relative    (NAME_a − NAME_b) / (NAME_a + NAME_b), in [−1, 1]; 0 where both are 0
    NAME:category    text columns NAME_a and NAME_b: one covariate for each level but the first by name, the reference

Differences are never centred: a centred difference holds a preference for one side, so that mirroring some of the votes
would change the ratings. They are only divided by their root mean square around zero, which mirroring leaves alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from paragone.arena.votes import FloatArray, IntArray
from paragone.data.errors import InputError, NotIdentifiable, UsageError

KINDS = ("log", "relative", "category")
SIDE = "side"  # the covariate of being model_a, which is 1 in every vote
MAX_LEVELS = 50


@dataclass(frozen=True, slots=True, eq=False)
class Covariates:
    """F covariates of V votes, as differences a − b."""

    names: tuple[str, ...]  # [F]
    values: FloatArray  # [V, F] divided by sd
    sd: FloatArray  # [F] root mean square difference, in the covariate's own unit


def covariate_columns(covariates: Sequence[str], available: Collection[str]) -> list[str]:
    """The columns that these covariates are read from; `UsageError` names one that is not there, or is there twice."""
    columns: list[str] = []
    for text in covariates:
        name, kind = _parse(text)
        sides = [f"{name}_a", f"{name}_b"]
        has_sides = all(side in available for side in sides)
        has_difference = name in available and not kind
        if has_sides and has_difference:
            raise UsageError(f"covariate {text!r}: there are columns {sides[0]}, {sides[1]} and {name}; rename one")
        if not has_sides and not has_difference:
            single = "" if kind else f", or one column {name} that is their difference"
            raise UsageError(f"covariate {text!r}: needs the columns {sides[0]} and {sides[1]}{single}")
        columns += sides if has_sides else [name]
    return list(dict.fromkeys(columns))


def read_covariates(
    votes: pd.DataFrame, covariates: Sequence[str], *, side: bool, rows: IntArray, source: str = "votes"
) -> Covariates:
    """The covariates of the votes in `rows`, all votes being checked, and with `side` a last one that is 1.

    Raises `UsageError` for a missing column, `InputError` naming the row of a value that is missing or not a number,
    and `NotIdentifiable` for a covariate whose two sides never differ.
    """
    if twice := [text for k, text in enumerate(covariates) if text in covariates[:k]]:
        raise UsageError(f"covariate {twice[0]!r} is there twice")
    covariate_columns(covariates, votes.columns)
    named: dict[str, FloatArray] = {}
    for text in covariates:
        named |= _differences(votes, text, source)
    if side:
        if SIDE in named:
            raise UsageError(f"the covariate {SIDE!r} is there already; rename the column, or leave out side")
        named[SIDE] = np.ones(len(votes))
    by_name = np.stack(list(named.values())) if named else np.zeros((0, len(votes)))
    values = (by_name if rows.size == len(votes) else by_name[:, rows]).T  # sums go through it column by column
    sd = np.sqrt((values**2).mean(axis=0)) if rows.size else np.ones(values.shape[1])
    for name, size in zip(named, sd, strict=True):
        if size == 0:
            raise NotIdentifiable(f"covariate {name!r}: both sides are the same in every vote; leave it out")
    return Covariates(tuple(named), values / sd, sd)


def _parse(text: str) -> tuple[str, str]:
    """Name and kind; the kind of a plain difference is ""."""
    name, _, kind = text.rpartition(":")
    if name and kind in KINDS:
        return name, kind
    if name:
        raise UsageError(f"covariate {text!r}: {kind!r} is none of {', '.join(KINDS)}")
    return text, ""


def _differences(votes: pd.DataFrame, text: str, source: str) -> dict[str, FloatArray]:
    name, kind = _parse(text)
    if kind == "category":
        return _levels(votes, name, source)
    if f"{name}_a" not in votes.columns:
        return {text: _numbers(votes, name, source)}
    a, b = _numbers(votes, f"{name}_a", source), _numbers(votes, f"{name}_b", source)
    if not kind:
        return {text: a - b}
    _check_range(a, f"{name}_a", kind, source)
    _check_range(b, f"{name}_b", kind, source)
    if kind == "log":
        return {text: np.log(a) - np.log(b)}
    total = a + b
    return {text: np.divide(a - b, total, out=np.zeros_like(total), where=total > 0)}


def _check_range(values: FloatArray, column: str, kind: str, source: str) -> None:
    wrong = values <= 0 if kind == "log" else values < 0
    if (bad := np.flatnonzero(wrong)).size:
        need = "above 0" if kind == "log" else "0 or more"
        raise InputError(f"{source}: row {bad[0] + 1}: {column} is {values[bad[0]]:g}; {kind} needs numbers {need}")


def _numbers(votes: pd.DataFrame, column: str, source: str) -> FloatArray:
    values: FloatArray = pd.to_numeric(votes[column], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if (bad := np.flatnonzero(~np.isfinite(values))).size:
        value, name = votes[column].iloc[bad[0]], column.removesuffix("_a").removesuffix("_b")
        shown = "empty" if pd.isna(value) else repr(value)
        raise InputError(
            f"{source}: row {bad[0] + 1}: {column} is {shown}, not a finite number; fill it in, drop the vote, "
            f"or use {name}:category for text"
        )
    return values


def _levels(votes: pd.DataFrame, name: str, source: str) -> dict[str, FloatArray]:
    """One difference of indicators for each level but the first."""
    sides = [votes[f"{name}_a"], votes[f"{name}_b"]]
    for column in sides:
        if (missing := np.flatnonzero(column.isna() | (column.astype(str).str.strip() == ""))).size:
            raise InputError(f"{source}: row {missing[0] + 1}: {column.name} is empty; name its level, such as 'none'")
    codes, levels = pd.factorize(pd.concat(sides).astype(str), sort=True)
    if len(levels) > MAX_LEVELS:
        raise UsageError(f"covariate {name}:category has {len(levels)} levels; at most {MAX_LEVELS} are fitted")
    a, b = np.split(codes, 2)
    return {f"{name}[{level}]": (a == k) * 1.0 - (b == k) for k, level in enumerate(levels) if k}
