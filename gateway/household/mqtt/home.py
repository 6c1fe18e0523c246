"""The household's own broker: what the gateway knows, in clear, and Home Assistant's discovery of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from gateway.control.commands import Act, CommandStatus
from gateway.control.documents import ReadingStatus, Status
from gateway.errors import BrokerDenied, BrokerUnavailable, GatewayError
from gateway.host.clock import Clock
from gateway.host.fault_log import FaultLog
from gateway.household.mqtt import discovery
from gateway.household.mqtt.configuration import HomeBroker
from gateway.household.mqtt.discovery import BIRTH, OFFLINE, ONLINE, Device, View
from gateway.household.mqtt.kept import Kept
from gateway.household.mqtt.link import Link, LinkStatus, sleep_or, together
from gateway.mqtt.broker import Access, Connection, Retained

_INTERVAL_S = 10.0
_ACT_INTERVAL_S = 2.0

_log = logging.getLogger(__name__)


Price = Callable[[], Awaitable[tuple[Decimal, str] | None]]
"""Gives the price of a kWh drawn now, and its currency; None where it is not known."""


async def _no_price() -> None:
    return None


class HomeControl(Protocol):
    """What is asked of the gateway: see `gateway.control.client.ControlClient`."""

    async def status(self) -> Status: ...

    async def readings(self) -> tuple[ReadingStatus, ...]: ...

    async def commands(self) -> tuple[CommandStatus, ...]: ...

    async def acted(self, command: str, act: Act) -> CommandStatus: ...


class Home:
    """The household's own broker under [mqtt.home], which `section` gives; `folder` keeps what was announced,
    so that it can be taken back. `problems` are this program's own at the moment.

    What a command has to publish here to be carried out (`Act`) is published within seconds, retained, and
    reported to the gateway once the broker has it.
    """

    def __init__(
        self,
        section: HomeBroker,
        control: HomeControl,
        folder: Path,
        clock: Clock,
        *,
        price: Price = _no_price,
        problems: Callable[[], tuple[str, ...]] = lambda: (),
        interval_s: float = _INTERVAL_S,
        act_interval_s: float = _ACT_INTERVAL_S,
    ) -> None:
        self._section = section
        self._control = control
        self._clock = clock
        self._price = price
        self._problems = problems
        self._act_interval_s = act_interval_s
        self._interval_s = interval_s
        self._announced = Kept(folder / "announced.json")
        self._sent: dict[str, bytes] = {}
        self._view: View | None = None
        self._due = asyncio.Event()
        self._denied, self._not_acted, self._deaf = (
            FaultLog(clock, _log.warning, _log.info, "the own broker: ") for _ in range(3)
        )
        self._link = Link("the own broker", clock, self._access, self._serve)

    @property
    def status(self) -> LinkStatus:
        """How the connection stands."""
        link = self._link.status
        fault = link.fault or self._not_acted.fault or self._denied.fault or self._deaf.fault
        return replace(link, fault=fault)

    async def run(self) -> None:
        """Stay connected, and keep what the broker has up to date, until cancelled."""
        await self._link.run()

    async def _access(self) -> tuple[Access, Retained]:
        return self._section.access(), Retained(discovery.status_topic(self._section.topics), OFFLINE)

    async def _serve(self, connection: Connection) -> None:
        self._sent.clear()
        await together(self._hear(connection), self._update(connection), self._act(connection))

    async def _hear(self, connection: Connection) -> None:
        """Announce everything again when Home Assistant has started."""
        try:
            await connection.subscribe([BIRTH])
        except BrokerDenied as error:  # what is retained is there for Home Assistant all the same
            self._deaf.report(str(error))
        else:
            self._deaf.clear(f"the own broker: {BIRTH} is subscribed")
        while True:
            message = await connection.receive()
            connection.acknowledge(message)
            if message.topic == BIRTH and message.payload == ONLINE:
                self._sent.clear()
                self._due.set()

    async def _update(self, connection: Connection) -> None:
        while True:
            self._due.clear()
            try:
                await self._publish(connection)
            except BrokerUnavailable:
                raise
            except GatewayError as error:
                self._denied.report(str(error))
            else:
                self._denied.clear("the own broker: all messages are taken again")
            await sleep_or(self._due, self._clock, self._interval_s)

    async def _act(self, connection: Connection) -> None:
        while True:
            try:
                for one in reversed(await self._control.commands()):
                    if one.act is not None:
                        await connection.publish(one.act.topic, one.act.payload.encode(), retain=True)
                        await self._control.acted(one.id, one.act)
                        self._due.set()
            except BrokerUnavailable:
                raise
            except BrokerDenied as error:
                self._not_acted.report(str(error))
            except GatewayError as error:
                _log.debug("commands wait: %s", error)
            else:
                self._not_acted.clear("the own broker: it takes what commands publish again")
            await self._clock.sleep(self._act_interval_s)

    async def _publish(self, connection: Connection) -> None:
        """Bring what the broker retains up to date."""
        await self._put(connection, discovery.status_topic(self._section.topics), ONLINE)
        self._view = await self._look()
        if self._view is None:  # the gateway has not answered since this program started
            return
        devices = discovery.devices(self._view, self._section.topics, self._section.discovery_prefix)
        for device in devices:
            await self._announce(connection, device)
            for topic, payload in device.states.items():
                await self._put(connection, topic, payload)
        for topic in set(self._announced.names) - {device.topic for device in devices}:
            await self._withdraw(connection, topic)

    async def _look(self) -> View | None:
        try:
            status, readings = await self._control.status(), await self._control.readings()
            commands = await self._control.commands()
        except GatewayError:
            return None if self._view is None else self._view.away()
        return discovery.view(status, readings, commands, await self._price(), self._problems())

    async def _announce(self, connection: Connection, device: Device) -> None:
        """Publish a device's configuration. An entity that the device no longer has is first sent with its
        platform alone, which removes it, and then left out."""
        before = self._announced.get(device.topic) or {}
        old: Mapping[str, Any] = before.get("components", {})
        components = {
            **{name: old[name] for name in device.unknown & set(old)},
            **device.config["components"],
        }
        gone = {name: {"platform": old[name]["platform"]} for name in set(old) - set(components)}
        if gone:
            await self._put(connection, device.topic, _json(device.config, components | gone))
        await self._put(connection, device.topic, _json(device.config, components))
        self._announced.put(device.topic, {"components": components, "states": sorted(device.states)})

    async def _withdraw(self, connection: Connection, topic: str) -> None:
        """Remove a device that is gone, by empty retained messages."""
        for each in (topic, *(self._announced.get(topic) or {}).get("states", ())):
            await connection.publish(each, b"", retain=True)
            self._sent.pop(each, None)
        self._announced.drop(topic)

    async def _put(self, connection: Connection, topic: str, payload: bytes) -> None:
        if self._sent.get(topic) != payload:
            await connection.publish(topic, payload, retain=True)
            self._sent[topic] = payload


def _json(config: Mapping[str, Any], components: Mapping[str, Any]) -> bytes:
    return json.dumps({**config, "components": components}, sort_keys=True).encode()
