"""A gateway as MQTT sees it over the control socket: what it says is set, what it is told is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from gateway.control.commands import Act, CommandStatus
from gateway.control.documents import (
    GrantRecordStatus,
    GrantStatus,
    MeterStatus,
    ReadingStatus,
    Status,
    StoreStatus,
)
from gateway.control.objects import ObjectEntry, ObjectList
from gateway.errors import NotFound, Refused, Unavailable
from tests.household.mqtt.conftest import KID

STREAM = "aa" * 16
READ = {"import": 1_234_567_890, "export": 0, "power": -412, "count": 1}


@dataclass
class FakeGateway:
    """See `gateway.control.client.ControlClient`."""

    away: bool = False
    meters: dict[str, dict[str, int] | None] = field(default_factory=lambda: {"main": dict(READ)})
    held: str | None = None
    meter_error: str | None = None
    store_error: str | None = None
    loads: list[str] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    taken: list[bytes] = field(default_factory=list)
    """Commands that came, refused ones too."""
    asked: int = 0
    """How often a command was handed on."""
    known: list[CommandStatus] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("no gateway answers")

    async def status(self) -> Status:
        self._answer()
        meters = tuple(
            MeterStatus(
                meter=name,
                read_ms=1,
                meter_ahead_ms=None,
                error=self.meter_error,
                held=self.held,
                sealing=True,
                stream=STREAM,
            )
            for name in self.meters
        )
        store = StoreStatus(url="s3://x", answered_ms=1, error=self.store_error, waiting=0)
        return Status(
            version="1",
            assurance="software",
            signer=KID,
            incarnation=1,
            now_ms=1,
            clock_trusted=True,
            store=store,
            meters=meters,
        )

    async def readings(self) -> tuple[ReadingStatus, ...]:
        self._answer()
        return tuple(ReadingStatus(meter=name, registers=read) for name, read in self.meters.items())

    async def grants(self) -> tuple[GrantStatus | GrantRecordStatus, ...]:
        self._answer()
        others = (
            _load("ee" * 16, kind="windows"),
            _load("ff" * 16, revoked_from_ms=1),
            _load("dd" * 16, until_ms=1),
        )
        return (*(_load(stream) for stream in self.loads), *others)

    async def command(self, signed: bytes) -> CommandStatus:
        self.asked += 1
        self._answer()
        self.taken.append(signed)
        if not signed.startswith(b"good"):
            raise Refused("the command: its signature is not by a known provider")
        return self.learn(hashlib.sha256(signed).hexdigest()[:32])

    def learn(self, number: str, **what: Any) -> CommandStatus:
        """A command with this id is known from now on, or in another state."""
        found = CommandStatus(
            **{
                "id": number,
                "provider": "Utility",
                "provider_kid": "bb" * 16,
                "kind": "limit",
                "meter": "main",
                "text": None,
                "limit_w": None,
                "from_ms": 0,
                "until_ms": 1,
                "received_ms": 0,
                "state": "done",
                "code": "switched",
                "reason": "",
                "receipt": b"receipt of " + number.encode(),
                **what,
            }
        )
        self.known = [found, *(one for one in self.known if one.id != number)]
        return found

    async def commands(self) -> tuple[CommandStatus, ...]:
        self._answer()
        return tuple(self.known)

    async def acted(self, command: str, act: Act) -> CommandStatus:
        self._answer()
        self.acts.append(act)
        return self.learn(command, act=None)

    async def list_objects(self, prefix: str = "", after: str = "") -> ObjectList:
        self._answer()
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and key > after]
        return ObjectList(objects=tuple(ObjectEntry(key=key) for key in keys[:2]), more=len(keys) > 2)

    async def get_object(self, key: str) -> bytes:
        self._answer()
        if key not in self.objects:
            raise NotFound(f"there is no {key}")
        return self.objects[key]


def _load(stream: str, **changed: object) -> GrantStatus:
    granted = GrantStatus(
        id="cc" * 16,
        stream=stream,
        meter="main",
        provider="Centre",
        revoked_from_ms=None,
        windows_served=0,
        provider_kid="dd" * 16,
        kind="load",
        granularity="30s",
        zone="UTC",
        lanes=("power",),
        purpose="load",
        from_ms=0,
        until_ms=None,
        issued_ms=0,
        serial=1,
        tariff=None,
        partner=None,
    )
    return granted.model_copy(update=changed)
