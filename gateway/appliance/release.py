"""The manifest of a release, release.json, and the detached signature beside it, release.json.sig.

    {"boot":{"sha256":"9f..."},"epoch":7,"format":1,"machine":"rpi4","name":"gateway-2026.11.1",
     "root":{"sha256":"11...","verity":"c0..."},"version":"2026.11.1"}

The file is this on one line: canonical JSON, with sorted keys, without spaces, and with a newline at its end.
So a release has one manifest, byte by byte, and a hash of the file names the release. It lies in the boot
partition, beside kernel and initrd.

- `version` is the one that people see: three numbers, compared one after the other.
- `epoch` is a number that only grows, by one with each release that older ones must not come back after.
- `machine` is the board; RAUC's "compatible" is `gateway-` and this.
- `root` has the SHA-256 of the root file system's image and, where the root is verified block by block, the
  root hash of its dm-verity tree.
- `boot` has the digest of the boot partition's files (`boot_digest`). Its image cannot be hashed as a whole,
  because the manifest lies in it.

The signature is ECDSA over P-256 with SHA-256, in DER (RFC 3279, section 2.2.3), by the update key:
`openssl dgst -sha256 -verify PUBLIC -signature release.json.sig release.json` checks it too.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.errors import Refused, UsageError
from gateway.host.files import read_private

FORMAT = 1
MANIFEST = "release.json"
SIGNATURE = "release.json.sig"
MOST_EPOCH = 2**32 - 1
MOST_BYTES = 64 * 1024
"""Of a manifest; one has about 400."""
NOT_OF_BOOT = (MANIFEST, SIGNATURE, "approval.cbor")
"""Files of the boot partition that are made once its other files are known, so that no digest has them."""

_ALGORITHM = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_VERSION = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_MACHINE = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Release:
    """A release for one machine. Hashes are 64 hexadecimal digits; `verity` is None without dm-verity."""

    name: str
    version: str
    epoch: int
    machine: str
    root: str
    boot: str
    verity: str | None = None

    def __post_init__(self) -> None:
        """UsageError for a value that no manifest may have."""
        for field, pattern, expected in (
            ("name", _NAME, 'a name of a to z, 0 to 9, "." and "-", such as "gateway-2026.11.1"'),
            ("version", _VERSION, 'three numbers without leading zeros, such as "2026.11.1"'),
            ("machine", _MACHINE, 'a name of a to z, 0 to 9 and "-", such as "rpi4"'),
            ("root", _HASH, "the 64 hexadecimal digits of a SHA-256"),
            ("boot", _HASH, "the 64 hexadecimal digits of a SHA-256"),
            ("verity", _HASH, "the 64 hexadecimal digits of a root hash"),
        ):
            value = getattr(self, field)
            if field == "verity" and value is None:
                continue
            if not isinstance(value, str) or pattern.fullmatch(value) is None:
                raise UsageError(f"{field} of a release is {value!r}, but must be {expected}")
        if type(self.epoch) is not int or not 1 <= self.epoch <= MOST_EPOCH:
            raise UsageError(
                f"epoch of a release is {self.epoch!r}, but must be a whole number from 1 to {MOST_EPOCH}"
            )

    @property
    def order(self) -> tuple[int, ...]:
        """The version's numbers, by which releases are compared."""
        return tuple(map(int, self.version.split(".")))

    @property
    def compatible(self) -> str:
        """What RAUC calls the machine."""
        return f"gateway-{self.machine}"

    def document(self) -> dict[str, Any]:
        """The manifest, decoded."""
        root = {"sha256": self.root} if self.verity is None else {"sha256": self.root, "verity": self.verity}
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "epoch": self.epoch,
            "machine": self.machine,
            "root": root,
            "boot": {"sha256": self.boot},
        }

    def encode(self) -> bytes:
        """The content of release.json."""
        return canonical(self.document())

    @classmethod
    def decode(cls, data: bytes, what: str = MANIFEST) -> Self:
        """The release that the manifest `data` describes; `what` names it in a sentence. Refused for what is
        not a manifest in its canonical form."""
        release = cls.from_document(decode_object(data, what), what)
        if release.encode() != data:
            raise Refused(
                f"{what} is not in its canonical form: sorted keys, no spaces, one newline at its end"
            )
        return release

    @classmethod
    def from_document(cls, document: dict[str, Any], what: str) -> Self:
        """As `decode`, of decoded JSON."""
        number = document.get("format")
        if number != FORMAT or isinstance(number, bool):
            raise Refused(f"{what} has format {number!r}: this gateway reads format {FORMAT}")
        root, boot = document.get("root"), document.get("boot")
        expected = {"format", "name", "version", "epoch", "machine", "root", "boot"}
        if (
            set(document) != expected
            or not isinstance(root, dict)
            or not {"sha256"} <= set(root) <= {"sha256", "verity"}
            or ("verity" in root and root["verity"] is None)
            or not isinstance(boot, dict)
            or set(boot) != {"sha256"}
        ):
            raise Refused(
                f"{what} is not a release's manifest: it must have the keys {', '.join(sorted(expected))}, "
                "root with sha256 and perhaps verity, boot with sha256, and nothing else"
            )
        try:
            return cls(
                name=document["name"],
                version=document["version"],
                epoch=document["epoch"],
                machine=document["machine"],
                root=root["sha256"],
                boot=boot["sha256"],
                verity=root.get("verity"),
            )
        except UsageError as error:
            raise Refused(f"{what}: {error}") from None


