"""DLMS over TCP: each message with eight bytes before it (IEC 62056-47, 7.3; Green Book 7.3.3).

    version 2, always 1 | source port 2 | destination port 2 | length 2 | message

TCP loses and damages nothing, so there is no need to resynchronise: bytes that do not begin like this are an
error.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from gateway.errors import MeterError

_HEADER = struct.Struct(">HHHH")
_VERSION = 1
LONGEST = 0xFFFF


@dataclass(frozen=True, slots=True)
class Message:
    """A message from one station to another; the ports are the client and the logical device (1 is
    management)."""

    source: int
    destination: int
    content: bytes = field(repr=False)

    def encode(self) -> bytes:
        """The message with its header. ValueError for more than 65535 bytes."""
        if len(self.content) > LONGEST:
            raise ValueError(f"a message of {len(self.content)} bytes is too long: at most {LONGEST}")
        return _HEADER.pack(_VERSION, self.source, self.destination, len(self.content)) + self.content


class Unwrapper:
    """Takes messages out of the bytes of a connection, in whatever pieces they arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. MeterError where it has no wrapper: then the rest of the
        connection cannot be read either."""
        self._buffer += data
        messages, at = [], 0
        while len(self._buffer) - at >= _HEADER.size:
            version, source, destination, length = _HEADER.unpack_from(self._buffer, at)
            if version != _VERSION:
                raise MeterError("the meter's bytes are not DLMS over TCP: does it use HDLC at this port?")
            end = at + _HEADER.size + length
            if end > len(self._buffer):
                break
            messages.append(Message(source, destination, bytes(self._buffer[at + _HEADER.size : end])))
            at = end
        del self._buffer[:at]
        return messages
