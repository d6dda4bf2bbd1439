"""A candidate run against a baseline: are the two comparable, the verdict on each gate, and where a worsening lies.

Comparability is a contract. Two numbers whose extractor weights, protocol, prompts, judge or reference differ are not
compared, and every difference is named; so is a metric that the baseline gates and the candidate lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from paragone.data.errors import NotComparable
from paragone.metrics.checks import (
    Difference,
    Finding,
    Gate,
    Level,
    Untested,
    Verdict,
    benjamini_hochberg,
    decide,
    overall,
)
from paragone.metrics.checks_paired import Column, difference_of
from paragone.metrics.comparison import signature_differences, signature_gaps
from paragone.metrics.run_items import Indices, Layout, lay_out
from paragone.metrics.run_record import Measure, RunRecord

SIZES_AGREE = 0.05  # relative difference of n up to which metrics that depend on n are compared
UNANSWERED = 0.05  # share of requests without a sample, beyond the baseline's, from which on nothing is compared
WORST = 24  # items of each metric that a report shows
LEAST_IN_A_SLICE = 8  # samples


@dataclass(frozen=True, slots=True)
class Slice:
    """One part of the prompts in one metric; advisory. `q_value`: by Benjamini and Hochberg, over all slices."""

    metric: str
    by: str
    value: str
    n: int
    baseline: float
    candidate: float
    worsening: float
    p_worse: float
    q_value: float


@dataclass(frozen=True, slots=True)
class WorstItem:
    """A sample that pulls a metric down: what it adds to it, beside its partner's, if it has one."""

    name: str
    prompt: str | None
    seed: int | None
    candidate: float
    baseline: float | None
    baseline_name: str | None
    worsening: float


@dataclass(frozen=True, slots=True)
class RunCheck:
    """The outcome of one candidate. `look` of `looks`: where more seeds were declared beforehand."""

    model: str
    baseline_model: str
    findings: tuple[Finding, ...]
    pairing: str
    alpha: float
    power: float
    slices: tuple[Slice, ...] = ()
    worst: Mapping[str, tuple[WorstItem, ...]] | None = None
    notes: tuple[str, ...] = ()
    look: int = 1
    looks: int = 1

    @property
    def verdict(self) -> Verdict:
        """That of all gates together."""
        return overall([finding.verdict for finding in self.findings])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"verdict": self.verdict}


def check_runs(
    baseline: RunRecord,
    candidate: RunRecord,
    gates: Sequence[Gate],
    *,
    alpha: float,
    power: float,
    level: Level | None = None,
    interim: bool = False,
    categories: Mapping[str, Mapping[str, str]] | None = None,
    seed: int = 0,
) -> RunCheck:
    """The verdicts of `candidate` under `gates`; raises `NotComparable` that names every difference.

    `level`: what this look may spend of an error rate. `interim`: the candidate is the first part of its seeds, so that
    metrics that depend on n have to wait. `categories`: by name, the category of each prompt, for slices.
    """
    differences = differences_of(baseline, candidate, gates, interim=interim)
    if differences:
        raise NotComparable(
            f"{candidate.model} cannot be compared with the baseline {baseline.model}: {'; '.join(differences)}"
        )
    layout = lay_out(baseline.items, candidate.items)
    pairs = [(baseline.measures[gate.metric], candidate.measures[gate.metric]) for gate in gates]
    counts = (len(baseline.items), len(candidate.items))
    outcomes = [
        _outcome(*pair, layout, margin=gate.margin, counts=counts, seed=seed)
        for gate, pair in zip(gates, pairs, strict=True)
    ]
    findings = decide(
        gates,
        outcomes,
        [one.higher_is_better for one, _ in pairs],
        alpha=alpha,
        power=power,
        level=level,
    )
    return RunCheck(
        model=candidate.model,
        baseline_model=baseline.model,
        findings=findings,
        pairing=layout.told,
        alpha=alpha,
        power=power,
        slices=_slices(baseline, candidate, gates, layout, categories or {}, seed=seed),
        worst={gate.metric: worst_items(baseline, candidate, gate.metric, layout) for gate in gates},
        notes=_notes(baseline, candidate),
    )


