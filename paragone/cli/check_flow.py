"""The course of `paragone check`: read the baseline, measure each candidate alike, decide; or bless a new baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paragone.cli.check_report import CheckReport, Outcome, problem_of
from paragone.data.errors import InputError, NotComparable, ParagoneError, UsageError
from paragone.data.progress import Progress
from paragone.data.records import Prompt
from paragone.metrics.checks_measure import READING, Reading

if TYPE_CHECKING:
    from paragone.cli.check_generate import Opened
    from paragone.metrics.checks import Finding, Gate
    from paragone.metrics.checks_runs import RunCheck
    from paragone.metrics.inputs import ClipReading
    from paragone.metrics.run_record import Recipe, RunRecord


@dataclass(frozen=True, slots=True)
class Request:
    """The options of a check that its course depends on; None where the baseline (or a default) decides."""

    baseline: Path
    candidates: tuple[str, ...] = ()
    generator: str | None = None
    samples: Path = Path("check-samples")
    prompts: Path | None = None
    seeds: tuple[int, ...] | None = None
    looks: tuple[tuple[int, ...], ...] = ()
    extend: bool = False
    name: str = ""
    reference: str | None = None
    training: str | None = None
    metrics: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, object]] | None = None
    features: str | None = None
    protocol: str | None = None
    margins: Mapping[str, str] = field(default_factory=dict)
    scores: Path | None = None
    lower_is_better: tuple[str, ...] = ()
    votes: Path | None = None
    vote_names: tuple[str, str] | None = None
    slices: Path | None = None
    clips: Mapping[str, object] = field(default_factory=dict)
    alpha: float | None = None
    power: float | None = None
    strict: bool = False
    max_age_days: float = 90.0
    keep_features: bool = False
    reading: Reading = READING


# ---- Blessing ------------------------------------------------------------------------------------------------------


def bless(request: Request, *, progress: Progress) -> tuple[RunRecord, list[str]]:
    """Measure the one candidate and write it as the baseline; returns it, and how it differs from the one before."""
    from paragone.metrics.checks_measure import measure_run
    from paragone.metrics.recording import gates_of
    from paragone.metrics.run_files import read_run, write_run

    if request.generator is None and len(request.candidates) != 1:
        raise UsageError(f"--bless takes one run, not {len(request.candidates)}; name the one to be the baseline")
    before = read_run(request.baseline) if request.baseline.is_file() else None
    recipe = _recipe(request, before)
    asked: tuple[Prompt, ...] = () if before is None else before.prompts
    looks = request.looks or (() if before is None else before.looks)
    source: Any = request.candidates[0] if request.candidates else None
    name = request.name
    if request.generator is not None:
        opened, asked = _generator_and_prompts(request, asked)
        seeds = sorted({seed for look in looks for seed in look}) or request.seeds or (before.seeds if before else ())
        if not seeds:
            raise UsageError("which seeds? Name them with --seeds 0-99 (or --look, once for each look)")
        source = _answered(request, recipe, opened, asked, seeds, progress)
        name = request.name or opened.adapter.name
    run = measure_run(
        source,
        recipe,
        reference=request.reference,
        training=request.training,
        prompts=request.prompts if "clip_score" in recipe.metrics else None,
        yardsticks={} if before is None else before.yardsticks,
        scores=request.scores,
        lower_is_better=request.lower_is_better,
        model=name,
        asked=asked,
        keep_features=request.keep_features,
        clips=_clip_reading(recipe),
        reading=request.reading,
        progress=progress,
    )
    _check_looks(looks, run)
    stated = {} if before is None else {gate.metric: gate.stated for gate in before.gates if _is_asked(gate)}
    wanted = {**{name: text for name, text in stated.items() if name in run.measures}, **_metric_margins(request)}
    run = replace(
        run,
        gates=gates_of(run, wanted),
        alpha=request.alpha or (before.alpha if before else run.alpha),
        power=request.power or (before.power if before else run.power),
        looks=looks,
        notes=(),
    )
    write_run(run, request.baseline)
    return run, [] if before is None else _changes(before, run)


def _is_asked(gate: Gate) -> bool:
    """Whether its margin is a number or a share, rather than what the value's own uncertainty made of it."""
    return gate.stated.rstrip("%").replace(".", "", 1).isdigit()


