"""What a profile says of a meter that pushes DLMS, and mistakes in it."""

from __future__ import annotations

import pytest

from gateway.errors import UsageError
from gateway.meters.dlms.push.layouts import Item, Layout
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
tariffs = 2
[[list]]
items = ["u16/u32", "octets 0-0:96.1.0 = ISK*", "u32 1-0:1.7.0"]
"""
    )
    assert (read.transport, read.encrypted, read.lanes) == ("m-bus", True, ("import", "export", "power"))
    assert read.form.serial == bytes((0, 0, 96, 1, 0, 255))
    assert (str(read.form.zone), read.form.energy_scaler, read.form.hourly_s) == ("Europe/Vienna", 1, 10)
    assert read.form.tariffs == 2
    drawn = Item(frozenset({"u32"}), bytes((1, 0, 1, 7, 0, 255)))
    number = Item(frozenset({"octets"}), bytes((0, 0, 96, 1, 0, 255)), "ISK*")
    assert read.form.layouts == (Layout((Item(frozenset({"u16", "u32"})), number, drawn)),)


def test_the_least_model() -> None:
    read = model('transport = "hdlc"')
    assert not read.encrypted
    form = read.form
    assert (form.serial, form.zone, form.hourly_s, form.layouts, form.tariffs) == (None, None, None, (), None)


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
            r"items have 'power', which has the type power; the types are array, .*, u8$",
        ),
        (
            'transport = "hdlc"\n[[list]]\nitems = ["u32  1.7.0"]',
            r"items have 'u32  1.7.0', which must be like 'u16',",
        ),
        ('transport = "hdlc"\n[[list]]\nitems = ["u32 1.7.0"]', r"which '1.7.0' is not an OBIS code"),
        ('transport = "hdlc"\n[[list]]\nitems = ["u32 = 5"]', r"which has a text, but its type is neither"),
        ('transport = "hdlc"\ntariffs = 0', r"tariffs is 0; it must be a whole number from 1 to 9"),
        ('transport = "hdlc"\n[[list]]\nitems = ["u32 1-0:1.7.0"]\nname = 1', "name is not a known key"),
        ('transport = "hdlc"\nbaud = 2400', "baud is not a known key"),
    ],
)
def test_a_mistake_is_named(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        model(text)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ('"u32"', '"u32 1-0:1.7.0"', False),
        ('"u16/u32"', '"u32"', False),
        ('"u16"', '"u32"', True),
        ('"u32"', '"u32", "u32"', True),
        ('"octets"', '"date-time"', False),
        ('"time"', '"date-time"', True),
        ('"octets = ISK*"', '"octets"', False),
        ('"octets = ISK*"', '"octets = ISK84"', False),
        ('"octets = ISK*"', '"octets = I*"', False),
        ('"octets = UP_1f"', '"octets = UP_3f"', True),
        ('"octets = ISK*"', '"octets = KFM_001"', True),
        ('"octets = ISK"', '"octets = ISK84"', True),
    ],
)
def test_two_lists_that_cannot_be_told_apart_are_refused(one: str, other: str, apart: bool) -> None:
    for first, second in ((one, other), (other, one)):
        text = f'transport = "hdlc"\n[[list]]\nitems = [{first}]\n[[list]]\nitems = [{second}]'
        if apart:
            assert len(model(text).form.layouts) == 2
        else:
            with pytest.raises(UsageError, match=r"x.toml: lists 1 and 2 cannot be told apart"):
                model(text)
