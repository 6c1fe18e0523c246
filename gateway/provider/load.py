"""A load: sums over many homes, of which neither of its two parties can open a single one.

A token of a load holds a word of each party, from that party's own key chain. The load monitoring centre
(gateway.centre) subtracts its own words; the summing service (gateway.registrar) gives away only the sum of
its words over the set of homes.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass

from gateway.chain.keys import KeyChain
from gateway.chain.token import masks
from gateway.errors import NotGranted, Unavailable
from gateway.provider.grants import OwnGrant
from gateway.stream.bundles import Part
from gateway.stream.reader import StreamReader


@dataclass(frozen=True, slots=True)
class Member:
    """A home of a set: its stream, and the id of the centre's grant there, which both parties know."""

    reader: StreamReader
    grant: bytes

    @property
    def stream(self) -> bytes:
        """The stream's id."""
        return self.reader.descriptor.stream


@dataclass(frozen=True, slots=True)
class Window:
    """A lane's sums over [start_ms, end_ms) of Unix time: one window of each home's grant."""

    lane: str
    start_ms: int
    end_ms: int


async def locate(home: Member, held: OwnGrant | None, window: Window) -> tuple[int, int]:
    """The window's number in the home's grant, and its lane's place there; NotGranted where it has none."""
    if held is None:
        raise NotGranted(f"stream {home.stream.hex()} has no load grant {home.grant.hex()} for this party")
    await held.bundles.settle()
    grant, unit_ms = held.grant, home.reader.descriptor.layout.unit_ms
    a, b = window.start_ms // unit_ms, window.end_ms // unit_ms
    exact = (a * unit_ms, b * unit_ms) == (window.start_ms, window.end_ms)
    j = held.windows.number(a)
    granted = held.covers(a, b) and held.windows.window(j) == (a, b) and window.lane in grant.lanes
    if not (exact and granted):
        raise NotGranted(
            f"stream {home.stream.hex()}: {held}, but it does not open one window of {window.lane} from "
            f"{window.start_ms} to {window.end_ms} ms of Unix time"
        )
    return j, grant.lanes.index(window.lane)


async def published(home: Member, held: OwnGrant, j: int) -> Part:
    """Window j in its bundle, which the gateway publishes with the summing service's grant; Unavailable where
    it is not in the store yet."""
    async with aclosing(held.bundles.read(j, j + 1)) as parts:
        async for part in parts:
            return part
    raise Unavailable(f"the token of stream {home.stream.hex()} for this window is not in the store yet")


def own_word(held: OwnGrant, part: Part, lane: int) -> int:
    """This party's word of one window and lane: what its own key chain hides there."""
    words = masks(KeyChain(held.k_0), part.sealed, part.first, part.end, held.grant.words)
    return int(words[0, lane])
