"""The simulated SMA meter as the gateway hears it: what it sends is what its truth says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.meters.endpoint import Multicast
from gateway.meters.speedwire.datagram import read
from gateway.simulate.home import Home
from gateway.simulate.speedwire import SpeedwireMeter, serve
from tests.meters.bench import NOON_S, FastClock, StillClock
from tests.meters.speedwire.group import free_group
from tests.meters.speedwire.public import public_datagrams
from tests.simulate.hearing import heard, listening, running, truth_holds


@pytest.mark.slow
async def test_what_is_heard_is_the_truth(tmp_path: Path) -> None:
    clock, truth, group = FastClock(), tmp_path / "truth.jsonl", free_group()
    home = Home(3, NOON_S - 500)
    async with (
        running(lambda told: serve(home, group, clock, truth, 77, told)) as port,
        listening("sma-energy-meter", group, clock) as main,
    ):
        readings = await heard(main, 25)
    assert port == group.port
    truth_holds(truth, readings)
    assert {reading.serial for reading in readings} == {"77"}


def test_it_sends_what_a_real_one_sends() -> None:
    (real,) = (one.data for one in public_datagrams() if len(one.data) == 608)
    simulated = SpeedwireMeter(Home(3, NOON_S), StillClock()).datagram()
    assert len(simulated) == len(real)
    assert list(read(simulated).values) == list(read(real).values)


@pytest.mark.parametrize("second", [NOON_S, NOON_S - 43_200])
def test_the_phases_add_up(second: int) -> None:
    home = Home(3, second, import_mwh=1_000_003, export_mwh=7)
    values = read(SpeedwireMeter(home, StillClock(second)).datagram()).values
    assert values[1, 4] - values[2, 4] == home.power * 10
    for index in (1, 2, 9, 10):
        for kind in (4, 8):
            assert sum(values[20 * phase + index, kind] for phase in (1, 2, 3)) == values[index, kind]


async def test_an_interface_that_is_not_there() -> None:
    nowhere = Multicast("239.12.255.254", 9522, "198.51.100.77")
    with pytest.raises(UsageError) as caught:
        await serve(Home(3, NOON_S), nowhere, StillClock())
    assert str(caught.value) == (
        "cannot send to 239.12.255.254:9522 (multicast) on 198.51.100.77: Cannot assign requested address"
    )
