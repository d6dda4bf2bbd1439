"""Names for things that can be plugged in: generators, extractors, metrics, judges and safety classifiers.

A registry is a table from a name to `"module:attribute"`; nothing is imported before it is asked for. Built-ins are
rows of the same table that third-party packages extend through entry points (`paragone.generators`,
`paragone.extractors`, `paragone.metrics`, `paragone.judges`, `paragone.safety_classifiers`). A dotted
`module:attribute` works without any registration. A broken plug-in is listed with its error and never stops the others;
`PARAGONE_PLUGINS=""` turns third-party ones off.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from paragone.data.errors import PluginError

GROUPS = ("generators", "extractors", "metrics", "judges", "safety_classifiers")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One row: where a name leads, and which distribution brought it."""

    name: str
    target: str  # "module:attribute"; a dot leads to an attribute of it, or to an entry of a table
    distribution: str

    def load(self) -> Any:
        """Import the target; raises `PluginError` that names the plug-in and its distribution."""
        module, _, attribute = self.target.partition(":")
        if not module or not attribute:
            raise PluginError(f"{self.name}: {self.target!r} is not of the form module:attribute")
        try:
            value: Any = importlib.import_module(module)
            for part in attribute.split("."):
                value = value[part] if isinstance(value, Mapping) else getattr(value, part)
        except Exception as error:
            # A plug-in is foreign code: whatever it raises on import is reported under its name.
            raise PluginError(
                f"plug-in {self.name!r} of {self.distribution} cannot be loaded from {self.target}: "
                f"{type(error).__name__}: {error}"
            ) from error
        return value

    def error(self) -> str | None:
        """Why `load` fails, or None when it does not."""
        try:
            self.load()
        except PluginError as error:
            return str(error)
        return None


class Registry:
    """A table of plug-ins of one group."""

    def __init__(self, group: str, builtin: Mapping[str, str]) -> None:
        self.group = group
        self._builtin = {name: Plugin(name, target, "paragone") for name, target in builtin.items()}

    def plugins(self) -> dict[str, Plugin]:
        """All rows by name; raises `PluginError` when two distributions claim one name."""
        table = dict(self._builtin)
        for entry in _third_party(self.group):
            distribution = entry.dist.name if entry.dist is not None else "?"
            if entry.name in table:
                raise PluginError(
                    f"two {self.group} are called {entry.name!r}: one of {table[entry.name].distribution}, "
                    f"one of {distribution}; uninstall one, or set PARAGONE_PLUGINS"
                )
            table[entry.name] = Plugin(entry.name, entry.value, distribution)
        return table

    def load(self, name: str) -> Any:
        """The object called `name`, or the object at a dotted `module:attribute`."""
        if ":" in name:
            return Plugin(name, name, "module path").load()
        table = self.plugins()
        if name not in table:
            close = difflib.get_close_matches(name, table, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(table))}"
            raise PluginError(f"no {self.group[:-1]} is called {name!r}; {hint} (or give module:attribute)")
        return table[name].load()


def _third_party(group: str) -> list[EntryPoint]:
    """Entry points of the group; PARAGONE_PLUGINS, a list of distributions with commas, lets in only those it names."""
    allowed = os.environ.get("PARAGONE_PLUGINS")
    found = sorted(entry_points(group=f"paragone.{group}"), key=lambda entry: entry.name)
    if allowed is None:
        return found
    names = {name.strip() for name in allowed.split(",") if name.strip()}
    return [entry for entry in found if entry.dist is not None and entry.dist.name in names]
