"""The documents of providers' commands: what is delivered to the gateway, what became of it, and whose cards
the gateway knows."""

from __future__ import annotations

from typing import Literal

from gateway.control.documents import Base64, Document, Order
from gateway.wire.command import CommandKind, CommandState, Switch

ENDED_BY_HAND = "the household ended it before its time was over"
"""The text of the receipt of a limit that the household ended; its state is `refused`, its code `owner`."""


class CommandDelivery(Order):
    """A signed command (gw1/command), as whoever received it hands it on: the gateway checks it itself."""

    command: Base64


class CommandDecision(Order):
    """The household's decision on a command: to `allow` or `refuse` one of which it is asked, or to `end` a
    limit."""

    decision: Literal["allow", "refuse", "end"]


class Act(Order):
    """What is to be published on the household's own broker to carry a command out: `payload` on `topic`,
    retained. Sent back to `POST /commands/<id>/acted`, it says that the broker has it."""

    topic: str
    payload: str


class CommandStatus(Document):
    """A command, and what became of it."""

    id: str
    provider: str
    """The name on the provider's card."""
    provider_kid: str
    kind: CommandKind
    meter: str | None
    """The meter's name; None where the command is for a stream of another gateway."""
    text: str | None
    limit_w: int | None
    from_ms: int
    until_ms: int
    received_ms: int
    state: CommandState
    """`asks` until the household decides, `waits` to be carried out, `running`: a limit in force, `done`,
    `ended`, `refused`, `expired`: PROTOCOL.md, "Commands"."""
    code: str
    """Why it has this state: a code of PROTOCOL.md."""
    reason: str
    """The same as a sentence."""
    receipt: Base64
    """The last signed receipt (gw1/receipt), for the provider."""
    switch: Switch | None = None
    """The supply as it was read back for that receipt."""
    endable: bool = False
    """Whether it is a limit that the household may end by hand."""
    fault: str | None = None
    """What keeps the gateway from carrying it out."""
    act: Act | None = None
    """What is due to be published for it; None where nothing is."""


class CardStatus(Document):
    """A provider's card that the gateway knows, because its file is named in the configuration
    ("configured"), something was granted to it ("granted"), or the registrar vouches for it ("registrar")."""

    kid: str
    name: str
    fingerprint: str
    known_by: Literal["configured", "granted", "registrar"]
    card: Base64
