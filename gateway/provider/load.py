"""A load: sums over many homes, of which neither of its two parties can open a single one.

The load monitoring centre (gateway.centre) derives its halves of the nonces from its grants; the summing
service (gateway.registrar) finds its own in tokens, and gives away only their sum.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import NotGranted
from gateway.provider.grants import OwnGrant
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


def locate(home: Member, held: OwnGrant | None, window: Window) -> tuple[int, int]:
    """The window's number in the home's grant, and its lane's place there; NotGranted where it has none."""
    if held is None:
        raise NotGranted(
            f"stream {home.stream.hex()} has no load grant {home.grant.hex()} with a half for this party"
        )
    grant, unit_ms = held.grant, home.reader.descriptor.layout.unit_ms
    a, b = window.start_ms // unit_ms, window.end_ms // unit_ms
    exact = (a * unit_ms, b * unit_ms) == (window.start_ms, window.end_ms)
    j = grant.number(a)
    granted = held.covers(a, b) and grant.window(j) == (a, b) and window.lane in grant.lanes
    if not (exact and granted):
        raise NotGranted(
            f"stream {home.stream.hex()}: {held}, but it does not open one window of {window.lane} from "
            f"{window.start_ms} to {window.end_ms} ms of Unix time"
        )
    return j, grant.lanes.index(window.lane)
