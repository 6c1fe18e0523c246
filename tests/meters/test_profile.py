"""Profiles: those that come with the package are right, and every mistake is said with file and key."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from gateway.cli.main import main
from gateway.config import MeterSection
from gateway.errors import UsageError
from gateway.meters.endpoint import SerialSettings
from gateway.meters.modbus.model import ModbusModel
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.profile import load_profile, package_ids, parse_profile, profile_ids, similar
from tests.meters.bench import modbus_model

GOOD = """
id = "some-meter"
protocol = "modbus"
products = ["Some Meter"]
source = ["https://example.org/registers at revision 1"]
status = "community"
caveats = []
[serial]
baud = 9600
parity = "even"
stop_bits = 1
[block]
most = 125
gap = 0
[probe]
register = "volts"
min = 207.5
max = 253
[[register]]
name = "volts"
obis = "1-0:32.7.0"
table = "holding"
address = 10
type = "u16"
scale = 0.1
unit = "V"
[[register]]
name = "import"
obis = "1-0:1.8.0"
table = "holding"
address = 0x0C
type = "u32"
word_order = "low-first"
unit = "Wh"
[[register]]
name = "power"
obis = "1-0:16.7.0"
table = "input"
address = 0x0C
type = "f32"
unit = "kW"
"""


def test_a_good_profile() -> None:
    profile = parse_profile(GOOD, "some-meter.toml")
    model = profile.model
    assert isinstance(model, ModbusModel)
    volts, energy, power = model.registers
    assert profile.lanes == ("import", "power")
    assert (volts.scale, volts.address, volts.words, volts.end) == (Fraction(1, 10), 10, 1, 11)
    assert (energy.word_order, energy.table, energy.factor, energy.words) == ("low-first", "holding", 1000, 2)
    assert (power.word_order, power.scale, power.quantity) == ("high-first", Fraction(1), "power")
    assert model.probe.register is volts
    assert (model.probe.low, model.probe.high) == (Fraction(415, 2), Fraction(253))
    assert (profile.serial, model.block.most) == (SerialSettings(9600, "even", 1), 125)
    assert profile.caveats == ()


OWN = GOOD.replace("some-meter", "my-meter").replace("Some Meter", "My Own Box")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of one's own profiles, with one in it."""
    monkeypatch.setenv("GATEWAY_PROFILES", str(tmp_path))
    (tmp_path / "my-meter.toml").write_text(OWN)
    return tmp_path


