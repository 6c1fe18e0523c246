"""The profiles of SML meters: all of them decode, and their mistakes are sentences."""

from __future__ import annotations

import pytest

from gateway.errors import UsageError
from gateway.meters.endpoint import SerialSettings
from gateway.meters.profile import load_profile, parse_profile, profile_ids
from gateway.meters.reading import Telegram
from gateway.meters.secrets import Secrets
from gateway.meters.sml.model import SmlModel
from tests.meters.sml.public import public_frame

GOOD = """
id = "some-meter"
protocol = "sml"
products = ["Some Meter"]
source = ["https://example.org/frame"]
status = "community"
caveats = []
lanes = ["import", "power"]
[serial]
baud = 9600
parity = "none"
stop_bits = 1
"""


@pytest.mark.parametrize(
    "profile_id", [one for one in profile_ids() if isinstance(load_profile(one).model, SmlModel)]
)
def test_each_profile_reads_a_frame(profile_id: str) -> None:
    profile = load_profile(profile_id)
    assert isinstance(profile.model, SmlModel)
    assert profile.serial == SerialSettings(9600, "none", 1)
    (telegram,) = profile.model.decoder(Secrets()).feed(public_frame("iskra-mt175"))
    assert isinstance(telegram, Telegram)
    assert set(telegram.registers) >= set(profile.lanes)


def test_a_good_profile() -> None:
    model = parse_profile(GOOD, "some-meter.toml").model
    assert model == SmlModel(("import", "power"))
    assert model.rollover == {}
    assert model.silence_s == 30


@pytest.mark.parametrize(
    ("lanes", "sentence"),
    [
        ('["import", "gas"]', "lanes are import, gas; each must be one of import, export, power, once"),
        ('["power", "power"]', "lanes are power, power; each must be one of import, export, power, once"),
        ("[]", "lanes must be a list of strings, at least one"),
        ('["power"]\nquirk = 1', "quirk is not a known key"),
    ],
)
def test_each_mistake_is_a_sentence(lanes: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=f"some-meter.toml: {sentence}"):
        parse_profile(GOOD.replace('["import", "power"]', lanes), "some-meter.toml")
