"""`paragone serve`: fails early and in one line, answers on the port it was given, ends cleanly on Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest

import paragone
from paragone.__main__ import main
from paragone.arena.store import Store
from paragone.arena.ui import SERVER_OPTIONS
from paragone.cli.serve import Front, server_command


@pytest.fixture
def project(tmp_path: Path) -> Path:
    Store(tmp_path / "arena.db", create=True).close()
    return tmp_path


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["serve", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_port_in_use(project: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert run("--dir", project, "--port", str(port)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"port {port} of 127.0.0.1 is in use; choose another with --port" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dir", "nowhere"], "nowhere: not a project folder"),
        (["--db", "gone.db"], "gone.db: no such database"),
        (["--db", "mysql://host/x"], "only SQLite"),
        (["--port", "0"], "--port"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_foreign_address(project: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dir", project, "--port", str(port), "--address", "203.0.113.7") == 2
    assert "203.0.113.7" in capsys.readouterr().err


def test_demo_folder_is_found(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paragone.cli.serve import _default_folder

    (project / "paragone-demo").mkdir()
    (project / "arena.db").rename(project / "paragone-demo" / "arena.db")
    monkeypatch.chdir(project)
    assert _default_folder() == Path("paragone-demo")
    monkeypatch.chdir(project / "paragone-demo")
    assert _default_folder() == Path()


def test_only_loopback_names_on_loopback() -> None:
    def names(front: Front) -> list[str] | None:
        return json.loads(server_command(front, headless=True)[-1]).get("server.allowedHosts")

    assert names(Front()) == ["127.0.0.1", "::1", "localhost"]
    assert names(Front("0.0.0.0")) is None
    assert names(Front("0.0.0.0", hosts=("arena.example",))) == ["127.0.0.1", "::1", "localhost", "arena.example"]


def test_password_is_never_in_the_command_or_environment(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("correct horse\n")
    front = Front(password_file=path)
    told = [*server_command(front, headless=True), *front.environment().values()]
    assert not any("correct horse" in text for text in told)
    assert str(path) in told


def test_no_proxy_is_believed_unless_named() -> None:
    assert Front().environment() == {"FORWARDED_ALLOW_IPS": "none"}
    assert Front(proxies=("10.0.0.0/8", "::1")).environment() == {"FORWARDED_ALLOW_IPS": "10.0.0.0/8,::1"}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--allow-host", "https://arena.example", "without scheme"),
        ("--allow-host", "arena.example:80", "without scheme"),
        ("--allow-host", "*", "without scheme"),
        ("--trust-proxy", "proxy.example", "not an address or network"),
        ("--trust-proxy", "*", "not an address or network"),
        ("--admin-password-file", "gone", "does not exist"),
        ("--admin-password-file", "short", "shorter than 8 characters"),
    ],
)
def test_options_that_cannot_work(
    project: Path,
    option: str,
    value: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(project)
    Path("short").write_text("1234567\n")
    assert run("--dir", project, option, value) == 2
    assert said in capsys.readouterr().err


def test_config_file_says_the_same() -> None:
    path = Path(paragone.__file__).parent.parent / ".streamlit" / "config.toml"
    if not path.is_file():
        pytest.skip("not a checkout")

    def flat(table: dict[str, object], prefix: str = "") -> dict[str, object]:
        found: dict[str, object] = {}
        for name, value in table.items():
            found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
        return found

    assert flat(tomllib.loads(path.read_text())) == SERVER_OPTIONS


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_serves_and_ends_on_ctrl_c(project: Path, port: int) -> None:
    command = [sys.executable, "-m", "paragone", "serve", "--dir", str(project), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5) as answer:
                    assert answer.status == 200
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"127.0.0.1:{port}" in out
    assert "Traceback" not in out
