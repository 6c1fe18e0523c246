"""A tariff's file: what a person may write, and a sentence for everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.chain.prices import Dynamic, Rule, TimeOfUse
from gateway.chain.tariff import Tariff
from gateway.config.tariff import load_tariff
from gateway.errors import UsageError
from gateway.wire.tariff import read_tariff_body, tariff_body

TIME_OF_USE = """
currency = "EUR"
zone = "Europe/Berlin"

[[import]]
price = "0.3215"
days = ["fri", "mon", "tue", "wed", "thu"]
from = "06:00"
until = "22:00"

[[import]]
price = "0.24"

[[export]]
price = "-0.081"
"""

DYNAMIC = """
currency = "CHF"
step = "1h"

[import]
start = 2026-11-01T00:00:00+01:00
prices = ["0.10321", "-0.00500", "0", "1e-2"]
"""


def load(tmp_path: Path, text: str) -> Tariff:
    path = tmp_path / "tariff.toml"
    path.write_text(text, encoding="utf-8")
    return load_tariff(path)


def test_time_of_use(tmp_path: Path) -> None:
    """All prices get the decimals of the finest."""
    assert load(tmp_path, TIME_OF_USE) == Tariff(
        "EUR",
        4,
        "Europe/Berlin",
        900_000,
        {
            "import": TimeOfUse((Rule(3215, (0, 1, 2, 3, 4), 360, 1320), Rule(2400))),
            "export": TimeOfUse((Rule(-810),)),
        },
    )


def test_dynamic_prices(tmp_path: Path) -> None:
    start_ms = 1_793_487_600_000  # 2026-10-31T23:00Z
    assert load(tmp_path, DYNAMIC) == Tariff(
        "CHF", 5, "UTC", 3_600_000, {"import": Dynamic(start_ms, (10321, -500, 0, 1000))}
    )


@pytest.mark.parametrize("text", [TIME_OF_USE, DYNAMIC])
def test_what_a_file_says_comes_through_its_encoding(text: str, tmp_path: Path) -> None:
    tariff = load(tmp_path, text)
    assert read_tariff_body(tariff_body(tariff), "the tariff") == tariff


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('currency = "EUR"', "", 'currency is missing; it must be text such as "EUR"'),
        ('zone = "Europe/Berlin"', "", "zone is missing: prices go by its clocks; it must be one like"),
        ('currency = "EUR"', "currency = 7", 'currency is missing; it must be text such as "EUR"'),
        ('"EUR"', '"€€€"', 'must be 1 to 8 printable bytes, such as "EUR"'),
        (
            'currency = "EUR"',
            'currency = "EUR"\ncolour = "red"',
            "a tariff: colour is not a known key; known are",
        ),
        ("Europe/Berlin", "Europe/Atlantis", "time zone 'Europe/Atlantis' is not in the IANA list"),
        (
            'currency = "EUR"',
            'currency = "EUR"\nstep = "day"',
            'step is "day"; it must be a length such as "15min"',
        ),
        ('currency = "EUR"', 'currency = "EUR"\nstep = "7min"', "does not divide a day"),
        ('currency = "EUR"', 'currency = "EUR"\nstep = 15', "granularity '15': it must be a number and"),
        (
            '"0.3215"',
            "0.3215",
            'rule 1 of import: price 0.3215: it must be a number per kWh as text, such as "0.3215"',
        ),
        ('"0.3215"', '"cheap"', "price 'cheap'"),
        ('"0.3215"', '"NaN"', "price 'NaN'"),
        ('"0.3215"', '"-Infinity"', "price '-Infinity'"),
        ('"0.3215"', '"1e999999999"', "price '1e999999999'"),
        ('"0.3215"', '"0.0000000000001"', "at most 12 decimals"),
        ('"0.3215"', '"10000000000"', "price '10000000000': it must be a number per kWh"),
        ('"0.3215"', '"9223372.036854775808"', r"import: a price passes 2\^63"),
        ("06:00", "6 o'clock", 'import: "6 o.clock" is not a time of day, such as "06:00"'),
        ("06:00", "24:01", "'24:01' is not a time of day"),
        ("06:00", "06:60", "'06:60' is not a time of day"),
        ("06:00", "0" * 5000 + "6:00", "00006:00' is not a time of day"),
        ("06:00", "06:10", "a price changes within a step of 15min"),
        ("06:00", "22:00", "from 22:00 until 22:00 covers no time of a day"),
        ("06:00", "24:00", "from 24:00 until 22:00 covers no time of a day"),
        ('"fri"', '"Fri"', "rule 1 of import: days are .*; they must be some of"),
        ('["fri", "mon", "tue", "wed", "thu"]', "[]", "they must be some of"),
        ('["fri", "mon", "tue", "wed", "thu"]', "[[1]]", "they must be some of"),
        ('["fri", "mon", "tue", "wed", "thu"]', '"mon"', "they must be some of"),
        ('price = "0.24"', "", "a lane must have rules, each with a price, or a start and prices"),
        ('price = "0.24"', 'price = "0.24"\nuntil = "23:00"', "no rule has a price from 23:00 on of day 1"),
        (
            'price = "0.24"',
            'price = "0.24"\ncost = 1',
            "rule 2 of import: cost is not a known key; known are before, days, from",
        ),
        ("[[export]]", "[[exports]]", "exports is not a known key"),
        (TIME_OF_USE, 'currency = "EUR"', "for import, for export, or for both"),
        (TIME_OF_USE, 'currency = "EUR"\nimport = 7', "a lane must have rules"),
        (TIME_OF_USE, 'currency = "EUR"\nimport = []', "a lane must have rules"),
        (TIME_OF_USE, 'currency = "EUR"\nimport = [7]', "a lane must have rules"),
        (TIME_OF_USE, "currency = ", "is not valid TOML"),
        (TIME_OF_USE, "currency = " + "[" * 100_000, "is not a tariff's TOML"),
        (TIME_OF_USE, "currency = " + "1" * 5_000, "is not a tariff's TOML: it has a huge number"),
    ],
)
def test_what_is_wrong_with_rules(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    assert old in TIME_OF_USE
    with pytest.raises(UsageError, match=sentence) as caught:
        load(tmp_path, TIME_OF_USE.replace(old, new))
    assert str(caught.value).startswith(f"{tmp_path / 'tariff.toml'}: ")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("start = 2026-11-01T00:00:00+01:00", "", "import: start is missing, or has no offset; it must be"),
        ("00:00:00+01:00", "00:00:00", "has no offset"),
        ("2026-11-01T00:00:00+01:00", "2026-11-01", "start is missing, or has no offset"),
        ("00:00:00+01:00", "00:15:00+01:00", "do not begin on a step of 1h"),
        ('["0.10321", "-0.00500", "0", "1e-2"]', "[]", "1 to 524288 prices"),
        ('["0.10321", "-0.00500", "0", "1e-2"]', '"0.1"', "a lane must have rules"),
        ("prices =", "price =", "a lane must have rules"),
        ("step =", "end = 1\nstep =", "a tariff: end is not a known key"),
        ("prices =", "until = 1\nprices =", "import: until is not a known key; known are prices, start"),
    ],
)
def test_what_is_wrong_with_lists(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    assert old in DYNAMIC
    with pytest.raises(UsageError, match=sentence):
        load(tmp_path, DYNAMIC.replace(old, new))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_tariff(tmp_path / "none.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes('currency = "\xa3"'.encode("latin-1"))
    with pytest.raises(UsageError, match=r"is not valid TOML, which is text in UTF-8$"):
        load_tariff(path)
