"""The check sequences of SML: the standard's, and another one that some meters use."""

from __future__ import annotations

from binascii import crc_hqx

from gateway.meters.crc import x25

_MIRRORED = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))


def fits(data: bytes, sequence: bytes) -> bool:
    """Whether `sequence` is the check sequence of `data`: CRC-16/X-25, its low byte first (SML 1.04), or
    CRC-16/Kermit, its high byte first, as Holley's DTZ541 sends (libsml, sml/src/sml_message.c at
    dc096b4)."""
    return sequence == x25(data) or sequence == kermit(data)


def kermit(data: bytes) -> bytes:
    """The CRC-16/Kermit of `data`, its high byte first: X-25's polynomial, initial value 0, not inverted."""
    return crc_hqx(data.translate(_MIRRORED), 0).to_bytes(2, "little").translate(_MIRRORED)
