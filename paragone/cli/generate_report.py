"""How requests to generators ended: counts, waiting times, costs; as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from paragone.cli.tables import cell_table, print_table
from paragone.data.generators.base import Generation
from paragone.data.generators.pricing import megapixels
from paragone.data.generators.runner import ManifestEntry
from paragone.data.generators.running import Run
from paragone.data.records import Status, Task

SHOWN = (Status.OK, Status.REFUSED, Status.FILTERED, Status.ERROR, Status.TIMEOUT)
CENT = Decimal("0.0001")


@dataclass
class GenerateReport:
    """One generator: how its requests ended, those of earlier runs included."""

    model: str
    adapter: str
    task: Task
    n_requests: int
    n_missing: int  # were to be asked in this run
    n_asked: int = 0
    usd_spent_now: Decimal = Decimal(0)
    stopped: str | None = None
    ended: dict[str, int] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)
    usd_delivered: Decimal | None = None  # paid for what came; None where a cost is not known
    usd_paid: Decimal | None = None  # and for what did not
    megapixels: Decimal = Decimal(0)
    _statuses: dict[Status, int] = field(default_factory=dict)

    def count(self, generation: Generation) -> None:
        """An answer of this run."""
        self.n_asked += 1
        self.usd_spent_now += generation.cost_usd or Decimal(0)
        self._statuses[generation.status] = self._statuses.get(generation.status, 0) + 1

    @property
    def note(self) -> str:
        """The state of this run in a few words."""
        words = [f"{n} {status}" for status, n in self._statuses.items() if status is not Status.OK]
        return ", ".join([*words, *([f"${self.usd_spent_now:.4f}"] if self.usd_spent_now else [])])

    def finish(self, last: Mapping[tuple[str, int], ManifestEntry], keys: Sequence[tuple[str, int]], run: Run) -> None:
        """Sum up all requests, by how each ended when it was last asked."""
        entries = [last[key] for key in keys if key in last]
        self.stopped = run.stopped
        self.ended = {str(s): n for s in Status if (n := sum(e.status is s for e in entries)) or s in SHOWN}
        ok = [entry for entry in entries if entry.status is Status.OK]
        self.latencies_s = [entry.latency_s for entry in ok if entry.latency_s is not None]
        self.usd_delivered, self.usd_paid = _sum(ok), _sum(entries)
        areas = [megapixels(e.width, e.height, e.frames) for e in ok if e.width is not None and e.height is not None]
        self.megapixels = sum(areas, Decimal(0))

    def document(self) -> dict[str, Any]:
        """What JSON says of it; money in words, so that nothing is lost."""
        n_ok = self.ended.get(Status.OK, 0)
        return {
            "generator": self.model,
            "adapter": self.adapter,
            "task": str(self.task),
            "n_requests": self.n_requests,
            "n_asked": self.n_asked,
            "n_reused": self.n_requests - self.n_missing,
            "n_unanswered": self.n_requests - sum(self.ended.values()),
            "ended": self.ended,
            "latency_p50_s": _quantile(self.latencies_s, 0.5),
            "latency_p95_s": _quantile(self.latencies_s, 0.95),
            "megapixels": f"{self.megapixels:f}",
            "usd_paid": _words(self.usd_paid),
            "usd_per_output": _words(_over(self.usd_delivered, n_ok)),
            "usd_per_megapixel": _words(_over(self.usd_delivered, self.megapixels)),
            "usd_per_delivered": _words(_over(self.usd_paid, n_ok)),
            "stopped": self.stopped,
        }


def document(reports: Sequence[GenerateReport], notes: Sequence[str]) -> dict[str, Any]:
    """The JSON document of a run."""
    rows = [report.document() for report in reports]
    return {"schema": "paragone.generate/1", "generators": rows, "warnings": list(notes)}


def print_reports(reports: Sequence[GenerateReport]) -> None:
    """The table of a run on stdout."""
    headings = ["model", *SHOWN, "new", "p50 s", "p95 s", "paid", "an output", "a MP", "a delivered one"]
    cells = []
    for report in reports:
        said = report.document()
        row = [report.model, *(f"{report.ended.get(status, 0):,}" for status in SHOWN), f"{report.n_asked:,}"]
        row += ["–" if said[name] is None else f"{said[name]:.3g}" for name in ("latency_p50_s", "latency_p95_s")]
        names = ("usd_paid", "usd_per_output", "usd_per_megapixel", "usd_per_delivered")
        cells.append([*row, *(_dollars(said[name]) for name in names)])
    print_table(cell_table(headings, cells, left=("model",)))
    for report in reports:
        if report.stopped:
            print(f"{report.model}: {report.stopped}")


def _sum(entries: Sequence[ManifestEntry]) -> Decimal | None:
    costs = [entry.cost_usd for entry in entries]
    return (
        None if not costs or any(cost is None for cost in costs) else sum((Decimal(str(c)) for c in costs), Decimal(0))
    )


def _over(amount: Decimal | None, n: int | Decimal) -> Decimal | None:
    return amount / n if amount is not None and n else None


def _words(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


def _dollars(words: str | None) -> str:
    if words is None:
        return "–"
    amount = Decimal(words)
    return f"${amount:f}" if amount == amount.quantize(CENT) else f"${amount:.3g}"


def _quantile(values: Sequence[float], q: float) -> float | None:
    return float(np.quantile(values, q)) if values else None
