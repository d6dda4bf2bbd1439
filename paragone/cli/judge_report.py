"""What `paragone judge` says at the end: one row a judge, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from paragone.data.records import Judgement, Status

if TYPE_CHECKING:
    from paragone.judges.cache import CachingExchange
    from paragone.judges.coverage import Coverage

SCHEMA = "paragone.judge/1"


@dataclass(slots=True)
class JudgeReport:
    """What one judge did in one run. `coverage` is over all battles that it was ever asked, runs before included."""

    judge: str
    n_battles: int  # that the command is about
    n_known: int  # answered before
    n_judged: int = 0
    n_unanswered: int = 0  # of these: a call brought no reply, so they will be asked again
    n_votes: int = 0
    n_calls: int = 0
    n_cached: int = 0
    n_failed: int = 0
    statuses: Counter[str] = field(default_factory=Counter)  # of the orders asked
    n_both: int = 0  # battles with an answer in both orders
    n_consistent: int = 0
    cost_usd: Decimal | None = None  # None: the price is unknown
    input_tokens: int = 0
    output_tokens: int = 0
    latencies_s: list[float] = field(default_factory=list)
    coverage: tuple[Coverage, ...] = ()
    stopped: str | None = None
    family: str = ""
    n_same_family: int = 0  # battles of models of the judge's own family, which are not put to it

    def add(self, judgement: Judgement) -> None:
        """Count a judgement."""
        self.n_judged += 1
        self.n_votes += judgement.winner is not None
        self.n_unanswered += any(verdict.status in (Status.ERROR, Status.TIMEOUT) for verdict in judgement.verdicts)
        self.statuses.update(str(verdict.status) for verdict in judgement.verdicts)
        if judgement.consistent is not None:
            self.n_both += 1
            self.n_consistent += judgement.consistent

    def count_calls(self, exchange: CachingExchange) -> None:
        """Take over what an exchange counted."""
        self.n_calls, self.n_cached, self.n_failed = exchange.n_calls, exchange.n_cached, exchange.n_failed
        self.input_tokens, self.output_tokens = exchange.input_tokens, exchange.output_tokens
        self.latencies_s = exchange.latencies_s
        self.cost_usd = None if exchange.ledger.price is None and exchange.n_calls else exchange.ledger.spent

    @property
    def n_waiting(self) -> int:
        """Battles that are still to be judged."""
        return self.n_battles - self.n_known - self.n_judged + self.n_unanswered

    @property
    def n_invalid(self) -> int:
        """Answers that gave no verdict, whatever the reason."""
        return self.statuses.total() - self.statuses[str(Status.OK)]

    def warnings(self) -> list[str]:
        """What a reader of the votes must know."""
        from paragone.judges.coverage import differing

        lines = [
            f"{self.judge} answered {row.share:.1%} of the battles of {row.model}, unlike those of the others "
            f"[{row.lower:.1%}, {row.upper:.1%}]: what is missing is not missing at random, and the board leans"
            for row in differing(self.coverage)
        ]
        if self.n_same_family:
            lines.append(
                f"{self.judge}: {self.n_same_family} battles with a model of its own family ({self.family}) are not "
                "put to it; --same-family ask would"
            )
        if self.n_unanswered:
            lines.append(f"{self.judge}: {self.n_unanswered} battles got no reply; the same command asks them again")
        if self.cost_usd is None and self.n_calls:
            lines.append(f"{self.judge}: the cost is unknown; give --price-in and --price-out, or --prices")
        return lines

    def document(self) -> dict[str, Any]:
        """The row as JSON."""
        fields = {
            name: getattr(self, name)
            for name in ("judge", "n_battles", "n_known", "n_judged", "n_waiting", "n_votes", "n_calls", "n_cached")
        }
        return fields | {
            "n_failed": self.n_failed,
            "n_invalid": self.n_invalid,
            "family": self.family,
            "n_same_family": self.n_same_family,
            "statuses": dict(sorted(self.statuses.items())),
            "cost_usd": None if self.cost_usd is None else f"{self.cost_usd:f}",
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "latency_s": {"median": self._latency(0.5), "p95": self._latency(0.95)},
            "consistency": self.consistency(),
            "coverage": [asdict(row) for row in self.coverage],
            "stopped": self.stopped,
        }

    def consistency(self) -> dict[str, Any] | None:
        """How often both orders gave the same outcome, with its Wilson interval; None where none was asked twice."""
        from paragone.judges.coverage import wilson

        if not self.n_both:
            return None
        lower, upper = wilson(self.n_consistent, self.n_both)
        return {"n": self.n_both, "share": self.n_consistent / self.n_both, "lower": lower, "upper": upper}

    def _latency(self, share: float) -> float | None:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def document(reports: Sequence[JudgeReport], warnings: Iterable[str] = ()) -> dict[str, Any]:
    """All judges as one JSON document; `cost_usd` is null when the price of any call is unknown."""
    costs = [report.cost_usd for report in reports]
    known = [cost for cost in costs if cost is not None]
    sums = {
        name: sum(getattr(report, name) for report in reports)
        for name in ("n_calls", "n_cached", "n_votes", "n_invalid", "n_waiting")
    }
    return {
        "schema": SCHEMA,
        **sums,
        "cost_usd": f"{sum(known, Decimal(0)):f}" if len(known) == len(costs) else None,
        "judges": [report.document() for report in reports],
        "warnings": [*warnings, *(line for report in reports for line in report.warnings())],
    }


def print_reports(reports: Sequence[JudgeReport]) -> None:
    """The table on stdout, coverage where it is not whole, and warnings on stderr."""
    from paragone.cli.output import stderr, stdout
    from paragone.cli.tables import cell_table, print_table

    headings = ["judge", "calls", "cached", "votes", "invalid", "cost", "tokens in", "out", "median", "consistent"]
    print_table(cell_table(headings, [_cells(report) for report in reports], left=("judge",)))
    for report in reports:
        wanting = {status: n for status, n in sorted(report.statuses.items()) if status != Status.OK}
        if wanting:
            words = ", ".join(f"{n} {status}" for status, n in wanting.items())
            stdout.print(f"{report.judge}: without a verdict: {words}", markup=False, soft_wrap=True)
        if any(row.n_answered < row.n_asked for row in report.coverage):
            _print_coverage(report)
        for line in report.warnings():
            stderr.print(f"! {line}", style="yellow", markup=False, soft_wrap=True)
        if report.stopped and report.n_waiting:
            left = f"{report.n_waiting} of {report.n_battles} battles are left"
            stderr.print(f"stopped: {report.stopped} ({left})", markup=False, soft_wrap=True)


def _cells(report: JudgeReport) -> list[str]:
    median, consistency = report.document()["latency_s"]["median"], report.consistency()
    return [
        report.judge,
        f"{report.n_calls:,}",
        f"{report.n_cached:,}",
        f"{report.n_votes:,}",
        f"{report.n_invalid:,}",
        "–" if report.cost_usd is None else f"${report.cost_usd:.4f}",
        f"{report.input_tokens:,}",
        f"{report.output_tokens:,}",
        "–" if median is None else f"{median:.2f} s",
        "–" if consistency is None else f"{consistency['share']:.1%}",
    ]


def _print_coverage(report: JudgeReport) -> None:
    from paragone.cli.tables import cell_table, print_table

    rows = [
        [row.model, f"{row.n_asked:,}", f"{row.share:.1%} [{row.lower:.1%}, {row.upper:.1%}]"]
        for row in report.coverage
    ]
    print_table(cell_table(["model", "battles", "answered"], rows, left=("model",), title=report.judge))
