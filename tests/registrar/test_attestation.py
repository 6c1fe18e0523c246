"""The check of a TPM's evidence by the registrar, and the challenge: genuine, another's, forged, damaged."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from tpm2_pytss import TPM2_ALG, TPM2B_PUBLIC, TPMA_OBJECT

from gateway.errors import Refused, UsageError
from gateway.registrar.attestation import EkRoots, VerifiedTpm, make_credential, verify
from gateway.registry.evidence import Evidence
from gateway.trust.opening import open_root
from gateway.wire import es256
from tests.support.authority import Authority
from tests.support.endorsed import RSA_INDEX, certify_p256, put_certificate
from tests.support.tpm import maker, manufacture, swtpm

pytestmark = pytest.mark.slow

SECRET = bytes(range(60, 92))


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's folder, with what swtpm's maker publishes."""
    maker()
    folder = tmp_path_factory.mktemp("makers")
    for path in maker().certificates:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@dataclass(frozen=True)
class Genuine:
    """What a gateway on a real TPM sends, and its card's key."""

    evidence: Evidence
    spki: bytes
    roots: EkRoots

    @property
    def ek_spki(self) -> bytes:
        public, _ = TPM2B_PUBLIC.unmarshal(self.evidence.ek_public)
        return bytes(public.to_der())


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, makers: Path) -> dict[str, Genuine]:
    """By the kind of the endorsement key."""
    folder = tmp_path_factory.mktemp("genuine")

    async def gather(tcti: str) -> tuple[Evidence, bytes]:
        root = await open_root("tpm", folder / "trust", tcti)
        evidence = await root.evidence()
        await root.aclose()
        assert evidence is not None
        return evidence, root.public_key

    roots = EkRoots.load(makers)
    with swtpm(folder / "tpm") as running, asyncio.Runner() as runner:
        first = runner.run(gather(running.tcti))
        certify_p256(running.tcti)
        second = runner.run(gather(running.tcti))
    return {"RSA": Genuine(*first, roots), "P-256": Genuine(*second, roots)}


@pytest.fixture(params=["RSA", "P-256"])
def genuine(request: pytest.FixtureRequest, both: dict[str, Genuine]) -> Genuine:
    return both[request.param]


@pytest.fixture
def rsa_only(both: dict[str, Genuine]) -> Genuine:
    return both["RSA"]


# The whole loop


@pytest.mark.parametrize("kind", ["RSA", "P-256"])
async def test_a_genuine_tpm_is_verified_and_answers(
    tpm: swtpm, tmp_path: Path, makers: Path, kind: str
) -> None:
    if kind == "P-256":
        certify_p256(tpm.tcti)
    roots = EkRoots.load(makers)
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    evidence = await root.evidence()
    assert evidence is not None
    known = verify(evidence, root.public_key, roots)
    answer = await root.activate(*make_credential(known.ek_public, known.ak_name, SECRET))
    assert answer == SECRET
    assert known.model == {"RSA": "swtpm", "P-256": "SLB9670"}[kind]
    assert known.maker == {"RSA": "id:00001014", "P-256": "IFX"}[kind]
    tpm.power_cycle()
    again = await root.evidence()
    assert again is not None
    assert verify(again, root.public_key, roots) == known
    await root.aclose()


async def test_each_tpm_has_a_name_of_its_own(tpm: swtpm, tmp_path: Path, makers: Path) -> None:
    """And a challenge to one is nothing to the other."""
    roots = EkRoots.load(makers)
    manufacture(tmp_path / "other")
    with swtpm(tmp_path / "other") as second:
        known = []
        opened = [
            await open_root("tpm", tmp_path / name, each.tcti) for name, each in (("1", tpm), ("2", second))
        ]
        for root in opened:
            evidence = await root.evidence()
            assert evidence is not None
            known.append(verify(evidence, root.public_key, roots))
        assert known[0].ek != known[1].ek
        assert known[0].ak_name != known[1].ak_name
        for one in known:
            challenge = make_credential(one.ek_public, one.ak_name, SECRET)
            for root, its in zip(opened, known, strict=True):
                if one is its:
                    assert await root.activate(*challenge) == SECRET
                else:
                    with pytest.raises(Refused, match="challenge was not made for this TPM"):
                        await root.activate(*challenge)
        for root in opened:
            await root.aclose()


async def test_a_tpm_without_a_certificate_is_refused(tpm: swtpm, tmp_path: Path, makers: Path) -> None:
    put_certificate(tpm.tcti, RSA_INDEX, None)
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    evidence = await root.evidence()
    assert evidence is not None
    with pytest.raises(Refused, match="has no endorsement certificate, so nobody knows whether it is a TPM"):
        verify(evidence, root.public_key, EkRoots.load(makers))
    await root.aclose()


