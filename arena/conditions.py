"""Conditions on the rows of a board in words: `open_weights=yes`, `parameters<=12e9`, `family~flow`, `licence=unknown`.

A fact that is not known meets no condition but `=unknown`: not known is neither small nor closed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from paragone.data.errors import UsageError

UNKNOWN = "unknown"
_FORM = re.compile(r"\s*(?P<column>[^<>=!~]+?)\s*(?P<sign><=|>=|!=|=|<|>|~)\s*(?P<value>.*?)\s*")
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
    "!=": operator.ne,
}
_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on one column."""

    column: str
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition; raises `UsageError`."""
        found = _FORM.fullmatch(text)
        if found is None or not found["value"]:
            raise UsageError(
                f"filter {text!r}: write COLUMN SIGN VALUE, the sign one of = != < <= > >= ~ (~: contains)"
            )
        return cls(found["column"], found["sign"], found["value"])

    def __str__(self) -> str:
        return f"{self.column}{self.sign}{self.value}"

    def rows(self, frame: pd.DataFrame) -> pd.Series[bool]:
        """Which rows meet it; raises `UsageError` for a column that is none and a value that its kind cannot have."""
        if self.column not in frame.columns:
            raise UsageError(
                f"filter {self}: no column is called {self.column!r}; there are {', '.join(frame.columns)}"
            )
        values = frame[self.column]
        missing = values.isna()
        if self.value.casefold() == UNKNOWN and self.sign in ("=", "!="):
            return missing if self.sign == "=" else ~missing
        return self._met(values).fillna(False).astype(bool) & ~missing

    def _met(self, values: pd.Series[Any]) -> pd.Series[Any]:
        if isinstance(values.dtype, pd.StringDtype):
            return self._words(values)
        if self.sign == "~":
            raise UsageError(f"filter {self}: ~ looks for words, and {self.column} has none; use = != < <= > >=")
        if isinstance(values.dtype, pd.BooleanDtype):
            if self.value.casefold() not in _TRUTH or self.sign not in ("=", "!="):
                raise UsageError(f"filter {self}: {self.column} is yes, no or unknown; write {self.column}=yes")
            return _compared(values, self.sign, _TRUTH[self.value.casefold()])
        try:
            number = float(self.value)
        except ValueError:
            raise UsageError(f"filter {self}: {self.value!r} is not a number, which {self.column} is") from None
        return _compared(values, self.sign, number)

    def _words(self, values: pd.Series[Any]) -> pd.Series[Any]:
        """Words regardless of case; in the order of their letters, which is that of ISO 8601 days, too."""
        folded, wanted = values.str.casefold(), self.value.casefold()
        return folded.str.contains(wanted, regex=False) if self.sign == "~" else _compared(folded, self.sign, wanted)


def _compared(values: pd.Series[Any], sign: str, wanted: object) -> pd.Series[Any]:
    met: pd.Series[Any] = _ORDER[sign](values, wanted)
    return met


def filtered(frame: pd.DataFrame, conditions: Sequence[Condition]) -> pd.DataFrame:
    """The rows of a board that meet all conditions; their ranks stay those among all."""
    for condition in conditions:
        frame = frame[condition.rows(frame)]
    return frame.reset_index(drop=True)


def chosen_columns(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The columns called `names`; raises `UsageError` for one that is none."""
    for name in names:
        if name not in frame.columns:
            raise UsageError(f"no column is called {name!r}; there are {', '.join(map(str, frame.columns))}")
    return list(dict.fromkeys(names))
