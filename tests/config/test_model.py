"""A configuration either loads with its defaults, or every mistake in it becomes a sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from gateway.chain import layout
from gateway.config import Config, LaneName, SerialLine, TcpLine, example, location
from gateway.config.series import SeriesLane
from gateway.errors import UsageError

MINIMAL = """
[store]
url = "s3://home-energy"

[[meter]]
name = "main"
profile = "eastron-sdm630"
tcp = { host = "192.168.1.50" }
"""
METER = MINIMAL[MINIMAL.index("[[meter]]") :]
SECRET = "hunter2-Zm9v"


def write(folder: Path, text: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str) -> Config:
    return Config.load(write(folder, text))


def mistakes(folder: Path, text: str) -> list[str]:
    """The sentences about `text`, without the file's name that each begins with."""
    path = write(folder, text)
    with pytest.raises(UsageError) as caught:
        Config.load(path)
    assert caught.value.kind == "usage"
    assert caught.value.__suppress_context__, "a traceback would show the file's values"
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") and line[-1] in ".?" for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_a_minimal_file_has_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    assert config.gateway.ledger == Path("/var/lib/gateway/ledger.sqlite")
    assert config.gateway.trust == Path("/var/lib/gateway/trust")
    assert config.gateway.socket == Path("/run/gateway/control.sock")
    assert config.gateway.commit_seconds == 5
    assert config.clock.source == "ntp"
    assert (config.trust.root, config.trust.tcti) == ("tpm", "device:/dev/tpmrm0")
    assert (config.stream.unit_ms, config.stream.link_units, config.stream.chunk_units) == (1000, 3600, 900)
    (meter,) = config.meter
    assert meter.lanes == ("import", "export", "power", "count") == get_args(LaneName)
    assert (meter.interval_s, meter.unit_id) == (1.0, 1)
    assert meter.tcp == TcpLine(host="192.168.1.50", framer="socket")
    assert meter.serial is None


def test_the_example_loads_and_its_comments_say_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, example()).model_dump(exclude={"store"}) == load(tmp_path, MINIMAL).model_dump(
        exclude={"store"}
    )
    # Every commented key, taken out of its comment, is right too; of the connections only one can be.
    keys = [
        line.removeprefix("# ") if " = " in line or "[[" in line else line for line in example().splitlines()
    ]
    defaults = load(tmp_path, MINIMAL)
    connections = ("tcp =", "udp =", "multicast =", "serial =")
    for one in connections:
        others = tuple(other for other in connections if other != one)
        whole = load(tmp_path, "\n".join(key for key in keys if not key.startswith(others)))
        own = {"store", "meter", "series", "commands", "updates"}
        assert whole.model_dump(exclude=own) == defaults.model_dump(exclude=own)
        assert [(one.name, one.lanes) for one in whole.series] == [("climate", ("temperature", "occupancy"))]
        assert whole.updates.model_dump(exclude={"feed"}) == defaults.updates.model_dump(exclude={"feed"})
        assert whole.updates.feed == "https://releases.example.org/rpi4"
        (utility,) = whole.commands
        assert utility.card == Path("/etc/gateway/utility.cose")
        assert (utility.disconnect, utility.reconnect) == ("ask", "allow")
        assert (utility.limit, utility.message) == ("allow", "allow")
        assert whole.meter[0].lanes == defaults.meter[0].lanes


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    text = MINIMAL.replace("s3://home-energy", "bucket") + '[gateway]\nstate = "state"\nsocket = "c.sock"'
    config = load(tmp_path, text)
    assert config.gateway.state == tmp_path / "state"
    assert config.gateway.socket == tmp_path / "c.sock"
    assert config.store.url == str(tmp_path / "bucket")
    assert location(config.store).url == str(tmp_path / "bucket")