# Forged evidence

GOOD = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.SENSITIVEDATAORIGIN
GOOD |= TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.SIGN_ENCRYPT
GOOD_AK = GOOD | TPMA_OBJECT.RESTRICTED
BITS = {
    "fixedTPM": TPMA_OBJECT.FIXEDTPM,
    "fixedParent": TPMA_OBJECT.FIXEDPARENT,
    "sensitiveDataOrigin": TPMA_OBJECT.SENSITIVEDATAORIGIN,
    "sign": TPMA_OBJECT.SIGN_ENCRYPT,
    "restricted": TPMA_OBJECT.RESTRICTED,
}


def public_of(
    key: ec.EllipticCurvePrivateKey, attributes: int, algorithm: str = "ecc256:ecdsa-sha256:null", **area: Any
) -> Any:
    public = TPM2B_PUBLIC.parse(algorithm, objectAttributes=attributes, **area)
    point, size = key.public_key().public_numbers(), (key.key_size + 7) // 8
    unique = public.publicArea.unique
    unique.ecc.x, unique.ecc.y = point.x.to_bytes(size, "big"), point.y.to_bytes(size, "big")
    return public


def sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


class Forger:
    """Somebody with keys in software, who writes what a TPM would say of them, and has a genuine TPM's
    certificate."""

    def __init__(self) -> None:
        self.ak, self.signing = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.spki = es256.spki(self.signing.public_key())

    def forge(
        self,
        genuine: Genuine,
        *,
        ak: Any = None,
        signing: Any = None,
        magic: int = 0xFF544347,
        kind: int = 0x8017,
        certified: bytes | None = None,
        hierarchy: int = 0x4000000B,
        after: bytes = b"",
        signer: ec.EllipticCurvePrivateKey | None = None,
    ) -> Evidence:
        """By default indistinguishable, until the challenge."""
        ak = ak or public_of(self.ak, GOOD_AK)
        signing = signing or public_of(self.signing, GOOD)
        ak_name, name = bytes(ak.get_name()), bytes(signing.get_name())
        qualified = ak_name[:2] + hashlib.sha256(struct.pack(">I", hierarchy) + ak_name).digest()
        info = struct.pack(">IH", magic, kind) + sized(qualified) + sized(b"") + bytes(17) + bytes(8)
        info += sized(name if certified is None else certified) + sized(name) + after
        return replace(
            genuine.evidence,
            ak_public=ak.marshal(),
            signing_public=signing.marshal(),
            certify_info=info,
            certify_signature=es256.sign(signer or self.ak, info),
        )


async def test_software_keys_that_pose_as_a_tpms_fail_the_challenge(
    tpm: swtpm, tmp_path: Path, makers: Path
) -> None:
    """On paper they are the very TPM's; but the TPM has no such attestation key."""
    roots = EkRoots.load(makers)
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    evidence = await root.evidence()
    assert evidence is not None
    forger = Forger()
    known = verify(forger.forge(Genuine(evidence, root.public_key, roots)), forger.spki, roots)
    with pytest.raises(Refused, match="challenge was not made for this TPM"):
        await root.activate(*make_credential(known.ek_public, known.ak_name, SECRET))
    await root.aclose()


