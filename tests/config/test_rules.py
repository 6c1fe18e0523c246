"""When the rules of a tariff file hold, and a sentence for what they cannot say."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from gateway.chain.prices import HOLIDAY, Calendar, Rule, TimeOfUse
from gateway.chain.tariff import Tariff
from gateway.config.tariff import load_tariff
from gateway.errors import UsageError
from gateway.wire.tariff import read_tariff_body, tariff_body

TOP = 'currency = "EUR"\nzone = "Europe/Madrid"\nsince = 2026-01-01\nbefore = 2028-01-01\n'
FOR_ALL = '[[import]]\nprice = "9"\n'
EVERY_DAY = tuple(range(8))


def number(*day: int) -> int:
    return (date(*day) - date(1970, 1, 1)).days


def load(tmp_path: Path, text: str) -> Tariff:
    path = tmp_path / "tariff.toml"
    path.write_text(text, encoding="utf-8")
    tariff = load_tariff(path)
    assert read_tariff_body(tariff_body(tariff), "the tariff") == tariff
    return tariff


def rules(tmp_path: Path, rule: str, tables: str = "") -> list[Rule]:
    """Those of one rule's table, before the one for all other times."""
    tariff = load(tmp_path, f'{TOP}{tables}\n[[import]]\nprice = "1"\n{rule}\n{FOR_ALL}')
    prices = tariff.prices["import"]
    assert isinstance(prices, TimeOfUse)
    return list(prices.rules[:-1])


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("", [Rule(1)]),
        ('days = ["mon-fri"]', [Rule(1, (0, 1, 2, 3, 4))]),
        ('days = ["sat-mon", "wed", "sun"]', [Rule(1, (0, 2, 5, 6))]),
        ('months = ["oct-mar", "jun"]', [Rule(1, months=(1, 2, 3, 6, 10, 11, 12))]),
        ('from = "22:00"', [Rule(1, begin=1320)]),
        ('until = "06:00"', [Rule(1, end=360)]),
        ('from = "22:00"\nuntil = "06:00"', [Rule(1, end=360), Rule(1, begin=1320)]),
        ('from = "22:00"\nuntil = "00:00"', [Rule(1, begin=1320)]),
        (
            'days = ["sat"]\nfrom = "22:00"\nuntil = "06:00"',
            [Rule(1, (5,), end=360), Rule(1, (5,), begin=1320)],
        ),
        ("since = 2026-07-01", [Rule(1, since=number(2026, 7, 1))]),
        ("before = 2026-07-01", [Rule(1, before=number(2026, 7, 1))]),
    ],
)
def test_what_a_rule_says(rule: str, found: list[Rule], tmp_path: Path) -> None:
    assert rules(tmp_path, rule) == found


def test_seasons_are_months_or_dates(tmp_path: Path) -> None:
    seasons = """[seasons]
    winter = ["oct-mar"]
    heating = [{ before = 2026-04-15 }, { since = 2026-10-15, before = 2027-04-15 }]
    """
    assert rules(tmp_path, 'season = "winter"', seasons) == [Rule(1, months=(1, 2, 3, 10, 11, 12))]
    spring, autumn, end = number(2026, 4, 15), number(2026, 10, 15), number(2027, 4, 15)
    assert rules(tmp_path, 'season = "heating"', seasons) == [
        Rule(1, before=spring),
        Rule(1, since=autumn, before=end),
    ]
    later = number(2026, 12, 1)
    assert rules(tmp_path, 'season = "heating"\nsince = 2026-12-01', seasons) == [
        Rule(1, since=later, before=end)
    ]


def test_holidays_are_the_dates_of_a_country(tmp_path: Path) -> None:
    """Those of Spain that are on the calendar of the whole country, by hand."""
    tariff = load(
        tmp_path,
        f"""{TOP}
        [holidays]
        country = "ES"
        add = [2026-11-09, 2026-01-01]
        remove = [2026-04-03]
        [[import]]
        price = "1"
        days = ["mon-fri"]
        [[import]]
        price = "2"
        days = ["sat", "sun", "holiday"]
        """,
    )
    in_2026 = [(1, 1), (1, 6), (5, 1), (8, 15), (10, 12), (11, 9), (12, 8), (12, 25)]
    days = tuple(number(2026, *day) for day in in_2026)
    found = tariff.calendar.holidays
    assert tuple(day for day in found if day < number(2027, 1, 1)) == days
    assert number(2027, 1, 6) in found
    assert tariff.calendar == Calendar(number(2026, 1, 1), number(2028, 1, 1), found)
    assert tariff.prices["import"] == TimeOfUse((Rule(1, (0, 1, 2, 3, 4)), Rule(2, (5, 6, HOLIDAY))))


