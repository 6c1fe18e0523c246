"""A simulated P1 meter: telegrams every one or ten seconds, plain or encrypted.

It takes any P1 profile. Energies are in Wh and power in W; where a profile adds up tariffs, each has a share
of the energy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from gateway.errors import UsageError
from gateway.host.clock import Clock
from gateway.meters.endpoint import Line, Tcp
from gateway.meters.p1.frames import crc16
from gateway.meters.p1.model import P1Model
from gateway.meters.secrets import Secrets
from gateway.simulate.home import Home
from gateway.simulate.push_server import speak
from gateway.simulate.truth import LiveHome

_SYSTEM_TITLE = b"SIM\x00\x00\x00\x00\x01"
_NUMBER = b"E0012345678900126"
_MWH_PER_WH = 1_000
_SECURITY_CONTROL = b"\x30"


class P1Meter:
    """A meter of `model` that shows `home`. UsageError where the model encrypts and `secrets` lack a key."""

    def __init__(
        self, home: Home, model: P1Model, clock: Clock, secrets: Secrets, truth: Path | None = None
    ) -> None:
        self._model = model
        self._keys = _keys(model, secrets)
        self._unsaid = b""
        self._said = -1  # the number of the last telegram's interval
        self.live = LiveHome(home, clock, self._show, truth)

    def telegram(self) -> bytes:
        """The telegram that is due, once; empty in the seconds between."""
        due, self._unsaid = self._unsaid, b""
        return due

    def _show(self, home: Home) -> dict[str, int]:
        imported, exported = home.import_mwh // _MWH_PER_WH, home.export_mwh // _MWH_PER_WH
        if self._said != home.second // self._model.interval_s:
            self._said = home.second // self._model.interval_s
            plain = self._plain(home, imported, exported)
            self._unsaid = seal(plain, *self._keys, home.second % 2**32) if self._keys else plain
        return {"import": imported * _MWH_PER_WH, "export": exported * _MWH_PER_WH, "power": home.power}

    def _plain(self, home: Home, imported: int, exported: int) -> bytes:
        registers = self._model.registers
        digits = len(str(self._model.rollover_kwh - 1))
        energies = [*_shares(registers.imported, imported), *_shares(registers.exported, exported)]
        drawn, given = max(home.power, 0), max(-home.power, 0)
        powers = [*_first(registers.drawn, drawn), *_first(registers.given, given)]
        lines = [
            f"0-0:1.0.0({stamp(home.second, registers.zone)})",
            f"{registers.serial}({_NUMBER.hex().upper()})",
            *(
                f"{code}({_thousandths(wh % (self._model.rollover_kwh * 1000), digits)}*kWh)"
                for code, wh in energies
            ),
            *(f"{code}({_thousandths(watts, 2)}*kW)" for code, watts in powers),
        ]
        return telegram(lines, checked=self._model.checked)


async def serve(
    home: Home,
    model: P1Model,
    endpoint: Tcp | Line,
    clock: Clock,
    secrets: Secrets,
    truth: Path | None = None,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Send the telegrams of `home` until cancelled, as `push_server.speak` does. What the meter shows is
    appended to `truth`."""
    meter = P1Meter(home, model, clock, secrets, truth)
    await speak(meter.live, meter.telegram, endpoint, listening)


def telegram(lines: Sequence[str], *, checked: bool) -> bytes:
    """A whole telegram of data lines (DSMR P1 5.0.2, 6.2)."""
    text = "/SIM5\\simulated-home\r\n\r\n" + "".join(f"{line}\r\n" for line in lines) + "!"
    sequence = f"{crc16(text.encode('ascii')):04X}" if checked else ""
    return f"{text}{sequence}\r\n".encode("ascii")


def seal(plain: bytes, encryption_key: bytes, authentication_key: bytes, counter: int) -> bytes:
    """A telegram in a general-glo-ciphering frame (Luxmetering E-Meter P1 Specification 1.1.3, 3.2.5)."""
    invocation = counter.to_bytes(4, "big")
    sealing = Cipher(algorithms.AES(encryption_key), modes.GCM(_SYSTEM_TITLE + invocation)).encryptor()
    sealing.authenticate_additional_data(_SECURITY_CONTROL + authentication_key)
    sealed = sealing.update(plain) + sealing.finalize() + sealing.tag[:12]
    content = _SECURITY_CONTROL + invocation + sealed
    return b"\xdb\x08" + _SYSTEM_TITLE + b"\x82" + len(content).to_bytes(2, "big") + content


def stamp(second: int, zone: ZoneInfo) -> str:
    """Unix time as YYMMDDhhmmssX, where X is S in summer time and W in winter time (DSMR P1 5.0.2, 6.4)."""
    local = datetime.fromtimestamp(second, UTC).astimezone(zone)
    return f"{local:%y%m%d%H%M%S}{'S' if local.dst() else 'W'}"


def _thousandths(count: int, digits: int) -> str:
    """A number of thousandths as a decimal, with `digits` digits before the point."""
    return f"{count // 1000:0{digits}d}.{count % 1000:03d}"


def _shares(codes: tuple[str, ...], wh: int) -> list[tuple[str, int]]:
    """Each code's energy: equal shares, and the remainder in the first one."""
    if not codes:
        return []
    share = wh // len(codes)
    return [(code, share if at else wh - share * (len(codes) - 1)) for at, code in enumerate(codes)]


def _first(codes: tuple[str, ...], watts: int) -> list[tuple[str, int]]:
    """Each code's power: all of it in the first one."""
    return [(code, 0 if at else watts) for at, code in enumerate(codes)]


def _keys(model: P1Model, secrets: Secrets) -> tuple[bytes, bytes] | None:
    if not model.encrypted:
        return None
    authentication_key = secrets.authentication_key or model.authentication_key
    if secrets.encryption_key is None or authentication_key is None:
        raise UsageError("this P1 meter encrypts: give it a file of keys, the same as the gateway's")
    return secrets.encryption_key, authentication_key
