"""`paragone serve`: the web UI on a project folder."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import click

from paragone.arena.store import Store
from paragone.arena.store_engine import database_target
from paragone.arena.ui import DATABASE_VARIABLE, DEFAULT_FOLDER, FOLDER_VARIABLE, SERVER_OPTIONS
from paragone.data.errors import UsageError
from paragone.data.project import Project

PORT = 8501
ADDRESS = "127.0.0.1"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    show_default=f"here, or ./{DEFAULT_FOLDER}",
    help="Project folder to show.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True, help="Port to listen on.")
@click.option("--db", "url", metavar="URL", help="Database, a path or sqlite:///…, instead of the project's arena.db.")
@click.option(
    "--address",
    default=ADDRESS,
    show_default=True,
    help="Address to listen on; 0.0.0.0 lets other machines in, and there is no login.",
)
@click.option("--headless/--open", default=True, show_default=True, help="Whether to open a browser.")
def serve(folder: Path | None, port: int, url: str | None, address: str, headless: bool) -> None:
    """Open the web UI: battle, leaderboard, gallery.

    And metrics beside ratings. The server runs until Ctrl-C; it has no login, and listens on this machine only unless
    --address says otherwise.
    """
    if folder is None:
        folder = _folder_of(url) if url else _default_folder()
    open_ui(folder, url=url, port=port, address=address, headless=headless)


def open_ui(
    folder: Path, *, url: str | None = None, port: int = PORT, address: str = ADDRESS, headless: bool = True
) -> None:
    """Become the web server (on Windows: run it), after checking what can be checked; does not return before its end.

    Raises `InputError` when there is no project, and `UsageError` when the port is taken or the address not ours.
    """
    with Store(url or Project.open(folder).database) as store:
        environment = os.environ | {FOLDER_VARIABLE: str(folder.resolve())}
        if url:
            environment[DATABASE_VARIABLE] = url if store.path is None else str(store.path.resolve())
        else:
            environment.pop(DATABASE_VARIABLE, None)
    _check_port(address, port)
    command = server_command(port=port, address=address, headless=headless)
    if os.name == "nt":  # there exec would leave the terminal to two programs
        sys.exit(subprocess.call(command, env=environment))
    sys.stdout.flush()
    os.execve(command[0], command, environment)


def server_command(*, port: int, address: str, headless: bool) -> list[str]:
    """The command line of the server. `-P` keeps a folder with, say, a `metrics.py` out of its imports."""
    spec = importlib.util.find_spec("paragone.arena.ui.main")
    if spec is None or spec.origin is None:
        raise UsageError("the web UI is not installed; reinstall paragone")
    options = SERVER_OPTIONS | {
        "server.port": str(port),
        "server.address": address,
        "server.headless": headless,
        "server.showEmailPrompt": False,
    }
    flags = [f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in options.items()]
    if address in LOOPBACK:  # a page elsewhere must not reach this server under a name of its own
        flags += [f"--server.allowedHosts={host}" for host in LOOPBACK]
    return [sys.executable, "-P", "-m", "streamlit", "run", spec.origin, *flags]


def _folder_of(url: str) -> Path:
    """Where the samples of a database lie when nobody says: beside a file, and here for a server's."""
    target = database_target(url)
    return target.parent if isinstance(target, Path) else Path()


def _default_folder() -> Path:
    here, demo = Project(Path()), Project(Path(DEFAULT_FOLDER))
    return demo.folder if demo.database.is_file() and not here.database.is_file() else here.folder


def _check_port(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UsageError(f"port {port} of {address} is in use; choose another with --port") from None
            raise UsageError(f"cannot listen on {address}, port {port}: {error.strerror}; see --address") from None