def test_a_subdivision_has_holidays_of_its_own(tmp_path: Path) -> None:
    womens_day = number(2026, 3, 8)  # Berlin's, and Mecklenburg's
    for subdivision, is_one in (("BE", True), ("BY", False)):
        table = f'[holidays]\ncountry = "DE"\nsubdivision = "{subdivision}"\n'
        assert (womens_day in load(tmp_path, TOP + table + FOR_ALL).calendar.holidays) is is_one


def test_only_the_holidays_of_the_tariffs_dates_count(tmp_path: Path) -> None:
    table = '[holidays]\ncountry = "DE"\n'
    top = TOP.replace("2026-01-01", "2026-05-01").replace("2028-01-01", "2026-12-25")
    found = load(tmp_path, top + table + FOR_ALL).calendar.holidays
    assert found == tuple(number(2026, *day) for day in ((5, 1), (5, 14), (5, 25), (10, 3)))


def test_a_rule_for_all_days_is_for_public_holidays_too(tmp_path: Path) -> None:
    assert rules(tmp_path, "", "[holidays]\nadd = [2026-05-04]") == [Rule(1, EVERY_DAY)]


RED = '[days]\nred = { dates = [2026-01-05, 2026-01-07], begin = "06:00" }\nfree = [2026-07-31]'
ON = (number(2026, 1, 5), number(2026, 1, 7))
AFTER = tuple(day + 1 for day in ON)


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ('days = ["red"]', [Rule(1, begin=360, dates=ON), Rule(1, end=360, dates=AFTER)]),
        ('days = ["red"]\nfrom = "06:00"\nuntil = "22:00"', [Rule(1, begin=360, end=1320, dates=ON)]),
        ('days = ["red"]\nfrom = "06:00"\nuntil = "24:00"', [Rule(1, begin=360, dates=ON)]),
        (
            'days = ["red"]\nfrom = "22:00"\nuntil = "06:00"',
            [Rule(1, begin=1320, dates=ON), Rule(1, end=360, dates=AFTER)],
        ),
        ('days = ["red"]\nfrom = "02:00"\nuntil = "04:00"', [Rule(1, begin=120, end=240, dates=AFTER)]),
        ('days = ["red"]\nfrom = "22:00"', [Rule(1, begin=1320, dates=ON), Rule(1, end=360, dates=AFTER)]),
        ('days = ["free"]\nfrom = "08:00"', [Rule(1, begin=480, dates=(number(2026, 7, 31),))]),
        ('days = ["sun", "free"]', [Rule(1, (6,)), Rule(1, dates=(number(2026, 7, 31),))]),
        (
            'days = ["free"]\nfrom = "22:00"\nuntil = "06:00"',
            [
                Rule(1, end=360, dates=(number(2026, 7, 31),)),
                Rule(1, begin=1320, dates=(number(2026, 7, 31),)),
            ],
        ),
    ],
)
def test_days_may_be_lists_of_dates_that_begin_at_another_hour(
    rule: str, found: list[Rule], tmp_path: Path
) -> None:
    assert rules(tmp_path, rule, RED) == found


