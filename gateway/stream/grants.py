"""A grant and its revocation in a stream, checked without a key."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

from gateway.chain.grant import ID_BYTES, Grant
from gateway.errors import Refused
from gateway.stream.fetch import first_key
from gateway.stream.reader import StreamReader
from gateway.wire import names
from gateway.wire.grant import GrantObject, Revocation, read_grant_body
from gateway.wire.stream import Descriptor


def check_grant(descriptor: Descriptor, key: str, data: bytes | None) -> tuple[GrantObject, Grant]:
    """The grant that the store holds under `key`; else Refused."""
    if data is None:
        raise Refused(f"{key} is missing, and the store holds other objects of the grant")
    found = GrantObject.read(data, descriptor.signing_key, key)
    grant = read_grant_body(found.body, descriptor.layout.unit_ms, key)
    if grant.stream != descriptor.stream:
        raise Refused(f"{key} holds a grant of another stream, {grant.stream.hex()}")
    if names.grant(grant.stream, grant.id) != key:
        raise Refused(f"{key} holds another grant, {grant.id.hex()}: copied or moved")
    unknown = set(grant.lanes) - {lane.name for lane in descriptor.lanes}
    if unknown:
        raise Refused(f"{key} grants {', '.join(sorted(unknown))}, which the stream does not have")
    return found, grant


def check_revocation(descriptor: Descriptor, key: str, data: bytes | None) -> Revocation:
    """The revocation that the store holds under `key`; else Refused."""
    if data is None:
        raise Refused(f"{key} is listed by the store, and is not there")
    found = Revocation.read(data, descriptor.signing_key, key)
    if found.stream != descriptor.stream or names.revocation(found.stream, found.grant) != key:
        raise Refused(f"{key} holds the revocation of grant {found.grant.hex()}: copied or moved")
    return found


def grant_id_in(name: str) -> bytes | None:
    """The id that a folder's name spells; None where it spells none."""
    return bytes.fromhex(name) if re.fullmatch(f"[0-9a-f]{{{2 * ID_BYTES}}}", name) else None


async def grant_ids(reader: StreamReader) -> AsyncGenerator[bytes, None]:
    """The ids that name folders below grant/, without listing what the folders hold."""
    prefix, after = names.grants(reader.descriptor.stream), ""
    while (key := await first_key(reader.bucket, prefix, after)) is not None:
        name, slash, _ = key.removeprefix(prefix).partition("/")
        grant_id = grant_id_in(name) if slash else None
        if grant_id is None:
            raise Refused(f"the store holds {key!r}, which is no name that version 1 knows")
        yield grant_id
        after = f"{prefix}{name}0"  # "0" is the character after "/"
