"""Values to lists of registers: the messages of an SML file (SML 1.04, clause 5).

Only SML_GetList.Res has registers; all other messages are skipped. Each message must fit its own check
sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.errors import MeterError
from gateway.meters.sml.check import fits
from gateway.meters.sml.fields import Field, Number, take

_LIST_RESPONSE = 0x0701
_SEC_INDEX = 1


@dataclass(frozen=True, slots=True)
class Time:
    """A meter's clock: seconds since some start of its own (`absolute` false), or Unix time."""

    seconds: int
    absolute: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A register: its OBIS code in six bytes, and its value, to be multiplied by 10^`scaler`, in `unit` (the
    codes of IEC 62056-6-2, table 4)."""

    obis: bytes
    status: int | None
    time: Time | None
    unit: int | None
    scaler: int
    value: Number | bytes | bool | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegisterList:
    """The registers of the meter `server_id` at `time`."""

    server_id: bytes = field(repr=False)
    time: Time | None
    entries: tuple[Entry, ...]


def register_lists(content: bytes) -> list[RegisterList]:
    """The lists in a frame's content. MeterError where a message is malformed or fails its check."""
    lists = []
    at = 0
    while at < len(content) and content[at] != 0:  # some send more zeros than the fill bytes they announce
        kind, body, at = _message(content, at)
        if kind == _LIST_RESPONSE:
            lists.append(_list(body))
    return lists


def _message(content: bytes, begin: int) -> tuple[int, Field, int]:
    """The message that begins there: its kind, its body, and where it ends."""
    if content[begin] != 0x76:
        raise MeterError("an SML message does not begin with a list of six")
    at = begin + 1
    for _ in range(3):  # its transaction id, its group, and what to do on an error
        _, at = take(content, at)
    choice, at = take(content, at)
    checked, checked_end = take(content, at)
    if checked_end >= len(content) or content[checked_end] != 0:
        raise MeterError("an SML message is longer than a list of six")
    sequence = _number(checked, "check sequence")
    if not 0 <= sequence <= 0xFFFF or not fits(content[begin:at], sequence.to_bytes(2, "big")):
        raise MeterError("an SML message's check sequence is wrong")
    kind, body = _elements(choice, 2, "message body")
    return _number(kind, "message body's kind"), body, checked_end + 1


def _list(body: Field) -> RegisterList:
    _, server_id, _, time, entries, _, _ = _elements(body, 7, "list of registers")
    if not isinstance(entries, tuple):
        raise MeterError("an SML list of registers is empty")
    return RegisterList(_octets(server_id, "server id"), _time(time), tuple(map(_entry, entries)))


def _entry(entry: Field) -> Entry:
    obis, status, time, unit, scaler, value, _ = _elements(entry, 7, "register")
    return Entry(
        obis=_octets(obis, "register's name"),
        status=status.value if isinstance(status, Number) else None,
        time=_time(time),
        unit=_number(unit, "unit") if unit is not None else None,
        scaler=_number(scaler, "scaler") if scaler is not None else 0,
        value=None if isinstance(value, tuple) else value,  # a list would be a time
    )


def _time(time: Field) -> Time | None:
    """SML_Time: a choice of seconds since the meter's start, Unix time, or Unix time with its offsets."""
    match time:
        case None:
            return None
        case Number(seconds):  # Holley omits the choice (libsml, sml/src/sml_time.c at dc096b4)
            return Time(seconds, absolute=False)
        case (Number(kind), Number(seconds)) | (Number(kind), (Number(seconds), *_)):
            return Time(seconds, absolute=kind != _SEC_INDEX)
    raise MeterError("an SML time is of an unknown kind")


def _elements(value: Field, count: int, what: str) -> tuple[Field, ...]:
    if not isinstance(value, tuple) or len(value) != count:
        raise MeterError(f"an SML {what} is not a list of {count}")
    return value


def _number(value: Field, what: str) -> int:
    if not isinstance(value, Number):
        raise MeterError(f"an SML {what} is not a number")
    return value.value


def _octets(value: Field, what: str) -> bytes:
    if not isinstance(value, bytes):
        raise MeterError(f"an SML {what} is not an octet string")
    return value
