"""`paragone doctor`: is the arena sound, and what to do when it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from paragone.arena.doctor import Finding, examine
from paragone.arena.migrate import upgrade as upgrade_database
from paragone.arena.store import Store
from paragone.cli.output import check_writable, progress_bars, stdout, write_json
from paragone.data.project import Project

SCHEMA = "paragone.doctor/1"


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    show_default="here",
    help="Project folder.",
)
@click.option("--db", "url", metavar="URL", help="Database, a path or URL, instead of the project's arena.db.")
@click.option("--upgrade", is_flag=True, help="First bring a database of an older paragone up to date.")
@click.option(
    "--backup",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a whole copy of the database to a new file, also while it is in use.",
)
@click.option(
    "--json", "json_target", metavar="FILE|-", help="Write the findings as JSON; with - nothing else is printed."
)
def doctor(folder: Path | None, url: str | None, upgrade: bool, backup: Path | None, json_target: str | None) -> None:
    """Check that an arena is whole: database, votes, kept ratings, files.

    Exit 0 when all is sound, 1 when something is not. Nothing is changed without --upgrade.
    """
    check_writable(json_target)
    project = Project(folder or Path())
    target = url or str(project.database)
    quiet = json_target == "-"
    if upgrade:
        done = upgrade_database(target)
        if not quiet:
            _say_upgraded(done.before, done.after, done.backup)
    if not url:
        Project.open(project.folder)
    files = project.folder if folder is not None or not url else None
    with Store(target) as store:
        if backup is not None:
            store.backup(backup)
            if not quiet:
                stdout.print(f"backup: {backup}", markup=False, soft_wrap=True)
        with progress_bars() as progress:
            findings = list(examine(store, files, progress=progress))
        counts = store.counts()
    if json_target:
        write_json(_document(target if not url else store.name, counts, findings), json_target)
    if not quiet:
        _print(counts, findings)
    if any(finding.problems for finding in findings):
        sys.exit(1)


def _say_upgraded(before: int, after: int, backup: Path | None) -> None:
    if before == after:
        stdout.print(f"schema version {after}: nothing to upgrade", markup=False)
        return
    kept = f"; as it was: {backup}" if backup else ""
    stdout.print(f"schema version {before} -> {after}{kept}", markup=False, soft_wrap=True)


def _document(name: str, counts: dict[str, int], findings: list[Finding]) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "database": name,
        "sound": not any(finding.problems for finding in findings),
        "counts": counts,
        "checks": [
            {"check": finding.check, "problems": list(finding.problems), "notes": list(finding.notes)}
            for finding in findings
        ],
    }


def _print(counts: dict[str, int], findings: list[Finding]) -> None:
    held = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n)
    stdout.print(held or "an empty arena", markup=False, soft_wrap=True)
    for finding in findings:
        stdout.print(_summary(finding), markup=False)
        for text in finding.problems:
            stdout.print(f"  ! {text}", style="red", markup=False, soft_wrap=True)
        for text in finding.notes:
            stdout.print(f"  {text}", style="dim", markup=False, soft_wrap=True)


def _summary(finding: Finding) -> str:
    n = len(finding.problems)
    return f"{finding.check}: {n} problem{'s' * (n != 1)}" if n else f"{finding.check}: sound"
