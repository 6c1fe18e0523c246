"""The demo's gateway and its provider, each run by the commands that a person would type."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from provisioning.demo.meter import MODEL, SimulatedMeter
from provisioning.demo.minutes import LANES, LINK_UNITS, UNIT_MS
from provisioning.demo.process import Done, Part, Parts, must, program, until
from provisioning.demo.store import BUCKET, REGION, Store, write_secret

SOCKET = "control.sock"
LONGEST_FOLDER = 107 - len(f"/{SOCKET}")  # characters: unix(7), sun_path


@dataclass(frozen=True, slots=True)
class Stream:
    """The gateway's stream: its id and signer in hexadecimal, its first second."""

    id: str
    signer: str
    start: int


class Gateway:
    """The gateway, configured in `folder`; `tcti` is its TPM's address, None for the software root."""

    def __init__(
        self, parts: Parts, folder: Path, store: Store, meter: SimulatedMeter, tcti: str | None
    ) -> None:
        self._parts = parts
        self._part: Part | None = None
        credentials = folder / "s3.credentials"
        write_secret(credentials, store.gateway.file())
        root = 'root = "software"' if tcti is None else f'root = "tpm"\ntcti = "{tcti}"'
        self.config = folder / "gateway.toml"
        self.config.write_text(
            f"""\
[gateway]
state = "state"
socket = "{SOCKET}"
commit_seconds = 1

[clock]
source = "host"

[trust]
{root}

[stream]
unit_ms = {UNIT_MS}
link_units = {LINK_UNITS}   # short, so that the stream begins soon
chunk_units = {LINK_UNITS}  # and a minute is in the store as soon as it is over

[store]
url = "s3://{BUCKET}"
endpoint = "{store.endpoint}"
region = "{REGION}"
credentials = "{credentials}"

[[meter]]
name = "main"
profile = "{MODEL}"
tcp = {{ host = "127.0.0.1", port = {meter.port} }}
"""
        )

    async def start(self) -> None:
        """Start `gateway run`, and wait until it has read the meter."""
        self._part = await self._parts.start("gateway", program("gateway"), "run", "--config", self.config)

        async def has_read() -> bool:
            status = await self._status()
            return status is not None and status["meters"][0]["read_ms"] is not None

        await until(self._part, "read the meter", has_read)

    async def stream(self) -> Stream:
        """Wait until the stream has begun."""
        assert self._part is not None
        found: list[Stream] = []

        async def has_begun() -> bool:
            status = await self._status()
            if status is not None and status["meters"][0]["stream"] is not None:
                meter = status["meters"][0]
                found.append(Stream(meter["stream"], status["signer"], meter["start_ms"] // 1000))
            return bool(found)

        await until(self._part, "begin its stream", has_begun)
        return found[0]

    async def grant(self, card: Path, start: int) -> int:
        """Let the holder of `card` open one-minute sums, from the first whole minute after `start` on; that
        minute's first second."""
        shown = must(
            await self._parts.run(program("gateway"), "card", "show", card, "--json"), "`gateway card show`"
        )
        done = await self._parts.run(
            *(program("gateway"), "grant", "new", "--config", self.config, "--to", card),
            *("--fingerprint", json.loads(shown.out)["fingerprint"]),
            *("--granularity", "1min", "--lanes", ",".join(LANES), "--from", _spell(start)),
            *("--purpose", "a look at how it works", "--json"),
        )
        return int(json.loads(must(done, "`gateway grant new`").out)["grants"][0]["from_ms"] // 1000)

    def log_end(self) -> str:
        """The end of the gateway's log, indented."""
        return self._part.log_end() if self._part is not None else ""

    async def _status(self) -> dict[str, Any] | None:
        """The gateway's status; None while it does not answer."""
        done = await self._parts.run(program("gateway"), "status", "--config", self.config, "--json")
        return json.loads(done.out) if done.out and done.code in (0, 1) else None  # 1: not sealed yet


class Provider:
    """A provider with keys of its own and the right to read the bucket."""

    def __init__(self, parts: Parts, folder: Path) -> None:
        self._parts = parts
        self._folder = folder / "provider"

    @property
    def card(self) -> Path:
        """The card that the household grants to."""
        return self._folder / "card.cose"

    async def new(self) -> None:
        """Make the keys and the card: `gateway provider new`."""
        done = await self._parts.run(program("gateway"), "provider", "new", self._folder, "--name", "Utility")
        must(done, "`gateway provider new`")

    async def read(self, store: Store, stream: Stream, begin: int, granularity: str) -> Done:
        """`gateway provider read --json` of all whole windows from second `begin` on."""
        return await self._parts.run(
            *(program("gateway"), "provider", "read", "--key", self._folder, "--store", f"s3://{BUCKET}"),
            *("--endpoint", store.endpoint, "--region", REGION, "--stream", stream.id),
            *("--signer", stream.signer, "--granularity", granularity, "--lanes", ",".join(LANES)),
            *("--from", _spell(begin), "--json"),
            environment=store.provider.environment(),
        )


def _spell(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()
