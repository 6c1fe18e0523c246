"""A street of homes that share one store, read as the desk does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from gateway.provider.desk import AT_ONCE, Home, HomeSums, read_home, read_many
from gateway.provider.query import Query
from gateway.provider.table import Table
from gateway.store.bucket import Bucket
from gateway.store.directory import DirectoryBucket
from gateway.wire import names
from tests.provider.reading import DAY_MS
from tests.stream.stream import Home as Gateway
from tests.stream.stream import Provider

Shown = list[tuple[object, object, dict[str, int]]]


@dataclass(frozen=True, slots=True)
class Street:
    """Gateways that publish into the directory `store`."""

    store: Path
    provider: Provider
    gateways: list[Gateway] = field(default_factory=list)

    @classmethod
    def new(cls, folder: Path) -> Street:
        """An empty one."""
        (folder / "store").mkdir(parents=True)
        return cls(folder / "store", Provider.new(folder / "utility"))

    def joins(self, gateway: Gateway) -> Gateway:
        """The gateway is one of the street's from now on."""
        self.gateways.append(gateway)
        return gateway

    @property
    def homes(self) -> list[Home]:
        return [Home(one.id, one.signer.kid) for one in self.gateways]

    def write(self) -> Path:
        """The store as it is now."""
        for gateway in self.gateways:
            own = self.store / names.stream_prefix(gateway.id)
            for path in own.rglob("*.cose") if own.exists() else ():
                path.unlink()
            for key, data in gateway.objects.items():
                path = self.store / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return self.store

    def lists(self, path: Path, heading: str = "stream,signer") -> Path:
        """A list of the homes, as --homes takes it."""
        lines = [f"{home.stream.hex()},{home.signer.hex()}" for home in self.homes]
        if heading.endswith("name"):
            lines = [f"{line},House {number}" for number, line in enumerate(lines, 1)]
        path.write_text("\n".join([heading, *lines, ""]))
        return path

    async def read(
        self,
        query: Query | None = None,
        homes: Sequence[Home] | None = None,
        *,
        bucket: Bucket | None = None,
        at_once: int = AT_ONCE,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> list[HomeSums]:
        """What `read_many` gives, of all homes unless told otherwise."""
        reading = read_many(
            bucket or DirectoryBucket(self.write()),
            self.homes if homes is None else homes,
            self.provider.identity,
            query or Query(),
            now_ms=time.time_ns() // 1_000_000,
            max_age_ms=DAY_MS,
            at_once=at_once,
            progress=progress,
        )
        async with aclosing(reading) as found:
            return [one async for one in found]

    async def alone(self, home: Home, query: Query | None = None) -> HomeSums:
        """What one home gives by itself."""
        return await read_home(
            DirectoryBucket(self.write()),
            home,
            self.provider.identity,
            query or Query(),
            now_ms=time.time_ns() // 1_000_000,
            max_age_ms=DAY_MS,
        )

    def table(self, query: Query | None = None) -> Table:
        """All of it as a table."""
        return Table.of_homes(asyncio.run(self.read(query)))


def shown(answer: HomeSums) -> tuple[Shown, str]:
    """The rows, and the error's sentence."""
    rows: Shown = [(row.start, row.end, dict(row.sums)) for block in answer.blocks for row in block]
    return rows, str(answer.error or "")
