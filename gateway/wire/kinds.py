"""The kind of object that lies at a key of a bucket."""

from __future__ import annotations

from gateway.errors import Refused
from gateway.wire import names
from gateway.wire.grant import GrantObject, Revocation, Tokens
from gateway.wire.prices import PriceSeries
from gateway.wire.signed import Stored
from gateway.wire.stream import Chunk, Descriptor, Head, Page, SoFar

_BELOW_STREAM: dict[str, type[Stored]] = {
    "chunk": Chunk,
    "day": Page,
    "month": Page,
    names.SO_FAR: SoFar,
    "stream.cose": Descriptor,
    "head.cose": Head,
}
_BELOW_GRANT: dict[str, type[Stored]] = {
    **dict.fromkeys((*names.FOLDS, names.SO_FAR), Tokens),
    "grant.cose": GrantObject,
    "revoked.cose": Revocation,
}


def class_at(key: str) -> type[Stored]:
    """The class of the object that belongs at a key; Refused for a key that version 1 does not have."""
    parts = key.split("/")
    kind: type[Stored] | None
    if len(parts) == 5 and parts[1] == "prices":
        kind = PriceSeries
    elif len(parts) >= 5 and parts[2] == "grant":
        kind = _BELOW_GRANT.get(parts[4])
    else:
        kind = _BELOW_STREAM.get(parts[2]) if len(parts) >= 3 else None
    if kind is None:
        raise Refused(f"the store holds {key!r}, a name that version 1 does not have")
    return kind