def _recipe(request: Request, before: RunRecord | None) -> Recipe:
    from paragone.metrics.run_record import Recipe

    known = Recipe() if before is None else before.recipe
    metrics = request.metrics or known.metrics
    return Recipe(
        features=request.features or known.features,
        protocol=request.protocol or known.protocol,
        metrics=metrics,
        settings=known.settings if request.settings is None else request.settings,
        seed=known.seed,
        clips=request.clips or known.clips,
    )


def _clip_reading(recipe: Recipe) -> ClipReading:
    from paragone.cli.clip_options import ClipOptions

    return ClipOptions.of(recipe.clips).reading(recipe.seed)


def _check_looks(looks: Sequence[Sequence[int]], run: RunRecord) -> None:
    """Looks share out the run's seeds, all of them."""
    if not looks:
        return
    declared = [seed for look in looks for seed in look]
    if len(set(declared)) < len(declared):
        raise UsageError("--look: a seed is declared twice; each look brings seeds of its own")
    if set(declared) != set(run.seeds):
        raise UsageError(
            f"--look: {len(declared)} seeds are declared, and the baseline has {len(run.seeds)}: the looks together "
            "must be all of its seeds"
        )


def _changes(before: RunRecord, after: RunRecord) -> list[str]:
    """What a reader of the diff sees, in words."""
    from paragone.metrics.checks_runs import differences_of

    lines = []
    for name in dict.fromkeys([*before.measures, *after.measures]):
        one, two = before.measures.get(name), after.measures.get(name)
        if one is None or two is None:
            lines.append(f"{name}: {'new' if one is None else 'no longer measured'}")
        else:
            lines.append(f"{name}: {one.value:.5g} → {two.value:.5g}")
    shared = [gate for gate in before.gates if gate.metric in after.measures]
    return lines + [f"not comparable with the one before: {text}" for text in differences_of(before, after, shared)]


# ---- Checking ------------------------------------------------------------------------------------------------------


def check(request: Request, *, progress: Progress) -> tuple[CheckReport, str]:
    """Every candidate against the baseline; what cannot be compared, or failed outside, is an outcome, too.

    Beside the report: what the baseline was measured against, in words.
    """
    from paragone.metrics.checks_measure import need_again
    from paragone.metrics.run_files import read_run

    baseline = read_run(request.baseline)
    if not baseline.gates:
        raise UsageError(f"{request.baseline}: a run without gates is no baseline; bless it with --bless")
    age = _age_days(baseline.created)
    warnings = []
    if age > request.max_age_days:
        told = f"the baseline is {age:.0f} days old (blessed {baseline.created[:10]}); bless a newer one"
        if request.strict:
            raise NotComparable(f"{request.baseline}: {told}, or raise --max-age")
        warnings.append(told)
    if any(not _is_record(source) for source in request.candidates) or request.generator:
        need_again(baseline, {"reference": request.reference, "training": request.training})
    gates = _gates(request, baseline)
    outcomes = []
    for source in request.candidates or ("",):
        try:
            found, where = _one(
                source, request, baseline, gates, share=max(1, len(request.candidates)), progress=progress
            )
            outcomes.append(Outcome(found.model, source or where, found))
        except ParagoneError as error:
            problem = problem_of(error)
            if problem is None:
                raise
            name = request.name or Path(source).name or str(request.generator)
            outcomes.append(Outcome(name, source or str(request.generator), None, problem, str(error)))
    report = CheckReport(
        str(request.baseline), baseline.model, baseline.created, age, request.strict, tuple(outcomes), tuple(warnings)
    )
    reference = baseline.yardsticks.get("reference")
    return report, Path(reference.origin).name if reference is not None else "no reference"


