"""Meters that push DLMS lists, and P1 ports: as profiles read them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from gateway.errors import MeterError
from gateway.meters.dlms.application import apdu, block_transfer, cipher
from gateway.meters.dlms.cosem import data
from gateway.meters.dlms.link import mbus
from gateway.meters.dlms.link.hdlc import FLAG, Frame, address
from gateway.meters.dlms.link.hdlc_link import LLC_RESPONSE
from gateway.meters.dlms.push.decoder import PushDecoder, Seen
from gateway.meters.dlms.push.links import HdlcLink, MbusLink
from gateway.meters.dlms.push.lists import ListForm
from gateway.meters.dlms.push.model import DlmsPushModel
from gateway.meters.p1.cipher import SealedFrames
from gateway.meters.p1.decoder import P1Decoder
from gateway.meters.p1.frames import crc16
from gateway.meters.p1.model import P1Model
from gateway.meters.profile import load_profile, profile_ids
from gateway.meters.reading import Decoder, Telegram, sane
from gateway.simulate import p1 as simulated_p1
from tests.fuzz import streams
from tests.fuzz.engine import Target
from tests.meters.dlms.push import test_layouts
from tests.meters.dlms.push.test_frames import FRAMES, frames
from tests.meters.p1 import public

_HIGHEST = 2**32 - 1
_STATION = address(1)
_P1_KEYS = bytes(range(16)), bytes(range(0xD0, 0xE0))
_P1_LINES = (
    "0-0:1.0.0(261122150700W)",
    "1-0:1.8.1(001234.567*kWh)",
    "1-0:1.8.2(002345.678*kWh)",
    "1-0:1.8.0(003580.245*kWh)",
    "1-0:2.8.1(000000.001*kWh)",
    "1-0:2.8.2(000000.002*kWh)",
    "1-0:2.8.0(000000.003*kWh)",
    "1-0:1.7.0(00.431*kW)",
    "1-0:2.7.0(00.000*kW)",
)


@cache
def _p1_model(name: str) -> P1Model:
    model = load_profile(name).model
    assert isinstance(model, P1Model)
    return model


def _read(make: Callable[[], Decoder], first: bytes, second: bytes) -> Callable[[bytes], None]:
    laws = streams.Laws(make, first, second)

    def read(given: bytes) -> None:
        for item in laws.check(given):
            _judge(item)

    return read


def _judge(item: object) -> None:
    assert isinstance(item, Telegram)
    with suppress(MeterError):
        sane(item.registers)


# --- lists

_TITLE = b"SIM\0\0\0\0\1"
_KEYS = cipher.CipherKeys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
_LIST = (b"\1\0\1\7\0\xff", data.DoubleLongUnsigned(431), (data.Integer(0), data.Enum(27)))
_LONGEST_SENTENCE = 500
_NOTIFICATION = apdu.DataNotification(0, None, _LIST).encode()


def _ciphered(counter: int) -> bytes:
    sealed = cipher.seal(_KEYS, cipher.AUTHENTICATED | cipher.ENCRYPTED, _TITLE, counter, _NOTIFICATION)
    return cipher.general_glo(_TITLE, sealed)


def _in_hdlc(message: bytes) -> bytes:
    return Frame(_STATION, _STATION, 0x13, LLC_RESPONSE + message).encode()


def _in_mbus(message: bytes) -> bytes:
    return b"".join(part.encode() for part in mbus.split(message))


def _hdlc(keys: cipher.CipherKeys | None) -> PushDecoder:
    return PushDecoder(HdlcLink(), _form("kamstrup-han"), keys, Seen())


def _mbus(keys: cipher.CipherKeys | None) -> PushDecoder:
    return PushDecoder(MbusLink(), _form("kaifa-ma309"), keys, Seen())


@cache
def _public() -> tuple[list[bytes], list[bytes]]:
    """Frames of real meters, plain: over HDLC, and over M-Bus."""
    found: tuple[list[bytes], list[bytes]] = [], []
    for file in sorted(FRAMES.glob("*.hex")):
        for frame in frames(file.stem):
            found[frame[0] != FLAG].append(frame)
    return found


@cache
def _messages() -> list[bytes]:
    """Whole notifications of real meters, out of their frames and blocks."""
    found = []
    for frame in _public()[0]:
        blocks = block_transfer.Reassembly()
        for readings in HdlcLink().feed(frame):
            if not isinstance(readings, MeterError):
                *_, message = readings
                with suppress(MeterError):
                    message = blocks.feed(block_transfer.parse(message)) or b""
                found.append(message)
    return [message for message in found if message[:1] == b"\x0f"]


def _lists(given: bytes) -> None:
    """A sentence is short, whatever it tells of."""
    notification = apdu.parse_notification(given)
    for form in _forms():
        try:
            for telegram in form.telegrams(notification, _TITLE):
                _judge(telegram)
        except MeterError as error:
            if len(str(error)) > _LONGEST_SENTENCE:
                raise AssertionError(f"a sentence is long: {error}") from None


def _of_values_alone(given: bytes) -> None:
    """The input as a list without codes: it is read by one layout of a profile at most, the one that it
    fits."""
    body = data.decode(given)
    if not isinstance(body, tuple):
        return
    for form in _forms():
        fitting = [layout for layout in form.layouts if layout.fits(body)]
        assert len(fitting) < 2 or None in body
        try:
            form.telegrams(apdu.DataNotification(0, None, body), _TITLE)
        except MeterError as error:
            if len(fitting) == 1 and "unknown list" in str(error):
                raise AssertionError("a list that a layout fits is unknown") from None


@cache
def _forms() -> list[ListForm]:
    models = (load_profile(profile_id).model for profile_id in profile_ids())
    return [model.form for model in models if isinstance(model, DlmsPushModel)]


@cache
def _form(profile: str) -> ListForm:
    model = load_profile(profile).model
    assert isinstance(model, DlmsPushModel)
    return model.form


def _hdlc_frames(given: bytes) -> None:
    """The input as what frames hold: for each whether more segments follow, two bytes of length, and its
    information."""
    decoder = _hdlc(None)
    at = 0
    while at + 3 <= len(given):
        size = int.from_bytes(given[at + 1 : at + 3], "big") % 2000
        information = given[at + 3 : at + 3 + size]
        for item in decoder.feed(Frame(_STATION, _STATION, 0x13, information, bool(given[at] & 1)).encode()):
            assert isinstance(item, Telegram | MeterError)
        at += 3 + size


def _as_frames(message: bytes, size: int) -> bytes:
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(
        bytes((number < len(parts),)) + len(part).to_bytes(2, "big") + part
        for number, part in enumerate(parts, 1)
    )


def _parts(given: bytes) -> None:
    """The input as what M-Bus frames hold: for each its CI field, a byte of length, and its content."""
    decoder = _mbus(None)
    at = 0
    while at + 2 <= len(given):
        content = given[at + 2 : at + 2 + min(given[at + 1], 250)]
        for item in decoder.feed(mbus.Part(given[at] & 15, bool(given[at] & 16), content).encode()):
            assert isinstance(item, Telegram | MeterError)
        at += 2 + min(given[at + 1], 250)


# --- P1


def _p1_plain(profile: str) -> P1Decoder:
    model = _p1_model(profile)
    return P1Decoder(model.registers, checks=model.checks)


def _p1_sealed() -> P1Decoder:
    model = _p1_model("luxembourg-smarty")
    return P1Decoder(model.registers, checks=model.checks, sealed=SealedFrames(*_P1_KEYS))


def _p1_sealed_lines() -> P1Decoder:
    model = _p1_model("poland-stoen-p1")
    return P1Decoder(model.registers, checks=model.checks, sealed=SealedFrames(*_P1_KEYS, titled=False))


def _p1_lines(given: bytes) -> None:
    """The input as what stands between a telegram's head and its right check sequence."""
    text = b"/SIM5\\simulated\r\n\r\n" + given + b"!"
    for decoder in _p1_readers():
        for item in decoder.feed(text + b"%04X\r\n" % crc16(text)):
            assert isinstance(item, Telegram | MeterError)


