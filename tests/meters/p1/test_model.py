"""The profiles of P1 meters: what they need, and their mistakes as sentences."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

import pytest

from gateway.errors import UsageError
from gateway.meters.endpoint import SerialSettings
from gateway.meters.p1.model import P1Model
from gateway.meters.profile import load_profile, parse_profile, profile_ids
from gateway.meters.reading import Telegram
from gateway.meters.secrets import Secrets
from gateway.simulate.home import Home
from gateway.simulate.p1 import P1Meter
from tests.meters.bench import NOON_S, StillClock

GOOD = """
id = "some-meter"
protocol = "p1"
products = ["Some Meter"]
source = ["https://example.org/standard"]
status = "community"
caveats = []
interval_s = 10
rollover_kwh = 1_000_000
checksum = true
encrypted = true
authentication_key = "00112233445566778899aabbccddeeff"
[serial]
baud = 115200
parity = "none"
stop_bits = 1
[registers]
import = ["1-0:1.8.1", "1-0:1.8.2"]
drawn = ["1-0:1.7.0"]
given = ["1-0:2.7.0"]
serial = "0-0:96.1.1"
zone = "Europe/Brussels"
"""
KEYS = Secrets(bytes(range(16)), bytes(range(16, 32)))
MODELS = {
    one: profile.model for one in profile_ids() if isinstance((profile := load_profile(one)).model, P1Model)
}


@pytest.mark.parametrize("profile_id", MODELS)
def test_each_profile_reads_its_meter(profile_id: str) -> None:
    model = MODELS[profile_id]
    assert isinstance(model, P1Model)
    clock = StillClock()
    home = Home(3, NOON_S - 500)
    meter = P1Meter(home, model, clock, KEYS)
    decoder = model.decoder(KEYS)
    for _ in range(3):
        (item,) = decoder.feed(meter.telegram())
        assert isinstance(item, Telegram)
        assert item.registers == {
            "import": home.import_mwh // 1000 * 1000,
            "export": home.export_mwh // 1000 * 1000,
            "power": home.power,
        }
        assert item.serial == "E0012345678900126"
        assert item.meter_time == home.second * 10**9
        assert meter.telegram() == b""
        clock.pass_s(model.interval_s)
        meter.live.catch_up()


def test_the_oldest_speak_seven_bits() -> None:
    profile = load_profile("dsmr-2.2")
    assert profile.serial == SerialSettings(9600, "even", 1, data_bits=7)
    assert isinstance(profile.model, P1Model)
    assert not profile.model.checked


def test_a_good_profile() -> None:
    model = parse_profile(GOOD, "some-meter.toml").model
    assert isinstance(model, P1Model)
    assert model.lanes == ("import", "power")
    assert model.rollover == {"import": 10**12}
    assert model.silence_s == 60
    assert model.registers.zone == ZoneInfo("Europe/Brussels")
    assert "001122" not in repr(model)


def test_the_check_sequences_that_a_profile_accepts() -> None:
    def checks(lines: str) -> tuple[str, ...]:
        model = parse_profile(GOOD.replace("checksum = true", lines), "some-meter.toml").model
        assert isinstance(model, P1Model)
        return model.checks

    assert checks("checksum = true") == ("arc",)
    assert checks('checksum = true\ncrc = ["x25"]') == ("x25",)
    assert checks('checksum = true\ncrc = ["x25", "arc"]') == ("arc", "x25")
    assert checks("checksum = false") == ()


def test_keys() -> None:
    shared = parse_profile(GOOD, "some-meter.toml").model
    own = parse_profile(re.sub("authentication_key.*\n", "", GOOD), "some-meter.toml").model
    plain = parse_profile(re.sub("(encrypted|authentication_key).*\n", "", GOOD), "some-meter.toml").model
    for model in (shared, own, plain):
        assert isinstance(model, P1Model)
        model.decoder(KEYS)
    assert isinstance(shared, P1Model)
    assert isinstance(own, P1Model)
    assert isinstance(plain, P1Model)
    plain.decoder(Secrets())
    shared.decoder(Secrets(KEYS.encryption_key))
    with pytest.raises(UsageError, match="encryption_key is needed"):
        shared.decoder(Secrets())
    with pytest.raises(UsageError, match="authentication_key is needed too"):
        own.decoder(Secrets(KEYS.encryption_key))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("interval_s = 10", "interval_s = 0", "interval_s is 0; it must be a whole number from 1 to 60"),
        ("1_000_000", "1_000", "rollover_kwh is 1000; it must be a whole number from 10000"),
        ("checksum = true", "checksum = 1", "checksum is 1; it must be true or false"),
        ("encrypted = true", "", "authentication_key is not a known key"),
        (
            "encrypted = true",
            'encrypted = true\ncrc = ["arc", "kermit"]',
            "crc is arc, kermit; each must be one of arc, x25, once",
        ),
        ("checksum = true", 'checksum = false\ncrc = ["arc"]', "crc is not a known key"),
        (
            "encrypted = true",
            'encrypted = true\nsystem_title = "zero"',
            "system_title is 'zero'; it must be one of sent, none",
        ),
        (
            'zone = "',
            'tariffs = 0\nzone = "',
            "registers.tariffs is 0; it must be a whole number from 1 to 9",
        ),
        (
            'zone = "',
            'channels = [1, 300]\nzone = "',
            "registers.channels must be a list of whole numbers from 0",
        ),
        ("eeff", "eef", "authentication_key is '00112233445566778899aabbccddeef'; it must be a string like"),
        ("import = [", "imports = [", "registers.imports is not a known key"),
        ('"1-0:1.8.1"', '"1.8.1"', "registers.import has '1.8.1'; each must be a code such as 1-0:1.8.1"),
        ("given =", "# given =", "registers.drawn and registers.given belong together"),
        ('"0-0:96.1.1"', '"96.1.1"', "registers.serial is '96.1.1'; it must be a string like"),
        ("Europe/Brussels", "Brussels", "registers.zone is 'Brussels'; it must be a string like"),
        ("Europe/Brussels", "Europe/Atlantis", "registers.zone is 'Europe/Atlantis'; it must be a time zone"),
        ("[registers]", "[register]", "registers is missing"),
    ],
)
def test_each_mistake_is_a_sentence(old: str, new: str, sentence: str) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as caught:
        parse_profile(GOOD.replace(old, new, 1), "some-meter.toml")
    assert str(caught.value).startswith(f"some-meter.toml: {sentence}")
