"""A context of tpm2-tss's Enhanced System API on a TPM, and the templates of what is made in it.

Blocking, for one thread. Errors are TSS2_Exception with the return code. Keep a structure in a variable while
its parts are read: they live in its memory.
"""

from __future__ import annotations

import hashlib
from typing import Any

from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_CAP,
    TPM2_CC,
    TPM2_ECC,
    TPM2_NT,
    TPM2_PT,
    TPM2_RC,
    TPM2_SE,
    TPM2_SU,
    TPM2B_NV_PUBLIC,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMA_NV,
    TPMA_OBJECT,
    TPMA_PERMANENT,
    TPMA_SESSION,
    TPMS_NV_PUBLIC,
    TPMT_PUBLIC,
    TPMT_SYM_DEF,
    TPMU_SYM_KEY_BITS,
    TPMU_SYM_MODE,
    TSS2_Exception,
)

from gateway.errors import TrustError
from gateway.trust.tpm.codes import Fault, TpmFault
from gateway.trust.tpm.transport import Transport, flush_leftovers

SRK_HANDLE = 0x81000001
"""Where a storage key persists (TCG TPM v2.0 Provisioning Guidance)."""
COUNTER_INDEX = 0x01800100
"""The incarnation counter, in the owner's range (TCG Registry of Reserved TPM 2.0 Handles)."""
COUNTER_BYTES = 8

NEEDED_COMMANDS = (
    *("StartAuthSession", "FlushContext", "CreatePrimary", "EvictControl", "ReadPublic", "Create", "Load"),
    *("HMAC", "Sign", "GetRandom", "NV_DefineSpace", "NV_ReadPublic", "NV_Increment", "NV_Read"),
    *("Certify", "PolicySecret", "ActivateCredential"),
)
GATE_COMMANDS = (
    *("LoadExternal", "VerifySignature", "PolicyPCR", "PolicyNV", "PolicyCpHash", "PolicyAuthorize"),
    *("NV_Write", "PCR_Read", "PCR_Extend"),
)
"""What the release gate needs besides."""

# NODA, and NO_DA below: wrong passwords elsewhere, or power cuts, must never lock these out.
_OURS = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.NODA
_MADE_INSIDE = _OURS | TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.SENSITIVEDATAORIGIN
_STORAGE = _MADE_INSIDE | TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT
# Not an orderly counter: that one jumps after each power cut.
_COUNTER = TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.OWNERREAD | TPMA_NV.NO_DA
_COUNTER |= TPM2_NT.COUNTER << TPMA_NV.TPM2_NT_SHIFT
_ENCRYPTED = TPMA_SESSION.DECRYPT | TPMA_SESSION.ENCRYPT | TPMA_SESSION.CONTINUESESSION


