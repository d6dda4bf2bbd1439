"""`paragone provenance`: what files say of where they come from, for samples and for pictures of a reference set."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from paragone.arena.store import Store
from paragone.cli.output import check_writable, progress_bars, stderr, stdout, write_json
from paragone.cli.tables import cell_table, print_table, printable
from paragone.data.errors import InputError, UsageError
from paragone.data.image_containers import EXTENSIONS, OTHER_PICTURES, ArrayPictures, natural_key, open_container
from paragone.data.images import read_images
from paragone.data.progress import Progress
from paragone.data.project import Project
from paragone.data.provenance import ABSENCE, NEEDS_EXTRA, ProvenanceReader, check_file
from paragone.data.records import Provenance, ProvenanceState, Sample
from paragone.data.watermark import Null

SCHEMA = "paragone.provenance/1"
CLIPS = frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv"})
LISTED = 40  # files in the printed table; the JSON has all
BATCH = 500  # results to a transaction
FAILURES: dict[str, Callable[[Provenance], bool]] = {
    "ai": lambda found: found.says_ai or has_watermark(found),
    "invalid": lambda found: found.state is ProvenanceState.INVALID,
    "unreadable": lambda found: found.state is ProvenanceState.UNREADABLE,
    "unverified": lambda found: found.state is not ProvenanceState.TRUSTED,
}


@dataclass(frozen=True, slots=True)
class File:
    """One file to look at; `model` is that of a project's sample."""

    name: str
    read: Callable[[], bytes]
    sample: Sample | None = None


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Look at the samples of this project folder, and store what was found for its pages.",
)
@click.option(
    "--anchors",
    type=click.Path(dir_okay=False, path_type=Path),
    help="PEM file of root certificates whose signers are trusted, besides those that c2pa-python knows.",
)
@click.option("--watermark", is_flag=True, help="Also look for the watermarks of Stable Diffusion, SDXL and FLUX.")
@click.option(
    "--null",
    "unmarked",
    metavar="SOURCE",
    type=click.Path(path_type=Path),
    help="At least 20 pictures like these without any watermark: how far bits agree by chance is learned from them.",
)
@click.option(
    "--fail-on",
    multiple=True,
    type=click.Choice(list(FAILURES)),
    help="Exit 1 when a file is so, repeatable. 'ai': says that a model made it, or hides a known watermark; "
    "'unverified': anything but trusted.",
)
@click.option(
    "--json", "json_target", metavar="FILE|-", help="Write all results as JSON; with - nothing else is printed."
)
def provenance(
    paths: tuple[Path, ...],
    folder: Path | None,
    anchors: Path | None,
    watermark: bool,
    unmarked: Path | None,
    fail_on: tuple[str, ...],
    json_target: str | None,
) -> None:
    """Say where pictures and clips come from, by their C2PA manifest, metadata and watermark.

    PATHS are files, folders, zips, tars and lists; or give --dir for the samples of a project.
    """
    check_writable(json_target)
    if bool(paths) == (folder is not None):
        raise UsageError("name files or folders to look at, or a project with --dir (one of the two)")
    if unmarked is not None and not watermark:
        raise UsageError("--null is about watermarks; add --watermark")
    reader = ProvenanceReader(anchors)
    files = list(_samples_of(folder)) if folder is not None else [file for path in paths for file in _files_of(path)]
    with progress_bars() as progress:
        null = None if unmarked is None else _null_of(unmarked, progress)
        results = list(_look(files, reader, watermark=watermark, null=null, progress=progress))
    if folder is not None:
        with Store(Project.open(folder).database) as store:
            for start in range(0, len(results), BATCH):
                store.add_provenance(results[start : start + BATCH])
    failed = [kind for kind in fail_on if any(map(FAILURES[kind], results))]
    if json_target:
        write_json(_document(files, results, reader, failed, watermark=watermark), json_target)
    if json_target != "-":
        _print(files, results, reader, watermark=watermark)
    for kind in failed:
        n = sum(map(FAILURES[kind], results))
        stderr.print(f"--fail-on {kind}: {n} of {len(results)} files", markup=False, soft_wrap=True)
    if failed:
        sys.exit(1)


def has_watermark(found: Provenance) -> bool:
    """Whether a known watermark was found past doubt."""
    return bool(found.watermarks and found.watermarks[0].found)


def _samples_of(folder: Path) -> Iterator[File]:
    project = Project.open(folder)
    with Store(project.database) as store:
        samples = store.samples()
    if not samples:
        raise InputError(f"{folder}: the project has no samples yet")
    for sample in samples:
        yield File(sample.path, (project.folder / sample.path).read_bytes, sample)


