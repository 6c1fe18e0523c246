"""The HDLC link between a client (primary) and a meter (secondary), without I/O or time (IEC 62056-46, 6.4).

Normal response mode: the meter sends only when it is polled, and both sides number their I frames modulo 8.
Whenever it is a station's turn, it sends again from the first frame that the other has not acknowledged; so a
lost frame costs a poll, and no message is ever delivered twice.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from gateway.errors import MeterError
from gateway.meters.dlms.link.hdlc import Address, Frame, FrameScanner
from gateway.meters.dlms.octets import Octets

LLC_COMMAND, LLC_RESPONSE = b"\xe6\xe6\x00", b"\xe6\xe7\x00"  # IEC 62056-46, 5.3.2
_FINAL = 0x10  # the P/F bit
_SNRM, _DISC, _UA, _DM, _FRMR = 0x83, 0x43, 0x63, 0x0F, 0x87  # without the P/F bit
_RR, _RNR = 0x01, 0x05
_MODULUS = 8
_LONGEST_INFORMATION = 2030  # which makes a frame of 2047 bytes with two addresses of four bytes
_LONGEST_MESSAGE = 1 << 18
_MOST_IN_VAIN = 4  # consecutive attempts, after the first, that bring nothing new
_MOST_NOISE = 1 << 14  # bytes without a frame among them


@dataclass(frozen=True, slots=True)
class Limits:
    """What a station can handle in each direction: the longest information field in bytes, and the window,
    the number of frames that may be unacknowledged at once (1 to 7). The defaults hold for a station that
    offers nothing."""

    transmit: int = 128
    receive: int = 128
    transmit_window: int = 1
    receive_window: int = 1

    def encode(self) -> bytes:
        """The information field of SNRM and UA (IEC 62056-46, 6.4.4.4.3.2)."""
        parameters = b"".join(
            (
                b"\x05\x02" + self.transmit.to_bytes(2, "big"),
                b"\x06\x02" + self.receive.to_bytes(2, "big"),
                b"\x07\x04" + self.transmit_window.to_bytes(4, "big"),
                b"\x08\x04" + self.receive_window.to_bytes(4, "big"),
            )
        )
        return b"\x81\x80" + bytes((len(parameters),)) + parameters

    @classmethod
    def decode(cls, information: bytes) -> Limits:
        """The other station's offer. MeterError where it is invalid."""
        values = {0x05: 128, 0x06: 128, 0x07: 1, 0x08: 1}
        if information:
            octets = Octets(information, "the meter's offer for the HDLC link")
            if octets.take(2) != b"\x81\x80":
                raise MeterError("the meter's offer for the HDLC link is in an unknown format")
            group = Octets(octets.take(octets.number(1)), octets.what)
            while len(group):
                kind = group.number(1)
                values[kind] = int.from_bytes(group.take(group.number(1)), "big")
        if not (
            values[0x05] and values[0x06] and 0 < values[0x07] < _MODULUS and 0 < values[0x08] < _MODULUS
        ):
            raise MeterError("the meter's offer for the HDLC link has an invalid frame length or window size")
        return cls(values[0x05], values[0x06], values[0x07], values[0x08])

    def agreed(self, other: Limits) -> Limits:
        """What both stations can handle, from this station's point of view."""
        return Limits(
            transmit=min(self.transmit, other.receive, _LONGEST_INFORMATION),
            receive=min(self.receive, other.transmit, _LONGEST_INFORMATION),
            transmit_window=min(self.transmit_window, other.receive_window),
            receive_window=min(self.receive_window, other.transmit_window),
        )