class Context:
    """An open connection to a started TPM, until `close` is called."""

    def __init__(self, transport: Transport) -> None:
        self._session: Any = None
        self._tcti = transport.connect()
        try:
            self.esapi: Any = ESAPI(self._tcti)
            try:
                # After a reset that went unnoticed, a TPM answers nothing until it is started.
                # If it runs already, this does nothing.
                self.esapi.startup(TPM2_SU.CLEAR)
            except BaseException:
                self.esapi.close()
                raise
        except BaseException:
            self._tcti.close()
            raise

    def close(self) -> None:
        self.esapi.close()
        self._tcti.close()

    def flush_leftovers(self) -> None:
        """See `transport.flush_leftovers`."""
        flush_leftovers(self._tcti)

    def flush(self, handle: ESYS_TR) -> None:
        """Free the slot of a key or a session. That the handle is gone means a reset that went unnoticed: a
        fault that passes, as it is at any other command."""
        try:
            self.esapi.flush_context(handle)
        except TSS2_Exception as error:
            if error.error == TPM2_RC.HANDLE:
                raise TpmFault(Fault.FULL, int(error.rc)) from None
            raise

    def missing_commands(self, *, gated: bool = False) -> tuple[str, ...]:
        """The NEEDED_COMMANDS, and of a root with a gate the GATE_COMMANDS, that this TPM does not have."""
        have: set[int] = set()
        first, more = int(TPM2_CC.FIRST), True
        while more:
            more, capability = self.esapi.get_capability(TPM2_CAP.COMMANDS, first, 256)
            listed = capability.data
            codes = [int(attributes) & 0xFFFF for attributes in listed.command]
            have |= set(codes)
            first, more = max(codes, default=0) + 1, more and bool(codes)
        needed = (*NEEDED_COMMANDS, *(GATE_COMMANDS if gated else ()))
        return tuple(name for name in needed if int(getattr(TPM2_CC, name)) not in have)

    def ask(self, which: int) -> int:
        """A TPM_PT property; 0 where this TPM does not have it."""
        _, capability = self.esapi.get_capability(TPM2_CAP.TPM_PROPERTIES, which, 1)
        listed = capability.data
        found = {int(item.property): int(item.value) for item in listed.tpmProperties}
        return found.get(which, 0)

    def owner_has_password(self) -> bool:
        return bool(self.ask(TPM2_PT.PERMANENT) & int(TPMA_PERMANENT.OWNERAUTHSET))

    def endorsement_has_password(self) -> bool:
        return bool(self.ask(TPM2_PT.PERMANENT) & int(TPMA_PERMANENT.ENDORSEMENTAUTHSET))

    def in_lockout(self) -> bool:
        return bool(self.ask(TPM2_PT.PERMANENT) & int(TPMA_PERMANENT.INLOCKOUT))

    def storage_key(self) -> Any | None:
        """The public area at SRK_HANDLE as read from the bus, or None where there is none."""
        if not self.exists(SRK_HANDLE):
            return None
        handle = self.esapi.tr_from_tpmpublic(SRK_HANDLE)
        public, _, _ = self.esapi.read_public(handle)
        self.esapi.tr_close(handle)
        return public

    def make_storage_key(self) -> Any:
        """Make the storage key from the owner's seed, make it persistent, and return its public area."""
        template = TPM2B_PUBLIC.parse("ecc256:aes128cfb", objectAttributes=_STORAGE)
        unique = template.publicArea.unique
        unique.ecc.x = bytes(32)
        unique.ecc.y = bytes(32)
        handle, public, *_ = self.esapi.create_primary(TPM2B_SENSITIVE_CREATE(), template, ESYS_TR.OWNER)
        self.esapi.evict_control(ESYS_TR.OWNER, handle, SRK_HANDLE)
        self.esapi.flush_context(handle)
        return public

    def salt(self, storage_public: Any) -> Any:
        """Start the session, and return the handle of the storage key to which it is salted.

        The session's key is agreed on with `storage_public`, which must come from this side of the bus: an
        impostor without the private key is exposed at the session's first use.
        """
        srk = self.esapi.tr_deserialize(ESYS_TR.parts_to_blob(SRK_HANDLE, storage_public))
        aes = TPMT_SYM_DEF(
            algorithm=TPM2_ALG.AES,
            keyBits=TPMU_SYM_KEY_BITS(sym=128),
            mode=TPMU_SYM_MODE(sym=TPM2_ALG.CFB),
        )
        self._session = self.esapi.start_auth_session(
            tpm_key=srk,
            bind=ESYS_TR.NONE,
            session_type=TPM2_SE.HMAC,
            symmetric=aes,
            auth_hash=TPM2_ALG.SHA256,
        )
        return srk

    @property
    def session(self) -> Any:
        """The session, for the next command: it authenticates the command and its answer, and encrypts the
        first parameter of each. Get it anew for every command.

        For a command with nothing to encrypt, tpm2-tss takes "encrypt" off the session meanwhile, and does
        not put it back if the command fails (seen with 3.2.1): one error forged on the bus would have later
        secrets sent in clear.
        """
        self.esapi.trsess_set_attributes(self._session, _ENCRYPTED)
        return self._session

    def random(self, n: int) -> bytes:
        """`n` bytes from the TPM's generator."""
        drawn = b""
        while len(drawn) < n:
            drawn += bytes(self.esapi.get_random(min(n - len(drawn), 32), session1=self.session))
        return drawn

    def counter(self) -> tuple[Any, bool] | None:
        """A new handle of the incarnation counter, and whether it was ever stepped; None where it is not
        defined."""
        if not self.exists(COUNTER_INDEX):
            return None
        handle = self.esapi.tr_from_tpmpublic(COUNTER_INDEX, session1=self.session)
        name = bytes(self.esapi.tr_get_name(handle))
        for stepped in (False, True):
            if name == bytes(_counter_area(stepped=stepped).get_name()):
                return handle, stepped
        raise TrustError(
            f"the TPM's index {COUNTER_INDEX:#010x} belongs to something other than this gateway: move that"
            f" away, or delete it with `tpm2_nvundefine {COUNTER_INDEX:#010x}`"
        )

    def define_counter(self) -> None:
        area = TPM2B_NV_PUBLIC(_counter_area(stepped=False))
        self.esapi.tr_close(self.esapi.nv_define_space(b"", area, session1=self.session))

    def exists(self, handle: int) -> bool:
        """Whether the TPM holds a persistent key or an index of this handle."""
        _, capability = self.esapi.get_capability(TPM2_CAP.HANDLES, handle, 1)
        listed = capability.data
        return handle in [int(each) for each in listed.handles]


