"""A provider's command to a gateway, and the gateway's receipts for it: PROTOCOL.md, "Commands"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from gateway.chain.keys import STREAM_BYTES
from gateway.chain.layout import DAY_MS
from gateway.errors import Refused
from gateway.wire import cose
from gateway.wire.form import Field, between, bstr, one_of, tstr, uint
from gateway.wire.signed import DIGEST_BYTES, Signed

ID_BYTES = 16
MAX_WATTS = 2**32 - 1
MAX_DURATION_MS = 366 * DAY_MS
"""The longest time of a command, so that every limit ends."""
MAX_SERIAL = 2**63 - 1
_LAST_MS = 253_402_300_799_999
"""The end of the year 9999: later times have no date to show to a person."""

CommandKind = Literal["disconnect", "reconnect", "limit", "message"]
COMMAND_KINDS: tuple[CommandKind, ...] = get_args(CommandKind)
CommandState = Literal["asks", "waits", "running", "done", "ended", "refused", "expired"]
Switch = Literal["connected", "disconnected", "ready"]
"""A supply as its switch shows it, after the control states of DLMS class 70; `ready` is a disconnected one
that waits for somebody to press the meter's button."""

CODES: dict[CommandState, tuple[str, ...]] = {
    "asks": ("owner",),
    "waits": ("accepted", "unreached"),
    "running": ("limited",),
    "done": ("switched", "shown", "held"),
    "ended": ("over", "replaced", "reconnected"),
    "refused": ("card", "stream", "serial", "reused", "late", "future", "policy", "unable", "owner"),
    "expired": ("undecided", "unreached"),
}
"""The reasons for each state of a command."""


@dataclass(frozen=True, slots=True)
class Command(Signed):
    """A provider's command to the meter with the stream `stream`, to be carried out in [from_ms, until_ms).

    A limit (W, of the power that is drawn) is in force for all of that time. Serials rise over all of a
    provider's commands to a stream. `text` is shown to the household; a message has nothing else.
    """

    TYPE = "gw1/command"
    FIELDS = (
        Field(1, "id", bstr(ID_BYTES)),
        Field(2, "provider", bstr(cose.KID_BYTES)),
        Field(3, "stream", bstr(STREAM_BYTES)),
        Field(4, "serial", uint(63)),
        Field(5, "kind", one_of(*COMMAND_KINDS)),
        Field(6, "from_ms", between(0, _LAST_MS)),
        Field(7, "until_ms", between(0, _LAST_MS)),
        Field(8, "limit_w", between(0, MAX_WATTS), optional=True),
        Field(9, "text", tstr(), optional=True),
        Field(10, "time_ms", between(0, _LAST_MS)),
    )
    id: bytes
    provider: bytes
    stream: bytes
    serial: int
    kind: CommandKind
    from_ms: int
    until_ms: int
    limit_w: int | None
    text: str | None
    time_ms: int

    def fault(self) -> str | None:
        """What makes the command invalid, in words; None where it is valid."""
        if (self.kind == "limit") != (self.limit_w is not None):
            return "a limit has its power in W, and no other command has one"
        if self.text == "":
            return "its text is empty: leave it out"
        if self.kind == "message" and self.text is None:
            return "a message needs a text"
        if self.until_ms <= self.from_ms:
            return "its time ends before it begins"
        if self.until_ms > _LAST_MS:
            return "its time ends after the year 9999"
        if self.until_ms - self.from_ms > MAX_DURATION_MS:
            return f"its time is longer than {MAX_DURATION_MS // DAY_MS} days"
        return None

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        command = cls(**values)
        fault = command.fault()
        if fault is not None:
            raise Refused(f"{what}: {fault}")
        return command

    @classmethod
    def read(
        cls, data: bytes, public_key: bytes, what: str, later: list[cose.Unverified] | None = None
    ) -> Self:
        """The command in a COSE_Sign1 signed by the provider's `public_key` (SubjectPublicKeyInfo, DER); else
        Refused. With `later` the signature is put there, to be verified before the command is used."""
        command = cls.from_payload(cose.verify(data, cls.TYPE, public_key, what, later), what)
        if command.provider != cose.kid_of(public_key):
            raise Refused(f"{what}: it names another provider than the one that signed it")
        return command


@dataclass(frozen=True, slots=True)
class Receipt(Signed):
    """A gateway's word on what became of a command: its state, why (a code of `CODES`, and a sentence), and
    when.

    `command` is H of the signed command. A command's receipts are numbered from 0; each names H of the one
    before. `switch` and `limit_w` are what the meter showed when it was read back: the supply, and the limit
    in force there, the lowest of all (W).
    """

    TYPE = "gw1/receipt"
    FIELDS = (
        Field(1, "command", bstr(DIGEST_BYTES)),
        Field(2, "id", bstr(ID_BYTES)),
        Field(3, "stream", bstr(STREAM_BYTES)),
        Field(4, "number", uint()),
        Field(5, "state", one_of(*CODES)),
        Field(6, "code", one_of(*dict.fromkeys(code for codes in CODES.values() for code in codes))),
        Field(7, "text", tstr()),
        Field(8, "time_ms", uint()),
        Field(9, "switch", one_of(*get_args(Switch)), optional=True),
        Field(10, "limit_w", between(0, MAX_WATTS), optional=True),
        Field(11, "previous", bstr(DIGEST_BYTES), optional=True),
    )
    command: bytes
    id: bytes
    stream: bytes
    number: int
    state: CommandState
    code: str
    text: str
    time_ms: int
    switch: Switch | None = None
    limit_w: int | None = None
    previous: bytes | None = None

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        receipt = cls(**values)
        if receipt.code not in CODES[receipt.state]:
            raise Refused(f'{what}: "{receipt.code}" is not a reason for the state "{receipt.state}"')
        if (receipt.number == 0) != (receipt.previous is None):
            raise Refused(f"{what}: every receipt but a command's first names the one before, and only they")
        return receipt
