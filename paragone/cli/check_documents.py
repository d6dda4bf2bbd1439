"""Reports of a check as Markdown, JUnit XML, and for GitHub Actions, inside the limits of each.

GitHub drops a step's summary that is larger than 1 MiB, and shows 10 annotations a type and step; what is left out is
counted. In JUnit's XML an inconclusive gate is a skipped test, and a run that cannot be compared an error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from paragone.cli.check_report import (
    HEADINGS,
    LEFT,
    SLICE_HEADINGS,
    CheckReport,
    Outcome,
    all_findings,
    confidence,
    explanations,
    number,
    rows_of,
    slice_rows,
    summary,
)
from paragone.cli.tables import markdown_table, markdown_words, printable

if TYPE_CHECKING:
    from paragone.metrics.checks import Finding

SUMMARY_BYTES = 1 << 20  # of $GITHUB_STEP_SUMMARY, for the whole step
SPARE_BYTES = 4096
ANNOTATIONS = 10  # a type and step
MARKS = {
    "improved": "🟢",
    "pass": "✅",
    "inconclusive": "🟡",
    "regressed": "❌",
    "not comparable": "⛔",
    "infrastructure": "⚠️",
}


# ---- Markdown ------------------------------------------------------------------------------------------------------


def markdown(report: CheckReport, *, slices: int = 50) -> str:
    """The whole report as Markdown."""
    lines = []
    for one in report.outcomes:
        against = f"{markdown_words(report.baseline_model)}, {report.age_days:.0f} days old"
        lines += [f"### {MARKS[one.verdict]} {markdown_words(one.model)}: {one.verdict}", "", f"Baseline: {against}."]
        if one.check is None:
            lines += ["", markdown_words(one.message), ""]
            continue
        headings = [confidence(one.check) if heading == "interval" else heading for heading in HEADINGS]
        lines += [markdown_words(one.check.pairing[:1].upper() + one.check.pairing[1:]) + ".", ""]
        lines += [markdown_table(headings, rows_of(one.check), left=LEFT), ""]
        lines += [f"- {markdown_words(line)}" for line in explanations(one.check)]
        rows = slice_rows(one.check, count=slices)
        if rows:
            table = markdown_table(list(SLICE_HEADINGS), rows, left=("metric", "slice"))
            lines += [
                "",
                f"<details><summary>{len(rows)} slices got worse (q ≤ 0.05)</summary>",
                "",
                table,
                "</details>",
            ]
        lines.append("")
    lines += [f"- {markdown_words(line)}" for line in report.warnings]
    return "\n".join(lines).rstrip() + "\n"


# ---- JUnit ---------------------------------------------------------------------------------------------------------


def junit(report: CheckReport) -> str:
    """JUnit's XML: a suite a candidate, a case a gate."""
    root = ElementTree.Element("testsuites", name="paragone check")
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for outcome in report.outcomes:
        suite = ElementTree.SubElement(root, "testsuite", name=_text(outcome.model))
        cases = outcome.check.findings if outcome.check is not None else ()
        for found in cases:
            _case(suite, outcome, found)
        if outcome.check is None:
            case = ElementTree.SubElement(suite, "testcase", classname=_text(outcome.model), name="comparable")
            ElementTree.SubElement(case, "error", type=outcome.problem, message=_text(outcome.message))
        counts = {
            "tests": len(suite.findall("testcase")),
            "failures": len(suite.findall("testcase/failure")),
            "errors": len(suite.findall("testcase/error")),
            "skipped": len(suite.findall("testcase/skipped")),
        }
        for name, count in counts.items():
            suite.set(name, str(count))
            totals[name] += count
    for name, count in totals.items():
        root.set(name, str(count))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, outcome: Outcome, found: Finding) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=_text(outcome.model), name=found.metric)
    told = sentence(found)
    if found.verdict == "regressed":
        ElementTree.SubElement(case, "failure", type="regressed", message=_text(told))
    elif found.verdict == "inconclusive":
        ElementTree.SubElement(case, "skipped", message=_text(f"{told}; {found.reason}"))
    properties = ElementTree.SubElement(case, "properties")
    for name in ("verdict", "baseline", "candidate", "worsening", "standard_error", "margin", "p_worse", "detectable"):
        value = getattr(found, name)
        if value is not None:
            ElementTree.SubElement(properties, "property", name=name, value=str(value))