class _Station:
    """What both sides have in common. `outgoing` returns the bytes to write since it was last called."""

    def __init__(self, own: Address, peer: Address, limits: Limits, llc: bytes) -> None:
        self._own, self._peer = own, peer
        self._offer = self._limits = limits
        self._llc = llc
        self._scanner = FrameScanner()
        self._outgoing = bytearray()
        self._reset()

    @property
    def limits(self) -> Limits:
        """What was agreed on, once connected."""
        return self._limits

    def outgoing(self) -> bytes:
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def _reset(self) -> None:
        self._segments: deque[tuple[bytes, bool]] = deque()  # unacknowledged; with whether more follow
        self._sent = 0  # how many of them were sent
        self._first = 0  # the sequence number of the first of them
        self._expected = 0  # the sequence number of the next frame to receive
        self._message = bytearray()

    def _write(self, control: int, information: bytes = b"", *, segmented: bool = False) -> None:
        frame = Frame(self._peer, self._own, control, information, segmented)
        self._outgoing += frame.encode()

    def _load(self, apdu: bytes) -> None:
        """Make `apdu` the message to send; the rest of an earlier message is dropped."""
        whole, most = self._llc + apdu, self._limits.transmit
        self._segments = deque(
            (whole[at : at + most], at + most < len(whole)) for at in range(0, len(whole), most)
        )
        self._sent = 0

    def _take_turn(self) -> None:
        """Send as many segments as the window allows, or RR where there are none; the last frame passes the
        turn."""
        count = min(self._limits.transmit_window, len(self._segments))
        for at in range(count):
            information, more = self._segments[at]
            number = (self._first + at) % _MODULUS
            control = self._expected << 5 | (_FINAL if at == count - 1 else 0) | number << 1
            self._write(control, information, segmented=more)
        self._sent = count
        if not count:
            self._write(self._expected << 5 | _FINAL | _RR)

    def _acknowledge(self, control: int) -> None:
        """Drop the segments that the other station has received; an impossible number acknowledges none."""
        count = ((control >> 5) - self._first) % _MODULUS
        if count <= self._sent:
            for _ in range(count):
                self._segments.popleft()
            self._first = (self._first + count) % _MODULUS
            self._sent -= count

    def _collect(self, frame: Frame) -> bytes | None:
        """The message that this I frame completes, without its LLC header."""
        if frame.control >> 1 & 7 != self._expected:
            return None
        self._expected = (self._expected + 1) % _MODULUS
        self._message += frame.information
        if len(self._message) > _LONGEST_MESSAGE:
            raise MeterError(f"a message over HDLC has more than {_LONGEST_MESSAGE} bytes")
        if frame.segmented:
            return None
        message = bytes(self._message)
        self._message.clear()
        if message[:3] not in (LLC_COMMAND, LLC_RESPONSE):
            raise MeterError("a message over HDLC lacks the LLC header of DLMS (E6 E7 00)")
        return message[3:]


_State = Literal["disconnected", "connecting", "idle", "waiting", "disconnecting"]


