"""The configured meters, ready to be read; those on one line or address share its bus."""

from __future__ import annotations

from gateway.clock import Clock
from gateway.config import MeterSection, secrets_of
from gateway.errors import UsageError
from gateway.meters.endpoint import Endpoint, Line, Parity, SerialSettings, Tcp
from gateway.meters.listener import Listener
from gateway.meters.modbus.bus import Bus, Framing
from gateway.meters.modbus.meter import ModbusMeter
from gateway.meters.modbus.model import ModbusModel
from gateway.meters.profile import Profile, load_profile
from gateway.meters.reading import Meter

_MODBUS_PORT = 502  # IANA: mbap
_PARITY: dict[str, Parity] = {"N": "none", "E": "even", "O": "odd"}


def open_meters(sections: tuple[MeterSection, ...], clock: Clock) -> dict[str, Meter]:
    """A meter for each section, by name. Nothing is connected before it is first read. UsageError where a
    section lacks what its profile needs: a meter's keys, a serial port's settings."""
    buses: dict[tuple[Endpoint, Framing], Bus] = {}
    return {section.name: _open(section, load_profile(section.profile), clock, buses) for section in sections}


def _open(
    section: MeterSection, profile: Profile, clock: Clock, buses: dict[tuple[Endpoint, Framing], Bus]
) -> Meter:
    lanes = [lane for lane in section.lanes if lane != "count"]
    model = profile.model
    if isinstance(model, ModbusModel):
        endpoint = _endpoint(section, profile, _MODBUS_PORT)
        framing: Framing = "rtu" if section.tcp is not None and section.tcp.framer == "rtu" else "tcp"
        bus = buses.setdefault((endpoint, framing), Bus(endpoint, framing))
        return ModbusMeter(section.name, model, bus, lanes=lanes, device_id=section.unit_id, clock=clock)
    secrets = secrets_of(section)
    return Listener(
        section.name,
        _endpoint(section, profile, None),
        lambda: model.decoder(secrets),
        lanes=lanes,
        silence_s=model.silence_s,
        clock=clock,
        rollover=model.rollover,
    )


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