def _files_of(path: Path) -> Iterator[File]:
    """The pictures and clips at a path; raises `InputError` when there are none."""
    if path.is_dir():
        found = sorted(
            (file for file in path.rglob("*") if file.is_file() and _is_media(file) and ".cache" not in file.parts),
            key=lambda file: natural_key(file.as_posix()),
        )
        if not found:
            raise InputError(f"{path}: holds no pictures and no clips")
        yield from (File(str(file), file.read_bytes) for file in found)
    elif _is_media(path):
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        yield File(str(path), path.read_bytes)
    else:
        container, warnings = open_container(path)
        if isinstance(container, ArrayPictures):
            raise InputError(
                f"{path}: arrays of pixels say nothing of their origin; give the files they were made from"
            )
        for warning in warnings:
            stderr.print(warning, markup=False, soft_wrap=True)
        for index, name in enumerate(container.names):
            yield File(f"{container.prefix}{name}", _content(container, index))


def _content(container: Any, index: int) -> Callable[[], bytes]:
    return lambda: bytes(container.content(index))


def _is_media(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS | OTHER_PICTURES | CLIPS


def _null_of(source: Path, progress: Progress) -> Null:
    pictures = read_images(source)

    def pixels() -> Iterator[Any]:
        for number, picture in enumerate(pictures, 1):
            yield picture.pixels
            progress("unmarked pictures", number, len(pictures))

    return Null.fit(pixels())


def _look(
    files: Sequence[File], reader: ProvenanceReader, *, watermark: bool, null: Null | None, progress: Progress
) -> Iterator[Provenance]:
    for number, file in enumerate(files, 1):
        try:
            content = file.read()
        except OSError as error:
            raise InputError(f"{file.name}: cannot be read: {error.strerror}") from error
        found = check_file(content, file.name, reader, watermarks=watermark, null=null)
        if file.sample is not None and found.sha256 != file.sample.sha256:
            raise InputError(f"{file.name}: is not the file that was stored; see: paragone doctor")
        yield found
        progress("look at files", number, len(files))


def _document(
    files: Sequence[File],
    results: Sequence[Provenance],
    reader: ProvenanceReader,
    failed: list[str],
    *,
    watermark: bool,
) -> dict[str, Any]:
    rows = []
    for file, found in zip(files, results, strict=True):
        model = {} if file.sample is None else {"model": file.sample.model, "sample": file.sample.id}
        rows.append({"file": file.name, **model, **asdict(found), "says_ai": found.says_ai})
    return {
        "schema": SCHEMA,
        "verified": reader.verifies,
        "anchors": reader.anchors,
        "watermarks_sought": watermark,
        "counts": {str(state): n for state, n in _counts(results).items()},
        "n_says_ai": sum(found.says_ai for found in results),
        "n_watermarked": sum(map(has_watermark, results)),
        "failed": failed,
        "files": rows,
        "note": ABSENCE,
    }


def _counts(results: Sequence[Provenance]) -> dict[ProvenanceState, int]:
    counts = Counter(found.state for found in results)
    return {state: counts[state] for state in ProvenanceState if counts[state]}


def _print(files: Sequence[File], results: Sequence[Provenance], reader: ProvenanceReader, *, watermark: bool) -> None:
    states = ", ".join(f"{n:,} {state}" for state, n in _counts(results).items())
    said = f"{sum(found.says_ai for found in results):,} say that a model made them"
    hidden = f"; {sum(map(has_watermark, results)):,} hide a known watermark" if watermark else ""
    stdout.print(f"{len(results):,} files: {states}; {said}{hidden}.", markup=False, soft_wrap=True)
    telling = [(file, found) for file, found in zip(files, results, strict=True) if _tells(found)]
    if telling:
        rows = [_row(file, found, watermark=watermark) for file, found in telling[:LISTED]]
        headings = ["file", *(["model"] if files[0].sample else []), "C2PA", "source type", "signed as"]
        headings += ["watermark"] if watermark else []
        print_table(cell_table(headings, rows, left=tuple(headings)))
        if len(telling) > LISTED:
            stdout.print(f"… and {len(telling) - LISTED:,} more (--json has all)", markup=False)
    if not reader.verifies and any(found.state is ProvenanceState.NOT_CHECKED for found in results):
        stdout.print(NEEDS_EXTRA, markup=False, soft_wrap=True)
    stdout.print(ABSENCE, style="dim", markup=False, soft_wrap=True)


def _tells(found: Provenance) -> bool:
    return found.state is not ProvenanceState.ABSENT or found.source_type is not None or has_watermark(found)


def _row(file: File, found: Provenance, *, watermark: bool) -> list[str]:
    where = "" if found.source_in != "xmp" else " (metadata)"
    cells = [file.name, *([file.sample.model] if file.sample else []), str(found.state)]
    cells += [f"{found.source_type}{where}" if found.source_type else "–", found.signer or "–"]
    if watermark:
        best = found.watermarks[0] if found.watermarks else None
        cells.append("–" if best is None else f"{best.payload}, p = {best.p_value:.1g}" if best.found else "none found")
    return list(map(printable, cells))
