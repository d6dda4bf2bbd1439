"""`paragone check`: is a new checkpoint worse than the blessed one."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from paragone.cli.clip_options import ClipOptions, clip_options
from paragone.cli.extraction import feature_cache, reading_options
from paragone.data.errors import UsageError

if TYPE_CHECKING:
    from paragone.cli.check_flow import Request
    from paragone.cli.check_report import CheckReport

MAX_AGE_DAYS = 90


@click.command()
@click.argument("generated", nargs=-1)
@click.option(
    "--baseline",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The blessed run, a .json file with an .npz beside it.",
)
@click.option("--bless", is_flag=True, help="Make this run the baseline: write FILE instead of checking against it.")
@click.option(
    "--generator",
    metavar="NAME",
    help="Let a generator (a name of `paragone plugins`, or module:attribute) answer the baseline's prompts and seeds.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    default=Path("check-samples"),
    show_default=True,
    metavar="DIR",
    help="Where the generator's samples go.",
)
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Prompts of the generator (.csv or .jsonl with prompt_id and prompt, or .txt), or captions for clip_score.",
)
@click.option("--seeds", metavar="RANGE", help="With --bless and --generator: the seeds of each prompt, such as 0-99.")
@click.option(
    "--look",
    "look_texts",
    multiple=True,
    metavar="RANGE",
    help="With --bless: the seeds of one look; repeat it for the looks that --extend may add.",
)
@click.option("--extend", is_flag=True, help="With --generator: while it is inconclusive, add the next declared look.")
@click.option("--name", default="", metavar="NAME", help="What to call the run; by default its folder or generator.")
@click.option("--reference", metavar="REF", help="What the baseline is measured against, if it was too large to keep.")
@click.option("--training", metavar="DIR", help="The training set, likewise: for authenticity, near_duplicates, c_t.")
@click.option(
    "--metric",
    "metric_names",
    multiple=True,
    metavar="NAME",
    help="With --bless: a metric to gate; repeat it for more. Without it: fd, kid, precision, recall; with --training "
    "also authenticity.",
)
@click.option(
    "--set",
    "set_options",
    multiple=True,
    metavar="METRIC.OPTION=VALUE",
    help="With --bless: an option of a metric (docs/metrics.md).",
)
@click.option(
    "--margin",
    "margin_texts",
    multiple=True,
    metavar="METRIC=VALUE",
    help="The worsening that is tolerated, in the metric's units or in percent of the baseline (5% by default); arena: "
    "in rating points (20 by default).",
)
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="More measures of each sample, by a judge say: .csv or .jsonl with file (or prompt_id and seed), and scores.",
)
@click.option("--lower-is-better", multiple=True, metavar="COLUMN", help="A column of --scores where less is better.")
@click.option(
    "--votes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Votes between candidate and baseline (as for `paragone rate`), for the gate arena.",
)
@click.option(
    "--vote-names",
    nargs=2,
    metavar="CANDIDATE BASELINE",
    help="What the two are called in the votes; by default as the runs are.",
)
@click.option(
    "--slices",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Categories of prompts (.csv or .jsonl with prompt_id and categories), to say where a worsening lies.",
)
@click.option(
    "--features",
    metavar="NAME",
    help="The feature extractor; by default the baseline's (at first gist, or of clips gist3d).",
)
@click.option("--protocol", metavar="NAME", help="How pictures are prepared; by default the baseline's.")
@reading_options
@clip_options
@click.option("--cache", type=click.Path(path_type=Path), metavar="DIR", help="Keep features in this folder.")
@click.option("--no-cache", is_flag=True, help="Keep no features. By default they go to $PARAGONE_HOME/features.")
@click.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True, max_open=True), help="Error rate; 0.05 at first.")
@click.option("--power", type=click.FloatRange(0.5, 1, max_open=True), help="For what could be detected; 0.8 at first.")
@click.option("--strict", is_flag=True, help="Exit 4 when a gate is inconclusive, and 3 when the baseline is stale.")
@click.option(
    "--max-age",
    type=click.FloatRange(min=0, min_open=True),
    default=MAX_AGE_DAYS,
    show_default=True,
    metavar="DAYS",
    help="From when on a baseline is stale.",
)
@click.option("--keep-features", is_flag=True, help="With --bless: keep the samples' own features as well (float16).")
@click.option("--json", "json_target", metavar="FILE|-", help="Write the report as JSON to FILE, or to stdout with -.")
@click.option("--junit", metavar="FILE", help="Write it as JUnit XML; an inconclusive gate is a skipped test.")
@click.option("--markdown", metavar="FILE|-", help="Write it as Markdown.")
@click.option("--html", metavar="FILE", help="Write it as one HTML file, with the samples that pull each metric down.")
@click.option(
    "--baseline-images", metavar="DIR", help="The baseline's pictures, to show beside the candidate's in --html."
)
@click.option("--model-card", metavar="FILE|-", help="Write the values as front matter of a Hugging Face model card.")
@click.option(
    "--github/--no-github",
    default=None,
    help="Annotations, job summary and outputs for GitHub Actions; by default where $GITHUB_ACTIONS is true.",
)
def check(
    generated: tuple[str, ...],
    baseline: Path,
    bless: bool,
    generator: str | None,
    samples: Path,
    prompts: Path | None,
    seeds: str | None,
    look_texts: tuple[str, ...],
    extend: bool,
    name: str,
    reference: str | None,
    training: str | None,
    metric_names: tuple[str, ...],
    set_options: tuple[str, ...],
    margin_texts: tuple[str, ...],
    scores: Path | None,
    lower_is_better: tuple[str, ...],
    votes: Path | None,
    vote_names: tuple[str, str] | None,
    slices: Path | None,
    features: str | None,
    protocol: str | None,
    weights: Path | None,
    device: str,
    batch_size: int,
    workers: int,
    on_error: Literal["raise", "skip"],
    clips: ClipOptions,
    cache: Path | None,
    no_cache: bool,
    alpha: float | None,
    power: float | None,
    strict: bool,
    max_age: float,
    keep_features: bool,
    json_target: str | None,
    junit: str | None,
    markdown: str | None,
    html: str | None,
    baseline_images: str | None,
    model_card: str | None,
    github: bool | None,
) -> int:
    """Say whether a new checkpoint is worse than the blessed one, and exit accordingly.

    GENERATED is the candidate's pictures (whatever `paragone metrics` takes), or a run record of `paragone metrics
    --record`; several share the error rate. Exit code: 0 pass or improved, 1 regressed, 2 usage, 3 not comparable, 4
    inconclusive with --strict, 5 the generator or another service failed.
    """
    from paragone.cli import check_flow
    from paragone.cli.output import progress_bars
    from paragone.metrics.checks_measure import Reading
    from paragone.metrics.settings import parse_settings

    if bool(generated) == (generator is not None):
        raise UsageError("name GENERATED or --generator, one of the two")
    if scores is not None and len(generated) > 1:
        raise UsageError("--scores are of one run; check one candidate at a time")
    if extend and generator is None:
        raise UsageError("--extend draws more samples, so it needs --generator")
    only_bless = {
        "--seeds": seeds,
        "--look": look_texts,
        "--metric": metric_names,
        "--set": set_options,
        "--keep-features": keep_features,
        "options of clips": clips.given(),
    }
    for option, value in only_bless.items():
        if value and not bless:
            raise UsageError(f"{option}: what belongs to the baseline goes with --bless")
    targets = _Targets(json_target, junit, markdown, html, baseline_images, model_card, _wants_github(github))
    request = check_flow.Request(
        baseline=baseline,
        candidates=generated,
        generator=generator,
        samples=samples,
        prompts=prompts,
        seeds=None if seeds is None else _numbers("--seeds", seeds),
        looks=tuple(_numbers("--look", text) for text in look_texts),
        extend=extend,
        name=name,
        reference=reference,
        training=training,
        metrics=metric_names,
        settings=parse_settings(set_options) if set_options else None,
        features=features,
        protocol=protocol,
        margins=parse_margins(margin_texts),
        scores=scores,
        lower_is_better=lower_is_better,
        votes=votes,
        vote_names=vote_names or None,
        slices=slices,
        clips=clips.given(),
        alpha=alpha,
        power=power,
        strict=strict,
        max_age_days=max_age,
        keep_features=keep_features,
        reading=Reading(weights, device, batch_size, workers, feature_cache(cache, no_cache=no_cache), on_error),
    )
    if bless:
        return _bless(request, targets)
    with progress_bars() as progress:
        report, measured_against = check_flow.check(request, progress=progress)
    targets.write(report, measured_against)
    return report.exit_code


def _bless(request: Request, targets: _Targets) -> int:
    from paragone.cli import check_flow
    from paragone.cli.output import check_writable, progress_bars, stdout

    if any((targets.junit, targets.markdown, targets.html, targets.model_card)):
        raise UsageError("--bless writes a baseline, not a report; leave the report's options out")
    if request.baseline.suffix.lower() != ".json":
        raise UsageError(f"--baseline {request.baseline}: name a .json file; its arrays go beside it as .npz")
    request.baseline.parent.mkdir(parents=True, exist_ok=True)
    check_writable(str(request.baseline))
    with progress_bars() as progress:
        run, changes = check_flow.bless(request, progress=progress)
    if targets.json == "-":
        print(request.baseline.read_text(encoding="utf-8"), end="")
        return 0
    stdout.print(f"{request.baseline}: {len(run.items):,} samples of {run.model}", markup=False, soft_wrap=True)
    for gate in run.gates:
        one = run.measures[gate.metric]
        stdout.print(
            f"  {gate.metric} {one.value:.5g}, margin {gate.margin:.4g} ({gate.stated})", markup=False, soft_wrap=True
        )
    for one in run.measures.values():
        if one.column is None:
            stdout.print(f"  {one.metric} {one.value:.5g}, no gate: {one.reason}", markup=False, soft_wrap=True)
    for line in changes:
        stdout.print(f"  was: {line}", markup=False, soft_wrap=True)
    return 0


def _numbers(option: str, text: str) -> tuple[int, ...]:
    from paragone.metrics.run_files import numbers_in

    try:
        return numbers_in(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: write whole numbers such as 0-99 or 0-3,7") from error


def parse_margins(texts: tuple[str, ...]) -> dict[str, str]:
    """`METRIC=VALUE` of the command line, by metric; raises `UsageError` for another form."""
    found: dict[str, str] = {}
    for text in texts:
        metric, equals, value = (part.strip() for part in text.partition("="))
        if not (metric and equals and value):
            raise UsageError(f"--margin {text}: write METRIC=VALUE, such as fd=2% or clip_score=0.005")
        if metric in found:
            raise UsageError(f"--margin {text}: {metric} has a margin already")
        found[metric] = value
    return found


def _wants_github(asked: bool | None) -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true" if asked is None else asked


class _Targets:
    """Where reports go; all places are known to be writable before a picture is read."""

    def __init__(
        self,
        json: str | None,
        junit: str | None,
        markdown: str | None,
        html: str | None,
        baseline_images: str | None,
        model_card: str | None,
        github: bool,
    ) -> None:
        from paragone.cli.output import check_writable

        self.json, self.junit, self.markdown, self.html = json, junit, markdown, html
        self.baseline_images, self.model_card, self.github = baseline_images, model_card, github
        for option, target in (("--junit", junit), ("--html", html)):
            if target == "-":
                raise UsageError(f"{option} -: name a file")
        if [json, markdown, model_card].count("-") > 1:
            raise UsageError("stdout has room for one document; name files for the others")
        if baseline_images is not None and html is None:
            raise UsageError("--baseline-images are shown in --html FILE; name it")
        for target in (json, junit, markdown, html, model_card):
            check_writable(target)

    def write(self, report: CheckReport, reference: str) -> None:
        """Write every document, each in one piece; the table on the terminal unless stdout is taken."""
        from paragone.cli import check_documents as documents
        from paragone.cli.check_report import print_report
        from paragone.cli.output import stderr, write_json

        for line in report.warnings:
            stderr.print(f"warning: {line}", soft_wrap=True, markup=False)
        if self.json:
            write_json(report.to_dict(), self.json)
        if self.junit:
            _write(documents.junit(report), self.junit)
        if self.markdown:
            _write(documents.markdown(report), self.markdown)
        if self.html:
            from paragone.cli.check_html import html_report

            _write(html_report(report, self.baseline_images), self.html)
        if self.model_card:
            _write(documents.model_card(report, dataset=reference), self.model_card)
        if "-" not in (self.json, self.markdown, self.model_card):
            print_report(report)
            if self.github:
                documents.write_github(report)
        elif self.github:
            with redirect_stdout(sys.stderr):
                documents.write_github(report)
        for outcome in report.outcomes:
            if outcome.check is None:
                print(f"paragone: {outcome.message}", file=sys.stderr)


def _write(text: str, target: str) -> None:
    from paragone.data.files import write_atomically

    if target == "-":
        sys.stdout.write(text)
    else:
        write_atomically(Path(target), text.encode())
