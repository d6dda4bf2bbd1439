"""`paragone weights`: pretrained weights on this machine."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
def weights() -> None:
    """List the pretrained weights that paragone knows, and verify them.

    They are looked for in $PARAGONE_HOME/weights (by default ~/.cache/paragone/weights). Nothing is downloaded unless
    you say `fetch`.
    """


@weights.command("list")
def list_weights() -> None:
    """List the weights that paragone knows, and where they are."""
    from paragone.cli.output import stdout
    from paragone.metrics.weights import KNOWN_WEIGHTS, weights_folder

    for known in KNOWN_WEIGHTS:
        path = weights_folder() / known.file_name
        lines = {
            "": known.name,
            "what": f"{known.source}; for --features {known.extractor}",
            "size": known.size,
            "sha256": known.sha256,
            "from": known.url,
            "file": f"{path} ({'here' if path.is_file() else 'not here'})",
        }
        for name, value in lines.items():
            stdout.print(f"  {name:8}{value}" if name else value, soft_wrap=True, markup=False)


@weights.command()
@click.argument("names", nargs=-1, metavar="[NAME…]")
@click.option("--weights", "file", type=click.Path(path_type=Path), metavar="FILE", help="Verify this file instead.")
def verify(names: tuple[str, ...], file: Path | None) -> None:
    """Compare weights with their known sha256: those in the cache, or FILE. Exits with 2 unless all are right."""
    from paragone.cli.output import stdout
    from paragone.data.errors import InputError, UsageError
    from paragone.metrics.weights import KNOWN_WEIGHTS, find_weights, known_weights, weights_folder

    here = [known for known in KNOWN_WEIGHTS if file is None and (weights_folder() / known.file_name).is_file()]
    rows = [known_weights(name) for name in names] or here or list(KNOWN_WEIGHTS)
    if file is not None and len(rows) != 1:
        raise UsageError("--weights FILE: say which weights it should be, NAME --weights FILE")
    for known in rows:
        found = find_weights(known, file)
        if not found.known:
            raise InputError(f"{found.path}: its sha256 is {found.sha256}, not {known.sha256} of {known.name}")
        stdout.print(f"{known.name}: {found.path} is right ({known.sha256})", soft_wrap=True, markup=False)


@weights.command()
@click.argument("name")
@click.option("--url", metavar="URL", help="Fetch from here instead; the content must be the same.")
def fetch(name: str, url: str | None) -> None:
    """Download the weights called NAME into the cache; kept only when size and sha256 are right."""
    from paragone.cli.output import progress_bars, stdout
    from paragone.metrics.weights import fetch_weights, known_weights

    known = known_weights(name)
    with progress_bars() as progress:
        path = fetch_weights(known, url=url, progress=progress)
    stdout.print(f"{known.name}: {path}", soft_wrap=True, markup=False)
