"""`paragone metrics`: generated pictures against a reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from paragone.cli.extraction import extraction_options_of_several, feature_cache
from paragone.data.errors import UsageError

CONTRIBUTIONS = "paragone.per-image/1"

if TYPE_CHECKING:
    from paragone.data.records import MetricResult
    from paragone.metrics.compute import Gathered, MetricsReport
    from paragone.metrics.settings import Values


@click.command()
@click.argument("generated")
@click.option(
    "--reference",
    metavar="REF",
    help="What to compare with: pictures, or statistics (.npz). Only metrics that look at nothing else do without.",
)
@click.option(
    "--metric",
    "metric_names",
    multiple=True,
    metavar="NAME",
    help="A metric to compute; repeat it for more. Of features: fd (also called fid), fd_infinity, kid, cmmd, mind, "
    "vendi, inception_score, precision, recall, density, coverage, rarity; with --training also authenticity, "
    "near_duplicates, c_t; with --prompts also clip_score. Of pixels: psnr, ssim, ms_ssim (pairs with REF), "
    "colourfulness, sharpness, duplicates. "
    "Without it: fd, kid, precision, recall, density, coverage, as far as the two sides allow.",
)
@click.option(
    "--training", metavar="DIR", help="What the generator was trained on: for authenticity, near_duplicates, c_t."
)
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The pictures' captions, for clip_score: .csv or .jsonl with prompt and file (or prompt_id, where the folder "
    "has a manifest), or .txt with one a line in the order of the pictures.",
)
@click.option(
    "--set",
    "set_options",
    multiple=True,
    metavar="METRIC.OPTION=VALUE",
    help="Set an option of a metric, such as kid.subset_size=500; repeat it for more (docs/metrics.md).",
)
@extraction_options_of_several
@click.option("--cache", type=click.Path(path_type=Path), metavar="DIR", help="Keep features in this folder.")
@click.option("--no-cache", is_flag=True, help="Keep no features. By default they go to $PARAGONE_HOME/features.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random subsets and splits.")
@click.option(
    "--per-image",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what each generated picture contributes to fd, greatest first, to FILE (.csv, .json or .parquet). "
    "Needs more pictures than feature dimensions on both sides. With clip_score: each picture's score.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a run record for `paragone check` to FILE (.json, with an .npz beside it). One extractor only.",
)
@click.option("--json", "json_target", metavar="FILE|-", help="Write the results as JSON to FILE, or to stdout with -.")
def metrics(
    generated: str,
    reference: str | None,
    metric_names: tuple[str, ...],
    training: str | None,
    prompts: Path | None,
    set_options: tuple[str, ...],
    features: tuple[str, ...],
    weights: Path | None,
    protocol: str,
    device: str,
    batch_size: int,
    workers: int,
    on_error: Literal["raise", "skip"],
    cache: Path | None,
    no_cache: bool,
    seed: int,
    per_image: Path | None,
    record: Path | None,
    json_target: str | None,
) -> None:
    """Compare generated images with a reference: FD, KID, precision, recall …

    GENERATED and REF are folders (read recursively), zip or tar files, .npz or .npy arrays of images, .txt lists of
    paths, .parquet files of pictures, or .npz files of feature statistics. Under torchrun, all processes share the
    work.
    """
    from paragone.cli.output import check_writable, progress_bars, write_json
    from paragone.cli.tables import check_table, write_table
    from paragone.metrics.compute import gather, report_of
    from paragone.metrics.distributed import ranks_of_this_run
    from paragone.metrics.settings import parse_settings

    with ranks_of_this_run() as ranks, progress_bars() as progress:
        with ranks.step():
            check_writable(json_target)
            check_table(per_image)
            _check_record(record, features)
            folder = feature_cache(cache, no_cache=no_cache)
            settings = parse_settings(set_options)
        gathered = gather(
            generated,
            reference,
            metrics=metric_names or None,
            features=features,
            weights=weights,
            protocol=protocol,
            training=training,
            prompts=prompts,
            settings=settings,
            device=device,
            batch_size=batch_size,
            workers=workers,
            cache=folder,
            on_error=on_error,
            per_image=per_image is not None,
            ranks=ranks,
            progress=progress,
        )
        if gathered is None:
            return
        report = report_of(gathered, seed=seed)
    if record is not None:
        _write_record(gathered, record, features=features[0], protocol=protocol, settings=settings, seed=seed)
    if per_image is not None:
        write_table(_rows_of_pictures(report), per_image, schema=CONTRIBUTIONS)
    if json_target:
        write_json(report.to_dict(), json_target)
    if json_target != "-":
        _print_table(report.results)
    _print_warnings(report.warnings)


def _check_record(record: Path | None, features: tuple[str, ...]) -> None:
    from paragone.cli.output import check_writable

    if record is None:
        return
    if record.suffix.lower() != ".json":
        raise UsageError(f"--record {record}: name a .json file; its arrays go beside it as .npz")
    if len(set(features)) > 1:
        raise UsageError(f"--record {record}: of which of {', '.join(features)}? A run record has one extractor")
    check_writable(str(record))


def _write_record(
    gathered: Gathered, record: Path, *, features: str, protocol: str, settings: Values, seed: int
) -> None:
    from paragone.metrics.recording import record_of
    from paragone.metrics.run_files import write_run
    from paragone.metrics.run_record import Recipe

    request = gathered.request
    names = [*(row.name for row in request.rows), *(row.name for row in request.of_pixels)]
    names += ["clip_score"] if request.captioned is not None else []
    write_run(record_of(gathered, Recipe(features, protocol, tuple(names), settings, seed)), record)


def _rows_of_pictures(report: MetricsReport) -> list[dict[str, Any]]:
    """What each picture contributes to fd, greatest first, with its prompt and clip_score; or these, lowest first."""
    scores = {row.name: row._asdict() for row in report.caption_scores}
    if not report.contributions:
        return list(scores.values())
    return [row._asdict() | scores.get(row.name, {}) for row in report.contributions]


def _print_table(results: tuple[MetricResult, ...]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from paragone.cli.output import stdout
    from paragone.cli.tables import print_table

    several = len({result.extractor for result in results if result.extractor is not None}) > 1
    table = Table("metric", *(["features"] if several else []), "better", box=None)
    for heading in ("value", "± SE", "95 % interval", "n gen.", "n ref."):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        table.add_row(
            result.metric,
            *([result.extractor or ""] if several else []),
            "higher" if result.higher_is_better else "lower",
            f"{result.value:.5g}",
            "" if result.standard_error is None else f"{result.standard_error:.2g}",
            "" if result.ci_low is None or result.ci_high is None else f"{result.ci_low:.3g} … {result.ci_high:.3g}",
            str(result.n_generated),
            "" if result.n_reference is None else str(result.n_reference),
        )
    print_table(table)
    for result in results:
        stdout.print(f"[dim]{escape(result.signature)}[/dim]", soft_wrap=True)


def _print_warnings(warnings: tuple[str, ...]) -> None:
    from rich.markup import escape

    from paragone.cli.output import stderr

    for line in warnings:
        stderr.print(f"warning: {escape(line)}", soft_wrap=True)
