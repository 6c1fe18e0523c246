"""What the doctor is told of a TPM."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from tpm2_pytss import TPM2_ALG
from tpm2_pytss.utils import NoSuchIndex

from gateway.errors import TrustError, UsageError
from gateway.trust.tpm import attest, esapi
from gateway.trust.tpm.health import Health, inspect
from gateway.trust.tpm.transport import locate
from tests.support.tpm import swtpm
from tests.trust.conftest import Roots
from tests.trust.tpm.bus import Bus, another_user
from tests.trust.tpm.test_root import lock_out


async def test_a_healthy_tpm(tpm: swtpm) -> None:
    health = await inspect(tpm.tcti)
    assert health.manufacturer == "IBM"  # whose code swtpm runs
    assert re.fullmatch(r"\d+\.\d+", health.firmware)
    assert re.fullmatch(r"1\.\d\d", health.revision)
    assert health.missing == ()
    assert not health.lockout
    assert (health.sha256, health.certified, health.outdated) == (True, True, None)
    assert "tpm" not in {thread.name for thread in threading.enumerate()}


async def test_a_tpm_without_a_certificate_or_a_sha256_bank(
    tpm: swtpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(index: int) -> bytes:
        raise NoSuchIndex(index)

    monkeypatch.setattr(attest, "NVReadEK", lambda _: nothing)
    monkeypatch.setattr(esapi, "TPM2_ALG", SimpleNamespace(SHA256=TPM2_ALG.SM3_256))
    health = await inspect(tpm.tcti)
    assert (health.sha256, health.certified) == (False, False)


@pytest.mark.parametrize(
    ("manufacturer", "firmware", "outdated"),
    [
        ("IFX", "7.62", "7.83"),
        ("IFX", "7.83", None),
        ("IFX", "15.20", None),
        ("IFX", "5.90", "7.83"),
        ("NTC", "1.2", None),
    ],
)
def test_old_firmware(manufacturer: str, firmware: str, outdated: str | None) -> None:
    health = Health(manufacturer, firmware, "1.38", (), lockout=False, sha256=True, certified=True)
    assert health.outdated == outdated


async def test_what_it_lacks_is_named(tpm: swtpm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(esapi, "NEEDED_COMMANDS", ("Create", "FieldUpgradeStart", "HMAC"))
    assert (await inspect(tpm.tcti)).missing == ("TPM2_FieldUpgradeStart",)


async def test_lockout_shows(tpm: swtpm) -> None:
    with another_user(tpm.tcti) as operator:
        lock_out(operator)
    assert (await inspect(tpm.tcti)).lockout


async def test_a_tpm_that_is_not_there(tpm: swtpm) -> None:
    tpm.stop()
    with pytest.raises(TrustError, match=r"does not answer|there is no TPM at"):
        await inspect(tpm.tcti)
    tpm.start()
    assert (await inspect(tpm.tcti)).missing == ()
    with pytest.raises(UsageError, match="is not a TPM's address"):
        await inspect("usb")


async def test_it_disturbs_no_gateway(bus: Bus, tpm: swtpm, roots: Roots, tmp_path: Path) -> None:
    root = await roots(tmp_path, bus.transport)
    before, commands = await root.hmac(b"label"), len(bus.seen)
    await inspect(tpm.tcti)
    assert await root.hmac(b"label") == before
    assert len(bus.seen) == commands + 1  # on the same connection as before


def test_no_command_is_written_into_a_file(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    file.write_bytes(b"what it holds")
    with pytest.raises(TrustError, match="is not a TPM: expected a device"):
        locate(f"device:{file}").connect()
    assert file.read_bytes() == b"what it holds"