def test_updates(tmp_path: Path) -> None:
    updates = load(tmp_path, MINIMAL).updates
    assert (updates.feed, updates.automatic, updates.hour) == (None, True, 3)
    text = '[updates]\nfeed = "/media/stick"\nautomatic = false\nhour = 0\n'
    updates = load(tmp_path, MINIMAL + text).updates
    assert (updates.feed, updates.automatic, updates.hour) == ("/media/stick", False, 0)
    for wrong, said in (
        ('feed = "ftp://x"', '[updates] feed is "ftp://x"; it must be the address of a folder'),
        ('feed = "https://"', '[updates] feed is "https://"; it must be the address'),
        (
            'feed = "https://a:hush@x/y"',
            "[updates] feed is a value not shown here, since it may hold a secret",
        ),
        ("hour = 24", "hour is 24; it must be a whole number from 0 to 23"),
        ('automatic = "no"', '[updates] automatic is "no"; it must be true to install'),
        ("day = 1", "day"),
    ):
        (mistake,) = mistakes(tmp_path, f"{MINIMAL}[updates]\n{wrong}\n")
        assert said in mistake


SERIES = """
[[series]]
name = "climate"
lanes = ["temperature", "occupancy"]
"""


def test_a_series(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL + SERIES)
    assert [(one.name, one.sealed) for one in config.series] == [
        ("climate", ("temperature", "occupancy", "count"))
    ]
    assert config.names == ("main", "climate")
    assert set(get_args(SeriesLane)) == set(layout.SERIES)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (SERIES + SERIES, '"climate" name is "climate"; a meter or another series has this name already'),
        (SERIES.replace("climate", "main"), '"main" name is "main"; a meter or another series has this'),
        (SERIES.replace('"occupancy"', '"heat"'), 'lanes has "heat"; it must be some of "temperature", "irr'),
        (SERIES.replace('"temperature", ', '"occupancy", '), "it must have each lane once, in this order"),
        (SERIES.replace('"temperature", "occupancy"', ""), "lanes is []; it must be some of"),
        (SERIES.replace("lanes", "lane"), "lane is unknown; did you mean lanes?"),
        (SERIES.replace('"climate"', '"My home"'), "it must be a name of a to z, 0 to 9 and -"),
        (SERIES.replace('name = "climate"', ""), "[[series]] number 1 name is missing; give a name of"),
        (SERIES.replace("[[series]]", "[series]"), "it must be a table [[series]], in two brackets"),
    ],
)
def test_what_a_series_cannot_be(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(tmp_path, MINIMAL + text)
    assert sentence in str(refused.value)


COMMANDS = """
[[commands]]
from = "./utility.cose"
disconnect = "ask"
"""


def test_whose_commands_are_carried_out(tmp_path: Path) -> None:
    named = COMMANDS.replace("./utility.cose", "Stadtwerke").replace('"ask"', '"allow"')
    file, name = load(tmp_path, MINIMAL + COMMANDS + named).commands
    assert (file.card, file.disconnect) == (tmp_path / "utility.cose", "ask")
    assert (name.card, name.provider, name.disconnect) == (None, "Stadtwerke", "allow")
    assert {file.reconnect, file.limit, file.message} == {"refuse"}  # what is not written
    assert load(tmp_path, MINIMAL).commands == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (COMMANDS + COMMANDS, 'from is "./utility.cose"; another [[commands]] is from this provider already'),
        (COMMANDS.replace('"ask"', '"maybe"'), 'disconnect is "maybe"; it must be "allow", "ask" (the house'),
        (COMMANDS.replace("disconnect", "disconect"), "disconect is unknown; did you mean disconnect?"),
        (COMMANDS.replace("disconnect", "provider"), "provider is unknown; known here are from, disconnect"),
        (
            COMMANDS.replace('from = "./utility.cose"', ""),
            "[[commands]] number 1 from is missing; give the file",
        ),
        (COMMANDS.replace('"./utility.cose"', "5"), "from is 5; it must be the file of a provider's card"),
        (COMMANDS.replace("./utility.cose", "~/utility.cose"), "write the whole path"),
    ],
)
def test_what_commands_cannot_be(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(tmp_path, MINIMAL + text)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("switch = {}", '"main" has a switch that needs exactly one of obis, coil, register and mqtt'),
        ('switch = { coil = 5, obis = "0-0:96.3.10" }', "needs exactly one of obis, coil, register and mqtt"),
        ("switch = { coil = 65536 }", "switch.coil is 65536; it must be a whole number from 0 to 65535"),
        ("switch = { register = { address = 4, on = 1, off = 1 } }", "whose on and off are the same number"),
        ("switch = { register = { address = 4, on = 1 } }", "switch.register.off is missing"),
        (
            'switch = { mqtt = { topic = "a/#", on = "1", off = "0" } }',
            "it must be a topic without wildcards",
        ),
        ('switch = { obis = "main" }', "it must be the OBIS code of a disconnect control"),
        ("limit = {}", '"main" has a limit that needs exactly one of register and mqtt'),
        (
            "limit = { register = { address = 4 } }",
            "limit.register.off is missing; give the number that stands",
        ),
        ("limit = { register = { address = 4, off = 65536 } }", "a register of type u16 holds 0 to 65535"),
        (
            "limit = { register = { address = 4, off = 0, scale = 0 } }",
            "limit.register.scale is 0; it must be how",
        ),
        (
            "limit = { registre = { address = 4, off = 0 } }",
            "limit.registre is unknown; did you mean register?",
        ),
    ],
)
def test_what_a_switch_or_a_limit_cannot_be(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(tmp_path, f"{MINIMAL}\n{line}\n")
    assert sentence in str(refused.value)


def test_a_serial_line_leaves_to_the_profile_what_is_left_out(tmp_path: Path) -> None:
    serial = MINIMAL.replace('tcp = { host = "192.168.1.50" }', 'serial = { device = "/dev/ttyUSB0" %s}')
    assert load(tmp_path, serial % "").meter[0].serial == SerialLine(
        device="/dev/ttyUSB0", baudrate=None, parity=None, stopbits=None
    )
    (meter,) = load(tmp_path, serial % ', baudrate = 19200, parity = "E", stopbits = 2 ').meter
    assert meter.tcp is None
    assert meter.serial == SerialLine(device="/dev/ttyUSB0", baudrate=19200, parity="E", stopbits=2)


def test_rtu_frames_over_tcp(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL.replace("1.50", '1.50", port = 8899, framer = "rtu'))
    assert config.meter[0].tcp == TcpLine(host="192.168.1.50", port=8899, framer="rtu")


def test_what_is_loaded_stays_as_it_is(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    with pytest.raises(ValidationError):
        config.meter[0].name = "other"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[gateway]\ncommit_seconds = 0",
            "[gateway] commit_seconds is 0; it must be a whole number of seconds",
        ),
        ("[gateway]\ncommit_seconds = 1.5", "[gateway] commit_seconds is 1.5; it must be a whole number"),
        ("[gateway]\ncommit_seconds = true", "[gateway] commit_seconds is true; it must be a whole number"),
        ("[gateway]\ncommit_seconds = 2026-01-01", '[gateway] commit_seconds is "2026-01-01"; it must be'),
        ("[gateway]\ncomit_seconds = 5", "[gateway] comit_seconds is unknown; did you mean commit_seconds?"),
        ("[gateway]\nunit_ms = 5", "[gateway] unit_ms is unknown; it belongs in [stream]."),
        ("[gateway]\nzzz = 5", "[gateway] zzz is unknown; known here are state, socket, commit_seconds."),
        ('[gateway]\nstate = "~/gateway"', '[gateway] state is "~/gateway"; write the whole path'),
        (
            f'[gateway]\nsocket = "/{"s" * 110}"',
            "the whole path has 111 bytes, but a socket's may have at most 107.",
        ),
        ("[[gateway]]", "[gateway] is a list; it must be a table [gateway]."),
        ("[getaway]", "[getaway] is unknown; did you mean gateway?"),
        ('[clock]\nsource = "gps"', '[clock] source is "gps"; it must be "ntp" or "host".'),
        ('[trust]\nroot = "TPM"', '[trust] root is "TPM"; it must be "tpm" or "software".'),
        ('[trust]\ntcti = "/dev/tpm0"', '[trust] tcti is "/dev/tpm0"; it must be a TPM interface'),
        ("[stream]\nunit_ms = 3_600_001", "unit_ms is 3600001; it must be a whole number from 1 to 3600000"),
        ("[stream]\nchunk_units = 7", "[stream] chunk_units is 7; it must divide link_units, 3600"),
        ("[stream]\nlink_units = 600", "[stream] chunk_units is 900; it must divide link_units, 600"),
        ('[stream]\nlink_units = "x"', '[stream] link_units is "x"; it must be a whole number'),
        (METER, '[[meter]] "main" name is "main"; another meter has this name already'),
    ],
)
def test_a_mistake_beside_a_right_file(text: str, sentence: str, tmp_path: Path) -> None:
    (only,) = mistakes(tmp_path, MINIMAL + text)
    assert sentence in only


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        ('"main"', '"Main"', '[[meter]] "Main" name is "Main"; it must be a name of a to z'),
        ('"main"', "5", "[[meter]] number 1 name is 5; it must be a name"),
        ('name = "main"', "", "[[meter]] number 1 name is missing; give a name"),
        ("sdm630", "sdm63", '[[meter]] "main" profile is "eastron-sdm63"; did you mean "eastron-sdm630"?'),
        ("eastron-sdm630", "qqq", '[[meter]] "main" profile is "qqq"; `gateway meters list`'),
        ("host", "hots", '[[meter]] "main" tcp.host is missing; give a name or address'),
        (
            "1.50",
            '1.50", port = "502',
            '[[meter]] "main" tcp.port is "502"; it must be a whole number from 1',
        ),
        ("1.50", "1.50:502", 'tcp.host is "192.168.1.50:502"; it must be a name or address'),
        ("1.50", '1.50", framer = "tcp', 'tcp.framer is "tcp"; it must be "socket" or "rtu".'),
        ("tcp = ", "tpc = ", '[[meter]] "main" tpc is unknown; did you mean tcp?'),
        ("tcp = { ", "# ", '[[meter]] "main" has no connection; give it exactly one'),
        (
            "tcp = ",
            'serial = { device = "/dev/x" }\ntcp = ',
            '"main" has two connections; give it exactly one',
        ),
        (
            "tcp = ",
            'udp = { host = "192.168.1.50" }\nserial = { device = "/dev/x" }\ntcp = ',
            '"main" has three connections; give it exactly one',
        ),
        (
            "tcp = ",
            'multicast = {}\nudp = { host = "192.168.1.50" }\nserial = { device = "/dev/x" }\ntcp = ',
            '"main" has four connections; give it exactly one',
        ),
        (
            'tcp = { host = "192.168.1.50" }',
            'multicast = { interface = "eth0" }',
            'multicast.interface is "eth0"; it must be an IPv4 address of this machine: "192.168.1.10"',
        ),
        (
            'tcp = { host = "192.168.1.50" }',
            'multicast = { interface = "192.168.1.256" }',
            'multicast.interface is "192.168.1.256"; it must be an IPv4 address',
        ),
        (
            'tcp = { host = "192.168.1.50" }',
            "multicast = { serial_number = 4294967296 }",
            "multicast.serial_number is 4294967296; it must be the number on the meter",
        ),
        ("tcp = { host", "udp = { hots", '[[meter]] "main" udp.hots is unknown; did you mean host?'),
        ('tcp = { host = "192.168.1.50" }', 'udp = { host = "a:1" }', 'udp.host is "a:1"; it must be a name'),
        ('tcp = { host = "192.168.1.50" }', 'tcp = "x"', '[[meter]] "main" tcp is "x"; it must be a table'),
        (
            "tcp = ",
            "unit_id = 248\ntcp = ",
            '[[meter]] "main" unit_id is 248; it must be a whole number from 1',
        ),
        ("tcp = ", "factor = 0\ntcp = ", "must be a number from 0.000001 to 100000 with at most 6 decimals"),
        ("tcp = ", 'factor = "40"\ntcp = ', "factor"),
        ("tcp = ", "factor = true\ntcp = ", "factor"),
        ("tcp = ", f"factor = 1{'0' * 400}\ntcp = ", "must be a number from 0.000001 to 100000"),
        ("tcp = ", f"factor = 0x{'f' * 5000}\ntcp = ", "factor.energy is a huge number; it must be"),
        (
            "tcp = ",
            f"unit_id = 0x{'f' * 5000}\ntcp = ",
            "unit_id is a huge number; it must be a whole number",
        ),
        ("tcp = ", "factor = { energy = 0.0000001 }\ntcp = ", "with at most 6 decimals"),
        ("tcp = ", "factor = { enrgy = 0.1 }\ntcp = ", "factor.enrgy is unknown; did you mean energy?"),
        ("tcp = ", "interval_s = nan\ntcp = ", '[[meter]] "main" interval_s is NaN; it must be a number of'),
        (
            "tcp = ",
            'lanes = ["import"]\ntcp = ',
            'lanes is ["import"]; it must hold "count" and at least one',
        ),
        ("tcp = ", 'lanes = ["power", "count"]\ntcp = ', 'it must hold "count" and at least one of "import"'),
        ("tcp = ", 'lanes = ["count", "import"]\ntcp = ', 'once, in this order: ["import", "count"].'),
        (
            "tcp = ",
            'lanes = ["import", "import", "count"]\ntcp = ',
            'once, in this order: ["import", "count"].',
        ),
        (
            "tcp = ",
            'lanes = ["imprt", "count"]\ntcp = ',
            '[[meter]] "main" lanes has "imprt"; it must be some',
        ),
        ("[[meter]]", "[meter]", "[meter] is a table; it must be a table [[meter]], in two brackets"),
        (METER, "", "[meter] is missing; give a table [[meter]], in two brackets, for each meter."),
        ("[store]", "[[store]]", "[store] is a list; it must be a table [store] with url ="),
        ('url = "s3://home-energy"', "", '[store] url is missing; give "s3://bucket"'),
        ('[store]\nurl = "s3://home-energy"', "", "[store] is missing; give a table [store]"),
        ("s3://", "https://", '[store] url is "https://home-energy"; the store\'s url begins with https://'),
        ("s3://home-energy", "", '[store] url is ""; the store\'s url is empty'),
        ("-energy", '-energy"\nendpoint = "s3.example.org', '[store] endpoint is "s3.example.org"; the'),
        (
            "s3://home-energy",
            'bucket"\nendpoint = "https://s3.example.org',
            "is a directory, which has no endpoint",
        ),
        ("-energy", '-energy"\nregion = "eu central', "[store] region is a value not shown here"),
    ],
)
def test_a_mistake_in_a_right_file(right: str, wrong: str, sentence: str, tmp_path: Path) -> None:
    assert right in MINIMAL
    found = mistakes(tmp_path, MINIMAL.replace(right, wrong, 1))
    assert any(sentence in one for one in found), found


