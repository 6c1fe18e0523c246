"""What a boot says to the TPM: the release is measured once, and later it ends the older ones."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.appliance.keys import APPROVAL_KEY, APPROVAL_PUBLIC, make_keys
from gateway.appliance.release import MANIFEST, Release
from gateway.cli.main import main
from gateway.errors import UntrustedRelease
from gateway.trust import gate
from gateway.trust.opening import open_root
from gateway.trust.tpm.esapi import Context
from gateway.trust.tpm.gate import measurement
from gateway.trust.tpm.transport import locate
from tests.support.tpm import swtpm

RELEASE = Release("gateway-2026.11.1", "2026.11.1", 7, "rpi4", "1" * 64, "2" * 64)
LATER = Release("gateway-2026.12.1", "2026.12.1", 8, "rpi4", "3" * 64, "4" * 64)
DIGEST = hashlib.sha256(RELEASE.encode()).digest()


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[swtpm]:
    with swtpm(tmp_path / "tpm") as running:
        yield running


class Image:
    """An image's boot partition and keys, and the commands that its maker and its services run."""

    def __init__(self, folder: Path, tpm: swtpm, said: pytest.CaptureFixture[str]) -> None:
        self.boot, self.keys = folder / "boot", folder / "release-keys"
        self.boot.mkdir()
        make_keys(self.keys)
        self._tpm, self._said = tpm, said

    def bring(self, release: Release) -> None:
        """A new release in the slot, approved."""
        (self.boot / MANIFEST).write_bytes(release.encode())
        code, out, _ = self.run("approve", str(self.boot / MANIFEST), "--keys", str(self.keys))
        assert (code, out) == (
            0,
            f"{self.boot / 'approval.cbor'}: {release.name}, epoch {release.epoch}, is approved.\n",
        )

    def measure(self) -> tuple[int, str, str]:
        return self.run("measure", str(self.boot), "--tcti", self._tpm.tcti)

    def confirm(self) -> tuple[int, str, str]:
        return self.run("confirm", "--tcti", self._tpm.tcti)

    def run(self, *command: str) -> tuple[int, str, str]:
        code = main(["release", *command])
        said = self._said.readouterr()
        return code, said.out, said.err

    def pcr(self) -> bytes:
        context = Context(locate(self._tpm.tcti))
        try:
            return measurement(context)
        finally:
            context.close()


@pytest.fixture
def image(
    tmp_path: Path, tpm: swtpm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Image:
    made = Image(tmp_path, tpm, capsys)
    monkeypatch.setattr(gate, "APPROVAL_KEY", made.keys / APPROVAL_PUBLIC)
    monkeypatch.setattr(gate, "APPROVAL", made.boot / "approval.cbor")
    return made


def test_a_release_is_measured_once_at_each_boot(image: Image, tpm: swtpm) -> None:
    image.bring(RELEASE)
    assert image.measure() == (0, "gateway-2026.11.1 is measured.\n", "")
    shown = hashlib.sha256(bytes(32) + hashlib.sha256((image.boot / MANIFEST).read_bytes()).digest()).digest()
    for _ in range(2):
        assert image.pcr() == shown
        assert image.measure() == (0, "gateway-2026.11.1 was measured already.\n", "")
    image.bring(LATER)  # another slot, by a reboot alone
    code, out, err = image.measure()
    assert (code, out) == (7, "")
    assert "other software than gateway-2026.12.1" in err
    assert "power off and on" in err
    assert image.pcr() == shown
    tpm.power_cycle()
    assert image.measure() == (0, "gateway-2026.12.1 is measured.\n", "")


def test_no_release_is_measured_by_a_sentence(image: Image, tmp_path: Path) -> None:
    code, _, err = image.measure()
    assert (code, "the release's manifest cannot be read" in err) == (2, True)
    (image.boot / MANIFEST).write_bytes(b"{}\n")
    assert image.measure()[0] == 5
    (image.boot / MANIFEST).write_bytes(RELEASE.encode())
    code, _, err = image.run("measure", str(image.boot), "--tcti", f"swtpm:path={tmp_path}/none")
    assert (code, "there is no TPM at" in err) == (4, True)
    assert image.pcr() == bytes(32)


def test_a_life_of_an_image(image: Image, tpm: swtpm, tmp_path: Path) -> None:
    """The root of the first release opens for the next one; once that is confirmed, for the first no more."""

    def opened() -> bytes:
        async def use() -> bytes:
            root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
            try:
                return await root.hmac(b"label")
            finally:
                await root.aclose()

        return asyncio.run(use())

    def boot(release: Release) -> None:
        tpm.power_cycle()
        image.bring(release)

    image.bring(RELEASE)
    with pytest.raises(UntrustedRelease, match="was not measured at this boot"):
        opened()
    image.measure()
    answer = opened()
    for release in (LATER, RELEASE, LATER):
        boot(release)
        image.measure()
        assert opened() == answer
    assert image.confirm() == (0, "The root opens for releases of epoch 8 and later.\n", "")
    assert image.confirm() == (0, "The root opens for releases of epoch 8 and later.\n", "")
    boot(RELEASE)
    image.measure()
    with pytest.raises(UntrustedRelease, match="has epoch 7, and this machine has accepted none below 8"):
        opened()
    assert image.confirm()[1] == "The root opens for releases of epoch 8 and later.\n"


def test_without_an_approval_key_there_is_no_gate(image: Image) -> None:
    (image.keys / APPROVAL_PUBLIC).unlink()
    code, _, err = image.confirm()
    assert (code, "has no approval key" in err) == (2, True)


def test_a_damaged_approval_key_is_named(image: Image) -> None:
    image.bring(RELEASE)
    for damaged in (b"", b"-----BEGIN PUBLIC KEY-----\n", (image.keys / APPROVAL_KEY).read_bytes()):
        (image.keys / APPROVAL_PUBLIC).write_bytes(damaged)
        code, _, err = image.confirm()
        assert (code, "is not a P-256 public key in PEM" in err) == (4, True)


def test_what_cannot_be_approved(image: Image) -> None:
    manifest = image.boot / MANIFEST
    manifest.write_bytes(RELEASE.encode() + b"\n")
    code, _, err = image.run("approve", str(manifest), "--keys", str(image.keys))
    assert (code, "not in its canonical form" in err) == (5, True)
    manifest.write_bytes(RELEASE.encode())
    code, _, err = image.run("approve", str(manifest), "--keys", str(image.boot))
    assert (code, "there is no key at" in err) == (2, True)
    assert not (image.boot / "approval.cbor").exists()
