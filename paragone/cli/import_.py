"""`paragone import`: an exported arena, or a file of votes, into an arena."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from paragone.arena.import_results import import_results
from paragone.arena.import_votes import import_votes
from paragone.arena.importing import Imported, import_arena
from paragone.arena.store import Store
from paragone.arena.store_engine import database_target
from paragone.arena.transfer import is_package
from paragone.cli.output import check_writable, progress_bars, stdout, write_json
from paragone.data.errors import InputError
from paragone.data.project import Project
from paragone.data.records import Task

SCHEMA = "paragone.import/1"


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    show_default="here",
    help="Project folder; it is made when there is none.",
)
@click.option("--db", "url", metavar="URL", help="Database, a path or URL, instead of the project's arena.db.")
@click.option(
    "--task",
    type=click.Choice([str(task) for task in Task]),
    default=str(Task.TEXT_TO_IMAGE),
    show_default=True,
    help="What the prompts of a file of votes ask for.",
)
@click.option(
    "--model",
    metavar="NAME",
    help="SOURCE is results of metrics for this model: of `paragone metrics --json`, or VBench's *_eval_results.json.",
)
@click.option(
    "--json", "json_target", metavar="FILE|-", help="Write what was done as JSON; with - nothing else is printed."
)
def import_(
    source: Path, folder: Path | None, url: str | None, task: str, model: str | None, json_target: str | None
) -> None:
    """Add an exported arena, a file of votes, or a model's results of metrics, to an arena.

    SOURCE is what `paragone export` wrote, or votes as csv, json, jsonl or parquet (ours, LMArena's, FastChat's …), or
    with --model results of metrics, ours or VBench's.
    Everything comes in or nothing does, and the same SOURCE again changes nothing.
    """
    check_writable(json_target)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    project = folder or Path()
    media = project if folder is not None or not url else None
    with _arena(url or str(Project(project).database)) as store, progress_bars() as progress:
        if model is not None:
            done = import_results(store, source, model=model)
        elif is_package(source):
            done = import_arena(store, source, project=media, progress=progress)
        else:
            done = import_votes(store, source, task=Task(task), progress=progress)
    if json_target:
        document = {"schema": SCHEMA, "new": dict(+done.new), "present": dict(+done.present), "notes": done.notes}
        write_json(document, json_target)
    if json_target != "-":
        _print(source, done)


@contextmanager
def _arena(url: str) -> Iterator[Store]:
    """The arena to import into; a file that was made for an import which fails is taken away again."""
    target = database_target(url)
    made = isinstance(target, Path) and not target.exists()
    try:
        with Store(url, create=True) as store:
            yield store
    except BaseException:
        if made and isinstance(target, Path):
            for suffix in ("", "-wal", "-shm", "-lock"):
                target.with_name(target.name + suffix).unlink(missing_ok=True)
        raise


def _print(source: Path, done: Imported) -> None:
    new = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in done.new.items() if n)
    stdout.print(f"{source}: {f'added {new}' if new else 'nothing new'}", markup=False, soft_wrap=True)
    if present := ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in done.present.items() if n):
        stdout.print(f"there already: {present}", markup=False, soft_wrap=True)
    for note in done.notes:
        stdout.print(f"! {note}", style="yellow", markup=False, soft_wrap=True)
