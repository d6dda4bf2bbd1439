"""`paragone serve`: the web UI on a project folder."""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from paragone.arena.store import Store
from paragone.arena.store_engine import database_target
from paragone.arena.ui import (
    DATABASE_VARIABLE,
    DEFAULT_FOLDER,
    FOLDER_VARIABLE,
    NO_PROXY,
    PASSWORD_FILE_VARIABLE,
    SERVER_OPTIONS,
    TRUSTED_PROXIES_VARIABLE,
)
from paragone.arena.ui.passwords import admin_password
from paragone.data.errors import InputError, UsageError
from paragone.data.project import Project

PORT = 8501
SERVER = "paragone.arena.ui.server"
ADDRESS = "127.0.0.1"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


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
    help="Address to listen on; 0.0.0.0 lets other machines in.",
)
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A name that visitors may call this server by; repeat it for more. *.NAME stands for all below NAME.",
)
@click.option(
    "--trust-proxy",
    "proxies",
    metavar="ADDRESS",
    multiple=True,
    help="Address or network of a proxy whose X-Forwarded-For is to be believed; repeat it for more.",
)
@click.option(
    "--admin-password-file",
    "password_file",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    help="File with the password of the pages Admin and Audit.",
)
@click.option("--headless/--open", default=True, show_default=True, help="Whether to open a browser.")
def serve(
    folder: Path | None,
    port: int,
    url: str | None,
    address: str,
    hosts: tuple[str, ...],
    proxies: tuple[str, ...],
    password_file: Path | None,
    headless: bool,
) -> None:
    """Open the web UI: battle, leaderboard, gallery.

    And measures, agreement and more beside them. Voting needs no account. The server runs until Ctrl-C and listens on
    this machine only, unless --address says otherwise.
    """
    if folder is None:
        folder = _folder_of(url) if url else _default_folder()
    front = Front(address, port, hosts=hosts, proxies=proxies, password_file=password_file)
    open_ui(folder, url=url, front=front, headless=headless)


@dataclass(frozen=True, slots=True)
class Front:
    """Where the server listens, whom it answers, and whom it believes."""

    address: str = ADDRESS
    port: int = PORT
    hosts: tuple[str, ...] = ()  # names besides the machine's own
    proxies: tuple[str, ...] = ()  # addresses or networks of those whose X-Forwarded-For counts
    password_file: Path | None = None

    def check(self) -> None:
        """Raise `UsageError` for what cannot work."""
        for host in self.hosts:
            if not _HOST.fullmatch(host):
                raise UsageError(f"--allow-host {host}: write a name without scheme, port or path, such as arena.org")
        for proxy in self.proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise UsageError(f"--trust-proxy {proxy}: not an address or network, such as 10.0.0.0/8") from None
        if self.password_file is not None:
            try:
                admin_password(self.password_file)
            except InputError as error:
                raise UsageError(f"--admin-password-file {error}") from None
        _check_port(self.address, self.port)

    def environment(self) -> dict[str, str]:
        """What the server finds in its environment."""
        values = {TRUSTED_PROXIES_VARIABLE: ",".join(self.proxies) or NO_PROXY}
        if self.password_file is not None:
            values[PASSWORD_FILE_VARIABLE] = str(self.password_file.resolve())
        return values


def open_ui(folder: Path, *, url: str | None = None, front: Front | None = None, headless: bool = True) -> None:
    """Become the web server (on Windows: run it), after checking what can be checked; does not return before its end.

    Raises `InputError` when there is no project, and `UsageError` when the port is taken or the address not ours.
    """
    front = front or Front()
    with Store(url or Project.open(folder).database) as store:
        environment = os.environ | {FOLDER_VARIABLE: str(folder.resolve())} | front.environment()
        if url:
            environment[DATABASE_VARIABLE] = url if store.path is None else str(store.path.resolve())
        else:
            environment.pop(DATABASE_VARIABLE, None)
    front.check()
    command = server_command(front, headless=headless)
    if os.name == "nt":  # there exec would leave the terminal to two programs
        sys.exit(subprocess.call(command, env=environment))
    sys.stdout.flush()
    os.execve(command[0], command, environment)


def server_command(front: Front, *, headless: bool) -> list[str]:
    """The command line of the server. `-P` keeps a folder with, say, a `metrics.py` out of its imports."""
    if importlib.util.find_spec(SERVER) is None:
        raise UsageError("the web UI is not installed; reinstall paragone")
    options: dict[str, object] = {
        **SERVER_OPTIONS,
        "server.port": front.port,
        "server.address": front.address,
        "server.headless": headless,
    }
    if front.hosts or front.address in LOOPBACK:  # a page elsewhere must not reach us under a name of its own
        options["server.allowedHosts"] = [*LOOPBACK, *front.hosts]
    return [sys.executable, "-P", "-m", SERVER, json.dumps(options)]


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
