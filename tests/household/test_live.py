"""What the meters show now: one poll for everybody who looks, none while nobody does."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from gateway.errors import Unavailable
from gateway.household.live import EVERY_S, Live
from tests.support.clock import FakeClock
from tests.support.pages import Answers, reading, status


@pytest.fixture
def live(gateway: Answers, clock: FakeClock) -> Live:
    return Live(gateway, clock)


async def test_all_who_watch_share_one_question(live: Live, gateway: Answers, clock: FakeClock) -> None:
    seen: list[list[int]] = [[], [], []]

    async def watch(into: list[int]) -> None:
        async with aclosing(live.watch()) as snapshots:
            async for snapshot in snapshots:
                into.append(snapshot.readings[0].registers["power"])  # type: ignore[index]
                if len(into) == 3:
                    return

    watching = [asyncio.create_task(watch(into)) for into in seen]
    for power in (1, 2, 3):
        await clock.asleep()
        gateway.shown = (reading("main", power=power),)
        clock.pass_s(EVERY_S)
    await asyncio.wait_for(asyncio.gather(*watching), 20)
    assert seen == [[1, 2, 3]] * 3
    assert gateway.asked == 4  # three times for readings, and once for the status

    for _ in range(5):
        clock.pass_s(60)
        await asyncio.sleep(0)
    assert gateway.asked == 4  # nobody looks any more


async def test_the_status_is_asked_for_less_often(live: Live, gateway: Answers, clock: FakeClock) -> None:
    for _ in range(10):
        await live.look()
        await live.look()
        clock.pass_s(EVERY_S)
    assert gateway.asked == 10 + 2


async def test_a_gateway_that_does_not_answer_is_asked_again(
    live: Live, gateway: Answers, clock: FakeClock
) -> None:
    gateway.error = Unavailable("no gateway answers")
    found = await live.look()
    assert (found.error, found.status) == (gateway.error, None)
    gateway.error = None
    clock.pass_s(EVERY_S)
    assert (await live.look()).status == status()


async def test_a_clock_that_is_set_back_hides_nothing(live: Live, gateway: Answers, clock: FakeClock) -> None:
    await live.look()
    clock.step_s(-3600)
    gateway.shown = (reading("main", power=7),)
    assert (await live.look()).readings == gateway.shown