def _is_record(source: str) -> bool:
    from paragone.metrics.run_files import is_run_record

    return is_run_record(Path(source))


def _one(
    source: str, request: Request, baseline: RunRecord, gates: Sequence[Gate], *, share: int, progress: Progress
) -> tuple[RunCheck, str]:
    """The check of one candidate, and where its pictures are."""
    alpha, power = (request.alpha or baseline.alpha) / share, request.power or baseline.power
    if request.generator is not None:
        found, source = _generated(request, baseline, gates, alpha=alpha, power=power, progress=progress)
    else:
        candidate = _measured(source, request, baseline, baseline.prompts, request.name, progress)
        found = _decided(request, baseline, candidate, gates, alpha=alpha, power=power)
    return _with_arena(found, request, alpha=alpha, power=power), source


def _measured(
    source: Any, request: Request, baseline: RunRecord, asked: tuple[Prompt, ...], name: str, progress: Progress
) -> RunRecord:
    from paragone.metrics.checks_measure import measure_run

    recipe = _recipe(request, baseline)
    return measure_run(
        source,
        replace(recipe, metrics=baseline.recipe.metrics),
        reference=request.reference,
        training=request.training,
        prompts=request.prompts if "clip_score" in baseline.recipe.metrics else None,
        yardsticks=baseline.yardsticks,
        scores=request.scores,
        lower_is_better=request.lower_is_better,
        model=name,
        asked=asked,
        clips=_clip_reading(recipe),
        reading=request.reading,
        progress=progress,
    )


def _decided(
    request: Request,
    baseline: RunRecord,
    candidate: RunRecord,
    gates: Sequence[Gate],
    *,
    alpha: float,
    power: float,
    shares: tuple[float, ...] = (1.0,),
    look: int = 1,
) -> RunCheck:
    """The check of one look; `shares` are those of all samples that each look up to the last has."""
    from paragone.metrics.checks_runs import check_runs
    from paragone.metrics.checks_sequential import nominal_levels

    found = check_runs(
        baseline,
        candidate,
        gates,
        alpha=_alpha_of_metrics(request, gates, alpha),
        power=power,
        level=None if len(shares) == 1 else lambda rate: nominal_levels(shares, rate)[look - 1],
        interim=look < len(shares),
        categories=_categories(request.slices, baseline),
    )
    return replace(found, look=look, looks=len(shares))


def _generated(
    request: Request,
    baseline: RunRecord,
    gates: Sequence[Gate],
    *,
    alpha: float,
    power: float,
    progress: Progress,
) -> tuple[RunCheck, str]:
    """Look by look where --extend allows more than one; a gate that was decided at a look stays decided."""
    opened, asked = _generator_and_prompts(request, baseline.prompts)
    if not baseline.seeds:
        raise UsageError("the baseline's samples have no manifest, so there are no seeds to repeat; name GENERATED")
    looks = baseline.looks or (baseline.seeds,)
    if request.extend and len(looks) == 1:
        raise UsageError("--extend: the baseline declares no further looks; bless it with --look SEEDS --look SEEDS")
    if not request.extend:
        looks = (baseline.seeds,)
    total = sum(map(len, looks))
    shares = tuple(sum(map(len, looks[: number + 1])) / total for number in range(len(looks)))
    decided: dict[str, Finding] = {}
    for number in range(len(looks)):
        seeds = sorted(seed for look in looks[: number + 1] for seed in look)
        pictures = _answered(request, baseline.recipe, opened, asked, seeds, progress)
        candidate = _measured(pictures, request, baseline, asked, request.name or opened.adapter.name, progress)
        found = _decided(request, baseline, candidate, gates, alpha=alpha, power=power, shares=shares, look=number + 1)
        findings = tuple(decided.get(one.metric, one) for one in found.findings)
        decided |= {one.metric: one for one in findings if one.verdict != "inconclusive"}
        found = replace(found, findings=findings)
        if found.verdict != "inconclusive":
            break
    return found, str(pictures.origin)


