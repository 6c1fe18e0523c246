"""The first-boot file: what it may ask for, and a sentence with the line for what is wrong in it."""

from __future__ import annotations

import base64
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from gateway.appliance.owner_file import MOST_BYTES, MeterKeys, OwnerFile, Wifi, parse
from gateway.config.check import mistakes_in
from gateway.errors import UsageError
from gateway.host.codes import LETTERS

GATEWAY = """# the meter in the cellar
[store]
url = "s3://home-energy"

[[meter]]
name = "main"
profile = "eastron-sdm630"
tcp = { host = "192.168.1.50" }
"""
KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))).decode()
KEYS = ("00112233445566778899AABBCCDDEEFF", "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf")
SECRETS = ("correct horse", "hunter2hunter2", "abcde-fghjk", "s e", *KEYS)
WHOLE = f"""[first-boot]
hostname = "gw7"
setup-code = "abcde-fghjk"
wifi = {{ country = "DE", ssid = "Home", password = "correct horse" }}
ssh-key = "{KEY} anna@laptop"
s3 = {{ access-key-id = "AKIA1", secret-access-key = "hunter2hunter2" }}
meter-keys = {{ encryption-key = "{KEYS[0]}", authentication-key = "{KEYS[1]}", password = "s e\\"cret" }}

{GATEWAY}"""
ANY = st.recursive(
    st.none().map(lambda _: "text")
    | st.booleans()
    | st.integers(-9, 9)
    | st.text("ab .\"'\\[]=#\n", max_size=6),
    lambda one: (
        st.lists(one, max_size=2) | st.dictionaries(st.text("ab-.", min_size=1, max_size=4), one, max_size=2)
    ),
    max_leaves=6,
)


def check(text: str) -> list[str]:
    return [one.removeprefix("/x: ") for one in mistakes_in(text, Path("/x"))]


def read(text: str) -> OwnerFile | None:
    return parse(text.encode(), check)


def refused(text: str) -> list[str]:
    with pytest.raises(UsageError) as error:
        read(text)
    return str(error.value).splitlines()


def test_a_whole_file() -> None:
    owner = read(WHOLE)
    assert owner is not None
    assert owner.configuration == GATEWAY
    assert (owner.hostname, owner.setup_code, owner.software) == ("gw7", "abcde-fghjk", False)
    assert owner.wifi == Wifi("DE", "Home", "correct horse")
    assert owner.ssh_key == f"{KEY} anna@laptop"
    assert owner.s3 is not None
    assert (owner.s3.access_key_id, owner.s3.secret_access_key) == ("AKIA1", "hunter2hunter2")
    assert owner.meter_keys == MeterKeys(*KEYS, 's e"cret')
    for secret in SECRETS:
        assert secret not in repr(owner)


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ("{}", "must be a table with one or some of encryption-key, authentication-key, password"),
        ('{ key = "1" }', "must be a table with one or some of"),
        ('"0011"', "must be a table with one or some of"),
        (f'{{ encryption-key = "{KEYS[0][1:]}" }}', "has encryption-key, which must be a string of 32 hex"),
        ("{ authentication-key = 7 }", "has authentication-key, which must be a string of 32 hex"),
        ('{ password = "" }', "has password, which must be a string of 1 to 64 printable"),
    ],
)
def test_keys_that_no_meter_has(keys: str, wrong: str) -> None:
    (line,) = refused(f"[first-boot]\nmeter-keys = {keys}\n")
    assert line.startswith(f"gateway.toml, line 2: [first-boot] meter-keys {wrong}")
    assert KEYS[0][1:] not in line


def test_keys_of_a_meter_that_is_not_there() -> None:
    given = f'[first-boot]\nmeter-keys = {{ encryption-key = "{KEYS[0]}" }}\n'
    assert read(given) == OwnerFile(meter_keys=MeterKeys(KEYS[0]))
    (line,) = refused(given + GATEWAY.replace('"main"', '"attic"'))
    assert 'are for the meter named "main", and no [[meter]] here has that name' in line


