"""Characters of seven bits with even parity (7E1) that a line of eight bits (8N1) passes on with their parity
in the eighth bit."""

from __future__ import annotations

OTHER_PARITY = (
    "text arrives in characters of seven bits with even parity (7E1), but its line is set to eight bits: set "
    "the serial port, or the converter on the network, to 7E1 instead of 8N1"
)


def seven_bits(data: bytes) -> bytes:
    """The characters without their parity."""
    return bytes(octet & 0x7F for octet in data)


def is_even(data: bytes) -> bool:
    """Whether `data` are such characters; not where all are below 0x80, which may be anything else."""
    return not data.isascii() and all(octet.bit_count() % 2 == 0 for octet in data)
