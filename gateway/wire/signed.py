"""What all objects share: a signed payload, and for those that are stored the key under which they belong.

`payload()` gives the CBOR that is signed. `read()` checks the signature and the form of a whole COSE_Sign1
and gives the object back; `read_at()` also checks that the object lies where it belongs, so that a store
cannot pass one signed object off as another. What the chain says of an object's neighbours (seq, digests)
is for the caller to compare.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from gateway.errors import Refused
from gateway.wire import cose
from gateway.wire.form import Field, read, write

DIGEST_BYTES = 32


class Signed:
    """An object that is signed: a type string, a table of fields, encoding and checking by them."""

    __slots__ = ()
    TYPE: ClassVar[str]
    FIELDS: ClassVar[tuple[Field, ...]]

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in self.FIELDS}

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        return cls(**values)

    def payload(self) -> bytes:
        """The deterministic CBOR that is signed."""
        return cose.encode(write(self.FIELDS, self._values(), self.TYPE))

    @classmethod
    def read(
        cls, data: bytes, public_key: bytes, what: str, later: list[cose.Unverified] | None = None
    ) -> Self:
        """The object in a COSE_Sign1 signed by `public_key` (SubjectPublicKeyInfo, DER); else Refused. With
        `later` the signature is put there, to be verified before the object is used."""
        return cls.from_payload(cose.verify(data, cls.TYPE, public_key, what, later), what)

    @classmethod
    def from_payload(cls, payload: bytes, what: str) -> Self:
        """The object in a payload whose signature was checked already."""
        return cls._from(read(cls.FIELDS, cose.decode(payload, what), what), what)


class Stored(Signed, ABC):
    """An object that lies in a bucket, under a key that its content gives."""

    __slots__ = ()

    @abstractmethod
    def own_key(self, key: str, unit_ms: int) -> str:
        """Where the object belongs, in a stream whose units are `unit_ms` long; it was found under `key`."""

    @classmethod
    def read_at(
        cls,
        key: str,
        data: bytes,
        public_key: bytes,
        unit_ms: int,
        later: list[cose.Unverified] | None = None,
    ) -> Self:
        """The object that a store holds under `key`: signed by `public_key`, of the right form, and lying
        where it belongs in a stream whose units are `unit_ms` long; else Refused, with the key named. With
        `later` the signature is put there, to be verified before the object is used."""
        found = cls.read(data, public_key, key, later)
        found.check_place(key, unit_ms)
        return found

    @classmethod
    def read_named(cls, key: str, data: bytes, digest: bytes, unit_ms: int) -> Self | None:
        """The same of an object whose digest a valid object gives, so that its own signature need not be
        checked; None where it has another one."""
        if cose.digest(data) != digest:
            return None
        found = cls.from_payload(cose.payload_unchecked(data, key)[1], key)
        found.check_place(key, unit_ms)
        return found

    def check_place(self, key: str, unit_ms: int) -> None:
        """Refused unless the object, which was found under `key`, belongs there."""
        own = self.own_key(key, unit_ms)
        if own != key:
            raise Refused(f"{key} holds the object that belongs at {own}: copied or moved")
