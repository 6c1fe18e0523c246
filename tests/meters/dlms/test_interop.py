"""Gurux' client reads our simulated meter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from gurux_dlms.enums import Conformance

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


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("policy", [WAYS[0], WAYS[-1]], ids=["open", "sealed"])
async def test_gurux_learns_of_every_object_and_reads_all_of_each(policy: Policy, framing: Framing) -> None:
    """As its director does: the object list first, and then every attribute that it grants, of the type that
    the Blue Book gives it."""
    async with (
        simulated(policy, framing, StillClock()) as (simulation, port),
        gurux(policy, framing, port) as client,
    ):
        await client.associate()
        held = {}
        for item in await client.objects():
            held[item.logicalName] = await client.attributes(item)
            assert held[item.logicalName][1] == item.logicalName
        await client.release()
    assert set(held) == {
        *("0.0.40.0.0.255", "0.0.42.0.0.255", "0.0.96.1.0.255", "0.0.43.1.0.255", "0.0.1.0.0.255"),
        *("1.0.1.8.0.255", "1.0.2.8.0.255", "1.0.16.7.0.255", "1.0.1.7.0.255", "1.0.2.7.0.255"),
        *("0.0.96.3.10.255", "1.0.99.1.0.255"),
    }
    counts = {name: len(attributes) for name, attributes in held.items()}
    assert counts["0.0.40.0.0.255"] == 7  # of 8: nobody reads the secret
    assert counts["0.0.1.0.0.255"] == 9
    assert counts["1.0.99.1.0.255"] == 8
    assert counts["1.0.1.8.0.255"] == 3
    shown = simulation.objects.shown
    assert held["1.0.1.8.0.255"][2] * 1000 == shown["import"]


async def test_the_association_is_that_of_the_client() -> None:
    """With whom it is, by which mechanism, and what it may use; the public client sees little."""
    wanted = policy(HLS5, 0x30)
    async with simulated(wanted, "wrapper", StillClock()) as (_, port):
        async with gurux(wanted, "wrapper", port) as client:
            await client.associate()
            listed = {one.logicalName: one for one in await client.objects()}
            association, switch = listed["0.0.40.0.0.255"], listed["0.0.96.3.10.255"]
            await client.attributes(association)
            await client.release()
        async with gurux(policy(), "wrapper", port, address=16) as client:
            await client.associate()
            public = await client.objects()
            names = {one.logicalName for one in public}
            clock = next(one for one in public if one.logicalName == "0.0.1.0.0.255")
            assert int(clock.getAccess(2)) == 1
            await client.release()
    assert [int(switch.getMethodAccess(method)) for method in (1, 2)] == [1, 1]
    assert [int(association.getMethodAccess(method)) for method in (1, 2)] == [1, 0]
    assert [int(listed["0.0.1.0.0.255"].getAccess(attribute)) for attribute in (2, 3)] == [3, 1]
    assert (association.clientSAP, association.serverSAP) == (1, 1)
    assert association.authenticationMechanismName.mechanismId == 5
    assert association.applicationContextName.contextId == 3
    assert association.xDLMSContextInfo.dlmsVersionNumber == 6
    assert association.xDLMSContextInfo.conformance & Conformance.GET
    assert int(association.associationStatus) == 2
    assert names == {"0.0.40.0.0.255", "0.0.42.0.0.255", "0.0.43.1.0.255", "0.0.1.0.0.255"}


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