def test_a_profile_of_ones_own(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "my-meter" in profile_ids()
    assert load_profile("my-meter").products == ("My Own Box",)
    assert similar("own box") == ["my-meter"]
    assert MeterSection.model_validate(
        {"name": "m", "profile": "my-meter", "lanes": ["import", "count"], "tcp": {"host": "a"}}
    )
    assert main(["meters", "show", "my-meter"]) == 0
    assert capsys.readouterr().out.startswith("my-meter: My Own Box\n")


def test_a_broken_profile_ends_nothing_but_itself(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "broken.toml").write_text("id = ")
    (own / "misspelt.toml").write_text(OWN.replace("my-meter", "misspelt").replace('"import"', '"imports"'))
    (own / "latin.toml").write_bytes(b"id = '\xe4'")
    (own / "folder.toml").mkdir()
    (own / "eastron-sdm630.toml").write_text(OWN.replace("my-meter", "eastron-sdm630"))
    (own / "README.txt").write_text("no profile")
    assert main(["meters", "list"]) == 0
    out, err = capsys.readouterr()
    listed = [line.split()[0] for line in out.splitlines()[1:]]
    assert listed == sorted([*package_ids(), "my-meter"])
    sentences = (
        "broken.toml is not valid TOML: ",
        f"{own}/folder.toml cannot be read: Is a directory",
        f"{own}/latin.toml is not UTF-8 text, as a TOML file must be",
        "misspelt.toml: a register is named imports, which nothing reads: it must be import, export, power, "
        "or the register of [probe]; did you mean import?",
        f"{own}/eastron-sdm630.toml is not used: the package has a profile of this name; give yours another",
    )
    for line, sentence in zip(err.splitlines(), sentences, strict=True):
        assert line.startswith(f"gateway: {sentence}")
    assert load_profile("eastron-sdm630").products != ("My Own Box",)
    with pytest.raises(UsageError, match=r"broken\.toml is not valid TOML"):
        load_profile("broken")


def test_a_folder_of_ones_own_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATEWAY_PROFILES", str(tmp_path / "none"))
    assert profile_ids() == package_ids()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("SDM54", ["eastron-sdm630"]),
        ("x96-1a", ["eastron-sdm630"]),
        ("ws100", ["orno-we-525"]),
        ("eastron", [one for one in package_ids() if one.startswith("eastron")]),
        ("estron-sdm630", ["eastron-sdm630"]),
        ("zz", []),
    ],
)
def test_names_on_meters_lead_to_their_profiles(typed: str, meant: list[str]) -> None:
    assert similar(typed) == meant


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('id = "some-meter"', 'id = "other"', "some-meter.toml: id is 'other'; it must be the file's name"),
        (
            'id = "some-meter"',
            'id = "Some Meter"',
            "some-meter.toml: id is 'Some Meter'; it must be a string",
        ),
        ('id = "some-meter"', "id = ", "some-meter.toml is not valid TOML: "),
        ('products = ["Some Meter"]', "products = []", "products must be a list of strings, at least one"),
        (
            'source = ["https',
            '# source = ["https',
            "some-meter.toml: source is missing; it must be a list of strings, at least one",
        ),
        ("source = [", 'source = ["  "]\n#', "source must be a list of strings, at least one"),
        ("source = [", "source = [3]\n#", "source must be a list of strings"),
        (
            '"community"',
            '"hearsay"',
            "status is 'hearsay'; it must be one of vendor-doc, community, hardware",
        ),
        ("caveats = []", 'caveats = "none"', "caveats must be a list of strings"),
        ("caveats = []", "", "caveats is missing"),
        ('protocol = "modbus"', 'protocol = "mbus"', "protocol is 'mbus'; it must be one of "),
        ("baud = 9600", "baud = 9600.5", "serial.baud is 9600.5; it must be a whole number"),
        ("baud = 9600", "baud = true", "serial.baud is True; it must be a whole number from 300 to 115200"),
        ('parity = "even"', 'parity = "mark"', "serial.parity is 'mark'; it must be one of none, even, odd"),
        ("[serial]", "[[serial]]", "some-meter.toml: serial must be a table"),
        ("most = 125", "most = 126", "block.most is 126; it must be a whole number from 4 to 125"),
        ("gap = 0", "gap = 0\nmosd = 3", "block.mosd is not a known key; did you mean most?"),
        ("gap = 0", "gap = 0\nwidth = 3", "some-meter.toml: block.width is not a known key"),
        (
            "[probe]",
            "[prob]",
            "some-meter.toml: probe is missing; it must be a table: [probe]",
        ),
        ('register = "volts"', 'register = "amps"', "probe.register is 'amps'; no register has this name"),
        ("min = 207.5", "min = 300", "probe.min is 300; it must be less than max, 253"),
        ("min = 207.5", "min = nan", "probe.min must be a number"),
        ("min = 207.5", 'min = "207"', "probe.min must be a number"),
        ("min = 207.5", "min = 1e999999999", "probe.min must be a number, and not a huge one"),
        ("min = 207.5", "min = 1e-999999999", "probe.min must be a number, and not a huge one"),
        ("min = 207.5", "min = 1e99999999999999999999", "it has a huge number, or is nested too deeply"),
        ("min = 207.5", f"min = {'[' * 5000}", "it has a huge number, or is nested too deeply"),
        ("gap = 0", f"gap = 0x{'f' * 5000}", "block.gap is a huge number; it must be"),
        ('obis = "1-0:1.8.0"', 'obis = "1.8.0"', "register[1].obis is '1.8.0'; it must be a string like"),
        (
            'table = "input"',
            'table = "coil"',
            "register[2].table is 'coil'; it must be one of input, holding",
        ),
        ("address = 10", "address = 65536", "register[0].address is 65536; it must be a whole number from 0"),
        ('0x0C\ntype = "u32"', '65535\ntype = "u32"', "register[1].address is 65535: the value would end"),
        ("address = 10", "address = 13", "registers import and volts overlap at 0x000d"),
        ('type = "u16"', 'type = "u8"', "register[0].type is 'u8'; it must be one of i16, u16, i32"),
        ('"low-first"', '"little"', "register[1].word_order is 'little'; it must be one of high-first"),
        ("scale = 0.1", "scale = 0", "register[0].scale is 0; it must be the factor for the raw value"),
        ("scale = 0.1", "scale = inf", "register[0].scale must be a number"),
        ('unit = "Wh"', 'unit = "kvarh"', "register[1].unit is 'kvarh'; it must be one of Wh, kWh, MWh"),
        ('unit = "kW"', 'unit = "kWh"', "register[2].unit is kWh; power needs a unit of power"),
        ('name = "power"', 'name = "import"', "register[2].unit is kW; import needs a unit of energy"),
        ('name = "power"', 'name = "volts"', "two registers are named volts; only a lane may have several"),
        (
            'unit = "Wh"',
            'unit = "Wh"\nrollover = 0',
            "register[1].rollover must be more than 0, and belong to",
        ),
        (
            'unit = "kW"',
            'unit = "kW"\nrollover = 9',
            "register[2].rollover must be more than 0, and belong to",
        ),
        (
            'unit = "V"',
            'unit = "V"\nnan = [0x10000]',
            "register[0].nan has more bits than a value of type u16",
        ),
        ('unit = "V"', 'unit = "V"\nnan = []', "register[0].nan must be a list of whole numbers from 0 to"),
        ('unit = "V"', 'unit = "V"\nnan = [-1]', "register[0].nan must be a list of whole numbers from 0 to"),
        ('unit = "V"', 'unit = "V"\noptional = 1', "register[0].optional is 1; it must be true or false"),
        ('name = "power"', "", "register[2].name is missing; it must be a string like [a-z]"),
        ('unit = "kW"', 'unit = "kW"\nnan = 0', "register[2].nan must be a list of whole numbers"),
        (
            "caveats = []",
            'caveats = []\ncolour = "red"',
            "some-meter.toml: colour is not a known key",
        ),
    ],
)
def test_each_mistake_is_a_sentence_with_file_and_key(old: str, new: str, sentence: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(UsageError) as caught:
        parse_profile(GOOD.replace(old, new), "some-meter.toml")
    assert str(caught.value).startswith("some-meter.toml")
    assert sentence in str(caught.value)


SUM = (
    GOOD
    + """
[[register]]
name = "power"
obis = "1-0:2.7.0"
table = "input"
address = 0x0E
type = "f32"
scale = -1
unit = "kW"
"""
)


def test_registers_of_one_lane_are_its_parts() -> None:
    model = parse_profile(SUM, "some-meter.toml").model
    assert isinstance(model, ModbusModel)
    assert model.lanes == ("import", "power")
    assert [register.address for register in model.of("power")] == [0x0C, 0x0E]
    energy = SUM.replace('name = "power"', 'name = "export"').replace('"kW"', '"kWh"\nrollover = 1000')
    with pytest.raises(UsageError, match="export is a sum of registers, which does not start from 0 when"):
        parse_profile(energy, "some-meter.toml")
    probed = SUM.replace('register = "volts"', 'register = "power"')
    with pytest.raises(UsageError, match=r"probe\.register is 'power'; 2 registers have this name"):
        parse_profile(probed, "some-meter.toml")


def test_what_a_register_may_say_of_itself() -> None:
    said = GOOD.replace(
        'unit = "Wh"', 'unit = "Wh"\noptional = true\nnan = [0xFFFFFFFF, 0]\nrollover = 999999.5'
    )
    model = parse_profile(said, "some-meter.toml").model
    assert isinstance(model, ModbusModel)
    energy = model.registers[1]
    assert (energy.optional, energy.nan, energy.rollover) == (True, (0xFFFFFFFF, 0), Fraction("999999.5"))
    assert model.rollover == {"import": 999_999_500}
    assert not model.registers[0].optional


SUNSPEC = (
    GOOD[: GOOD.index("[block]")].replace('"modbus"', '"sunspec"\nbases = [40000, 0]')
    + """
[probe]
min = 180
max = 280
"""
)


def test_a_sunspec_profile() -> None:
    model = parse_profile(SUNSPEC, "some-meter.toml").model
    assert model == SunSpecModel((40000, 0), Fraction(180), Fraction(280))
    assert set(model.lanes) == {"import", "export", "power"}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "[probe]",
            "[prob]",
            "some-meter.toml: probe is missing; it must be a table: [probe]",
        ),
        ("bases = [40000, 0]", "", "bases is missing"),
        ("[40000, 0]", "[]", "bases must be a list of whole numbers from 0 to 65535, at least one"),
        ("[40000, 0]", "[true]", "bases must be a list of whole numbers"),
        ("min = 180", "min = 280", "probe.min is 280; it must be less than max, 280"),
        ("min = 180", "min = 180\nregister = 3", "probe.register is not a known key"),
    ],
)
def test_mistakes_in_a_sunspec_profile(old: str, new: str, sentence: str) -> None:
    assert SUNSPEC.count(old) == 1
    with pytest.raises(UsageError) as caught:
        parse_profile(SUNSPEC.replace(old, new), "some-meter.toml")
    assert sentence in str(caught.value)


