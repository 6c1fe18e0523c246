"""A meter that shows whole kWh and no power is read, and told about."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.meters.coarse import HINT, WholeKwh
from gateway.meters.endpoint import Tcp
from gateway.meters.listener import Listener
from gateway.meters.sml.decoder import SmlDecoder
from gateway.simulate.sml import entry, frame, signed, unsigned
from tests.meters.bench import StillClock, server_of

KWH = 1_000_000
WH, W = 30, 27
SERVER = bytes.fromhex("0a01445a4700029f7f72")
# github.com/Apollon77/smartmeter-obis, issue 15: a DZG DWS7412 before its PIN was entered, 72 kWh.
WITHOUT_PIN = frame(SERVER, 1, 1, [entry("1-0:1.8.0*255", unsigned(72, 1), WH, 3)])
WITH_PIN = frame(
    SERVER,
    1,
    2,
    [entry("1-0:1.8.0*255", unsigned(72_0000, 4), WH, -1), entry("1-0:16.7.0*255", signed(300, 4), W, 0)],
)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=300))
def test_whole_kwh_from_the_first_telegram_on(shown: list[int]) -> None:
    resolution = WholeKwh()
    assert {resolution.hint({"import": kwh * KWH}) for kwh in shown} == {HINT}


@given(st.integers(1, 10**9), st.integers(0, 100), st.booleans())
def test_a_finer_meter_may_stand_at_a_whole_kwh(register: int, stands: int, power: bool) -> None:
    resolution = WholeKwh()
    finer = {"power": 5, "import": KWH} if power else {"import": register * KWH + 100}
    assert resolution.hint(finer) is None
    assert {resolution.hint({"import": register * KWH}) for _ in range(stands)} <= {None}


def test_a_pin_that_is_gone_after_a_power_cut() -> None:
    resolution = WholeKwh()
    assert resolution.hint({"import": 71_999_900}) is None
    assert {resolution.hint({"import": 72 * KWH, "export": 5 * KWH}) for _ in range(1000)} == {None, HINT}
    assert resolution.hint({"import": 72_000_100, "export": 5 * KWH}) is None


def test_a_new_meter_shows_nothing_yet() -> None:
    assert WholeKwh().hint({"import": 0, "export": 0}) is None


@pytest.mark.parametrize(("said", "fine"), [(WITHOUT_PIN, False), (WITH_PIN, True)])
async def test_a_meter_without_its_pin(said: bytes, fine: bool, caplog: pytest.LogCaptureFixture) -> None:
    """It is read, it is told in the log, and the doctor's probe says what to do."""
    caplog.set_level(logging.INFO)

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(said)
        await reader.read()

    async with server_of(send) as port:
        meter = Listener(
            "main",
            Tcp("127.0.0.1", port),
            SmlDecoder(),
            lanes=("import", "power"),
            silence_s=5,
            clock=StillClock(),
            rollover={},
        )
        try:
            assert (await meter.read()).registers["import"] == 72 * KWH
            probe = await meter.probe()
        finally:
            await meter.aclose()
    assert probe.plausible is fine
    assert (f"meter main {HINT}" in caplog.messages) is not fine
    assert (f"meter main {HINT}" == probe.sentence) is not fine
