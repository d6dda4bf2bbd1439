"""How fast an endpoint is asked: so many requests at once, so many in a minute, and fewer when it says it is too much.

The number at once follows additive increase and multiplicative decrease (Chiu & Jain 1989): it is halved when the
endpoint is overloaded, and grows by one for each full window of answers, up to the user's limit.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from paragone.data.errors import UsageError

MINUTE_S = 60.0
DEFAULT_CONCURRENCY = 8
SAME_COMPLAINT_S = 1.0  # refusals that come together are one complaint


class Pace:
    """Gives out slots for requests. `clock` (s) and `sleep` (s) are there to be replaced in tests."""

    def __init__(
        self,
        *,
        max_concurrency: int = DEFAULT_CONCURRENCY,
        rpm: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if max_concurrency < 1 or (rpm is not None and rpm < 1):
            raise UsageError("at least one request at once, and one in a minute, must be allowed")
        self.max_concurrency = max_concurrency
        self.limit = float(max_concurrency)
        self.n_throttled = 0
        self._rpm = rpm
        self._clock, self._sleep = clock, sleep
        self._active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._starts: deque[float] = deque()
        self._last_complaint = -float("inf")

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """One request: waits until there is room for it."""
        await self._enter()
        try:
            await self._wait_for_the_minute()
            yield
        finally:
            self._active -= 1
            self._wake()

    def throttled(self) -> None:
        """The endpoint refused a request for being overloaded: half as many at once from now on."""
        self.n_throttled += 1
        now = self._clock()
        if now - self._last_complaint >= SAME_COMPLAINT_S:
            self._last_complaint = now
            self.limit = max(1.0, self.limit / 2)

    def succeeded(self) -> None:
        """A request was answered."""
        self.limit = min(float(self.max_concurrency), self.limit + 1 / self.limit)
        self._wake()

    async def _enter(self) -> None:
        if self._active < int(self.limit) and not self._waiting:
            self._active += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was given in the same moment
                self._active -= 1
                self._wake()
            else:
                self._waiting.remove(turn)
            raise

    def _wake(self) -> None:
        while self._waiting and self._active < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self._active += 1
                turn.set_result(None)

    async def _wait_for_the_minute(self) -> None:
        """Wait until fewer than `rpm` requests were begun in the last minute, and count this one."""
        if self._rpm is None:
            return
        while True:
            now = self._clock()
            while self._starts and now - self._starts[0] >= MINUTE_S:
                self._starts.popleft()
            if len(self._starts) < self._rpm:
                self._starts.append(now)
                return
            await self._sleep(MINUTE_S - (now - self._starts[0]))
