"""The appliance's root under the real systemd, in a container: its units, its sandbox, a reading sealed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.appliance import Appliance, missing
from tests.support.tpm import swtpm

pytestmark = pytest.mark.slow

GATEWAY = Path(sys.executable).with_name("gateway")
GATEWAY_ID = 900
"""The number of the user and of the group gateway, which image/inside.sh makes."""
STORE = "var/lib/gateway/store"
CONFIGURATION = """
[gateway]
commit_seconds = 1
[clock]
source = "host"
[trust]
root = "tpm"
tcti = "swtpm:path=/run/tpm/tpm"
[stream]
unit_ms = 1000
link_units = 10
chunk_units = 10
[store]
url = "/var/lib/gateway/store"
[[meter]]
name = "main"
profile = "eastron-sdm630"
tcp = { host = "127.0.0.1", port = 5020 }
[first-boot]
hostname = "house"
setup-code = "abcde-fghjk"
"""


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """One that has booted with a configuration and a meter."""
    if sentence := missing():
        if os.environ.get("GATEWAY_REQUIRE_NSPAWN") == "1":
            pytest.fail(sentence)
        pytest.skip(sentence)
    folder = tmp_path_factory.mktemp("appliance")
    with swtpm(folder / "tpm") as tpm:
        sockets = Path(tpm.tcti.removeprefix("swtpm:path=")).parent
        board = Appliance(folder, sockets)
        (board.config / "gateway.toml").write_text(CONFIGURATION)
        store = board.data / STORE
        store.mkdir(parents=True)
        shutil.chown(store, GATEWAY_ID, GATEWAY_ID)
        for path in (sockets, *sockets.iterdir()):
            path.chmod(0o777)
        with board:
            board.run(
                *("systemd-run", "--quiet", "--unit=meter", "/usr/local/bin/gateway"),
                *("simulate", "modbus", "--port", "5020"),
            )
            yield board


def units(board: Appliance) -> list[str]:
    """The gateway's own services."""
    listed = board.run("systemctl", "list-unit-files", "--output=json", "gateway*.service").stdout
    return [unit["unit_file"] for unit in json.loads(listed)]


def test_every_unit_starts(appliance: Appliance) -> None:
    failed = appliance.run("systemctl", "list-units", "--failed", "--no-legend", "--plain").stdout
    assert failed == ""
    active = appliance.run(
        "systemctl", "is-active", "gateway", "gateway-household", "nftables", "avahi-daemon"
    )
    assert active.stdout.split() == ["active"] * 4


OPEN = {
    # As root it mounts the card's FAT partition, names the machine, and encrypts under the TPM.
    "gateway-first-boot.service": 29,
}
"""Of the units that systemd scores worse than 1.5: the most, in tenths."""


def test_units_are_right_and_confined(appliance: Appliance) -> None:
    found = units(appliance)
    assert {"gateway.service", "gateway-household.service", "gateway-updater.service"} <= {*found}
    for unit in found:
        assert appliance.run("systemd-analyze", "verify", "--man=no", unit).stderr == ""
        most = f"--threshold={OPEN.get(unit, 15)}"
        score = appliance.run("systemd-analyze", "security", "--no-pager", most, unit, check=False)
        assert score.returncode == 0, score.stdout[-300:]


def test_the_end_of_the_journal_is_kept(appliance: Appliance) -> None:
    """Of what is of importance, with what was said just before the machine is switched off."""
    appliance.run("systemd-cat", "--priority=warning", "echo", "the last words")
    appliance.run("systemctl", "stop", "gateway-journal")
    kept = appliance.run("cat", "/var/log/journal-tail/current").stdout
    appliance.run("systemctl", "start", "gateway-journal")
    assert "the last words" in kept
    assert len(kept.splitlines()) > 1


