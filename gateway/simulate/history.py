"""A believable past of a home in a store: what its gateway would have sealed, issued and sent, by the real
sealer, chunker, pager, issuer and publisher, in driven time.

Each home has a folder of its own with `gateway.toml` and `state/`: the root, in software, and the ledger. So
`gateway run` can go on where the past ends, and further grants can be made. What was made durable is not made
again: the same command continues what was interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from gateway.chain.grant import Grant
from gateway.chain.layout import LANES
from gateway.config import Config, location
from gateway.control.documents import NewGrant
from gateway.daemon.grants import GrantBook, ServedGrant
from gateway.daemon.registration import Registration
from gateway.daemon.session import Session
from gateway.daemon.watched import WatchedRoot
from gateway.errors import LedgerError, StoreUnavailable, UsageError
from gateway.host.clock import SystemClock
from gateway.host.files import write_durably
from gateway.ledger.ledger import Ledger
from gateway.meters.profile import load_profile
from gateway.meters.reading import Reading
from gateway.simulate.seasons import SeasonalHome
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.trust.opening import open_root
from gateway.wire.card import Card
from gateway.wire.cose import kid_of

METER, SERIES = "main", "surroundings"
_SERIES_LANES = ("temperature", "irradiance", "occupancy")
_NS = 1_000_000_000
_PORT = 5020
_LINK_S = 3600  # of a chunk too
_AT_ONCE = 3600  # readings in a commit
_READ_BACK_DAYS = 20  # so that the ledger need not keep all that it sent
_MOST_WAITING = 500  # objects, so that what is sent keeps up
_AT_FIRST_MWH = {"import": 12_345_678_000, "export": 2_345_678_000}  # a few years after it was installed


class DrivenClock:
    """A clock that stands still until it is moved on, and is right. Who sleeps on it looks again at once."""

    def __init__(self, wall_s: int) -> None:
        self._begin = self._wall = wall_s * _NS

    def wall(self) -> int:
        return self._wall

    def monotonic(self) -> int:
        return self._wall - self._begin

    def trusted(self) -> bool:
        return True

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.01)

    def move_to(self, wall_s: int) -> None:
        self._wall = max(self._wall, wall_s * _NS)


@dataclass(frozen=True, slots=True)
class Home:
    """The home to make a past for: its `number`, from 1 on, is its seed; its files go into `folder`."""

    folder: Path
    number: int
    zone: str
    profile: str
    unit_s: int
    first: date
    end: date
    """The day after the last one."""
    series: bool = False
    """Whether it adds its weather and how many are at home, as a series."""


@dataclass(frozen=True, slots=True)
class Past:
    """A home whose past is in the store: energy is what its registers rose by, in mWh."""

    home: Home
    stream: bytes
    signer: bytes
    start_ms: int
    end_ms: int
    import_mwh: int
    export_mwh: int
    grants: tuple[bytes, ...]
    series: bytes | None = None
    """The stream of its series."""


async def fill(
    home: Home,
    place: Location,
    cards: Sequence[tuple[Card, NewGrant]] = (),
    progress: Callable[[date], None] = lambda day: None,
) -> Past:
    """Make the past of a home, up to `home.end`, and send it to the store; then make the grants, from the
    stream's beginning on, which the home has not made already; sums are granted of its series too. UsageError
    where the folder has another home's past; StoreUnavailable, StoreDenied and LedgerError end it, and the
    next call continues."""
    config = _configuration(home, place)
    meter = SeasonalHome(home.number, home.zone)
    clock = DrivenClock(int(meter.seconds_of(home.first)[0]))
    async with contextlib.AsyncExitStack() as stack:
        root = await open_root("software", config.gateway.trust, "")
        stack.push_async_callback(root.aclose)
        ledger = await Ledger.open(config.gateway.ledger)
        stack.push_async_callback(ledger.close)
        bucket = open_bucket(location(config.store))
        stack.push_async_callback(bucket.aclose)
        registration = Registration(config.gateway.state, root, ledger, clock)
        session = Session(config, clock, WatchedRoot(root, clock), ledger, bucket, registration)
        await session.open()
        publishing = asyncio.create_task(session.publisher.run())
        stack.push_async_callback(_ended, publishing)
        stack.callback(publishing.cancel)
        shown = _Display()
        before = clock.wall() // _NS
        # The streams begin here.
        await _live(session, clock, METER, [(before, {**_AT_FIRST_MWH, "power": 0})])
        if home.series:
            await _live(session, clock, SERIES, [(before, dict.fromkeys(_SERIES_LANES, 0))])
        for number, day in enumerate(_days(home.first, home.end), 1):
            await _live(session, clock, METER, shown.readings(meter, day, home.unit_s))
            if home.series:
                await _live(session, clock, SERIES, _surroundings(meter, day, home.unit_s))
            while await ledger.backlog() > _MOST_WAITING:
                await _sends(publishing, session)
            if number % _READ_BACK_DAYS == 0:
                for stream in await ledger.streams():
                    await session.readback.look(stream)
            progress(day)
        while await ledger.backlog():  # grants of the past read the pages that are in the store
            await _sends(publishing, session)
        streams = {stream.meter: stream for stream in await ledger.streams()}
        stream, series = streams[METER], streams.get(SERIES)
        known = set()
        for one in streams.values():
            await session.readback.look(one)
            held = await GrantBook(ledger, clock).all(one)
            known |= {_kind(own.grant) for own in held if isinstance(own, ServedGrant)}
        clock.move_to(-(-SystemClock("host").wall() // _NS))  # so that the cards are valid
        made = []
        sums = [(card, replace(wanted, lanes=None)) for card, wanted in cards if wanted.tariff is None]
        wishes = [(stream, *one) for one in cards] + [(series, *one) for one in sums if series is not None]
        for to, card, wanted in wishes:
            if (to.id, card.kid, wanted.kind, wanted.granularity) not in known:
                granted, _ = await session.granter.new(
                    to, [card], wanted, confirmed=True, fingerprints=[card.fingerprint]
                )
                made += [served.grant.id for served in granted]
        while await ledger.backlog():
            await _sends(publishing, session)
        position = await ledger.position(stream)
    unit_ms = stream.layout.unit_ms
    return Past(
        home,
        stream.id,
        kid_of(root.public_key),
        stream.start * unit_ms,
        position.next_unit * unit_ms,
        shown.risen("import"),
        shown.risen("export"),
        tuple(made),
        None if series is None else series.id,
    )


def _kind(grant: Grant) -> tuple[bytes, bytes, str, str]:
    return grant.stream, grant.provider, grant.kind, str(grant.granularity)


def _surroundings(meter: SeasonalHome, day: date, unit_s: int) -> list[tuple[int, dict[str, int]]]:
    """For each unit of a day its end (Unix time, s), and the values of the series then."""
    ends = (meter.seconds_of(day)[unit_s - 1 :: unit_s] + 1).tolist()
    columns = {
        lane: values[unit_s - 1 :: unit_s].tolist() for lane, values in meter.surroundings(day).items()
    }
    rows = zip(*(columns[lane] for lane in _SERIES_LANES), strict=True)
    return [(end, dict(zip(_SERIES_LANES, row, strict=True))) for end, row in zip(ends, rows, strict=True)]


class _Display:
    """What the meter shows: whole Wh, as most displays and profiles do."""

    def __init__(self) -> None:
        self._ws = {"import": 0, "export": 0}  # since the first day began

    def risen(self, lane: str) -> int:
        """How much the lane's register rose since the first day began, in mWh."""
        return self._ws[lane] // 3600 * 1000

    def readings(self, meter: SeasonalHome, day: date, unit_s: int) -> list[tuple[int, dict[str, int]]]:
        """For each unit of a day its end (Unix time, s), and the registers then."""
        seconds, watts = meter.seconds_of(day), meter.net_power(day)
        drawn, given = (
            np.cumsum(np.clip(part, 0, None).reshape(-1, unit_s).sum(axis=1)) for part in (watts, -watts)
        )
        imported, exported = (
            _AT_FIRST_MWH[lane] + (self._ws[lane] + ws) // 3600 * 1000
            for lane, ws in (("import", drawn), ("export", given))
        )
        self._ws = {
            "import": self._ws["import"] + int(drawn[-1]),
            "export": self._ws["export"] + int(given[-1]),
        }
        ends = (seconds[unit_s - 1 :: unit_s] + 1).tolist()
        columns = zip(imported.tolist(), exported.tolist(), watts[unit_s - 1 :: unit_s].tolist(), strict=True)
        return [
            (end, {"import": a, "export": b, "power": c})
            for end, (a, b, c) in zip(ends, columns, strict=True)
        ]


