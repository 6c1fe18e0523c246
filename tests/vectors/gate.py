"""The vector of the release gate: names, policies and approvals."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

from tests.vectors.plain import be64, cbor, h
from tests.vectors.scheme import described

_N = 2**256 - 2**224 + 2**192 - 0x4319055258E8617B0C46353D039CDAAF  # the order of P-256
ZERO = bytes(32)
MANIFEST = (
    b'{"boot":{"sha256":"'
    + b"2" * 64
    + b'"},"epoch":7,"format":1,"machine":"rpi4","name":"gateway-2026.11.1",'
    b'"root":{"sha256":"' + b"1" * 64 + b'"},"version":"2026.11.1"}\n'
)


def gate() -> dict[str, Any]:
    return described(
        "What a TPM is given for a release: its manifest, the approval key, that key's TPMT_PUBLIC and name, "
        "TPMS_NV_PUBLIC and names of min_epoch, the policies of root and min_epoch, the three "
        "that are signed, each with its aHash and a signature (r | s) after RFC 6979, and the approval.",
        # The x of the second key begins with a zero byte.
        cases=[_case("a release", 3, 7), _case("a key with a short x", _short(), 2**32 - 1)],
    )


def _case(name: str, number: int, epoch: int) -> dict[str, Any]:
    key = ec.derive_private_key(number, ec.SECP256R1())
    at = key.public_key().public_numbers()
    x, y = at.x.to_bytes(32, "big"), at.y.to_bytes(32, "big")
    area = _hex("0023 000B 00040000 0000 0010 0018 000B 0003 0010 0020") + x + _hex("0020") + y
    key_name = _hex("000B") + h(area)

    def made_with(ref: bytes) -> bytes:
        return h(h(ZERO + _hex("0000016A") + key_name) + ref)

    def nv_area(attributes: str) -> bytes:
        return _hex("01800101 000B", attributes, "0020") + made_with(b"gw1/epoch") + _hex("0008")

    before, after = (_hex("000B") + h(nv_area(attributes)) for attributes in ("02060008", "22060008"))
    release = h(MANIFEST)
    pcr = h(ZERO + release)
    shown = h(ZERO + _hex("0000017F 00000001 000B 03 004000") + h(pcr))

    def not_older(policy: bytes) -> bytes:
        return h(policy + _hex("00000149") + h(be64(epoch) + _hex("0000 0009")) + after)

    def written(policy: bytes, nv_name: bytes) -> bytes:
        write = h(_hex("00000137") + nv_name + nv_name + _hex("0008") + be64(epoch) + _hex("0000"))
        return h(policy + _hex("0000016E") + write)

    policies = {
        "opens": (not_older(shown), b"gw1/release"),
        "begins": (written(ZERO, before), b"gw1/epoch"),
        "raises": (written(not_older(ZERO), after), b"gw1/epoch"),
    }
    signed = {
        which: {
            "policy": policy.hex(),
            "reference": ref.decode(),
            "ahash": h(policy + ref).hex(),
            "signature": _sign(key, policy + ref).hex(),
        }
        for which, (policy, ref) in policies.items()
    }
    signatures = [bytes.fromhex(one["signature"]) for one in signed.values()]
    return {
        "case": name,
        "manifest": MANIFEST.decode(),
        "release": release.hex(),
        "epoch": epoch,
        "pcr14": pcr.hex(),
        "private": f"{number:064x}",
        "key_area": area.hex(),
        "key_name": key_name.hex(),
        "nv_area": nv_area("02060008").hex(),
        "nv_name": before.hex(),
        "nv_name_written": after.hex(),
        "root_policy": made_with(b"gw1/release").hex(),
        "min_epoch_policy": made_with(b"gw1/epoch").hex(),
        "signed": signed,
        "approval": cbor({1: "gw1/approval", 2: release, 3: epoch, **dict(enumerate(signatures, 4))}).hex(),
    }


def _hex(*parts: str) -> bytes:
    return bytes.fromhex(" ".join(parts))


def _sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True)))
    return r.to_bytes(32, "big") + min(s, _N - s).to_bytes(32, "big")


def _short() -> int:
    """The least number of a key whose x begins with a zero byte."""
    number = 1
    while ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers().x >> 248:
        number += 1
    return number
