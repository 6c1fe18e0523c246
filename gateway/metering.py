"""The configured meters, ready to be read; those on one line or address share its bus."""

from __future__ import annotations

from gateway.clock import Clock
from gateway.config import MeterSection
from gateway.meters.bus import Bus, Endpoint, Line, Tcp
from gateway.meters.modbus import ModbusMeter
from gateway.meters.profile import Profile, SerialSettings, load_profile
from gateway.meters.reading import Meter

_PARITY = {"N": "none", "E": "even", "O": "odd"}


def open_meters(sections: tuple[MeterSection, ...], clock: Clock) -> dict[str, Meter]:
    """A meter for each section, by name. Nothing is connected before it is first read."""
    buses: dict[Endpoint, Bus] = {}
    meters: dict[str, Meter] = {}
    for section in sections:
        profile = load_profile(section.profile)
        endpoint = _endpoint(section, profile)
        bus = buses.setdefault(endpoint, Bus(endpoint))
        registers = [lane for lane in section.lanes if lane != "count"]
        meters[section.name] = ModbusMeter(
            section.name, profile, bus, lanes=registers, device_id=section.unit_id, clock=clock
        )
    return meters


def _endpoint(section: MeterSection, profile: Profile) -> Endpoint:
    if section.tcp is not None:
        return Tcp(section.tcp.host, section.tcp.port, "rtu" if section.tcp.framer == "rtu" else "tcp")
    line, default = section.serial, profile.serial
    assert line is not None  # the configuration has exactly one of the two
    settings = SerialSettings(
        baud=line.baudrate or default.baud,
        parity=default.parity if line.parity is None else _PARITY[line.parity],  # type: ignore[arg-type]
        stop_bits=line.stopbits or default.stop_bits,
    )
    return Line(line.device, settings)