@pytest.mark.parametrize(
    ("meters", "sentence"),
    [
        ("[]", "[meter] is missing; give a table [[meter]]"),
        ("[5]", "[[meter]] number 1 is 5; it must be a table"),
    ],
)
def test_a_list_of_no_meters(meters: str, sentence: str, tmp_path: Path) -> None:
    (only,) = mistakes(tmp_path, f"meter = {meters}\n{MINIMAL.replace(METER, '')}")
    assert only.startswith(sentence)


def test_a_profile_without_a_lane_is_not_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "profiles").mkdir()
    profile = (Path(__file__).parents[2] / "gateway/meters/profiles/eastron-sdm630.toml").read_text()
    one_way = profile.partition('[[register]]\nname = "export"')[0].replace("eastron-sdm630", "one-way")
    (tmp_path / "profiles/one-way.toml").write_text(one_way)
    monkeypatch.setattr("gateway.meters.profile.resources.files", lambda _package: tmp_path)

    text = MINIMAL.replace("eastron-sdm630", "one-way")
    (only,) = mistakes(tmp_path, text)
    assert (
        'lanes is ["import", "export", "power", "count"]; one-way has ["import", "power", "count"].' in only
    )
    assert load(tmp_path, text + 'lanes = ["import", "count"]').meter[0].lanes == ("import", "count")


