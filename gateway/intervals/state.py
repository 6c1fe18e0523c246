"""What of a sampler outlives a run: the last unit, and the energy registers at its end."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from gateway.errors import GatewayError
from gateway.intervals.validation import UNKNOWN

_STATE_1 = struct.Struct(">BBqqq")  # version, which lanes (bit 0 import, bit 1 export), unit, import, export
_STATE_2 = struct.Struct(">BBqqq8s")  # the same, and the meter's number


@dataclass(frozen=True, slots=True)
class SamplerState:
    """The last unit that came out and the energy registers at its end, in mWh; a lane that the stream does
    not have is None. `serial` is 8 bytes of the SHA-256 of the number of the meter whose registers they
    are, zeros where it is not known. Whoever has it can go on without losing a mWh.

    Where a rollover or another meter lies between that unit and the last reading, the registers are as the
    meter would show them that counts now, and may be negative."""

    unit: int
    imported: int | None = field(repr=False)
    exported: int | None = field(repr=False)
    serial: bytes = field(default=UNKNOWN, repr=False)

    def to_bytes(self) -> bytes:
        """34 bytes, whatever the values."""
        present = (self.imported is not None) | (self.exported is not None) << 1
        return _STATE_2.pack(2, present, self.unit, self.imported or 0, self.exported or 0, self.serial)

    @classmethod
    def from_bytes(cls, data: bytes) -> SamplerState:
        """What `to_bytes` gave, or the 26 bytes that it gave before meters' numbers were known."""
        kind = (len(data), *data[:1])
        if kind not in ((_STATE_1.size, 1), (_STATE_2.size, 2)) or data[1] > 3:
            raise GatewayError("the sampler's saved state is not of a kind that this version can read")
        if kind[1] == 1:
            data = b"\x02" + data[1:] + UNKNOWN
        _, present, unit, imported, exported, serial = _STATE_2.unpack(data)
        return cls(unit, imported if present & 1 else None, exported if present & 2 else None, serial)
