"""Evidence: what a provider claims of one grant, with all that lets a third party check it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from gateway.chain.commitment import COMMITMENT_BYTES
from gateway.chain.grant import ID_BYTES
from gateway.chain.keys import STREAM_BYTES
from gateway.chain.layout import ENERGY
from gateway.errors import Refused
from gateway.wire import cose
from gateway.wire.form import Field, between, bstr, integer, list_of, one_of, tstr, tuple_of, uint
from gateway.wire.signed import Signed

MOST_WINDOWS = 2**20
_MOST_OBJECTS = 2**16
_KEY_BYTES = 1024  # of a bucket's key: gateway.store.bucket


@dataclass(frozen=True, slots=True)
class Evidence(Signed):
    """A provider's claim to consecutive windows of a grant, from number `first_window` on, signed by it.

    `opened` has the opening and P of each claimed window, `before` and `after` the commitments of the other
    windows in the same bundles (`gateway.chain.commitment`). `objects` are the gateway's objects that prove
    the claim, each with its key in the bucket, in the order of the keys. `claims` are, of a grant of sums,
    each lane's sum over all claimed windows, and of a bill grant each window's bill in units of
    10^-(decimals + 6) of the currency; `tariff` is then the body of its tariff. `registers` has, for a lane,
    the meter's register at both ends in mWh, and what its last digit stands for.
    """

    TYPE = "gw1/evidence"
    FIELDS = (
        Field(1, "signing_key", bstr(cose.SPKI_BYTES)),
        Field(2, "stream", bstr(STREAM_BYTES)),
        Field(3, "signer", bstr(cose.KID_BYTES)),
        Field(4, "grant", bstr(ID_BYTES)),
        Field(5, "first_window", uint()),
        Field(6, "opened", bstr(least=COMMITMENT_BYTES + 8)),
        Field(7, "before", bstr(least=COMMITMENT_BYTES), optional=True),
        Field(8, "after", bstr(least=COMMITMENT_BYTES), optional=True),
        Field(9, "objects", list_of(tuple_of(tstr(_KEY_BYTES), bstr(least=1)), most=_MOST_OBJECTS)),
        Field(10, "claims", list_of(integer(), most=MOST_WINDOWS)),
        Field(11, "tariff", bstr(least=1), optional=True),
        Field(
            12,
            "registers",
            list_of(tuple_of(one_of(*ENERGY), uint(), uint(), between(1, 10**12)), most=len(ENERGY)),
            optional=True,
        ),
        Field(13, "time_ms", uint()),
    )
    signing_key: bytes
    stream: bytes
    signer: bytes
    grant: bytes
    first_window: int
    opened: bytes
    before: bytes | None
    after: bytes | None
    objects: tuple[tuple[str, bytes], ...]
    claims: tuple[int, ...]
    tariff: bytes | None
    registers: tuple[tuple[str, int, int, int], ...] | None
    time_ms: int

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        evidence = cls(**values)
        keys = [key for key, _ in evidence.objects]
        if any(a >= b for a, b in pairwise(keys)):
            raise Refused(f"{what}: its objects are not in the order of their keys, each once")
        if any(len(each or b"") % COMMITMENT_BYTES for each in (evidence.before, evidence.after)):
            raise Refused(f"{what}: a commitment has {COMMITMENT_BYTES} bytes")
        lanes = [lane for lane, *_ in evidence.registers or ()]
        if len(set(lanes)) < len(lanes):
            raise Refused(f"{what}: it has the register of a lane twice")
        return evidence

    @property
    def provider(self) -> bytes:
        """The kid of the provider that claims it."""
        return cose.kid_of(self.signing_key)

    @classmethod
    def read_self_signed(cls, data: bytes, what: str) -> Self:
        """Evidence signed by the key that it names: whose key that is, it does not prove."""
        key = cls.from_payload(cose.payload_unchecked(data, what)[1], what).signing_key
        return cls.read(data, key, what)