def differences_of(
    baseline: RunRecord, candidate: RunRecord, gates: Sequence[Gate], *, interim: bool = False
) -> list[str]:
    """In what the two runs differ that must agree, metric by metric; empty when they may be compared."""
    found: list[str] = []
    for gate in gates:
        one, two = baseline.measures[gate.metric], candidate.measures.get(gate.metric)
        if two is None:
            found.append(f"{gate.metric} is gated, but was not measured of the candidate")
            continue
        found += signature_differences(one.signature, two.signature)
        found += signature_gaps(one.signature, two.signature, ("judge", "template"))
        n, m = len(baseline.items), len(candidate.items)
        if _sizes_matter(one, two, n, m) and not interim:
            found.append(f"{gate.metric} depends on the number of samples: {n:,} in the baseline, {m:,} here")
    try:
        lay_out(baseline.items, candidate.items)
    except NotComparable as error:
        found.append(str(error))
    shares = [run.unanswered / max(1, run.unanswered + len(run.items)) for run in (baseline, candidate)]
    if shares[1] - shares[0] > UNANSWERED:
        found.append(
            f"{candidate.unanswered:,} of {candidate.unanswered + len(candidate.items):,} requests have no sample "
            f"({shares[1]:.0%}, the baseline {shares[0]:.0%})"
        )
    return list(dict.fromkeys(found))


def _sizes_matter(baseline: Measure, candidate: Measure, n: int, m: int) -> bool:
    depends = any(one.column is not None and one.column.depends_on_n for one in (baseline, candidate))
    return depends and abs(n - m) > SIZES_AGREE * max(n, m)


def _outcome(
    baseline: Measure, candidate: Measure, layout: Layout, *, margin: float, counts: tuple[int, int], seed: int
) -> Difference | Untested:
    if baseline.column is None or candidate.column is None:
        reason = candidate.reason or baseline.reason
        return Untested(baseline.value, candidate.value, reason, *counts)
    if _sizes_matter(baseline, candidate, *counts):
        return Untested(baseline.value, candidate.value, "depends on n, so it waits for the last look", *counts)
    return difference_of(
        baseline.column,
        candidate.column,
        layout,
        higher_is_better=baseline.higher_is_better,
        margin=margin,
        counts=counts,
        seed=seed,
    )


def _notes(baseline: RunRecord, candidate: RunRecord) -> tuple[str, ...]:
    notes = [*candidate.notes]
    if candidate.unanswered:
        notes.append(f"{candidate.unanswered:,} requests have no sample and are left out")
    if baseline.generated == candidate.generated:
        notes.append("candidate and baseline are the same samples, byte for byte")
    elif baseline.weights and baseline.weights == candidate.weights:
        notes.append("candidate and baseline were made with the same weights and settings")
    if baseline.version != candidate.version:
        notes.append(f"measured by paragone {baseline.version} (baseline) and {candidate.version} (candidate)")
    return tuple(notes)


# ---- Where it lies -------------------------------------------------------------------------------------------------


