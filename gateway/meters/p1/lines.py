"""A telegram's lines to values. dsmr-parser, from the extra `p1`, takes the lines apart; it is given only the
lines that are used, and their values stay text until they are read here, exactly.

By default the parser logs the lines that it cannot read, and with them the meter's data; here it is silenced.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from gateway.errors import MeterError, UsageError
from gateway.meters.totals import Shown

logging.getLogger("dsmr_parser").setLevel(logging.CRITICAL + 1)

_ENERGY = {"Wh": 1_000, "kWh": 1_000_000, "MWh": 1_000_000_000}  # to mWh
_POWER = {"W": 1, "kW": 1_000}
_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Value:
    """A line's value as text, and its unit, empty where there is none."""

    text: str = field(repr=False)
    unit: str

    def energy(self) -> Shown | None:
        """None where it is not an energy."""
        mwh = self._in(_ENERGY)
        if mwh is None:
            return None
        return Shown(mwh, Fraction(_ENERGY[self.unit], 10 ** len(self.text.partition(".")[2])))

    def power_w(self) -> Fraction | None:
        """None where it is not a power."""
        return self._in(_POWER)

    def _in(self, units: Mapping[str, int]) -> Fraction | None:
        if self.unit not in units or not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", self.text):
            return None
        return Fraction(self.text) * units[self.unit]


Values = Mapping[str, Value]


def line_reader(codes: Collection[str]) -> Callable[[bytes], Values]:
    """A function that reads the lines of `codes`, such as 1-0:1.8.1, from a telegram: a value for each code
    that is there and well formed. It raises MeterError where a telegram cannot be read at all. UsageError
    where dsmr-parser is missing."""
    try:
        from dsmr_parser.parsers import CosemParser, TelegramParser, ValueParser  # noqa: PLC0415
    except ImportError:
        raise UsageError(
            "P1 needs dsmr-parser, which the gateway's extra p1 brings: run `provisioning/install.sh --p1`"
        ) from None
    patterns = {code: rf"^{re.escape(code)}(?:\.255|\*255)?\([^\r\n]*$" for code in codes}
    parser = TelegramParser(
        {
            "checksum_support": False,
            "objects": [
                {"obis_reference": pattern, "value_parser": CosemParser(ValueParser(str)), "value_name": code}
                for code, pattern in patterns.items()
            ],
        }
    )

    def read(telegram: bytes) -> Values:
        try:
            # Lines that are not used may hold any bytes: a message of nothing but ff, a unit of m³.
            text = telegram.decode("latin-1").replace("\r\n", "\n")
            found = parser.parse(text)
            lines = {code: found[pattern] for code, pattern in patterns.items() if pattern in found}
            return {code: Value(line.value or "", line.unit or "") for code, line in lines.items()}
        except Exception:  # whatever somebody else's parser does with a meter's bytes
            raise MeterError("a P1 telegram has unreadable lines") from None

    return read


def equipment_number(text: str) -> str:
    """The number printed on the meter: most meters send its characters in hex."""
    try:
        decoded = bytes.fromhex(text).decode("ascii")
    except ValueError:
        return text
    return decoded if decoded.isalnum() else text


def meter_time(text: str, zone: ZoneInfo) -> int | None:
    """Unix time (ns) of YYMMDDhhmmssX (DSMR P1 5.0.2, 6.4), where X is S in summer time and W in winter time,
    which distinguishes the two equal hours of the 25-hour day. None for any other text."""
    found = re.fullmatch(r"([0-9]{12})([SW])", text)
    if found is None:
        return None
    try:
        local = datetime.strptime(found[1], "%y%m%d%H%M%S").replace(tzinfo=zone)
    except ValueError:
        return None
    standard = (local.utcoffset() or timedelta()) - (local.dst() or timedelta())
    offset = standard + timedelta(hours=1) if found[2] == "S" else standard
    return (local.replace(tzinfo=UTC) - offset - _EPOCH) // timedelta(seconds=1) * _NS
