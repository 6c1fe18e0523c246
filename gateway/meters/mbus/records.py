"""A decrypted content to its data records (EN 13757-3, 6): each has a head (DIF and VIF, with extensions) and
a value, whose length is in the lowest four bits of DIF. 2F fills the place before and behind them.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.errors import MeterError

_FILL, _EXTENDED = 0x2F, 0x80
_LENGTHS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 6, 7: 8, 9: 1, 10: 2, 11: 3, 12: 4, 14: 6}


def read_records(content: bytes) -> Mapping[bytes, bytes]:
    """The values by their heads. MeterError where the records do not fill the content to its last byte, as
    after a wrong decryption."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(content):
        if content[at] == _FILL:
            at += 1
            continue
        begin = at
        for _ in ("DIF", "VIF"):
            while at < len(content) and content[at] & _EXTENDED:
                at += 1
            at += 1
        length = _LENGTHS.get(content[begin] & 0x0F)
        head, value = content[begin:at], content[at : at + (length or 0)]
        if length is None or len(value) != length or at > len(content) or head in records:
            raise MeterError("an M-Bus frame's records are damaged, or the meter has another encryption_key")
        records[head] = value
        at += length
    return records
