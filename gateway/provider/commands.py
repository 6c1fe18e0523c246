"""A provider's commands to gateways, and the gateways' receipts."""

from __future__ import annotations

import secrets

from gateway.errors import Refused, UsageError
from gateway.provider.identity import Identity
from gateway.store.bucket import Bucket
from gateway.wire import cose, es256, names
from gateway.wire.command import ID_BYTES, MAX_WATTS, Command, CommandKind, Receipt
from gateway.wire.form import tstr
from gateway.wire.stream import Descriptor


def sign_command(
    identity: Identity,
    stream: bytes,
    kind: CommandKind,
    *,
    now_ms: int,
    until_ms: int,
    from_ms: int | None = None,
    limit_w: int | None = None,
    text: str | None = None,
    serial: int | None = None,
) -> tuple[Command, bytes]:
    """A command, and its signed bytes. It begins at `from_ms`, or now. Serials must rise; the default is the
    time in ms, which does. UsageError for what no gateway would accept."""
    if limit_w is not None and not 0 <= limit_w <= MAX_WATTS:
        raise UsageError(f"the limit is {limit_w}; it must be a power from 0 to {MAX_WATTS} W")
    if text is not None and not tstr().fits(text):
        raise UsageError("the text must be printable, and 256 bytes long at most (in UTF-8)")
    command = Command(
        id=secrets.token_bytes(ID_BYTES),
        provider=identity.kid,
        stream=stream,
        serial=now_ms if serial is None else serial,
        kind=kind,
        from_ms=now_ms if from_ms is None else from_ms,
        until_ms=until_ms,
        limit_w=limit_w,
        text=text,
        time_ms=now_ms,
    )
    if (fault := command.fault()) is not None:
        raise UsageError(f"the command is invalid: {fault}")
    if command.until_ms <= now_ms:
        raise UsageError("the command's time is over: give a later --until")
    payload = command.payload()
    message = cose.to_be_signed(command.TYPE, identity.kid, payload)
    return command, cose.assemble(identity.kid, payload, es256.sign(identity.signing_key, message))


async def read_receipt(data: bytes, bucket: Bucket, signer: bytes, what: str) -> Receipt:
    """A receipt, checked against the signing key of its stream, whose descriptor lies in `bucket` and must be
    signed by the key with the kid `signer`; else Refused."""
    kid, payload, _ = cose.payload_unchecked(data, what)
    if kid != signer:
        raise Refused(f"{what} is signed by key {kid.hex()}, not by {signer.hex()}")
    stream = Receipt.from_payload(payload, what).stream
    key = names.descriptor(stream)
    descriptor = Descriptor.read_pinned(key, await bucket.get(key), signer)
    return Receipt.read(data, descriptor.signing_key, what)


def check_answers(receipt: Receipt, command: bytes, what: str) -> None:
    """Refused unless the receipt is for this signed command."""
    if receipt.command != cose.digest(command):
        raise Refused(f"{what} is a receipt for another command")
