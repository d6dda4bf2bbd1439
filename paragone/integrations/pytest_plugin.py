"""A pytest plugin: the fixture `paragone_check`. Unused, it costs an import of a page of code, and says nothing.

    def test_the_new_checkpoint(paragone_check):
        paragone_check("samples/", baseline="baselines/main.json")

A regression fails the test, an inconclusive check skips it (`--paragone-strict`: fails it), and runs that cannot be
compared fail it with what differs. `--paragone-bless` writes the baselines instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from paragone.cli.check_report import CheckReport


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two options in a group of their own."""
    group = parser.getgroup("paragone")
    group.addoption(
        "--paragone-bless", action="store_true", help="paragone_check writes its baselines instead of checking."
    )
    group.addoption(
        "--paragone-strict", action="store_true", help="An inconclusive paragone_check fails instead of being skipped."
    )


class Checker:
    """What the fixture gives: call it with samples and a baseline."""

    def __init__(self, *, bless: bool, strict: bool, record_property: Callable[[str, object], None]) -> None:
        self._bless, self._strict, self._record = bless, strict, record_property

    def __call__(
        self,
        generated: str | Path,
        *,
        baseline: str | Path,
        reference: str | Path | None = None,
        training: str | Path | None = None,
        metrics: Sequence[str] = (),
        margins: Mapping[str, str] | None = None,
        features: str | None = None,
        weights: str | Path | None = None,
        scores: str | Path | None = None,
    ) -> CheckReport | None:
        """Check the samples, and fail or skip the test accordingly; returns the report, or None after blessing."""
        __tracebackhide__ = True
        from paragone.cli import check_flow
        from paragone.cli.check_documents import markdown
        from paragone.data.errors import ParagoneError
        from paragone.data.progress import silent
        from paragone.metrics.checks_measure import Reading

        request = check_flow.Request(
            baseline=Path(baseline),
            candidates=(str(generated),),
            reference=None if reference is None else str(reference),
            training=None if training is None else str(training),
            metrics=tuple(metrics) if self._bless else (),
            margins=dict(margins or {}),
            features=features,
            scores=None if scores is None else Path(scores),
            strict=self._strict,
            reading=Reading(weights=None if weights is None else Path(weights)),
        )
        try:
            if self._bless:
                check_flow.bless(request, progress=silent)
                return None
            report, _ = check_flow.check(request, progress=silent)
        except ParagoneError as error:
            pytest.fail(f"paragone: {error}", pytrace=False)
        self._record("paragone_verdict", report.verdict)
        for outcome in report.outcomes:
            for one in outcome.check.findings if outcome.check is not None else ():
                self._record(f"paragone_{one.metric}", one.candidate)
        if report.verdict == "inconclusive" and not self._strict:
            pytest.skip(f"paragone: inconclusive\n{markdown(report)}")
        if report.exit_code != 0:
            pytest.fail(f"paragone: {report.verdict}\n{markdown(report)}", pytrace=False)
        return report


@pytest.fixture
def paragone_check(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Checker:
    """Check samples against a blessed baseline: `paragone_check("samples/", baseline="baselines/main.json")`."""
    return Checker(
        bless=request.config.getoption("--paragone-bless"),
        strict=request.config.getoption("--paragone-strict"),
        record_property=record_property,
    )
