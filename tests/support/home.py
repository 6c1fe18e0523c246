"""A home whose gateway runs part by part on real files: the test reads the meter, commits, publishes,
crashes it and starts it again."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.chain.windows import GrantWindows
from gateway.config import CommandsSection, Config, MeterSection, SeriesSection, StoreSection, StreamSection
from gateway.config.model import GatewaySection
from gateway.control.documents import NewGrant
from gateway.daemon.granter import Granter
from gateway.daemon.issuer import Issuer
from gateway.daemon.line import Line
from gateway.daemon.publisher import Publisher
from gateway.daemon.regained import Regained
from gateway.daemon.registration import Registration
from gateway.daemon.rollback import StoreAhead
from gateway.daemon.sealer import Sealer
from gateway.daemon.session import Session
from gateway.daemon.takeover import Takeover
from gateway.daemon.watched import WatchedRoot
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import GrantRecord, Outgoing, Sealed, Stream
from gateway.meters.reading import Reading
from gateway.store.directory import DirectoryBucket
from gateway.trust.keyring import KeyRing
from gateway.trust.opening import open_root
from gateway.wire.card import Card
from gateway.wire.stream import Head
from tests.support.clock import START_S, FakeClock
from tests.support.faulty import FaultyBucket, FaultyDatabase, FaultyRoot
from tests.support.provider import Provider
from tests.support.stored import Stored, read_stored

# Where fsync costs nothing, for tests that live a thousand lives; None: the usual place.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
UNIT_MS, LINK_UNITS, CHUNK_UNITS = 1000, 60, 20
LAYOUT = Layout(UNIT_MS, LINK_UNITS)
LANES = ("import", "export", "power", "count")
Shown = tuple[int, int, int]  # import, export (mWh), power (W)


class CardHolder(Protocol):
    @property
    def card(self) -> Card: ...


class Watched(Ledger):
    """A ledger that lets nothing be sealed twice: rule 1, whatever became of the transaction."""

    def __init__(self, database: FaultyDatabase, home: Home) -> None:
        super().__init__(database)
        self._home = home

    async def append(self, stream: Stream, sealed: Sequence[Sealed], state: bytes) -> None:
        self._home.note(stream, sealed)
        await super().append(stream, sealed, state)
        self._home.durable(stream, sealed)

    async def add_stream(
        self, stream: Stream, descriptor: Outgoing, sealed: Sequence[Sealed], state: bytes
    ) -> None:
        self._home.note(stream, sealed)
        await super().add_stream(stream, descriptor, sealed, state)
        self._home.durable(stream, sealed)


class Home:
    """The files live in `folder`. Between `start` and `stop` (or `crash`) one gateway runs on them."""

    def __init__(
        self,
        folder: Path,
        *,
        lanes: tuple[str, ...] = LANES,
        meters: Sequence[str] = ("main",),
        series: Sequence[SeriesSection] = (),
        layout: Layout = LAYOUT,
        chunk_units: int = CHUNK_UNITS,
        start_s: float = START_S,
        tcti: str = "",
    ) -> None:
        """With `tcti` the root is in the TPM there, and otherwise in software."""
        self.folder = folder
        self.tcti = tcti
        self.lanes = lanes
        self.layout = layout
        self.chunk_units = chunk_units
        self.factor: object = 1
        self.meters = list(meters)
        self.series = tuple(series)
        self.commands: list[dict[str, object]] = []  # the [[commands]] of its configuration
        self.section: dict[str, object] = {}  # what else the sections of its meters have
        self.clock = FakeClock(start_s)
        self.shown: dict[str, Shown] = dict.fromkeys(meters, (5_000_000, 70_000, 0))
        self.read: dict[
            tuple[str, int], list[Shown]
        ] = {}  # what each unit's readings showed, by meter and unit
        self._sealed: dict[tuple[bytes, int, int], bytes] = {}
        self.kept: dict[tuple[bytes, int], bytes] = {}  # stream and unit: the ciphertexts that are durable
        store = folder / "store"
        store.mkdir(parents=True)
        self.bucket = FaultyBucket(DirectoryBucket(store))
        self.running = False
        self.meanwhile = 0

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def config(self) -> Config:
        return Config(
            gateway=GatewaySection(state=self.state),
            store=StoreSection(url=str(self.folder / "store")),
            stream=StreamSection(
                unit_ms=self.layout.unit_ms, link_units=self.layout.link_units, chunk_units=self.chunk_units
            ),
            meter=tuple(
                MeterSection.model_validate(
                    {
                        "name": name,
                        "profile": "eastron-sdm630",
                        "lanes": list(self.lanes),
                        "tcp": {"host": "127.0.0.1"},
                        "unit_id": number,
                        "factor": self.factor,
                        **self.section,
                    }
                )
                for number, name in enumerate(self.meters, 1)
            ),
            series=self.series,
            commands=tuple(CommandsSection.model_validate(one) for one in self.commands),
        )

    # --- the gateway

    async def start(self) -> None:
        """A new incarnation goes on where the ledger stands."""
        kind: Literal["tpm", "software"] = "tpm" if self.tcti else "software"
        self.root = FaultyRoot(await open_root(kind, self.folder / "trust", self.tcti))
        self.database = FaultyDatabase(self.state / "ledger.sqlite")
        await self.database.open()
        self.ledger = Watched(self.database, self)
        self.running = True
        await self.session_begins()

    async def session_begins(self, regained: Regained | None = None) -> None:
        """A session of its own: what a start does, and what follows a take-over."""
        self._delivered: list[tuple[str, int, Shown]] = []
        registration = Registration(self.state, self.root, self.ledger, self.clock)
        self.watched = WatchedRoot(self.root, self.clock)
        self.session = Session(
            self.config(), self.clock, self.watched, self.ledger, self.bucket, registration, regained
        )
        await self.session.open()

    async def stop(self) -> None:
        """In order: what was read is made durable."""
        await self.commit()
        await self.crash()

    async def crash(self) -> None:
        """What was in memory is gone."""
        if self.running:
            self.running = False
            await self.ledger.close()
            await self.root.aclose()

    async def adds(self, meter: str) -> None:
        """A new meter; the gateway starts with it."""
        await self.stop()
        self.meters.append(meter)
        self.shown[meter] = (0, 0, 0)
        await self.start()

    def mend(self) -> None:
        """Nothing fails from now on."""
        for fuse in (self.database.fuse, self.root.fuse, self.bucket.fuse):
            fuse.set(None)
        self.bucket.away = self.bucket.deaf = False

    async def crashes_and_starts(self) -> None:
        """What a power cut does, as far as memory goes."""
        await self.crash()
        await self.start()

    async def __aenter__(self) -> Home:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.crash()

    @property
    def granter(self) -> Granter:
        return self.session.granter

    @property
    def issuer(self) -> Issuer:
        return self.session._issuer

    @property
    def publisher(self) -> Publisher:
        return self.session.publisher

    def sealer(self, meter: str = "main") -> Sealer:
        return self.line(meter).sealer

    @property
    def rollover(self) -> dict[str, int]:
        """What the first meter says of its rollovers: empty, until a test knows better."""
        rollover = self.session._meters[self.meters[0]].rollover
        assert isinstance(rollover, dict)
        return rollover

    def line(self, meter: str = "main") -> Line:
        return self.session.lines[meter]

    async def stream(self, meter: str = "main") -> Stream:
        (found,) = [stream for stream in await self.ledger.streams() if stream.meter == meter]
        return found

    # --- what happens

    def reads(
        self, seconds: float = 1, imported: int = 7, exported: int = 0, power: int = 11, meter: str = "main"
    ) -> None:
        """Time passes, the registers rise, the meter is read."""
        self.clock.pass_s(seconds)
        before = self.shown[meter]
        self.shown[meter] = (before[0] + imported, before[1] + exported, power)
        self.deliver(self.shown[meter], meter)
        self.read.setdefault((meter, self.unit_read(self.clock.wall())), []).append(self.shown[meter])

    def unit_read(self, wall: int) -> int:
        """The unit that a reading of now closes: of more than a second, the one before."""
        return self.layout.unit_at(wall) - (self.layout.unit_ms > 1000)

    def deliver(self, shown: Shown, meter: str = "main") -> None:
        """A reading of these registers, now."""
        registers = dict(zip(LANES, shown, strict=False))
        wall, monotonic = self.clock.wall(), self.clock.monotonic()
        self._delivered.append((meter, monotonic, shown))
        self.sealer(meter).deliver(Reading(meter, registers, wall, monotonic))

    def steps(self, seconds: int) -> None:
        """The wall clock is set. A reading that the gateway still holds may then count for the unit in
        which it was taken by the clock as it is now."""
        self.clock.step_s(seconds)
        ahead = self.clock.wall() - self.clock.monotonic()
        for meter, monotonic, shown in self._delivered:
            unit = self.unit_read(monotonic + ahead)
            self.read.setdefault((meter, unit), []).append(shown)

    async def commit(self) -> None:
        """As the sealers do every few seconds."""
        for line in self.session.lines.values():
            await line.commit()
        await self.session.ended.commit()

    async def runs(self, units: int, every: int = 5, imported: int = 7, exported: int = 3) -> None:
        """So many units of ordinary life: a reading each, a commit now and then."""
        for unit in range(units):
            for meter in self.meters:
                ticks = self.layout.unit_ms / 1000 if meter == self.meters[0] else 0
                self.reads(ticks, imported + unit % 5, exported, unit, meter)
            if unit % every == every - 1:
                await self.commit()

    async def grants(self, provider: CardHolder, granularity: str = "20s", **wish: object) -> GrantRecord:
        """The household grants sums from now on, of the meter's energy, if `wish` says nothing else."""
        wishes: dict[str, Any] = {
            "kind": "windows",
            "zone": "UTC",
            "lanes": None,
            "purpose": "tests",
            "from_ms": None,
            "until_ms": None,
        }
        meter = str(wish.pop("meter", "main"))
        stream = await self.stream(meter)
        wanted = NewGrant(granularity=granularity, **(wishes | wish))
        (granted,), _ = await self.granter.new(
            stream, [provider.card], wanted, confirmed=True, fingerprints=[provider.card.fingerprint]
        )
        return granted.record

    async def publish(self) -> None:
        """The publisher works until it rests; raises what it raises."""
        working = asyncio.create_task(self.publisher.run())
        resting = asyncio.create_task(self.clock.asleep())
        await asyncio.wait({working, resting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (working, resting):
            task.cancel()
        outcome, _ = await asyncio.gather(working, resting, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome

    async def takeover(self, stream_id: bytes) -> Takeover:
        (stream,) = [stream for stream in await self.ledger.streams() if stream.id == stream_id]
        ring = await KeyRing.open(self.root, stream_id)
        return Takeover(self.ledger, self.bucket, self.clock, self.root, stream, ring)

    async def takes_over(self, stream_id: bytes) -> None:
        """What the daemon does when the store is ahead of the ledger. Life goes on for `meanwhile` units
        before the store has been read."""
        takeover = await self.takeover(stream_id)
        read = await takeover.read()
        await self.runs(self.meanwhile)
        await self.commit()
        regained = await takeover.apply(read)
        self.kept.clear()  # units that were durable may have been dropped
        await self.session_begins(regained)

    async def publishes_all(self) -> int:
        """Publish, with take-overs as it needs them; how many it took."""
        for times in range(2 * len(self.meters) + 2):
            try:
                await self.publish()
            except StoreAhead as ahead:
                await self.takes_over(ahead.stream)
            else:
                return times
        raise AssertionError("the ledger and the store do not come together")

    def copies(self, name: str) -> None:
        """Keep a copy of the ledger's files as they are."""
        to = self.folder / "copies" / name
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.state, to)

    async def restores(self, name: str) -> None:
        """Crash, and find the copy in place of the ledger."""
        await self.crash()
        shutil.rmtree(self.state)
        shutil.copytree(self.folder / "copies" / name, self.state)
        self.kept.clear()
        await self.start()

    # --- what must hold

    def note(self, stream: Stream, sealed: Sequence[Sealed]) -> None:
        """Units are about to be durable: under one incarnation each has one ciphertext ever."""
        for part in sealed:
            for column in range(part.c.shape[1]):
                key = (stream.id, part.incarnation, part.first + column)
                c = part.c[:, column].tobytes()
                assert self._sealed.setdefault(key, c) == c, f"unit {key[2]} sealed twice"

    def durable(self, stream: Stream, sealed: Sequence[Sealed]) -> None:
        for part in sealed:
            for column in range(part.c.shape[1]):
                unit = part.first + column
                assert (stream.id, unit) not in self.kept, f"unit {unit} of the ledger sealed again"
                self.kept[stream.id, unit] = part.c[:, column].tobytes()

    async def stored(self, meter: str = "main", *, head: bool = True) -> Stored:
        """The stream in the store, checked to be whole."""
        return await read_stored(self.bucket, self.root, (await self.stream(meter)).id, head=head)

    async def check_energy(self, meter: str = "main") -> Stored:
        """The store's chain shows what the meter showed, to the mWh and at every unit that says that the
        meter was read in it."""
        stored = await self.stored(meter)
        counted = [stored.start + int(i) for i in stored.d["count"].nonzero()[0]]
        assert set(stored.d["count"].tolist()) <= {0, 1}
        assert counted
        assert counted[-1] == stored.end - 1 or stored.end % self.chunk_units == 0
        energy = [lane for lane in ("import", "export") if lane in self.lanes]
        assert any(
            self._fits(stored, meter, counted, energy, first) for first in self.read[meter, counted[0]]
        )
        return stored

    async def check_grant(self, provider: Provider, record: GrantRecord, stored: Stored) -> Grant:
        """Its tokens open exactly the windows that it grants and that are in the store, and rightly: of a
        grant whose key was lost, the first of these windows."""
        layout, stream = self.layout, stored.descriptor.stream
        key = self.root.public_key
        grant, _ = await provider.grant(self.bucket, key, stream, record.id, layout.unit_ms)
        found = await provider.nonces(self.bucket, key, stream, record.id, layout.unit_ms)
        ends = [unit for unit in (grant.until, record.revoked_from, stored.end) if unit is not None]
        windows = GrantWindows(grant, [grant.first, *(b for _, b in found)] if found else ())
        granted = [windows.window(j) for j in range(windows.complete(min(ends)))]
        assert list(found) == (granted if record.key else granted[: len(found)])
        assert all(a >= grant.first and b <= min(ends) for a, b in found)
        for (a, b), nonces in found.items():
            for lane, nonce in zip(grant.lanes, nonces, strict=True):
                assert stored.opened(lane, a, b, nonce) == stored.total(lane, a, b)
        return grant

    def check_puts(self) -> None:
        """But for the head, what was sent to a key once is there for ever."""
        sent: dict[str, bytes] = {}
        for key, data in self.bucket.puts:
            assert kind_of(key) == "head" or sent.setdefault(key, data) == data, key
        for key, data in sent.items():
            assert (self.folder / "store" / key).read_bytes() == data

    def check_heads(self) -> None:
        """Each head named only grants whose revocations the store had by then, and the last one names all."""
        there: dict[str, set[bytes]] = {}
        last: dict[str, Head] = {}
        for key, data in self.bucket.puts:
            stream = key.split("/")[1]
            if kind_of(key) == "revoked":
                there.setdefault(stream, set()).add(bytes.fromhex(key.split("/")[-2]))
            if kind_of(key) == "head":
                last[stream] = head = Head.read(data, self.root.public_key, key)
                assert head.revoked is not None
                assert set(head.revoked) <= there.get(stream, set())
        for stream, head in last.items():
            assert set(head.revoked or ()) == there.get(stream, set())

    def check_kept(self, stored: Stored) -> None:
        """Every unit that was ever durable is in the store, with the ciphertext it had."""
        lanes = [stored.c[lane] for lane in self.lanes]
        for (stream, unit), c in self.kept.items():
            if stream == stored.descriptor.stream:
                assert b"".join(lane[unit - stored.start].tobytes() for lane in lanes) == c

    def _fits(
        self, stored: Stored, meter: str, counted: list[int], energy: Sequence[str], first: Shown
    ) -> bool:
        before, last = counted[0], first
        for unit in counted[1:]:
            rise = tuple(stored.total(lane, before + 1, unit + 1) for lane in energy)
            shown = [
                now
                for now in self.read.get((meter, unit), [])
                if rise == tuple(now[LANES.index(lane)] - last[LANES.index(lane)] for lane in energy)
                and ("power" not in self.lanes or stored.total("power", unit, unit + 1) == now[2])
            ]
            if not shown:
                return False
            before, last = unit, shown[0]
        return True


def kind_of(key: str) -> str:
    """What lies at a key: stream, chunk, head, grant, new or revoked."""
    parts = key.split("/")
    return "chunk" if "chunk" in parts else "new" if "new" in parts else parts[-1].removesuffix(".cose")
