"""The objects themselves: what each holds, as frozen dataclasses with `payload()` and `read()`.

`payload()` gives the CBOR that is signed; `read(data, public_key)` checks the signature and the form
of the bytes of a whole COSE_Sign1 and gives the object back. Which stream, seq or time it must have
is for the caller to compare: it knows what it asked for.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from gateway.wire import cose
from gateway.wire.form import Field, read, write

DIGEST_BYTES = 32


class Signed:
    """What all signed objects share: a type string, a table of fields, encoding and checking by them."""

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
    def read(cls, data: bytes, public_key: bytes, what: str) -> Self:
        """The object in a COSE_Sign1 signed by `public_key` (SubjectPublicKeyInfo, DER); else Refused."""
        return cls.from_payload(cose.verify(data, cls.TYPE, public_key, what), what)

    @classmethod
    def from_payload(cls, payload: bytes, what: str) -> Self:
        """The object in a payload whose signature was checked already."""
        return cls._from(read(cls.FIELDS, cose.decode(payload, what), what), what)
