"""How fast an endpoint is asked, by a clock that the test turns."""

from __future__ import annotations

import asyncio

import pytest

from paragone.data.errors import UsageError
from paragone.judges.pace import MINUTE_S, Pace


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def most_at_once(pace: Pace, n: int) -> int:
    active = peak = 0

    async def one() -> None:
        nonlocal active, peak
        async with pace.slot():
            active += 1
            peak = max(peak, active)
            await asyncio.sleep(0)
            active -= 1

    await asyncio.gather(*(one() for _ in range(n)))
    return peak


def test_never_more_at_once_than_allowed() -> None:
    assert asyncio.run(most_at_once(Pace(max_concurrency=5), 40)) == 5


def test_half_as_many_after_a_complaint_and_slowly_more_again() -> None:
    clock = Clock()
    pace = Pace(max_concurrency=16, clock=clock, sleep=clock.sleep)
    for _ in range(5):
        pace.throttled()  # at the same moment: one complaint
    assert asyncio.run(most_at_once(pace, 40)) == 8
    clock.now += 2
    pace.throttled()
    assert asyncio.run(most_at_once(pace, 40)) == 4
    for _ in range(5):  # a window of answers is one more at once
        pace.succeeded()
    assert asyncio.run(most_at_once(pace, 40)) == 5
    for _ in range(1000):
        pace.succeeded()
    assert asyncio.run(most_at_once(pace, 40)) == 16
    for _ in range(20):
        clock.now += 2
        pace.throttled()
    assert asyncio.run(most_at_once(pace, 10)) == 1  # never none
    assert pace.n_throttled == 26


def test_so_many_in_any_minute() -> None:
    clock = Clock()
    pace = Pace(max_concurrency=4, rpm=6, clock=clock, sleep=clock.sleep)
    begun: list[float] = []

    async def one() -> None:
        async with pace.slot():
            begun.append(clock())
            await clock.sleep(1.0)

    async def many() -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    asyncio.run(many())
    assert len(begun) == 20
    for first in begun:
        assert sum(first <= time < first + MINUTE_S for time in begun) <= 6
    assert max(begun) <= 4 * MINUTE_S


def test_who_is_cancelled_gives_the_place_back() -> None:
    async def scene() -> int:
        pace = Pace(max_concurrency=1)

        async def hold() -> None:
            async with pace.slot():
                await asyncio.sleep(60)

        tasks = [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks[::-1]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return await most_at_once(pace, 3)

    assert asyncio.run(scene()) == 1


def test_nothing_at_all_is_not_a_pace() -> None:
    for wrong in ({"max_concurrency": 0}, {"rpm": 0}):
        with pytest.raises(UsageError):
            Pace(**wrong)
