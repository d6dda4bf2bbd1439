"""`paragone stats`: make, merge and show files of feature statistics.

`paragone stats SOURCE -o F.npz` is short for `paragone stats make SOURCE -o F.npz`. A folder that is called by the name
of a subcommand is written ./make, ./merge or ./show.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from paragone.cli.clip_options import ClipOptions, clip_options
from paragone.cli.extraction import extraction_options
from paragone.data.errors import NotComparable, UsageError

if TYPE_CHECKING:
    from paragone.metrics.feature_statistics import FeatureStatistics


class SourceGroup(click.Group):
    """A group whose first argument may also be a source or an option: then its command `make` is meant."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `make` in front of arguments that begin with neither a subcommand nor --help."""
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["make", *args]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What the usage line says."""
        return ["[make] SOURCE -o FILE [OPTIONS] | merge FILE FILE… -o FILE | show FILE"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of `make`, then the subcommands."""
        with formatter.section("Options of make"):
            parameters = self.commands["make"].get_params(ctx)
            formatter.write_dl([record for parameter in parameters if (record := parameter.get_help_record(ctx))])
        self.format_commands(ctx, formatter)


@click.group(cls=SourceGroup, context_settings={"help_option_names": ["-h", "--help"]})
def stats() -> None:
    """Make, merge and show feature statistics files.

    SOURCE is a folder (read recursively) of pictures or clips, a zip or tar file, an .npz or .npy array, or a .txt
    list. The statistics (number, mean and scatter of the features) can stand for it wherever fd is computed.
    """


_OUTPUT = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The .npz file to write."
)


@stats.command()
@click.argument("source")
@_OUTPUT
@extraction_options
@clip_options
@click.option("--seed", type=int, default=0, show_default=True, help="Of --sampling random and --clips.")
@click.option("--shard", metavar="I/K", help="Only every K-th picture from the I-th on; merge the K files afterwards.")
def make(
    source: str,
    output: Path,
    features: str | None,
    weights: Path | None,
    protocol: str,
    device: str,
    batch_size: int,
    workers: int,
    on_error: Literal["raise", "skip"],
    clips: ClipOptions,
    seed: int,
    shard: str | None,
) -> None:
    """Make the statistics of SOURCE; the word `make` may be left out. Under torchrun, all processes share the work."""
    from paragone.cli.output import check_writable, progress_bars, stderr
    from paragone.data.videos import VideoSource
    from paragone.metrics.clip_protocols import default_features
    from paragone.metrics.distributed import extract_statistics_together, ranks_of_this_run
    from paragone.metrics.features import ExtractionOptions, open_extractor
    from paragone.metrics.inputs import open_samples

    with ranks_of_this_run() as ranks, progress_bars() as progress:
        with ranks.step():
            check_writable(str(output))
            options = ExtractionOptions(device, batch_size, workers)
            reading = clips.reading(seed)
            pictures = open_samples(source, on_error=on_error, clips=reading)
            rule = pictures.rule if isinstance(pictures, VideoSource) else None
            if shard is not None:
                pictures = pictures.shard(*_parse_shard(shard))
            extractor = open_extractor(
                features or default_features(rule, protocol), weights=weights, protocol=protocol, rule=rule
            )
        found = extract_statistics_together(
            pictures, extractor, options, task="features", ranks=ranks, progress=progress
        )
    if found is None:
        return
    found.save(output)
    for line in (*extractor.warnings, *pictures.warnings):
        stderr.print(f"warning: {line}", soft_wrap=True, markup=False)
    _print_statistics(output)


@stats.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE FILE…")
@_OUTPUT
def merge(files: tuple[Path, ...], output: Path) -> None:
    """Merge statistics of disjoint sets (shards, classes) into those of all their pictures."""
    from functools import reduce

    from paragone.cli.output import check_writable
    from paragone.metrics.feature_statistics import FeatureStatistics

    check_writable(str(output))
    if len(files) < 2:
        raise UsageError("merge takes at least two files")
    loaded = [FeatureStatistics.load(path) for path in files]
    for path, one in zip(files[1:], loaded[1:], strict=True):
        if (one.extractor, one.protocol, one.dim) != (loaded[0].extractor, loaded[0].protocol, loaded[0].dim):
            raise NotComparable(f"{path}: is of {_described(one)}, but {files[0]} of {_described(loaded[0])}")
    reduce(FeatureStatistics.merge, loaded).save(output)
    _print_statistics(output)


@stats.command()
@click.argument("file", type=click.Path(path_type=Path))
def show(file: Path) -> None:
    """Show what a statistics file is of."""
    _print_statistics(file)


def _parse_shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None:
        raise UsageError(f"--shard {text}: write I/K, for example 1/4")
    return int(found[1]), int(found[2])


def _described(statistics: FeatureStatistics) -> str:
    extractor, protocol = statistics.extractor or "an unknown extractor", statistics.protocol or "unknown"
    return f"{extractor}, protocol {protocol}, {statistics.dim} dimensions"


def _print_statistics(path: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    from paragone.cli.output import stdout
    from paragone.metrics.statistics_files import load_statistics

    statistics = load_statistics(path)
    table = Table(box=None, show_header=False)
    for name, value in {
        "file": str(path),
        "pictures": "unknown (another tool's file)" if statistics.n is None else f"{statistics.n:,}",
        "dimensions": f"{statistics.dim:,}",
        "extractor": statistics.extractor or "unknown",
        "protocol": statistics.protocol or "unknown",
    }.items():
        table.add_row(name, escape(value))
    stdout.print(table, soft_wrap=True)