def test_a_profile_without_registers_or_without_a_lane() -> None:
    head = GOOD[: GOOD.index("[[register]]")]
    with pytest.raises(UsageError, match=r"some-meter.toml: register is missing"):
        parse_profile(head, "some-meter.toml")
    with pytest.raises(UsageError, match=r"register must be a list of tables, at least one"):
        parse_profile("register = []\n" + head, "some-meter.toml")
    only_volts = GOOD[: GOOD.index('[[register]]\nname = "import"')]
    with pytest.raises(UsageError, match=r"no register is named import, export, power; there must be at"):
        parse_profile(only_volts, "some-meter.toml")


# What these send has no power in W.
WITHOUT_POWER = {"emh-lzqj", "linky-historique", "linky-standard", "logarex-lk11bl", "siemens-td3511-text"}


@pytest.mark.parametrize("profile_id", profile_ids())
def test_the_profiles_that_come_with_the_package(profile_id: str) -> None:
    profile = load_profile(profile_id)
    assert profile.id == profile_id
    assert "import" in profile.lanes
    assert ("power" in profile.lanes) == (profile_id not in WITHOUT_POWER)
    assert all(source.startswith("http") for source in profile.source)


def test_the_eastron_registers() -> None:
    expected = {
        "eastron-sdm630": {"voltage": 0x00, "power": 0x34, "import": 0x48, "export": 0x4A},
        "eastron-sdm120": {"voltage": 0x00, "power": 0x0C, "import": 0x48, "export": 0x4A},
    }
    for profile_id, addresses in expected.items():
        registers = modbus_model(profile_id).registers
        assert {register.name: register.address for register in registers} == addresses
        assert {(register.table, register.type) for register in registers} == {("input", "f32")}
        assert [r.unit for r in registers if r.name in ("import", "export")] == ["kWh", "kWh"]


def test_an_unknown_profile() -> None:
    with pytest.raises(UsageError, match=r"no meter profile '\.\./x'; `gateway meters list`"):
        load_profile("../x")
