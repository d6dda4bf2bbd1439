"""`paragone metrics`: generated pictures against a reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from paragone.cli.clip_options import ClipOptions, clip_options
from paragone.cli.extraction import extraction_options_of_several, feature_cache
from paragone.data.errors import UsageError
from paragone.data.records import metrics_document

CONTRIBUTIONS = "paragone.per-image/1"
PER_PICTURE = frozenset({"fd", "fid", "fvd", "clip_score"})  # of which each picture's part can be told

if TYPE_CHECKING:
    from paragone.data.records import MetricResult
    from paragone.metrics.item_measures import ItemReport
    from paragone.metrics.reporting import Gathered, MetricsReport
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
    help="A metric to compute; repeat it for more. Of features: fd (also called fid, fvd), fd_infinity, kid (kvd), "
    "cmmd, jedi, mind, vendi, inception_score, precision, recall, density, coverage, rarity; with --training also "
    "authenticity, near_duplicates, c_t; with --prompts also clip_score. Of pixels: psnr, ssim, ms_ssim (pairs with "
    "REF), colourfulness, sharpness, duplicates. Of text in pictures, with --prompts: cer, wer, text_exact. Of edits: "
    "docs/editing.md; of single clips: docs/video-measures.md. Without it: fd, kid, precision, recall, density, "
    "coverage, and of clips fd_infinity and jedi, as far as the two sides allow.",
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
@clip_options
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
@click.option(
    "--keep-frames",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="PROJECT",
    help="Keep what is measured of each clip, frame by frame, in this project folder, where the gallery shows it.",
)
@click.option(
    "--lpips",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A file of LPIPS's, for the measure lpips of edits: once for the backbone, once for the factors.",
)
@click.option(
    "--ocr",
    metavar="NAME",
    help="What reads the text in pictures, for cer, wer, text_exact: tesseract (the default) or module:attribute.",
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
    clips: ClipOptions,
    cache: Path | None,
    no_cache: bool,
    seed: int,
    per_image: Path | None,
    record: Path | None,
    keep_frames: Path | None,
    lpips: tuple[Path, ...],
    ocr: str | None,
    json_target: str | None,
) -> None:
    """Compare generated images or clips with a reference: FD, KID, FVD, precision, recall …

    GENERATED and REF are folders (read recursively), zip or tar files, .npz or .npy arrays of images, .txt lists of
    paths, .parquet files of pictures, or .npz files of feature statistics. Folders of videos or animations are clips:
    their metrics are fvd, fvd_infinity, kvd, jedi, those of features and those of single clips. A .csv or .jsonl table
    of edits gives measures of edits (docs/editing.md). Under torchrun, all processes share the work.
    """
    from paragone.cli.item_metrics import plan_items
    from paragone.cli.output import check_writable, progress_bars, write_json
    from paragone.cli.tables import check_table, write_table
    from paragone.metrics.compute import gather
    from paragone.metrics.distributed import ranks_of_this_run
    from paragone.metrics.reporting import report_of
    from paragone.metrics.settings import parse_settings

    with ranks_of_this_run() as ranks, progress_bars() as progress:
        with ranks.step():
            check_writable(json_target)
            check_table(per_image)
            _check_record(record, features)
            folder = feature_cache(cache, no_cache=no_cache)
            settings = parse_settings(set_options)
            plan, left = plan_items(generated, click.get_current_context().params, settings)
            if record is not None and plan is not None:
                raise UsageError(
                    f"--record {record}: measures of single clips and edits are not in it; write them with --per-image "
                    "and give them to paragone check as --scores"
                )
            reading = clips.reading(seed)
        gathered = report = None
        if plan is None or left:
            gathered = gather(
                generated,
                reference,
                metrics=left or None,
                features=features or None,
                weights=weights,
                protocol=protocol,
                training=training,
                prompts=prompts if plan is None or "clip_score" in left else None,
                settings={name: values for name, values in settings.items() if plan is None or name in left},
                device=device,
                batch_size=batch_size,
                workers=workers,
                cache=folder,
                on_error=on_error,
                clips=reading,
                per_image=per_image is not None and (plan is None or not PER_PICTURE.isdisjoint(left)),
                ranks=ranks,
                progress=progress,
            )
        if gathered is not None:
            report = report_of(gathered, seed=seed)
        items = plan(progress) if plan is not None and ranks.first else None
    if not ranks.first:
        return
    if record is not None and gathered is not None:
        _write_record(gathered, record, protocol=protocol, settings=settings, seed=seed, clips=clips)
    found = [one for one in (report, items) if one is not None]
    results = tuple(result for one in found for result in one.results)
    warnings = tuple(dict.fromkeys(line for one in found for line in one.warnings))
    if per_image is not None:
        write_table(_rows_of_items(report, items), per_image, schema=CONTRIBUTIONS)
    if json_target:
        write_json(metrics_document(results, warnings), json_target)
    if json_target != "-":
        _print_table(results)
    _print_warnings(warnings)


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
    gathered: Gathered, record: Path, *, protocol: str, settings: Values, seed: int, clips: ClipOptions
) -> None:
    from paragone.metrics.recording import record_of
    from paragone.metrics.run_files import write_run
    from paragone.metrics.run_record import Recipe

    request = gathered.request
    names = [*(row.name for row in request.rows), *(row.name for row in request.of_pixels)]
    names += ["clip_score"] if request.captioned is not None else []
    recipe = Recipe(request.features[0], protocol, tuple(names), settings, seed, clips.given())
    write_run(record_of(gathered, recipe), record)


def _rows_of_items(report: MetricsReport | None, items: ItemReport | None) -> list[dict[str, Any]]:
    """A row for each picture, clip or edit: its contribution to fd, its scores, whatever was asked for."""
    if report is None or not (report.contributions or report.caption_scores):
        return [] if items is None else list(items.items)
    of_items = {} if items is None else {row["name"]: row for row in items.items}
    return [row | of_items.get(row["name"], {}) for row in _rows_of_pictures(report)]


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
    for result in results:
        if controls := result.details.get("controls"):
            told = ", ".join(f"with frames {kind} {controls[kind]:.5g}" for kind in ("shuffled", "frozen"))
            stdout.print(
                f"controls of {result.metric}: the reference from itself ({controls['n']} clips) {told}", soft_wrap=True
            )


def _print_warnings(warnings: tuple[str, ...]) -> None:
    from rich.markup import escape

    from paragone.cli.output import stderr

    for line in warnings:
        stderr.print(f"warning: {escape(line)}", soft_wrap=True)
