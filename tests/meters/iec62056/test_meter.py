"""Meters that are asked for text: over a serial line of two ptys that changes its speed, and over TCP."""

from __future__ import annotations

import asyncio
import os
import re
import termios
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.config import MeterSection
from gateway.config.wiring import open_meters
from gateway.errors import MeterError, UsageError
from gateway.meters.endpoint import Line, Tcp
from gateway.meters.iec62056 import meter as asked
from gateway.meters.iec62056.meter import TextMeter
from gateway.meters.iec62056.model import TextModel
from gateway.meters.iec62056.sign_on import OPENING
from gateway.meters.profile import load_profile
from tests.meters.bench import StillClock, raw_server, until
from tests.meters.iec62056.public import E350, MT174

EXPECTED = {"import": 502_853_000, "export": 98_697_318_000}
LANES = ("import", "export")
# A pty has no characters of seven bits.
PTY_OPENING = replace(OPENING, parity="none", data_bits=8)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "_BEFORE_ANSWER_S", 0.0)
    monkeypatch.setattr(asked, "_IDENTIFICATION_S", 0.2)


def model(profile_id: str = "iskra-mt174", **changed: object) -> TextModel:
    found = load_profile(profile_id).model
    assert isinstance(found, TextModel)
    return replace(found, **changed)  # type: ignore[arg-type]


class OpticalMeter:
    """A meter on the other end of a line: its identification, what it waits for, and its answer."""

    def __init__(self, ours: int, theirs: int) -> None:
        self._ours, self._theirs = ours, theirs
        self.identification = b"/ISk5MT174-0001\r\n"
        self.waits_for: bytes | None = b"\x06050\r\n"
        self.answer = MT174
        self.echoes = True
        self.heard = bytearray()
        self.speeds: list[int] = []

    def hear(self) -> None:
        data = os.read(self._ours, 4096)
        self.heard += data
        if self.echoes:
            os.write(self._ours, data)
        if self.heard.endswith(b"!\r\n"):
            self.speeds.append(self.speed())
            os.write(self._ours, self.identification)
            if self.waits_for is None:
                os.write(self._ours, self.answer)
        elif self.waits_for is not None and self.heard.endswith(self.waits_for):
            asyncio.get_running_loop().create_task(self._send())

    def speed(self) -> int:
        speed: int = termios.tcgetattr(self._theirs)[4]
        return speed

    async def _send(self) -> None:
        await until(lambda: self.speed() != termios.B300)
        self.speeds.append(self.speed())
        os.write(self._ours, self.answer)


@asynccontextmanager
async def optical(
    prepare: Callable[[OpticalMeter], None] = lambda meter: None,
    text_model: TextModel | None = None,
    address: str = "",
) -> AsyncIterator[tuple[TextMeter, OpticalMeter]]:
    ours, theirs = os.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    far = OpticalMeter(ours, theirs)
    prepare(far)
    asyncio.get_running_loop().add_reader(ours, far.hear)
    meter = TextMeter(
        "main",
        text_model or model(),
        Line(os.ttyname(theirs), PTY_OPENING),
        lanes=LANES,
        clock=StillClock(),
        address=address,
        timeout_s=0.3,
    )
    try:
        yield meter, far
    finally:
        await meter.aclose()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("echoes", [True, False])
async def test_mode_c_at_the_speed_that_is_offered(echoes: bool) -> None:
    def prepare(far: OpticalMeter) -> None:
        far.echoes = echoes

    async with optical(prepare) as (meter, far):
        for _ in range(2):
            reading = await meter.read()
            assert dict(reading.registers) == EXPECTED
        assert far.heard == b"/?!\r\n\x06050\r\n" * 2
        assert far.speeds == [termios.B300, termios.B9600] * 2


async def test_mode_b_changes_its_speed_unasked() -> None:
    def prepare(far: OpticalMeter) -> None:
        far.identification, far.waits_for = b"/ISKDMT171\r\n", None

    async with optical(prepare) as (meter, far):
        assert dict((await meter.read()).registers) == EXPECTED
        assert far.heard == b"/?!\r\n"
        assert far.speed() == termios.B4800