def test_a_boot_that_ends_in_an_emergency_is_tried_again(appliance: Appliance) -> None:
    shown = appliance.run(
        *("systemctl", "show", "emergency.service", "--property=FailureAction,RuntimeMaxUSec")
    ).stdout
    assert {*shown.split()} == {"FailureAction=reboot", "RuntimeMaxUSec=5min"}


def test_root_is_read_only(appliance: Appliance) -> None:
    for place in ("/usr/file", "/etc/file", "/opt/gateway/file", "/root/file"):
        assert "Read-only file system" in appliance.run("touch", place, check=False).stderr
    appliance.run("touch", "/var/lib/file", "/etc/gateway/file")


def test_nobody_logs_in_with_a_password_or_over_the_network(appliance: Appliance) -> None:
    accounts = [line.split(":") for line in appliance.run("getent", "shadow").stdout.splitlines()]
    assert [name for name, password, *_ in accounts if password[0] not in "!*"] == []
    assert appliance.run("systemctl", "is-active", "ssh", check=False).stdout.strip() == "inactive"
    ruleset = json.loads(appliance.run("nft", "--json", "list", "ruleset").stdout)["nftables"]
    chains = {entry["chain"]["name"]: entry["chain"]["policy"] for entry in ruleset if "chain" in entry}
    assert chains == {"input": "drop", "forward": "drop"}
    assert [entry["set"]["elem"] for entry in ruleset if "set" in entry] == [[8443]]


def test_the_owners_file_is_taken_over_once_and_wiped(appliance: Appliance) -> None:
    assert tomllib.loads((appliance.config / "gateway.toml").read_text()) == {}
    report = json.loads(appliance.run("cat", "/run/gateway-first-boot.json").stdout)
    assert (report["state"], report["errors"]) == ("done", [])
    taken = appliance.run("cat", "/etc/gateway/gateway.toml").stdout
    assert "first-boot" not in taken
    assert 'name = "main"' in taken
    appliance.run("systemctl", "restart", "gateway-first-boot")
    assert json.loads(appliance.run("cat", "/run/gateway-first-boot.json").stdout)["state"] == "nothing"
    assert appliance.run("cat", "/etc/gateway/gateway.toml").stdout == taken


def test_the_setup_code_is_on_the_console(appliance: Appliance) -> None:
    shown = appliance.run("cat", "/run/issue.d/gateway.issue").stdout
    assert "abcde-fghjk" in shown
    assert "https://house.local:8443" in shown


def test_a_provider_opens_what_it_sealed(appliance: Appliance, tmp_path: Path) -> None:
    provider = tmp_path / "provider"
    subprocess.run([GATEWAY, "provider", "new", provider, "--name", "Utility"], check=True)
    (appliance.data / "card.cose").write_bytes((provider / "card.cose").read_bytes())
    shown = subprocess.run(
        [GATEWAY, "card", "show", provider / "card.cose", "--json"], check=True, capture_output=True
    )

    def of_the_stream() -> list[str]:
        done = appliance.run("gateway", "status", "--json", check=False).stdout
        status = json.loads(done) if done else None
        if status is None or status["meters"][0]["stream"] is None:
            return []
        return ["--stream", status["meters"][0]["stream"], "--signer", status["signer"]]

    appliance.until("begin its stream", of_the_stream)
    appliance.run(
        *("gateway", "grant", "new", "--to", "/data/card.cose", "--fingerprint"),
        *(json.loads(shown.stdout)["fingerprint"], "--granularity", "10s", "--purpose", "a test", "--json"),
    )

    def opened() -> list[int]:
        done = subprocess.run(
            [
                *(GATEWAY, "provider", "read", "--key", provider, "--store", appliance.data / STORE),
                *(*of_the_stream(), "--granularity", "10s", "--json"),
            ],
            capture_output=True,
            check=False,
        )
        rows = json.loads(done.stdout)["rows"] if done.stdout else []
        return [sum(sums.values()) for row in rows if (sums := row["sums"])]  # the sun may cover what is used

    appliance.until("seal a window with energy that the provider can open", lambda: any(opened()))
