"""`paragone compare`: two results files, or two sets of generated pictures against one reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from paragone.cli.clip_options import ClipOptions, clip_options
from paragone.cli.extraction import extraction_options, feature_cache
from paragone.data.errors import UsageError

if TYPE_CHECKING:
    from paragone.metrics.comparison import Compared, Comparison


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--reference", metavar="REF", help="What both are measured against: pictures, or statistics (.npz).")
@click.option(
    "--metric",
    "metric_names",
    multiple=True,
    metavar="NAME",
    help="A metric of two sets to compare; repeat it for more. Without it: those of `paragone metrics`.",
)
@extraction_options
@clip_options
@click.option("--cache", type=click.Path(path_type=Path), metavar="DIR", help="Keep features in this folder.")
@click.option("--no-cache", is_flag=True, help="Keep no features. By default they go to $PARAGONE_HOME/features.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random subsets, splits and halves.")
@click.option("--json", "json_target", metavar="FILE|-", help="Write the comparison as JSON to FILE; - is stdout.")
def compare(
    a: str,
    b: str,
    reference: str | None,
    metric_names: tuple[str, ...],
    features: str | None,
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
    json_target: str | None,
) -> None:
    """Compare two results files, or two generated sets against one reference.

    A and B are files that `paragone metrics --json` wrote; or, with --reference, two sets of pictures, whose Fréchet
    distances are then tested, pair by pair when their file names (or the prompts and seeds of their manifests) pair
    up. Differences are B - A. Nothing is gated: the exit code is 0 whatever the difference.
    """
    from paragone.cli.output import check_writable, progress_bars, write_json
    from paragone.metrics.comparison import compare_results, compare_sets
    from paragone.metrics.distributed import ranks_of_this_run

    with ranks_of_this_run() as ranks, progress_bars() as progress:
        with ranks.step():
            check_writable(json_target)
            are_results = _are_results(a, b, reference)
            folder = feature_cache(cache, no_cache=no_cache)
            reading = clips.reading(seed)
            comparison = compare_results(Path(a), Path(b)) if are_results else None
        if comparison is None:
            assert reference is not None
            comparison = compare_sets(
                a,
                b,
                reference,
                metrics=metric_names or None,
                features=features,
                weights=weights,
                protocol=protocol,
                device=device,
                batch_size=batch_size,
                workers=workers,
                cache=folder,
                on_error=on_error,
                clips=reading,
                seed=seed,
                ranks=ranks,
                progress=progress,
            )
    if not ranks.first:
        return
    if json_target:
        write_json(comparison.to_dict(), json_target)
    if json_target != "-":
        _print_table(comparison)
    _print_warnings(comparison.warnings)


def _are_results(a: str, b: str, reference: str | None) -> bool:
    """Whether two results files are given; raises `UsageError` for a mixture, or for sets without a reference."""
    files = [Path(given).suffix.lower() == ".json" for given in (a, b)]
    if files[0] != files[1]:
        raise UsageError(f"{a} and {b}: give two results files (.json), or two sets of pictures")
    if files[0] and reference is not None:
        raise UsageError("--reference is for two sets of pictures; results files have had theirs: leave it out")
    if not files[0] and reference is None:
        raise UsageError("two sets of pictures are compared against a reference; name it with --reference")
    return files[0]


def _print_table(comparison: Comparison) -> None:
    from rich.markup import escape
    from rich.table import Table

    from paragone.cli.output import stdout
    from paragone.cli.tables import print_table

    table = Table("metric", "better", box=None)
    for heading in ("A", "± SE", "B", "± SE", "B - A", "± SE", "95 % interval", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in comparison.rows:
        table.add_row(*_cells(row))
    print_table(table)
    lines = [f"A: {comparison.a}", f"B: {comparison.b}", *([comparison.pairing] if comparison.pairing else [])]
    lines += [
        f"{row.metric}: B - A is corrected by {row.bias_correction:+.3g} for the bias of finite n"
        for row in comparison.rows
        if row.bias_correction is not None
    ]
    for line in lines:
        stdout.print(f"[dim]{escape(line)}[/dim]", soft_wrap=True)


def _cells(row: Compared) -> list[str]:
    def number(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:.{digits}g}"

    return [
        row.metric,
        "higher" if row.higher_is_better else "lower",
        number(row.value_a, 5),
        number(row.standard_error_a, 2),
        number(row.value_b, 5),
        number(row.standard_error_b, 2),
        f"{row.difference:+.3g}",
        number(row.standard_error, 2),
        "" if row.ci_low is None else f"{row.ci_low:.3g} … {row.ci_high:.3g}",
        "< 1e-16" if row.p_value is not None and row.p_value < 1e-16 else number(row.p_value, 2),
    ]


def _print_warnings(warnings: tuple[str, ...]) -> None:
    from paragone.cli.output import stderr

    for line in warnings:
        stderr.print(f"warning: {line}", soft_wrap=True, markup=False)
