"""A command in the ledger: its state, its last receipt, and when its time begins and is over (PROTOCOL.md,
"Commands")."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.ledger.records import CommandRecord
from gateway.wire import cose
from gateway.wire.command import Command, CommandState, Receipt, Switch

_OVER: dict[CommandState, tuple[CommandState, str]] = {
    "asks": ("expired", "undecided"),
    "waits": ("expired", "unreached"),
    "running": ("ended", "over"),
}
OPEN: tuple[CommandState, ...] = ("asks", "waits", "running")
"""The states in which a command's time counts."""
SENTENCES: dict[tuple[CommandState, str], str] = {
    ("asks", "owner"): "the household is asked",
    ("waits", "accepted"): "it is accepted, and carried out when its time has begun",
    ("waits", "unreached"): "the meter is not reached; it is tried again until the command's time is over",
    ("running", "limited"): "the limit is in force",
    ("done", "switched"): "it was carried out",
    ("done", "shown"): "it is shown to the household",
    ("done", "held"): "the home stays disconnected: another provider's disconnect holds",
    ("ended", "over"): "its time is over",
    ("ended", "replaced"): "a later command of the provider took its place",
    ("ended", "reconnected"): "a later command of the provider reconnected the home",
    ("refused", "card"): "the provider's card, or the certificate of it, is not valid",
    ("refused", "stream"): "the stream is not of this gateway",
    ("refused", "serial"): "its serial is not higher than that of an earlier command",
    ("refused", "reused"): "another command has its id",
    ("refused", "future"): "it was made in the future by the gateway's clock",
    ("refused", "late"): "its time was over when it came",
    ("refused", "policy"): "the household lets this provider not command that",
    ("refused", "unable"): "the meter has nothing that could carry it out",
    ("refused", "owner"): "the household refuses it",
    ("expired", "undecided"): "its time was over before the household decided",
    ("expired", "unreached"): "its time was over before the meter was reached",
}


@dataclass(frozen=True, slots=True)
class Held:
    """A command in the ledger, with its last receipt. `lived_ms` is for how long the gateway has run since it
    came."""

    record: CommandRecord
    command: Command
    receipt: Receipt
    lived_ms: int

    @property
    def number(self) -> int:
        """The order of receipt."""
        return self.record.number

    @property
    def state(self) -> CommandState:
        """As the last receipt says."""
        return self.receipt.state

    def begun(self, now_ms: int | None) -> bool:
        """Whether its time has begun: by the clock (`now_ms` is None while that is not trusted), or because
        as much time has passed as was left when it came."""
        begins = self.command.from_ms
        by_clock = now_ms is not None and now_ms >= begins
        return by_clock or self.lived_ms >= begins - self.record.received_ms

    def over(self, now_ms: int | None) -> bool:
        """Whether its time is over, likewise."""
        ends = self.command.until_ms
        by_clock = now_ms is not None and now_ms >= ends
        return by_clock or self.lived_ms >= ends - self.record.received_ms

    @property
    def holds(self) -> bool:
        """Whether it is a disconnect that was carried out and not ended since."""
        return self.command.kind == "disconnect" and self.state == "done"

    @property
    def of_supply(self) -> bool:
        """Whether it is about the home's supply."""
        return self.command.kind in ("disconnect", "reconnect")

    def takes_place_of(self, earlier: Held) -> bool:
        """Whether an earlier command has no place beside this one, once its time has begun."""
        if self.command.kind == "message" or not self.same_origin(earlier):
            return False
        return earlier.of_supply if self.of_supply else earlier.command.kind == "limit"

    def same_origin(self, other: Held) -> bool:
        """Whether both are of one provider and for one stream."""
        mine, theirs = self.command, other.command
        return (mine.provider, mine.stream) == (theirs.provider, theirs.stream)


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of a command."""

    held: Held
    state: CommandState
    code: str
    switch: Switch | None = None
    limit_w: int | None = None
    text: str | None = None
    """Of the receipt; None for that of its state and code."""


def by_time(commands: Sequence[Held], now_ms: int | None) -> list[Next]:
    """What becomes of commands, which are in the order of receipt, by time alone: some are over, messages are
    shown, and a command whose time begins takes the place of earlier ones. `now_ms` is None while the clock
    is not trusted."""
    changes: dict[int, Next] = {}
    for held in commands:
        if held.state in OPEN and held.over(now_ms):
            changes[held.number] = Next(held, *_OVER[held.state])
        elif held.command.kind == "message" and held.state == "waits" and held.begun(now_ms):
            changes[held.number] = Next(held, "done", "shown")
    for later in commands:
        if later.number in changes or later.state not in ("waits", "running") or not later.begun(now_ms):
            continue
        for held in commands:
            if held.state in OPEN and held.number < later.number and later.takes_place_of(held):
                changes.setdefault(held.number, Next(held, "ended", "replaced"))
    return list(changes.values())


def pause_s(commands: Iterable[Held], now_ms: int) -> float:
    """Until a command begins or is over, by the clock or by the time that it has lived; infinite where none
    does."""
    pauses = [math.inf]
    for held in commands:
        if held.state in OPEN:
            for at_ms in (held.command.from_ms, held.command.until_ms):
                for since_ms in (now_ms, held.record.received_ms + held.lived_ms):
                    if at_ms > since_ms:
                        pauses.append((at_ms - since_ms) / 1000)
    return min(pauses)


def receipt_of(command: Command, digest: bytes, state: CommandState, code: str, now_ms: int) -> Receipt:
    """A command's first receipt."""
    return Receipt(digest, command.id, command.stream, 0, state, code, SENTENCES[state, code], now_ms)


def read_held(record: CommandRecord) -> Held:
    """A command as the ledger has it; its signature was checked before, and the receipt is our own."""
    command = Command.from_payload(cose.payload_unchecked(record.data, "a command")[1], "a command")
    receipt = Receipt.from_payload(cose.payload_unchecked(record.receipt, "a receipt")[1], "a receipt")
    return Held(record, command, receipt, record.lived_ms)


def watts(held: Held) -> int:
    """The power of a limit, W."""
    limit_w = held.command.limit_w
    assert limit_w is not None
    return limit_w
