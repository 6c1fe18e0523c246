"""A simulated past: a provider opens what the home's meter showed, however often its making was cut."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from gateway.cli.main import main
from gateway.control.documents import NewGrant
from gateway.errors import StoreUnavailable, UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.identity import new_identity, open_identity
from gateway.provider.query import Query
from gateway.provider.sums import Sums
from gateway.simulate.history import Home, Past, fill
from gateway.simulate.seasons import SeasonalHome
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen
from gateway.wire.card import Card
from tests.support.servers import S3Server

FIRST, DAYS = date(2026, 3, 28), 4  # one of them has 23 hours
ZONE = "Europe/Berlin"


@pytest.fixture
def provider(tmp_path: Path) -> tuple[Path, Card]:
    now_ms = unix_ms(SystemClock("host"))
    return tmp_path / "utility", new_identity(tmp_path / "utility", "Stadtwerke", now_ms)


def home(tmp_path: Path, days: int = DAYS, unit_s: int = 300, number: int = 1) -> Home:
    end = FIRST + timedelta(days=days)
    return Home(tmp_path / f"home-{number}", number, ZONE, "eastron-sdm630", unit_s, FIRST, end)


def wanted(granularity: str, zone: str = ZONE) -> NewGrant:
    from_ms = int(SeasonalHome(1, ZONE).seconds_of(FIRST)[0]) * 1000
    return NewGrant("windows", granularity, zone, ("import", "export"), "tests", from_ms, None)


async def opened(past: Past, place: Location, folder: Path, granularity: str) -> list[tuple[int, int]]:
    """What the provider opens: import and export in mWh."""
    bucket = open_bucket(place)
    try:
        reader = await StreamReader.open(bucket, past.stream, past.signer, Seen(folder, past.stream))
        await reader.refresh(past.end_ms, 10**12)
        sums = await Sums.ask(reader, open_identity(folder), Query(granularity, None, None, None))
        return [(row.sums["import"], row.sums["export"]) async for row in sums.rows()]
    finally:
        await bucket.aclose()


def truth(days: int, unit_s: int) -> list[tuple[int, int]]:
    """What the meter's display of whole Wh counted in each unit."""
    meter = SeasonalHome(1, ZONE)
    watts = np.concatenate([meter.net_power(FIRST + timedelta(days=n)) for n in range(days)])
    columns = []
    for part in (watts, -watts):
        total = np.cumsum(np.clip(part, 0, None))[unit_s - 1 :: unit_s] // 3600
        columns.append((np.diff(total, prepend=0) * 1000).tolist())
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("kind", ["folder", "seaweedfs"])
async def test_a_provider_opens_what_the_meter_showed(
    tmp_path: Path,
    provider: tuple[Path, Card],
    kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, card = provider
    if kind == "folder":
        (tmp_path / "store").mkdir()
        place = Location.parse(str(tmp_path / "store"))
    else:
        server: S3Server = request.getfixturevalue("seaweedfs")
        place = server.location("history")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(place.access_key))
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", str(place.secret_key))
    past = await fill(home(tmp_path), place, [(card, wanted("15min")), (card, wanted("day"))])
    quarters = truth(DAYS, 900)
    assert await opened(past, place, folder, "15min") == quarters
    days = [slice(0, 96), slice(96, 188), slice(188, 284), slice(284, 380)]
    assert await opened(past, place, folder, "day") == [
        tuple(map(sum, zip(*quarters[day], strict=True))) for day in days
    ]
    assert (past.import_mwh, past.export_mwh) == tuple(map(sum, zip(*quarters, strict=True)))
    assert past.end_ms - past.start_ms == (DAYS * 24 - 1) * 3_600_000
    assert len(past.grants) == 2


class Interrupted(Exception):
    pass


