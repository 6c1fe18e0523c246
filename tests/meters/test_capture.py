"""Captures: what a meter said, in a file; every file in fixtures/ is read to the values noted in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config import MeterSection
from gateway.config.meter import LANE_NAMES
from gateway.config.wiring import open_meters
from gateway.errors import MeterError, UsageError
from gateway.meters.capture import Tap, capture, replay
from gateway.meters.detect import hear
from gateway.meters.dlms.application.apdu import DataNotification
from gateway.meters.dlms.cosem.data import DoubleLongUnsigned
from gateway.meters.dlms.link.hdlc import Frame
from gateway.meters.dlms.link.hdlc_link import LLC_RESPONSE
from gateway.meters.dlms.push.model import DlmsPushModel
from gateway.meters.endpoint import Tcp
from gateway.meters.modbus.model import ModbusModel
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.profile import load_profile, profile_ids
from gateway.meters.reading import Reading, Telegram
from gateway.meters.secrets import Secrets
from gateway.meters.sml.model import SmlModel
from gateway.simulate.home import Home
from gateway.simulate.modbus import Display, devices, requests
from gateway.simulate.modbus_registers import SERIAL, sheet_of
from gateway.simulate.sml import SmlMeter
from tests.meters.bench import NOON_S, DrivenClock, device, tcp_server, udp_server
from tests.support.fields import Place, changed, places

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.json"))
ASKED = [i for i in profile_ids() if isinstance(load_profile(i).model, ModbusModel | SunSpecModel)]


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
async def test_every_fixture_is_read_to_the_values_noted_in_it(fixture: Path) -> None:
    told, shown = await replay(fixture.read_text(), DrivenClock())
    assert told == shown
    assert shown


def section(profile: str, port: int, **more: object) -> MeterSection:
    values = {
        "name": "main",
        "profile": profile,
        "lanes": [lane for lane in LANE_NAMES if lane in (*load_profile(profile).lanes, "count")],
        "udp" if over_udp(profile) else "tcp": {"host": "127.0.0.1", "port": port},
    }
    return MeterSection.model_validate(values | more)


def over_udp(profile: str) -> bool:
    model = load_profile(profile).model
    return isinstance(model, ModbusModel) and model.udp


async def captured(profile: str, port: int, **more: object) -> tuple[str, Reading]:
    tap, meter = Tap(DrivenClock()), section(profile, port, **more)
    (main,) = open_meters((meter,), DrivenClock(), tap).values()
    try:
        reading = await main.read()
    finally:
        await main.aclose()
    return capture(profile, meter.unit_id, tap, reading), reading


@pytest.mark.parametrize("profile", ASKED)
async def test_a_capture_of_any_asked_meter_reads_as_the_meter_did(profile: str) -> None:
    model = load_profile(profile).model
    assert isinstance(model, ModbusModel | SunSpecModel)
    sheet = sheet_of(model)
    meter = devices({7: Display(Home(3, NOON_S), sheet, DrivenClock())})
    served = udp_server(meter) if over_udp(profile) else tcp_server(meter, requests=requests(sheet))
    async with served as port:
        text, reading = await captured(profile, port, unit_id=7)
    told, shown = await replay(text, DrivenClock())
    assert told == shown == [dict(reading.registers)]


async def test_a_serial_number_is_blanked() -> None:
    model = load_profile("sunspec-meter").model
    assert isinstance(model, SunSpecModel)
    display = Display(Home(3, NOON_S), sheet_of(model), DrivenClock())
    async with tcp_server(devices({1: display})) as port:
        text, reading = await captured("sunspec-meter", port)
    assert reading.serial == SERIAL
    assert SERIAL.encode().hex() not in text
    assert b"XXXX".hex() in text


async def test_what_the_meter_refuses_is_noted_and_refused_again() -> None:
    words = {0x00: [2300, 0], 0x28: [4000, 0], 0x3E: [12345, 0]}
    async with tcp_server(device(words)) as port:  # an EM24 without its export counter
        text, reading = await captured("carlo-gavazzi-em24", port)
    assert reading.registers == {"power": 400, "import": 1_234_500_000}
    document = json.loads(text)
    assert {"table": "input", "address": 0x5C, "count": 2, "words": None} in document["registers"]
    told, shown = await replay(text, DrivenClock())
    assert told == shown == [dict(reading.registers)]


class Twice:
    """Telegrams of one byte each, but for the last, which is broken."""

    def cut(self) -> None:
        """Each byte stands for itself."""

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        return [MeterError("broken") if byte == 9 else Telegram({"power": byte}) for byte in data]


async def test_bytes_are_kept_with_their_moments_and_all_that_they_told() -> None:
    clock = DrivenClock()
    tap = Tap(clock)
    decoder = tap.decoder(Twice())
    for data in (b"\x01\x02", b"\x09", b"\x03"):
        decoder.feed(data)
        clock.pass_s(1.5)
    document = json.loads(capture("some-profile", 1, tap, Reading("main", {"power": 3}, 0, 0)))
    assert document == {
        "profile": "some-profile",
        "bytes": [[0, "0102"], [1500, "09"], [3000, "03"]],
        "shown": [{"power": 1}, {"power": 2}, {"power": 3}],
    }


def test_a_meter_that_a_tap_sees_nothing_of() -> None:
    with pytest.raises(UsageError, match="some-profile is polled in a way that no capture can hold"):
        capture("some-profile", 1, Tap(DrivenClock()), Reading("main", {"power": 3}, 0, 0))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"profile": "eastron-sdm630"}',
        '{"profile": "eastron-sdm630", "shown": []}',
        '{"profile": "eastron-sdm630", "shown": [{}], "registers": 3, "device_id": 1}',
        '{"profile": "eastron-sdm630", "shown": [{}], "registers": [{"words": "0g"}], "device_id": 1}',
        '{"profile": "sml-generic", "shown": [{}], "bytes": [[0, "0g"]]}',
        '{"profile": "sml-generic", "shown": [{}], "bytes": [3]}',
        '{"profile": "qqq", "shown": [{}]}',
        '{"profile": "sml-generic", "shown": [{"power": true}], "bytes": []}',
    ],
)
async def test_what_is_no_capture(text: str) -> None:
    with pytest.raises(UsageError):
        await replay(text, DrivenClock())


POLLED: dict[str, object] = {
    "profile": "eastron-sdm630",
    "device_id": 1,
    "registers": [{"table": "input", "address": 52, "words": "c4002000"}],
    "shown": [{"power": -512}],
}
PUSHED: dict[str, object] = {
    "profile": "sml-generic",
    "bytes": [[0, "1b"], [5, "1b"]],
    "shown": [{"power": 5}],
}
WRONG: tuple[object, ...] = (None, True, 5, 1.5, "", "0g", [], [None], [[]], [[0]], [["x", 5]], {}, [{}], [5])


@pytest.mark.parametrize("document", [POLLED, PUSHED], ids=["polled", "pushed"])
async def test_each_field_of_a_wrong_type_has_a_sentence(document: dict[str, object]) -> None:
    """It names the field, or the whole; or the file is a capture still, of what cannot be read."""
    said: list[tuple[Place, str]] = []
    for place in places(document):
        for other in WRONG:
            try:
                await replay(json.dumps(changed(document, place, other)), DrivenClock())
            except UsageError as error:
                said.append((place, str(error)))
            except MeterError:
                pass  # it lacks what the profile reads
    for place, sentence in said:
        assert "Error" not in sentence
        assert any(isinstance(key, str) and key in sentence for key in place) or "capture" in sentence
    assert len(said) > 60
    for key in document:
        lacking = {other: value for other, value in document.items() if other != key}
        with pytest.raises(UsageError, match=f"{key} of the capture must be"):
            await replay(json.dumps(lacking), DrivenClock())


async def test_what_could_not_be_read_is_captured_with_nothing_shown() -> None:
    """So that a list that no profile knows can be sent to somebody who makes one."""
    apdu = DataNotification(0, None, (DoubleLongUnsigned(5), b"ab")).encode()
    frame = Frame(b"\xcf", b"\x03", 0x13, LLC_RESPONSE + apdu).encode()
    tap, model = Tap(DrivenClock()), load_profile("iskraemeco-am550-si").model
    assert isinstance(model, DlmsPushModel)
    tap.decoder(model.decoder(Secrets())).feed(frame)
    assert "an unknown list of 2 values (u32, octets[2])" in str(tap.problem)
    text = capture("iskraemeco-am550-si", 1, tap, None)
    assert json.loads(text)["bytes"] == [[0, frame.hex()]]
    assert await replay(text, DrivenClock()) == ([], [])


async def test_a_stream_is_captured_and_read_again() -> None:
    clock = DrivenClock()
    tap, model, meter = Tap(clock), load_profile("sml-generic").model, SmlMeter(Home(3, NOON_S), clock)
    assert isinstance(model, SmlModel)
    decoder = tap.decoder(model.decoder(Secrets()))
    for _ in range(3):
        meter.live.catch_up()
        frame = meter.frame()
        for piece in (frame[:17], frame[17:]):
            decoder.feed(piece)
        clock.pass_s(1)
    told, shown = await replay(capture("sml-generic", 1, tap, Reading("main", {}, 0, 0)), clock)
    assert told == shown
    assert len(shown) == 3
    home = Home(3, NOON_S)
    home.advance_to(NOON_S + 2)
    assert shown[-1]["power"] == home.power


@asynccontextmanager
async def speaking(data: bytes) -> AsyncIterator[int]:
    """A port at which everybody hears `data`, and then nothing."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await reader.read()  # until they have gone
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.sleep(0)


@pytest.mark.slow
async def test_hearing_tells_who_understands_what_comes() -> None:
    class Deaf:
        def cut(self) -> None:
            """It hears nothing anyway."""

        def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
            return [MeterError("what is this?")]

    async with speaking(b"") as silent, speaking(b"\x01\x02") as port:
        heard = await hear(Tcp("127.0.0.1", port), {"twice": Twice(), "deaf": Deaf()}, 0.3)
        assert heard.octets == 2
        assert dict(heard.profiles) == {"twice": frozenset({"power"})}
        async with asyncio.timeout(60):  # it does not listen on for long once something is understood
            await hear(Tcp("127.0.0.1", port), {"twice": Twice()}, 3600)
        nothing = await hear(Tcp("127.0.0.1", silent), {"twice": Twice()}, 0.05)
        assert (nothing.octets, dict(nothing.profiles)) == (0, {})
    with pytest.raises(MeterError, match="cannot open"):
        await hear(Tcp("127.0.0.1", 1), {"twice": Twice()}, 0.1)
