"""Is an arena sound? The database, the chain of votes, the kept ratings, and the files that samples are in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from paragone.arena.snapshots import check_snapshots
from paragone.arena.store import Store
from paragone.data.files import file_digest
from paragone.data.media import MediaFolder
from paragone.data.progress import Progress, silent

RESET_BUG_FIXED = (3, 51, 3)  # sqlite.org/wal.html#walresetbug


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: problems must be mended, notes only known."""

    check: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def examine(store: Store, folder: Path | None, *, progress: Progress = silent) -> Iterator[Finding]:
    """Run every check and yield what each found; `folder` is the project's (None: do not look at files)."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("database", lambda: Finding("database", tuple(store.verify()), tuple(_engine_notes(store)))),
        ("kept ratings", lambda: Finding("kept ratings", tuple(check_snapshots(store)))),
    ]
    if folder is not None:
        checks.append(("samples", lambda: Finding("samples", *_sample_files(store, folder, progress))))
        checks.append(("media", lambda: Finding("media", tuple(_media(folder)))))
    for _, check in checks:
        yield check()


def _engine_notes(store: Store) -> Iterator[str]:
    if store.path is None:
        return
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < RESET_BUG_FIXED:
        yield (
            f"SQLite {version} can corrupt a database when a checkpoint races with a write; paragone's writers take "
            f"turns by {store.path.name}-lock, which prevents it. Do not write with other programs while it runs"
        )
    else:
        yield f"SQLite {version}"


def _sample_files(store: Store, folder: Path, progress: Progress) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Missing or changed files of samples are problems; files that no sample names are notes."""
    problems = []
    samples = store.samples()
    named = {sample.path for sample in samples}
    for number, sample in enumerate(samples, 1):
        path = folder / sample.path
        if not path.is_file():
            problems.append(f"{sample.path}: the sample of {sample.model!r} for {sample.prompt_id!r} is missing")
        elif file_digest(path) != sample.sha256:
            problems.append(f"{sample.path}: is not the file that was stored; votes were given on another picture")
        progress("check samples", number, len(samples))
    held = {p.relative_to(folder).as_posix() for p in MediaFolder(folder).folder.rglob("*") if p.is_file()}
    orphans = sorted(held - named)
    notes = (f"{len(orphans)} files in media/ belong to no sample, the first being {orphans[0]}",) if orphans else ()
    return tuple(problems), notes


def _media(folder: Path) -> Iterator[str]:
    for path in MediaFolder(folder).damaged():
        yield f"{path.relative_to(folder)}: its content is not what its name says; restore it from a backup"
