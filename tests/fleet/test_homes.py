"""The table of homes: each row on its own, whatever is in it."""

from __future__ import annotations

import csv
import io
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.appliance.owner_file import MeterKeys, Wifi, parse
from gateway.config.check import mistakes_in
from gateway.errors import UsageError
from gateway.fleet.homes import Faulty, Home, read_homes

TEMPLATE = """# of all homes
[store]
url = "s3://energy/{{home}}"

[[meter]]
name = "main"
profile = "eastron-sdm630"
tcp = { host = "{{ meter }}" }
unit_id = {{unit}}
"""
COLUMNS = "home,wifi-country,wifi-ssid,wifi-password,meter,unit\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "homes.csv"


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.toml"
    path.write_text(TEMPLATE)
    return path


def check(text: str) -> list[str]:
    return list(mistakes_in(text, Path("gateway.toml")))


def test_a_row_is_a_first_boot_file(table: Path, template: Path) -> None:
    table.write_text(f'{COLUMNS}muller,DE,"Müller, 1st",correct horse,192.168.1.50,7\n')
    [home] = read_homes(table, template)
    assert isinstance(home, Home)
    assert (home.line, home.name, home.hostname) == (2, "muller", "gateway")
    owner = parse(home.file("abcde-fghjk"), check)
    assert owner is not None
    assert (owner.setup_code, owner.hostname) == ("abcde-fghjk", "gateway")
    assert owner.wifi == Wifi("DE", "Müller, 1st", "correct horse")
    assert owner.configuration is not None
    assert owner.configuration.startswith("# of all homes\n")
    meter = tomllib.loads(owner.configuration)["meter"][0]
    assert meter["tcp"] == {"host": "192.168.1.50"}
    assert meter["unit_id"] == 7
    assert "correct horse" not in repr(home)


def test_without_a_template_the_home_configures_itself(table: Path) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f op"
    table.write_text(
        f"home,hostname,ssh-key,s3-access-key-id,s3-secret-access-key\na,cellar,{key},AK,SK/+=\n"
    )
    [home] = read_homes(table)
    assert isinstance(home, Home)
    owner = parse(home.file("abcde-fghjk"), check)
    assert owner is not None
    assert (owner.configuration, owner.hostname, owner.ssh_key) == (None, "cellar", key)
    assert owner.s3 is not None
    assert owner.s3.secret_access_key == "SK/+="
    assert owner.meter_keys is None


def test_the_keys_that_a_meter_has(table: Path) -> None:
    columns = "home,meter-encryption-key,meter-authentication-key,meter-password"
    table.write_text(f"{columns}\na,{'0a' * 16},,\nb,,,1;2\nc,1,,\n")
    a, b, c = read_homes(table)
    assert isinstance(a, Home)
    assert isinstance(b, Home)
    owners = [parse(home.file("abcde-fghjk"), check) for home in (a, b)]
    assert [owner and owner.meter_keys for owner in owners] == [
        MeterKeys("0a" * 16),
        MeterKeys(password="1;2"),
    ]
    sentence = "[first-boot] meter-keys has encryption-key, which must be a string of 32 hexadecimal digits"
    assert c == Faulty(4, (sentence,))


@pytest.mark.parametrize("way", ["semicolons", "byte order mark", "carriage returns", "blank lines"])
def test_as_a_spreadsheet_saves_it(way: str, table: Path, template: Path) -> None:
    text = f"{COLUMNS}a,,,,10.0.0.1,1\nb,,,,10.0.0.2,2\n"
    changed = {
        "semicolons": text.replace(",", ";"),
        "byte order mark": f"\ufeff{text}",
        "carriage returns": text.replace("\n", "\r\n"),
        "blank lines": text.replace("\n", "\n,,,,,\n\n"),
    }[way]
    table.write_bytes(changed.encode())
    assert [home.name for home in read_homes(table, template) if isinstance(home, Home)] == ["a", "b"]


