"""A simulated P1 meter: telegrams every one or ten seconds, plain or encrypted.

It takes any P1 profile. Energies are in Wh and power in W; where a profile has tariffs, each has a share of
the energy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from gateway.errors import UsageError
from gateway.host.clock import Clock
from gateway.meters.crc import x25
from gateway.meters.endpoint import Line, Tcp
from gateway.meters.p1.frames import Check, crc16
from gateway.meters.p1.model import P1Model
from gateway.meters.secrets import Secrets
from gateway.simulate.home import Home
from gateway.simulate.push_server import speak
from gateway.simulate.truth import LiveHome

_HEAD = "SIM5\\simulated-home"
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
            self._unsaid = self._sealed(plain, home.second % 2**32)
        return {"import": imported * _MWH_PER_WH, "export": exported * _MWH_PER_WH, "power": home.power}

    def _sealed(self, plain: bytes, counter: int) -> bytes:
        if self._keys is None:
            return plain
        return seal(plain, *self._keys, counter) if self._model.titled else seal_lines(plain, *self._keys)

    def _plain(self, home: Home, imported: int, exported: int) -> bytes:
        registers = self._model.registers
        digits = len(str(self._model.rollover_kwh - 1))
        energies = [
            *_shares(registers.imported, imported, registers.tariffs),
            *_shares(registers.exported, exported, registers.tariffs),
        ]
        drawn, given = max(home.power, 0), max(-home.power, 0)
        powers = [*_first(registers.drawn, drawn), *_first(registers.given, given)]
        lines = [
            f"0-0:1.0.0({stamp(home.second, registers.zone)})",
            f"{registers.serial}({_NUMBER.hex().upper()})",
            *(
                f"{self._channel(code)}({_thousandths(wh % (self._model.rollover_kwh * 1000), digits)}*kWh)"
                for code, wh in energies
            ),
            *(f"{self._channel(code)}({_thousandths(watts, 2)}*kW)" for code, watts in powers),
        ]
        return telegram(lines, self._model.checks[0] if self._model.checks else None)

    def _channel(self, code: str) -> str:
        """The code in the last of the channels that it may come in."""
        return self._model.registers.in_channels(code)[-1]


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


def telegram(lines: Sequence[str], check: Check | None = "arc", head: str = _HEAD) -> bytes:
    """A whole telegram of data lines (DSMR P1 5.0.2, 6.2), which ends in `check`, or without one."""
    text = "\r\n".join([f"/{head}", "", *lines, "!"]).encode("ascii")
    return text + _sequence(text, check) + b"\r\n"


def _sequence(text: bytes, check: Check | None) -> bytes:
    if check is None:
        return b""
    return b"%04X" % crc16(text) if check == "arc" else x25(text).hex().upper().encode("ascii")


def seal(plain: bytes, encryption_key: bytes, authentication_key: bytes, counter: int) -> bytes:
    """A telegram in a general-glo-ciphering frame (Luxmetering E-Meter P1 Specification 1.1.3, 3.2.5)."""
    content = _content(plain, encryption_key, authentication_key, _SYSTEM_TITLE, counter)
    return b"\xdb\x08" + _SYSTEM_TITLE + b"\x82" + len(content).to_bytes(2, "big") + content


def seal_lines(plain: bytes, encryption_key: bytes, authentication_key: bytes) -> bytes:
    """A telegram whose data lines alone are encrypted, without a system title and with a counter of 0, as
    `gateway.meters.p1.cipher` describes it."""
    at = plain.index(b"\r\n\r\n") + 4
    lines = plain[at : plain.rindex(b"!")]
    content = _content(lines, encryption_key, authentication_key, bytes(8), 0)
    text = plain[:at] + b"\x00\x82" + len(content).to_bytes(2, "big") + content + b"!"
    return text + _sequence(text, "x25") + b"\r\n"


def _content(
    plain: bytes, encryption_key: bytes, authentication_key: bytes, title: bytes, counter: int
) -> bytes:
    """Security control, frame counter, ciphertext and tag."""
    invocation = counter.to_bytes(4, "big")
    sealing = Cipher(algorithms.AES(encryption_key), modes.GCM(title + invocation)).encryptor()
    sealing.authenticate_additional_data(_SECURITY_CONTROL + authentication_key)
    sealed = sealing.update(plain) + sealing.finalize() + sealing.tag[:12]
    return _SECURITY_CONTROL + invocation + sealed


def stamp(second: int, zone: ZoneInfo) -> str:
    """Unix time as YYMMDDhhmmssX, where X is S in summer time and W in winter time (DSMR P1 5.0.2, 6.4)."""
    local = datetime.fromtimestamp(second, UTC).astimezone(zone)
    return f"{local:%y%m%d%H%M%S}{'S' if local.dst() else 'W'}"


def _thousandths(count: int, digits: int) -> str:
    """A number of thousandths as a decimal, with `digits` digits before the point."""
    return f"{count // 1000:0{digits}d}.{count % 1000:03d}"


def _shares(codes: tuple[str, ...], wh: int, tariffs: int | None) -> list[tuple[str, int]]:
    """Each code's energy: equal shares, and the remainder in the first one; the total and its `tariffs` where
    there is a total."""
    if not codes:
        return []
    total = [(codes[0], wh)] if tariffs else []
    if tariffs:
        codes = tuple(f"{codes[0][:-1]}{n + 1}" for n in range(tariffs))
    share = wh // len(codes)
    return total + [(code, share if at else wh - share * (len(codes) - 1)) for at, code in enumerate(codes)]


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