def test_all_mistakes_are_listed(tmp_path: Path) -> None:
    text = """
    tsream = 1
    [gateway]
    commit_seconds = 61
    [stream]
    chunk_units = 7
    [store]
    region = 5
    [[meter]]
    name = "A"
    profile = "eastron-sdm63"
    tcp = { host = "a/b", port = 0, baudrate = 9600 }
    [[meter]]
    name = "b"
    lanes = []
    interval_s = "1"
    [[meter]]
    name = "b"
    """
    expected = [
        "[gateway] commit_seconds is 61",
        "[stream] chunk_units is 7",
        "[store] url is missing",
        "[store] region is 5",
        '[[meter]] "A" name is "A"',
        '[[meter]] "A" profile is "eastron-sdm63"',
        '[[meter]] "A" tcp.host is "a/b"',
        '[[meter]] "A" tcp.port is 0',
        '[[meter]] "A" tcp.baudrate is unknown',
        '[[meter]] "b" profile is missing',
        '[[meter]] "b" lanes is []',
        '[[meter]] "b" interval_s is "1"',
        '[[meter]] "b" has no connection',
        '[[meter]] "b" name is "b"; another meter has this name already',
        '[[meter]] "b" profile is missing',
        '[[meter]] "b" has no connection',
        "tsream is unknown; did you mean stream?",
    ]
    found = mistakes(tmp_path, text)
    assert len(found) == len(expected)
    for sentence, start in zip(found, expected, strict=True):
        assert sentence.startswith(start)