def _text(text: str) -> str:
    """Text that XML may hold."""
    return printable(" ".join(text.split()))


def sentence(found: Finding) -> str:
    """A finding in one line."""
    direction = (
        "" if found.worsening is None else f", worse by {number(found.worsening)} ± {number(found.standard_error)}"
    )
    if found.worsening is not None and found.worsening <= 0:
        direction = f", better by {number(-found.worsening)} ± {number(found.standard_error)}"
    return (
        f"{found.metric} {found.verdict}: {number(found.baseline)} → {number(found.candidate)}{direction} "
        f"(margin {number(found.margin)})"
    )


# ---- GitHub --------------------------------------------------------------------------------------------------------


def write_github(report: CheckReport) -> None:
    """Annotations on stdout; the summary, and outputs, where GitHub Actions says."""
    for line in annotation_lines(report):
        print(line)
    sys.stdout.flush()
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        _append(Path(path), job_summary(report, used=_size(Path(path))))
    if path := os.environ.get("GITHUB_OUTPUT"):
        regressed = sum(found.verdict == "regressed" for _, found in all_findings(report))
        _append(Path(path), f"verdict={report.verdict}\nexit-code={report.exit_code}\nregressed={regressed}\n")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def job_summary(report: CheckReport, *, used: int = 0) -> str:
    """The Markdown report, cut between lines where the step's summary has no room for all of it."""
    text = markdown(report)
    room = SUMMARY_BYTES - SPARE_BYTES - used
    if len(text.encode()) <= room:
        return text
    kept: list[str] = []
    for line in text.splitlines():
        room -= len(line.encode()) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join([*kept, "", "(cut: the rest is in the report's files)", ""])


def annotation_lines(report: CheckReport) -> list[str]:
    """Workflow commands: an error a regressed gate, a warning an undecided one, as many as are shown."""
    errors = [("regressed", sentence(found)) for _, found in all_findings(report) if found.verdict == "regressed"] + [
        (one.problem, one.message) for one in report.outcomes if one.check is None
    ]
    undecided = [
        ("inconclusive", f"{found.metric}: {found.reason}")
        for _, found in all_findings(report)
        if found.verdict == "inconclusive"
    ] + [("baseline", line) for line in report.warnings]
    notices = [(one.verdict, f"{one.model}: {summary(one.check)}") for one in report.outcomes if one.check is not None]
    return [*_commands("error", errors), *_commands("warning", undecided), *_commands("notice", notices)]


def _commands(kind: str, found: Sequence[tuple[str, str]]) -> list[str]:
    shown = list(found[:ANNOTATIONS])
    if len(found) > ANNOTATIONS:
        shown[-1] = (kind, f"{len(found) - ANNOTATIONS + 1} more; see the job summary")
    return [f"::{kind} title={_property(f'paragone: {title}')}::{_message(text)}" for title, text in shown]


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


# ---- Hugging Face --------------------------------------------------------------------------------------------------


def model_card(report: CheckReport, *, dataset: str) -> str:
    """Front matter for a model card on the Hugging Face Hub: the first candidate's values with interval and n."""
    from huggingface_hub import EvalResult, ModelCardData

    outcome = report.outcomes[0]
    results = [
        EvalResult(
            task_type="text-to-image",
            dataset_type="image-folder",
            dataset_name=printable(dataset),
            metric_type=found.metric,
            metric_value=found.candidate,
            metric_name=_card_name(found),
        )
        for found in (outcome.check.findings if outcome.check is not None else ())
    ]
    data = ModelCardData(model_name=printable(outcome.model), eval_results=results)
    return f"---\n{data.to_yaml()}\n---\n"


def _card_name(found: Finding) -> str:
    better = "higher" if found.higher_is_better else "lower"
    error = "" if found.standard_error is None else f", difference from the baseline ± {number(found.standard_error)}"
    return f"{found.metric} ({better} is better, n = {found.n_candidate:,}, {found.verdict}{error})"
