"""The vectors of commands and of a command's receipts."""

from __future__ import annotations

from typing import Any

from tests.vectors.bucket import sign
from tests.vectors.plain import Signer, h
from tests.vectors.scheme import described, draw


def commands() -> dict[str, Any]:
    gateway, provider = Signer(2), Signer(3)
    stream, start, hour = draw("commands stream")[:16], 1_767_222_000_000, 3_600_000
    objects = []
    for serial, (kind, limit_w, text) in enumerate(
        (
            ("disconnect", None, None),
            ("reconnect", None, "Vertrag erneuert"),
            ("message", None, "Wartung am 3. März – bitte nicht laden"),
            ("limit", 4200, None),
        ),
        7,
    ):
        values = {
            "id": draw(f"command {serial}")[:16],
            "provider": provider.kid,
            "stream": stream,
            "serial": serial,
            "kind": kind,
            "from_ms": start,
            "until_ms": start + 2 * hour,
            "limit_w": limit_w,
            "text": text,
            "time_ms": start - hour,
        }
        objects.append(sign(provider, "gw1/command", "", values))
    command, previous = objects[-1], None
    for number, (state, code, text, at_ms, limit_w) in enumerate(
        (
            ("waits", "accepted", "it begins at 00:00", start - hour, None),
            ("running", "limited", "the limit is in force", start, 4200),
            ("ended", "over", "its time is over", start + 2 * hour, None),
        )
    ):
        values = {
            "command": bytes.fromhex(command["digest"]),
            "id": draw("command 10")[:16],
            "stream": stream,
            "number": number,
            "state": state,
            "code": code,
            "text": text,
            "time_ms": at_ms,
            "switch": "connected" if number else None,
            "limit_w": limit_w,
            "previous": previous,
        }
        objects.append(sign(gateway, "gw1/receipt", "", values))
        previous = h(bytes.fromhex(objects[-1]["cose"]))
    return described(
        "A provider's commands, one of each kind, and a gateway's receipts for the last of them, each with H "
        "of the one before; `signed` is the Sig_structure. Signatures are ES256 after RFC 6979.",
        spki=gateway.spki.hex(),
        provider={"spki": provider.spki.hex()},
        objects=objects,
    )
