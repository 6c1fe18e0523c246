"""A sampler's state, saved between runs: the last unit, and the energy registers at its end."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from gateway.errors import GatewayError
from gateway.intervals.validation import UNKNOWN

_STATE_1 = struct.Struct(">BBqqq")  # version, which lanes (bit 0 import, bit 1 export), unit, import, export
_STATE_2 = struct.Struct(">BBqqq8s")  # the same, and the meter's serial number


@dataclass(frozen=True, slots=True)
class SamplerState:
    """The last unit that came out and the energy registers at its end, in mWh, None for a lane that the
    stream does not have. `serial` is 8 bytes of the SHA-256 of their meter's serial number, zeros where that
    is not known. A sampler continues from this state without losing a mWh.

    If a rollover or an exchange of meters lies between that unit and the last reading, the registers are as
    the present meter would have shown them, and may be negative."""

    unit: int
    imported: int | None = field(repr=False)
    exported: int | None = field(repr=False)
    serial: bytes = field(default=UNKNOWN, repr=False)

    @property
    def registers(self) -> dict[str, int]:
        """The energy registers by lane, in mWh, without those that the stream does not have."""
        values = {"import": self.imported, "export": self.exported}
        return {lane: value for lane, value in values.items() if value is not None}

    def to_bytes(self) -> bytes:
        """34 bytes, whatever the values."""
        present = (self.imported is not None) | (self.exported is not None) << 1
        return _STATE_2.pack(2, present, self.unit, self.imported or 0, self.exported or 0, self.serial)

    @classmethod
    def from_bytes(cls, data: bytes) -> SamplerState:
        """The state from the 34 bytes of `to_bytes`, or from 26 bytes, format 1, without a serial number."""
        kind = (len(data), *data[:1])
        if kind not in ((_STATE_1.size, 1), (_STATE_2.size, 2)) or data[1] > 3:
            raise GatewayError("this version cannot read the sampler's saved state: expected format 1 or 2")
        if kind[1] == 1:
            data = b"\x02" + data[1:] + UNKNOWN
        _, present, unit, imported, exported, serial = _STATE_2.unpack(data)
        return cls(unit, imported if present & 1 else None, exported if present & 2 else None, serial)