async def _live(
    session: Session, clock: DrivenClock, name: str, readings: Sequence[tuple[int, dict[str, int]]]
) -> None:
    """Let the time of the readings of the meter, or the series, pass, and take them through all steps."""
    line = session.lines[name]
    known, lanes = line.sealer.last_read_wall() or 0, line.sealer.lanes
    unit_ns = line.sealer.layout.unit_ms * 1_000_000
    for at in range(0, len(readings), _AT_ONCE):
        some = readings[at : at + _AT_ONCE]
        clock.move_to(some[-1][0])
        ahead = clock.wall() - clock.monotonic()
        for end, registers in some:
            if end * _NS > known:
                wall = line.sealer.read_from(end * _NS // unit_ns - 1)
                mine = {lane: value for lane, value in registers.items() if lane in lanes}
                line.sealer.deliver(Reading(name, mine, wall, wall - ahead))
        if some[-1][0] * _NS > known:
            await line.commit()
            if line.fault is not None:
                raise LedgerError(line.fault)


async def _sends(publishing: asyncio.Task[None], session: Session) -> None:
    """Wait while objects are sent. StoreUnavailable where the store fails."""
    await asyncio.wait({publishing}, timeout=0.02)
    if publishing.done():
        await publishing
    if session.publisher.fault is not None:
        raise StoreUnavailable(session.publisher.fault)


async def _ended(task: asyncio.Task[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _days(first: date, end: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((end - first).days)]


def _configuration(home: Home, place: Location) -> Config:
    """The home's configuration, written if it is not there. UsageError where another is."""
    path = home.folder / "gateway.toml"
    units = _LINK_S // home.unit_s
    profile = load_profile(home.profile)
    lanes = [lane for lane in LANES if lane in (*profile.lanes, "count")]
    text = f"""# The home {home.number} in {home.zone}, whose past from {home.first} on was simulated.
# `gateway simulate modbus --port {_PORT + home.number}` is a meter for it to go on with. Its registers are
# others: `gateway meters accept {METER} --as exchange` takes them, once `gateway status` says they are held.
gateway = {{ state = "state", socket = "control.sock" }}
clock = {{ source = "host" }}
trust = {{ root = "software" }}
stream = {{ unit_ms = {home.unit_s * 1000}, link_units = {units}, chunk_units = {units} }}
store = {{ {_store(place)} }}
[[meter]]
name = "{METER}"
profile = "{home.profile}"
lanes = {json.dumps(lanes)}
tcp = {{ host = "127.0.0.1", port = {_PORT + home.number} }}
"""
    if home.series:
        text += f'[[series]]\nname = "{SERIES}"\nlanes = {json.dumps(_SERIES_LANES)}\n'
    try:
        home.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_durably(path, text.encode(), 0o644)
        elif path.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"{home.folder} holds the past of another home, or of other days: name a new folder, or use "
                "the same options to continue it"
            )
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return Config.load(path)


def _store(place: Location) -> str:
    url = place.url if place.url.startswith("s3://") else str(Path(place.url).absolute())
    parts = {"url": url, "endpoint": place.endpoint, "region": place.region}
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in parts.items() if value is not None)