@pytest.mark.parametrize(
    "text",
    [
        f'secret_access_key = "{SECRET}"',
        f'[[meter]]\ntcp = {{ host = "a", password = "{SECRET}" }}',
        f'[store]\nsecret_key = "{SECRET}"',
        f'[store]\naccess_key_id = "{SECRET}"',
        f'[store]\ncredentials = "AKIA:{SECRET}"',
        f'[store]\ncredentials = "aGk/{SECRET}"',
        f'[store]\ncredentials = ["{SECRET}"]',
        f'[store]\ncredentials = {{ access_key_id = "a", x = "{SECRET}" }}',
        f'[store]\nurl = "s3://key:{SECRET}@bucket"',
        f'[store]\nurl = "https://s3.example.org/b?X-Amz-Signature={SECRET}"',
        f'[store]\nendpoint = "https://key:{SECRET}@s3.example.org"',
        f'[store]\nregion = "key={SECRET}"',
        f'[store]\nsomething = "{SECRET}"',
        f'[something]\nelse = "{SECRET}"',
        f'store = "s3://key:{SECRET}@bucket"',
        f'store = ["{SECRET}"]',
    ],
)
def test_no_sentence_repeats_a_secret(text: str, tmp_path: Path) -> None:
    assert SECRET not in "\n".join(mistakes(tmp_path, text))


