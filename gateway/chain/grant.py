"""Grants: which provider may open which windows, and how the first key reaches it.

K_0 is 32 random bytes, HPKE-sealed to the provider (RFC 9180 base mode: X-Wing, HKDF-SHA256,
AES-256-GCM) with info = H(grant body), so a sealed K_0 fits one grant body only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from gateway.chain.keys import KEY_BYTES
from gateway.chain.layout import ENERGY, LANES, Layout
from gateway.chain.window import Granularity, spell_ms
from gateway.errors import Refused, UsageError

ID_BYTES = 16
PURPOSE_BYTES = 256
MAX_K_MIN = 2**32
XWING_SEED_BYTES = 32
XWING_PUBLIC_BYTES = 1184 + 32  # ML-KEM-768 encapsulation key | X25519 public key
Kind = Literal["windows", "bill", "load", "raw"]
KINDS: tuple[Kind, ...] = ("windows", "bill", "load", "raw")

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class Grant:
    """The grant body. `first` ("from") and `until` are units, on window boundaries when the grant was made: a
    change of the time zone may have moved those since.

    `tariff` is the H of a bill's tariff, and `quantum` what the bill is rounded to, in units of
    10^-(scale + 6) of its currency. Of the two grants of a load, the summing service's names the load
    monitoring centre's as its `partner`; `k_min` is over how many homes a load sums at least.
    """

    id: bytes
    stream: bytes
    provider: bytes
    lanes: tuple[str, ...]
    granularity: Granularity
    first: int
    until: int | None
    purpose: str
    kind: Kind
    issued_ms: int
    serial: int
    tariff: bytes | None = None
    partner: bytes | None = None
    quantum: int | None = None
    k_min: int | None = None

    def __post_init__(self) -> None:
        unknown = [lane for lane in self.lanes if lane not in LANES]
        if unknown or not self.lanes or len(set(self.lanes)) != len(self.lanes):
            raise UsageError(
                f"lanes {', '.join(self.lanes)}: they must be some of {', '.join(LANES)}, each once"
            )
        if not self.purpose.isprintable() or len(self.purpose.encode()) > PURPOSE_BYTES:
            raise UsageError(f"purpose: it must be at most {PURPOSE_BYTES} bytes of printable text")
        for unit in (self.first, self.until):
            if unit is not None:
                self.granularity.index(unit)  # within the calendar
        if (self.kind == "bill") != (self.tariff is not None):
            raise UsageError("a bill has a tariff, and no other grant has one")
        if self.kind == "bill" and not set(self.lanes) <= set(ENERGY):
            raise UsageError("a bill is for import, export or both, the lanes that a tariff can price")
        if (self.kind == "bill") != bool(self.quantum):
            raise UsageError("a bill is rounded to a quantum of at least 1, and no other grant is")
        if self.k_min is not None and (self.kind != "load" or self.k_min < 2):
            raise UsageError("a load sums over at least 2 homes, and no other grant says over how many")
        if self.partner is not None and self.kind != "load":
            raise UsageError("only the summing service's grant of a load has a partner")
        if self.kind == "raw" and not isinstance(self.granularity.size, int):
            raise UsageError(
                f"a raw grant opens whole links, not a {self.granularity}: its granularity must be a whole "
                "number of links"
            )
        if self.until is not None and self.until <= self.first:
            raise UsageError("the grant ends before its first window does; until must be later than from")

    def check(self, layout: Layout) -> None:
        """UsageError unless the grant can be made on a stream of this layout: it begins and ends with
        windows, and raw windows are whole links."""
        for name, unit in (("from", self.first), ("until", self.until)):
            if unit is not None and self.granularity.align_up(unit) != unit:
                raise UsageError(
                    f"{name} = unit {unit} is not a boundary between windows of {self.granularity}"
                )
        if self.kind == "raw" and any(layout.position(unit) for unit in self.window(0)):
            link = spell_ms(layout.link_units * layout.unit_ms)
            raise UsageError(
                f"a raw grant opens whole links of {link}: its granularity must be a whole number of them, "
                "and it must begin with one"
            )

    def window(self, j: int) -> tuple[int, int]:
        """Window j as units [a, b); j counts from the grant's `from`."""
        k = self.granularity.index(self.first) + j
        return self.granularity.start(k), self.granularity.start(k + 1)

    @property
    def words(self) -> int:
        """How many words a token has: one for each lane, one for a bill. (Raw tokens hold keys instead.)"""
        return 1 if self.kind == "bill" else len(self.lanes)

    @property
    def opens(self) -> str:
        """What it opens, in words: "15min sums of import, export"."""
        return in_words(self.kind, str(self.granularity), self.granularity.zone, self.lanes, self.k_min)

    def number(self, unit: int) -> int:
        """The number j of the window that `unit` lies in; negative before the grant's start."""
        return self.granularity.index(unit) - self.granularity.index(self.first)

    def complete(self, end: int) -> int:
        """How many of the grant's windows have ended when the units before `end` are sealed."""
        end = end if self.until is None else min(end, self.until)
        return max(0, self.number(end))


