"""Gurux' client reads our simulated meter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.meters.dlms.application.association import HLS5, LLS, NONE
from gateway.simulate.dlms import Framing
from gateway.simulate.dlms_server import Policy
from tests.meters.bench import NS, StillClock
from tests.meters.dlms.gurux import gurux
from tests.meters.dlms.peers import OTHER_KEY, policy, simulated

FRAMINGS: list[Framing] = ["wrapper", "hdlc"]
WAYS = [
    *(policy(mechanism) for mechanism in (NONE, LLS, HLS5)),
    *(policy(mechanism, protection) for mechanism in (NONE, LLS, HLS5) for protection in (0x10, 0x20, 0x30)),
]
DAY_S = 86_400


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("policy", WAYS, ids=lambda p: f"{p.mechanism}-{p.protection:#x}")
async def test_gurux_reads_our_meter(policy: Policy, framing: Framing) -> None:
    clock = StillClock()
    async with (
        simulated(policy, framing, clock) as (simulation, port),
        gurux(policy, framing, port) as client,
    ):
        await client.associate()
        assert bytes(await client.data("0.0.96.1.0.255")) == b"12345678"
        assert await client.register("1.0.1.8.0.255") == (1_500_000, 1, 30)
        shown = await client.clock()
        assert shown.value.astimezone(UTC) == datetime.fromtimestamp(clock.wall() // NS, UTC)
        assert await client.connected() is True
        await client.disconnect_home()
        assert await client.connected() is False
        assert simulation.objects.connected is False
        await client.release()


@pytest.mark.slow
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("policy", [policy(), policy(HLS5, 0x30)], ids=["plain", "ciphered"])
async def test_gurux_reads_a_long_profile_by_range(policy: Policy, general: bool, framing: Framing) -> None:
    clock = StillClock()
    noon = clock.wall() // NS
    policy = replace(policy, longest=300)
    async with (
        simulated(policy, framing, clock, 3 * DAY_S) as (_, port),
        gurux(policy, framing, port, general=general) as client,
    ):
        await client.associate()
        assert await client.period() == 900
        first, last = (datetime.fromtimestamp(noon - before, UTC) for before in (2 * DAY_S, DAY_S))
        before = client.exchanges
        rows = await client.profile(first, last)
        assert client.exchanges - before > 10
        assert len(rows) == 97
        assert [row[0].value.astimezone(UTC) for row in (rows[0], rows[-1])] == [first, last]
        imports = [row[1] for row in rows]
        assert imports == sorted(imports)
        assert imports[-1] > imports[0]
        await client.release()


async def test_gurux_sets_the_clock() -> None:
    clock = StillClock()
    async with simulated(policy(), "wrapper", clock) as (_, port), gurux(policy(), "wrapper", port) as client:
        await client.associate()
        moment = datetime.fromtimestamp(clock.wall() // NS + 77, UTC)
        await client.set_clock(moment)
        assert (await client.clock()).value.astimezone(UTC) == moment


async def test_gurux_is_refused_with_a_wrong_key_or_an_old_counter() -> None:
    clock, right = StillClock(), policy(HLS5, 0x30)
    assert right.keys is not None
    wrong = replace(right, keys=replace(right.keys, encryption=OTHER_KEY))
    async with simulated(right, "wrapper", clock) as (_, port):
        async with gurux(wrong, "wrapper", port) as client:
            with pytest.raises(Exception, match=r".+"):
                await client.associate()
        async with gurux(right, "wrapper", port, first_counter=100) as client:
            await client.associate()
        async with gurux(right, "wrapper", port, first_counter=50) as client:
            with pytest.raises(Exception, match=r".+"):
                await client.associate()