def refused(evidence: Evidence, spki: bytes, roots: EkRoots, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        verify(evidence, spki, roots)


@pytest.mark.parametrize("bit", BITS)
def test_an_attestation_key_that_a_tpm_does_not_hold_fast_is_refused(rsa_only: Genuine, bit: str) -> None:
    forger = Forger()
    loose = public_of(forger.ak, GOOD_AK & ~BITS[bit])
    refused(
        forger.forge(rsa_only, ak=loose),
        forger.spki,
        rsa_only.roots,
        f"attestation key lacks {bit}: .*only what",
    )


@pytest.mark.parametrize("bit", [bit for bit in BITS if bit != "restricted"])
def test_a_signing_key_that_a_tpm_does_not_hold_fast_is_refused(rsa_only: Genuine, bit: str) -> None:
    forger = Forger()
    loose = public_of(forger.signing, GOOD & ~BITS[bit])
    refused(
        forger.forge(rsa_only, signing=loose),
        forger.spki,
        rsa_only.roots,
        f"signing key lacks {bit}: .*stays there",
    )


@pytest.mark.parametrize("which", ["ak", "signing"])
@pytest.mark.parametrize(
    "algorithm",
    ["ecc256:ecdsa-sha384:null", "ecc256:ecdaa4-sha256:null", "ecc256:null", "ecc384:ecdsa-sha256:null"],
)
def test_a_key_for_another_signature_is_refused(rsa_only: Genuine, which: str, algorithm: str) -> None:
    forger = Forger()
    key = forger.ak if which == "ak" else forger.signing
    if "384:ecdsa" in algorithm:
        key = ec.generate_private_key(ec.SECP384R1())
    other = {which: public_of(key, GOOD_AK if which == "ak" else GOOD, algorithm)}
    refused(forger.forge(rsa_only, **other), forger.spki, rsa_only.roots, "key is not for ES256")


@pytest.mark.parametrize("which", ["ak", "signing"])
def test_a_name_by_another_hash_is_refused(rsa_only: Genuine, which: str) -> None:
    forger = Forger()
    key, good = (forger.ak, GOOD_AK) if which == "ak" else (forger.signing, GOOD)
    other = {which: public_of(key, good, nameAlg=TPM2_ALG.SHA384)}
    refused(forger.forge(rsa_only, **other), forger.spki, rsa_only.roots, "key is not for ES256")


@pytest.mark.parametrize("which", ["ak", "signing"])
def test_a_point_beside_the_curve_is_refused(rsa_only: Genuine, which: str) -> None:
    forger = Forger()
    public = public_of(forger.ak if which == "ak" else forger.signing, GOOD_AK if which == "ak" else GOOD)
    public.publicArea.unique.ecc.y = bytes(31) + b"\1"
    refused(forger.forge(rsa_only, **{which: public}), forger.spki, rsa_only.roots, "no point of P-256")


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ({"magic": 0xFF544348}, "not what TPM2_Certify makes"),
        ({"kind": 0x8018}, "not what TPM2_Certify makes"),  # a quote
        ({"kind": 0x801A}, "not what TPM2_Certify makes"),  # a creation
        ({"after": b"\0"}, "not what TPM2_Certify makes"),
        ({"certified": b"\0\x0b" + bytes(32)}, "certifies another key than the signing key"),
        ({"certified": b""}, "certifies another key than the signing key"),
        ({"hierarchy": 0x40000001}, "not a primary key of its TPM's endorsement hierarchy"),
        ({"signer": ec.generate_private_key(ec.SECP256R1())}, "not signed by the TPM's attestation key"),
    ],
)
def test_a_certification_of_anything_else_is_refused(
    rsa_only: Genuine, what: dict[str, Any], sentence: str
) -> None:
    forger = Forger()
    assert isinstance(verify(forger.forge(rsa_only), forger.spki, rsa_only.roots), VerifiedTpm)
    refused(forger.forge(rsa_only, **what), forger.spki, rsa_only.roots, sentence)


def test_a_signature_is_of_64_bytes(rsa_only: Genuine) -> None:
    """A zero before s may not be left out."""
    forger = Forger()
    while True:
        forged = forger.forge(rsa_only)
        signature = forged.certify_signature
        if signature[32] == 0:
            break
    assert verify(forged, forger.spki, rsa_only.roots)
    short = replace(forged, certify_signature=signature[:32] + signature[33:])
    refused(short, forger.spki, rsa_only.roots, "not signed by the TPM's attestation key")


def test_a_card_of_another_key_is_refused(genuine: Genuine) -> None:
    refused(genuine.evidence, Forger().spki, genuine.roots, "certifies another key than the card's")
    refused(genuine.evidence, b"", genuine.roots, "certifies another key than the card's")


def test_the_endorsement_key_must_be_of_the_profile(genuine: Genuine) -> None:
    """In each attribute, in its policy, its name's hash and its cipher."""
    sentence = "not of the TCG EK Credential Profile's templates"
    for bit in range(32):
        public, _ = TPM2B_PUBLIC.unmarshal(genuine.evidence.ek_public)
        public.publicArea.objectAttributes = int(public.publicArea.objectAttributes) ^ (1 << bit)
        refused(
            replace(genuine.evidence, ek_public=public.marshal()),
            genuine.spki,
            genuine.roots,
            "endorsement key",
        )
    for change in ("policy", "name", "cipher", "kind"):
        public, _ = TPM2B_PUBLIC.unmarshal(genuine.evidence.ek_public)
        area = public.publicArea
        if change == "policy":
            area.authPolicy = bytes(32)
        elif change == "name":
            area.nameAlg = TPM2_ALG.SHA1
        elif change == "cipher":
            area.parameters.asymDetail.symmetric.keyBits.aes = 256
        else:
            public = public_of(Forger().ak, GOOD_AK)
        refused(replace(genuine.evidence, ek_public=public.marshal()), genuine.spki, genuine.roots, sentence)


