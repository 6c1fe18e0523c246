"""Readings to chunks in the store, whatever fails in between: dense, sealed once, exact to the mWh."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.errors import LedgerError, TrustError, UsageError
from gateway.intervals.hold import Choice
from gateway.meters.reading import Reading
from gateway.wire import names
from tests.support.clock import NS
from tests.support.home import LINK_UNITS, MEMORY, Home, kind_of
from tests.support.provider import Provider


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def ends_well(home: Home) -> None:
    """It goes on, and all that was ever durable is in the store, exact."""
    home.mend()
    home.clock.is_trusted = True
    await home.runs(2 * LINK_UNITS)
    await home.stop()
    await home.start()
    await home.publish()
    for meter in home.meters:
        stored = await home.check_energy(meter)
        assert stored.end == home.layout.unit_at(home.clock.wall()) + 1
        home.check_kept(stored)


async def test_a_stream_begins_at_a_link_border_with_its_descriptor_first(home: Home) -> None:
    async with home:
        home.reads()
        await home.commit()
        assert await home.ledger.streams() == []
        assert await home.ledger.backlog() == 0
        await home.runs(LINK_UNITS)
        stream = await home.stream()
        assert home.layout.position(stream.start) == 0
        assert (await home.ledger.outbox(1))[0].object.key == names.descriptor(stream.id)
        await ends_well(home)


@pytest.mark.parametrize("what", ["ledger", "root"])
async def test_whatever_fails_at_a_streams_beginning_there_is_one_stream(home: Home, what: str) -> None:
    async with home:
        while not home.read or home.layout.position(home.layout.unit_at(home.clock.wall())):
            home.reads()
        fuse = {"ledger": home.database.fuse, "root": home.root.fuse}[what]
        for after in range(10):
            home.reads()
            fuse.set(after)
            await home.commit()
            if not fuse.blown:
                break
            assert home.line().fault is not None
        assert after > 1
        assert home.line().fault is None
        await home.stop()
        await home.start()
        assert len(await home.ledger.streams()) == 1
        await ends_well(home)
        assert [kind_of(key) for key, _ in home.bucket.puts].count("stream") == 1


async def test_nothing_is_sealed_until_the_clock_is_right(home: Home) -> None:
    async with home:
        home.clock.is_trusted = False
        await home.runs(3 * LINK_UNITS)
        assert await home.ledger.streams() == []
        home.clock.is_trusted = True
        home.reads()
        await home.commit()
        stream = await home.stream()
        assert (await home.ledger.position(stream)).next_unit == home.layout.unit_at(home.clock.wall()) + 1
        await ends_well(home)


async def test_a_clock_that_steps_back_seals_nothing_until_it_has_passed_the_last_unit(home: Home) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        before = (await home.ledger.position(await home.stream())).next_unit
        home.steps(-30)
        await home.runs(29)
        assert (await home.ledger.position(await home.stream())).next_unit == before
        await home.runs(5)
        assert (await home.ledger.position(await home.stream())).next_unit > before
        await ends_well(home)


async def clock_lines(home: Home) -> list[str]:
    return [entry.detail for entry in await home.ledger.audit_log(99) if entry.what == "clock"]


async def test_a_clock_a_month_ahead_for_two_seconds_seals_nothing_there(home: Home) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        home.steps(30 * 86_400)
        await home.runs(2, every=2)
        waits = (
            "the clock stepped forward by 30 days: readings wait until the new time has stood for ten minutes"
        )
        assert (await home.session.status()).clock_waits == waits
        home.steps(-30 * 86_400)
        await home.runs(5)
        assert (await home.session.status()).clock_waits is None
        back = "the clock shows the time from before its step again: sealing goes on, nothing was filled in"
        assert await clock_lines(home) == [waits, back]
        await ends_well(home)
        stored = await home.stored()
        assert stored.d["count"].all()


async def test_a_step_forward_that_stands_is_filled_in_after_ten_minutes(home: Home) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        before = (await home.ledger.position(await home.stream())).next_unit
        home.steps(7200)
        await home.runs(600)
        assert (await home.ledger.position(await home.stream())).next_unit == before
        await home.runs(5)
        assert (await home.ledger.position(await home.stream())).next_unit == before + 7200 + 605
        assert await clock_lines(home) == [
            "the clock stepped forward by 2 h: readings wait until the new time has stood for ten minutes",
            "the clock's new time has stood for ten minutes: sealing goes on, and the units between are "
            "filled in",
        ]
        await ends_well(home)
        stored = await home.stored()
        assert int((stored.d["count"] == 0).sum()) == 7200


@pytest.mark.parametrize("restart", [False, True])
async def test_while_the_last_sealed_unit_lies_ahead_it_says_until_when(home: Home, restart: bool) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        end = (await home.ledger.position(await home.stream())).next_unit
        (meter,) = (await home.session.status()).meters
        assert meter.sealed_ahead is None
        home.steps(-300)
        if restart:
            await home.crashes_and_starts()
        await home.runs(10)
        until = datetime.fromtimestamp(end, UTC)
        sentence = (
            f"meter main: nothing is sealed until {until:%Y-%m-%d %H:%M:%S} UTC, the end of its last sealed "
            "unit: the clock was ahead when that was sealed, or is behind now"
        )
        (meter,) = (await home.session.status()).meters
        assert meter.sealed_ahead == sentence
        await home.runs(300)
        (meter,) = (await home.session.status()).meters
        assert meter.sealed_ahead is None
        stepped = [
            "the clock stepped back by 5 min: nothing is sealed until it has passed the last sealed unit"
        ]
        assert await clock_lines(home) == [
            *([] if restart else stepped),
            sentence,
            "meter main: its last sealed unit is over: sealing goes on",
        ]
        await ends_well(home)


async def test_a_stream_that_was_to_begin_in_the_future_begins_now(home: Home) -> None:
    """The clock was wrong when the meter was first read, and nothing was sealed yet."""
    async with home:
        home.steps(30 * 86_400)
        home.reads()
        await home.commit()
        assert home.sealer().stream is None
        home.steps(-30 * 86_400)
        await home.runs(2 * LINK_UNITS)
        stream = await home.stream()
        assert stream.start <= home.layout.unit_at(home.clock.wall())
        await ends_well(home)


async def test_a_clock_that_steps_to_and_fro_fills_no_log(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        for _ in range(50):
            home.steps(1000)
            await home.runs(5)
            home.steps(-1000)
            await home.runs(5)
        assert len(await clock_lines(home)) == len(caplog.messages) == 20
        await ends_well(home)


async def test_a_line_about_the_clock_waits_for_a_ledger_that_fails(home: Home) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        home.steps(1000)
        home.reads()
        home.database.fuse.set(0, None)
        await home.commit()
        home.mend()
        assert await clock_lines(home) == []
        home.reads()
        await home.commit()
        assert len(await clock_lines(home)) == 1
        home.steps(-1000)
        await ends_well(home)


async def test_a_register_that_falls_is_told_and_waited_out(home: Home) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        before = (await home.ledger.position(await home.stream())).next_unit
        imported, exported, power = home.shown["main"]
        for _ in range(7):
            home.clock.pass_s(1)
            home.deliver((imported - 1, exported, power))
        await home.commit()
        assert (await home.ledger.position(await home.stream())).next_unit == before
        home.reads()
        await home.commit()
        told = [entry.detail for entry in await home.ledger.audit_log(9) if entry.what == "meter"]
        assert told == [
            "meter main: its import register fell; readings are held until it is back",
            "meter main: its registers are back where they were",
        ]
        await ends_well(home)


async def told(home: Home) -> list[str]:
    return [entry.detail for entry in await home.ledger.audit_log(99) if entry.what == "meter"]


def says(home: Home, registers: dict[str, int], serial: str | None = None, ago_s: float = 0) -> None:
    """A reading of these registers, which were so some seconds ago."""
    wall, monotonic = (now - round(ago_s * NS) for now in (home.clock.wall(), home.clock.monotonic()))
    home.sealer().deliver(Reading("main", registers, wall, monotonic, serial))


async def test_while_readings_are_held_it_says_so(home: Home) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        assert home.sealer().held() is None
        home.clock.pass_s(1)
        at = datetime.fromtimestamp(home.clock.wall() // NS, UTC)
        imported, exported, _ = home.shown["main"]
        says(home, {"import": imported + 10**12, "export": exported})
        await home.commit()
        assert home.sealer().held() == (
            "meter main: its import register rose by more than a home can draw; readings are held until it "
            f"is back (since {at:%Y-%m-%d %H:%M:%S} UTC)"
        )
        assert home.line().fault is None
        home.reads()
        await home.commit()
        assert home.sealer().held() is None
        await ends_well(home)


# --- a hold is durable


async def jumps(home: Home, seconds: int = 12, times: int = 10, ahead: int = 0) -> None:
    """For some seconds the meter shows its register so many times as high."""
    for _ in range(seconds):
        home.clock.pass_s(1)
        imported, exported, power = home.shown["main"]
        says(home, {"import": imported * times + ahead, "export": exported, "power": power}, "1EMH00")
        await home.commit()


async def test_a_hold_outlives_crashes_and_ten_days(home: Home) -> None:
    async with home:
        home.shown["main"] = (23_060_000_000, 70_000, 0)
        await home.runs(2 * LINK_UNITS)
        await jumps(home)
        since, hold = home.sealer().held(), home.sealer().hold
        said, end = await told(home), (await home.ledger.position(await home.stream())).next_unit
        for _ in range(3):
            home.clock.pass_s(10 * 86_400)
            await home.crashes_and_starts()
            assert home.sealer().held() == since
            await jumps(home, 2)
        assert (await home.ledger.position(await home.stream())).next_unit == end
        assert hold is not None
        now = home.sealer().hold
        assert now is not None
        assert [lane.believed and lane.believed.register for lane in now.lanes] == [
            lane.believed and lane.believed.register for lane in hold.lanes
        ]
        assert await told(home) == said
        await home.stop()


async def test_a_hold_is_saved_when_it_changes_and_not_with_each_commit(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        writes, save = 0, home.ledger.save_state

        async def counted(*args: object) -> None:
            nonlocal writes
            writes += 1
            await save(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(home.ledger, "save_state", counted)
        home.reads()
        await home.commit()
        assert writes == 0
        await jumps(home, 120, 1000)
        assert 2 <= writes <= 1 + 9  # it begins, and the run is of 2 to 10 readings
        home.reads(0)
        await ends_well(home)


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize(
    ("choice", "counts"), [("exchange", 0), ("correction", 9 * 23_060_000_000), ("before", 0)]
)
async def test_what_the_owner_decides_is_durable_and_in_the_audit_log_alone(
    home: Home, choice: Choice, counts: int, crash: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with home:
        home.shown["main"] = (23_060_000_000, 70_000, 0)
        await home.runs(2 * LINK_UNITS, imported=0)
        imported, exported, power = home.shown["main"]
        await jumps(home, 5)
        decision = await home.line().accept(choice, {"import": imported * 10, "export": exported})
        assert (await told(home))[-1] == decision
        assert f"import {imported // 10**6}.{imported % 10**6:06d} kWh was the last believed" in decision
        assert f"{imported // 10**5}.{imported * 10 % 10**6:06d} kWh the first held one" in decision
        if crash:
            await home.crashes_and_starts()
        assert home.sealer().held() is None
        stream = await home.stream()
        if choice == "before":
            await jumps(home, 1)
            assert home.sealer().held() is not None
            return
        home.shown["main"] = (imported * 10, exported, power)
        for _ in range(3):
            home.reads(1, 7)
            await home.commit()
        await home.runs(2 * LINK_UNITS, imported=0)
        assert home.sealer().held() is None
        await home.stop()
        await home.start()
        await home.publish()
        stored = await home.stored()
        (first,) = home.read["main", stream.start]
        told_units = stored.total("import", stream.start + 1, stored.end)
        assert told_units == home.shown["main"][0] - first[0] - 9 * imported + (counts and 9 * imported)
        shown = " ".join(caplog.messages)
        assert "its owner has decided" in shown
        assert "23060" not in shown
        assert "23060" in decision


async def test_a_decision_that_cannot_be_saved_is_saved_by_the_next_commit(home: Home) -> None:
    async with home:
        home.shown["main"] = (23_060_000_000, 70_000, 0)
        await home.runs(2 * LINK_UNITS, imported=0)
        imported, exported, _ = home.shown["main"]
        await jumps(home, 5)
        home.database.fuse.set(0, None)
        with pytest.raises(LedgerError):
            await home.line().accept("exchange", {"import": imported * 10, "export": exported})
        home.reads()
        await home.commit()
        home.mend()
        assert "accepted" not in " ".join(await told(home))
        await home.commit()
        assert "the owner accepted another meter" in " ".join(await told(home))
        await home.stop()


async def test_a_decision_after_units_that_were_not_saved_leaves_no_hole(home: Home) -> None:
    """A disk that was full has taken the units of before the hold before it takes the state after them."""
    async with home:
        home.shown["main"] = (23_060_000_000, 70_000, 0)
        await home.runs(2 * LINK_UNITS, imported=0)
        for _ in range(3):
            home.reads()
        imported, exported, power = home.shown["main"]
        home.database.fuse.set(0, None)
        await home.commit()
        await jumps(home, 5)
        home.mend()
        await home.line().accept("exchange", {"import": imported * 10, "export": exported})
        await home.crashes_and_starts()
        home.shown["main"] = (imported * 10, exported, power)
        await home.runs(2 * LINK_UNITS, imported=0)
        assert home.line().fault is None
        await home.stop()
        await home.start()
        await home.publish()
        assert (await home.stored()).end == home.layout.unit_at(home.clock.wall()) + 1


async def test_a_decision_waits_for_a_commit_at_work(home: Home) -> None:
    async with home:
        home.shown["main"] = (23_060_000_000, 70_000, 0)
        await home.runs(2 * LINK_UNITS, imported=0)
        imported, exported, _ = home.shown["main"]
        await jumps(home, 5)
        for _ in range(9):
            home.clock.pass_s(1)
            says(home, {"import": imported * 10, "export": exported})
        commit = asyncio.create_task(home.line().commit())
        await asyncio.sleep(0)
        accept = home.line().accept("correction", {"import": imported * 10, "export": exported})
        decided = asyncio.create_task(accept)
        await asyncio.wait({commit, decided}, return_when=asyncio.FIRST_COMPLETED)
        assert commit.done()
        assert not decided.done()
        assert "the owner accepted the registers as they are now" in await decided
        await home.commit()
        assert home.line().fault is None
        assert home.sealer().held() is None


async def test_what_the_owner_did_not_see_is_not_decided(home: Home) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        with pytest.raises(UsageError, match="meter main: no reading is held"):
            await home.line().accept("exchange", {})
        await jumps(home, 5, 1000)
        with pytest.raises(UsageError, match="its registers have changed since they were shown"):
            await home.line().accept("exchange", {"import": 5, "export": 7})
        assert home.sealer().held() is not None
        home.reads()
        await home.commit()
        await ends_well(home)


async def test_a_take_over_ends_a_hold_that_the_store_is_beyond_and_no_other(home: Home) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        await home.publishes_all()
        home.copies("before")
        await jumps(home, 5, 1000)
        home.copies("held")
        await home.runs(2 * LINK_UNITS)
        assert home.sealer().held() is None
        await home.publishes_all()
        for copy in ("held", "before"):
            await home.restores(copy)
            assert (home.sealer().held() is None) == (copy == "before")
            assert await home.publishes_all() == 1
            assert home.sealer().held() is None
            await home.runs(2 * LINK_UNITS)
            await home.publishes_all()
        await ends_well(home)


@pytest.mark.slow
async def test_a_register_that_falls_each_second_fills_no_log(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        for _ in range(125):  # of ten seconds
            home.clock.pass_s(5)
            says(home, {"import": 0, "export": 0})
            home.reads(5)
            await home.commit()
        said = await told(home)
        assert said == [said[0], "meter main: its registers are back where they were"] * 3
        assert len([line for line in caplog.messages if line in said]) == 6
        await ends_well(home)


async def test_another_meter_is_told_and_not_what_it_shows(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home:
        for _ in range(2 * LINK_UNITS):
            home.clock.pass_s(1)
            says(home, {"import": 123_456_789, "export": 7, "power": 3}, "1EMH00")
        await home.commit()
        for _ in range(3):
            home.clock.pass_s(1)
            says(home, {"import": 987_654_321, "export": 7, "power": 3}, "1EMH01")
        await home.commit()
        said = await told(home)
        assert "another meter answers in its place" in said[-1]
        shown = " ".join([*caplog.messages, *said])
        assert "987" not in shown
        assert "EMH" not in shown
        stream = await home.stream()
        assert (await home.ledger.position(stream)).next_unit == home.layout.unit_at(home.clock.wall()) + 1
        await home.crashes_and_starts()
        for _ in range(3):
            home.clock.pass_s(1)
            says(home, {"import": 123_456_789, "export": 7, "power": 3}, "1EMH00")
        await home.commit()
        assert len(await told(home)) == len(said) + 2


async def test_after_a_take_over_the_meters_number_is_known_still(home: Home) -> None:
    async with home:

        async def lives(seconds: int) -> None:
            for _ in range(seconds):
                home.clock.pass_s(1)
                says(home, {"import": 123_456_789, "export": 7, "power": 3}, "1EMH00")
            await home.commit()
            await home.publishes_all()

        await lives(2 * LINK_UNITS)
        home.copies("old")
        await lives(2 * LINK_UNITS)
        await home.restores("old")
        await lives(LINK_UNITS)
        assert any("were taken over" in entry.detail for entry in await home.ledger.audit_log(99))
        await home.crashes_and_starts()
        home.clock.pass_s(1)
        says(home, {"import": 123_456_789, "export": 7, "power": 3}, "1EMH01")
        await home.commit()
        assert "another meter's serial number" in str(home.sealer().held())


async def test_a_register_that_is_full_starts_again(home: Home) -> None:
    async with home:
        home.shown["main"] = (10**11 - 700, 5, 0)
        await home.runs(LINK_UNITS)
        home.rollover["import"] = 10**11
        for n in range(3 * LINK_UNITS):
            home.clock.pass_s(1)
            says(home, {"import": (10**11 - 1 + 5 * n) % 10**11, "export": 10**6, "power": n})
        await home.commit()
        assert (await told(home))[-1].startswith("meter main: its import register started again from 0")
        await home.stop()
        await home.start()
        await home.publish()
        stored = await home.stored()
        assert stored.total("import", stored.end - 170, stored.end) == 170 * 5


async def test_a_lane_that_never_comes_is_a_fault_and_no_end(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home:
        for _ in range(2 * LINK_UNITS):
            home.clock.pass_s(1)
            says(home, {"import": 5, "power": 1})
            await home.commit()
        assert await home.ledger.streams() == []
        assert str(home.line().fault).startswith(
            "meter main: units wait for export, which no reading has held"
        )
        assert caplog.text.count("units wait for export") == 2  # once a minute, in two minutes
        assert "(60 times since the last such line)" in caplog.text
        home.reads()
        await home.commit()
        assert home.line().fault is None
        await ends_well(home)


async def test_it_knows_up_to_when_energy_is_known_also_after_a_restart(home: Home) -> None:
    async with home:
        assert home.sealer().last_read_wall() is None
        await home.runs(2 * LINK_UNITS)
        last = (home.clock.wall() // NS + 1) * NS
        assert home.sealer().last_read_wall() == last
        home.clock.pass_s(1)
        says(home, {"power": 5})
        home.clock.pass_s(1)
        says(home, {"import": 0, "export": 0, "power": 5})
        await home.commit()
        assert home.sealer().last_read_wall() == last
        await home.crashes_and_starts()
        assert home.sealer().last_read_wall() == last


@pytest.mark.slow
@pytest.mark.parametrize("trusted", [True, False])
async def test_what_the_meter_remembers_of_an_outage_is_sealed(home: Home, trusted: bool) -> None:
    """And an entry of it that cannot be true, below what was read before or above what is read now, harms
    nothing, whether the clock is right or not."""
    async with home:
        await home.runs(2 * LINK_UNITS)
        imported, exported, _ = home.shown["main"]
        before = home.layout.unit_at(home.clock.wall())
        home.clock.pass_s(4 * 3600)
        await home.crashes_and_starts()
        home.clock.is_trusted = trusted
        for ago, more in ((3 * 3600, 7_000), (2 * 3600, -50), (5400, 9_000_000), (3600, 50_000)):
            says(home, {"import": imported + more, "export": exported}, ago_s=ago)
        home.shown["main"] = (imported + 60_000, exported, 5)
        home.reads(0, 0)
        await home.commit()
        home.clock.is_trusted = True
        home.reads()
        await home.commit()
        now = home.layout.unit_at(home.clock.wall())
        home.reads(600, 0)
        await home.commit()
        assert home.sealer().held() is None
        await home.stop()
        await home.start()
        home.reads(40)
        await home.publish()
        await home.commit()
        await home.publish()
        stored = await home.stored()
        hour = before + 3600
        assert stored.total("import", before + 1, hour + 1) == 7_000
        assert stored.total("import", hour + 1, before + 3 * 3600 + 1) == 43_000
        assert stored.total("import", before + 3 * 3600 + 1, now) == 10_000


@pytest.mark.parametrize(
    "lanes", [("import", "count"), ("export", "power", "count"), ("import", "export", "count")]
)
async def test_streams_of_fewer_lanes(tmp_path: Path, lanes: tuple[str, ...]) -> None:
    async with Home(tmp_path, lanes=lanes) as home:
        await home.runs(LINK_UNITS)
        home.reads(50, 1001, 13)
        await ends_well(home)


async def test_a_gap_over_several_links_keeps_every_mwh(home: Home) -> None:
    async with home:
        await home.runs(LINK_UNITS)
        home.reads(5 * LINK_UNITS + 7, 10_007, 11)
        await ends_well(home)
        stored = await home.stored()
        assert 0 in stored.d["count"]


@pytest.mark.slow
async def test_units_and_readings_of_another_length(tmp_path: Path) -> None:
    """Units of 100 ms, read each second; and of 10 s, read each second."""
    async with Home(tmp_path / "a", layout=Layout(100, 70), chunk_units=10) as home:
        for _ in range(40):
            home.reads(1, 7, 1)
            await home.commit()
        await ends_well(home)
    async with Home(tmp_path / "b", layout=Layout(10_000, 6), chunk_units=3) as home:
        for second in range(200):
            home.reads(1, 7, 1)
            if second % 7 == 0:
                await home.commit()
        await home.runs(20)
        await home.stop()
        await home.start()
        await home.publish()
        await home.check_energy()


async def test_a_quarter_of_an_hour_is_sealed_once_it_has_ended(tmp_path: Path) -> None:
    """With what was used in it, also when the gateway starts anew in the midst of it; a hold is told at the
    time of the reading that began it."""
    async with Home(tmp_path, layout=Layout(900_000, 4), chunk_units=2, start_s=1_780_044_900) as home:
        home.reads(1, 0)
        await home.commit()
        for minute in range(1, 151):  # from 8:55:01 on, 4 kW from 10:00:01
            if minute > 30 and minute % 20 == 10:
                await home.crashes_and_starts()
            home.reads(60, 66_667 if 66 <= minute <= 80 else 0)
            await home.commit()
            ended = home.clock.wall() // NS // 900
            assert home.sealer().last_read_wall() == ended * 900 * NS
            if minute >= 20:  # the first unit, from 9:00 on, has ended
                stream = await home.stream()
                assert (await home.ledger.position(stream)).next_unit == ended
        home.clock.pass_s(300)
        home.deliver((0, 0, 0))
        await home.commit()
        began = datetime.fromtimestamp(home.clock.wall() // NS // 900 * 900, UTC)
        assert f"(since {began:%Y-%m-%d %H:%M:%S} UTC)" in (home.sealer().held() or "")
        await home.publish()
        stored = await home.check_energy()
        assert stored.d["import"].tolist() == [0, 0, 0, 0, 15 * 66_667, 0, 0, 0, 0]
        assert set(stored.d["count"].tolist()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"layout": Layout(2000, 60)},
            "unit_ms = 1000, link_units = 60 and lanes import, export, power, count",
        ),
        ({"layout": Layout(1000, 120)}, "use these settings, or give the meter another name"),
        ({"lanes": ("import", "count")}, "its stream was begun with"),
        ({"factor": 40}, r"factor = \{ energy = 1, power = 1 \}.*give the meter another name"),
        ({"factor": {"energy": 0.1}}, r"factor = \{ energy = 1, power = 1 \}"),
    ],
)
async def test_a_stream_keeps_its_layout_and_lanes(
    home: Home, changes: dict[str, object], sentence: str
) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        await home.stop()
        before = {name: getattr(home, name) for name in changes}
        for name, value in changes.items():
            setattr(home, name, value)
        with pytest.raises(UsageError, match=sentence):
            await home.start()
        await home.crash()
        for name, value in before.items():
            setattr(home, name, value)
        await home.start()
        await ends_well(home)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["ledger", "root"])
async def test_a_start_that_fails_anywhere_may_be_made_again(home: Home, what: str) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        await home.grants(Provider(home.clock.now_ms), "10s", from_ms=0)
        fuse = {"ledger": home.database.fuse, "root": home.root.fuse}[what]
        failed = 0
        for after in range(60):
            await home.runs(7)
            fuse.set(after)
            try:
                await home.session_begins()
            except (LedgerError, TrustError):
                failed += 1
                home.mend()
                await home.session_begins()
            else:
                break
        assert failed > 4
        await ends_well(home)


async def test_what_a_removed_meter_left_open_goes_out(tmp_path: Path) -> None:
    async with Home(tmp_path, meters=("main", "garage")) as home:
        await home.runs(2 * LINK_UNITS + 7)
        provider = Provider(home.clock.now_ms)
        record = await home.grants(provider, "5s", from_ms=0, meter="garage")
        stream = await home.stream("garage")
        await home.stop()
        home.meters.remove("garage")
        await home.start()
        await home.publish()
        stored = await home.check_energy("garage")
        assert stored.end == (await home.ledger.position(stream)).next_unit
        await home.check_grant(provider, replace(record, revoked_from=None), stored)
        await ends_well(home)


@pytest.mark.slow
async def test_cancelled_at_any_await_it_makes_durable_what_it_had(home: Home) -> None:
    """As the end of the gateway does, in the midst of whatever the sealer is doing."""
    async with home:
        await home.runs(LINK_UNITS)
        for turns in range(0, 90, 2):
            task = asyncio.create_task(home.line().run(5))
            await home.clock.asleep()
            for _ in range(5):
                home.reads()
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
            assert home.line().fault is None
            position = await home.ledger.position(await home.stream())
            assert position.next_unit == home.layout.unit_at(home.clock.wall()) + 1
            await home.crashes_and_starts()
        await ends_well(home)
        stored = await home.stored()
        assert 0 not in stored.d["count"]


async def test_a_fault_is_logged_once_and_gone_with_its_cause(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        home.database.fuse.set(0, None)
        for _ in range(5):
            home.reads()
            await home.commit()
            assert "disk is full" in str(home.line().fault)
        assert len([line for line in caplog.messages if "units stay in memory" in line]) == 1
        home.mend()
        await home.commit()
        assert home.line().fault is None
        await ends_well(home)
        stored = await home.stored()
        assert 0 not in stored.d["count"]


@dataclass(frozen=True)
class Act:
    """One thing that happens to the home; `a` and `b` say how much."""

    what: str
    a: int = 0
    b: int = 0

    def __repr__(self) -> str:
        return f"{self.what}({self.a}, {self.b})"


NONE = st.just(0)


def acts(
    what: str, a: st.SearchStrategy[int] = NONE, b: st.SearchStrategy[int] = NONE
) -> st.SearchStrategy[Act]:
    return st.builds(Act, st.just(what), a, b)


LIFE = st.lists(
    st.one_of(
        acts("reads", st.integers(1, 25), st.integers(0, 40)),
        acts("reads", st.integers(1, 80), st.integers(0, 40)),
        acts("gap", st.integers(2, 200), st.integers(0, 9000)),
        acts("commit"),
        acts("dip", st.integers(1, 9)),
        acts("jump", st.integers(1, 8), st.integers(0, 3)),
        acts("step", st.integers(-90, 90)),
        acts("trust", st.integers(0, 1)),
        acts("ledger fails", st.integers(0, 12), st.integers(1, 5)),
        acts("root fails", st.integers(0, 6), st.integers(1, 5)),
        acts("dies while it commits", st.integers(0, 15)),
        acts("crash"),
        acts("stop"),
        acts("publish"),
    ),
    max_size=25,
)


async def happens(home: Home, act: Act) -> None:
    match act.what:
        case "reads":
            for second in range(act.a):
                home.reads(1, act.b + second % 3, second % 7, second)
        case "gap":
            home.reads(act.a, act.b, act.b // 3)
        case "commit":
            await home.commit()
        case "dip":
            home.clock.pass_s(1)
            imported, exported, power = home.shown["main"]
            dipped = (imported - act.a, exported, power)
            home.deliver(dipped)
            # After a crash it may be more than the gateway knows of, and count.
            home.read.setdefault(("main", home.layout.unit_at(home.clock.wall())), []).append(dipped)
        case "jump":  # its register is a thousand times as high, and the gateway may stop meanwhile
            if home.sealer().stream is None:
                return  # it would begin with that
            imported, exported, power = home.shown["main"]
            for n in range(act.a):
                home.clock.pass_s(1)
                home.deliver((imported * 1000, exported, power))
                if n == act.a // 2 and act.b:
                    await home.commit()
                    if act.b > 1:
                        await home.crashes_and_starts()
            home.reads()
        case "step":
            home.steps(act.a)
        case "trust":
            home.clock.is_trusted = bool(act.a)
        case "ledger fails":
            home.database.fuse.set(act.a, act.b)
            await home.commit()
        case "root fails":
            home.root.fuse.set(act.a, act.b)
            await home.commit()
        case "dies while it commits":
            for fuse in (home.database.fuse, home.root.fuse):
                fuse.set(act.a, None)
            await home.commit()
            await home.crashes_and_starts()
        case "crash":
            await home.crashes_and_starts()
        case "stop":
            home.mend()
            await home.stop()
            await home.start()
        case "publish":
            await home.publish()


async def lives(life: list[Act]) -> None:
    with tempfile.TemporaryDirectory(prefix="home-", dir=MEMORY) as folder:
        async with Home(Path(folder)) as home:
            for act in life:
                await happens(home, act)
            home.mend()
            home.clock.is_trusted = True
            await home.commit()
            home.clock.pass_s(1000)  # past whatever the clock was set back by, and ten minutes
            await ends_well(home)


@pytest.mark.slow
@settings(max_examples=60)
@given(LIFE)
def test_whatever_happens_units_are_dense_sealed_once_and_exact(life: list[Act]) -> None:
    asyncio.run(lives(life))
