"""Where objects lie in the bucket: PROTOCOL.md, "What is stored"."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Literal

from gateway.chain.layout import DAY_MS
from gateway.errors import Refused

Fold = Literal["new", "day", "month"]
FOLDS: tuple[Fold, ...] = ("new", "day", "month")
SO_FAR = "so-far"
"""The folder of a stream's sums of months so far, and of a grant's tokens of months so far."""
PROBE = "v1/doctor"
"""Not of a stream: a few random bytes that `gateway doctor` puts, gets and lists."""
PRICES = "v1/prices/"
"""The prefix of all price series. It is the prefix of no stream: a stream's id is 32 hexadecimal digits."""
_HEX = frozenset("0123456789abcdef")
_DAYS_KEPT = 256
_EPOCH = date(1970, 1, 1).toordinal()


def stream_prefix(stream: bytes) -> str:
    """v1/<stream hex>/"""
    return f"v1/{stream.hex()}/"


def descriptor(stream: bytes) -> str:
    """The stream's descriptor."""
    return stream_prefix(stream) + "stream.cose"


def head(stream: bytes) -> str:
    """The stream's head, the only object that is overwritten."""
    return stream_prefix(stream) + "head.cose"


def chunks(stream: bytes) -> str:
    """The prefix of all chunks; their keys sort by first unit."""
    return stream_prefix(stream) + "chunk/"


def chunk(stream: bytes, first: int, unit_ms: int) -> str:
    """The chunk whose first unit is `first`, under its UTC day; Refused beyond the year 9999."""
    try:
        day = _day(first * unit_ms // DAY_MS)
    except (ValueError, OverflowError):
        raise Refused(f"unit {first} lies outside the calendar") from None
    return f"{chunks(stream)}{day}/{first:016x}.cose"


@lru_cache(_DAYS_KEPT)
def _day(number: int) -> str:
    """Day `number`, from 0 in 1970, as YYYY-MM-DD; a ValueError or an OverflowError outside the calendar."""
    return date.fromordinal(_EPOCH + number).isoformat()


def grants(stream: bytes) -> str:
    """The prefix of all grants."""
    return stream_prefix(stream) + "grant/"


def grant(stream: bytes, grant_id: bytes) -> str:
    """The grant itself."""
    return f"{grants(stream)}{grant_id.hex()}/grant.cose"


def revocation(stream: bytes, grant_id: bytes) -> str:
    """The grant's revocation."""
    return f"{grants(stream)}{grant_id.hex()}/revoked.cose"


def bundles(stream: bytes, grant_id: bytes, fold: Fold = "new") -> str:
    """The prefix of a grant's token bundles of one fold; their keys sort by window number."""
    return f"{grants(stream)}{grant_id.hex()}/{fold}/"


def bundle(stream: bytes, grant_id: bytes, first_window: int, fold: Fold = "new") -> str:
    """The token bundle that begins with window number `first_window`."""
    return f"{bundles(stream, grant_id, fold)}{first_window:016x}.cose"


def tokens_so_far(stream: bytes, grant_id: bytes, end_window: int) -> str:
    """The tokens of a UTC month's windows so far: of those before window number `end_window`."""
    return f"{grants(stream)}{grant_id.hex()}/{SO_FAR}/{end_window:016x}.cose"


def fold_of(key: str) -> Fold | None:
    """The fold of the token bundle that lies at `key`; None where another kind of object does."""
    parts = key.split("/")
    return next((fold for fold in FOLDS if len(parts) > 4 and parts[4] == fold), None)


def pages(stream: bytes, span: str) -> str:
    """The prefix of all day pages, month pages, or sums of months so far; their keys sort by date."""
    return f"{stream_prefix(stream)}{span}/"


def page(stream: bytes, period: str) -> str:
    """The page of a UTC day, "2026-11-22", or of a month, "2026-11"."""
    return f"{pages(stream, 'day' if len(period) == 10 else 'month')}{period}.cose"


def so_far(stream: bytes, day: str) -> str:
    """The sums of a UTC month from its beginning to the end of this day of it, "2026-11-22"."""
    return f"{pages(stream, SO_FAR)}{day}.cose"


def prices(provider: bytes) -> str:
    """The prefix of a provider's price series; their keys sort by beginning, then by serial."""
    return f"{PRICES}{provider.hex()}/"


def price_series(provider: bytes, start_ms: int, serial: int) -> str:
    """A price series that begins at `start_ms` (Unix ms)."""
    return f"{prices(provider)}{start_ms:016x}/{serial:016x}.cose"


def lasts(key: str) -> bool:
    """Whether a reader may keep the object at `key`, written once and read again and again: pages, folded
    bundles, grants."""
    match key.split("/")[2:]:
        case ["day" | "month", _] | ["grant", _, "grant.cose"] | ["grant", _, "day" | "month", _]:
            return True
    return False


def number_in(key: str) -> int:
    """The number that ends the key of a chunk, a bundle or a price series, 16 hex digits; Refused for any
    other key."""
    name = key.rpartition("/")[2].removesuffix(".cose")
    if len(name) != 16 or not set(name) <= _HEX or not key.endswith(".cose"):
        raise Refused(f"the store holds {key!r}, a name that version 1 does not have")
    return int(name, 16)
