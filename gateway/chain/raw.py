"""Raw grants: the token of a window holds the keys of its links, which open every unit in them.

The plaintext is, for each link n of the window and each incarnation that sealed in it, in order,

    be64(n) | be64(incarnation) | K(n, lane) of each lane of the grant
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.chain.keys import KEY_BYTES, be64
from gateway.errors import Refused


@dataclass(frozen=True, slots=True)
class LinkKeys:
    """K(n, lane) of each lane of a grant, under one incarnation."""

    n: int
    incarnation: int
    keys: tuple[bytes, ...] = field(repr=False)


def write_links(links: Iterable[LinkKeys]) -> bytes:
    """The plaintext of a raw token."""
    return b"".join(be64(link.n) + be64(link.incarnation) + b"".join(link.keys) for link in links)


def read_links(plaintext: bytes, lanes: Sequence[str]) -> list[LinkKeys]:
    """The link keys in the plaintext of a raw token; Refused where that is not a whole number of links."""
    size = 16 + KEY_BYTES * len(lanes)
    if not plaintext or len(plaintext) % size:
        raise Refused(f"a raw token of {len(lanes)} lanes does not hold a whole number of links")
    links = []
    for at in range(0, len(plaintext), size):
        keys = plaintext[at + 16 : at + size]
        links.append(
            LinkKeys(
                int.from_bytes(plaintext[at : at + 8], "big"),
                int.from_bytes(plaintext[at + 8 : at + 16], "big"),
                tuple(keys[x : x + KEY_BYTES] for x in range(0, len(keys), KEY_BYTES)),
            )
        )
    return links
