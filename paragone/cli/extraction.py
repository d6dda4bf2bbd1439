"""The options of every command that turns pictures into features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from paragone.data.errors import UsageError

C = TypeVar("C", bound=Callable[..., Any])

_KNOWN = (
    "of pictures gist (no weights), inception (FID's network), dinov2, clip, digits; of clips gist3d (no weights), "
    "i3d, videomae, vjepa; or module:attribute. By default gist or gist3d, or what a --protocol for clips is of."
)
_OPTIONS = (
    click.option(
        "--features",
        metavar="NAME",
        help=f"The feature extractor: {_KNOWN}",
    ),
    click.option(
        "--weights",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The extractor's weights; of some, a model folder.",
    ),
    click.option(
        "--protocol",
        default="paragone",
        show_default=True,
        metavar="NAME",
        help="How pictures are resized and normalised: paragone, or as another tool does it (docs/extractors.md).",
    ),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda", "mps"]),
        default="auto",
        show_default=True,
        help="auto: CUDA where there is one, otherwise the CPU.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=32,
        show_default=True,
        help="Pictures at once on a GPU. A CPU always takes 16, so that features do not depend on this.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=0),
        default=1,
        show_default=True,
        help="Threads that decode ahead; 0 for none.",
    ),
    click.option(
        "--on-error",
        type=click.Choice(["raise", "skip"]),
        default="raise",
        show_default=True,
        help="At an unreadable picture: stop, or leave it out with a warning that names it.",
    ),
)


_SEVERAL = click.option(
    "--features",
    multiple=True,
    metavar="NAME",
    help=f"An extractor: {_KNOWN} Repeat it for more; each picture is then decoded once for all.",
)


def extraction_options(command: C) -> C:
    """Add the options to a command, in the order of the table."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def reading_options(command: C) -> C:
    """The same options without `--features` and `--protocol`, for commands that know these already."""
    for option in reversed((_OPTIONS[1], *_OPTIONS[3:])):
        command = option(command)
    return command


def extraction_options_of_several(command: C) -> C:
    """The same options, with a `--features` that may be repeated."""
    for option in reversed((_SEVERAL, *_OPTIONS[1:])):
        command = option(command)
    return command


def feature_cache(cache: Path | None, *, no_cache: bool) -> Path | None:
    """The folder that --cache and --no-cache ask for; by default `$PARAGONE_HOME/features`."""
    from paragone.metrics.weights import paragone_home

    if cache is not None and no_cache:
        raise UsageError("--cache and --no-cache exclude each other; leave one out")
    return None if no_cache else cache or paragone_home() / "features"
