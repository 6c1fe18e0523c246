"""Checks of a grant and its revocation, without a key."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from gateway.chain.grant import ID_BYTES, Grant
from gateway.errors import Refused
from gateway.store.bucket import Bucket
from gateway.stream.fetch import first_key, get, listed, objects
from gateway.stream.reader import StreamReader
from gateway.wire import cose, names
from gateway.wire.grant import GrantObject, Revocation, body_of, read_grant_body
from gateway.wire.stream import Descriptor, Head


def check_grant(
    descriptor: Descriptor, key: str, data: bytes | None, later: list[cose.Unverified] | None = None
) -> tuple[GrantObject, Grant]:
    """The grant that the store holds under `key`; Refused unless it is valid. With `later` its signature is
    put there, to be verified before the grant is used."""
    if data is None:
        raise Refused(f"{key} is missing, and the store holds other objects of the grant")
    unit_ms = descriptor.layout.unit_ms
    found = GrantObject.read_at(key, data, descriptor.signing_key, unit_ms, later)
    grant = read_grant_body(found.body, unit_ms, body_of(key))
    unknown = set(grant.lanes) - {lane.name for lane in descriptor.lanes}
    if unknown:
        raise Refused(f"{key} grants {', '.join(sorted(unknown))}, which the stream does not have")
    return found, grant


def check_revocation(descriptor: Descriptor, key: str, data: bytes | None) -> Revocation:
    """The revocation that the store holds under `key`; Refused unless it is valid."""
    if data is None:
        raise Refused(f"{key} is listed by the store but is not there")
    return Revocation.read_at(key, data, descriptor.signing_key, descriptor.layout.unit_ms)


async def revoked_from(reader: StreamReader, grant_id: bytes, head: Head | None) -> int | None:
    """The unit from which on a grant is revoked; None where it was not. `head` is a valid head of the stream,
    or None: one that names its revoked grants saves asking the store about any other. Refused for an invalid
    revocation, and for one that the head names and the store does not show."""
    named = None if head is None else head.revoked
    if named is not None and grant_id not in named:
        return None
    key = names.revocation(reader.descriptor.stream, grant_id)
    data = await get(reader.bucket, key)
    if data is not None:
        return check_revocation(reader.descriptor, key, data).from_unit
    if named is not None:
        raise Refused(missing_revocation(key))
    return None


def missing_grant(key: str) -> str:
    """The sentence for a grant that was named and is not in the store."""
    return f"{key} is missing: the store holds no such grant, and was expected to"


def missing_revocation(key: str) -> str:
    """The sentence for a revocation that the head names and that is not in the store."""
    return f"{key} is missing, and the head names its grant among those that were revoked"


def grant_id_in(name: str) -> bytes | None:
    """The id in a folder's name; None where the name is not one."""
    return bytes.fromhex(name) if re.fullmatch(f"[0-9a-f]{{{2 * ID_BYTES}}}", name) else None


async def grant_ids(reader: StreamReader) -> AsyncGenerator[bytes, None]:
    """The ids of the reader's grants, in order; of all, from the folders below grant/, without listing what
    the folders hold."""
    if reader.grants is not None:
        for given in sorted(reader.grants):
            yield given
        return
    async with aclosing(_folders(reader.bucket, reader.descriptor.stream)) as folders:
        async for key, grant_id in folders:
            if grant_id is None:
                raise Refused(f"the store holds {key!r}, a name that version 1 does not have")
            yield grant_id


async def grant_folders(bucket: Bucket, stream: bytes) -> AsyncGenerator[bytes, None]:
    """The same for the gateway, whatever else lies below grant/."""
    async with aclosing(_folders(bucket, stream)) as folders:
        async for _, grant_id in folders:
            if grant_id is not None:
                yield grant_id


async def _folders(bucket: Bucket, stream: bytes) -> AsyncGenerator[tuple[str, bytes | None], None]:
    """The first key in each folder below grant/, and the id that names the folder, if one does."""
    prefix, after = names.grants(stream), ""
    while (key := await first_key(bucket, prefix, after)) is not None:
        name, slash, _ = key.removeprefix(prefix).partition("/")
        yield key, grant_id_in(name) if slash else None
        after = f"{prefix}{name}0"  # "0" is the character after "/"


async def grants(
    reader: StreamReader, only: Sequence[bytes] | None = None, later: list[cose.Unverified] | None = None
) -> AsyncGenerator[tuple[str, GrantObject, Grant], None]:
    """(key, object, grant) of all grants, by id, or of those with these ids, which need no list. Refused for
    an invalid one. With `later` the signatures are put there, to be verified before the grants are used."""
    for grant_id in only or ():
        key = names.grant(reader.descriptor.stream, grant_id)
        yield key, *check_grant(reader.descriptor, key, await get(reader.bucket, key), later)
    if only is not None:
        return
    async with aclosing(objects(reader.bucket, _grant_keys(reader))) as found_objects:
        async for key, data in found_objects:
            if data is None and reader.grants is not None:
                raise Refused(missing_grant(key))
            found, grant = check_grant(reader.descriptor, key, data, later)
            yield key, found, grant


async def _grant_keys(reader: StreamReader) -> AsyncGenerator[str, None]:
    async with aclosing(grant_ids(reader)) as ids:
        async for grant_id in ids:
            yield names.grant(reader.descriptor.stream, grant_id)


async def listed_grants(reader: StreamReader) -> AsyncGenerator[str, None]:
    """The keys of all objects of the reader's grants, in order, whatever their form."""
    prefix = names.grants(reader.descriptor.stream)
    folders = [prefix]
    if reader.grants is not None:
        folders = [f"{prefix}{grant_id.hex()}/" for grant_id in sorted(reader.grants)]
    for folder in folders:
        async with aclosing(listed(reader.bucket, folder)) as keys:
            async for key in keys:
                yield key
