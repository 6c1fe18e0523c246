"""An open connection to a provisioned TPM: a salted session and both keys loaded, kept for many commands.

Blocking, for one thread. Everything that is secret or decisive crosses the bus inside the session; an answer
that was changed on its way raises TSS2_Exception.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPMT_SIG_SCHEME,
    TSS2_Exception,
)

from gateway.errors import UntrustedRelease
from gateway.trust import gate as gates
from gateway.trust import policy
from gateway.trust.gate import Gate
from gateway.trust.tpm.codes import Fault, TpmFault
from gateway.trust.tpm.esapi import COUNTER_BYTES, Context
from gateway.trust.tpm.gate import OpenGate
from gateway.trust.tpm.provision import TpmIdentity, root_hmac
from gateway.wire import es256


class TpmKeys:
    """An identity's keys and counter in the TPM. They own the context: `close` closes it. In a TPM of three
    slots, the root and the signing key, of which `signing` is the handle, leave room for one more key."""

    def __init__(self, context: Context, identity: TpmIdentity, gate: Gate | None = None) -> None:
        """`gate` is the machine's, if it has one; a root that was made without stays without."""
        self.context = context
        self._esapi = context.esapi
        pinned, _ = TPM2B_PUBLIC.unmarshal(identity.srk)
        present = context.storage_key()
        # Only to distinguish another TPM from a tampered bus; what counts is the session's key.
        if present is None or present.marshal() != identity.srk:
            raise TpmFault(Fault.FOREIGN, 0)
        self._srk = context.salt(pinned)
        self._identity = identity
        # Where the release that runs may not use the root, nothing else of the TPM is used either.
        checked = check_gate(identity, gate)
        self._gate = None if checked is None else OpenGate(context, checked)
        self._root = self._load_root()
        self.signing = self._load(identity.signing_private, identity.signing_public)
        self._counter, self._stepped = self._find_counter()
        self.signing_public = identity.signing_public
        self._verifier = key_of(TPM2B_PUBLIC.unmarshal(identity.signing_public)[0])
        self.public_key = es256.spki(self._verifier)

    def close(self, *, orderly: bool) -> None:
        """Release the TPM. If `orderly`, empty its slots too, as nothing else does so on a TPM without a
        resource manager; otherwise they may be another user's by now."""
        if orderly:
            for handle in (self._root, self.signing, self.context.session):
                with contextlib.suppress(TSS2_Exception):
                    self._esapi.flush_context(handle)
        self.context.close()

    def hmac(self, message: bytes) -> bytes:
        return root_hmac(self.context, self._gate, self._root, message)

    def sign(self, message: bytes) -> bytes:
        digest = hashlib.sha256(message).digest()
        scheme = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)  # the key's own: ES256
        made = self._esapi.sign(self.signing, digest, scheme, session1=self.context.session)
        return es256_of(self._verifier, message, made)

    def incarnation_counter(self) -> int:
        """The counter, 0 where it was never stepped."""
        if not self._stepped:
            self._esapi.tr_close(self._counter)  # its name changes with the first step
            self._counter, self._stepped = self._find_counter()
            if not self._stepped:
                return 0
        read = self._esapi.nv_read(self._counter, COUNTER_BYTES, session1=self.context.session)
        return int.from_bytes(bytes(read), "big")

    def step_from(self, before: int) -> int | None:
        """Step the counter if it stands at `before`, and return the value that this very step gave it; None
        where the counter was, or was also, stepped by something else.

        One step takes it from v - 1 to v. If it was v - 1 before ours and v after, that step was ours, and
        no other process on this TPM, nor an earlier try whose answer got lost, has the same v.
        """
        if self.incarnation_counter() != before:
            return None
        self._esapi.nv_increment(self._counter, session1=self.context.session)
        after = self.incarnation_counter()
        return after if after == before + 1 else None

    def random(self, n: int) -> bytes:
        mixed = zip(self.context.random(n), os.urandom(n), strict=True)
        return bytes(ours ^ theirs for ours, theirs in mixed)

    @contextmanager
    def without_root(self) -> Iterator[None]:
        """Meanwhile the root is not loaded, and its slot is free. After a failure it stays so: the connection
        must be made anew."""
        self.context.flush(self._root)
        yield
        self._root = self._load_root()

    def _load_root(self) -> ESYS_TR:
        return self._load(self._identity.root_private, self._identity.root_public)

    def _find_counter(self) -> tuple[ESYS_TR, bool]:
        found = self.context.counter()
        if found is None:
            raise TpmFault(Fault.FOREIGN, 0)
        return found

    def _load(self, private: bytes, public: bytes) -> ESYS_TR:
        private_area, _ = TPM2B_PRIVATE.unmarshal(private)
        public_area, _ = TPM2B_PUBLIC.unmarshal(public)
        return self._esapi.load(self._srk, private_area, public_area, session1=self.context.session)


def check_gate(identity: TpmIdentity, gate: Gate | None) -> Gate | None:
    """The gate of an identity's root, on a machine with this `gate`; None where the root was made without.
    UntrustedRelease where the root's gate is another one."""
    made_with = identity.root_policy
    if not made_with:
        return None
    if gate is None:
        raise UntrustedRelease(
            "the root opens only for releases that the maker of this machine's image approved, and this"
            f" software has no approval key ({gates.APPROVAL_KEY}): boot a release of the image"
        )
    if made_with != policy.authorized(gate.key, policy.RELEASE_REF):
        raise UntrustedRelease(
            "the root was made for releases of another maker: the approval key of this image"
            f" ({gates.APPROVAL_KEY}) is not the one that the root trusts; install a release of that maker"
        )
    return gate


def key_of(public: Any) -> ec.EllipticCurvePublicKey:
    """The P-256 key of a TPM2B_PUBLIC."""
    point = public.publicArea.unique
    x, y = (int.from_bytes(bytes(part), "big") for part in (point.ecc.x, point.ecc.y))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def es256_of(key: ec.EllipticCurvePublicKey, message: bytes, made: Any) -> bytes:
    """A TPMT_SIGNATURE of `key` over `message` as r | s, once it verifies (`es256.signature`)."""
    part = made.signature
    pair = part.ecdsa
    r, s = (int.from_bytes(bytes(half), "big") for half in (pair.signatureR, pair.signatureS))
    return es256.signature(key, message, r, s)
