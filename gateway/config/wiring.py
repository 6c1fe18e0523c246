"""The configured meters, ready to be read; Modbus meters at the same line or address share a bus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from gateway.config import MeterSection, secrets_of
from gateway.config.switch import SwitchSection
from gateway.errors import GatewayError, MeterError, UsageError
from gateway.host.clock import Clock
from gateway.meters.capture import Tap
from gateway.meters.dlms.cosem.objects import obis
from gateway.meters.dlms.polled.meter import DlmsMeter
from gateway.meters.dlms.polled.model import DlmsModel
from gateway.meters.endpoint import IN_USE, Endpoint, Line, Multicast, Parity, SerialSettings, Tcp, Udp
from gateway.meters.factor import Factor, FactoredMeter
from gateway.meters.iec62056.meter import TextMeter
from gateway.meters.iec62056.model import TextModel
from gateway.meters.listener import Listener
from gateway.meters.modbus.bus import Bus, Framing
from gateway.meters.modbus.meter import ModbusMeter
from gateway.meters.modbus.model import ModbusModel
from gateway.meters.modbus.sunspec import SunSpecMeter
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.p1.model import P1Model
from gateway.meters.profile import Profile, load_profile
from gateway.meters.reading import Decoder, Meter
from gateway.meters.speedwire.model import GROUP, SpeedwireModel
from gateway.meters.switch import CoilSupply, DlmsSupply, Limit, RegisterLimit, RegisterSupply, Supply

_PARITY: dict[str, Parity] = {"N": "none", "E": "even", "O": "odd"}
_WITHOUT_KEYS = ("modbus", "sunspec", "sml", "speedwire", "text", "text-push", "tic")


Buses = dict[tuple[Endpoint, Framing], Bus]


@dataclass(frozen=True, slots=True)
class Controls:
    """What a meter can switch: its home's supply, and the limit on what that draws; None where it cannot, or
    is switched by a message on the household's broker."""

    supply: Supply | None = None
    limit: Limit | None = None


def open_controls(
    sections: tuple[MeterSection, ...], meters: Mapping[str, Meter], buses: Buses
) -> dict[str, Controls]:
    """What each meter can switch, by name, over the connections of `meters`, which `open_meters` gave
    together with `buses`."""
    found = {}
    for section, endpoint in zip(sections, endpoints(sections).values(), strict=True):
        meter = meters[section.name]
        if isinstance(meter, FactoredMeter):
            meter = meter.meter
        if isinstance(meter, DlmsMeter):
            supply = _dlms_supply(section.switch, meter)
            found[section.name] = Controls(supply)
        elif load_profile(section.profile).on_modbus:
            found[section.name] = _modbus_controls(section, _bus(section, endpoint, buses))
        else:
            found[section.name] = Controls()
    return found


def _dlms_supply(switch: SwitchSection | None, meter: DlmsMeter) -> Supply | None:
    if switch is None:
        return DlmsSupply(meter)
    return None if switch.obis is None else DlmsSupply(meter, obis(switch.obis))


def _modbus_controls(section: MeterSection, bus: Bus) -> Controls:
    supply: Supply | None = None
    if section.switch is not None and section.switch.coil is not None:
        supply = CoilSupply(bus, section.unit_id, section.switch.coil)
    if section.switch is not None and section.switch.register_ is not None:
        register = section.switch.register_
        supply = RegisterSupply(bus, section.unit_id, register.address, register.on, register.off)
    limit = None
    if section.limit is not None and section.limit.register_ is not None:
        at = section.limit.register_
        limit = RegisterLimit(bus, section.unit_id, at.address, at.type, Fraction(at.scale), at.off)
    return Controls(supply, limit)


def open_meters(
    sections: tuple[MeterSection, ...],
    clock: Clock,
    tap: Tap | None = None,
    *,
    state: Path = Path(),
    buses: Buses | None = None,
) -> dict[str, Meter]:
    """A meter for each section, by name. None connects before it is first read; `tap` records what it then
    sends. The folder `state` has the invocation counters of meters that cipher. The connections of Modbus
    meters are added to `buses`. UsageError as for `endpoints`, and where a section lacks the keys that its
    profile needs."""
    buses = {} if buses is None else buses
    found: dict[str, Meter] = {}
    for section, endpoint in zip(sections, endpoints(sections).values(), strict=True):
        meter = _open(section, endpoint, load_profile(section.profile), clock, buses, tap, state)
        factor = Factor(Fraction(section.factor.energy), Fraction(section.factor.power))
        found[section.name] = meter if factor == Factor() else FactoredMeter(meter, factor)
    return found


