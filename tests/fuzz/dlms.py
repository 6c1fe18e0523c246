"""DLMS/COSEM: data, ciphered messages, APDUs, and what carries them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from zoneinfo import ZoneInfo

from gateway.errors import MeterError
from gateway.meters.dlms.application import apdu, association, cipher
from gateway.meters.dlms.application.cipher import AUTHENTICATED, ENCRYPTED, CipherKeys, Guard
from gateway.meters.dlms.cosem import data, date_time, quantity
from gateway.meters.dlms.cosem.data import Array, DoubleLongUnsigned, Enum, Integer, LongUnsigned, Unsigned
from gateway.meters.dlms.cosem.objects import Reference, Selection, obis
from gateway.meters.dlms.link.hdlc import Frame, FrameScanner, address
from gateway.meters.dlms.link.hdlc_link import LLC_RESPONSE, Limits, Primary, Secondary
from gateway.meters.dlms.link.wrapper import Message, Unwrapper
from tests.fuzz import streams
from tests.fuzz.engine import Target

TITLE = b"SIM\0\0\xbc\x61\x4e"
KEYS = CipherKeys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
CONTROLS = (AUTHENTICATED, ENCRYPTED, AUTHENTICATED | ENCRYPTED)
_BERLIN = ZoneInfo("Europe/Berlin")
_NOON = bytes.fromhex("07ea0b16070c0000ff800000")
_CLIENT, _SERVER = address(16), address(1, 17)

VALUES: list[data.Value] = [
    None,
    DoubleLongUnsigned(1_234_567),
    (Integer(-1), Enum(30)),
    _NOON,
    "KFM_001",
    data.Utf8("Zähler"),
    data.BitString("1010101011"),
    data.Float32(1.5),
    data.Float64(-2.25),
    Array([(b"\1\0\1\x08\0\xff", DoubleLongUnsigned(7), (Integer(0), Enum(30)))] * 3),
    (Unsigned(3), (LongUnsigned(8), b"\0\0\1\0\0\xff", Integer(2), LongUnsigned(0)), True, False),
]
_ENCODED = [data.encode(value) for value in VALUES]
_COMPACT = bytes.fromhex("13 02 02 12 06 0c 0001 00000002 0003 00000004".replace(" ", ""))
_TARGET = Reference(3, obis("1-0:1.8.0"), 2)
_VALUE = _ENCODED[1]
_BLOCK = apdu.Block(False, 1, b"\x06\0\0")

_REQUESTS: list[apdu.Request] = [
    apdu.Get(0xC1, _TARGET),
    apdu.Get(0xC1, _TARGET, Selection(1, (LongUnsigned(1), TITLE))),
    apdu.GetNext(0xC1, 1),
    apdu.Set(0xC1, _TARGET, _VALUE),
    apdu.Set(0xC1, _TARGET, _BLOCK),
    apdu.SetBlock(0xC1, _BLOCK),
    apdu.Action(0xC1, _TARGET, _VALUE),
    apdu.Action(0xC1, _TARGET),
    apdu.Action(0xC1, _TARGET, _BLOCK),
    apdu.ActionBlock(0xC1, _BLOCK),
    apdu.ActionNext(0xC1, 2),
]
_ANSWERS: list[apdu.Answer] = [
    apdu.GetAnswer(0xC1, _VALUE),
    apdu.GetAnswer(0xC1, 4),
    apdu.GetAnswer(0xC1, _BLOCK),
    apdu.SetAnswer(0xC1, 0),
    apdu.SetAnswer(0xC1, 0, 3),
    apdu.SetNext(0xC1, 3),
    apdu.ActionAnswer(0xC1, 0, _VALUE),
    apdu.ActionAnswer(0xC1, 0),
    apdu.ActionAnswerBlock(0xC1, _BLOCK),
    apdu.ActionAnswerNext(0xC1, 1),
]
_INITIATE = association.Initiate(association.Conformance(0x1E1D), 1024).encode()
_INITIATED = association.Initiated(association.Conformance(0x1E1D), 1024).encode()


def _decode(given: bytes) -> None:
    """A value read is one that is written the same way again, but for a compact-array and a boolean's
    octet, which have more ways than one."""
    value = data.decode(given)
    again = data.decode(data.encode(value))
    assert repr(again) == repr(value)


def _register(given: bytes) -> None:
    """A value, and its scaler and unit."""
    value = data.decode(given)
    if isinstance(value, tuple) and len(value) == 2:
        scale = quantity.ScalerUnit.of(value[1])
        for read in (quantity.milliwatt_hours, quantity.watts):
            with suppress(MeterError):
                assert isinstance(read(value[0], scale), int)


def _moment(given: bytes) -> None:
    for zone in (None, _BERLIN):
        with suppress(MeterError):
            moment = date_time.decode(given, zone)
            with suppress(ValueError, OverflowError):  # the year 0, or 10000, in another zone
                again = date_time.decode(date_time.encode(moment.unix_ns, moment.deviation))
                assert again.unix_ns // 10_000_000 == moment.unix_ns // 10_000_000


def _ciphered(given: bytes) -> None:
    message = cipher.parse(given)
    Guard(KEYS).open(message, TITLE)


def _sealed() -> list[bytes]:
    bodies = [cipher.seal(KEYS, control, TITLE, 7, _REQUESTS[0].encode()) for control in CONTROLS]
    general = [cipher.general_glo(title, body) for title in (TITLE, b"") for body in bodies]
    return [*general, *(cipher.service_glo(0xC0, body) for body in bodies)]


def _association() -> list[bytes]:
    requests = [
        association.Request(False, 0, _INITIATE),
        association.Request(False, 1, _INITIATE, secret=b"00000001"),
        association.Request(True, 5, cipher.service_glo(1, _INITIATE), TITLE, b"challenge"),
    ]
    answers = [
        association.Response(False, 0, 0, _INITIATED),
        association.Response(False, 1, 13),
        association.Response(True, 0, 14, _INITIATED, 5, TITLE, b"challenge"),
    ]
    others = [_INITIATE, _INITIATED, association.release(), association.release(_INITIATE)]
    return [*(one.encode() for one in requests), *(one.encode() for one in answers), *others]


def _associate(given: bytes) -> None:
    for parse in (
        association.parse_request,
        association.parse_response,
        association.parse_initiate,
        association.parse_initiated,
        association.release_information,
    ):
        with suppress(MeterError):
            parse(given)


_GOOD_FRAME = Frame(_CLIENT, _SERVER, 0x30, LLC_RESPONSE + _ANSWERS[0].encode())
_FRAMES = [
    _GOOD_FRAME,
    Frame(_CLIENT, _SERVER, 0x73, Limits(128, 128).encode()),
    Frame(_CLIENT, _SERVER, 0x11),
    Frame(_CLIENT, address(1, 17, size=4), 0x30, LLC_RESPONSE + bytes(80), segmented=True),
]


_LAWS = streams.Laws(FrameScanner, _GOOD_FRAME.encode(), _GOOD_FRAME.encode())


def _frames(given: bytes) -> None:
    for item in _LAWS.check(given):
        assert isinstance(item, Frame)
        assert FrameScanner().feed(item.encode()) == [item]


def _as_talk(frames: Iterable[Frame]) -> bytes:
    """Of frames that one station sends the other: for each its control, flags and information."""
    return b"".join(
        bytes((frame.control, frame.segmented))
        + len(frame.information).to_bytes(2, "big")
        + frame.information
        for frame in frames
    )


def _talk(given: bytes, receive: Callable[[bytes], object], header: tuple[bytes, bytes]) -> None:
    """Give a station the frames of an input: control, whether segments follow, length and information."""
    at = 0
    while at + 4 <= len(given):
        size = int.from_bytes(given[at + 2 : at + 4], "big") % 2000
        frame = Frame(*header, given[at], given[at + 4 : at + 4 + size], bool(given[at + 1] & 1))
        receive(frame.encode())
        at += 4 + size


def _client_link(given: bytes) -> None:
    """A client that asks whatever it may, and hears an input's frames."""
    link = Primary(_CLIENT, _SERVER, Limits(512, 512, 7, 7))
    link.connect()

    def receive(frame: bytes) -> None:
        link.receive(frame)
        link.outgoing()
        if link.connected and not link.busy:
            link.send(_REQUESTS[0].encode() * 40)

    _talk(given, receive, (_CLIENT, _SERVER))
    link.disconnect()
    for _ in range(9):
        link.lost()


