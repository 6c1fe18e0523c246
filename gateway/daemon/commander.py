"""The commander: providers' commands from the signed object to the act and the signed receipt (PROTOCOL.md,
"Commands").

A command is in the ledger before anything is done for it. What is done is decided anew at each `step` from
the commands in the ledger and the time, and switches are read before they are set: so a crash at any moment
costs nothing but the time until the next step.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.config.wiring import Controls
from gateway.control.commands import ENDED_BY_HAND, Act, CardStatus, CommandStatus
from gateway.daemon.held_command import OPEN, Held, Next, by_time, pause_s, read_held, receipt_of
from gateway.daemon.mandates import Mandate, Mandates
from gateway.daemon.switcher import Switcher
from gateway.errors import GatewayError, Refused, Unavailable, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.ledger.commands import MOST_OVER
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, CommandChange, CommandRecord
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.wire import cose
from gateway.wire.command import Command, CommandState, Receipt

_log = logging.getLogger(__name__)

_AHEAD_MS = 5 * 60_000
"""How far a provider's clock may be ahead of the gateway's."""
_STEP_S = 30.0
"""How often running limits are looked after, and a meter that was not reached is tried again."""
_NS_IN_MS = 1_000_000
_AUDIT_EVERY_NS = 60_000_000_000
_MOST_A_MINUTE = 60
"""Commands of one provider that are answered by a receipt in a minute: each costs the TPM a signature."""


class Commander:
    """The commands to one gateway's streams. `controls` are what each meter can switch, by name."""

    def __init__(
        self,
        ledger: Ledger,
        root: Root,
        clock: Clock,
        mandates: Mandates,
        controls: Mapping[str, Controls],
    ) -> None:
        self._ledger = ledger
        self._root = root
        self._clock = clock
        self._mandates = mandates
        self._switcher = Switcher(ledger, clock, controls)
        self._held: dict[int, Held] = {}  # by number
        self._lock = asyncio.Lock()  # one change of the commands at a time
        self._wake = asyncio.Event()
        self._ticked = clock.monotonic()
        self._trouble = FaultLog(clock, _log.warning, _log.info)
        self._strangers = FaultLog(clock, _log.warning, _log.info)
        self._strange = 0  # since the last line of the audit log about them
        self._quiet_until: int | None = None  # ns, monotonic
        self._again: set[int] = set()  # the numbers of commands that came again in this run
        self._answered: defaultdict[bytes, list[int]] = defaultdict(list)  # ns, monotonic, by provider

    async def open(self) -> None:
        """Read the commands of the ledger."""
        self._held = {record.number: read_held(record) for record in await self._ledger.commands()}
        self._ticked = self._clock.monotonic()

    # What comes.

    async def receive(self, data: bytes) -> CommandStatus:
        """Check a signed command and note it: to be carried out, asked about, or refused. The status has the
        receipt. A command that came before is not noted again.

        Refused, without a receipt, where it was not signed by a provider that is known; Unavailable where
        that cannot be checked now, or the provider sends too many.
        """
        if not self._clock.trusted():
            raise Unavailable(
                "the clock is not set yet, so no command can be checked: deliver it again later"
            )
        try:
            kid, _, _ = cose.payload_unchecked(data, "the command")
        except Refused as error:
            await self._note_strange(str(error))
            raise
        mandate = await self._mandates.of(kid)
        try:
            if mandate is None:
                raise Refused(f"the command is signed by key {kid.hex()}, which no known provider has")
            command = Command.read(data, mandate.card.signing_key, "the command")
        except Refused as error:
            await self._note_strange(str(error))
            raise
        digest = cose.digest(data)
        async with self._lock:
            for held in self._held.values():
                if held.record.digest == digest:
                    await self._note_again(held)
                    return await self._status(held)
            self._count(kid)
            return await self._take(data, digest, command, mandate)

    async def decide(self, command_id: bytes, allow: bool) -> CommandStatus:
        """The household's decision on a command of which it is asked. UsageError where it is not."""
        async with self._lock:
            await self._settle()
            held = self._by_id(command_id)
            if held.state != "asks":
                raise UsageError(f"the household is not asked about this command: {held.receipt.text}")
            state: tuple[CommandState, str] = ("waits", "accepted") if allow else ("refused", "owner")
            await self._change([Next(held, *state)])
            self._wake.set()
            return await self._status(self._held[held.number])

    async def end(self, command_id: bytes) -> CommandStatus:
        """The household's word that a limit, in force or yet to begin, ends now. UsageError where the command
        is no such limit, and where the household has limits of its provider carried out without asking."""
        async with self._lock:
            await self._settle()
            held = self._by_id(command_id)
            if held.command.kind != "limit" or held.state not in ("waits", "running"):
                raise UsageError(
                    "only a limit that is in force or accepted can be ended by hand; of this command the "
                    f"last receipt says: {held.receipt.text}"
                )
            if not self._endable(held):
                name = held.record.provider_name
                raise UsageError(
                    f"limits of {name} are carried out without asking, and end when their time is over: with "
                    'limit = "ask" in its [[commands]] the household decides, and may end them by hand'
                )
            await self._change([Next(held, "refused", "owner", text=ENDED_BY_HAND)])
            self._wake.set()
            return await self._status(self._held[held.number])

    async def acted(self, command_id: bytes, act: Act) -> CommandStatus:
        """The household's broker has what was due for a command."""
        async with self._lock:
            held = self._by_id(command_id)
            self._switcher.acknowledge((await self._meters()).get(held.command.stream, ""), act)
            self._wake.set()
            return await self._status(held)

    async def statuses(self) -> list[CommandStatus]:
        """The commands that are kept, the latest first."""
        meters = await self._meters()
        return [self._status_in(one, meters) for one in reversed(self._in_order())]

    async def cards(self) -> list[CardStatus]:
        """The cards of all providers that are known."""
        return await self._mandates.cards()

    # What is done.

    async def run(self) -> None:
        """Carry out what is due, for ever."""
        while True:
            self._wake.clear()
            try:
                await self.step()
                self._trouble.clear("commands are carried out again")
            except GatewayError as error:  # the ledger or the TPM; nothing is lost
                self._trouble.report(f"commands wait: {error}")
            await self._until_due()

    async def _until_due(self) -> None:
        """Wait until a command comes or is decided on, or where some are open, until the next moment at which
        there is something to do."""
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(self._wake.wait())]
        if self.faults or any(held.state in OPEN for held in self._held.values()):
            pause = min(_STEP_S, pause_s(self._held.values(), unix_ms(self._clock)))
            waits.append(asyncio.create_task(self._clock.sleep(pause)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()

    async def step(self) -> None:
        """Do what is due now: begin and end commands by the time, and set the switches and limits."""
        async with self._lock:
            await self._settle()
        meters = sorted(set((await self._meters()).values()))
        for (
            meter
        ) in meters:  # limits first: one that is over is not to wait for a switch that does not answer
            await self._become(await self._switcher.limit(meter, await self._of(meter), self._now_ms()))
        for meter in meters:
            while changes := await self._switcher.supply(meter, await self._of(meter), self._now_ms()):
                await self._become(changes)
                if changes[0].state == "waits":
                    break  # it was not reached, and is tried again at the next step

    @property
    def faults(self) -> tuple[str, ...]:
        """What could not be set or noted, a sentence each."""
        trouble = self._trouble.fault
        return self._switcher.faults if trouble is None else (*self._switcher.faults, trouble)

    async def open_commands(self) -> tuple[str, ...]:
        """A sentence for each command that is asked about, waits, or runs."""
        meters = await self._meters()
        return tuple(_sentence(held, meters) for held in self._in_order() if held.state in OPEN)

    # The checks, in the order of PROTOCOL.md.

    async def _take(self, data: bytes, digest: bytes, command: Command, mandate: Mandate) -> CommandStatus:
        await self._pass_time()  # which the new command has not lived
        now_ms = unix_ms(self._clock)
        origin = (command.provider, command.stream)
        meter = (await self._meters()).get(command.stream)
        counts = mandate.fault is None and meter is not None
        highest = await self._ledger.highest_serial(*origin) if counts else None
        outcome: tuple[CommandState, str]  # the state, and why
        reused = any(held.command.id == command.id for held in self._held.values())
        if mandate.fault is not None:
            outcome = "refused", "card"
        elif meter is None:
            outcome = "refused", "stream"
        elif highest is not None and command.serial <= highest:
            outcome = "refused", "serial"
        elif reused:
            outcome = "refused", "reused"
        elif command.time_ms > now_ms + _AHEAD_MS:
            outcome = "refused", "future"
        elif command.until_ms <= now_ms:
            outcome = "refused", "late"
        elif (policy := mandate.policy(command.kind)) == "refuse":
            outcome = "refused", "policy"
        elif not self._switcher.able(meter, command.kind):
            outcome = "refused", "unable"
        else:
            outcome = ("waits", "accepted") if policy == "allow" else ("asks", "owner")
        state, code = outcome
        receipt = receipt_of(command, digest, state, code, now_ms)
        record = CommandRecord(
            number=0,
            digest=digest,
            id=command.id,
            data=data,
            provider_name=mandate.card.name,
            received_ms=now_ms,
            lived_ms=0,
            live=receipt.state in OPEN,
            receipt=await sign(self._root, receipt),
        )
        held = Held(record, command, receipt, 0)
        entry = self._audit(held, receipt, mandate.fault)
        serial = (*origin, command.serial) if counts else None
        if reused:
            await self._ledger.note_serial(serial, entry)
        else:
            number = await self._ledger.add_command(record, serial, entry)
            held = replace(held, record=replace(record, number=number))
            self._held[number] = held
            self._forget_old()
            self._wake.set()
        return await self._status(held)

    def _count(self, kid: bytes) -> None:
        now = self._clock.monotonic()
        lately = [at for at in self._answered[kid] if at > now - 60 * 1_000_000_000]
        if len(lately) >= _MOST_A_MINUTE:
            raise Unavailable(
                f"this provider sent {_MOST_A_MINUTE} commands within a minute: deliver more of them later"
            )
        self._answered[kid] = [*lately, now]

    async def _note_again(self, held: Held) -> None:
        if held.number in self._again:
            return
        self._again.add(held.number)
        detail = f"command {held.command.id.hex()} came again: its last receipt answers it"
        await self._ledger.audit_once(AuditEntry(unix_ms(self._clock), "command", detail))

    async def _note_strange(self, sentence: str) -> None:
        """A command that nobody known has signed: a line of the audit log and of the log, at most one a
        minute."""
        self._strangers.report(sentence)
        self._strange += 1
        now = self._clock.monotonic()
        if self._quiet_until is not None and now < self._quiet_until:
            return
        more = f" ({self._strange} such since the last line)" if self._strange > 1 else ""
        await self._ledger.audit(AuditEntry(unix_ms(self._clock), "command", f"{sentence}{more}"))
        self._quiet_until, self._strange = now + _AUDIT_EVERY_NS, 0

    # The time.

    async def _pass_time(self) -> None:
        now = self._clock.monotonic()
        passed_ms = (now - self._ticked) // _NS_IN_MS
        self._ticked += passed_ms * _NS_IN_MS
        lived: dict[int, int] = {}
        if passed_ms:
            for held in self._in_order():
                if held.state in OPEN:
                    lived[held.number] = held.lived_ms + passed_ms
                    self._held[held.number] = replace(held, lived_ms=lived[held.number])
        if lived:
            await self._ledger.commands_lived(lived)

    async def _settle(self) -> None:
        """Note what the time alone has changed."""
        await self._pass_time()
        await self._change(by_time(self._in_order(), self._now_ms()))

    def _now_ms(self) -> int | None:
        return unix_ms(self._clock) if self._clock.trusted() else None

    # Changes, durable and signed.

    async def _become(self, changes: Sequence[Next]) -> None:
        async with self._lock:
            # Not what was decided, or replaced, while the meter was asked.
            await self._change([one for one in changes if self._held.get(one.held.number) == one.held])

    async def _change(self, changes: Sequence[Next]) -> None:
        """Make the changes durable together, each with its receipt."""
        now_ms = unix_ms(self._clock)
        held, rows = [], []
        for one in changes:
            before = one.held
            receipt = replace(
                receipt_of(before.command, before.record.digest, one.state, one.code, now_ms),
                number=before.receipt.number + 1,
                previous=cose.digest(before.record.receipt),
                switch=one.switch,
                limit_w=one.limit_w,
            )
            if one.text is not None:
                receipt = replace(receipt, text=one.text)
            after = replace(before, receipt=receipt)
            live = receipt.state in OPEN or after.holds
            record = replace(before.record, live=live, receipt=await sign(self._root, receipt))
            held.append(replace(after, record=record))
            rows.append(CommandChange(before.number, live, record.receipt, self._audit(before, receipt)))
        if rows:
            await self._ledger.change_commands(rows)
        for changed in held:
            self._held[changed.number] = changed

    def _audit(self, held: Held, receipt: Receipt, fault: str | None = None) -> AuditEntry:
        command = held.command
        kind = command.kind if command.limit_w is None else f"{command.kind} to {command.limit_w} W"
        detail = (
            f"{held.record.provider_name}, {kind}, serial {command.serial} to stream {command.stream.hex()}: "
            f"{receipt.state}: {fault or receipt.text}"
        )
        _log.info("command %s: %s", command.id.hex(), detail)
        return AuditEntry(receipt.time_ms, "command", detail)

    def _forget_old(self) -> None:
        over = [held.number for held in self._in_order() if not held.record.live]
        for number in over[:-MOST_OVER]:
            del self._held[number]

    # Looking.

    def _in_order(self) -> list[Held]:
        return sorted(self._held.values(), key=lambda held: held.number)

    def _by_id(self, command_id: bytes) -> Held:
        for held in self._held.values():
            if held.command.id == command_id:
                return held
        raise UsageError(
            f"there is no command {command_id.hex()}: gateway command list shows those there are"
        )

    async def _of(self, meter: str) -> list[Held]:
        """The commands to a meter, in the order of receipt."""
        meters = await self._meters()
        return [held for held in self._in_order() if meters.get(held.command.stream) == meter]

    async def _meters(self) -> dict[bytes, str]:
        """The names of the meters, by their streams."""
        return {stream.id: stream.meter for stream in await self._ledger.streams()}

    def _endable(self, held: Held) -> bool:
        """Whether it is a limit that the household may end by hand: one that is not carried out unasked."""
        if held.command.kind != "limit" or held.state not in ("waits", "running"):
            return False
        policy = self._mandates.policy(held.command.provider, held.record.provider_name, "limit")
        return policy != "allow"

    async def _status(self, held: Held) -> CommandStatus:
        return self._status_in(held, await self._meters())

    def _status_in(self, held: Held, meters: Mapping[bytes, str]) -> CommandStatus:
        command, meter = held.command, meters.get(held.command.stream)
        status = CommandStatus(
            id=command.id.hex(),
            provider=held.record.provider_name,
            provider_kid=command.provider.hex(),
            kind=command.kind,
            meter=meter,
            text=command.text,
            limit_w=command.limit_w,
            from_ms=command.from_ms,
            until_ms=command.until_ms,
            received_ms=held.record.received_ms,
            state=held.state,
            code=held.receipt.code,
            reason=held.receipt.text,
            receipt=held.record.receipt,
            switch=held.receipt.switch,
        )
        if self._endable(held):
            status = status.model_copy(update={"endable": True})
        known = {
            "fault": self._switcher.fault_for(held, meter),
            "act": self._switcher.due_for(held, meter),
        }
        return status.model_copy(update={name: value for name, value in known.items() if value is not None})


def _sentence(held: Held, meters: Mapping[bytes, str]) -> str:
    command = held.command
    power = "" if command.limit_w is None else f" to {command.limit_w} W"
    meter = meters.get(command.stream, "a meter that is gone")
    return f"{held.record.provider_name}: {command.kind}{power} at {meter}: {held.receipt.text}"
