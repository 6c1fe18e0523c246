"""The units: systemd understands each, it is as closed as it is meant to be, and timers go by UTC. Asked of
this machine's systemd, and of that which the appliance has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import trixie

FOLDER = Path(__file__).parents[2] / "systemd"
UNITS = sorted(FOLDER.iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
MOST = 15
"""Tenths of exposure. What is left is the network, and of the gateway its devices."""
OPENER = {
    # It runs once, as root: mounts the card's FAT partition, names the machine, starts units.
    "gateway-first-boot.service": 29,
}

with_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here: apt-get install systemd"
)


def values(key: str, unit: str = "gateway.service") -> list[str]:
    return re.findall(rf"^{key}=(.*)$", (FOLDER / unit).read_text(), re.MULTILINE)


def names(units: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", [unit.name for unit in units])


@with_systemd
@names(UNITS)
def test_systemd_understands_it(name: str, tmp_path: Path) -> None:
    for unit in UNITS:  # they name each other
        # The program is not installed here.
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text)
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / name],
        capture_output=True,
        text=True,
        check=False,
    )
    # systemd before 254 does not know the steps, and says that it ignores them.
    unknown = [
        line for line in result.stderr.splitlines() if not re.search("RestartSteps|RestartMaxDelay", line)
    ]
    assert unknown == []
    assert result.returncode == 0


@with_systemd
@names(SERVICES)
def test_exposure(name: str) -> None:
    result = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=yes",
            f"--threshold={OPENER.get(name, MOST)}",
            "--no-pager",
            FOLDER / name,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


@pytest.fixture(scope="module")
def debian() -> trixie.Trixie:
    """A Debian 13 that has all units."""
    if sentence := trixie.missing():
        pytest.skip(sentence)
    found = trixie.made()
    found.put(UNITS)
    return found


@pytest.mark.slow
def test_the_appliances_systemd_is_that_of_debian_13(debian: trixie.Trixie) -> None:
    assert debian.run("systemctl", "--version").stdout.startswith("systemd 257 ")


@pytest.mark.slow
@names(UNITS)
def test_the_appliances_systemd_understands_it(debian: trixie.Trixie, name: str) -> None:
    result = debian.run("systemd-analyze", "verify", "--man=no", f"/etc/systemd/system/{name}")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
@names(SERVICES)
def test_exposure_by_the_appliances_systemd(debian: trixie.Trixie, name: str) -> None:
    most = OPENER.get(name, MOST)
    unit = f"/etc/systemd/system/{name}"
    result = debian.run(
        "systemd-analyze", "security", "--offline=yes", f"--threshold={most}", "--no-pager", unit
    )
    assert result.returncode == 0, result.stdout
    if name in OPENER:  # no more open than it is now
        tenths = re.search(r"exposure level for \S+: (\d+)\.(\d)", result.stdout)
        assert tenths is not None
        assert int("".join(tenths.groups())) > MOST, f"{name} needs no exception any more"


@names([unit for unit in UNITS if unit.suffix == ".timer"])
def test_a_timer_goes_by_utc(name: str) -> None:
    moments = values("OnCalendar", name)
    assert all(moment.endswith(" UTC") for moment in moments), moments
    assert moments or values("On(?:Boot|Startup|UnitActive|UnitInactive)Sec", name)


@pytest.mark.slow
@names([unit for unit in UNITS if unit.suffix == ".timer"])
def test_a_timers_moments_are_some(debian: trixie.Trixie, name: str) -> None:
    for moment in values("OnCalendar", name):
        assert debian.run("systemd-analyze", "calendar", moment).returncode == 0, moment


@names(SERVICES)
def test_a_service_has_a_user_who_is_not_root(name: str) -> None:
    assert name in OPENER or values("User", name)[0].startswith("gateway")


@names(SERVICES)
def test_an_absent_credential_keeps_no_service_from_starting(name: str) -> None:
    """systemd passes over one that is named in its own store, not by a path; each is encrypted."""
    assert values("LoadCredential", name) == []
    for credential in values("LoadCredentialEncrypted", name):
        label, _, stored = credential.partition(":")
        assert stored == f"{name.removesuffix('.service')}.{label}"


def test_starts_without_network_time_and_credential() -> None:
    assert values("Requires") == []
    assert values("StartLimitIntervalSec") == ["0"]
    # systemd passes over an absent credential if it is named in its own store, not by a path.
    assert [credential.partition(":")[0] for credential in values("LoadCredentialEncrypted")] == [
        "s3",
        "meter-main",
    ]
    assert "/" not in "".join(values("LoadCredentialEncrypted"))


def test_a_lockout_of_the_tpm_ends_before_credentials_open() -> None:
    assert "gateway-measure.service" in " ".join(values("Wants")).split()
    assert "gateway.service" in " ".join(values("Before", "gateway-measure.service")).split()
    assert values("ConditionPathExists", "gateway-measure.service") == ["/dev/tpmrm0"]
    assert "write_unit gateway-measure.service" in (FOLDER.parent / "provisioning/install.sh").read_text()


def test_may_ask_for_the_clocks_state() -> None:
    """One small service may, and no program that faces a network needs to."""
    may = {unit.name for unit in UNITS if "clock_adjtime" in unit.read_text()}
    assert may == {"gateway-clock.service"}
    for name in ("gateway.service", "gateway-updater.service"):  # which trust no other clock
        assert "gateway-clock.service" in " ".join(values("Wants", name)).split()
    assert "clock_adjtime" in values("SystemCallFilter", "gateway-clock.service")
    assert values("ProtectClock", "gateway-clock.service") == []
    assert values("PrivateNetwork", "gateway-clock.service") == ["yes"]
    assert "gateway-clock.service" not in " ".join(values("After"))
    assert values("ProtectClock") == ["yes"]
    installed = (FOLDER.parent / "provisioning/install.sh").read_text()
    assert "write_unit gateway-clock.service" in installed


def test_the_sandbox_lets_datagrams_of_meters_in() -> None:
    """Multicast needs IPv4 sockets, and no filter of addresses (SMA's Speedwire, group 239.12.255.254)."""
    assert "AF_INET" in " ".join(values("RestrictAddressFamilies")).split()
    for key in ("IPAddressDeny", "SocketBindDeny", "PrivateNetwork", "RestrictNetworkInterfaces"):
        assert not values(key), key
