"""The root: exit codes, one line on stderr, nothing on stdout when it fails."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from paragone import __main__ as root
from paragone.data.errors import InputError, NotComparable


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, *arguments: str
) -> tuple[int, str]:
    """Exit code and stderr of `paragone fail`, a command that raises `error`."""

    @click.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(root.LazyGroup, "get_command", lambda self, ctx, name: fail)
    with pytest.raises(SystemExit) as exit_info:
        root.main([*arguments, "fail"])
    captured = capsys.readouterr()
    assert captured.out == ""
    return int(exit_info.value.code or 0), captured.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("a.png: cut short;\n  mend it"), 2),
        (NotComparable("different extractors"), 3),
        (RuntimeError("a defect"), 5),
        (KeyboardInterrupt(), 130),
        (click.UsageError("no such thing"), 2),
    ],
)
def test_every_error_is_one_line_and_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    exit_code, stderr = run(monkeypatch, capsys, error)
    assert exit_code == code
    line = stderr.lstrip("\n")  # click ends the line on which ^C was typed
    assert line.startswith("paragone: ")
    assert line.count("\n") == 1
    assert "Traceback" not in stderr


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, stderr = run(monkeypatch, capsys, InputError("a.png: cut short"), "--debug")
    assert code == 2
    assert "Traceback" in stderr


def paragone(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "paragone", *arguments], capture_output=True, text=True, cwd=cwd)


def test_help_lists_every_command() -> None:
    result = paragone("--help")
    assert result.returncode == 0
    for name, (_, summary) in root.COMMANDS.items():
        assert name in result.stdout
        assert summary.split(":")[0] in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["demo", "--sed", "3"], "--sed"),
        (["rate"], "VOTES"),
        (["metrics", "here", "--reference", "no-such-folder"], "no-such-folder"),
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], expected: str) -> None:
    result = paragone(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_working_folder_cannot_shadow_the_packages(tmp_path: Path) -> None:
    for name in ("metrics/__init__.py", "data.py", "arena.py", "judges.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('imported a stranger')")
    (tmp_path / "votes.csv").write_text("model_a,model_b,winner\nx,y,model_a\ny,x,model_a\n")
    result = paragone("rate", "votes.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_plugins_are_listed_and_checked() -> None:
    result = paragone("plugins", "--check")
    assert result.returncode == 0, result.stderr
    for name in ("gist", "inception", "digits"):
        assert name in result.stdout