@pytest.mark.parametrize(
    "key", ["secret_access_key", "secret_key", "access_key", "password", "api_key", "token"]
)
def test_a_secret_is_sent_to_where_it_belongs(key: str, tmp_path: Path) -> None:
    (only,) = mistakes(tmp_path, MINIMAL.replace("[[meter]]", f'{key} = "{SECRET}"\n[[meter]]'))
    assert only.startswith(f"[store] {key} must not be here: this file may not hold secrets")
    assert "credentials" in only


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path / "absent.toml", "there is no such file; `gateway config example` prints one"),
        (tmp_path, "the file cannot be read: Is a directory"),
        (
            write(tmp_path, "[store\n"),
            "this is not valid TOML: Expected ']' at the end of a table declaration (at line 1",
        ),
    ]:
        with pytest.raises(UsageError) as caught:
            Config.load(path)
        assert str(caught.value).startswith(f"{path}: {reason}")
    (tmp_path / "latin.toml").write_bytes(b"# \xe4")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        Config.load(tmp_path / "latin.toml")
    for huge in ("[" * 5000, "1" * 5000):
        with pytest.raises(
            UsageError, match="is not TOML that can be read: it has a huge number, or is nested"
        ):
            Config.load(write(tmp_path, f"store = {huge}"))


def with_credentials(folder: Path, text: str | bytes, mode: int = 0o600) -> Config:
    path = folder / "s3.credentials"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return load(folder, MINIMAL.replace("[[meter]]", 'credentials = "./s3.credentials"\n[[meter]]'))


