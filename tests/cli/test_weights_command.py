"""`paragone weights`: what is listed, verified and fetched, and with which exit code."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from paragone.__main__ import COMMANDS, main
from paragone.cli.weights import weights
from paragone.metrics import weights as table

CONTENT = b"weights"
NAME = table.INCEPTION.name


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as caught:
        main(["weights", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.out, captured.err


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The known weights, but with the content above; where they belong."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    known = replace(table.INCEPTION, sha256=digest, size_bytes=len(CONTENT))
    monkeypatch.setattr(table, "KNOWN_WEIGHTS", (known,))
    table.weights_folder().mkdir(parents=True)
    return table.weights_folder() / known.file_name


def test_list_says_what_is_known_and_whether_it_is_here(capsys: pytest.CaptureFixture[str], small: Path) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert f"{small} (not here)" in out
    small.write_bytes(CONTENT)
    code, out, _ = run(capsys, "list")
    assert f"{small} (here)" in out
    assert hashlib.sha256(CONTENT).hexdigest() in out


def test_verify(capsys: pytest.CaptureFixture[str], small: Path, tmp_path: Path) -> None:
    code, out, err = run(capsys, "verify")
    assert (code, out) == (2, "")
    assert str(small) in err
    small.write_bytes(CONTENT)
    code, out, _ = run(capsys, "verify", NAME)
    assert code == 0
    assert "is right" in out
    small.write_bytes(CONTENT + b"x")
    assert run(capsys, "verify")[0] == 2
    (tmp_path / "own.pth").write_bytes(CONTENT)
    assert run(capsys, "verify", NAME, "--weights", tmp_path / "own.pth")[0] == 0
    (tmp_path / "own.pth").write_bytes(b"")
    code, _, err = run(capsys, "verify", "--weights", tmp_path / "own.pth")
    assert code == 2
    assert "own.pth: its sha256 is" in err
    code, _, err = run(capsys, "verify", "dino")
    assert code == 2
    assert f"known: {NAME}" in err


def test_fetch_that_fails_exits_with_2_and_one_line(capsys: pytest.CaptureFixture[str], small: Path) -> None:
    code, out, err = run(capsys, "fetch", NAME, "--url", "http://127.0.0.1:9/x")
    assert (code, out) == (2, "")
    assert "download failed" in err
    assert err.count("\n") == 1
    small.write_bytes(CONTENT)
    code, out, _ = run(capsys, "fetch", NAME, "--url", "http://127.0.0.1:9/x")
    assert code == 0
    assert str(small) in out


def test_without_a_command_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys)
    assert code == 2
    assert "Missing command" in err
    assert (weights.help or "").splitlines()[0] == COMMANDS["weights"][1]