@pytest.mark.parametrize(
    ("identification", "text_model"),
    [(b"/ISKXMT171\r\n", model()), (b"/ISK4\\@01LZQJL0013E\r\n", model(fixed_speed=True))],
)
async def test_mode_a_stays_at_its_speed(identification: bytes, text_model: TextModel) -> None:
    def prepare(far: OpticalMeter) -> None:
        far.identification, far.waits_for = identification, None

    async with optical(prepare, text_model) as (meter, far):
        assert dict((await meter.read()).registers) == EXPECTED
        assert far.heard == b"/?!\r\n"
        assert far.speed() == termios.B300


async def test_one_of_several_meters_is_asked_by_its_number() -> None:
    async with optical(address="12345678") as (meter, far):
        await meter.read()
        assert far.heard.startswith(b"/?12345678!\r\n")


async def test_it_is_found_plausible() -> None:
    async with optical() as (meter, _):
        found = await meter.probe()
        assert found.plausible
        assert found.sentence == "meter main identifies itself as 'ISk5MT174-0001' and has export, import"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"answer": MT174[:-1] + b"\x00"}, "meter main: the block check character is wrong"),
        ({"answer": MT174[:40]}, "meter main: its answer breaks off: no more came for 0.3 s"),
        (
            {"waits_for": b"never"},
            "meter main: it identifies itself and sends no more: no more came for 0.3 s",
        ),
        (
            {"identification": b"/LGZ5ZMD\r\n"},
            "meter main: another meter sends: it identifies itself as 'LGZ5ZM",
        ),
        (
            {"identification": b"\x00"},
            "meter main: the meter does not answer on its optical port, asked 3 times",
        ),
        ({"answer": b"\x020.0.0(1)\r\n!\r\n\x03\x3e"}, "meter main: "),
    ],
)
async def test_each_fault_has_its_message(changed: dict[str, bytes], sentence: str) -> None:
    def prepare(far: OpticalMeter) -> None:
        for key, value in changed.items():
            setattr(far, key, value)

    async with optical(prepare) as (meter, far):
        with pytest.raises(MeterError) as caught:
            await meter.read()
        assert str(caught.value).startswith(sentence)
        far.identification, far.waits_for, far.answer = b"/ISk5MT174-0001\r\n", b"\x06050\r\n", MT174
        assert dict((await meter.read()).registers) == EXPECTED


async def test_a_converter_keeps_its_speed_and_so_does_the_meter() -> None:
    heard = bytearray()

    def answer(request: bytes) -> list[bytes]:
        heard.extend(request)
        return [b"/LGZ4ZMF100AC.M26\r\n"] if request.startswith(b"/?") else [E350[:50], E350[50:]]

    async with raw_server(answer) as port:
        section = MeterSection.model_validate(
            {
                "name": "main",
                "profile": "landisgyr-zmd",
                "lanes": ["import", "export", "count"],
                "interval_s": 15.0,
                "tcp": {"host": "127.0.0.1", "port": port},
            }
        )
        (meter,) = open_meters((section,), StillClock()).values()
        reading = await meter.read()
        await meter.aclose()
    assert dict(reading.registers) == {"import": 61_561_289_000, "export": 10_490_000}
    assert reading.serial == "13647123"
    assert bytes(heard) == b"/?!\r\n\x06000\r\n"


@pytest.mark.parametrize(
    ("profile", "keys", "sentence"),
    [
        (
            "iskra-mt174",
            {"interval_s": 1.0},
            "interval_s is 1; it must be at least 15 for iskra-mt174, whose",
        ),
        (
            "logarex-lk13be",
            {"address": "1"},
            "address is for meters that are asked for text, which logarex-lk13be",
        ),
        (
            "iskra-mt174",
            {"keys": "./k", "interval_s": 15.0},
            "keys are for meters that encrypt or need a password",
        ),
    ],
)
def test_what_a_section_must_fit(profile: str, keys: dict[str, object], sentence: str) -> None:
    section = MeterSection.model_validate(
        {"name": "main", "profile": profile, "tcp": {"host": "x", "port": 1}} | keys
    )
    with pytest.raises(UsageError, match=re.escape(sentence)):
        open_meters((section,), StillClock())


def test_a_meter_has_no_memory_and_is_at_one_place() -> None:
    meter = TextMeter("main", model(), Tcp("x", 1), lanes=LANES, clock=StillClock())
    assert meter.load_profile is None
    assert not meter.pushes
    assert meter.rollover == {"import": 10**13, "export": 10**13}
