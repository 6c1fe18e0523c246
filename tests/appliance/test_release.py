"""A release's manifest has one form, and its signature is openssl's."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gateway.appliance import release as releases
from gateway.appliance.keys import UPDATE_CERTIFICATE, UPDATE_KEY, make_keys
from gateway.appliance.release import MOST_EPOCH, Release
from gateway.errors import Refused, UsageError

HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
NUMBERS = st.integers(0, 999_999_999)
RELEASES = st.builds(
    Release,
    name=st.from_regex(r"[a-z0-9][a-z0-9.-]{0,63}", fullmatch=True),
    version=st.tuples(NUMBERS, NUMBERS, NUMBERS).map(lambda numbers: ".".join(map(str, numbers))),
    epoch=st.integers(1, MOST_EPOCH),
    machine=st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True),
    root=HASHES,
    boot=HASHES,
    verity=st.none() | HASHES,
)
RELEASE = Release("gateway-2026.11.1", "2026.11.1", 7, "rpi4", "1" * 64, "2" * 64)


@given(RELEASES)
def test_a_manifest_comes_back_as_it_was_and_has_one_form(release: Release) -> None:
    data = release.encode()
    assert Release.decode(data) == release
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert data.count(b"\n") == 1
    assert len(data) < releases.MOST_BYTES


@given(RELEASES, st.binary(max_size=300))
def test_other_bytes_are_another_release_or_refused(release: Release, noise: bytes) -> None:
    """Whatever comes: what decodes encodes to the same bytes."""
    data = release.encode()
    for changed in (noise, data + b"\n", data[:-1], b" " + data, data.replace(b":", b": ", 1)):
        with pytest.raises(Refused):
            Release.decode(changed)


@given(RELEASES, st.data())
def test_a_changed_byte_is_another_release_or_refused(release: Release, data: st.DataObject) -> None:
    encoded = bytearray(release.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = Release.decode(bytes(encoded))
    except Refused:
        return
    assert decoded != release
    assert decoded.encode() == bytes(encoded)


def _set(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            document = document[parent]
        if value is ...:
            del document[last]
        else:
            document[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("format", 2, "reads format 1"),
        ("format", True, "reads format 1"),
        ("format", ..., "reads format 1"),
        ("epoch", 0, "epoch of a release is 0"),
        ("epoch", True, "epoch of a release is True"),
        ("epoch", 1.0, "epoch of a release is 1.0"),
        ("epoch", MOST_EPOCH + 1, "from 1 to"),
        ("version", "2026.11", "three numbers"),
        ("version", "2026.011.1", "without leading zeros"),
        ("version", 2026, "three numbers"),
        ("machine", "RPI4", 'such as "rpi4"'),
        ("name", "../x", "a name of"),
        ("name", "x\n", "a name of"),
        ("root", "1" * 64, "not a release's manifest"),
        ("root.sha256", "1" * 63, "the 64 hexadecimal digits"),
        ("root.sha256", ..., "not a release's manifest"),
        ("root.verity", None, "not a release's manifest"),
        ("root.verity", "A" * 64, "root hash"),
        ("boot.sha256", 1, "the 64 hexadecimal digits"),
        ("boot.verity", "1" * 64, "not a release's manifest"),
        ("extra", 1, "not a release's manifest"),
    ],
)
def test_what_a_manifest_may_not_have_is_refused(path: str, value: object, said: str) -> None:
    document = copy.deepcopy(RELEASE.document())
    _set(path, value)(document)
    with pytest.raises(Refused, match=said):
        Release.decode(releases.canonical(document))


@pytest.mark.parametrize("data", [b"", b"[]\n", b"{", b"\xff", b"[" * 60_000, b"{}" * 60_000, b'{"a":NaN}'])
def test_what_is_not_a_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        Release.decode(data)


def test_versions_are_compared_number_by_number() -> None:
    def order(version: str) -> tuple[int, ...]:
        return Release("x", version, 1, "x", "1" * 64, "1" * 64).order

    assert order("2026.2.9") < order("2026.11.0") < order("2026.11.1") < order("2027.0.0")


def test_openssl_reads_what_is_signed_and_signs_what_is_read(tmp_path: Path) -> None:
    files = make_keys(tmp_path / "keys")
    assert {path.stat().st_mode & 0o777 for name, path in files.items() if ".key." in name} == {0o600}
    key, public = (
        releases.read_key(files[UPDATE_KEY]),
        releases.read_certificate(files[UPDATE_CERTIFICATE]),
    )
    manifest, signature = tmp_path / "release.json", tmp_path / "release.json.sig"
    manifest.write_bytes(RELEASE.encode())
    signature.write_bytes(releases.sign(key, RELEASE.encode()))
    assert releases.read_release(tmp_path, public) == RELEASE
    assert releases.sign(key, RELEASE.encode()) == signature.read_bytes(), "an image is to be the same again"

    def openssl(*words: str) -> bytes:
        return subprocess.run(["openssl", *words], check=True, capture_output=True).stdout

    spki = tmp_path / "public.pem"
    spki.write_bytes(openssl("x509", "-in", str(files[UPDATE_CERTIFICATE]), "-noout", "-pubkey"))
    check = ("dgst", "-sha256", "-verify", str(spki), "-signature", str(signature), str(manifest))
    assert openssl(*check) == b"Verified OK\n"
    openssl("dgst", "-sha256", "-sign", str(files[UPDATE_KEY]), "-out", str(signature), str(manifest))
    assert releases.read_release(tmp_path, public) == RELEASE

    manifest.write_bytes(RELEASE.encode().replace(b"rpi4", b"rpi5"))
    with pytest.raises(Refused, match="not signed by the update key"):
        releases.read_release(tmp_path, public)
    with pytest.raises(Refused, match="not signed by the update key"):
        releases.check_signature(
            ec.generate_private_key(ec.SECP256R1()).public_key(), RELEASE.encode(), signature.read_bytes()
        )
    for nothing in (b"", b"\0" * 70, signature.read_bytes()[:-1], signature.read_bytes() + b"\0"):
        with pytest.raises(Refused, match="not signed by the update key"):
            releases.check_signature(public, RELEASE.encode(), nothing)


def test_keys_are_made_once(tmp_path: Path) -> None:
    files = make_keys(tmp_path)
    before = {path: path.read_bytes() for path in files.values()}
    with pytest.raises(UsageError, match="is there already"):
        make_keys(tmp_path)
    files[UPDATE_KEY].unlink()
    with pytest.raises(UsageError, match="is there already"):
        make_keys(tmp_path)
    assert not files[UPDATE_KEY].exists()
    with pytest.raises(UsageError, match="new-keys"):
        releases.read_key(files[UPDATE_KEY])
    for wrong in (files[UPDATE_CERTIFICATE], tmp_path):
        with pytest.raises(UsageError):
            releases.read_key(wrong)
    for wrong in (tmp_path, files["approval.pub.pem"]):
        with pytest.raises(UsageError):
            releases.read_certificate(wrong)
    assert all(before[path] == path.read_bytes() for path in files.values() if path.exists())


def test_the_digest_of_a_boot_partition_is_sha256sums(tmp_path: Path) -> None:
    (tmp_path / "overlays").mkdir()
    for name, content in (("kernel8.img", b"k"), ("config.txt", b""), ("overlays/tpm.dtbo", b"d")):
        (tmp_path / name).write_bytes(content)
    listing = subprocess.run(
        ["sh", "-c", "find . -type f | sed 's,^./,,' | LC_ALL=C sort | xargs sha256sum"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    ).stdout
    digest = releases.boot_digest(tmp_path)
    assert digest == hashlib.sha256(listing).hexdigest()
    for name in releases.NOT_OF_BOOT:
        (tmp_path / name).write_bytes(b"later")
    assert releases.boot_digest(tmp_path) == digest
    for change in (
        lambda: (tmp_path / "overlays/release.json").write_bytes(b"not at the top"),
        lambda: (tmp_path / "config.txt").write_bytes(b"x"),
        lambda: (tmp_path / "config.txt").rename(tmp_path / "config2.txt"),
    ):
        change()
        assert releases.boot_digest(tmp_path) != digest
        digest = releases.boot_digest(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="has no files"):
        releases.boot_digest(tmp_path / "empty")
