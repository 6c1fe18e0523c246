"""The utility's broker: commands and prices in, receipts and ciphertexts out; never a reading in clear.

Whoever may write to a topic is the broker's affair; that a command or a price series is genuine is checked by
its signature, by the gateway and by `gateway.household.prices`. What fails is dropped with a line in the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from gateway.control.commands import CommandStatus
from gateway.control.documents import GrantRecordStatus, GrantStatus, Status
from gateway.control.objects import ObjectList
from gateway.errors import BrokerDenied, BrokerUnavailable, GatewayError, NotFound, Unavailable
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.household.mqtt.configuration import UtilityBroker
from gateway.household.mqtt.discovery import OFFLINE, ONLINE
from gateway.household.mqtt.kept import Kept
from gateway.household.mqtt.link import Link, LinkStatus, sleep_or, together
from gateway.mqtt import topics
from gateway.mqtt.broker import Access, Connection, Message, Retained
from gateway.wire import names

MAX_COMMAND = 4096
"""Bytes of a signed command; a text in it has far fewer."""
_INTERVAL_S = 5.0

_STEPS = ("commands", "prices", "status", "receipts", "chunks")
_OPEN_MS = 3_600_000  # after its end a load's last chunk may still have to close

_log = logging.getLogger(__name__)


class UtilityControl(Protocol):
    """What is asked of the gateway: see `gateway.control.client.ControlClient`."""

    async def status(self) -> Status: ...

    async def grants(self) -> tuple[GrantStatus | GrantRecordStatus, ...]: ...

    async def command(self, signed: bytes) -> CommandStatus: ...

    async def commands(self) -> tuple[CommandStatus, ...]: ...

    async def list_objects(self, prefix: str = "", after: str = "") -> ObjectList: ...

    async def get_object(self, key: str) -> bytes: ...


_Step = Callable[[Connection], Awaitable[None]]
Accept = Callable[[bytes], Awaitable[object]]
"""Takes a signed price series: `gateway.household.prices.Prices.accept`."""


class Utility:
    """The utility's broker under [mqtt.utility], which `section` gives. `folder` keeps what has been sent,
    over restarts; `accept` takes the price series."""

    def __init__(
        self,
        section: UtilityBroker,
        control: UtilityControl,
        accept: Accept,
        folder: Path,
        clock: Clock,
        *,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self._section = section
        self._control = control
        self._accept = accept
        self._clock = clock
        self._interval_s = interval_s
        self._receipts = Kept(folder / "receipts.json")
        self._chunks = Kept(folder / "chunks.json")
        self._kid = ""
        self._due = asyncio.Event()
        self._dropped, self._waiting = self._new_log(), self._new_log()
        self._faults = {what: self._new_log() for what in _STEPS}
        self._link = Link("the utility's broker", clock, self._access, self._serve)

    @property
    def status(self) -> LinkStatus:
        """How the connection stands."""
        link = self._link.status
        denied = next((log.fault for log in self._faults.values() if log.fault), None)
        return replace(link, fault=link.fault or denied)

    async def run(self) -> None:
        """Stay connected, and pass on what comes and goes, until cancelled."""
        await self._link.run()

    def _new_log(self) -> FaultLog:
        return FaultLog(self._clock, _log.warning, _log.info, "the utility's broker: ")

    async def _access(self) -> tuple[Access, Retained]:
        self._kid = (await self._control.status()).signer
        return self._section.access(self._kid), Retained(topics.status(self._kid), OFFLINE)

    async def _serve(self, connection: Connection) -> None:
        await self._step("commands", self._await_commands, connection)
        await self._step("prices", self._await_prices, connection)
        await self._step("status", self._greet, connection)
        await together(
            self._hear(connection),
            self._repeat("receipts", self._send_receipts, connection),
            self._repeat("chunks", self._send_chunks, connection),
        )

    # --- in

    async def _await_commands(self, connection: Connection) -> None:
        # One that the broker retained would come again with each connection.
        await connection.subscribe([topics.command(self._kid)], retained=False)

    async def _await_prices(self, connection: Connection) -> None:
        await connection.subscribe([topics.PRICES])

    async def _hear(self, connection: Connection) -> None:
        while True:
            message = await connection.receive()
            try:
                await self._take(message)
            except (GatewayError, OSError) as error:
                self._dropped.report(f"dropped what came at {message.topic!r}: {error}")
            connection.acknowledge(message)

    async def _take(self, message: Message) -> None:
        if message.topic == topics.command(self._kid):
            if len(message.payload) > MAX_COMMAND:
                size = f"it has {len(message.payload)} bytes, and a command at most {MAX_COMMAND}"
                self._dropped.report(f"dropped what came at {message.topic!r}: {size}")
                return
            await self._deliver(message, self._control.command)
            self._due.set()
        elif topics.is_price(message.topic):
            await self._deliver(message, self._accept)
        else:
            self._dropped.report(f"dropped what came at {message.topic!r}: nothing is expected there")

    async def _deliver(self, message: Message, take: Callable[[bytes], Awaitable[object]]) -> None:
        """Hand a signed object on. While the gateway does not answer the broker keeps what is not
        acknowledged yet, also if this program ends."""
        while True:
            try:
                await take(message.payload)
            except Unavailable as error:
                self._waiting.report(f"what came at {message.topic!r} waits: {error}")
                await self._clock.sleep(self._interval_s)
            else:
                self._waiting.clear("the utility's broker: what came is passed on again")
                return

    # --- out

    async def _repeat(self, what: str, step: _Step, connection: Connection) -> None:
        while True:
            self._due.clear()
            await self._step(what, step, connection)
            await sleep_or(self._due, self._clock, self._interval_s)

    async def _step(self, what: str, step: _Step, connection: Connection) -> None:
        """Take a step. What the broker refuses, and what the gateway cannot say now, ends nothing but it."""
        try:
            await step(connection)
        except BrokerUnavailable:
            raise
        except BrokerDenied as error:
            self._faults[what].report(str(error))
        except GatewayError as error:
            _log.debug("%s wait: %s", what, error)
        else:
            self._faults[what].clear(f"the utility's broker: it takes the {what} again")

    async def _greet(self, connection: Connection) -> None:
        await connection.publish(topics.status(self._kid), ONLINE, retain=True)

    async def _send_receipts(self, connection: Connection) -> None:
        """Send each command's last receipt until the broker has it. The gateway keeps the receipts: here is
        kept which of them the broker has, so none is lost, and one may be sent twice."""
        commands = await self._control.commands()
        for one in reversed(commands):
            digest = hashlib.sha256(one.receipt).hexdigest()
            if self._receipts.get(one.id) != digest:
                await connection.publish(topics.receipt(self._kid), one.receipt)
                self._receipts.put(one.id, digest)
        self._receipts.drop(*(set(self._receipts.names) - {one.id for one in commands}))

    async def _send_chunks(self, connection: Connection) -> None:
        """Send the chunks of streams that somebody was granted a load of, from the first one on that closes
        after the grant was seen."""
        streams = {
            one.stream
            for one in await self._control.grants()
            if isinstance(one, GrantStatus) and one.kind == "load" and one.revoked_from_ms is None
            if one.until_ms is None or unix_ms(self._clock) < one.until_ms + _OPEN_MS
        }
        for stream in sorted(streams):
            prefix = names.chunks(bytes.fromhex(stream))
            last = self._chunks.get(stream)
            if last is None:
                self._chunks.put(stream, await self._last_key(prefix))
                continue
            for one in (await self._control.list_objects(prefix, last)).objects:
                await self._send_chunk(connection, stream, one.key)
        self._chunks.drop(*(set(self._chunks.names) - streams))

    async def _send_chunk(self, connection: Connection, stream: str, key: str) -> None:
        try:
            chunk = await self._control.get_object(key)
        except NotFound:  # it has expired since
            pass
        else:
            await connection.publish(topics.chunk(self._kid, stream), chunk)
        self._chunks.put(stream, key)

    async def _last_key(self, prefix: str) -> str:
        """The last key with a prefix of today's chunks; where there is none, what comes before them."""
        last = f"{prefix}{datetime.fromtimestamp(self._clock.wall() / 1e9, UTC):%Y-%m-%d}"
        while True:
            found = await self._control.list_objects(prefix, last)
            last = found.objects[-1].key if found.objects else last
            if not found.more:
                return last