@pytest.mark.parametrize(
    ("rule", "tables", "sentence"),
    [
        (
            'days = ["mon-fri-sun"]',
            "",
            "days are .*mon-fri-sun.*; they must be some of .*'sun'.*, or ranges such as",
        ),
        ('days = ["mon-"]', "", 'or ranges such as "mon-fri"'),
        ('days = ["holiday"]', "", "days are .'holiday'.; they must be some of"),
        ('days = ["mon-red"]', RED, "they must be some of .*'red'"),
        ("days = []", "", "they must be some of"),
        (
            'months = ["april"]',
            "",
            'months are .*april.*; they must be some of .*, or ranges such as "jan-may"',
        ),
        ("months = []", "", "months are"),
        ("months = [4]", "", "months are"),
        (
            'months = ["apr"]\nseason = "x"',
            '[seasons]\nx = ["apr"]',
            "a rule has months or a season, not both",
        ),
        ('season = "x"', "", "season is 'x'; known seasons are none; name them in .seasons."),
        ("season = []", '[seasons]\nx = ["apr"]', "season is ..; known seasons are x"),
        (
            "since = 2026-05-01T00:00:00",
            "",
            "import: since: .* is not a date such as 2026-01-06, which stands",
        ),
        ('since = "2026-05-01"', "", "is not a date such as 2026-01-06, which stands without quotes"),
        ("before = 1969-05-01", "", "import: before: 1969-05-01 must be 1970-01-01 to 2149-06-06"),
        (
            "since = 2026-05-01\nbefore = 2026-05-01",
            "",
            "a rule's since and before leave no date of its season",
        ),
        (
            'season = "x"\nbefore = 2026-05-01',
            "[seasons]\nx = [{ since = 2026-06-01 }]",
            "a rule's since and before leave no date of its season",
        ),
        (
            'days = ["red"]\nfrom = "05:00"\nuntil = "07:00"',
            RED,
            "from 05:00 until 07:00 goes over 06:00, when its",
        ),
        ('until = "00:00"', "", "from 00:00 until 00:00 covers no time of a day"),
        ("", "[days]\nmon = [2026-01-01]", "days: mon has a meaning already; choose another name"),
        ("", "[days]\nholiday = [2026-01-01]", "days: holiday has a meaning already"),
        ("", "[days]\nred = []", "days: red must be a list of dates such as"),
        ("", "[days]\nred = { begin = '06:00' }", "days: red must be a list of dates such as"),
        ("", "[days]\nred = { dates = [2026-01-01], begin = '6' }", "days: red: '6' is not a time of day"),
        (
            "",
            "[days]\nred = { date = 2026-01-01 }",
            "days: red: date is not a known key; known are begin, dates",
        ),
        ("", "[days]\nred = 7", "days: red must be a table"),
        ("", "days = 7", "days must be a table"),
        (
            'season = "s"\ndays = [' + ",".join(f"'l{n}'" for n in range(3000)) + "]",
            "[days]\n"
            + "".join(f"l{n} = [2026-01-01]\n" for n in range(3000))
            + "[seasons]\ns = ["
            + "{ since = 2026-01-01 }," * 3000
            + "]",
            "counts as 9000000 rules; there must be 1 to 256",
        ),
        ("", "seasons = 7", "seasons must be a table"),
        ("", "[seasons]\nx = 7", "seasons: x are 7; they must be some of"),
        ("", "[seasons]\nx = [{ from = 2026-01-01 }]", "seasons: x: from is not a known key"),
        ("", "[seasons]\nx = [{ since = 7 }]", "seasons: x: since: 7 is not a date"),
        ("", "holidays = 7", "holidays must be a table"),
        ("", '[holidays]\ncountry = "XX"', "the package holidays does not know XX; write the dates into add"),
        ("", '[holidays]\ncountry = "Spain"', "country is 'Spain'; it must be a code of ISO 3166-1"),
        ("", "[holidays]\ncountry = 7", "country is 7; it must be a code of ISO 3166-1"),
        ("", '[holidays]\ncountry = "ES"\nsubdivision = "QQ"', "does not know ES, subdivision 'QQ'"),
        (
            "",
            '[holidays]\ncountry = "ES"\nsubdivision = 7',
            "subdivision is 7; it must be a code of ISO 3166-2",
        ),
        ("", '[holidays]\ncountry = "ES"\nremove = [2026-04-04]', "2026-04-04 cannot be removed: it is none"),
        (
            "",
            "[holidays]\nadd = [2028-01-01]",
            "2028-01-01 lies outside the dates from since on and before the",
        ),
        ("", "[holidays]\nadd = 2026-01-01", "holidays: add must be a list of dates"),
        ("", "[holidays]\ncolour = 1", "holidays: colour is not a known key; known are add, country, remove"),
        (
            'blocks = ["100"]',
            "",
            "blocks: a price that depends on how much was used needs month sums. Grant sums",
        ),
        ("up_to = 100", "", "import: up_to: a price that depends on how much was used needs month sums"),
        ("", "tiers = 3", "a tariff: tiers: a price that depends on how much was used needs month sums"),
    ],
)
def test_what_no_rule_can_say(rule: str, tables: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        rules(tmp_path, rule, tables)


def test_blocks_without_a_price_need_month_sums_too(tmp_path: Path) -> None:
    blocks = 'currency = "EUR"\n[[import]]\nblocks = [{ up_to = 100, price = "0.2" }, { price = "0.3" }]\n'
    with pytest.raises(
        UsageError, match=r"needs month sums. Grant sums with --granularity month and price these"
    ):
        load(tmp_path, blocks)


@pytest.mark.parametrize(
    ("top", "sentence"),
    [
        (
            "",
            "holidays: the tariff must say for which dates they are known: give since and before at its top",
        ),
        ("since = 2026-01-01", "the tariff must say for which dates"),
        ("since = 2026-01-01\nbefore = 2140-01-01", "those of ES are known for the years 2008 to 2100"),
        ("since = 1999-01-01\nbefore = 2020-01-01", "those of ES are known for the years 2008 to 2100"),
        ("since = 2026-01-01\nbefore = 2026-01-01", "begin with 2026-01-01, which is not before 2026-01-01"),
        ("since = 2027-01-01\nbefore = 2026-01-01", "begin with 2027-01-01, which is not before 2026-01-01"),
    ],
)
def test_holidays_are_those_of_known_years(top: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        load(tmp_path, f'currency = "EUR"\n{top}\n[holidays]\ncountry = "ES"\n{FOR_ALL}')


def test_a_list_of_prices_may_have_dates_too(tmp_path: Path) -> None:
    text = f'{TOP}[import]\nstart = 2026-11-01T00:00:00+01:00\nprices = ["1"]\n'
    assert load(tmp_path, text).calendar.before == number(2028, 1, 1)