class Primary(_Station):
    """The client's side. After each of `connect`, `send` and `disconnect`, feed the meter's bytes to
    `receive` until the link is no longer `busy`; call `lost` when nothing came for a while. After a
    MeterError the link is disconnected.

                      connect()              UA          send()
        disconnected -----------> connecting ---> idle -----------------> waiting
              ^                                    | ^                       |  |
              |                                    | +-----------------------+  |
              |     UA, DM                         v     a whole answer         |
              +---------------------------- disconnecting <---------------------+
                                                       disconnect()

    connect() and disconnect() are possible in every state. Any other DM or FRMR ends the link with a
    MeterError, and so do four repetitions in vain; frames that a state has no use for are ignored.
    """

    def __init__(self, client: Address, server: Address, limits: Limits | None = None) -> None:
        super().__init__(client, server, limits or Limits(), LLC_COMMAND)
        self._state: _State = "disconnected"
        self._in_vain = 0
        self._noise = 0

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._state in ("connecting", "waiting", "disconnecting")

    @property
    def connected(self) -> bool:
        return self._state in ("idle", "waiting")

    def connect(self) -> None:
        self._reset()
        self._begin("connecting")
        self._write(_SNRM | _FINAL, self._offer.encode())

    def send(self, apdu: bytes) -> None:
        """Send a request; the link must be connected, and not busy."""
        if self._state != "idle":
            raise RuntimeError(f"the link is {self._state}")
        self._begin("waiting")
        self._load(apdu)
        self._take_turn()

    def disconnect(self) -> None:
        self._begin("disconnecting")
        self._write(_DISC | _FINAL)

    def lost(self) -> None:
        """Nothing came for a while: try again. MeterError after too many attempts in vain."""
        self._try_again()
        if self._state == "connecting":
            self._write(_SNRM | _FINAL, self._offer.encode())
        elif self._state == "waiting":
            # The meter's response to a poll shows whether the request or its answer was lost. If both
            # stations have the same address, it may look like the poll's echo: so every second time the
            # request is repeated instead.
            if self._in_vain % 2 or not self._segments:
                self._write(self._expected << 5 | _FINAL | _RR)
            else:
                self._take_turn()
        elif self._state == "disconnecting":
            self._write(_DISC | _FINAL)

    def receive(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes. MeterError where the meter ends the link."""
        self._noise += len(data)
        messages = []
        for frame in self._scanner.feed(data):
            if isinstance(frame, Frame) and (frame.destination, frame.source) == (self._own, self._peer):
                self._noise = 0
                if (message := self._handle(frame)) is not None:
                    messages.append(message)
        if self._noise > _MOST_NOISE:
            raise MeterError(
                "the bytes that arrive are not this meter's HDLC: are its address and the port's speed right?"
            )
        return messages

    def _begin(self, state: _State) -> None:
        self._state = state
        self._in_vain = 0

    def _try_again(self) -> None:
        self._in_vain += 1
        if self._in_vain > _MOST_IN_VAIN:
            self._state = "disconnected"
            raise MeterError(f"the meter does not answer on its HDLC link, asked {self._in_vain} times")

    def _handle(self, frame: Frame) -> bytes | None:
        kind = frame.control & ~_FINAL
        if kind == _UA and self._state == "connecting":
            self._limits = self._offer.agreed(Limits.decode(frame.information))
            self._state = "idle"
        elif kind in (_UA, _DM) and self._state == "disconnecting":
            self._state = "disconnected"
        elif kind in (_DM, _FRMR) and self._state != "disconnected":
            asked, self._state = self._state, "disconnected"
            if asked == "connecting":
                raise MeterError("the meter refuses the HDLC link: does another client use it?")
            raise MeterError("the meter has ended the HDLC link")
        elif self._state == "waiting":
            if not kind & 1:
                return self._information(frame)
            if kind & 0x0F in (_RR, _RNR):
                self._ready(frame, may_send=kind & 0x0F == _RR)
        return None

    def _ready(self, frame: Frame, *, may_send: bool) -> None:
        before = len(self._segments)
        self._acknowledge(frame.control)
        if len(self._segments) < before:
            self._in_vain = 0
        if may_send and frame.control & _FINAL and self._segments:
            if len(self._segments) == before:
                self._try_again()
            self._take_turn()

    def _information(self, frame: Frame) -> bytes | None:
        self._acknowledge(frame.control)
        ahead = ((frame.control >> 1 & 7) - self._expected) % _MODULUS
        if ahead >= self._limits.receive_window:
            return None  # a repeated frame
        self._in_vain = 0
        message = self._collect(frame)
        if message is not None:
            self._state = "idle"
        elif frame.control & _FINAL:
            self._take_turn()
        return message


class Secondary(_Station):
    """The meter's side, at the address `server`. Its client is whichever connected last."""

    def __init__(self, server: Address, limits: Limits | None = None) -> None:
        super().__init__(server, b"", limits or Limits(), LLC_RESPONSE)
        self._my_turn = False

    @property
    def client(self) -> Address | None:
        """The address of the connected client."""
        return self._peer or None

    def send(self, apdu: bytes) -> None:
        """Answer the last message."""
        self._load(apdu)
        if self._my_turn:
            self._my_turn = False
            self._take_turn()

    def receive(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes. MeterError where the client's message is not DLMS."""
        frames = (frame for frame in self._scanner.feed(data) if isinstance(frame, Frame))
        messages = (self._handle(frame) for frame in frames if frame.destination == self._own)
        return [message for message in messages if message is not None]

    def _handle(self, frame: Frame) -> bytes | None:
        kind = frame.control & ~_FINAL
        if kind == _SNRM:
            self._connect(frame)
        elif frame.source != self._peer:
            refused = Frame(frame.source, self._own, _DM | _FINAL)
            self._outgoing += refused.encode()
        elif kind == _DISC:
            self._write(_UA | _FINAL)
            self._reset()
            self._peer = b""
        elif not kind & 1:
            self._acknowledge(frame.control)
            message = self._collect(frame)
            if message is not None:
                self._my_turn = bool(frame.control & _FINAL)
                return message
            if frame.control & _FINAL:
                self._take_turn()
        elif kind & 0x0F == _RR:
            self._acknowledge(frame.control)
            if frame.control & _FINAL:
                self._my_turn = False
                self._take_turn()
        return None

    def _connect(self, frame: Frame) -> None:
        try:
            asked = Limits.decode(frame.information)
        except MeterError:
            return  # an offer that cannot be answered
        self._reset()
        self._peer = frame.source
        self._limits = self._offer.agreed(asked)
        self._write(_UA | _FINAL, self._limits.encode())
