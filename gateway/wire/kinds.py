"""Which kind of object lies where in a bucket."""

from __future__ import annotations

from gateway.errors import Refused
from gateway.wire import names
from gateway.wire.grant import GrantObject, Revocation, Tokens
from gateway.wire.signed import Stored
from gateway.wire.stream import Chunk, Descriptor, Head, Page

_BELOW_STREAM: dict[str, type[Stored]] = {
    "chunk": Chunk,
    "day": Page,
    "month": Page,
    "stream.cose": Descriptor,
    "head.cose": Head,
}
_BELOW_GRANT: dict[str, type[Stored]] = {
    **dict.fromkeys(names.FOLDS, Tokens),
    "grant.cose": GrantObject,
    "revoked.cose": Revocation,
}


def class_at(key: str) -> type[Stored]:
    """What kind of object lies at a key of the bucket; Refused where version 1 has none."""
    parts = key.split("/")
    if len(parts) >= 5 and parts[2] == "grant":
        kind = _BELOW_GRANT.get(parts[4])
    else:
        kind = _BELOW_STREAM.get(parts[2]) if len(parts) >= 3 else None
    if kind is None:
        raise Refused(f"the store holds {key!r}, which is no name that version 1 knows")
    return kind
