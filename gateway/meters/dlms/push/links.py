"""Bytes to messages, over HDLC or M-Bus."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from gateway.errors import MeterError
from gateway.meters.dlms.link import mbus
from gateway.meters.dlms.link.hdlc import Frame, FrameScanner
from gateway.meters.dlms.link.hdlc_link import LLC_COMMAND, LLC_RESPONSE

_UNNUMBERED = 0x03  # the control field of a UI frame, without the P/F bit
_LONGEST = 1 << 14  # bytes of a message; lists have a few hundred
_MOST_SEGMENTS = 64  # of a message; any of them may be its beginning

# The possible readings of a message, the likeliest first: some meters repeat the LLC header in each segment,
# where it may also begin a new message after one that lost its end.
Readings = Sequence[bytes]


class Link(Protocol):
    """Finds messages in the bytes that arrive; a broken one never costs another."""

    def feed(self, data: bytes) -> list[Readings | MeterError]:
        """The messages that `data` completes, in order."""

    def cut(self) -> None:
        """Forget the message that has begun."""


class HdlcLink:
    """Messages in UI or I frames, whole or in segments; it never answers."""

    def __init__(self) -> None:
        # each with whether an LLC header preceded it
        self._segments: deque[tuple[bool, bytes]] = deque(maxlen=_MOST_SEGMENTS)
        self.cut()

    def cut(self) -> None:
        self._scanner = FrameScanner()
        self._segments.clear()

    def feed(self, data: bytes) -> list[Readings | MeterError]:
        found: list[Readings | MeterError] = []
        for frame in self._scanner.feed(data):
            if isinstance(frame, MeterError):
                found.append(frame)
            elif frame.control & 1 and frame.control & ~0x10 != _UNNUMBERED:
                continue
            elif readings := self._collect(frame):
                found.append(readings)
        return found

    def _collect(self, frame: Frame) -> Readings | None:
        headed = frame.information[:3] in (LLC_COMMAND, LLC_RESPONSE)
        self._segments.append((headed, frame.information[3 if headed else 0 :]))
        if frame.segmented:
            while sum(len(part) for _, part in self._segments) > _LONGEST:
                self._segments.popleft()
            return None
        segments = list(self._segments)
        self._segments.clear()
        begins = [at for at, (headed, _) in enumerate(segments) if headed or at == 0]
        return [b"".join(part for _, part in segments[at:]) for at in begins]


class MbusLink:
    """Messages in M-Bus frames."""

    def __init__(self) -> None:
        self.cut()

    def cut(self) -> None:
        self._scanner = mbus.PartScanner()
        self._reassembly = mbus.Reassembly()

    def feed(self, data: bytes) -> list[Readings | MeterError]:
        found: list[Readings | MeterError] = []
        for part in self._scanner.feed(data):
            if isinstance(part, MeterError):
                found.append(part)
                continue
            try:
                message = self._reassembly.feed(part)
            except MeterError as error:
                found.append(error)
            else:
                if message is not None:
                    found.append([message])
        return found
