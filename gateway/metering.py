"""The configured meters, ready to be read; those on one line or address share its bus."""

from __future__ import annotations

from pathlib import Path

from gateway.clock import Clock
from gateway.config import MeterSection, secrets_of
from gateway.errors import UsageError
from gateway.meters.capture import Tap
from gateway.meters.dlms.meter import dlms_meter
from gateway.meters.dlms.model import DLMS_PORT, DlmsModel
from gateway.meters.endpoint import Endpoint, Line, Parity, SerialSettings, Tcp
from gateway.meters.listener import Listener
from gateway.meters.modbus.bus import Bus, Framing
from gateway.meters.modbus.meter import ModbusMeter
from gateway.meters.modbus.model import MODBUS_PORT, ModbusModel
from gateway.meters.modbus.sunspec import SunSpecMeter
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.profile import Profile, load_profile
from gateway.meters.reading import Meter

_PARITY: dict[str, Parity] = {"N": "none", "E": "even", "O": "odd"}


def open_meters(
    sections: tuple[MeterSection, ...], clock: Clock, tap: Tap | None = None, *, state: Path = Path()
) -> dict[str, Meter]:
    """A meter for each section, by name. Nothing is connected before it is first read; `tap` notes what
    comes then. In the folder `state` lie the invocation counters of meters that cipher. UsageError where a
    section lacks what its profile needs: a meter's keys, a serial port's settings."""
    buses: dict[tuple[Endpoint, Framing], Bus] = {}
    return {
        section.name: _open(section, load_profile(section.profile), clock, buses, tap, state)
        for section in sections
    }


def _open(
    section: MeterSection,
    profile: Profile,
    clock: Clock,
    buses: dict[tuple[Endpoint, Framing], Bus],
    tap: Tap | None,
    state: Path,
) -> Meter:
    lanes = [lane for lane in section.lanes if lane != "count"]
    model = profile.model
    if isinstance(model, ModbusModel | SunSpecModel):
        line = _bus(section, profile, buses)
        bus = line if tap is None else tap.bus(line)
        if isinstance(model, SunSpecModel):
            return SunSpecMeter(section.name, model, bus, lanes=lanes, device_id=section.unit_id, clock=clock)
        return ModbusMeter(section.name, model, bus, lanes=lanes, device_id=section.unit_id, clock=clock)
    secrets = secrets_of(section)
    if isinstance(model, DlmsModel):
        endpoint, counter = _endpoint(section, profile, DLMS_PORT), state / f"{section.name}.counter"
        return dlms_meter(section.name, model, endpoint, secrets, counter, lanes=lanes, clock=clock)
    return Listener(
        section.name,
        _endpoint(section, profile, None),
        model.decoder(secrets) if tap is None else tap.decoder(model.decoder(secrets)),
        lanes=lanes,
        silence_s=model.silence_s,
        clock=clock,
        rollover=model.rollover,
    )


def _bus(section: MeterSection, profile: Profile, buses: dict[tuple[Endpoint, Framing], Bus]) -> Bus:
    """The bus of the meter's address or serial port, which all meters there share."""
    endpoint = _endpoint(section, profile, MODBUS_PORT)
    framing: Framing = "rtu" if section.tcp is not None and section.tcp.framer == "rtu" else "tcp"
    if isinstance(endpoint, Line):
        lines = [other for other, _ in buses if isinstance(other, Line)]
        settings = {line.settings for line in lines if line.device == endpoint.device}
        for other in settings - {endpoint.settings}:
            raise UsageError(
                f"meter {section.name}: its serial port, {endpoint.device}, is at {other} for another meter "
                f"and cannot be at {endpoint.settings} too: set the meters of one line to the same, and say "
                "in serial what that is"
            )
    return buses.setdefault((endpoint, framing), Bus(endpoint, framing))


def _endpoint(section: MeterSection, profile: Profile, usual_port: int | None) -> Endpoint:
    if section.tcp is not None:
        port = section.tcp.port or usual_port
        if port is None:
            raise UsageError(f"meter {section.name}: tcp needs a port, the one at which it is reached")
        return Tcp(section.tcp.host, port)
    line, default = section.serial, profile.serial
    assert line is not None  # the configuration has exactly one of the two
    if default is None:
        raise UsageError(f"meter {section.name}: {profile.id} is reached over the network: give it tcp")
    settings = SerialSettings(
        baud=line.baudrate or default.baud,
        parity=default.parity if line.parity is None else _PARITY[line.parity],
        stop_bits=line.stopbits or default.stop_bits,
        data_bits=line.databits or default.data_bits,
    )
    return Line(line.device, settings)
