"""DLMS/COSEM: what a client makes of the answers to its questions, and of a load profile."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import TypeVar

from gateway.errors import MeterError
from gateway.meters.dlms.application import apdu, association, block_transfer
from gateway.meters.dlms.application.client import DlmsSession, Setup, Steps
from gateway.meters.dlms.cosem import data, date_time
from gateway.meters.dlms.cosem.data import Array, DoubleLongUnsigned
from gateway.meters.dlms.cosem.date_time import Scale
from gateway.meters.dlms.cosem.objects import CLOCK, REGISTER, Reference, capture_object, obis
from gateway.meters.dlms.polled.load_profile import Columns, read_columns, rows
from gateway.meters.iec62056.sign_on import find_identification
from tests.fuzz.engine import Target

T = TypeVar("T")

_PROFILE, _CLOCK = obis("1-0:99.1.0"), obis("0-0:1.0.0")
_LANES = {"import": obis("1-0:1.8.0"), "export": obis("1-0:2.8.0")}
_TARGET = Reference(REGISTER, _LANES["import"], 2)
_LONG_VALUE = bytes(200)
_SCALE = Scale.of(date_time.encode(0, 0))


def _session() -> DlmsSession:
    numbers = count(1)
    return DlmsSession(Setup(), lambda: next(numbers))


def _through(steps: Steps[T], answers: Iterable[bytes]) -> T:
    """What `steps` come to with these answers. MeterError where they do not suffice."""
    try:
        next(steps)
        for answer in answers:
            steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()
    raise MeterError("the answers end")


def _talk(given: bytes) -> None:
    """Everything that a client does, with the input's answers: two bytes of length before each."""
    session = _session()
    answers = iter(_cut(given))
    for steps in (
        session.associate(),
        session.get(_TARGET),
        session.set(_TARGET, _LONG_VALUE),
        session.action(_TARGET, _LONG_VALUE),
    ):
        _through(steps, answers)


def _cut(given: bytes) -> Iterable[bytes]:
    at = 0
    while at + 2 <= len(given):
        end = at + 2 + int.from_bytes(given[at : at + 2], "big")
        yield given[at + 2 : end]
        at = end


def _joined(*answers: bytes) -> bytes:
    return b"".join(len(answer).to_bytes(2, "big") + answer for answer in answers)


def _load_profile(given: bytes) -> None:
    """The input as a profile's buffer, and as what it says that it captures."""
    value = data.decode(given)
    if isinstance(value, tuple):
        rows(value, Columns(0, None, {"import": 1, "export": 2}, 900), _SCALE)
    captured = apdu.GetAnswer(0xC1, given).encode()
    period = apdu.GetAnswer(0xC2, data.encode(DoubleLongUnsigned(900))).encode()
    _through(read_columns(_session(), _PROFILE, _CLOCK, _LANES), (captured, period))


def _seeds() -> list[bytes]:
    # Small APDUs, so that what is written goes in blocks.
    initiated = association.Initiated(association.Conformance(0x1E1D), 80).encode()
    accepted = association.Response(False, 0, 0, initiated).encode()
    value = data.encode(DoubleLongUnsigned(7))
    whole = apdu.GetAnswer(0xC1, value).encode()
    first = apdu.GetAnswer(0xC1, apdu.Block(False, 1, value[:2])).encode()
    last = apdu.GetAnswer(0xC1, apdu.Block(True, 2, value[2:])).encode()
    general = [block.encode() for block in block_transfer.split(whole, 6, window=1)]
    written = [apdu.SetNext(0xC2, number).encode() for number in range(1, 13)]
    ended = apdu.SetAnswer(0xC2, 0, 13).encode()
    called = [apdu.ActionAnswerNext(0xC3, number).encode() for number in range(1, 13)]
    returned = apdu.ActionAnswer(0xC3, 0, value).encode()
    part = apdu.ActionAnswerBlock(0xC3, apdu.Block(True, 1, returned[3:])).encode()
    return [
        _joined(accepted, whole, *written, ended, *called, returned),
        _joined(accepted, first, last, *written, ended, *called, part),
        _joined(accepted, *general, *written, ended, *called, returned),
    ]


def _tables() -> list[bytes]:
    clock = bytes.fromhex("07ea0b16070f0c00ff800000")
    objects = [(CLOCK, _CLOCK), *((REGISTER, code) for code in _LANES.values())]
    captured = Array(capture_object(class_id, code, 2) for class_id, code in objects)
    row = (clock, DoubleLongUnsigned(7), DoubleLongUnsigned(8))
    buffer = Array([row, (None, DoubleLongUnsigned(9), None), (clock[:9] + b"\xff\xc4\x80", None, None)])
    return [data.encode(captured), data.encode(buffer)]


TARGETS = (
    Target("dlms-client", MeterError, _talk, _seeds),
    Target("dlms-load-profile", MeterError, _load_profile, _tables),
    Target(
        "mode-e",
        MeterError,
        lambda given: getattr(find_identification(given), "settings", None),
        lambda: [b"/ISK5\\2MT382-1000\r\n", b"\0\xff/LGZ4\\2ZMD3104107.B32\r\n", b"/XYZA\\1\\2id\r\n"],
    ),
)
