"""Homes of a neighbourhood, their store, a load monitoring centre and a summing service, without a
registrar."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.centre.engine import DuckDB, Engine
from gateway.centre.homes import Home as Listing
from gateway.centre.ingest import Pass, ingest
from gateway.centre.noise import Noise
from gateway.centre.query import Load, load
from gateway.centre.state import State
from gateway.chain.grant import Grant
from gateway.provider.homes import Listed, read_homes
from gateway.provider.load import Answer, Member, Windows, of_each
from gateway.registrar.summing import SummingService
from gateway.store.bucket import Bucket
from gateway.store.directory import DirectoryBucket
from gateway.stream.reader import StreamReader
from gateway.wire.stream import Assurance
from tests.stream.stream import START, Home, Provider, random_readings

NOW_MS = START * 1000 + 86_400_000


@dataclass
class Neighbourhood:
    """Homes that publish into the directory `store`; each has one load grant."""

    folder: Path
    centre: Provider
    service: Provider
    homes: list[Home] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    regions: list[str] = field(default_factory=list)
    asked: list[tuple[int, Windows]] = field(default_factory=list)
    bucket: Bucket | None = None

    @classmethod
    def new(cls, folder: Path) -> Neighbourhood:
        centre, service = (Provider.new(folder / name) for name in ("centre", "service"))
        SummingService.begin(service.folder)
        return cls(folder, centre, service)

    def joins(self, home: Home, region: str = "North", granularity: str = "1min", **options: object) -> Home:
        self.homes.append(home)
        self.grants.append(home.grant(self.centre.card, granularity, kind="load", **options))  # type: ignore[arg-type]
        home.grant(self.service.card, granularity, kind="load", partner=self.grants[-1], **options)  # type: ignore[arg-type]
        self.regions.append(region)
        return home

    @property
    def listing(self) -> list[Listing]:
        return [
            Listing(Listed(home.id, home.signer.kid, grant.id), region)
            for home, grant, region in zip(self.homes, self.grants, self.regions, strict=True)
        ]

    async def store(self) -> Bucket:
        """The store as it is now; that of `bucket` where it is given."""
        return self.bucket or await self.store_in("store")

    async def store_in(self, name: str) -> Bucket:
        """The objects of all homes, in a folder of this name."""
        for home in self.homes:
            for key, data in home.objects.items():
                path = self.folder / name / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return DirectoryBucket(self.folder / name)

    async def takes_in(self, folder: str = "data", streams: Collection[bytes] | None = None) -> Pass:
        """One run of `gateway centre ingest --once`, or a look at these streams alone."""
        bucket = await self.store()
        state = State.open(self.folder / folder, make=True)
        try:
            with state.alone():
                state.list_homes(self.listing)
                return await ingest(state, bucket, self.centre.identity, NOW_MS, streams=streams)
        finally:
            state.close()

    async def ask(self, homes: str, windows: Windows) -> Answer:
        """The summing service's answer."""
        listed = read_homes(homes, "the set")
        self.asked.append((len(listed), windows))
        bucket = await self.store()

        async def member(one: Listed) -> Member:
            reader = await StreamReader.open(bucket, one.stream, one.signer)
            await reader.refresh(NOW_MS, 2**62)
            return Member(reader, one.grant)

        members = await of_each(listed, lambda one: one.stream, member)
        return await SummingService.in_folder(self.service.folder, self.service.identity).add(
            members, windows
        )

    async def load(
        self,
        windows: Windows,
        region: str = "North",
        engine: Engine | None = None,
        folder: str = "data",
        certified: set[bytes] | None = None,
        noise: Noise | None = None,
    ) -> Load:
        async def given() -> set[bytes]:
            assert certified is not None
            return certified

        state = State.open(self.folder / folder, make=False)
        ask = self.ask, None if certified is None else given
        try:
            return await load(state, engine or DuckDB(), region, windows, *ask, noise)
        finally:
            state.close()

    def truth(self, windows: Windows, numbers: Sequence[int] | None = None) -> list[list[int]]:
        """The sums of what was sealed, [window][lane], over the homes of these numbers."""
        chosen = range(len(self.homes)) if numbers is None else numbers
        found = []
        for a, b in windows.times:
            row = []
            for lane in windows.lanes:
                units = [self.homes[i].layout.unit_ms for i in chosen]
                row.append(
                    sum(
                        self.homes[i].truth(lane, a // unit, b // unit)
                        for i, unit in zip(chosen, units, strict=True)
                    )
                )
            found.append(row)
        return found


def minutes(*edges: int, lanes: tuple[str, ...] = ("import",)) -> Windows:
    """Windows between edges in minutes since the test's start."""
    ms = [START * 1000 + edge * 60_000 for edge in edges]
    return Windows(lanes, tuple(itertools.pairwise(ms)))


def sealed(seconds: int, *restarts: int, assurance: Assurance = "tpm") -> Home:
    """A home of so many seconds that restarted at these."""
    home = Home(assurance=assurance)
    for a, b in zip((0, *restarts), (*restarts, seconds), strict=True):
        if a:
            home.restart()
        home.seal(random_readings(b - a))
    return home