def endpoints(sections: tuple[MeterSection, ...]) -> dict[str, Endpoint]:
    """Where each meter is reached, by name. UsageError, with a line for each mistake, where a section does
    not fit its profile, or two sections describe the same meter or need the same line."""
    found: dict[str, Endpoint] = {}
    taken: dict[tuple[Endpoint, int | str], str] = {}
    lines: dict[str, tuple[Line, Profile]] = {}
    groups: dict[Endpoint, MeterSection] = {}
    mistakes = []
    for section in sections:
        profile = load_profile(section.profile)
        try:
            _check_options(section, profile)
            endpoint = found[section.name] = _endpoint(section, profile)
            if isinstance(endpoint, Line):
                _check_line(endpoint, profile, *lines.setdefault(endpoint.device, (endpoint, profile)))
            which: int | str = section.unit_id if profile.on_modbus else profile.id
            if section.multicast is not None:
                _check_group(section, groups.setdefault(endpoint, section))
                which = section.multicast.serial_number or ""
            meter = endpoint, which
            if (other := taken.setdefault(meter, section.name)) != section.name:
                device = f", device {section.unit_id}," if profile.on_modbus else ""
                raise UsageError(f"at {endpoint}{device} there is meter {other} already")
        except UsageError as error:
            mistakes.append(f"meter {section.name}: {error}")
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return found


def _check_options(section: MeterSection, profile: Profile) -> None:
    if not profile.on_modbus:
        framed = section.tcp is not None and section.tcp.framer == "rtu"
        for given, option in (
            (section.unit_id != 1, "unit_id (--id)"),
            (framed, 'framer = "rtu" (--rtu)'),
            (section.udp is not None, "udp (--udp)"),
        ):
            if given:
                raise UsageError(f"{option} is for Modbus, which {profile.id} does not speak")
    if section.address is not None and not isinstance(profile.model, TextModel):
        raise UsageError(f"address is for meters that are asked for text, which {profile.id} is not")
    if isinstance(profile.model, TextModel) and section.interval_s < profile.model.interval_s:
        raise UsageError(
            f"interval_s is {section.interval_s:g}; it must be at least {profile.model.interval_s} for "
            f"{profile.id}, whose answer takes that long"
        )
    if section.multicast is not None and not isinstance(profile.model, SpeedwireModel):
        raise UsageError(f"multicast (--multicast) is for SMA's Speedwire, which {profile.id} does not speak")
    _check_controls(section, profile)
    if section.keys is not None and profile.protocol in _WITHOUT_KEYS:
        raise UsageError(f"keys are for meters that encrypt or need a password, and {profile.id} does not")


def may_need_keys(profile: Profile) -> bool:
    """Whether a meter of this model may have to be given keys or a password."""
    plain = isinstance(profile.model, P1Model) and not profile.model.encrypted
    return profile.protocol not in _WITHOUT_KEYS and not plain


def _check_controls(section: MeterSection, profile: Profile) -> None:
    switch, limit = section.switch, section.limit
    if switch is not None and switch.obis is not None and not isinstance(profile.model, DlmsModel):
        raise UsageError(f"switch.obis is for polled DLMS meters, which {profile.id} is not")
    for given, option in (
        (switch is not None and (switch.coil, switch.register_) != (None, None), "switch"),
        (limit is not None and limit.register_ is not None, "limit"),
    ):
        if given and not profile.on_modbus:
            raise UsageError(
                f"{option}: Modbus coils and registers are for meters on Modbus, which {profile.id} is not; "
                f"{option} = {{ mqtt = {{ ... }} }} works with every meter"
            )


def _check_line(line: Line, profile: Profile, first: Line, firsts_profile: Profile) -> None:
    if line is first:
        return
    if not (profile.on_modbus and firsts_profile.on_modbus):
        raise UsageError(
            f"another meter is on its serial port, {line.device}; only Modbus meters can share one"
        )
    if line.settings != first.settings:
        raise UsageError(
            f"its serial port, {line.device}, is at {first.settings} for another meter and cannot be at "
            f"{line.settings} too: set all meters of a line to the same, and give those settings in serial"
        )