def _counter_area(*, stepped: bool) -> Any:
    return TPMS_NV_PUBLIC(
        nvIndex=COUNTER_INDEX,
        nameAlg=TPM2_ALG.SHA256,
        attributes=_COUNTER | TPMA_NV.WRITTEN if stepped else _COUNTER,
        dataSize=COUNTER_BYTES,
    )


def is_storage_key(public: Any) -> bool:
    """Whether it is a P-256 storage key that never leaves its TPM, as `make_storage_key` makes it."""
    area = public.publicArea
    if area.type != TPM2_ALG.ECC:
        return False
    wanted = int(_STORAGE & ~TPMA_OBJECT.NODA)  # other software may have made it without
    detail = area.parameters.eccDetail
    return bool(
        int(area.objectAttributes) & wanted == wanted
        and area.nameAlg == TPM2_ALG.SHA256
        and detail.curveID == TPM2_ECC.NIST_P256
        and detail.symmetric.algorithm == TPM2_ALG.AES
        and detail.symmetric.keyBits.aes == 128
    )


def root_template(policy: bytes = b"") -> Any:
    """The template of an HMAC-SHA256 key whose bytes are given and which stays in its TPM. With a `policy`,
    nothing but a session that satisfies it uses the key."""
    area = TPMT_PUBLIC(
        type=TPM2_ALG.KEYEDHASH,
        nameAlg=TPM2_ALG.SHA256,
        objectAttributes=_OURS | TPMA_OBJECT.SIGN_ENCRYPT | (0 if policy else TPMA_OBJECT.USERWITHAUTH),
        authPolicy=policy,
    )
    scheme = area.parameters.keyedHashDetail.scheme
    scheme.scheme = TPM2_ALG.HMAC
    scheme.details.hmac.hashAlg = TPM2_ALG.SHA256
    return TPM2B_PUBLIC(publicArea=area)


def signing_template() -> Any:
    """The template of an ES256 key that is made in its TPM and stays there."""
    return TPM2B_PUBLIC.parse(
        "ecc256:ecdsa-sha256:null", objectAttributes=_MADE_INSIDE | TPMA_OBJECT.SIGN_ENCRYPT
    )


def attestation_template() -> Any:
    """The template of an ES256 key that signs only what its TPM says of itself. The TPM makes the same key
    from it each time; `unique` sets it apart from keys that others make by the same template."""
    template = TPM2B_PUBLIC.parse(
        "ecc256:ecdsa-sha256:null",
        objectAttributes=_MADE_INSIDE | TPMA_OBJECT.SIGN_ENCRYPT | TPMA_OBJECT.RESTRICTED,
    )
    unique = template.publicArea.unique
    unique.ecc.x = hashlib.sha256(b"gw1/attestation").digest()
    unique.ecc.y = bytes(32)
    return template
