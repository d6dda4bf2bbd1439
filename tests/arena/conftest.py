"""Both databases that a store can be on: a new SQLite file, and a new database of a throw-away PostgreSQL server."""

from __future__ import annotations

import getpass
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NewDatabase = Callable[[], str]


def _server_programs() -> Path | None:
    """The folder of initdb and postgres; Debian keeps them off the path."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    return next((folder for folder in reversed(folders) if (folder / "initdb").is_file()), None)


def _unavailable(reason: str) -> None:
    if os.environ.get("PARAGONE_REQUIRE_POSTGRES"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a running server without databases of ours, on a socket in a folder of its own."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    programs = _server_programs()
    if programs is None:
        _unavailable("no PostgreSQL server here; install one (Debian: apt-get install postgresql)")
    assert programs is not None
    user = getpass.getuser()
    if os.geteuid() == 0:  # a server does not run as root
        user = next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody")), "")
    folder = Path(tempfile.mkdtemp(prefix="paragone-pg-", dir="/tmp"))  # short: a socket's path has a limit
    if os.geteuid() == 0:
        shutil.chown(folder, user)
    run_as = {"user": user} if os.geteuid() == 0 else {}
    data = folder / "data"
    make = [programs / "initdb", "-D", data, "-U", "paragone", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
    subprocess.run(make, check=True, capture_output=True, cwd=folder, **run_as)  # type: ignore[call-overload]
    settings = ["listen_addresses=", f"unix_socket_directories={folder}", "fsync=off", "max_connections=200"]
    command = [programs / "postgres", "-D", data, *(part for setting in settings for part in ("-c", setting))]
    log = (folder / "log").open("wb")
    with subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **run_as) as server:  # type: ignore[call-overload]
        try:
            _wait_until_ready(programs, folder, server)
            yield f"postgresql://paragone@/postgres?host={folder}"
        finally:
            server.terminate()  # waits for sessions to end; the pools of closed stores have none
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
            log.close()
    shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(programs: Path, folder: Path, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert server.poll() is None, (folder / "log").read_text()
        asked = subprocess.run([programs / "pg_isready", "-q", "-h", folder, "-t", "1"], check=False)
        if asked.returncode == 0:
            return
    pytest.fail((folder / "log").read_text())


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> NewDatabase:
    """Makes names of databases that do not exist yet: files in `tmp_path`, or databases of the server."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/{secrets.token_hex(4)}/arena.db"
    server: str = request.getfixturevalue("postgres_server")
    import psycopg

    def create() -> str:
        name = f"arena_{secrets.token_hex(6)}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return server.replace("/postgres?", f"/{name}?")

    return create


@pytest.fixture
def database_url(new_database: NewDatabase) -> str:
    """An empty database's URL."""
    return new_database()