def test_keys_of_a_meter_that_has_its_own() -> None:
    """Those that its own line names would win, and these would be sealed for nothing."""
    given = f'[first-boot]\nmeter-keys = {{ encryption-key = "{KEYS[0]}" }}\n'
    named = GATEWAY.replace('"eastron-sdm630"', '"dlms-generic-lls"\nkeys = "meter-main"')
    assert read(given + named) is not None
    for other in ("./main.keys", "meter-attic"):
        (line,) = refused(given + named.replace("meter-main", other))
        assert line == (
            'gateway.toml, line 2: [first-boot] meter-keys are for the meter named "main", whose keys are '
            "elsewhere by its own line: leave that line, or these keys, out"
        )


def test_secrets_that_were_commented_out_go_with_the_table() -> None:
    table = f"""[first-boot]
hostname = "gw7"
# meter-keys = {{ encryption-key = "{KEYS[0]}" }}
#s3={{ access-key-id = "AKIA1", secret-access-key = "hunter2hunter2" }}
# Where it all goes.
"""
    owner = read(table + GATEWAY)
    assert owner is not None
    assert owner.configuration == "# Where it all goes.\n" + GATEWAY


@pytest.mark.parametrize("text", ["", "# nothing\n\n", "\ufeff# nothing"])
def test_a_file_without_a_table_has_nothing_to_take_over(text: str) -> None:
    assert read(text) is None


def test_the_table_alone_leaves_the_configuration_to_the_page() -> None:
    assert read("[first-boot]\n") == OwnerFile()
    assert read('[first-boot]\nhostname = "a"') == OwnerFile(hostname="a")


def test_the_configuration_alone_is_taken_over_too() -> None:
    assert read(GATEWAY) == OwnerFile(configuration=GATEWAY)
    software = f'[trust]\nroot = "software"\n{GATEWAY}'
    assert read(software) == OwnerFile(configuration=software, software=True)


@pytest.mark.parametrize("place", ["before", "after", "between", "below", "quoted", "windows"])
def test_the_table_may_stand_anywhere(place: str) -> None:
    table = '[first-boot]\nhostname = "gw7"\n'
    head, meter = GATEWAY.split("[[meter]]")
    text = {
        "before": table + GATEWAY,
        "after": GATEWAY + table,
        "between": f"{head}{table}[[meter]]{meter}",
        "below": f'{GATEWAY}[first-boot]\nhostname = "gw7"\n[first-boot.wifi]\ncountry = "DE"\nssid = "a"\n'
        'password = "12345678"\n',
        "quoted": f'["first-boot"]\nhostname = "gw7"\n{GATEWAY}',
        "windows": "\ufeff" + (table + GATEWAY).replace("\n", "\r\n"),
    }[place]
    owner = read(text)
    assert owner is not None
    assert owner.hostname == "gw7"
    assert owner.configuration is not None
    assert tomllib.loads(owner.configuration) == tomllib.loads(GATEWAY)
    assert "# the meter in the cellar" in owner.configuration


NAMES = ["hostname", "setup-code", "wifi", "ssh-key", "s3", "meter-keys", "x", "a b"]


