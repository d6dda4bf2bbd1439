"""How long a server asks a client to wait (RFC 9110, 10.2.3): one reading for judges and generators alike."""

from __future__ import annotations

import contextlib
import email.utils
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2


def retry_after_s(headers: httpx2.Headers, *, now: datetime) -> float | None:
    """Seconds that the server asks to wait: retry-after-ms, or Retry-After in seconds or as a date; None without."""
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after-ms"]) / 1000.0)
    given = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        seconds = float(given)
        return max(0.0, seconds) if seconds < float("inf") else None
    with contextlib.suppress(ValueError, TypeError):
        when = email.utils.parsedate_to_datetime(given)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - now).total_seconds())
    return None
