"""Check sequences that more than one protocol uses."""

from __future__ import annotations

from binascii import crc_hqx

_MIRRORED = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))


def x25(data: bytes) -> bytes:
    """The CRC-16/X-25 of `data`, as the two bytes that follow it on the wire (ISO/IEC 13239, 4.2.5.2).

    This is crc_hqx with the bits of every octet reversed, and the result inverted.
    """
    crc = crc_hqx(data.translate(_MIRRORED), 0xFFFF) ^ 0xFFFF
    return crc.to_bytes(2, "big").translate(_MIRRORED)
