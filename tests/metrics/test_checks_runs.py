"""A candidate against a baseline: what makes two runs incomparable, and where a worsening lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paragone.data.errors import InputError, NotComparable
from paragone.metrics.checks import Gate, Verdict
from paragone.metrics.checks_plan import fixed_votes, plan_samples
from paragone.metrics.checks_runs import check_runs, differences_of
from paragone.metrics.recording import gates_of, run_of_features
from paragone.metrics.run_items import Items
from paragone.metrics.run_record import RunRecord
from paragone.metrics.score_files import read_scores

RNG = np.random.default_rng(0)
REFERENCE = RNG.standard_normal((300, 4))
COMMON = RNG.standard_normal((200, 4))


def keys(n: int, *, prompts: int = 10, first_seed: int = 0) -> Items:
    asked = [(f"p{row % prompts}", first_seed + row // prompts) for row in range(n)]
    return Items(tuple(f"{p}-{s}.png" for p, s in asked), tuple(p for p, _ in asked), tuple(s for _, s in asked))


def run(seed: int, *, scale: float = 1.2, items: Items | None = None, extractor: str = "mine", **options) -> RunRecord:
    rng = np.random.default_rng(seed)
    made = scale * (0.8 * COMMON + 0.6 * rng.standard_normal(COMMON.shape))
    options = {"metrics": ("fd", "kid", "precision", "coverage")} | options
    return run_of_features(
        made[: len(items or made)],
        options.pop("reference", REFERENCE),
        items=items or keys(200),
        extractor=extractor,
        model=f"run-{seed}",
        **options,
    )


@pytest.fixture(scope="module")
def baseline() -> RunRecord:
    found = run(1)
    return replace(found, gates=gates_of(found, {}))


def checked(baseline: RunRecord, candidate: RunRecord, **options):
    return check_runs(baseline, candidate, baseline.gates, alpha=0.05, power=0.8, **options)


def test_the_same_samples_pass_and_are_recognised(baseline: RunRecord) -> None:
    found = checked(baseline, run(1))
    assert {one.verdict for one in found.findings} == {Verdict.PASS}
    assert all(one.worsening == 0 for one in found.findings)
    assert "byte for byte" in found.notes[0]


def test_a_worse_checkpoint_regresses_and_a_better_one_improves(baseline: RunRecord) -> None:
    worse = checked(baseline, run(2, scale=1.8))
    assert worse.verdict is Verdict.REGRESSED
    assert "paired by prompt and seed: 200" in worse.pairing
    better = checked(baseline, run(2, scale=1.0))
    assert {one.metric: one.verdict for one in better.findings}["fd"] is Verdict.IMPROVED


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (lambda: run(2, extractor="theirs"), "the extractor is mine in the one and theirs in the other"),
        (lambda: run(2, protocol="other"), "protocol"),
        (lambda: run(2, reference=REFERENCE[:-1]), "reference"),
        (lambda: run(2, items=keys(200, prompts=9)), "prompts differ"),
        (lambda: run(2, metrics=("fd", "kid", "precision")), "coverage is gated, but was not measured"),
        (lambda: run(2, items=keys(180)), "coverage depends on the number of samples"),
        (lambda: run(2, items=Items(tuple(map(str, range(200))))), "manifest"),
        (lambda: replace(run(2), unanswered=40), "40 of 240 requests have no sample"),
    ],
)
def test_what_differs_is_named_and_nothing_is_compared(baseline: RunRecord, candidate, words: str) -> None:
    other = candidate()
    assert any(words in text for text in differences_of(baseline, other, baseline.gates))
    with pytest.raises(NotComparable, match=words):
        checked(baseline, other)


def test_numbers_may_differ_where_the_metric_allows(baseline: RunRecord) -> None:
    gates = [gate for gate in baseline.gates if gate.metric != "coverage"]
    found = check_runs(baseline, run(2, items=keys(150)), gates, alpha=0.05, power=0.8)
    assert [one.n_candidate for one in found.findings] == [150] * 3


def test_at_an_interim_look_metrics_that_depend_on_n_wait(baseline: RunRecord) -> None:
    found = checked(baseline, run(2, items=keys(100)), interim=True, level=lambda rate: rate / 10)
    waiting = {one.metric: one for one in found.findings}["coverage"]
    assert waiting.verdict is Verdict.INCONCLUSIVE
    assert "last look" in waiting.reason


def test_the_slice_that_got_worse_is_found(baseline: RunRecord) -> None:
    items = keys(200)
    rows = [row for row, prompt in enumerate(items.prompts) if prompt == "p3"]
    shifted = 1.2 * (0.8 * COMMON + 0.6 * np.random.default_rng(2).standard_normal(COMMON.shape))
    shifted[rows] += 6.0
    bad = run_of_features(
        shifted, REFERENCE, items=items, extractor="mine", metrics=("fd", "kid", "precision", "coverage")
    )
    groups = {f"p{number}": "odd" if number % 2 else "even" for number in range(10)}
    found = checked(baseline, bad, categories={"parity": groups})
    assert (found.slices[0].by, found.slices[0].value) == ("prompt", "p3")
    assert found.slices[0].q_value < 0.01
    by_parity = {one.value: one.q_value for one in found.slices if one.by == "parity"}
    assert by_parity["odd"] < 0.05 < by_parity["even"]
    worst = found.worst["fd"][0]
    assert worst.prompt == "p3"
    assert worst.baseline is not None
    assert found.worst["precision"][0].worsening == 1.0


# ---- Scores --------------------------------------------------------------------------------------------------------


def test_scores_of_a_judge_are_a_measure_with_an_identity(tmp_path: Path) -> None:
    items = keys(20)
    rows = [
        f"{p},{s},qwen,say which is better: {{a}} | {{b}},{s / 10}"
        for p, s in zip(items.prompts, items.seeds, strict=True)
    ]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(["prompt_id,seed,judge,template,alignment", *reversed(rows)]))
    (found,) = read_scores(path, items)
    assert found.column.contributions.tolist() == [s / 10 for s in items.seeds]
    assert "judge:qwen" in found.signature
    assert found.signature.count("|") == 3  # the template's words are a digest
    path.write_text(path.read_text().replace("qwen", "gpt"))
    (other,) = read_scores(path, items)
    base = run(1, items=items, metrics=("kid",))
    a, b = (replace(base, measures={"alignment": one}) for one in (found, other))
    assert "judge is qwen" in differences_of(a, b, [Gate("alignment", 0.1)])[0]
    silent = replace(other, signature="alignment|n:20")
    assert differences_of(a, replace(base, measures={"alignment": silent}), [Gate("alignment", 0.1)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,score\np0-0.png,1\n", "have no row there"),
        ("file,score\np0-0.png,1\np0-0.png,2\n", "occurs twice"),
        ("file,score\np0-0.png,nan\np1-0.png,1\n", "no number"),
        ("file,score,judge\np0-0.png,1,a\np1-0.png,1,b\n", "2 values of judge"),
        ("file,other\n", "no rows"),
    ],
)
def test_scores_that_cannot_be_used_name_the_row(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_scores(tmp_path / "scores.csv", keys(2))


# ---- Plans ---------------------------------------------------------------------------------------------------------


def test_a_plan_from_a_pilot_has_the_power_that_it_promises(baseline: RunRecord) -> None:
    """Precision of unpaired runs: n of the plan, then the share of such runs that show the margin."""
    rng = np.random.default_rng(5)

    def indicator(n: int, share: float) -> np.ndarray:
        return (rng.uniform(size=n) < share).astype(float)

    rate = float(baseline.measures["precision"].value)
    gate = Gate("precision", 0.1)
    (row,) = plan_samples(baseline, (gate,), alpha=0.05, power=0.8).rows
    n = row.n_needed
    assert n is not None
    shown = 0
    for _ in range(600):
        a, b = indicator(n, rate), indicator(n, rate)
        error = np.sqrt(a.var(ddof=1) / n + b.var(ddof=1) / n)
        shown += (a.mean() - b.mean()) + 1.6449 * error < gate.margin
    assert shown / 600 == pytest.approx(0.8, abs=0.07)


def test_a_second_pilot_shows_what_pairing_saves(baseline: RunRecord) -> None:
    gates = tuple(gate for gate in baseline.gates if gate.metric in ("fd", "precision"))
    apart = {row.metric: row.n_needed for row in plan_samples(baseline, gates, alpha=0.05, power=0.8).rows}
    paired = {
        row.metric: row.n_needed for row in plan_samples(baseline, gates, second=run(2), alpha=0.05, power=0.8).rows
    }
    assert all(paired[name] < apart[name] for name in apart)


@pytest.mark.parametrize(("elo", "votes"), [(20, 1866), (50, 297), (100, 77)])
def test_votes_for_a_lead(elo: float, votes: int) -> None:
    """(z₀.₉₅ + z₀.₈)² · ¼ / (σ(elo) - ½)², by hand, a little less for the smaller variance away from ½."""
    assert fixed_votes(elo, ties=0.0, alpha=0.05, power=0.8) == pytest.approx(votes, rel=0.03)
    assert fixed_votes(elo, ties=0.3, alpha=0.05, power=0.8) == pytest.approx(0.7 * votes, rel=0.03)