# Damage

# Of a serial number below 1, for one: `cryptography` reads such a certificate, and verifies none.
harmless = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")


FIELDS = [field.name for field in fields(Evidence)]


def bytes_of(evidence: Evidence, name: str) -> bytes:
    value = getattr(evidence, name)
    return b"".join(value) if name == "ek_certificates" else bytes(value)


def changed(evidence: Evidence, name: str, data: bytes) -> Evidence:
    value: Any = (data,) if name == "ek_certificates" else data
    return replace(evidence, **{name: value})


@harmless
@pytest.mark.parametrize("name", FIELDS)
def test_no_byte_may_be_changed(genuine: Genuine, name: str) -> None:
    data = bytes_of(genuine.evidence, name)
    for at in range(len(data)):
        other = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        refused(changed(genuine.evidence, name, other), genuine.spki, genuine.roots, ".")


@harmless
@settings(max_examples=300)
@given(
    name=st.sampled_from(FIELDS), at=st.floats(0, 1), length=st.integers(0, 80), put=st.binary(max_size=80)
)
def test_nothing_may_be_put_in_or_taken_out(
    both: dict[str, Genuine], name: str, at: float, length: int, put: bytes
) -> None:
    for genuine in both.values():
        data = bytes_of(genuine.evidence, name)
        first = int(at * len(data))
        other = data[:first] + put + data[first + length :]
        if other != data:
            refused(changed(genuine.evidence, name, other), genuine.spki, genuine.roots, ".")


@settings(max_examples=300)
@given(name=st.sampled_from(FIELDS), junk=st.binary(max_size=300))
def test_junk_is_refused(both: dict[str, Genuine], name: str, junk: bytes) -> None:
    for genuine in both.values():
        refused(changed(genuine.evidence, name, junk), genuine.spki, genuine.roots, ".")


# Certificates


def certified(genuine: Genuine, *certificates: bytes) -> Evidence:
    return replace(genuine.evidence, ek_certificates=certificates)


@pytest.fixture
def root() -> Authority:
    return Authority("a maker's root")


def test_a_chain_of_any_length_to_a_root_is_good(genuine: Genuine, root: Authority) -> None:
    middle = Authority("middle", root, path_length=0)
    roots = EkRoots([middle.certificate, root.certificate])
    for issuer in (root, middle):
        evidence = certified(genuine, issuer.certify(genuine.ek_spki))
        assert verify(evidence, genuine.spki, roots).ek == hashlib.sha256(genuine.ek_spki).digest()
    assert verify(evidence, genuine.spki, roots).maker == ""  # as this authority does not say


def test_a_foreign_certificate_is_refused(genuine: Genuine, root: Authority) -> None:
    sentence = "issued by CN=.*, leads to no root certificate that this registrar trusts"
    refused(genuine.evidence, genuine.spki, EkRoots([root.certificate]), sentence)
    namesake = Authority("a maker's root")
    evidence = certified(genuine, namesake.certify(genuine.ek_spki))
    refused(evidence, genuine.spki, EkRoots([root.certificate]), sentence)
    middle = Authority("middle", root)  # which the operator does not have
    evidence = certified(genuine, middle.certify(genuine.ek_spki))
    refused(evidence, genuine.spki, EkRoots([root.certificate]), sentence)
    stranger = Authority("stranger")
    middle = Authority("middle", stranger)  # which the operator has, but not its root
    evidence = certified(genuine, middle.certify(genuine.ek_spki))
    refused(evidence, genuine.spki, EkRoots([root.certificate, middle.certificate]), sentence)


def test_a_strangers_name_makes_no_line_of_its_own(genuine: Genuine, root: Authority) -> None:
    stranger = Authority("who\n2026-01-01 audit: all is well \x1b[2J", times=50)
    evidence = certified(genuine, stranger.certify(genuine.ek_spki))
    with pytest.raises(Refused, match="issued by CN=who") as told:
        verify(evidence, genuine.spki, EkRoots([root.certificate]))
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 800


@pytest.mark.parametrize("days", [(-20, -10), (10, 20)])
def test_a_certificate_that_is_not_valid_now_is_refused(
    genuine: Genuine, root: Authority, days: tuple[int, int]
) -> None:
    evidence = certified(genuine, root.certify(genuine.ek_spki, days=days))
    refused(evidence, genuine.spki, EkRoots([root.certificate]), r"not valid now: it is valid from \d{4}-")
    middle = Authority("middle", root, days=days)
    evidence = certified(genuine, middle.certify(genuine.ek_spki))
    refused(evidence, genuine.spki, EkRoots([root.certificate, middle.certificate]), "leads to no root")
    old = Authority("an old root", days=days)
    evidence = certified(genuine, old.certify(genuine.ek_spki))
    refused(evidence, genuine.spki, EkRoots([old.certificate]), "leads to no root")


