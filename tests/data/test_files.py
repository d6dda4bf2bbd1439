"""A crash leaves the old file or the new one."""

import hashlib
from pathlib import Path

import pytest

from paragone.data import files


def test_the_content_arrives_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.bin"
    files.write_atomically(target, b"old")
    files.write_atomically(target, b"new", durable=True)
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]
    assert files.file_digest(target) == hashlib.sha256(b"new").hexdigest()


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file.bin"
    files.write_atomically(target, b"old")

    def disk_full(self: Path, other: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", disk_full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
