"""[mqtt.home] and [mqtt.utility] in `household.toml`: what is read, and a sentence for each mistake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import credential
from gateway.errors import UsageError
from gateway.household.configuration import HouseholdConfig
from tests.household.mqtt.conftest import KID


def load(tmp_path: Path, text: str) -> HouseholdConfig:
    file = tmp_path / "household.toml"
    file.write_text(text)
    return HouseholdConfig.load(file)


def test_files_are_relative_to_the_configuration_and_ports_are_the_usual_ones(tmp_path: Path) -> None:
    for name in ("key.pem", "password"):
        (tmp_path / name).write_text("geheim\n")
        (tmp_path / name).chmod(0o600)
    config = load(
        tmp_path,
        '[mqtt.home]\nurl = "mqtt://[::1]"\nusername = "me"\npassword = "./password"\n'
        '[mqtt.utility]\nurl = "mqtts://broker.example"\nca = "ca.pem"\n'
        'certificate = "./own.pem"\nkey = "./key.pem"\n',
    )
    assert config.mqtt.home is not None
    assert config.mqtt.utility is not None
    home, utility = config.mqtt.home.access(), config.mqtt.utility.access(KID)
    assert (home.url, home.username, home.password) == ("mqtt://[::1]:1883", "me", "geheim")
    assert "geheim" not in repr(home)
    assert (utility.url, utility.client_id) == ("mqtts://broker.example:8883", f"gw1-{KID}")
    assert (utility.ca, utility.certificate) == (tmp_path / "ca.pem", tmp_path / "own.pem")


def test_without_a_file_there_is_no_broker(tmp_path: Path) -> None:
    config = HouseholdConfig.load(tmp_path / "none.toml", required=False)
    assert (config.mqtt.home, config.mqtt.utility) == (None, None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '[mqtt.home]\nurl = "mqtt://me:geheim@h"',
            "[mqtt] home url holds a login; it belongs into a file of",
        ),
        ('[mqtt.home]\nurl = "mqtt://h"\nusername = "me"', "[mqtt] home needs both username and password"),
        ('[mqtt.home]\nurl = "mqtt://h"\ntopics = "a/#"', '[mqtt] home.topics is "a/#"; it must be'),
        ('[mqtt.utility]\nurl = "mqtts://h"', "[mqtt] utility needs certificate and key"),
        ('[mqtt.utility]\nurl = "mqtts://h"\ncertificate = "/c"', "utility needs both certificate and key"),
        ('[mqtt.utility]\nurl = "mqtt://h"\ncertificate = "/c"\nkey = "/k"', "reached over TLS only"),
        ('[mqtt.utility]\nurl = "mqtts://h"\ncertificat = "/c"', "did you mean certificate?"),
    ],
)
def test_a_mistake_has_a_sentence_and_no_secret(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert sentence in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_password_that_everybody_could_read_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim")
    (tmp_path / "password").chmod(0o644)
    config = load(tmp_path, '[mqtt.home]\nurl = "mqtt://h"\nusername = "me"\npassword = "./password"\n')
    assert config.mqtt.home is not None
    with pytest.raises(UsageError, match="is open to every user of this machine"):
        config.mqtt.home.access()


@pytest.mark.parametrize("within", [True, False])
def test_credentials_go_by_the_names_that_the_unit_gives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, within: bool
) -> None:
    """In the service, and where root runs a command beside it."""
    unit = (Path(__file__).parents[3] / "systemd/gateway-household.service").read_text()
    given = tmp_path / "credentials/gateway-household.service"
    given.mkdir(parents=True)
    for name in re.findall(r"^LoadCredentialEncrypted=([\w-]+):", unit, re.MULTILINE):
        (given / name).write_text(name)
        (given / name).chmod(0o400)
    monkeypatch.setattr(credential, "_RUNNING", given.with_name("gateway.service"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if within:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    config = load(
        tmp_path,
        '[mqtt.home]\nurl = "mqtts://h"\nusername = "me"\npassword = "mqtt-password"\n'
        'certificate = "mqtt-home-certificate"\nkey = "mqtt-home-key"\n'
        '[mqtt.utility]\nurl = "mqtts://broker.example"\n'
        'certificate = "mqtt-utility-certificate"\nkey = "mqtt-utility-key"\n',
    )
    assert config.mqtt.home is not None
    assert config.mqtt.utility is not None
    home, utility = config.mqtt.home.access(), config.mqtt.utility.access(KID)
    assert home.password == "mqtt-password"
    assert (home.certificate, home.key) == (given / "mqtt-home-certificate", given / "mqtt-home-key")
    assert utility.key == given / "mqtt-utility-key"
    assert len(list(given.iterdir())) == 5
