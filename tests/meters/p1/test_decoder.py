"""Which line is what: real meters' telegrams, the meter's clock, and the rules one by one."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dsmr_parser import telegram_specifications
from dsmr_parser.parsers import TelegramParser
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import KeyFault, MeterError, UsageError
from gateway.meters.p1 import lines
from gateway.meters.p1.cipher import SealedFrames
from gateway.meters.p1.decoder import P1Decoder, P1Registers
from gateway.meters.p1.frames import Check, crc16
from gateway.meters.p1.lines import equipment_number, meter_time
from gateway.meters.profile import load_profile
from gateway.meters.reading import Telegram
from gateway.meters.secrets import Secrets
from gateway.simulate.p1 import seal, seal_lines, stamp, telegram
from tests.meters.p1.public import SEALED, SEALED_KEY, PublicTelegram, public_telegram, public_telegrams

ARC: tuple[Check, ...] = ("arc",)
AMSTERDAM = ZoneInfo("Europe/Amsterdam")
TARIFFS = P1Registers(
    imported=("1-0:1.8.1", "1-0:1.8.2"),
    exported=("1-0:2.8.1", "1-0:2.8.2"),
    drawn=("1-0:1.7.0",),
    given=("1-0:2.7.0",),
    serial="0-0:96.1.1",
    zone=AMSTERDAM,
)
EK, AK = bytes(range(16)), bytes(range(16, 32))
LINES = [
    "0-0:1.0.0(170102192002W)",
    "0-0:96.1.1(4B384547303034303436333935353037)",
    "1-0:1.8.1(000004.426*kWh)",
    "1-0:1.8.2(000002.399*kWh)",
    "1-0:2.8.1(000002.444*kWh)",
    "1-0:2.8.2(000000.000*kWh)",
    "1-0:1.7.0(00.244*kW)",
    "1-0:2.7.0(00.500*kW)",
]


def said(data: list[str]) -> Telegram | MeterError:
    (item,) = P1Decoder(TARIFFS, checks=ARC).feed(telegram(data))
    return item


def registers(data: list[str]) -> dict[str, int]:
    item = said(data)
    assert isinstance(item, Telegram), item
    return dict(item.registers)


def changed(old: str, *new: str) -> list[str]:
    kept = [line for line in LINES if not line.startswith(old)]
    assert len(kept) < len(LINES)
    return [*kept, *new]


@pytest.mark.parametrize("public", public_telegrams(), ids=str)
def test_what_real_meters_say(public: PublicTelegram) -> None:
    (item,) = load_profile(public.profile).model.decoder(Secrets()).feed(public.data)  # type: ignore[union-attr]
    assert isinstance(item, Telegram)
    assert item.registers == public.registers
    assert item.serial == public.serial
    expected = datetime.fromisoformat(public.meter_time) if public.meter_time else None
    assert item.meter_time == (None if expected is None else expected.timestamp() * 1e9)


SPECIFICATIONS = {
    "dsmr-2.2": telegram_specifications.V2_2,
    "dsmr-4": telegram_specifications.V4,
    "dsmr-5": telegram_specifications.V5,
    "belgium-p1": telegram_specifications.BELGIUM_FLUVIUS,
}


@pytest.mark.parametrize(
    "public", [one for one in public_telegrams() if one.profile in SPECIFICATIONS], ids=str
)
def test_the_oracle_reads_the_same(public: PublicTelegram) -> None:
    theirs = TelegramParser(SPECIFICATIONS[public.profile]).parse(public.data.decode("ascii"))
    kwh = theirs.ELECTRICITY_USED_TARIFF_1.value + theirs.ELECTRICITY_USED_TARIFF_2.value
    back = theirs.ELECTRICITY_DELIVERED_TARIFF_1.value + theirs.ELECTRICITY_DELIVERED_TARIFF_2.value
    net = theirs.CURRENT_ELECTRICITY_USAGE.value - theirs.CURRENT_ELECTRICITY_DELIVERY.value
    assert public.registers == {"import": kwh * 10**6, "export": back * 10**6, "power": net * 1000}
    if public.meter_time:
        assert theirs.P1_MESSAGE_TIMESTAMP.value == datetime.fromisoformat(public.meter_time)


def test_all_lanes() -> None:
    item = said(LINES)
    assert isinstance(item, Telegram)
    assert item.registers == {"import": 6_825_000, "export": 2_444_000, "power": -256}
    assert item.serial == "K8EG004046395507"
    assert item.meter_time == datetime(2017, 1, 2, 18, 20, 2, tzinfo=UTC).timestamp() * 1e9
    assert repr(item) == "Telegram(meter_time=1483381202000000000, age_s=0.0)"


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1))
def test_energies_are_added_up_exactly(first: int, second: int) -> None:
    shown = [f"1-0:1.8.{n}({wh // 1000:06d}.{wh % 1000:03d}*kWh)" for n, wh in ((1, first), (2, second))]
    assert registers(shown) == {"import": (first + second) * 1000}


def test_units() -> None:
    assert registers(["1-0:1.8.1(006545766*Wh)", "1-0:1.8.2(1*MWh)"]) == {"import": 7_545_766_000}
    assert registers(["1-0:1.7.0(000000286*W)", "1-0:2.7.0(0.0005*kW)"]) == {"power": 286}  # half to even


@pytest.mark.parametrize("missing", ["1-0:1.8.1", "1-0:1.8.2", "1-0:2.8.1", "1-0:1.7.0", "1-0:2.7.0"])
def test_a_lane_needs_all_of_its_lines(missing: str) -> None:
    lane = {"1-0:1.8": "import", "1-0:2.8": "export"}.get(missing[:7], "power")
    expected = {"import": 6_825_000, "export": 2_444_000, "power": -256}
    del expected[lane]
    assert registers(changed(missing)) == expected
    assert registers(changed(missing, f"{missing}(kWh)x", f"{missing}()()")) == expected
    assert registers(changed(missing, f"{missing}(1,5*kWh)")) == expected
    assert registers(changed(missing, f"1-1{missing[3:]}(000001.000*kWh)")) == expected


@pytest.mark.parametrize(
    "value",
    [
        "NaN*kWh",
        "1E999999999*kWh",
        "-1*kWh",
        "1e3*kWh",
        "*kWh",
        "1",
        "1*kvarh",
        "1*kW",
        "1234567890123*Wh",
        "",
        "1.",
    ],
)
def test_what_is_no_energy(value: str) -> None:
    assert registers(changed("1-0:1.8.1", f"1-0:1.8.1({value})")) == {"export": 2_444_000, "power": -256}
    item = said([f"1-0:1.8.1({value})", "1-0:1.8.2(1*kWh)"])
    assert str(item) == "a P1 telegram has no number in any of the registers that its profile names"


def test_lines_as_some_write_them() -> None:
    for code in ("1-0:1.8.1.255", "1-0:1.8.1*255"):
        assert registers(changed("1-0:1.8.1", f"{code}(000004.426*kWh)"))["import"] == 6_825_000
    assert "import" not in registers(changed("1-0:1.8.1", "1-0:1.8.10(000004.426*kWh)"))
    assert registers([*LINES, "1-0:1.8.1(000009.999*kWh)"])["import"] == 6_825_000


@given(st.binary(max_size=300).map(lambda raw: raw.translate(None, b"/!\r\n")))
def test_lines_that_are_not_used_may_hold_anything(message: bytes) -> None:
    """Hungarian meters fill their message with ff, some write m3 with a superscript
    (github.com/home-assistant/home-assistant.io, issue 20135; github.com/ndokter/dsmr_parser, issue 191)."""
    unused = [b"0-0:96.13.0(" + message + b")", b"0-1:24.2.1(101209112500W)(12785.123*" + message + b")"]
    body = b"".join(line + b"\r\n" for line in [*(line.encode("ascii") for line in LINES), *unused])
    whole = b"/SIM5\\simulated-home\r\n\r\n" + body + b"!"
    plain = said(LINES)
    (odd,) = P1Decoder(TARIFFS, checks=ARC).feed(whole + b"%04X\r\n" % crc16(whole))
    assert isinstance(plain, Telegram)
    assert isinstance(odd, Telegram), odd
    assert (odd.registers, odd.serial, odd.meter_time) == (plain.registers, plain.serial, plain.meter_time)


def test_no_clock_no_number() -> None:
    for line in ("0-0:1.0.0()", "0-0:1.0.0(161301000000W)", "0-0:1.0.0(230404213104)"):
        item = said(changed("0-0:1.0.0", line))
        assert isinstance(item, Telegram)
        assert item.meter_time is None
    for line in ("0-0:96.1.1()", "0-0:96.1.0(31)"):
        item = said(changed("0-0:96.1.1", line))
        assert isinstance(item, Telegram)
        assert item.serial is None


def test_numbers_on_the_meters_face() -> None:
    assert equipment_number("4530303434303037333832323436303139") == "E0044007382246019"
    assert equipment_number("3960221976967177082151037881335713") == "3960221976967177082151037881335713"
    assert equipment_number("ADC3100000158491") == "ADC3100000158491"
    assert equipment_number("K50322") == "K50322"
    assert equipment_number("2020") == "2020"


@pytest.mark.parametrize(
    "name", ["Europe/Amsterdam", "Europe/Vilnius", "Europe/Luxembourg", "Europe/Budapest"]
)
@pytest.mark.parametrize(("month", "day"), [(3, 29), (10, 25)])
def test_each_second_of_a_day_whose_clock_is_changed(name: str, month: int, day: int) -> None:
    zone = ZoneInfo(name)
    begin = int(datetime(2026, month, day, tzinfo=zone).timestamp())
    end = int(datetime(2026, month, day, tzinfo=zone).replace(day=day + 1).timestamp())
    assert (end - begin) // 3600 == (23 if month == 3 else 25)
    shown = [stamp(second, zone) for second in range(begin, end, 599)]
    assert len(set(shown)) == len(shown)
    assert [meter_time(one, zone) for one in shown] == [second * 10**9 for second in range(begin, end, 599)]


def test_a_clock_that_keeps_winter_time_all_year() -> None:
    july = datetime(2026, 7, 1, 12, tzinfo=UTC)
    local = july + timedelta(hours=1)
    assert meter_time(f"{local:%y%m%d%H%M%S}W", ZoneInfo("Europe/Stockholm")) == july.timestamp() * 1e9


@given(st.binary(max_size=400), st.booleans())
def test_whatever_the_bytes_are(data: bytes, checked: bool) -> None:
    decoder = P1Decoder(TARIFFS, checks=ARC if checked else ())
    decoder.feed(data)
    decoder.feed(b"/abc5def\r\n\r\n" + data + b"!\r\n")
    text = telegram([data.decode("latin-1").encode("ascii", "replace").decode("ascii")])
    decoder.feed(text)


@given(st.lists(st.text("01238-:.*(kWh)NaNE+\r\n", max_size=40), max_size=8))
def test_whatever_the_lines_are(hostile: list[str]) -> None:
    for item in P1Decoder(TARIFFS, checks=ARC).feed(telegram(["1-0:1.8.1(", *hostile])):
        assert isinstance(item, Telegram | MeterError)


def test_nothing_of_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        said(changed("1-0:1.8.1", "1-0:1.8.1(secret,1*kWh)", "1-0:1.8.1(1)(2)", "1-0:1.8.2(NaN*kWh)"))
    assert caplog.records == []


def test_it_keeps_nothing_of_what_it_read() -> None:
    """A parser of all lines would: its power failure log grows with each telegram."""
    decoder = P1Decoder(TARIFFS, checks=ARC)
    data = public_telegram("esmr-5-two-slaves")
    for _ in range(3):
        assert len(decoder.feed(data)) == 1
    assert all(type(one["value_parser"]).__name__ == "CosemParser" for one in _specification(decoder))


def _specification(decoder: P1Decoder) -> list[dict[str, object]]:
    (parser,) = [
        cell.cell_contents
        for cell in decoder._read.__closure__ or ()
        if isinstance(cell.cell_contents, TelegramParser)
    ]
    found = parser.telegram_specification["objects"]
    assert isinstance(found, list)
    return found


def test_broken_and_whole_ones_come_in_order() -> None:
    good, other = public_telegram("dsmr-5"), public_telegram("esmr-5-two-slaves")
    nothing = telegram(["1-3:0.2.8(50)"])
    wrong = telegram(["1-0:1.8.1(\xe9)".encode("latin-1").decode("latin-1")[:10]])
    items = P1Decoder(TARIFFS, checks=ARC).feed(good[:50] + good + nothing + wrong + other)
    assert [isinstance(item, Telegram) for item in items] == [False, True, False, False, True]
    assert "no number in any of the registers" in str(items[2])


def test_encrypted_telegrams() -> None:
    def decoder() -> P1Decoder:
        return P1Decoder(TARIFFS, checks=ARC, sealed=SealedFrames(EK, AK))

    plain = telegram(LINES)
    for content in (plain, plain.rstrip()):
        (item,) = decoder().feed(seal(content, EK, AK, 1))
        assert isinstance(item, Telegram)
        assert item.registers == {"import": 6_825_000, "export": 2_444_000, "power": -256}
    for content, problem in (
        (plain.replace(b"4.426", b"4.427"), "check sequence is wrong"),
        (plain[:-6], "ends without a check sequence"),
        (plain[:80], "a decrypted P1 frame does not hold a telegram"),
        (b"", "a decrypted P1 frame does not hold a telegram"),
        (plain + plain, "a decrypted P1 frame does not hold a telegram"),
    ):
        (item,) = decoder().feed(seal(content, EK, AK, 1))
        assert problem in str(item)
    assert decoder().feed(plain) == []


def test_a_frame_that_others_sealed() -> None:
    model = load_profile("sagemcom-t210-d-r").model
    keys = Secrets(SEALED_KEY, bytes.fromhex("00112233445566778899aabbccddeeff"))
    (item,) = model.decoder(keys).feed(SEALED)  # type: ignore[union-attr]
    assert isinstance(item, Telegram)
    assert item.registers == {"import": 6_545_766_000, "export": 58_000, "power": 286}
    assert item.meter_time == datetime(2022, 10, 6, 13, 50, 14, tzinfo=UTC).timestamp() * 1e9


def test_without_dsmr_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dsmr_parser.parsers", None)
    with pytest.raises(UsageError, match="P1 needs dsmr-parser, which the gateway's extra p1 brings: run"):
        lines.line_reader(["1-0:1.8.0"])


def test_profiles_are_read_without_dsmr_parser() -> None:
    show = (
        "import sys; from gateway.meters.profile import load_profile; load_profile('dsmr-5');"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert "gateway.meters.p1.model" in done.stdout.split()
    assert not any(module.startswith("dsmr_parser") for module in done.stdout.split())


def decoded(
    registers: P1Registers, lines: list[str], checks: tuple[Check, ...] = ARC
) -> dict[str, int] | str:
    (item,) = P1Decoder(registers, checks=checks).feed(telegram(lines, "arc" if checks else None))
    return dict(item.registers) if isinstance(item, Telegram) else str(item)


TOTALS = replace(TARIFFS, imported=("1-0:1.8.0",), exported=("1-0:2.8.0",))
OF_TWO = replace(TOTALS, tariffs=2)


def shown(**kwh: str) -> list[str]:
    """Lines of imported energy: total, t1, t2 ..."""
    codes = {"total": 0} | {f"t{n}": n for n in range(1, 10)}
    return [f"1-0:1.8.{codes[name]}({value}*kWh)" for name, value in kwh.items()]


@pytest.mark.parametrize("registers", [TARIFFS, TOTALS, OF_TWO])
def test_a_total_counts_before_its_tariffs(registers: P1Registers) -> None:
    both = shown(total="000317.695", t1="000162.246", t2="000155.448")
    assert decoded(registers, both) == {"import": 317_695_000}
    assert decoded(registers, [*both, "1-0:1.8.0(000999.999*kWh)"]) == {"import": 317_695_000}


@pytest.mark.parametrize("registers", [TARIFFS, OF_TWO])
@pytest.mark.parametrize("total", ["003176.950", "000031.770", "000317.795", "000162.246"])
def test_a_total_that_its_tariffs_contradict_is_refused_with_both_numbers(
    registers: P1Registers, total: str
) -> None:
    said = decoded(registers, shown(total=total, t1="000162.246", t2="000155.449"))
    assert said == (
        f"the meter shows import twice, and the two differ: {total.lstrip('0')} kWh in all, but 317.695 kWh "
        "as the sum of its tariffs"
    )


def test_tariffs_are_held_against_a_total_only_if_all_are_there() -> None:
    assert decoded(TOTALS, shown(total="000900.000", t1="000162.246", t2="000155.449")) == {
        "import": 900_000_000
    }
    assert "twice" in decoded(TOTALS, shown(total="000300.000", t1="000162.246", t2="000155.449"))
    assert decoded(OF_TWO, shown(total="000900.000", t1="000162.246")) == {"import": 900_000_000}
    assert decoded(OF_TWO, shown(total="000900.000", t1="000000.000", t2="000000.000")) == {
        "import": 900_000_000
    }
    assert "twice" in decoded(TARIFFS, shown(total="000900.000", t1="000162.246", t2="000155.449"))


def test_a_contradiction_costs_the_telegram_and_not_the_next() -> None:
    wrong = telegram([*LINES, "1-0:1.8.0(000068.250*kWh)"])
    items = P1Decoder(TARIFFS, checks=ARC).feed(wrong + telegram(LINES))
    assert [isinstance(item, Telegram) for item in items] == [False, True]


def test_a_tariff_that_the_profile_does_not_name_counts() -> None:
    three = shown(t1="000001.000", t2="000002.000", t3="000004.000")
    assert decoded(TARIFFS, three) == {"import": 7_000_000}
    assert "no number in any of the registers" in str(decoded(TARIFFS, [*three[:2], "1-0:1.8.3(4*kW)"]))
    assert "no number in any of the registers" in str(decoded(TARIFFS, [three[0], three[2]]))


SWISS = replace(TARIFFS, channels=(1, 3, 5))


@pytest.mark.parametrize("channel", [0, 1, 3, 5])
def test_codes_in_any_of_the_channels(channel: int) -> None:
    lines = [line.replace("1-0:", f"1-{channel}:") for line in LINES]
    expected = {"import": 6_825_000, "export": 2_444_000, "power": -256}
    assert decoded(SWISS, lines) == expected
    assert decoded(SWISS, [*lines, f"1-{channel}:1.8.0(000006.825*kWh)"]) == expected
    if channel:
        assert "no number in any of the registers" in str(decoded(TARIFFS, lines))
    assert "no number in any" in str(decoded(SWISS, [line.replace("1-0:", "1-2:") for line in LINES]))


def test_one_register_in_two_channels() -> None:
    twice = ["1-0:1.8.0(000123*kWh)", "1-1:1.8.0(000123.456*kWh)"]
    assert decoded(SWISS, twice) == decoded(SWISS, twice[::-1]) == {"import": 123_456_000}
    said = decoded(SWISS, ["1-0:1.8.0(000123.455*kWh)", "1-1:1.8.0(000123.456*kWh)"])
    assert said == "the meter has two different registers for import: 123.455 kWh and 123.456 kWh"


@pytest.mark.parametrize("missing", ["1-0:1.8.1", "1-0:2.8.2", "1-0:1.7.0", "1-0:2.7.0"])
def test_without_a_check_sequence_every_number_must_be_there(missing: str) -> None:
    assert decoded(TARIFFS, LINES, ()) == {"import": 6_825_000, "export": 2_444_000, "power": -256}
    for damaged in (changed(missing), changed(missing, f"{missing}(00*kvar)")):
        said = decoded(TARIFFS, damaged, ())
        assert said == (
            f"a P1 telegram, which no check sequence protects, lacks {missing}: it may have been damaged"
        )


@pytest.mark.parametrize("line", [line for line in LINES if ".8." in line])
def test_without_a_check_sequence_no_lost_digit_passes(line: str) -> None:
    begin = line.index("(") + 1
    for at in range(begin, line.index("*")):
        code = line[: begin - 1]
        said = decoded(TARIFFS, changed(code, line[:at] + line[at + 1 :]), ())
        assert "energies of different numbers of digits" in str(said)


def test_a_total_is_enough_without_a_check_sequence() -> None:
    power = [line for line in LINES if ".7.0" in line]
    totals = ["1-0:1.8.0(000006.825*kWh)", "1-0:2.8.0(000002.444*kWh)"]
    for registers in (TARIFFS, TOTALS, OF_TWO):
        assert decoded(registers, [*totals, *power], ()) == {
            "import": 6_825_000,
            "export": 2_444_000,
            "power": -256,
        }


@pytest.mark.parametrize("checks", [ARC, ()])
@pytest.mark.parametrize("titled", [True, False])
def test_encrypted_telegrams_where_plain_ones_are_expected(checks: tuple[Check, ...], titled: bool) -> None:
    sealed = seal(telegram(LINES), EK, AK, 1) if titled else seal_lines(telegram(LINES), EK, AK)
    decoder = P1Decoder(TARIFFS, checks=checks)
    said = [item for at in range(len(sealed)) for item in decoder.feed(sealed[at : at + 1])]
    said += decoder.feed(sealed * 2)
    assert [type(item) for item in said] == [KeyFault] * 2
    assert "the meter encrypts its P1 telegrams, and its profile is of one that does not" in str(said[0])
    decoder.cut()
    good = telegram(LINES, "arc" if checks else None)
    (item,) = decoder.feed(good)
    assert isinstance(item, Telegram)
    (broken,) = decoder.feed(good[:60] + good)[:-1]
    assert str(broken) == "a P1 telegram breaks off"