def _meter_link(given: bytes) -> None:
    link = Secondary(_SERVER, Limits(512, 512, 3, 3))

    def receive(frame: bytes) -> None:
        for message in link.receive(frame):
            link.send(message * 2)
        link.outgoing()

    _talk(given, receive, (_SERVER, _CLIENT))


def _unwrap(given: bytes) -> None:
    """In pieces the same messages come as at once; after a MeterError nothing is asked any more."""
    in_pieces: list[Message] = []
    unwrapper = Unwrapper()
    failed = False
    with suppress(MeterError):
        failed = True
        for piece in streams.pieces(given):
            in_pieces += unwrapper.feed(piece)
        failed = False
    try:
        at_once = Unwrapper().feed(given[2:])
    except MeterError:
        assert failed
        raise
    assert not failed
    assert in_pieces == at_once


_MESSAGES = [Message(16, 1, request.encode()) for request in _REQUESTS]
_CONNECTED = Frame(_CLIENT, _SERVER, 0x73, Limits(128, 128).encode())
_ANSWERED = Frame(_CLIENT, _SERVER, 0x30, LLC_RESPONSE + _ANSWERS[0].encode())
_SNRM = Frame(_SERVER, _CLIENT, 0x93, Limits(128, 128).encode())
_ASKED = Frame(_SERVER, _CLIENT, 0x10, b"\xe6\xe6\x00" + _REQUESTS[0].encode())

