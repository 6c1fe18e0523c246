"""Series: what a household puts is what a provider opens, over restarts, gaps and clocks that step."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import SeriesSection
from gateway.control.client import ControlClient
from gateway.errors import UsageError
from tests.support.home import LINK_UNITS, MEMORY, Home
from tests.support.provider import Provider
from tests.support.serving import serving
from tests.support.stored import Stored

CLIMATE = SeriesSection(name="climate", lanes=("temperature", "occupancy"))
SENSORS = SeriesSection(name="all", lanes=("temperature", "irradiance", "appliances", "occupancy"))
Values = dict[str, Decimal]


class Put:
    """What was put into a home's series `climate`, by unit, in the lanes' scales."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.durable: dict[int, tuple[int, int]] = {}
        self.gathered: dict[int, tuple[int, int]] = {}

    def put(self, hundredths: int, persons: int) -> None:
        unit = self.home.layout.unit_at(self.home.clock.wall())
        values = {"temperature": Decimal(hundredths) / 100, "occupancy": persons}
        if unit in self.gathered:
            with pytest.raises(UsageError, match="put some once a unit at most, 1s"):
                self.home.session.series["climate"].put(values)
        elif unit not in self.durable:
            self.home.session.series["climate"].put(values)
            self.gathered[unit] = (hundredths, persons)

    async def commit(self) -> None:
        await self.home.commit()
        self.durable |= self.gathered

    async def check(self, provider: Provider) -> None:
        """The stream holds what was put from its start on, and nothing else; a grant opens it."""
        stored = await self.home.stored("climate")
        shown = {unit: values for unit, values in self.durable.items() if unit >= stored.start}
        chunked = {unit: values for unit, values in shown.items() if unit < stored.end}
        assert units_of(stored) == chunked
        assert stored.end == stored.start + stored.d["count"].size
        assert sum(map(abs, stored.d["temperature"].tolist())) == sum(abs(t) for t, _ in chunked.values())
        for record in await self.home.ledger.grants(stored.descriptor.stream):
            grant = await self.home.check_grant(provider, record, stored)
            assert grant.lanes == ("temperature", "occupancy", "count")


def units_of(stored: Stored) -> dict[int, tuple[int, int]]:
    """The values of the units that were read."""
    lanes = stored.d["temperature"].tolist(), stored.d["occupancy"].tolist()
    return {stored.start + i: (lanes[0][i], lanes[1][i]) for i in map(int, stored.d["count"].nonzero()[0])}


LIFE = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(-10_000, 20_000), st.integers(0, 9)),
        st.tuples(st.just("pass"), st.integers(0, 3) | st.integers(1, 4 * LINK_UNITS)),
        st.tuples(st.sampled_from(["commit", "commit", "restart", "crash"])),
    ),
    max_size=60,
)


