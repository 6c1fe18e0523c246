"""A home whose meter is switched by commands, a device that remembers what was done to it, and a provider
that commands."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from gateway.config.wiring import Controls
from gateway.control.commands import CommandStatus
from gateway.errors import MeterError
from gateway.ledger.ledger import Ledger
from gateway.meters.switch import SupplyState
from gateway.wire import cose
from gateway.wire.command import CODES, Command, Receipt
from tests.support.home import Home
from tests.support.provider import Provider

ALLOW = {"disconnect": "allow", "reconnect": "allow", "limit": "allow", "message": "allow"}
ASK = dict.fromkeys(ALLOW, "ask")
HOUR_MS = 3_600_000


class PowerCut(BaseException):
    """The gateway dies at this very moment."""


class Device:
    """A switch and a limit at a meter. Not `reachable`, it fails; with `cut`, the next thing that is done to
    it is the last thing that the gateway does."""

    def __init__(self) -> None:
        self.connected = True
        self.limit: int | None = None
        self.reachable = True
        self.cut = False
        self.acts: list[str] = []

    def did(self, act: str) -> None:
        self.acts.append(act)
        if self.cut:
            self.cut = False
            raise PowerCut

    def reach(self) -> None:
        if not self.reachable:
            raise MeterError("the device does not answer")


class DeviceSupply:
    def __init__(self, device: Device) -> None:
        self.device = device

    async def bring(self, connected: bool) -> SupplyState:
        self.device.reach()
        if self.device.connected != connected:
            self.device.connected = connected
            self.device.did("connect" if connected else "disconnect")
        return "connected" if connected else "disconnected"


class DeviceLimit:
    def __init__(self, device: Device) -> None:
        self.device = device

    async def bring(self, watts: int | None) -> int | None:
        self.device.reach()
        if self.device.limit != watts:
            self.device.limit = watts
            self.device.did(f"limit {watts}")
        return watts


class Utility(Provider):
    """A provider that commands."""

    serial = 0

    def command(self, stream: bytes, kind: str, now_ms: int, **changes: Any) -> Command:
        """A command that is right: its time is the hour from now on."""
        self.serial += 1
        fields: dict[str, Any] = {
            "id": secrets.token_bytes(16),
            "provider": self.card.kid,
            "stream": stream,
            "serial": self.serial,
            "kind": kind,
            "from_ms": now_ms,
            "until_ms": now_ms + HOUR_MS,
            "limit_w": 4200 if kind == "limit" else None,
            "text": "Wartung" if kind == "message" else None,
            "time_ms": now_ms,
        }
        return Command(**(fields | changes))


class Receipts:
    """All receipts that a ledger noted, by the digests of their commands, checked to chain."""

    def __init__(self, public_key: bytes) -> None:
        self._key = public_key
        self.by_command: dict[bytes, list[Receipt]] = {}
        self._last: dict[bytes, bytes] = {}

    def note(self, signed: bytes) -> None:
        receipt = Receipt.read(signed, self._key, "the receipt")
        assert receipt.code in CODES[receipt.state]
        before = self.by_command.setdefault(receipt.command, [])
        assert receipt.number == len(before)
        assert receipt.previous == (cose.digest(self._last[receipt.command]) if before else None)
        if before:
            last = before[-1]
            after_end = {"refused", "ended", "expired"}
            assert last.state not in after_end, f"{last.state} and then {receipt.state}"
            assert (last.state, last.code) != (receipt.state, receipt.code)
        before.append(receipt)
        self._last[receipt.command] = signed

    def watch(self, ledger: Ledger) -> None:
        """Note what this ledger notes from now on."""
        add, change = ledger.add_command, ledger.change_commands

        async def added(new: Any, serial: Any, audit: Any) -> int:
            number = await add(new, serial, audit)
            self.note(new.receipt)
            return number

        async def changed(changes: Any) -> None:
            await change(changes)
            for one in changes:
                self.note(one.receipt)

        ledger.add_command, ledger.change_commands = added, changed  # type: ignore[method-assign]


class CommandedHome(Home):
    """A home with a device at its meter, and utilities of which `allowed` may do all, and of `asked` the
    household is asked. `stranger` has a card and no section."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        now_ms = self.clock.now_ms
        self.device = Device()
        self.allowed, self.asked = Utility(now_ms, "Netz"), Utility(now_ms, "Stadtwerke")
        self.stranger = Utility(now_ms, "Fremde")
        self.receipts: Receipts | None = None
        for utility, policies in ((self.allowed, ALLOW), (self.asked, ASK)):
            path = folder / f"{utility.card.name}.cose"
            path.write_bytes(utility.card_bytes())
            self.commands.append({"from": str(path), **policies})

    async def session_begins(self, regained: Any = None) -> None:
        if self.receipts is None:
            self.receipts = Receipts(self.root.public_key)
        self.receipts.watch(self.ledger)
        await super().session_begins(regained)
        self.session._controls["main"] = Controls(DeviceSupply(self.device), DeviceLimit(self.device))

    async def begins(self) -> None:
        """Start, with a stream."""
        await self.start()
        await self.runs(65)
        self.stream_id = (await self.stream()).id

    async def sends(self, utility: Utility, kind: str, **changes: Any) -> CommandStatus:
        """A command, delivered; nothing is done for it yet."""
        return await self.delivers(utility, self.commands_of(utility, kind, **changes))

    def commands_of(self, utility: Utility, kind: str, **changes: Any) -> Command:
        changes = {"stream": self.stream_id, **changes}
        return utility.command(changes.pop("stream"), kind, self.clock.now_ms, **changes)

    async def delivers(self, utility: Utility, command: Command) -> CommandStatus:
        return await self.session.commander.receive(utility.signs(command))

    async def step(self) -> None:
        await self.session.commander.step()

    async def status(self, command_id: str) -> CommandStatus:
        (found,) = [one for one in await self.session.commander.statuses() if one.id == command_id]
        return found
