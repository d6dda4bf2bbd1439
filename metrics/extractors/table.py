"""The feature extractors by name; nothing is imported before it is asked for.

A row leads to a function `load(*, weights: Path | None, protocol: str) -> FeatureExtractor`. A third-party package adds
one with the entry-point group `paragone.extractors`; `module:attribute` works without any registration.
"""

from __future__ import annotations

from paragone.data.registry import Registry

EXTRACTORS = Registry(
    "extractors",
    {
        "gist": "paragone.metrics.extractors.gist:load",
        "inception": "paragone.metrics.extractors.inception:load",
        "digits": "paragone.metrics.extractors.digits:load",
    },
)
