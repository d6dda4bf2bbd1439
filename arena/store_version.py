"""Whether this paragone can work with a database, by the number of its last migration."""

from __future__ import annotations

from paragone.arena.schema import VERSION
from paragone.data.errors import InputError


def check_version(name: str, found: int) -> None:
    """Raise `InputError`, with what to do, for a database of an older or a newer paragone."""
    if found > VERSION:
        raise InputError(
            f"{name}: has schema version {found}, this paragone knows versions up to {VERSION}; update paragone"
        )
    if found < VERSION:
        raise InputError(
            f"{name}: has schema version {found}, this paragone works with {VERSION}; "
            "bring it up with: paragone doctor --upgrade (a backup is made first)"
        )