@pytest.mark.slow
@settings(max_examples=40)
@given(LIFE)
async def test_what_was_put_is_what_is_opened(life: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        async with Home(Path(folder), series=[CLIMATE]) as home:
            put, provider = Put(home), Provider(home.clock.now_ms)
            put.put(2150, 2)
            await put.commit()
            home.clock.pass_s(LINK_UNITS)
            put.put(2150, 2)
            await put.commit()
            put.gathered.clear()
            await home.grants(provider, "10s", meter="climate")
            for what, *how in life:
                if what == "put":
                    put.put(*how)
                elif what == "pass":
                    home.clock.pass_s(*how)
                elif what == "crash":
                    await home.crashes_and_starts()
                    put.gathered.clear()
                else:
                    await put.commit()
                    if what == "restart":
                        await home.stop()
                        await home.start()
                        put.gathered.clear()
            await put.commit()
            home.clock.pass_s(2 * LINK_UNITS)
            put.put(0, 0)
            await put.commit()
            await home.publish()
            await put.check(provider)


async def test_a_clock_that_steps_places_values_where_they_were_put(tmp_path: Path) -> None:
    async with Home(tmp_path, series=[CLIMATE]) as home:
        put, provider = Put(home), Provider(home.clock.now_ms)
        for persons in range(3):
            put.put(2000 + persons, persons)
            await put.commit()
            home.clock.pass_s(LINK_UNITS)
        before = home.layout.unit_at(home.clock.wall())
        home.clock.step_s(3600)
        home.session.series["climate"].put(
            {"temperature": 30, "occupancy": 7}
        )  # of a step that is taken back
        await home.commit()
        home.clock.pass_s(60)
        home.clock.step_s(-3600)
        put.put(2500, 5)
        await home.commit()
        put.durable |= {before: (3000, 7), **put.gathered}
        home.clock.step_s(-120)
        home.session.series["climate"].put({"temperature": 1, "occupancy": 1})  # in a unit that is sealed
        await home.commit()
        home.clock.pass_s(4 * LINK_UNITS)
        put.put(2600, 6)
        await put.commit()
        await home.publish()
        await put.check(provider)


async def test_values_wait_for_a_clock_that_was_never_set(tmp_path: Path) -> None:
    async with Home(tmp_path, series=[CLIMATE]) as home:
        put, provider = Put(home), Provider(home.clock.now_ms)
        put.put(2000, 1)
        await put.commit()
        home.clock.pass_s(LINK_UNITS)
        await home.stop()
        home.clock.is_trusted = False
        await home.start()
        put.gathered.clear()
        home.clock.pass_s(10)
        unit = home.layout.unit_at(home.clock.wall())
        home.clock.step_s(-1000)
        home.session.series["climate"].put({"temperature": -Decimal("3.5"), "occupancy": 0})
        await home.commit()
        home.clock.pass_s(5)
        home.clock.step_s(1000)
        home.clock.is_trusted = True
        put.put(2100, 4)
        put.gathered[unit] = (-350, 0)
        await put.commit()
        home.clock.pass_s(LINK_UNITS)
        put.put(2200, 4)
        await put.commit()
        await home.publish()
        await put.check(provider)


@pytest.mark.slow
async def test_a_take_over_keeps_what_was_put(tmp_path: Path) -> None:
    """Of units that are sealed again after a restored ledger the store's stand; later ones keep theirs."""
    async with Home(tmp_path, series=[CLIMATE]) as home:
        put, provider = Put(home), Provider(home.clock.now_ms)
        for n in range(3 * LINK_UNITS):
            put.put(2000 + n, n % 4)
            home.clock.pass_s(1)
        await put.commit()
        await home.grants(provider, "10s", meter="climate")
        home.copies("before")
        for n in range(LINK_UNITS):
            put.put(n, 1)
            home.clock.pass_s(1)
        await put.commit()
        await home.publish()
        put.durable = {
            unit: v for unit, v in put.durable.items() if unit < (await home.stored("climate")).end
        }
        await home.restores("before")
        put.gathered.clear()
        for n in range(2 * LINK_UNITS):
            put.put(-n, 2)
            home.clock.pass_s(1)
        await put.commit()
        assert await home.publishes_all() == 1
        await home.crashes_and_starts()
        put.gathered.clear()
        home.clock.pass_s(LINK_UNITS)
        put.put(1, 1)
        await put.commit()
        await home.publishes_all()
        await put.check(provider)


@asynccontextmanager
async def asked(tmp_path: Path) -> AsyncIterator[tuple[Home, aiohttp.ClientSession]]:
    path = tmp_path / "s"
    async with (
        Home(tmp_path, series=[CLIMATE, SENSORS]) as home,
        serving(home, path),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
    ):
        yield home, session


NO_NUMBERS: tuple[object, ...] = ("21.5", None, True, [1], {}, float("nan"), float("inf"))
GOOD = {"temperature": 21.5, "irradiance": 640, "appliances": 90, "occupancy": 2}


@pytest.mark.parametrize(
    ("series", "body", "sentence"),
    [
        ("main", GOOD, "there is no series 'main'; the series are climate, all"),
        ("all", {**GOOD, "heat": 1}, 'series all: it has no lane "heat"; its lanes are temperature, irradia'),
        (
            "climate",
            {"temperature": 1},
            "series climate: occupancy is missing; give all of its lanes at once",
        ),
        ("climate", [], "series climate: the values are not a JSON object of numbers by lane"),
        *(
            (
                "all",
                {**GOOD, lane: wrong},
                f"series all: {lane} must be a number from {least} to {most} ({unit})",
            )
            for lane, least, most, unit in (
                ("temperature", -100, 200, "Cel"),
                ("irradiance", -50, 2500, "W/m2"),
                ("appliances", -1_000_000, 1_000_000, "W"),
                ("occupancy", 0, 1000, "persons"),
            )
            for wrong in (least - 0.001, most + 1, *NO_NUMBERS)
        ),
    ],
)
async def test_what_cannot_be_put_is_a_sentence(
    tmp_path: Path, series: str, body: object, sentence: str
) -> None:
    async with asked(tmp_path) as (home, session):
        async with session.post(f"http://gateway/series/{series}", data=json.dumps(body)) as response:
            answer = await response.json()
        assert response.status == 400
        assert answer["error"].startswith(sentence)
        assert answer["kind"] == "usage"
        assert all(state.latest is None for state in home.session._readers.values())


@pytest.mark.parametrize("data", [b"{", b"1e99999999999999999999", b"[" * 10_000, b"\xff"])
async def test_what_is_no_json_is_a_sentence(tmp_path: Path, data: bytes) -> None:
    async with (
        asked(tmp_path) as (_, session),
        session.post("http://gateway/series/climate", data=data) as response,
    ):
        assert (response.status, (await response.json())["error"]) == (400, "what is put is not JSON")


async def test_values_are_taken_once_a_unit_and_rounded_to_the_scale(tmp_path: Path) -> None:
    async with asked(tmp_path) as (home, _):
        client = ControlClient(tmp_path / "s")
        for at in range(0, 3 * LINK_UNITS, LINK_UNITS):
            status = await client.put("all", {**GOOD, "temperature": -0.125 - at, "occupancy": 2.4})
            assert (status.meter, status.series, status.read_ms) == ("all", True, home.clock.now_ms)
            with pytest.raises(
                UsageError, match="series all: it has values of this moment already; put some on"
            ):
                await client.put("all", GOOD)
            await home.commit()
            home.clock.pass_s(LINK_UNITS)
            if at >= 60:
                break
        status = await client.put("all", {**GOOD, "temperature": 21.555, "irradiance": 0.5})
        await home.commit()
        home.clock.pass_s(LINK_UNITS)
        await client.put("all", GOOD)
        await home.commit()
        await home.publish()
        stored = await home.stored("all")
        assert [lane.name for lane in stored.descriptor.lanes] == [*GOOD, "count"]
        assert stored.d["temperature"][stored.d["temperature"].nonzero()].tolist()[-1] == 2156
        assert stored.d["occupancy"].tolist().count(2) == 2
        whole = await client.status()
        (shown,) = [one for one in whole.meters if one.meter == "all"]
        assert (shown.sealing, shown.series, shown.error, shown.stream) == (
            True,
            True,
            None,
            stored.descriptor.stream.hex(),
        )
        assert not any(one.series for one in whole.meters if one.meter == "main")
        (reading,) = [one for one in await client.readings() if one.meter == "all"]
        assert reading.registers == {"temperature": 2150, "irradiance": 640, "appliances": 90, "occupancy": 2}
        assert not (set(GOOD) - {"occupancy"}) & set(repr(reading))
