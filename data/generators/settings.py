"""From what a user wrote (TOML, or `name=value` on a command line) to the arguments of an adapter.

The signature of a class or function is the list of its settings: a name that it does not have is an error that lists
those it has, and a value is turned into what its annotation says, or refused.
"""

from __future__ import annotations

import difflib
import inspect
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Union

from paragone.data.errors import UsageError


class Words(str):
    """A value from a command line, whose kind is still open: `4` may be a number or a word."""

    __slots__ = ()

    def value(self) -> Any:
        """The value as TOML reads it, and the words themselves where it cannot."""
        try:
            return tomllib.loads(f"x = {self}", parse_float=Decimal)["x"] if "\n" not in self else str(self)
        except tomllib.TOMLDecodeError:
            return str(self)


def arguments_for(
    target: Callable[..., Any],
    settings: Mapping[str, Any],
    *,
    owner: str,
    given: Mapping[str, Any] | None = None,
    base: Path | None = None,
) -> dict[str, Any]:
    """The keyword arguments of `target`: `settings` by its annotations, and those of `given` that it takes.

    Relative paths are read from `base`, those of a command line from here. Raises `UsageError` that names `owner` and
    the setting.
    """
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    given = {name: value for name, value in (given or {}).items() if name in parameters}
    valid = [name for name in parameters if name not in given]
    check_names(settings, valid, owner=owner)
    missing = [n for n in valid if parameters[n].default is inspect.Parameter.empty and n not in settings]
    if missing:
        raise UsageError(f"{owner}: needs the setting {', '.join(missing)}; write it in paragone.toml or with --set")
    hints = _hints(target)
    read = {
        name: convert(value, hints.get(name, Any), f"{owner}: {name}", None if isinstance(value, Words) else base)
        for name, value in settings.items()
    }
    return {**given, **read}


def check_names(settings: Collection[str], valid: Collection[str], *, owner: str) -> None:
    """Raise `UsageError` for a name that is not among the valid ones."""
    for name in settings:
        if name not in valid:
            close = difflib.get_close_matches(name, valid, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UsageError(f"{owner}: has no setting {name!r}{hint} (it has: {', '.join(sorted(valid)) or 'none'})")


def plain(value: Any) -> Any:
    """A setting as JSON can hold it, for the record."""
    if isinstance(value, Words):
        value = value.value()
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def convert(value: Any, kind: Any, name: str, base: Path | None = None) -> Any:
    """`value` as `kind` wants it; raises `UsageError` that names the setting."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)
    if isinstance(value, Words):
        wanted = {typing.get_origin(option) or option for option in options}
        as_written = wanted & {str, Path} and not wanted & {int, float, bool, Decimal}
        return convert(str(value) if as_written else value.value(), kind, name, base)
    if {str, Path} <= set(options) and isinstance(value, str) and ((base or Path()) / value).exists():
        return (base or Path()) / value
    for option in options:
        found, fits = _as_kind(value, option, name, base)
        if fits:
            return found
    words = " or ".join(getattr(option, "__name__", str(option)) for option in options if option is not type(None))
    raise UsageError(f"{name} is {value!r}; it should be {words}")


def _as_kind(value: Any, kind: Any, name: str, base: Path | None) -> tuple[Any, bool]:
    origin = typing.get_origin(kind) or kind
    if origin is Any or kind is inspect.Parameter.empty:
        return _open(value), True
    if origin is type(None):
        return None, value is None
    if origin is bool or isinstance(value, bool):
        return value, origin is bool and isinstance(value, bool)
    if origin is float:
        return (float(value), True) if isinstance(value, (int, float, Decimal)) else (None, False)
    if origin is Decimal:
        return (Decimal(str(value)), True) if isinstance(value, (int, float, Decimal)) else (None, False)
    if origin is Path:
        path = Path(value) if isinstance(value, (str, Path)) else None
        return (path if base is None or path is None else base / path), path is not None
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {key: _open(part) for key, part in value.items()}, True
    if origin in (tuple, list) and isinstance(value, (list, tuple)):
        inner = (*typing.get_args(kind), Any)[0]
        return origin(convert(part, inner, f"{name}[{n}]", base) for n, part in enumerate(value)), True
    if isinstance(origin, type) and issubclass(origin, str) and origin is not str and isinstance(value, str):
        return origin(value), True  # an enumeration of words
    return value, isinstance(origin, type) and isinstance(value, origin)


def _open(value: Any) -> Any:
    """A value of which nothing is known: as TOML means it, decimal numbers as floats."""
    if isinstance(value, Words):
        value = value.value()
    if isinstance(value, Mapping):
        return {key: _open(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_open(part) for part in value]
    return float(value) if isinstance(value, Decimal) else value


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(vars(target)["__init__"] if isinstance(target, type) else target)
    except Exception:  # annotations are foreign code, and may name what is not there
        return {}