@pytest.mark.parametrize(
    ("what", "below"),
    [({"is_ca": False}, False), ({"signs_certificates": False}, False), ({"path_length": 0}, True)],
)
def test_an_issuer_that_may_not_issue_is_refused(
    genuine: Genuine, root: Authority, what: dict[str, Any], below: bool
) -> None:
    middle = Authority("middle", root, **what)
    issuer = Authority("below", middle) if below else middle
    roots = EkRoots([root.certificate, middle.certificate, issuer.certificate])
    evidence = certified(genuine, issuer.certify(genuine.ek_spki))
    refused(evidence, genuine.spki, roots, "leads to no root certificate")


def test_a_certificate_for_something_else_is_refused(genuine: Genuine, root: Authority) -> None:
    roots = EkRoots([root.certificate])
    for usages in ((), (x509.ObjectIdentifier("2.23.133.8.3"),), (x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH,)):
        evidence = certified(genuine, root.certify(genuine.ek_spki, usages=usages))
        refused(
            evidence, genuine.spki, roots, "not of a TPM's endorsement key: it lacks the usage 2.23.133.8.1"
        )
    evidence = certified(genuine, root.certify(genuine.ek_spki, unknown=True))
    refused(evidence, genuine.spki, roots, "leads to no root certificate .*critical")


@pytest.mark.parametrize("which", ["issuer", "subject"])
def test_a_name_that_is_no_name_is_refused(rsa_only: Genuine, which: str) -> None:
    (data,) = rsa_only.evidence.ek_certificates
    name = getattr(x509.load_der_x509_certificate(data), which).public_bytes()
    broken = bytearray(name)
    broken[11] = 1  # the one common name's tag: of a boolean, and no longer of a string
    # And a critical extension that nobody knows, so that `cryptography` wants to say whose it is.
    broken_data = data.replace(name, bytes(broken)).replace(b"\x55\x1d\x11", b"\x55\x1d\x7f")
    changed = certified(rsa_only, broken_data)
    refused(changed, rsa_only.spki, rsa_only.roots, "certificate of the TPM's endorsement key cannot be read")


def test_another_keys_certificate_is_refused(both: dict[str, Genuine], root: Authority) -> None:
    one, two = both.values()
    refused(
        certified(one, *two.evidence.ek_certificates), one.spki, one.roots, "another TPM's endorsement key"
    )
    assert verify(
        certified(one, *two.evidence.ek_certificates, *one.evidence.ek_certificates), one.spki, one.roots
    )


# The operator's folder


def test_a_folder_of_pem_and_der_is_read(genuine: Genuine, makers: Path, tmp_path: Path) -> None:
    top, middle = (x509.load_pem_x509_certificate(path.read_bytes()) for path in maker().certificates)
    (tmp_path / "a.der").write_bytes(top.public_bytes(Encoding.DER))
    (tmp_path / "b.crt").write_bytes(middle.public_bytes(Encoding.DER))
    (tmp_path / ".hidden").write_bytes(b"")
    assert verify(genuine.evidence, genuine.spki, EkRoots.load(tmp_path))
    (tmp_path / "b.crt").unlink()
    (tmp_path / "a.der").write_bytes(b"comment\n" + b"".join(p.read_bytes() for p in maker().certificates))
    assert verify(genuine.evidence, genuine.spki, EkRoots.load(tmp_path))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "file.pem cannot be read as an X.509 certificate in PEM or DER"),
        (b"a note", "file.pem cannot be read as an X.509 certificate in PEM or DER"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "file.pem cannot be read as"),
        (None, "there is no root certificate of a TPM maker: add the self-signed one"),
    ],
)
def test_a_folder_that_is_of_no_use_is_told(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "file.pem").write_bytes(content)
    with pytest.raises(UsageError, match=f"{tmp_path}: {sentence}"):
        EkRoots.load(tmp_path)


def test_intermediates_alone_are_no_roots(tmp_path: Path) -> None:
    maker()
    (tmp_path / "middle.pem").write_bytes(maker().certificates[1].read_bytes())
    with pytest.raises(UsageError, match="there is no root certificate"):
        EkRoots.load(tmp_path)
    forged = Authority("middle", Authority("middle"))  # its issuer has its name, and another key
    with pytest.raises(UsageError, match="there is no root certificate"):
        EkRoots([forged.certificate])


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="makers cannot be read: No such file or directory"):
        EkRoots.load(tmp_path / "makers")
