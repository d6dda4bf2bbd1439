"""The admin's password: where it is set, and whether a try is right. Only its scrypt hash (RFC 7914) is kept.

`python -m paragone.arena.ui.passwords` asks for a password and prints the line for `[admin]` in paragone.toml.
"""

from __future__ import annotations

import base64
import functools
import getpass
import hashlib
import hmac
import os
import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paragone.arena.ui import PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE
from paragone.arena.ui.redaction import hide
from paragone.data.errors import InputError
from paragone.data.project import Project

SHORTEST = 8  # characters
COST = (2**15, 8, 1)  # n, r, p: 32 MiB and about a tenth of a second a try


def hash_password(password: str) -> str:
    """`scrypt$n$r$p$salt$hash` of a password; raises `InputError` for one of fewer than `SHORTEST` characters."""
    if len(password) < SHORTEST:
        raise InputError(f"the admin's password is shorter than {SHORTEST} characters; choose a longer one")
    salt = secrets.token_bytes(16)
    return "$".join(("scrypt", *map(str, COST), _text(salt), _text(_scrypt(password, salt, *COST))))


def admin_password(path: Path) -> str:
    """The password in a file; raises `InputError` for a file that cannot be read or holds none that is long enough."""
    try:
        password = path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the admin's password cannot be read: {error}") from None
    if len(password) < SHORTEST:
        raise InputError(f"{path}: the admin's password is shorter than {SHORTEST} characters; choose a longer one")
    return password


def is_right(password: str, hashed: str) -> bool:
    """Whether this password has that hash; takes as long for a wrong one. `hashed` is as `check_hash` returns it."""
    _, n, r, p, salt, expected = hashed.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(expected))


def check_hash(hashed: str, where: str) -> str:
    """The hash itself; raises `InputError` when it is none, or one that would cost over a second or 256 MiB."""
    try:
        kind, n, r, p, salt, expected = hashed.split("$")
        sizes = len(base64.b64decode(salt, validate=True)), len(base64.b64decode(expected, validate=True))
        sound = kind == "scrypt" and int(n) * int(r) <= 2**21 and int(p) <= 4 and sizes[0] >= 16 and sizes[1] == 32
        if sound:
            _scrypt("", b"0" * 16, int(n), int(r), int(p))
    except ValueError:
        sound = False
    if not sound:
        raise InputError(f"{where}: not a hash of a password; python -m paragone.arena.ui.passwords makes one")
    return hashed


def admin_hash(folder: Path | None) -> str | None:
    """The hash of the admin's password: of the environment's, of its file's, or as paragone.toml has it; None: unset.

    Raises `InputError` for a file that cannot be used.
    """
    return _hash_of(os.environ.get(PASSWORD_VARIABLE), os.environ.get(PASSWORD_FILE_VARIABLE)) or _configured(folder)


def admin_emails(folder: Path | None) -> frozenset[str]:
    """Who is an admin after logging in elsewhere (OIDC): `emails` of `[admin]` in paragone.toml, in small letters."""
    emails = _settings(folder).get("emails", [])
    if not (isinstance(emails, list) and all(isinstance(email, str) for email in emails)):
        raise InputError('paragone.toml: emails of [admin] is not a list of addresses; write emails = ["a@b.org"]')
    return frozenset(email.strip().lower() for email in emails)


@functools.lru_cache(maxsize=8)
def _hash_of(password: str | None, file: str | None) -> str | None:
    if password is None and file is not None:
        password = admin_password(Path(file))
    if password is None:
        return None
    hide(password)
    return hash_password(password)


def _configured(folder: Path | None) -> str | None:
    hashed = _settings(folder).get("password")
    if hashed is None:
        return None
    where = "paragone.toml: password of [admin]"
    if not isinstance(hashed, str):
        raise InputError(f"{where}: not text")
    return _checked(hashed, where)


_checked = functools.lru_cache(maxsize=8)(check_hash)


def _settings(folder: Path | None) -> Mapping[str, Any]:
    """The table `[admin]` of paragone.toml."""
    path = None if folder is None else Project(folder).config
    if path is None or not path.is_file():
        return {}
    try:
        table = tomllib.loads(path.read_text()).get("admin", {})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(table, dict):
        raise InputError(f"{path}: admin is not a table; write [admin]")
    return table


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=2**29, dklen=32)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


if __name__ == "__main__":
    print(f'password = "{hash_password(getpass.getpass("Password of the admin: "))}"')