def _expand(seed: bytes) -> tuple[mlkem.MLKEM768PrivateKey, x25519.X25519PrivateKey]:
    """The two keys of a 32-byte seed: draft-connolly-cfrg-xwing-kem, section 5.2."""
    if len(seed) != XWING_SEED_BYTES:
        raise ValueError("an X-Wing seed has 32 bytes")
    expanded = hashlib.shake_256(seed).digest(96)
    return (
        mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        x25519.X25519PrivateKey.from_private_bytes(expanded[64:]),
    )


@lru_cache(1)
def xwing_private(seed: bytes) -> MLKEM768X25519PrivateKey:
    """The X-Wing key of a 32-byte seed; the last one is kept, as a provider opens many grants with its
    one."""
    return MLKEM768X25519PrivateKey(*_expand(seed))


def xwing_public_bytes(seed: bytes) -> bytes:
    """The public key of a seed: ML-KEM-768 key | X25519 key, 1216 bytes."""
    ml_kem, x = _expand(seed)
    return ml_kem.public_key().public_bytes_raw() + x.public_key().public_bytes_raw()


def _xwing_public(raw: bytes) -> MLKEM768X25519PublicKey:
    if len(raw) != XWING_PUBLIC_BYTES:
        raise Refused(f"an X-Wing public key has {XWING_PUBLIC_BYTES} bytes, this one {len(raw)}")
    try:
        return MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(raw[:1184]),
            x25519.X25519PublicKey.from_public_bytes(raw[1184:]),
        )
    except ValueError:
        raise Refused("the X-Wing public key is invalid: its ML-KEM part does not decode") from None


def seal_k0(k_0: bytes, xwing_public: bytes, grant_body: bytes) -> bytes:
    """K_0 sealed to the provider's X-Wing key: encapsulated key | ciphertext, 1168 bytes.

    Refused if that key is invalid.
    """
    if len(k_0) != KEY_BYTES:
        raise ValueError("K_0 has 32 bytes")
    key, info = _xwing_public(xwing_public), hashlib.sha256(grant_body).digest()
    try:
        return _SUITE.encrypt(k_0, key, info=info)
    except ValueError:
        raise Refused("the X-Wing public key is invalid: its X25519 part has a small order") from None


def open_k0(sealed: bytes, seed: bytes, grant_body: bytes) -> bytes:
    """K_0, opened with the provider's X-Wing seed. Refused if it was sealed to another key or for another
    body."""
    key, info = xwing_private(seed), hashlib.sha256(grant_body).digest()
    try:
        k_0 = _SUITE.decrypt(sealed, key, info=info)
    except (InvalidTag, ValueError):
        raise Refused(
            "the grant's key does not open: sealed to another provider, or the grant was changed"
        ) from None
    if len(k_0) != KEY_BYTES:
        raise Refused(f"the grant's key has {len(k_0)} bytes, not {KEY_BYTES}")
    return k_0


def in_words(kind: Kind, granularity: str, zone: str, lanes: Sequence[str], k_min: int | None = None) -> str:
    """What a grant opens: "15min sums of import", "the bill of each month from day 15 (Europe/Berlin) for
    import", "a share of 15min loads of import over at least 20 homes"."""
    spelt = granularity.replace("month-", "month from day ")
    windows = f"{spelt} ({zone})" if granularity.startswith(("day", "month")) else granularity
    what = {
        "windows": f"{windows} sums of",
        "bill": f"the bill of each {windows} for",
        "load": f"a share of {windows} loads of",
        "raw": "every unit of",
    }[kind]
    over = "" if k_min is None else f" over at least {k_min} homes"
    return f"{what} {', '.join(lanes)}{over}"
