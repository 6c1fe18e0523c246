"""A P1 meter's profile: its registers, how often it sends, what protects its telegrams, and whether it
encrypts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.errors import UsageError
from gateway.meters.p1.cipher import SealedFrames
from gateway.meters.p1.decoder import P1Decoder, P1Registers
from gateway.meters.p1.frames import CHECKS, Check
from gateway.meters.reading import Decoder
from gateway.meters.secrets import Secrets
from gateway.meters.toml_table import TomlTable

_MWH_PER_KWH = 1_000_000
_CODE = r"[0-9]-[0-9]:[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"


@dataclass(frozen=True, slots=True)
class P1Model:
    """A telegram comes every `interval_s`; its energies start again from 0 at `rollover_kwh`. It ends in one
    of `checks`; without any, it ends without a check sequence. Encrypted ones need the meter's own encryption
    key, and its authentication key unless all meters of the model share a known one, `authentication_key`;
    they come in one of the two forms of `cipher`, `titled` or not."""

    registers: P1Registers
    interval_s: int
    rollover_kwh: int
    checks: tuple[Check, ...]
    encrypted: bool
    titled: bool
    authentication_key: bytes | None = field(repr=False)

    @property
    def checked(self) -> bool:
        """Whether its telegrams end in a check sequence."""
        return bool(self.checks)

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes that its registers fill."""
        registers = self.registers
        filled = {
            "import": bool(registers.imported),
            "export": bool(registers.exported),
            "power": bool(registers.drawn),
        }
        return tuple(lane for lane, is_filled in filled.items() if is_filled)

    @property
    def rollover(self) -> Mapping[str, int]:
        """Each register has as many digits. Where tariffs are added up, the sum falls by this when one of
        them starts again from 0."""
        return {lane: self.rollover_kwh * _MWH_PER_KWH for lane in self.lanes if lane != "power"}

    @property
    def silence_s(self) -> float:
        """The time of five telegrams, and ten seconds."""
        return 10.0 + 5 * self.interval_s

    def decoder(self, secrets: Secrets) -> Decoder:
        """A new decoder. UsageError where `secrets` lack a key that is needed, or dsmr-parser is missing."""
        if not self.encrypted:
            return P1Decoder(self.registers, checks=self.checks)
        authentication_key = secrets.authentication_key or self.authentication_key
        if secrets.encryption_key is None:
            raise UsageError("this P1 meter encrypts: encryption_key is needed, which the grid operator has")
        if authentication_key is None:
            raise UsageError(
                "this P1 meter encrypts: authentication_key is needed too, which the grid operator has"
            )
        sealed = SealedFrames(secrets.encryption_key, authentication_key, titled=self.titled)
        return P1Decoder(self.registers, checks=self.checks, sealed=sealed)


def parse_model(keys: TomlTable) -> P1Model:
    """Take the model's keys: `interval_s`, `rollover_kwh`, `checksum`, `crc`, `encrypted`, `system_title`,
    `authentication_key` and [registers]."""
    encrypted = keys.flag("encrypted")
    authentication_key = None
    if encrypted and keys.has("authentication_key"):
        authentication_key = bytes.fromhex(keys.text("authentication_key", r"[0-9a-f]{32}"))
    return P1Model(
        registers=_registers(keys.table("registers")),
        interval_s=keys.integer("interval_s", 1, 60),
        rollover_kwh=keys.integer("rollover_kwh", 10_000, 10**9),
        checks=_checks(keys) if keys.flag("checksum") else (),
        encrypted=encrypted,
        titled=keys.choice("system_title", ("sent", "none")) == "sent" if keys.has("system_title") else True,
        authentication_key=authentication_key,
    )


def _checks(keys: TomlTable) -> tuple[Check, ...]:
    """The check sequences that a telegram may end in; that of the standard where the key is missing."""
    if not keys.has("crc"):
        return ("arc",)
    named = keys.texts("crc")
    checks = tuple(check for check in CHECKS if check in named)
    if len(checks) != len(named):
        raise keys.fault("crc", f"is {', '.join(named)}; each must be one of {', '.join(CHECKS)}, once")
    return checks


def _registers(keys: TomlTable) -> P1Registers:
    zone = keys.text("zone", r"[A-Z][A-Za-z_]+/[A-Z][A-Za-z_]+")
    try:
        clock_zone = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise keys.fault("zone", f"is {zone!r}; it must be a time zone such as Europe/Amsterdam") from None
    registers = P1Registers(
        imported=_codes(keys, "import"),
        exported=_codes(keys, "export"),
        drawn=_codes(keys, "drawn"),
        given=_codes(keys, "given"),
        serial=keys.text("serial", _CODE),
        zone=clock_zone,
        tariffs=keys.integer("tariffs", 1, 9) if keys.has("tariffs") else None,
        channels=keys.integers("channels", 0, 9) if keys.has("channels") else (),
    )
    keys.end()
    if bool(registers.drawn) != bool(registers.given):
        raise keys.problem("registers.drawn and registers.given belong together: power is their difference")
    return registers


def _codes(keys: TomlTable, key: str) -> tuple[str, ...]:
    """A list of reduced OBIS codes; empty where the key is missing."""
    if not keys.has(key):
        return ()
    codes = keys.texts(key)
    if wrong := [code for code in codes if not re.fullmatch(_CODE, code)]:
        raise keys.fault(key, f"has {wrong[0]!r}; each must be a code such as 1-0:1.8.1")
    return codes