def test_each_bad_row_is_named_and_the_others_are_read(table: Path, template: Path) -> None:
    rows = [
        "good,DE,Home,correct horse,10.0.0.1,1",
        "Bad,,,,10.0.0.1,1",
        "short,DE,Home,hush,10.0.0.1,1",
        "good,,,,10.0.0.2,1",
        "few,1",
        "unit,,,,10.0.0.1,0",
        "both,DE,,hush,10.0.0.1,nine",
        'quote,,,,"10.0.0.1"", port = ""9",1',
        "last,,,,10.0.0.3,1",
    ]
    table.write_text(COLUMNS + "\n".join(rows) + "\n")
    found = read_homes(table, template)
    assert [one.name for one in found if isinstance(one, Home)] == ["good", "last"]
    faulty = {one.line: one.sentences for one in found if isinstance(one, Faulty)}
    assert list(faulty) == [3, 4, 5, 6, 7, 8, 9]
    assert faulty[3] == ("home is 'Bad'; it must be a name of a to z, 0 to 9 and \"-\"",)
    assert faulty[4][0].startswith("[first-boot] wifi has a password that must be 8 to 63")
    assert faulty[5] == ("home good is in line 2 already",)
    assert faulty[6] == ("there are 2 values for 6 columns",)
    assert faulty[7][0].startswith('[[meter]] "main" unit_id is 0; it must be ')
    assert "this is not TOML" in faulty[8][0]
    assert faulty[9][0].startswith('[[meter]] "main" tcp.host')
    assert "hush" not in str(faulty)


def test_of_two_rows_of_one_name_the_first_counts_right_or_wrong(table: Path, template: Path) -> None:
    table.write_text(f"{COLUMNS}a,DE,Home,hush,10.0.0.1,1\na,,,,10.0.0.2,1\n")
    first, second = read_homes(table, template)
    assert isinstance(first, Faulty)
    assert isinstance(second, Faulty)
    assert second.sentences == ("home a is in line 2 already",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column home"),
        ("hostname\na\n", "has no column home"),
        ("home,home\na,b\n", "has the column home twice"),
        ("home,metre\na,b\n", "has the column 'metre', which is none of home, "),
        ("home\na\n", "has no column meter, for which "),
        (COLUMNS, "has no home"),
        ('home,meter,unit\na,"b\n', "this is not CSV"),
    ],
)
def test_a_table_that_cannot_be_one(text: str, said: str, table: Path, template: Path) -> None:
    table.write_text(text)
    with pytest.raises(UsageError) as error:
        read_homes(table, template)
    assert said in str(error.value)


def test_a_table_without_a_heading_keeps_its_first_homes_secrets(table: Path, template: Path) -> None:
    table.write_text("muller,DE,Home,hush,10.0.0.1,1\nweber,DE,Home,hush,10.0.0.2,1\n")
    with pytest.raises(
        UsageError, match=r"has no column home, .*: its first line names the columns"
    ) as error:
        read_homes(table, template)
    assert "hush" not in str(error.value)


def test_files_that_cannot_be_read(table: Path, template: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_homes(table)
    table.write_bytes(b"home\n\xff\n")
    with pytest.raises(UsageError, match="is not UTF-8"):
        read_homes(table)
    table.write_text("home\na\n")
    template.write_text("# nothing\n")
    [row] = read_homes(table, template)
    assert isinstance(row, Faulty)
    assert "the template has no table" in row.sentences[0]


CELLS = st.text(st.characters(codec="utf-8"), max_size=70)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=3))
def test_any_cells_are_taken_as_they_are_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    table = tmp_path_factory.mktemp("any") / "homes.csv"
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("home", "wifi-country", "wifi-ssid", "wifi-password"))
    for number, (ssid, password, _) in enumerate(rows):
        writer.writerow((f"h{number}", "DE", ssid, password))
    table.write_bytes(text.getvalue().encode())
    found = read_homes(table)
    assert len(found) == len(rows)
    for one, (ssid, password, _) in zip(found, rows, strict=True):
        if isinstance(one, Home):
            owner = parse(one.file("abcde-fghjk"), check)
            assert owner is not None
            assert owner.wifi == Wifi("DE", ssid.strip(), password.strip())