async def test_what_was_interrupted_is_continued(tmp_path: Path, provider: tuple[Path, Card]) -> None:
    folder, card = provider
    place = Location.parse(str(tmp_path / "store"))

    def ends(day: date) -> None:
        if day == FIRST + timedelta(days=1):
            raise Interrupted

    with pytest.raises(StoreUnavailable, match="there is no directory"):
        await fill(home(tmp_path), place)
    (tmp_path / "store").mkdir()
    with pytest.raises(Interrupted):
        await fill(home(tmp_path), place, progress=ends)
    one = await fill(home(tmp_path, 3), place, [(card, wanted("15min"))])
    two = await fill(home(tmp_path), place, [(card, wanted("15min"))])
    assert (one.stream, len(one.grants), len(two.grants)) == (two.stream, 1, 0)
    assert await opened(two, place, folder, "15min") == truth(DAYS, 900)
    with pytest.raises(UsageError, match="holds the past of another home, or of other days"):
        await fill(home(tmp_path, unit_s=900), place)


async def test_a_series_lies_beside_the_meter(tmp_path: Path, provider: tuple[Path, Card]) -> None:
    folder, card = provider
    place = Location.parse(str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    grants = [(card, wanted("15min"))]
    for days in (2, DAYS):  # continued
        past = await fill(replace(home(tmp_path, days), series=True), place, grants)
    assert past.series is not None
    assert await opened(past, place, folder, "15min") == truth(DAYS, 900)
    bucket = open_bucket(place)
    try:
        reader = await StreamReader.open(bucket, past.series, past.signer, Seen(folder, past.series))
        await reader.refresh(past.end_ms, 10**12)
        sums = await Sums.ask(reader, open_identity(folder), Query("15min", None, None, None))
        rows = [row.sums async for row in sums.rows()]
    finally:
        await bucket.aclose()
    meter = SeasonalHome(1, ZONE)
    days_of = [meter.surroundings(FIRST + timedelta(days=n)) for n in range(DAYS)]
    for lane in ("temperature", "irradiance", "occupancy"):
        values = np.concatenate([day[lane] for day in days_of])[299::300].reshape(-1, 3).sum(axis=1)
        assert [row[lane] for row in rows] == values.tolist()
    assert {row["count"] for row in rows} == {3}


def test_the_command(tmp_path: Path, provider: tuple[Path, Card], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = provider
    command = ["simulate", "history", "--store", str(tmp_path / "store"), "--state", str(tmp_path / "homes")]
    command += ["--days", "2", "--until", "2026-04-01", "--unit", "15min", "--homes", "2", "--series"]
    command += ["--zone", "Europe/Berlin", "--zone", "Europe/London"]
    grants = ["--to", str(folder / "card.cose"), "--granularity", "1h"]
    capsys.readouterr()
    assert main([*command, *grants, "--json"]) == 0
    one, two = json.loads(capsys.readouterr().out)
    assert (one["zone"], two["zone"]) == ("Europe/Berlin", "Europe/London")
    assert two["start_ms"] - one["start_ms"] == 3_600_000
    for past in (one, two):
        place = ["--store", str(tmp_path / "store"), "--stream", past["stream"], "--signer", past["signer"]]
        read = ["provider", "read", "--key", str(folder), *place, "--json", "--max-age", "99999d"]
        assert main(read) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        assert len(rows) == 48
        assert sum(row["sums"]["import_mwh"] for row in rows) == past["import_mwh"]
        place[3] = past["series"]
        assert main(["provider", "read", "--key", str(folder), *place, "--json", "--max-age", "99999d"]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        assert {(len(row["sums"]), row["sums"]["count"]) for row in rows} == {(4, 4)}
        assert main(["config", "check", str(Path(past["folder"]) / "gateway.toml")]) == 0
        capsys.readouterr()
    assert main([*command, *grants]) == 0
    out = capsys.readouterr().out
    assert f"--stream {one['stream']} --signer {one['signer']}" in out
    assert f"its series: --stream {one['series']}" in out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--unit", "7s"], "--unit must be whole seconds that divide an hour, such as 10s, 1min or 15min"),
        (["--profile", "eastron-sdm631"], "there is no meter profile 'eastron-sdm631'; did you mean"),
        (["--until", "9999-01-01"], "--until 9999-01-01 lies in the future"),
        (["--granularity", "1h"], "give the provider's card too"),
        (["--zone", "Mars/Olympus"], "'Mars/Olympus' is not one of"),
        (["--store", "/dev/null/x"], "the store /dev/null/x cannot be made: Not a directory"),
    ],
)
def test_what_cannot_be_simulated(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["simulate", "history", "--store", str(tmp_path), "--state", str(tmp_path / "homes"), *options]
    assert main(command) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "homes").exists()
