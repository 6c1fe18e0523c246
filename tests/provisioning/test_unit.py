"""The service's unit: systemd understands it, and it is as closed as it is meant to be."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "systemd"
UNIT = FOLDER / "gateway.service"
# Tenths. What is left is the network, and of the gateway its devices and asking for the clock's state.
EXPOSURE = {
    "gateway.service": 17,
    "gateway-measure.service": 4,
    "gateway-confirm.service": 4,
    "gateway-household.service": 13,
    "gateway-registrar.service": 15,
}

with_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here: apt-get install systemd"
)


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


@with_systemd
@pytest.mark.parametrize("name", EXPOSURE)
def test_systemd_understands_it(name: str, tmp_path: Path) -> None:
    unit = FOLDER / name
    copy = tmp_path / name
    # The program is not installed here.
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    # systemd before 254 does not know the steps, and says that it ignores them.
    unknown = [
        line for line in result.stderr.splitlines() if not re.search("RestartSteps|RestartMaxDelay", line)
    ]
    assert unknown == []
    assert result.returncode == 0


@with_systemd
@pytest.mark.parametrize(("name", "tenths"), EXPOSURE.items())
def test_exposure(name: str, tenths: int) -> None:
    result = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=yes",
            f"--threshold={tenths}",
            "--no-pager",
            FOLDER / name,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_starts_without_network_time_and_credential() -> None:
    assert values("Requires") == []
    assert values("StartLimitIntervalSec") == ["0"]
    # systemd passes over an absent credential if it is named in its own store, not by a path.
    [credential] = values("LoadCredentialEncrypted")
    assert "/" not in credential


def test_may_ask_for_the_clocks_state() -> None:
    assert "clock_adjtime" in values("SystemCallFilter")
    assert values("ProtectClock") == []


def test_the_sandbox_lets_datagrams_of_meters_in() -> None:
    """Multicast needs IPv4 sockets, and no filter of addresses (SMA's Speedwire, group 239.12.255.254)."""
    assert "AF_INET" in " ".join(values("RestrictAddressFamilies")).split()
    for key in ("IPAddressDeny", "SocketBindDeny", "PrivateNetwork", "RestrictNetworkInterfaces"):
        assert not values(key), key
