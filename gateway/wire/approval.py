"""An approval: the signatures by which a TPM lets one release of the appliance use the root.

It lies as `approval.cbor` in the boot partition, beside the release that it approves. It is not a COSE_Sign1:
a TPM checks these signatures itself, and it signs nothing but a digest of a policy and the policy's name
(PROTOCOL.md, "Release gate").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from gateway.wire import cose, es256
from gateway.wire.form import Field, between, bstr, one_of, read, write
from gateway.wire.signed import DIGEST_BYTES

MOST_EPOCH = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Approval:
    """The approval of a release. Each signature is r | s, made by the approval key over a policy's digest and
    reference; `gateway.trust.policy` computes the policies."""

    TYPE = "gw1/approval"
    release: bytes
    """SHA-256 of the release's manifest, release.json."""
    epoch: int
    opens: bytes
    """Signature of the policy under which the root opens: this release, and none newer required."""
    begins: bytes
    """Signature of the policy under which a min_epoch never written becomes this epoch."""
    raises: bytes
    """Signature of the policy under which a min_epoch of at most this epoch becomes this epoch."""

    def encode(self) -> bytes:
        """The content of approval.cbor."""
        values = {field.name: getattr(self, field.name) for field in _FIELDS[1:]}
        return cose.encode(write(_FIELDS, {"type": self.TYPE, **values}, self.TYPE))

    @classmethod
    def decode(cls, data: bytes, what: str) -> Self:
        """The approval in `data`; Refused, with `what` in the sentence, where its form is another. Nothing
        is said of the signatures yet."""
        values: dict[str, Any] = read(_FIELDS, cose.decode(data, what), what)
        del values["type"]
        return cls(**values)


_FIELDS = (
    Field(1, "type", one_of(Approval.TYPE)),
    Field(2, "release", bstr(DIGEST_BYTES)),
    Field(3, "epoch", between(1, MOST_EPOCH)),
    Field(4, "opens", bstr(es256.SIGNATURE_BYTES)),
    Field(5, "begins", bstr(es256.SIGNATURE_BYTES)),
    Field(6, "raises", bstr(es256.SIGNATURE_BYTES)),
)
