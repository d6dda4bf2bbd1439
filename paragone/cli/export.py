"""`paragone export`: an arena, or its votes alone, as files."""

from __future__ import annotations

from pathlib import Path

import click

from paragone.arena.exporting import export_arena, export_votes
from paragone.arena.store import Store
from paragone.arena.transfer import FileFormat
from paragone.cli.output import progress_bars, stdout
from paragone.data.errors import UsageError
from paragone.data.project import Project


@click.command()
@click.argument("target", required=False, type=click.Path(path_type=Path))
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    show_default="here",
    help="Project folder.",
)
@click.option("--db", "url", metavar="URL", help="Database, a path or URL, instead of the project's arena.db.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    show_default=True,
    help="How the tables are written.",
)
@click.option("--media", is_flag=True, help="With the files of the samples.")
@click.option(
    "--pseudonymise",
    is_flag=True,
    help="Give people other names, of this export alone; the chain is made anew over them.",
)
@click.option(
    "--votes",
    "votes_target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the votes that count, alone, to a .csv, .jsonl or .parquet file, or as LMArena does to .json.",
)
def export(
    target: Path | None,
    folder: Path | None,
    url: str | None,
    file_format: FileFormat,
    media: bool,
    pseudonymise: bool,
    votes_target: Path | None,
) -> None:
    """Write an arena to a new folder or zip, or its votes to a file.

    TARGET is the folder or .zip. The same arena gives the same bytes; `paragone import` makes it whole again.
    """
    if target is None and votes_target is None:
        raise UsageError("say where to: a TARGET folder or zip, --votes FILE, or both")
    project = folder or Path()
    if media and url and folder is None:
        raise UsageError("--media takes the files out of a project folder; name it with --dir")
    with Store(url or Project.open(project).database) as store, progress_bars() as progress:
        if target is not None:
            manifest = export_arena(
                store,
                target,
                file_format=file_format,
                media=project if media else None,
                pseudonymise=pseudonymise,
                progress=progress,
            )
            held = ", ".join(
                f"{t['rows']:,} {name.replace('_', ' ')}" for name, t in manifest["tables"].items() if t["rows"]
            )
            stdout.print(f"{target}: {held or 'an empty arena'}", markup=False, soft_wrap=True)
            stdout.print(f"the last vote's digest: {manifest['heads']['votes']}", markup=False, soft_wrap=True)
        if votes_target is not None:
            written = export_votes(store, votes_target, pseudonymise=pseudonymise)
            stdout.print(f"{votes_target}: {written:,} votes", markup=False, soft_wrap=True)
