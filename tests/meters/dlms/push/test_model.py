"""What a profile says of a meter that pushes DLMS, and mistakes in it."""

from __future__ import annotations

import pytest

from gateway.errors import UsageError
from gateway.meters.dlms.push.model import DlmsPushModel
from gateway.meters.profile import parse_profile

HEAD = """
id = "x"
protocol = "dlms-push"
products = ["X"]
source = ["https://example.org"]
status = "community"
caveats = []
"""


def model(text: str) -> DlmsPushModel:
    parsed = parse_profile(HEAD + text, "x.toml").model
    assert isinstance(parsed, DlmsPushModel)
    return parsed


def test_a_whole_model() -> None:
    read = model(
        """
transport = "m-bus"
encrypted = true
serial_object = "0-0:96.1.0"
zone = "Europe/Vienna"
energy_scaler = 1
hourly_s = 10
[[list]]
items = ["-", "drawn"]
"""
    )
    assert (read.transport, read.encrypted, read.lanes) == ("m-bus", True, ("import", "export", "power"))
    assert read.form.serial == bytes((0, 0, 96, 1, 0, 255))
    assert (str(read.form.zone), read.form.energy_scaler, read.form.hourly_s) == ("Europe/Vienna", 1, 10)
    assert read.form.places == {2: ("-", "drawn")}


def test_the_least_model() -> None:
    read = model('transport = "hdlc"')
    assert not read.encrypted
    assert (read.form.serial, read.form.zone, read.form.hourly_s, dict(read.form.places)) == (
        None,
        None,
        None,
        {},
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "transport is missing"),
        ('transport = "tcp"', "transport is 'tcp'; it must be one of hdlc, m-bus"),
        ('transport = "hdlc"\nencrypted = 1', "encrypted is 1; it must be true or false"),
        ('transport = "hdlc"\nserial_object = "96.1.0"', "serial_object is '96.1.0'"),
        ('transport = "hdlc"\nserial_object = "0-0:999.1.0"', "not an OBIS code"),
        ('transport = "hdlc"\nzone = "Europe/Atlantis"', "zone is Europe/Atlantis; it must be a time zone"),
        (
            'transport = "hdlc"\nenergy_scaler = 9',
            "energy_scaler is 9; it must be a whole number from -3 to 6",
        ),
        (
            'transport = "hdlc"\n[[list]]\nitems = ["power"]',
            "items have 'power'; each must be one of import,",
        ),
        ('transport = "hdlc"\n[[list]]\nitems = ["drawn"]\nname = 1', "name is not a known key"),
        ('transport = "hdlc"\nbaud = 2400', "baud is not a known key"),
    ],
)
def test_a_mistake_is_named(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        model(text)


def test_two_lists_of_one_length_are_refused() -> None:
    with pytest.raises(UsageError, match="two lists have 1 items"):
        model('transport = "hdlc"\n[[list]]\nitems = ["drawn"]\n[[list]]\nitems = ["given"]')
