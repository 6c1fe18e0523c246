"""A meter that speaks by itself: what is good is read, what is broken passed over, silence is a fault."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.errors import KeyFault, MeterError
from gateway.meters.endpoint import Endpoint, Line, SerialSettings, Tcp
from gateway.meters.listener import Listener
from gateway.meters.reader import ReaderState, read_forever
from gateway.meters.reading import Reading, Telegram
from gateway.meters.transport import Connection
from tests.meters.bench import NS, DrivenClock, FastClock, StillClock, serial_line, server_of, until

SETTINGS = SerialSettings(9600, "none", 1)


class Lines:
    """A decoder of lines: `import=5 power=3`, or what is broken."""

    def __init__(self) -> None:
        self._kept = b""

    def cut(self) -> None:
        self._kept = b""

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        *lines, self._kept = (self._kept + data).split(b"\n")
        return [self._telegram(line.decode()) for line in lines]

    def _telegram(self, line: str) -> Telegram | MeterError:
        if line == "sealed":
            return KeyFault("a line is sealed")
        try:
            registers = {lane: int(value) for lane, value in (word.split("=") for word in line.split())}
        except ValueError:
            return MeterError("a line is broken")
        age = registers.pop("age", 0)
        return Telegram(registers, serial="0815", meter_time=7, age_s=age)


def listener(
    endpoint: Endpoint,
    clock: DrivenClock | FastClock,
    *,
    lanes: Sequence[str] = ("import", "power"),
    silence_s: float = 5,
) -> Listener:
    return Listener(
        "main", endpoint, Lines(), lanes=lanes, silence_s=silence_s, clock=clock, rollover={"import": 10**12}
    )


async def test_telegrams_become_readings_at_the_time_they_come() -> None:
    clock = StillClock()
    async with serial_line() as (near, far):
        meter, sender = listener(Line(near, SETTINGS), clock), await Connection.open(Line(far, SETTINGS))
        reading = asyncio.create_task(meter.read())
        await until(lambda: meter._connection is not None)
        await sender.write(b"import=5 power=-3 export=9\nimport=6 age=4\nimp")
        first = await reading
        assert first == Reading(
            "main", {"import": 5, "power": -3}, clock.wall(), clock.monotonic(), "0815", 7
        )
        second = await meter.read()
        assert (second.registers, second.wall) == ({"import": 6}, clock.wall() - 4 * NS)
        clock.pass_s(10)
        await sender.write(b"ort=7\n")
        third = await meter.read()
        assert (third.registers, third.wall, third.monotonic) == (
            {"import": 7},
            clock.wall(),
            clock.monotonic(),
        )
        await meter.aclose()
        sender.close()


async def test_a_broken_telegram_takes_no_other_with_it_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serial_line() as (near, far):
        meter, sender = (
            listener(Line(near, SETTINGS), StillClock()),
            await Connection.open(Line(far, SETTINGS)),
        )
        reading = asyncio.create_task(meter.read())
        await until(lambda: meter._connection is not None)
        await sender.write(b"import=1\n?\nimport=2\n?\nimport=-3\npower=9999999999\nexport=4\nimport=5\n")
        values = [(await reading).registers["import"]]
        values += [(await meter.read()).registers["import"] for _ in range(2)]
        assert values == [1, 2, 5]
        assert [record.getMessage() for record in caplog.records] == [
            "meter main: a telegram is skipped: a line is broken"
        ]
        await meter.aclose()
        sender.close()


async def test_silence_and_babble_are_faults() -> None:
    async with serial_line() as (near, far):
        meter = listener(Line(near, SETTINGS), StillClock(), silence_s=0.05)
        with pytest.raises(MeterError, match=f"meter main at {near} has sent nothing for 0.05 s$"):
            await meter.read()
        sender = await Connection.open(Line(far, SETTINGS))
        reading = asyncio.create_task(meter.read())
        await until(lambda: meter._connection is not None)
        await sender.write(b"?\n")
        with pytest.raises(MeterError, match=r"sent nothing that can be read for 0\.05 s: a line is broken$"):
            await reading
        reading = asyncio.create_task(meter.read())
        await until(lambda: meter._connection is not None)
        await sender.write(b"import")
        with pytest.raises(
            MeterError,
            match=r"that can be read for 0\.05 s: bytes arrive, but no telegram: check its profile",
        ):
            await reading
        with pytest.raises(MeterError, match=r"has sent nothing for 0\.05 s$"):  # what was broken is long ago
            await meter.read()
        sender.close()


async def test_keys_that_do_not_fit_are_a_fault_at_once() -> None:
    async with serial_line() as (near, far):
        meter = listener(Line(near, SETTINGS), StillClock(), silence_s=5)
        sender = await Connection.open(Line(far, SETTINGS))
        for _ in range(2):
            reading = asyncio.create_task(meter.read())
            await until(lambda: meter._connection is not None)
            await sender.write(b"sealed\n?\n")
            await sender.write(b"sealed\n")
            with pytest.raises(KeyFault, match=r"^meter main: a line is sealed$"):
                await reading
            assert meter._connection is None
        sender.close()


async def test_once_a_telegram_could_be_read_others_may_be_damaged() -> None:
    async with serial_line() as (near, far):
        meter = listener(Line(near, SETTINGS), StillClock(), silence_s=5)
        sender = await Connection.open(Line(far, SETTINGS))
        reading = asyncio.create_task(meter.read())
        await until(lambda: meter._connection is not None)
        await sender.write(b"sealed\nimport=1\nsealed\nsealed\nsealed\nimport=2\n")
        assert [(await reading).registers, (await meter.read()).registers] == [{"import": 1}, {"import": 2}]
        await meter.aclose()
        sender.close()


async def test_a_port_that_vanishes_and_comes_back_under_another_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    by_id = tmp_path / "usb-adapter"
    clock, delivered, state = FastClock(pace=200), list[Reading](), ReaderState()
    meter = listener(Line(str(by_id), SETTINGS), clock, silence_s=5)
    reading = asyncio.create_task(read_forever(meter, clock, 1, delivered.append, state))
    await until(lambda: state.failures > 0)
    for value in (1, 2):
        async with serial_line() as (near, far):
            fresh = tmp_path / "fresh"
            fresh.symlink_to(near)
            fresh.replace(by_id)
            sender = await Connection.open(Line(far, SETTINGS))
            await until(lambda: meter._connection is not None)
            await sender.write(b"import=%d\n" % value)
            await until(lambda value=value: len(delivered) == value and not state.fault)  # type: ignore[misc]
            sender.close()
        await until(lambda: state.failures > 0)
    assert [one.registers["import"] for one in delivered] == [1, 2]
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert "meter main answers again" in caplog.text


async def test_half_a_telegram_before_a_break_does_not_spoil_the_next() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(talks.pop(0))
        await writer.drain()
        writer.close()

    talks = [b"import=1\nimport=99", b"9\nimport=2\n"]
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        meter = listener(Tcp("127.0.0.1", server.sockets[0].getsockname()[1]), StillClock())
        assert (await meter.read()).registers == {"import": 1}
        with pytest.raises(MeterError, match="ended the connection"):
            await meter.read()
        assert (await meter.read()).registers == {"import": 2}
        await meter.aclose()


async def test_the_probe_says_what_the_meter_tells() -> None:
    async with serial_line() as (near, far):
        meter = listener(Line(near, SETTINGS), StillClock(), lanes=("import", "export"))
        sender = await Connection.open(Line(far, SETTINGS))
        for said, sentence in (
            (b"import=1 export=2\n", "meter main sends export, import"),
            (b"import=1\n", "meter main has sent import so far; export may come less often, or not at all"),
        ):
            found = asyncio.create_task(meter.probe())
            await until(lambda: meter._connection is not None)
            await sender.write(said)
            assert (await found).sentence == sentence
        await meter.aclose()
        sender.close()


@pytest.mark.parametrize(
    ("greeting", "sentence"),
    [
        (
            b"Port already in use\r\n",
            "ended the connection, since another program is connected to it already",
        ),
        (b"", "ended the connection$"),
        (b"import=", "ended the connection$"),
    ],
)
async def test_a_converter_that_serves_another_program(greeting: bytes, sentence: str) -> None:
    """As ser2net says it (github.com/cminyard/ser2net, issue 33)."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()

    async with server_of(talk) as port:
        meter = listener(Tcp("127.0.0.1", port), StillClock())
        with pytest.raises(MeterError, match=sentence):
            await meter.read()
        await meter.aclose()


@pytest.mark.parametrize(
    ("greeting", "telnet"),
    [
        (b"\xff\xfb\x03\xff\xfb\x01\xff\xfe\x01", True),
        (b"\x1b\x1b\x1b\x1b\xff\xfb\x03", False),
        (b"\xff\xff\xfb", False),
    ],
)
async def test_a_converter_that_speaks_telnet(greeting: bytes, telnet: bool) -> None:
    """As ser2net does unless told otherwise (github.com/ndokter/dsmr_parser, issue 38)."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()

    async with server_of(talk) as port:
        meter = listener(Tcp("127.0.0.1", port), StillClock(), silence_s=0.1)
        with pytest.raises(MeterError, match="nothing that can be read") as raised:
            await meter.read()
        await meter.aclose()
    assert ("speaks telnet, which alters bytes: set it to raw" in str(raised.value)) is telnet