@given(st.dictionaries(st.sampled_from(NAMES), ANY))
def test_anything_in_the_table_is_taken_or_refused_with_its_line(table: dict[str, Any]) -> None:
    text = GATEWAY + tomli_w.dumps({"first-boot": table})
    try:
        owner = read(text)
    except UsageError as error:
        for line in str(error).splitlines():
            assert line.startswith("gateway.toml, line ")
        return
    assert owner is not None
    assert owner.configuration is not None
    assert tomllib.loads(owner.configuration) == tomllib.loads(GATEWAY)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"gw7"', '"Gw7"', "gateway.toml, line 2: [first-boot] hostname must be a name of a to z"),
        ('"gw7"', '"gw7.local"', "gateway.toml, line 2: [first-boot] hostname must be a name of a to z"),
        ("abcde-fghjk", "abcde-fghij", "gateway.toml, line 3: [first-boot] setup-code must be two groups"),
        ('"DE"', '"de"', "gateway.toml, line 4: [first-boot] wifi has a country that must be its two"),
        (
            "correct horse",
            "short",
            "gateway.toml, line 4: [first-boot] wifi has a password that must be 8 to",
        ),
        ('"Home"', '""', "gateway.toml, line 4: [first-boot] wifi has an ssid that must be 1 to 32 bytes"),
        (', ssid = "Home"', "", "gateway.toml, line 4: [first-boot] wifi must be { country = "),
        ("ssh-ed25519 ", "", "gateway.toml, line 5: [first-boot] ssh-key must be one line of a .pub file"),
        ("ssh-ed25519 AAAA", "ssh-ed25519 AAAB", "gateway.toml, line 5: [first-boot] ssh-key is damaged"),
        ("AAAAC3Nza", "AAAAC3Nzä", "gateway.toml, line 5: [first-boot] ssh-key is damaged"),
        ("AKIA1", "", "gateway.toml, line 6: [first-boot] s3 has a key that is empty"),
        (
            "hostname",
            "hostnam",
            "gateway.toml, line 2: [first-boot] hostnam is unknown; did you mean hostname?",
        ),
        ("[first-boot]", "[first-boots]", "gateway.toml, line 1: [first-boots] is unknown; "),
        ('"gw7"', "gw7", "gateway.toml, line 2, column 12: this is not TOML"),
        ("[store]", "[store]\nurl = 1", "gateway.toml, line 12, column "),
        ('"s3://home-energy"', "1", "gateway.toml, line 11: [store] url is 1; it must be "),
        ("[[meter]]", "[[meter]]\nunit_id = 0", 'gateway.toml, line 14: [[meter]] "main" unit_id is 0; '),
        ('name = "main"', "", "gateway.toml, line 13: [[meter]] number 1 name is missing"),
    ],
)
def test_a_mistake_is_named_with_its_line(old: str, new: str, said: str) -> None:
    assert old in WHOLE
    [line] = refused(WHOLE.replace(old, new, 1))
    assert line.startswith(said)


def test_all_mistakes_are_named_and_no_secret_is_shown() -> None:
    text = (
        WHOLE.replace("gw7", "GW")
        .replace("correct horse", "hush")
        .replace("hunter2hunter2", "hunter2 hunter2")
    )
    lines = refused(text.replace('"s3://home-energy"', "1"))
    assert len(lines) == 4
    assert not any(secret in "".join(lines) for secret in ("hush", "hunter2"))


def test_a_secret_in_the_place_of_a_key_is_not_shown() -> None:
    [line] = refused('\n\n[first-boot]\nhunter2hunter2 = "wifi"\n')
    said = "has a key that is none of hostname, setup-code, wifi, ssh-key, s3, meter-keys"
    assert line == f"gateway.toml, line 3: [first-boot] {said}"


def test_a_private_key_is_not_shown() -> None:
    text = '[first-boot]\nssh-key = "-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNza"\n'
    [line] = refused(text)
    assert "is a private key" in line
    assert "b3B" not in line


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff\xfe[\0", "is not UTF-8 text: save it as plain text"),
        (b"#" * (MOST_BYTES + 1), "bytes, and may have"),
        (b"a = " + b"[" * 9999, "nested too deeply"),
        (b"a" + b".a" * 3000 + b" = 1", "nested too deeply"),
        (b"first-boot = 1\n" + GATEWAY.encode(), "[first-boot] must be a table"),
        (b'first-boot.hostname = "a"\n' + GATEWAY.encode(), "with this header on a line of its own"),
    ],
)
def test_what_is_no_such_file(data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=r"^gateway\.toml") as error:
        parse(data, check)
    assert said in str(error.value)


@given(st.text(LETTERS, min_size=5, max_size=5), st.text(LETTERS, min_size=5, max_size=5))
def test_a_setup_code_may_be_in_capitals(one: str, other: str) -> None:
    owner = read(f'[first-boot]\nsetup-code = "{one.upper()}-{other}"\n')
    assert owner == OwnerFile(setup_code=f"{one}-{other}")


def test_the_networks_key_is_the_standards() -> None:
    # IEEE 802.11-2020, J.4.2, test case 1.
    key = "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    assert Wifi("DE", "IEEE", "password").key() == key
    assert Wifi("DE", "IEEE", key.upper()).key() == key