def _generator_and_prompts(request: Request, known: tuple[Prompt, ...]) -> tuple[Opened, tuple[Prompt, ...]]:
    from paragone.cli.check_generate import open_generator, prompts_of

    assert request.generator is not None
    prompts = prompts_of(request.prompts, known)
    return open_generator(request.generator), prompts


def _answered(
    request: Request,
    recipe: Recipe,
    opened: Opened,
    asked: tuple[Prompt, ...],
    seeds: Sequence[int],
    progress: Progress,
) -> Any:
    from paragone.cli.check_generate import generate
    from paragone.cli.generate_run import folder_name

    folder, clips = request.samples / folder_name(opened.adapter.name), _clip_reading(recipe)
    return generate(opened, asked, seeds, folder, clips=clips, progress=progress)


def _age_days(created: str) -> float:
    from paragone.metrics.run_files import now

    try:
        moments = [datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) for text in (created, now())]
    except ValueError as error:
        raise InputError(f"the baseline's date {created!r} is none ({error}); bless it again") from error
    return (moments[1] - moments[0]).total_seconds() / 86400


# ---- Gates ---------------------------------------------------------------------------------------------------------


def _metric_margins(request: Request) -> dict[str, str]:
    from paragone.cli.check_votes import NAME

    return {name: text for name, text in request.margins.items() if name != NAME}


def _gates(request: Request, baseline: RunRecord) -> tuple[Gate, ...]:
    """The baseline's, with other margins where they are asked for."""
    from paragone.metrics.recording import gates_of, named

    asked = {named(baseline, name): text for name, text in _metric_margins(request).items()}
    changed = {gate.metric: gate for gate in gates_of(baseline, asked)} if asked else {}
    return tuple(changed[gate.metric] if gate.metric in asked else gate for gate in baseline.gates)


def _alpha_of_metrics(request: Request, gates: Sequence[Gate], alpha: float) -> float:
    """The arena's sequential test takes an equal share of the error rate for itself."""
    return alpha if request.votes is None else alpha * len(gates) / (len(gates) + 1)


def _with_arena(found: RunCheck, request: Request, *, alpha: float, power: float) -> RunCheck:
    if request.votes is None:
        return found
    from paragone.cli.check_votes import MARGIN, NAME, arena_finding, read_arena_votes

    names = request.vote_names or (found.model, found.baseline_model)
    try:
        margin = float(request.margins.get(NAME, MARGIN))
    except ValueError:
        raise UsageError(f"--margin {NAME}={request.margins[NAME]}: write rating points, such as 20") from None
    votes = read_arena_votes(request.votes, *names)
    finding = arena_finding(votes, margin=margin, alpha=alpha / (len(found.findings) + 1), power=power)
    return replace(found, findings=(*found.findings, finding))


def _categories(path: Path | None, baseline: RunRecord) -> dict[str, dict[str, str]]:
    """By column of the file, the category of each prompt."""
    if path is None:
        return {}
    from paragone.data.table_files import rows_of

    if not path.is_file():
        raise UsageError(f"{path}: no such file of slices")
    rows = rows_of(path, path.read_text(encoding="utf-8-sig"), what="slices")
    if not rows or "prompt_id" not in rows[0][1]:
        raise UsageError(f"{path}: its rows need prompt_id and one column or more of categories")
    names = [name for name in rows[0][1] if name not in ("prompt_id", "prompt")]
    unknown = sorted(set(baseline.items.prompt_ids) - {str(row["prompt_id"]) for _, row in rows})
    if unknown:
        raise InputError(f"{path}: {len(unknown)} of the baseline's prompts are not there, first {unknown[0]!r}")
    return {name: {str(row["prompt_id"]): str(row.get(name, "")) for _, row in rows} for name in names}
