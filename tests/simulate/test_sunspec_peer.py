"""SunSpec's own client, pysunspec2, reads the simulated meter as a device of the specification's models."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.profile import load_profile
from gateway.simulate.home import Home
from gateway.simulate.modbus import Display, devices
from gateway.simulate.modbus_registers import SERIAL, sunspec_sheet
from tests.meters.bench import NOON_S, DrivenClock, tcp_server


def read(port: int) -> dict[int, dict[str, Any]]:
    """The device's models, and the values of their points by name."""
    device = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=port, timeout=20)
    try:
        device.scan()
        return {
            number: {name: point.cvalue for name, point in models[0].points.items()}
            for number, models in device.models.items()
            if isinstance(number, int)
        }
    finally:
        device.close()


@pytest.mark.parametrize("kind", [203, 213])
@pytest.mark.parametrize("second", [NOON_S, NOON_S - 43_200 + 60], ids=["sun", "night"])
async def test_it_finds_the_models_and_their_values(kind: int, second: int) -> None:
    model = load_profile("sunspec-meter").model
    assert isinstance(model, SunSpecModel)
    home = Home(3, second)
    display = Display(home, sunspec_sheet(model, kind), DrivenClock(second))
    async with tcp_server(devices({1: display})) as port:
        models = await asyncio.to_thread(read, port)
    assert set(models) == {1, kind}
    common, meter = models[1], models[kind]
    assert (common["Mn"], common["Md"], common["SN"]) == ("Gateway", "Simulated meter", SERIAL)
    assert (common["Vr"], common["L"], common["DA"]) == ("1", 66, 1)
    total = home.power
    assert meter["W"] == total
    for phase in "ABC":
        assert meter[f"Wph{phase}"] == pytest.approx(total / 3, abs=1)
        assert meter[f"PhVph{phase}"] == pytest.approx(230)
        assert meter[f"Aph{phase}"] == pytest.approx(abs(total) / 690, abs=0.01)
    assert meter["PF"] == meter["PFphB"] == pytest.approx(100 if kind == 203 else 1)  # percent, or not
    assert meter["Hz"] == pytest.approx(50)
    assert meter["VA"] == pytest.approx(abs(total), abs=1)
    for point, mwh in (("TotWhImp", home.import_mwh), ("TotWhExp", home.export_mwh)):
        assert meter[point] == pytest.approx(mwh / 1000, abs=1)
        for phase in "ABC":
            assert meter[f"{point}Ph{phase}"] == pytest.approx(mwh / 3000, abs=1)
