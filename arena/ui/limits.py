"""How often something may be done: by one voter, from one network, and by all together.

The generic cell rate algorithm (ITU-T I.371, the token bucket with one number a key): a key may do `burst` things at
once and `per_s` a second for ever. What is kept is in memory, and of a network only a keyed hash.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["battle", "vote", "media", "voter", "socket", "api", "login"]


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then `per_s` a second."""

    burst: int
    per_s: float


@dataclass(frozen=True, slots=True)
class Rates:
    """What is allowed of one kind. A voter's name costs nothing to get, so networks are limited as well."""

    voter: Rate | None
    network: Rate
    everyone: Rate


LIMITS: dict[Kind, Rates] = {
    "battle": Rates(Rate(40, 2), Rate(400, 50), Rate(2000, 200)),
    "vote": Rates(Rate(30, 2), Rate(400, 50), Rate(2000, 200)),
    "media": Rates(Rate(120, 8), Rate(2000, 200), Rate(5000, 500)),
    "voter": Rates(None, Rate(120, 1), Rate(2000, 20)),  # names for new voters
    "socket": Rates(None, Rate(200, 10), Rate(2000, 100)),
    "api": Rates(None, Rate(60, 4), Rate(500, 50)),
    "login": Rates(None, Rate(5, 1 / 30), Rate(30, 0.5)),
}
MAX_KEYS = 50_000


class Limiter:
    """All limits of one server; threads may share it."""

    def __init__(self, limits: dict[Kind, Rates], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._due: dict[tuple[str, str, str], float] = {}  # when a key's bucket will be full again, s

    def wait_s(self, kind: Kind, *, voter: str = "", network: str = "") -> float:
        """Do it now (0.0), or the seconds to wait; what has to wait is not counted. An empty key has no limit."""
        rates = self._limits[kind]
        keys = [(("", "all", kind), rates.everyone)]
        if network:
            keys.append(((network, "network", kind), rates.network))
        if voter and rates.voter is not None:
            keys.append(((voter, "voter", kind), rates.voter))
        with self._lock:
            now = self._clock()
            wait = max(self._due.get(key, now) - now - (rate.burst - 1) / rate.per_s for key, rate in keys)
            if wait > 1e-9:
                return wait
            for key, rate in keys:
                self._due[key] = max(self._due.get(key, now), now) + 1 / rate.per_s
            if len(self._due) > MAX_KEYS:
                self._due = {key: due for key, due in self._due.items() if due > now}
            return 0.0


LIMITER = Limiter(LIMITS)


def retry_after(wait_s: float) -> str:
    """The wait as the header Retry-After has it: whole seconds, at least one."""
    return str(max(1, math.ceil(wait_s)))


def refusal(kind: Literal["battle", "vote"]) -> str | None:
    """Count one `kind` for the visitor of this page: None when they may, else a line to show them."""
    from paragone.arena.ui.identity import current_network, current_voter

    wait = LIMITER.wait_s(kind, voter=current_voter(), network=current_network())
    what = "votes" if kind == "vote" else "battles"
    return None if not wait else f"Too many {what} in a short time; try again in {retry_after(wait)} s."
