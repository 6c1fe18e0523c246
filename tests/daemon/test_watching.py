"""What an operator watches, of a real gateway's parts: status and schema, metrics, health at the socket."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp

from gateway.config import SeriesSection
from gateway.control.metrics import CONTENT_TYPE, render
from gateway.meters.reading import Reading
from tests.control.make_schema import PATH
from tests.support.exposition import parse, value
from tests.support.home import LINK_UNITS, Home
from tests.support.provider import Provider
from tests.support.serving import serving
from tests.support.statuses import strict

SCHEMA = strict(json.loads(PATH.read_text(encoding="utf-8")))


async def fits(home: Home) -> dict[str, object]:
    """What `gateway status --json` prints now, which has all fields that the schema names, and no other."""
    answered: dict[str, object] = json.loads(
        json.dumps((await home.session.status()).model_dump(exclude_unset=True))
    )
    SCHEMA.validate(answered)
    return answered


async def test_the_status_fits_its_schema_whatever_becomes_of_a_home(tmp_path: Path) -> None:
    series = SeriesSection(name="climate", lanes=("temperature",))
    async with Home(tmp_path, meters=("main", "heat"), series=(series,)) as home:
        assert "disk" in await fits(home)
        await home.runs(2 * LINK_UNITS)
        await home.publish()
        await fits(home)
        await home.grants(Provider(home.clock.now_ms))
        home.bucket.away, home.clock.is_trusted = True, False
        home.root.says = "the TPM is away"
        home.shown["main"] = (1, 1, 0)  # another meter's: held
        await home.runs(30)
        assert (await fits(home))["root_error"] == "the TPM is away"
        home.clock.is_trusted = True
        await home.runs(30)
        assert "hold" in str(await fits(home))


async def test_counts_are_those_of_what_happened(tmp_path: Path) -> None:
    async with Home(tmp_path) as home:
        await home.runs(2 * LINK_UNITS)
        stream = await home.stream()
        position = await home.ledger.position(stream)
        text = render(await home.session.status())
        read = position.next_unit - stream.start
        assert value(text, "meter_readings_sealed_total", meter="1") == read
        assert value(text, "meter_last_sealed_timestamp_seconds", meter="1") == position.next_unit
        assert value(text, "starts_total") == 1
        assert value(text, "outbox_objects") == await home.ledger.backlog()
        home.clock.pass_s(40)  # a gap: its units are filled in, and do not count
        await home.runs(5)
        home.root.fuse.set(0, 3)
        await home.runs(20)
        await home.runs(20)
        home.bucket.away = True
        await home.publish()
        text = render(await home.session.status())
        assert value(text, "meter_readings_sealed_total", meter="1") == read + 45
        assert value(text, "root_errors_total") == 3
        assert value(text, "store_errors_total") >= 1
        await home.crashes_and_starts()
        assert value(render(await home.session.status()), "starts_total") == 2


async def test_two_homes_that_use_energy_otherwise_have_the_same_metrics(tmp_path: Path) -> None:
    texts = []
    for number, used in enumerate((0, 40_000)):
        async with Home(tmp_path / str(number)) as home:
            await home.runs(3 * LINK_UNITS, imported=used, exported=used // 7)
            status = (await home.session.status()).model_copy(update={"disk": None})
            texts.append(render(status))
    assert texts[0] == texts[1]


async def test_what_the_household_puts_into_a_series_shows_nowhere(tmp_path: Path) -> None:
    series = SeriesSection(name="climate", lanes=("occupancy",))
    async with Home(tmp_path, series=(series,)) as home:
        await home.runs(2 * LINK_UNITS)
        await home.publish()
        texts = []
        for puts in (0, 70):
            for occupancy in range(puts):
                wall, monotonic = home.clock.wall(), home.clock.monotonic()
                home.sealer("climate").deliver(Reading("climate", {"occupancy": occupancy}, wall, monotonic))
                await home.commit()
                home.clock.pass_s(1)
            await home.publish()
            status = await home.session.status()
            texts.append(render(status.model_copy(update={"disk": None, "started_ms": None})))
        (climate,) = [one for one in status.meters if one.series]
        assert climate.readings_sealed > 0
        before, after = map(parse, texts)
        assert {name for name in after if after[name] != before[name]} <= {
            ("gateway_store_last_answer_timestamp_seconds", ())  # the clock went on
        }
        assert before.keys() == after.keys()


async def test_metrics_and_health_at_the_control_socket(tmp_path: Path) -> None:
    connector = aiohttp.UnixConnector(str(tmp_path / "s"))
    async with (
        Home(tmp_path / "home") as home,
        serving(home, tmp_path / "s"),
        aiohttp.ClientSession(connector=connector) as session,
    ):
        await home.runs(2 * LINK_UNITS)
        async with session.get("http://gateway/metrics") as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, CONTENT_TYPE)
            assert value(await answer.text(), "up") == 1
        async with session.get("http://gateway/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"ok": True})
        home.clock.is_trusted = False
        await home.runs(1, every=1)
        async with session.get("http://gateway/healthz") as answer:
            assert (answer.status, await answer.json()) == (503, {"ok": False, "reason": "clock"})