def _slices(
    baseline: RunRecord,
    candidate: RunRecord,
    gates: Sequence[Gate],
    layout: Layout,
    categories: Mapping[str, Mapping[str, str]],
    *,
    seed: int,
) -> tuple[Slice, ...]:
    """Means of samples, part by part: by prompt where prompts are few, and by every category that is given."""
    if baseline.items.prompts is None or candidate.items.prompts is None:
        return ()
    by = dict(categories)
    if not baseline.items.prompts_are_a_sample:
        by = {"prompt": {prompt: prompt for prompt in baseline.items.prompt_ids}, **by}
    tested: list[tuple[str, str, str, Difference]] = []
    for name, category_of in by.items():
        parts = [
            np.array([category_of.get(prompt, "") for prompt in run.items.prompts or ()])
            for run in (baseline, candidate)
        ]
        for value in sorted(set(category_of.values())):
            rows = [np.flatnonzero(part == value) for part in parts]
            if min(map(len, rows)) < LEAST_IN_A_SLICE:
                continue
            part = _part(layout, *rows)
            for gate in gates:
                one, two = (run.measures[gate.metric].column for run in (baseline, candidate))
                if one is None or two is None or not one.is_mean:
                    continue
                found = difference_of(
                    _mean_of(one, rows[0]),
                    _mean_of(two, rows[1]),
                    part,
                    higher_is_better=baseline.measures[gate.metric].higher_is_better,
                    margin=gate.margin,
                    counts=(len(rows[0]), len(rows[1])),
                    seed=seed,
                )
                if isinstance(found, Difference):
                    tested.append((gate.metric, name, value, found))
    q_values = benjamini_hochberg([found.p_worse for *_, found in tested])
    rows_found = [
        Slice(metric, name, value, t.n_candidate, t.baseline, t.candidate, t.worsening, t.p_worse, float(q))
        for (metric, name, value, t), q in zip(tested, q_values, strict=True)
    ]
    return tuple(sorted(rows_found, key=lambda one: (one.q_value, one.p_worse, one.metric, one.by, one.value)))


def _mean_of(column: Column, rows: Indices) -> Column:
    values = column.contributions[rows]
    return Column(float(values.mean()), values, is_mean=True, method=column.method)


def _part(layout: Layout, rows_a: Indices, rows_b: Indices) -> Layout:
    """The layout of some rows of either side."""
    shared_a = shared_b = None
    if layout.shared_baseline is not None and layout.shared_candidate is not None:
        place_a, place_b = _places(rows_a, len(layout.of_baseline)), _places(rows_b, len(layout.of_candidate))
        shared_a, shared_b = place_a[layout.shared_baseline], place_b[layout.shared_candidate]
        both = (shared_a >= 0) & (shared_b >= 0)
        shared_a, shared_b = shared_a[both], shared_b[both]
    return Layout(
        layout.of_baseline[rows_a], layout.of_candidate[rows_b], layout.strata, shared_a, shared_b, layout.told
    )


def _places(rows: Indices, n: int) -> Indices:
    places = np.full(n, -1, dtype=np.intp)
    places[rows] = np.arange(len(rows))
    return places


def worst_items(
    baseline: RunRecord, candidate: RunRecord, metric: str, layout: Layout, *, count: int = WORST
) -> tuple[WorstItem, ...]:
    """The samples of the candidate that pull `metric` down most, worst first: against their partners where paired.

    What a sample adds to a distance is in its units, over n, beside what an average sample adds.
    """
    one, two = baseline.measures[metric].column, candidate.measures[metric].column
    if one is None or two is None or two.of != "samples":
        return ()
    sign = -1.0 if candidate.measures[metric].higher_is_better else 1.0
    scale = 1.0 if two.is_mean else 1.0 / len(two.contributions)
    mine, others = (values * scale for values in (two.contributions, one.contributions))
    if not two.is_mean:  # what an average sample adds is nothing
        mine, others = mine - mine.mean(), others - others.mean()
    theirs = np.full(len(mine), np.nan)
    partner = np.full(len(mine), -1, dtype=np.intp)
    if layout.shared_baseline is not None and layout.shared_candidate is not None:
        partner[layout.shared_candidate] = layout.shared_baseline
        theirs[layout.shared_candidate] = others[layout.shared_baseline]
    worsening = sign * np.where(np.isnan(theirs), mine - mine.mean(), mine - theirs)
    order = np.argsort(-worsening, kind="stable")[:count]
    items = candidate.items
    return tuple(
        WorstItem(
            name=items.names[place],
            prompt=None if items.prompts is None else items.prompts[place],
            seed=None if items.seeds is None else items.seeds[place],
            candidate=float(mine[place]),
            baseline=None if partner[place] < 0 else float(theirs[place]),
            baseline_name=None if partner[place] < 0 else baseline.items.names[partner[place]],
            worsening=float(worsening[place]),
        )
        for place in order
        if worsening[place] > 0
    )
