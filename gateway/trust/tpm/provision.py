"""The provisioning of a TPM at first use: what is made in it, and what is kept on disk.

Provisioning may be cut off at any command and begun again: the storage key and the counter are used as they
are found, and keys that were made but not kept are lost without harm, as nothing used them yet. A gateway
whose folder is lost must not quietly become another one: a counter that was ever stepped shows that an
identity was complete.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPM2B_SENSITIVE_DATA,
    TPMS_SENSITIVE_CREATE,
)

from gateway.errors import TrustError
from gateway.trust import folder, policy
from gateway.trust.gate import Gate
from gateway.trust.tpm.esapi import (
    COUNTER_INDEX,
    SRK_HANDLE,
    Context,
    is_storage_key,
    root_template,
    signing_template,
)
from gateway.trust.tpm.gate import OpenGate, begin_min_epoch

ROOT_BYTES = 32


@dataclass(frozen=True, slots=True)
class TpmIdentity:
    """A gateway's identity in a TPM, marshalled: the storage key to which sessions are salted, and the two
    keys wrapped by it. Its secrets open only in that TPM; a changed identity yields errors, not keys."""

    srk: bytes = field(repr=False)
    root_public: bytes = field(repr=False)
    root_private: bytes = field(repr=False)
    signing_public: bytes = field(repr=False)
    signing_private: bytes = field(repr=False)

    @property
    def root_policy(self) -> bytes:
        """The policy with which the root was made; empty where it has none."""
        public, _ = TPM2B_PUBLIC.unmarshal(self.root_public)
        area = public.publicArea
        return bytes(area.authPolicy)

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """The identity kept in the folder `path`, or None where none ever was."""
        kept = folder.load(path, "tpm", frozenset(f.name for f in fields(cls)))
        return None if kept is None else cls(**kept)

    def store(self, path: Path) -> None:
        folder.store(path, "tpm", asdict(self))


def provision(
    context: Context, where: str, root: bytes | None = None, gate: Gate | None = None
) -> TpmIdentity:
    """Make a new identity in the TPM, from `root` (32 bytes) or a random root that nobody ever sees. `where`
    names the TPM in errors. With a `gate` the root opens for approved releases only, and UntrustedRelease
    says where the one that runs is none.

    This once, the storage key is believed as read from the bus; from then on it is pinned. The root crosses
    the bus inside a session encrypted to that key.
    """
    esapi = context.esapi
    if missing := context.missing_commands(gated=gate is not None):
        raise TrustError(
            f"the TPM at {where} has no command {', '.join('TPM2_' + name for name in missing)}, which the"
            " gateway needs: update its firmware, use another TPM, or choose the software root"
        )
    if context.owner_has_password():
        raise TrustError(
            f"the owner of the TPM at {where} has a password, and the gateway makes its keys under that"
            " owner: remove it with `tpm2_changeauth --object-context=owner --object-auth=PASSWORD`"
        )
    storage = context.storage_key()
    if storage is None:
        storage = context.make_storage_key()
    if not is_storage_key(storage):
        raise TrustError(
            f"the TPM at {where} has another kind of key at {SRK_HANDLE:#x}, the place of its P-256 storage"
            " key: move that key away (`tpm2_evictcontrol`), or clear the TPM if nothing else uses it"
            " (`tpm2_clear`)"
        )
    srk = context.salt(storage)
    match context.counter():
        case None:
            context.define_counter()
        case (_, True):
            raise TrustError(
                f"the TPM at {where} holds the counter of an earlier gateway, but the folder has none of its"
                " keys: restore the folder from a backup; or, to begin as a new gateway, give the old one up"
                f" for good with `tpm2_nvundefine {COUNTER_INDEX:#010x}`"
            )
    opened = None
    if gate is not None:
        begin_min_epoch(context, gate)
        opened = OpenGate(context, gate)

    secret = bytearray(root) if root is not None else _random_root(context)
    sensitive = TPM2B_SENSITIVE_CREATE(
        TPMS_SENSITIVE_CREATE(data=TPM2B_SENSITIVE_DATA(bytes(ROOT_BYTES))),
    )
    given = sensitive.sensitive.data.buffer
    try:
        given[:] = secret
        template = root_template(b"" if gate is None else policy.authorized(gate.key, policy.RELEASE_REF))
        root_private, root_public, *_ = esapi.create(srk, sensitive, template, session1=context.session)
        # The only time that both sides know the root: what the TPM computes with it can be checked.
        handle = esapi.load(srk, root_private, root_public, session1=context.session)
        answer = root_hmac(context, opened, handle, b"check")
        if not hmac.compare_digest(answer, hmac.digest(secret, b"check", "sha256")):
            raise TrustError(f"the TPM at {where} computes a wrong HMAC-SHA256: use another TPM")
        esapi.flush_context(handle)
    finally:
        given[:] = secret[:] = bytes(ROOT_BYTES)
    signing_private, signing_public, *_ = esapi.create(
        srk, TPM2B_SENSITIVE_CREATE(), signing_template(), session1=context.session
    )
    esapi.flush_context(context.session)
    esapi.tr_close(srk)
    made: tuple[Any, ...] = (storage, root_public, root_private, signing_public, signing_private)
    return TpmIdentity(*(part.marshal() for part in made))


def root_hmac(context: Context, gate: OpenGate | None, root: ESYS_TR, message: bytes) -> bytes:
    """HMAC-SHA256 of a loaded root, through its gate if it has one. The answer crosses the bus inside the
    connection's session."""

    def hashed(*sessions: ESYS_TR) -> bytes:
        given = {f"session{number}": session for number, session in enumerate(sessions, 1)}
        return bytes(context.esapi.hmac(root, message, TPM2_ALG.SHA256, **given))

    if gate is None:
        return hashed(context.session)
    return gate.use(lambda policy_session: hashed(policy_session, context.session))


def _random_root(context: Context) -> bytearray:
    pairs = zip(context.random(ROOT_BYTES), os.urandom(ROOT_BYTES), strict=True)
    return bytearray(ours ^ theirs for ours, theirs in pairs)