@cache
def _p1_readers() -> tuple[P1Decoder, ...]:
    """One that adds up tariffs, one that knows how many there are, and one that reads several channels."""
    return tuple(map(_p1_plain, ("dsmr-5", "hungary-p1", "switzerland-p1")))


def _p1_sealed_text() -> bytes:
    return simulated_p1.seal_lines(simulated_p1.telegram(_P1_LINES, None, "a/b/c"), *_P1_KEYS)


def _in_p1(counter: int) -> bytes:
    return simulated_p1.seal(simulated_p1.telegram(_P1_LINES), *_P1_KEYS, counter)


@cache
def _p1_texts() -> list[bytes]:
    """Telegrams of real meters."""
    document = tomllib.loads(Path(public.__file__).with_name("telegrams.toml").read_text("utf-8"))
    return [telegram["text"].replace("\n", "\r\n").encode() for telegram in document["telegram"]]


TARGETS = (
    Target(
        "push-hdlc",
        MeterError,
        _read(lambda: _hdlc(None), *[_in_hdlc(_NOTIFICATION)] * 2),
        lambda: [streams.as_input(frame) for frame in (*_public()[0], _in_hdlc(_NOTIFICATION))],
    ),
    Target(
        "push-hdlc-ciphered",
        MeterError,
        _read(lambda: _hdlc(_KEYS), *(_in_hdlc(_ciphered(_HIGHEST - 1 + at)) for at in (0, 1))),
        lambda: [streams.as_input(_in_hdlc(_ciphered(1)) + _in_hdlc(_ciphered(2)))],
    ),
    Target(
        "push-hdlc-frames",
        MeterError,
        _hdlc_frames,
        lambda: [
            *(_as_frames(LLC_RESPONSE + message, size) for message in _messages() for size in (60, 1000)),
            *(
                _as_frames(LLC_RESPONSE + block.encode(), 1000)
                for block in block_transfer.split(_NOTIFICATION, 9, 1)
            ),
            b"\1\0\0",
            b"\1\0\3" + LLC_RESPONSE,
        ],
    ),
    Target(
        "push-mbus",
        MeterError,
        _read(lambda: _mbus(None), *[_in_mbus(_NOTIFICATION)] * 2),
        lambda: [streams.as_input(frame) for frame in (*_public()[1], _in_mbus(_NOTIFICATION * 10))],
    ),
    Target(
        "push-mbus-ciphered",
        MeterError,
        _read(lambda: _mbus(_KEYS), *(_in_mbus(_ciphered(_HIGHEST - 1 + at)) for at in (0, 1))),
        lambda: [streams.as_input(_in_mbus(_ciphered(1)) + _in_mbus(_ciphered(2)), 9, 90)],
    ),
    Target(
        "push-mbus-parts",
        MeterError,
        _parts,
        lambda: [
            b"".join(
                bytes((part.number | 16 * part.final, len(part.content))) + part.content
                for part in mbus.split(one)
            )
            for one in _messages()
        ],
    ),
    Target("push-lists", MeterError, _lists, _messages),
    Target(
        "push-layouts",
        MeterError,
        _of_values_alone,
        lambda: [data.encode(real.body) for real in test_layouts.REAL],
    ),
    Target(
        "p1",
        MeterError,
        _read(lambda: _p1_plain("dsmr-5"), *[simulated_p1.telegram(_P1_LINES)] * 2),
        lambda: [streams.as_input(text) for text in _p1_texts()],
    ),
    Target(
        "p1-unchecked",
        MeterError,
        _read(lambda: _p1_plain("dsmr-2.2"), *[simulated_p1.telegram(_P1_LINES, None)] * 2),
        lambda: [streams.as_input(text, 40, 3) for text in _p1_texts()],
    ),
    Target(
        "p1-x25",
        MeterError,
        _read(lambda: _p1_plain("holley-dtsd545"), *[simulated_p1.telegram(_P1_LINES, "x25", "a/b/c")] * 2),
        lambda: [
            streams.as_input(simulated_p1.telegram(_P1_LINES, "x25", head)) for head in ("abcd", "a/b/c")
        ],
    ),
    Target(
        "p1-sealed-lines",
        MeterError,
        _read(_p1_sealed_lines, *[_p1_sealed_text()] * 2),
        lambda: [streams.as_input(_p1_sealed_text()), streams.as_input(_p1_sealed_text() * 2, 3, 70)],
    ),
    Target(
        "p1-sealed",
        MeterError,
        _read(_p1_sealed, *(_in_p1(_HIGHEST - 1 + at) for at in (0, 1))),
        lambda: [streams.as_input(_in_p1(1)), streams.as_input(_in_p1(1) + _in_p1(2) + _in_p1(2), 3, 70)],
    ),
    Target(
        "p1-lines",
        MeterError,
        _p1_lines,
        lambda: [
            b"".join(line.encode() + b"\r\n" for line in _P1_LINES),
            *(text.split(b"\r\n\r\n")[-1] for text in _p1_texts()),
        ],
    ),
)
