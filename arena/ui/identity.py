"""Who votes: an anonymous name that a signed cookie carries, so that it survives a reload and cannot be made up.

The cookie holds a random number and its HMAC under the server's key, a file of the project folder that only its owner
can read. A voter's name is another HMAC of that number: whoever reads the votes cannot make the cookie of one.
Addresses are never stored: of an address only its network counts, as a keyed hash, in memory.
"""

from __future__ import annotations

import functools
import hmac
import ipaddress
import logging
import os
import re
import secrets
import time
from pathlib import Path

import streamlit as st

from paragone.arena.ui import DATABASE_VARIABLE, FOLDER_VARIABLE
from paragone.arena.ui.reading import project_paths
from paragone.data.errors import InputError

COOKIE = "paragone_voter"
COOKIE_S = 365 * 24 * 3600
NETWORK_HEADER = "x-paragone-network"  # set by the middleware on a page's connection; a visitor's own is dropped
KEY_FILE = "server.key"
_KEY_OF_NO_PROJECT = secrets.token_bytes(32)
_COOKIE = re.compile(r"[0-9a-f]{32}\.[0-9a-f]{32}")
_KEY = re.compile(r"[0-9a-f]{64}")
log = logging.getLogger(__name__)


def server_key() -> bytes:
    """The key of the project that is served; without a project, one of this process."""
    try:
        return _key_of(os.environ.get(FOLDER_VARIABLE), os.environ.get(DATABASE_VARIABLE), os.getcwd())
    except LookupError:
        return _KEY_OF_NO_PROJECT


@functools.lru_cache(maxsize=16)
def _key_of(folder: str | None, url: str | None, here: str) -> bytes:
    """The key of the project that these name; `LookupError`, which is not kept, while there is none."""
    paths = project_paths()
    if paths is None:
        raise LookupError(folder)
    try:
        return read_or_make_key(paths[0] / KEY_FILE)
    except OSError as error:
        log.warning("no %s in the project folder (%s): voters get new names when the server restarts", KEY_FILE, error)
        return secrets.token_bytes(32)


def read_or_make_key(path: Path) -> bytes:
    """32 bytes from `path`, made (mode 0600) when it is not there; of several servers that start, one makes it.

    Raises `InputError` for a file that holds no key, and `OSError` where it can be neither read nor made.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read_key(path)
    key = secrets.token_bytes(32)
    with os.fdopen(handle, "w") as file:
        file.write(key.hex())
        file.flush()
        os.fsync(file.fileno())
    return key


def _read_key(path: Path) -> bytes:
    if os.name != "nt" and path.stat().st_mode & 0o077:
        path.chmod(0o600)
        log.warning("%s could be read by others; it is now its owner's alone", path.name)
    for _ in range(20):  # another server may be writing it
        text = path.read_text()
        if _KEY.fullmatch(text):
            return bytes.fromhex(text)
        time.sleep(0.05)
    raise InputError(f"{path}: holds no key; delete it, and a new one is made (voters get new names)")


def new_cookie() -> str:
    """The cookie of a voter who was not here before."""
    number = secrets.token_hex(16)
    return f"{number}.{_seal('cookie', number)[:32]}"


def voter_of(cookie: str | None) -> str | None:
    """The voter whose cookie this is; None for no cookie, and for one that this server did not make."""
    if cookie is None or not _COOKIE.fullmatch(cookie):
        return None
    number, mark = cookie.split(".")
    if not hmac.compare_digest(mark, _seal("cookie", number)[:32]):
        return None
    return f"guest-{_seal('voter', number)[:24]}"


def network_of(host: str) -> str:
    """A name for the network of an address (IPv4 /24, IPv6 /48) that tells nothing without the server's key."""
    return _network(host, server_key())


@functools.lru_cache(maxsize=4096)
def _network(host: str, key: bytes) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return hmac.digest(key, f"network:{host}".encode(), "sha256").hex()[:16]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    prefix = ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False)
    return hmac.digest(key, f"network:{prefix}".encode(), "sha256").hex()[:16]


def _seal(purpose: str, text: str) -> str:
    return hmac.digest(server_key(), f"{purpose}:{text}".encode(), "sha256").hex()


def current_voter() -> str:
    """The visitor of this page. A browser that refuses the cookie gets a name for this visit only."""
    cookie = st.context.cookies.get(COOKIE)
    voter = voter_of(cookie if isinstance(cookie, str) else None)
    if voter is not None:
        return voter
    if "voter" not in st.session_state:
        st.session_state["voter"] = f"guest-{secrets.token_hex(12)}"
    return str(st.session_state["voter"])


def current_network() -> str:
    """The network of this page's visitor, as `network_of` names it; empty where no server knows it."""
    return str(st.context.headers.get(NETWORK_HEADER) or "")