def canonical(document: dict[str, Any]) -> bytes:
    """JSON with sorted keys, without spaces, in ASCII, and a newline."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode_object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object; Refused, with `what` in the sentence, for anything else."""
    if len(data) > MOST_BYTES:
        raise Refused(f"{what} has more than {MOST_BYTES} bytes: it is not a manifest")
    try:
        document = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError):
        raise Refused(f"{what} is not JSON: it is damaged, or another file") from None
    if not isinstance(document, dict):
        raise Refused(f"{what} is not a JSON object: it is damaged, or another file")
    return document


def sign(key: ec.EllipticCurvePrivateKey, manifest: bytes) -> bytes:
    """The content of release.json.sig: DER, 70 to 72 bytes, the same each time (RFC 6979), so that an image
    can be built again byte by byte."""
    return key.sign(manifest, _ALGORITHM)


def check_signature(
    key: ec.EllipticCurvePublicKey, manifest: bytes, signature: bytes, what: str = MANIFEST
) -> None:
    """Refused unless `signature` is the update key's over the bytes `manifest`, which `what` names."""
    try:
        key.verify(signature, manifest, _ALGORITHM)
    except InvalidSignature:
        raise Refused(
            f"{what} is not signed by the update key that this machine trusts: it was changed, or comes from "
            "somebody else"
        ) from None


def read_release(folder: Path, key: ec.EllipticCurvePublicKey | None = None) -> Release:
    """The release whose manifest lies in `folder`, a mounted boot partition; with `key` its signature is
    checked first. UsageError where there is none, Refused where it is invalid."""
    path = folder / MANIFEST
    manifest = read_file(path, "the release's manifest")
    if key is not None:
        signature = folder / SIGNATURE
        if not signature.exists():
            raise Refused(f"{path} has no signature beside it, {SIGNATURE}: `gateway release sign` makes it")
        check_signature(key, manifest, read_file(signature, "the manifest's signature"), str(path))
    return Release.decode(manifest, str(path))


def read_file(path: Path, what: str) -> bytes:
    """A file's content; UsageError, with `what` in the sentence, where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{what} cannot be read from {path}: {error.strerror}") from None


def boot_digest(folder: Path) -> str:
    """The digest of a boot partition's files, but for NOT_OF_BOOT at its top: the SHA-256 of one line for
    each file, sorted by its path's bytes, of its SHA-256, two spaces and its path from `folder` on, as
    sha256sum(1) prints them. UsageError where a file cannot be read."""
    lines = []
    try:
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and name not in NOT_OF_BOOT:
                lines.append((name.encode(), file_digest(path)))
    except OSError as error:
        raise UsageError(f"the boot partition's files cannot be read: {error}") from None
    if not lines:
        raise UsageError(f"{folder} has no files: expected a boot partition's, such as kernel and initrd")
    listing = b"".join(digest.encode() + b"  " + name + b"\n" for name, digest in sorted(lines))
    return hashlib.sha256(listing).hexdigest()


def file_digest(path: Path) -> str:
    """A file's SHA-256, hexadecimal. OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_certificate(path: Path) -> ec.EllipticCurvePublicKey:
    """The update key, out of the certificate in the PEM file `path`. UsageError where there is none."""
    try:
        key = x509.load_pem_x509_certificate(read_file(path, "the update certificate")).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{path} is not a certificate in PEM: expected update.cert.pem") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"the certificate {path} is not of a P-256 key: expected update.cert.pem")
    return key


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The private key in the PEM file `path`. UsageError where there is none, or all users may read it."""
    pem = read_private(
        path, "the key", f"there is no key at {path}: `gateway release new-keys` makes a release's keys"
    )
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UsageError(f"{path} is not a private key in PEM without a passphrase") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"the key {path} is not a P-256 key: `gateway release new-keys` makes such keys")
    return key
