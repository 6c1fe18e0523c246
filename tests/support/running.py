"""The gateway as a whole in one process, on files in a folder, time driven by the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.config import Config
from gateway.daemon.service import Daemon
from gateway.ledger.ledger import Ledger
from gateway.store.directory import DirectoryBucket
from gateway.trust.opening import open_root
from tests.support.clock import FakeClock
from tests.support.stored import Stored, read_stored


class Gateway:
    """A daemon on the files in `folder`; `live` lets time pass."""

    def __init__(
        self, folder: Path, clock: FakeClock, port: int, profile: str = "eastron-sdm630", interval_s: int = 1
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.store = folder / "store"
        self.store.mkdir(exist_ok=True)
        self.file = folder / "gateway.toml"
        self.file.write_text(
            f"""
            gateway = {{ state = "state", socket = "s", commit_seconds = 5 }}
            clock = {{ source = "host" }}
            trust = {{ root = "software" }}
            stream = {{ unit_ms = 1000, link_units = 60, chunk_units = 20 }}
            store = {{ url = "{self.store}" }}
            [[meter]]
            name = "main"
            profile = "{profile}"
            interval_s = {interval_s}
            tcp = {{ host = "127.0.0.1", port = {port} }}
            """
        )
        self.daemon = Daemon(self.config, clock)
        self.task: asyncio.Task[None] | None = None
        self.parts = 5  # that sleep, once they have done what there is to do

    @property
    def config(self) -> Config:
        return Config.load(self.file)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    async def start(self) -> None:
        self.daemon = Daemon(self.config, self.clock)
        self.task = asyncio.create_task(self.daemon.run())
        await self.rests()

    async def rests(self) -> None:
        """Wait until meter, reader, sealer, publisher and read-back all sleep; raises what ended it."""
        assert self.task is not None
        resting = asyncio.create_task(self.clock.asleep(self.parts))
        await asyncio.wait({self.task, resting}, return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            resting.cancel()
            await asyncio.gather(resting, return_exceptions=True)
            await self.task
        await resting

    async def lives(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.pass_s(1)
            await self.rests()

    async def stop(self) -> None:
        self.daemon.stop()
        if self.task is not None:
            await self.task

    async def ends(self) -> None:
        """However it goes."""
        self.daemon.stop()
        if self.task is not None:
            await asyncio.gather(self.task, return_exceptions=True)

    @asynccontextmanager
    async def ledger(self, state: str = "state") -> AsyncIterator[Ledger]:
        ledger = await Ledger.open(self.folder / state / "ledger.sqlite", reading=True)
        try:
            yield ledger
        finally:
            await ledger.close()

    async def stored(self) -> Stored:
        root = await open_root("software", self.state / "trust", "")
        async with self.ledger() as ledger:
            (stream,) = await ledger.streams()
        stored = await read_stored(DirectoryBucket(self.store), root, stream.id)
        await root.aclose()
        return stored

    async def check(self, remembered: Container[int] = ()) -> Stored:
        """The store's chain is whole, and equals what the meter showed, to the mWh; in the units that it
        `remembered` it tells no power."""
        stored = await self.stored()
        lines = [json.loads(line) for line in (self.folder / "truth").read_text().splitlines()]
        shown = {line["unit"]: line for line in lines}
        counted = [stored.start + int(i) for i in stored.d["count"].nonzero()[0]]
        before = counted[0]
        for unit in counted[1:]:
            for lane in ("import", "export"):
                rise = shown[unit][f"{lane}_mwh"] - shown[before][f"{lane}_mwh"]
                assert stored.total(lane, before + 1, unit + 1) == rise
            power = 0 if unit in remembered else shown[unit]["power_w"]
            assert stored.total("power", unit, unit + 1) == power
            before = unit
        return stored
