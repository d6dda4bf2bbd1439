"""What a check found, in the forms that people and machines read: exit code, JSON, and lines for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paragone.data.errors import ParagoneError

if TYPE_CHECKING:
    from paragone.metrics.checks import Finding
    from paragone.metrics.checks_runs import RunCheck

SCHEMA = "paragone.check/1"
PASSED, REGRESSED, NOT_COMPARABLE, UNDECIDED, INFRASTRUCTURE = 0, 1, 3, 4, 5
NOT_COMPARED = "not comparable"
FAILED = "infrastructure"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One candidate: its check, or why there is none (`problem`: not comparable, or infrastructure)."""

    model: str
    source: str
    check: RunCheck | None = None
    problem: str = ""
    message: str = ""

    @property
    def verdict(self) -> str:
        """improved, pass, inconclusive, regressed, not comparable or infrastructure."""
        return str(self.check.verdict) if self.check is not None else self.problem


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All candidates of one invocation against one baseline."""

    baseline: str  # its file
    baseline_model: str
    created: str
    age_days: float
    strict: bool
    outcomes: tuple[Outcome, ...]
    warnings: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """The gravest outcome's: regressed, then not comparable, then infrastructure, then (strict) inconclusive."""
        verdicts = [outcome.verdict for outcome in self.outcomes]
        for verdict, code in (
            ("regressed", REGRESSED),
            (NOT_COMPARED, NOT_COMPARABLE),
            (FAILED, INFRASTRUCTURE),
            ("inconclusive", UNDECIDED if self.strict else PASSED),
        ):
            if verdict in verdicts:
                return code
        return PASSED

    @property
    def verdict(self) -> str:
        """The gravest outcome's, in the same order."""
        verdicts = [outcome.verdict for outcome in self.outcomes]
        order = ("regressed", NOT_COMPARED, FAILED, "inconclusive", "pass", "improved")
        return next(verdict for verdict in order if verdict in verdicts)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document `paragone.check/1`."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "baseline": {
                "file": self.baseline,
                "model": self.baseline_model,
                "created": self.created,
                "age_days": round(self.age_days, 2),
            },
            "candidates": [
                {
                    "model": one.model,
                    "source": one.source,
                    "verdict": one.verdict,
                    "message": one.message or None,
                    "check": None if one.check is None else one.check.to_dict(),
                }
                for one in self.outcomes
            ],
            "warnings": list(self.warnings),
        }


def problem_of(error: ParagoneError) -> str | None:
    """What kind of outcome an error is; None for bad usage or input, which ends the command."""
    return {NOT_COMPARABLE: NOT_COMPARED, INFRASTRUCTURE: FAILED}.get(error.exit_code)


# ---- Lines ---------------------------------------------------------------------------------------------------------

HEADINGS = ("metric", "better", "baseline", "candidate", "change", "interval", "margin", "verdict")
LEFT = ("metric", "better", "verdict")


def rows_of(check: RunCheck) -> list[list[str]]:
    """The table of findings, a row a gate; changes are candidate minus baseline."""
    return [
        [
            one.metric,
            "higher" if one.higher_is_better else "lower",
            number(one.baseline),
            number(one.candidate),
            change(one),
            interval(one),
            margin_of(one),
            str(one.verdict),
        ]
        for one in check.findings
    ]


def number(value: float | None, *, signed: bool = False) -> str:
    """Four digits of a number."""
    if value is None:
        return ""
    return f"{value:+.4g}" if signed else f"{value:.4g}"


def change(one: Finding) -> str:
    """Candidate minus baseline, in the metric's own direction."""
    if one.worsening is None:
        return ""
    return number(-one.worsening if one.higher_is_better else one.worsening, signed=True)


def interval(one: Finding) -> str:
    """The interval of that change."""
    if one.low is None or one.high is None:
        return ""
    low, high = (-one.high, -one.low) if one.higher_is_better else (one.low, one.high)
    return f"{number(low, signed=True)} … {number(high, signed=True)}"


def margin_of(one: Finding) -> str:
    """The tolerance, and how it was asked for if that was not a number."""
    return number(one.margin) + (f" ({one.stated_margin})" if one.stated_margin.endswith("%") else "")


def explanations(check: RunCheck) -> list[str]:
    """One line for each gate that needs one."""
    lines = []
    for one in check.findings:
        if one.reason:
            lines.append(f"{one.metric}: {one.reason}")
        lines += [f"{one.metric}: {note}" for note in one.notes]
    return [*lines, *check.notes]


def summary(check: RunCheck) -> str:
    """How many gates ended how."""
    verdicts = [str(one.verdict) for one in check.findings]
    counted = [f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts)]
    return ", ".join(counted)


def confidence(check: RunCheck) -> str:
    """The level of the intervals in words: both bounds are one-sided."""
    level = check.findings[0].level if check.findings else check.alpha
    return f"{100 * (1 - 2 * level):.4g} % interval"


def slice_rows(check: RunCheck, *, count: int = 8, q: float = 0.05) -> list[list[str]]:
    """The parts of the prompts that got worse, as far as their q-value tells, worst first."""
    return [
        [
            one.metric,
            f"{one.by} = {one.value}",
            str(one.n),
            number(one.baseline),
            number(one.candidate),
            f"{one.q_value:.2g}",
        ]
        for one in check.slices[:]
        if one.q_value <= q
    ][:count]


SLICE_HEADINGS = ("metric", "slice", "n", "baseline", "candidate", "q")


def print_report(report: CheckReport) -> None:
    """The report on the terminal."""
    from rich.markup import escape

    from paragone.cli.output import stdout
    from paragone.cli.tables import print_table, printable

    for one in report.outcomes:
        age = f"{report.age_days:.0f} d old"
        stdout.print(
            f"[bold]{escape(printable(one.model))}[/bold] against {escape(printable(report.baseline_model))} ({age})",
            soft_wrap=True,
        )
        if one.check is None:
            stdout.print(f"[bold red]{one.verdict}[/bold red]: {escape(printable(one.message))}", soft_wrap=True)
            continue
        looks = f"; look {one.check.look} of {one.check.looks}" if one.check.looks > 1 else ""
        stdout.print(f"[dim]{escape(one.check.pairing)}{looks}[/dim]", soft_wrap=True)
        print_table(_table(one.check))
        if rows := slice_rows(one.check):
            from paragone.cli.tables import cell_table

            print_table(cell_table(list(SLICE_HEADINGS), rows, left=("metric", "slice"), title="slices that got worse"))
        for line in explanations(one.check):
            stdout.print(f"  {escape(printable(line))}", soft_wrap=True)
        stdout.print(f"{summary(one.check)} → [{STYLES[one.verdict]}]{one.verdict}[/]", soft_wrap=True)


STYLES = {"improved": "bold green", "pass": "green", "inconclusive": "yellow", "regressed": "bold red"}


def _table(check: RunCheck) -> Any:
    from rich.text import Text

    from paragone.cli.tables import cell_table

    headings = [confidence(check) if heading == "interval" else heading for heading in HEADINGS]
    table = cell_table(headings, [], left=LEFT)
    for row in rows_of(check):
        table.add_row(*row[:-1], Text(row[-1], style=STYLES[row[-1]]))
    return table


def all_findings(report: CheckReport) -> Sequence[tuple[Outcome, Finding]]:
    """Every finding of every candidate."""
    return [(one, found) for one in report.outcomes if one.check is not None for found in one.check.findings]
