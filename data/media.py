"""Media by content: a file is named by the sha256 of its bytes, so that it is there once, whole, and never another.

Writing is temporary file, fsync, rename, fsync of the folder: after a crash a name leads to its whole content or to
nothing. What cannot be trusted from outside (a path) never becomes part of a name.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from paragone.data.errors import InputError
from paragone.data.files import file_digest, write_atomically

_NAME = re.compile(r"[0-9a-f]{64}(\.[a-z0-9]{1,5})?")


class MediaFolder:
    """`media/` of a project folder; a file lies under the first two pairs of digits of its name."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.folder = project / "media"

    def put(self, content: bytes, *, suffix: str) -> str:
        """Store bytes and return their path relative to the project. Putting them again changes nothing."""
        digest = hashlib.sha256(content).hexdigest()
        name = f"{digest}{suffix.lower()}"
        if not _NAME.fullmatch(name):
            raise InputError(f"{suffix!r} is not the ending of a media file")
        path = self.folder / digest[:2] / digest[2:4] / name
        if not (path.is_file() and file_digest(path) == digest):
            write_atomically(path, content, durable=True)
            _sync_folder(path.parent)
        return path.relative_to(self.project).as_posix()

    def damaged(self) -> Iterator[Path]:
        """Files whose content is not what their name says, and leftovers of a crash."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and not (_NAME.fullmatch(path.name) and file_digest(path) == path.stem):
                yield path


def _sync_folder(folder: Path) -> None:
    """Wait until the disk knows the folder's new entry (not everywhere possible)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
