"""Profiles of text: what they may say, and a message for each mistake."""

from __future__ import annotations

import pytest

from gateway.errors import UsageError
from gateway.meters.iec62056.model import TextModel, TextPushModel
from gateway.meters.iec62056.registers import Term
from gateway.meters.profile import parse_profile

GOOD = """
id = "some-meter"
protocol = "text-push"
products = ["Some Meter"]
source = ["https://example.org/manual at revision 1"]
status = "vendor-doc"
caveats = []
makers = ["ISK"]
interval_s = 2
rollover_kwh = 1_000_000
tariffs = 2
energy_unit = "kWh"
[serial]
baud = 9600
parity = "even"
stop_bits = 1
data_bits = 7
[registers]
import = "1.8.0"
power = ["16.7.0", "1.7.0-2.7.0", "-2.7.255"]
"""
ASKED = GOOD.replace("text-push", "text").replace("interval_s = 2", "interval_s = 15\nfixed_speed = true")


def test_a_good_profile() -> None:
    model = parse_profile(GOOD, "some-meter.toml").model
    assert isinstance(model, TextPushModel)
    assert model.lanes == ("import", "power")
    assert model.rollover == {"import": 10**12}
    assert model.silence_s == 20
    assert model.registers.power == (
        (Term("16.7.0", 1),),
        (Term("1.7.0", 1), Term("2.7.0", -1)),
        (Term("2.7.255", -1),),
    )
    assert not model.registers.checked


def test_a_good_profile_of_a_meter_that_is_asked() -> None:
    model = parse_profile(ASKED, "some-meter.toml").model
    assert isinstance(model, TextModel)
    assert (model.interval_s, model.fixed_speed, model.registers.checked) == (15, True, True)


def test_a_unit_that_the_profile_names_stands_for_one_that_is_missing() -> None:
    model = parse_profile(GOOD, "some-meter.toml").model
    assert isinstance(model, TextPushModel)
    text = b"/ISK5X\r\n1-0:1.8.0*255(000001.2963)\r\n16.7.0(12)\r\n!\r\n"
    (error,) = TextPushModel.decoder(model, None).feed(text)  # type: ignore[arg-type]
    assert str(error) == "register 16.7.0 is in '', which is not a unit of power such as kW"
    (telegram,) = model.decoder(None).feed(text.replace(b"(12)", b"(12*W)"))  # type: ignore[arg-type]
    assert telegram.registers == {"import": 1_296_300, "power": 12}  # type: ignore[union-attr]


def test_all_tariffs_must_add_up_where_their_number_is_known() -> None:
    model = parse_profile(GOOD, "some-meter.toml").model
    assert isinstance(model, TextPushModel)
    text = b"/ISK5X\r\n1.8.0(900.0*kWh)\r\n1.8.1(400.0*kWh)\r\n1.8.2(400.0*kWh)\r\n!\r\n"
    (error,) = model.decoder(None).feed(text)  # type: ignore[arg-type]
    assert "900.000 kWh in all, but 800.000 kWh as the sum of its tariffs" in str(error)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('makers = ["ISK"]', 'makers = ["iskra"]', "makers has 'iskra'; each must be three capital letters"),
        ("interval_s = 2", "interval_s = 0", "interval_s is 0; it must be a whole number from 1 to 60"),
        ("rollover_kwh = 1_000_000", "rollover_kwh = 1", "rollover_kwh is 1; it must be a whole number from"),
        ("tariffs = 2", "tariffs = 10", "tariffs is 10; it must be a whole number from 1 to 9"),
        ('"kWh"', '"kvarh"', "energy_unit is 'kvarh'; it must be one of Wh, kWh, MWh"),
        ('import = "1.8.0"', 'import = "1.8.1"', "registers.import is '1.8.1'; it must be a string like"),
        ("import =", "imports =", "registers.imports is not a known key; did you mean import?"),
        (
            '"16.7.0"',
            '"16.8.0"',
            "registers.power has '16.8.0'; each must be a sum of codes, such as 1.7.0-2.7",
        ),
        ("[registers]", "[register]", "registers is missing"),
        ("interval_s = 2", "interval_s = 2\nfixed_speed = true", "fixed_speed is not a known key"),
    ],
)
def test_each_mistake_is_a_sentence(old: str, new: str, sentence: str) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as caught:
        parse_profile(GOOD.replace(old, new, 1), "some-meter.toml")
    assert str(caught.value).startswith(f"some-meter.toml: {sentence}")