TARGETS = (
    Target("dlms-data", MeterError, _decode, lambda: [*_ENCODED, _COMPACT]),
    Target(
        "dlms-register", MeterError, _register, lambda: [data.encode((value, VALUES[2])) for value in VALUES]
    ),
    Target(
        "dlms-time",
        MeterError,
        _moment,
        lambda: [bytes.fromhex("07ea0b16070f0c00ff800000"), bytes(12), b"\xff" * 12],
    ),
    Target("dlms-cipher", MeterError, _ciphered, _sealed),
    Target("dlms-request", MeterError, apdu.parse_request, lambda: [one.encode() for one in _REQUESTS]),
    Target(
        "dlms-answer",
        MeterError,
        apdu.parse_answer,
        lambda: [*(one.encode() for one in _ANSWERS), apdu.exception(1, 6, 3), b"\x0e\x01\x06\x04"],
    ),
    Target(
        "dlms-notification",
        MeterError,
        apdu.parse_notification,
        lambda: [
            apdu.DataNotification(1, sent, body).encode() for sent in (None, bytes(12)) for body in VALUES
        ],
    ),
    Target("dlms-association", MeterError, _associate, _association),
    Target(
        "hdlc",
        MeterError,
        _frames,
        lambda: [
            *(streams.as_input(frame.encode()) for frame in _FRAMES),
            streams.as_input(b"".join(frame.encode() for frame in _FRAMES), 9, 0),
        ],
    ),
    Target(
        "hdlc-client",
        MeterError,
        _client_link,
        lambda: [_as_talk([_CONNECTED, *_FRAMES]), _as_talk([_CONNECTED, *[_ANSWERED] * 3])],
    ),
    Target(
        "hdlc-meter",
        MeterError,
        _meter_link,
        lambda: [_as_talk([_SNRM, _ASKED]), _as_talk([_SNRM, *[_ASKED] * 3])],
    ),
    Target(
        "dlms-wrapper",
        MeterError,
        _unwrap,
        lambda: [
            streams.as_input(_MESSAGES[0].encode()),
            streams.as_input(b"".join(message.encode() for message in _MESSAGES), 6, 40),
        ],
    ),
)