CREDENTIALS = f"# of the gateway\naccess_key_id = AKIA\n\nsecret_access_key={SECRET}=\n"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_credentials_come_from_a_file_of_their_own(mode: int, tmp_path: Path) -> None:
    place = location(with_credentials(tmp_path, CREDENTIALS, mode).store)
    assert (place.url, place.access_key, place.secret_key) == ("s3://home-energy", "AKIA", f"{SECRET}=")
    assert SECRET not in repr(place)


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        (CREDENTIALS, 0o644, "is open to every user of this machine (mode 0644): chmod 0600"),
        (CREDENTIALS, 0o602, "is open to every user of this machine (mode 0602)"),
        (f"{SECRET}\n", 0o600, "line 1: the file must have two lines"),
        (f"access_key_id=a\nsecret={SECRET}", 0o600, "line 2: the file must have two lines"),
        (f"secret_access_key={SECRET}\n" * 2, 0o600, "line 2: the file must have two lines"),
        (f"secret_access_key={SECRET}", 0o600, "access_key_id is missing; the file must have"),
        ("access_key_id=a", 0o600, "secret_access_key is missing"),
        ("access_key_id=a\nsecret_access_key=", 0o600, "line 2: the file must have"),
        (b"access_key_id=\xff", 0o600, "does not hold credentials"),
    ],
)
def test_credentials_that_are_none(text: str | bytes, mode: int, sentence: str, tmp_path: Path) -> None:
    config = with_credentials(tmp_path, text, mode)
    with pytest.raises(UsageError) as caught:
        location(config.store)
    assert sentence in str(caught.value)
    assert str(tmp_path / "s3.credentials") in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_credentials_file_that_is_absent(tmp_path: Path) -> None:
    config = with_credentials(tmp_path, CREDENTIALS)
    (tmp_path / "s3.credentials").unlink()
    with pytest.raises(UsageError, match=r"cannot be read from .*s3\.credentials: No such file"):
        location(config.store)


def test_systemd_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s3", "other"):
        path = tmp_path / name
        path.write_text(f"access_key_id={name}\nsecret_access_key={SECRET}")
        path.chmod(0o440)  # as systemd shows a file whose access control list lets the service read it
    plain = load(tmp_path, MINIMAL).store
    named = load(tmp_path, MINIMAL.replace("[[meter]]", 'credentials = "other"\n[[meter]]')).store

    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert location(plain).access_key == "s3"
    assert location(named).access_key == "other"

    folder = load(tmp_path, MINIMAL.replace("s3://home-energy", "bucket")).store
    assert location(folder).access_key is None

    (tmp_path / "s3").unlink()
    (tmp_path / "other").unlink()
    assert location(plain).access_key is None
    with pytest.raises(UsageError, match=r"cannot be read from .*other: No such file"):
        location(named)

    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert "CREDENTIALS_DIRECTORY" not in os.environ
    assert location(plain).access_key is None
    with pytest.raises(UsageError, match="CREDENTIALS_DIRECTORY is not set"):
        location(named)
