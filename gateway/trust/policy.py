"""The policies of the release gate, computed without a TPM: PROTOCOL.md, "Release gate", has their bytes.

A TPM computes the same digests in a policy session and compares them. How: TPM 2.0 Library, part 3, chapter
23, PolicyPCR, PolicyNV, PolicyCpHash and PolicyAuthorize; names of keys and indexes: part 1, chapter 16.
"""

from __future__ import annotations

import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric import ec

PCR = 14
"""Where a release is measured: a static PCR, which no program resets and a Pi's firmware leaves zero."""
MIN_EPOCH_INDEX = 0x01800101
"""The oldest epoch that may use the root, in the owner's range (TCG Registry of Reserved TPM 2.0 Handles)."""
EPOCH_BYTES = 8
RELEASE_REF = b"gw1/release"
EPOCH_REF = b"gw1/epoch"

MIN_EPOCH_ATTRIBUTES = 0x02060008
"""TPMA_NV of an ordinary index: POLICYWRITE, OWNERREAD, AUTHREAD, NO_DA (part 2, 13.4)."""
_WRITTEN = 1 << 29
_VERIFIES = 0x00040000  # TPMA_OBJECT: sign alone, which for a public key means that it verifies
_SHA256, _NULL, _ECC, _ECDSA = 0x000B, 0x0010, 0x0023, 0x0018  # TPM_ALG
_P256 = 0x0003
_POLICY_PCR, _POLICY_NV, _POLICY_CP_HASH, _POLICY_AUTHORIZE = 0x17F, 0x149, 0x16E, 0x16A  # TPM_CC
_NV_WRITE = 0x137
_UNSIGNED_LE = 0x0009  # TPM_EO
_NOTHING = bytes(32)


def measured(release: bytes) -> bytes:
    """PCR 14 once a release, named by the SHA-256 of its manifest, was measured into it."""
    return _sha256(_NOTHING, release)


def release_policy(key: ec.EllipticCurvePublicKey, release: bytes, epoch: int) -> bytes:
    """The policy that PCR 14 shows this release, and that min_epoch is at most its epoch."""
    return _not_older(key, _pcr(_NOTHING, measured(release)), epoch)


def begin_policy(key: ec.EllipticCurvePublicKey, epoch: int) -> bytes:
    """The policy that a min_epoch never written is written, with this epoch."""
    return _cp_hash(_NOTHING, write_parameters(key, epoch, written=False))


def raise_policy(key: ec.EllipticCurvePublicKey, epoch: int) -> bytes:
    """The policy that a min_epoch of at most this epoch is written, with this epoch."""
    return _cp_hash(_not_older(key, _NOTHING, epoch), write_parameters(key, epoch, written=True))


def authorized(key: ec.EllipticCurvePublicKey, ref: bytes) -> bytes:
    """The policy that any policy holds which `key` has signed together with `ref`: what the root, and what
    min_epoch, is made with."""
    return _sha256(_sha256(_NOTHING, _word(_POLICY_AUTHORIZE), key_name(key)), ref)


def write_parameters(key: ec.EllipticCurvePublicKey, epoch: int, *, written: bool) -> bytes:
    """cpHash of the TPM2_NV_Write of an epoch to min_epoch, which may have been written before."""
    name = min_epoch_name(key, written=written)
    data = struct.pack(">H", EPOCH_BYTES) + epoch.to_bytes(EPOCH_BYTES, "big") + struct.pack(">H", 0)
    return _sha256(_word(_NV_WRITE), name, name, data)


def key_area(key: ec.EllipticCurvePublicKey) -> bytes:
    """TPMT_PUBLIC of the approval key, as the TPM is given it."""
    numbers = key.public_numbers()
    point = b"".join(struct.pack(">H32s", 32, part.to_bytes(32, "big")) for part in (numbers.x, numbers.y))
    head = struct.pack(">HHIH", _ECC, _SHA256, _VERIFIES, 0)
    return head + struct.pack(">HHHHH", _NULL, _ECDSA, _SHA256, _P256, _NULL) + point


def key_name(key: ec.EllipticCurvePublicKey) -> bytes:
    """The name by which PolicyAuthorize knows the approval key."""
    return _name(key_area(key))


def min_epoch_area(key: ec.EllipticCurvePublicKey, *, written: bool) -> bytes:
    """TPMS_NV_PUBLIC of min_epoch, before or after it was first written."""
    policy = authorized(key, EPOCH_REF)
    attributes = MIN_EPOCH_ATTRIBUTES | (_WRITTEN if written else 0)
    head = struct.pack(">IHI", MIN_EPOCH_INDEX, _SHA256, attributes)
    return head + struct.pack(">H32sH", len(policy), policy, EPOCH_BYTES)


def min_epoch_name(key: ec.EllipticCurvePublicKey, *, written: bool) -> bytes:
    return _name(min_epoch_area(key, written=written))


def _pcr(before: bytes, value: bytes) -> bytes:
    selected = bytearray(3)
    selected[PCR // 8] = 1 << PCR % 8
    selection = struct.pack(">IHB", 1, _SHA256, len(selected)) + selected
    return _sha256(before, _word(_POLICY_PCR), selection, _sha256(value))


def _not_older(key: ec.EllipticCurvePublicKey, before: bytes, epoch: int) -> bytes:
    operation = epoch.to_bytes(EPOCH_BYTES, "big") + struct.pack(">HH", 0, _UNSIGNED_LE)
    return _sha256(before, _word(_POLICY_NV), _sha256(operation), min_epoch_name(key, written=True))


def _cp_hash(before: bytes, parameters: bytes) -> bytes:
    return _sha256(before, _word(_POLICY_CP_HASH), parameters)


def _name(area: bytes) -> bytes:
    return struct.pack(">H", _SHA256) + _sha256(area)


def _word(command: int) -> bytes:
    return struct.pack(">I", command)


def _sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()