def _check_group(section: MeterSection, first: MeterSection) -> None:
    if section is first:
        return
    for one in (first, section):
        if one.multicast is not None and one.multicast.serial_number is None:
            raise UsageError(
                f"meter {first.name} is heard in the same multicast group: give each its own serial_number"
            )


def _open(
    section: MeterSection,
    endpoint: Endpoint,
    profile: Profile,
    clock: Clock,
    buses: Buses,
    tap: Tap | None,
    state: Path,
) -> Meter:
    lanes = [lane for lane in section.lanes if lane != "count"]
    model = profile.model
    if isinstance(model, ModbusModel | SunSpecModel):
        line = _bus(section, endpoint, buses)
        if isinstance(model, ModbusModel):
            line.allow(model.pace)
        bus = line if tap is None else tap.bus(line)
        if isinstance(model, SunSpecModel):
            return SunSpecMeter(section.name, model, bus, lanes=lanes, device_id=section.unit_id, clock=clock)
        return ModbusMeter(section.name, model, bus, lanes=lanes, device_id=section.unit_id, clock=clock)
    if isinstance(model, TextModel):
        return TextMeter(
            section.name, model, endpoint, lanes=lanes, clock=clock, address=section.address or ""
        )
    secrets = secrets_of(section)
    if isinstance(model, DlmsModel):
        counter = state / f"{section.name}.counter"
        return DlmsMeter(section.name, model, endpoint, secrets, counter, lanes=lanes, clock=clock)
    try:
        if isinstance(model, SpeedwireModel) and section.multicast is not None:
            decoder: Decoder = model.decoder(secrets, section.multicast.serial_number)
        else:
            decoder = model.decoder(secrets)
    except UsageError as error:
        raise UsageError(f"meter {section.name}: {error}") from None
    return Listener(
        section.name,
        endpoint,
        decoder if tap is None else tap.decoder(decoder),
        lanes=lanes,
        silence_s=model.silence_s,
        clock=clock,
        rollover=model.rollover,
    )


def _bus(section: MeterSection, endpoint: Endpoint, buses: Buses) -> Bus:
    """The bus at the meter's address or serial port, which all meters there share."""
    framing: Framing = "rtu" if section.tcp is not None and section.tcp.framer == "rtu" else "tcp"
    return buses.setdefault((endpoint, framing), Bus(endpoint, framing))


def _endpoint(section: MeterSection, profile: Profile) -> Endpoint:
    if isinstance(profile.model, ModbusModel) and profile.model.udp and section.udp is None:
        raise UsageError(f"{profile.id} answers over UDP only: give udp (--udp) instead")
    if section.multicast is not None:
        return Multicast(GROUP, section.multicast.port, section.multicast.interface)
    if isinstance(profile.model, SpeedwireModel):
        raise UsageError(f"{profile.id} sends to a multicast group: give multicast (--multicast) instead")
    if section.tcp is not None:
        port = section.tcp.port or profile.tcp_port
        if port is None:
            raise UsageError("tcp needs the port at which the meter is reached")
        return Tcp(section.tcp.host, port)
    if section.udp is not None:
        return Udp(section.udp.host, section.udp.port)
    line, default = section.serial, profile.serial
    assert line is not None  # the configuration has exactly one of the four
    if default is None:
        raise UsageError(f"{profile.id} is reached over the network: give tcp instead of serial")
    settings = SerialSettings(
        baud=line.baudrate or default.baud,
        parity=default.parity if line.parity is None else _PARITY[line.parity],
        stop_bits=line.stopbits or default.stop_bits,
        data_bits=line.databits or default.data_bits,
    )
    return Line(line.device, settings)


def explained(error: GatewayError) -> GatewayError:
    """The error with a hint where a serial port is in use: by what program, probably, and what to do."""
    if IN_USE not in str(error):
        return error
    return MeterError(
        f"{error}: a running gateway keeps its meters' serial ports open. Stop it "
        "(systemctl stop gateway) and start it again afterwards, or reach the meter over tcp"
    )
