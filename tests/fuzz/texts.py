"""Text after IEC 62056-21, TIC, and encrypted M-Bus: as profiles read them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import reduce
from operator import xor

from gateway.errors import MeterError
from gateway.meters.iec62056.datasets import read_datasets
from gateway.meters.iec62056.decoder import TextDecoder
from gateway.meters.iec62056.model import TextModel, TextPushModel
from gateway.meters.iec62056.readout import Readout
from gateway.meters.mbus.decoder import SEARCH, MbusDecoder
from gateway.meters.mbus.records import read_records
from gateway.meters.profile import load_profile
from gateway.meters.reading import Decoder, Telegram, sane
from gateway.meters.tic.decoder import TicDecoder
from gateway.meters.tic.frames import Mode, check_character
from gateway.simulate import mbus as simulated
from tests.fuzz import streams
from tests.fuzz.engine import Target
from tests.meters.iec62056.public import E350, EBZ, EBZ_WITHOUT_PIN, LOGAREX, MT174, MT382, Q3D
from tests.meters.mbus.test_decoder import EXAMPLE, EXAMPLE_KEY
from tests.meters.tic.frames import HISTORIQUE, STANDARD

_PUSHED = (LOGAREX, EBZ, EBZ_WITHOUT_PIN, Q3D)
_SEALED = simulated.seal(simulated.content(1_900_000_000, 1, 2, 3), EXAMPLE_KEY, 4)


def _read(make: Callable[[], Decoder], first: bytes, second: bytes) -> Callable[[bytes], None]:
    laws = streams.Laws(make, first, second)

    def read(given: bytes) -> None:
        for item in laws.check(given):
            assert isinstance(item, Telegram)
            with suppress(MeterError):
                sane(item.registers)

    return read


def _pushed() -> TextDecoder:
    model = load_profile("iec62056-pushed").model
    assert isinstance(model, TextPushModel)
    return TextDecoder(model.registers, model.makers)


_MODEL = load_profile("iec62056-polled").model
assert isinstance(_MODEL, TextModel)
_REGISTERS = _MODEL.registers


def _answer(given: bytes) -> None:
    """The input as what a meter answers, in pieces as at once."""
    readout = Readout()
    with suppress(MeterError):
        readout.feed(given)
    in_pieces = Readout()
    for piece in streams.pieces(given):
        block = in_pieces.feed(piece)
        if block is not None:
            _REGISTERS.telegram(read_datasets(block))
            return


def _block(given: bytes) -> None:
    """The input as a data block with its right block check character."""
    checked = bytes(octet & 0x7F for octet in given).replace(b"\x03", b"") + b"!\r\n\x03"
    block = Readout().feed(b"\x02" + checked + bytes([reduce(xor, checked)]))
    assert block is not None
    _REGISTERS.telegram(read_datasets(block))


def _groups(mode: Mode) -> Callable[[bytes], None]:
    """The input's lines as groups with their right check characters."""
    separator = b" " if mode == "historique" else b"\t"

    def read(given: bytes) -> None:
        groups = b""
        for line in given.split(b"\n"):
            text = bytes(octet & 0x7F for octet in line)
            checked = text if mode == "historique" else text + separator
            groups += b"\n" + text + separator + bytes([check_character(checked)]) + b"\r"
        for item in TicDecoder(mode).feed(b"\x02" + groups + b"\x03"):
            assert isinstance(item, Telegram | MeterError)

    return read


def _lines(frame: bytes) -> bytes:
    """A frame's groups without their check characters, as lines."""
    return b"\n".join(group[:-2] for group in frame[2:-2].split(b"\r\n"))


TARGETS = (
    Target(
        "text",
        MeterError,
        _read(_pushed, LOGAREX, EBZ),
        lambda: [streams.as_input(text, 40, 3) for text in _PUSHED],
    ),
    Target("text-readout", MeterError, _answer, lambda: [streams.as_input(one) for one in (E350, MT174)]),
    Target(
        "text-datasets",
        MeterError,
        _block,
        lambda: [MT382.encode(), E350[1:-6], MT174[1:-6], *(text.split(b"\r\n\r\n")[1] for text in _PUSHED)],
    ),
    Target(
        "tic-historique",
        MeterError,
        _read(lambda: TicDecoder("historique"), HISTORIQUE, HISTORIQUE),
        lambda: [streams.as_input(HISTORIQUE, 50, 2), streams.as_input(STANDARD)],
    ),
    Target(
        "tic-standard",
        MeterError,
        _read(lambda: TicDecoder("standard"), STANDARD, STANDARD),
        lambda: [streams.as_input(STANDARD, 50, 2), streams.as_input(HISTORIQUE)],
    ),
    Target("tic-groups-historique", MeterError, _groups("historique"), lambda: [_lines(HISTORIQUE)]),
    Target("tic-groups-standard", MeterError, _groups("standard"), lambda: [_lines(STANDARD)]),
    Target(
        "mbus",
        MeterError,
        _read(lambda: MbusDecoder(EXAMPLE_KEY), EXAMPLE, _SEALED),
        lambda: [streams.as_input(SEARCH + EXAMPLE), streams.as_input(_SEALED + EXAMPLE, 9, 90)],
    ),
    Target(
        "mbus-records",
        MeterError,
        read_records,
        lambda: [simulated.content(1_900_000_000, 684_544, 129_412, -117)],
    ),
)
