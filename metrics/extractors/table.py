"""The feature extractors by name; nothing is imported before it is asked for.

A row leads to a function `load(*, weights: Path | None, protocol: str) -> FeatureExtractor`. A third-party package adds
one with the entry-point group `paragone.extractors`; `module:attribute` works without any registration. A row whose
function also takes `variant` has variants: `inception:sfid` is the row `inception` with variant="sfid". A file that
ends in .pt, .torchscript or .onnx is an extractor by itself (`paragone.metrics.extractors.module`).
"""

from __future__ import annotations

import difflib
import inspect
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from paragone.data.errors import PluginError
from paragone.data.registry import Plugin, Registry

NETWORK_FILES = (".pt", ".torchscript", ".onnx")


class ExtractorRegistry(Registry):
    """The table of plug-ins, with variants and files of networks."""

    def load(self, name: str) -> Any:
        """The load function called `name`; raises `PluginError`."""
        row, colon, variant = name.partition(":")
        if Path(name).suffix.lower() in NETWORK_FILES:
            return partial(Plugin(name, "paragone.metrics.extractors.module:load_file", "paragone").load(), Path(name))
        table = self.plugins()
        if colon and row not in table and not _is_module(row):
            close = difflib.get_close_matches(row, table, n=1)
            hint = f"did you mean {close[0]}:{variant}?" if close else f"known: {', '.join(sorted(table))}"
            raise PluginError(f"{name}: there is no extractor and no module called {row}; {hint}")
        if not colon or row not in table:
            return super().load(name)
        load = table[row].load()
        if "variant" not in inspect.signature(load).parameters:
            raise PluginError(f"{name}: the extractor {row} has no variants; write --features {row}")
        return partial(load, variant=variant)


def _is_module(name: str) -> bool:
    """Whether `name` may be imported; of a dotted name only its import tells."""
    return "." in name or name in sys.modules or (name.isidentifier() and find_spec(name) is not None)


EXTRACTORS = ExtractorRegistry(
    "extractors",
    {
        "gist": "paragone.metrics.extractors.gist:load",
        "inception": "paragone.metrics.extractors.inception:load",
        "dinov2": "paragone.metrics.extractors.dinov2:load",
        "clip": "paragone.metrics.extractors.clip:load",
        "digits": "paragone.metrics.extractors.digits:load",
        "gist3d": "paragone.metrics.extractors.gist3d:load",
        "i3d": "paragone.metrics.extractors.i3d:load",
        "videomae": "paragone.metrics.extractors.videomae:load",
        "vjepa": "paragone.metrics.extractors.vjepa:load",
    },
)
