"""The table of distribution metrics: one row a metric, what it needs, and how it becomes a number with its uncertainty.

A new metric is a new row; every row passes the common tests (tests/metrics/test_common.py).
"""

from __future__ import annotations

from paragone.data.errors import PluginError
from paragone.data.registry import Registry
from paragone.metrics import rows_distributions, rows_neighbours
from paragone.metrics.estimates import Estimate, Metric, Side

__all__ = ["ALIASES", "ALL_METRICS", "METRICS", "Estimate", "Metric", "Side", "metric_named"]

ALL_METRICS: dict[str, Metric] = {row.name: row for row in (*rows_distributions.ROWS, *rows_neighbours.ROWS)}
METRICS = Registry("metrics", {name: f"{__name__}:ALL_METRICS.{name}" for name in ALL_METRICS})
# An fd of Inception features is called fid; of clips, results bear names of their own (paragone.metrics.measured).
ALIASES: dict[str, str] = {"fid": "fd", "fvd": "fd", "fvd_infinity": "fd_infinity", "kvd": "kid"}


def metric_named(name: str) -> Metric:
    """The row called `name`, built in, aliased or plugged in; raises `PluginError` with the nearest name."""
    row = METRICS.load(ALIASES.get(name, name))
    if not isinstance(row, Metric):
        raise PluginError(f"the metric {name!r} is a {type(row).__name__}, not a paragone.metrics.Metric")
    return row
