"""One meter's telegrams, whatever the network does to its datagrams and whoever else sends."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.reading import PassedOver, Reading, Telegram
from gateway.meters.speedwire.decoder import SpeedwireDecoder
from gateway.simulate.home import Home
from gateway.simulate.speedwire import SpeedwireMeter, datagram
from tests.meters.bench import NOON_S, NS
from tests.support.clock import FakeClock

ONE, OTHER, THIRD = 1_900_204_522, 3_003_000_001, 3_003_000_002
TWO_METERS = (
    f"two SMA meters are heard, with the serial numbers {ONE} and {OTHER}; say which is meant: "
    f"multicast = {{ serial_number = {ONE} }} (--serial-number)"
)


def sent(ticker: int, ws: int = 18, serial_number: int = ONE) -> bytes:
    return datagram(serial_number, ticker, [(1, 8, ws)])


def imported(decoder: SpeedwireDecoder, datagrams: Iterable[bytes]) -> list[int]:
    items = [item for data in datagrams for item in decoder.feed(data)]
    return [item.registers["import"] for item in items if isinstance(item, Telegram)]


def problem(decoder: SpeedwireDecoder, data: bytes) -> MeterError:
    (item,) = decoder.feed(data)
    assert isinstance(item, MeterError)
    return item


@pytest.mark.parametrize(
    ("entries", "registers"),
    [
        ([(1, 8, 3600), (2, 8, 7)], {"import": 1000, "export": 1}),
        ([(1, 8, 1), (2, 8, 18)], {"import": 0, "export": 5}),
        ([(1, 4, 6347), (2, 4, 0)], {"power": 635}),
        ([(1, 4, 0), (2, 4, 88_355)], {"power": -8836}),
        ([(1, 4, 20), (2, 4, 14), (1, 8, 2**64 - 1)], {"power": 1, "import": (2**64 - 1) * 1000 // 3600}),
        ([(1, 4, 20), (1, 8, 36)], {"import": 10}),
    ],
)
def test_values_to_registers(entries: list[tuple[int, int, int]], registers: dict[str, int]) -> None:
    assert SpeedwireDecoder(ONE).feed(datagram(ONE, 0, entries)) == [Telegram(registers, str(ONE))]


def test_a_datagram_without_a_register() -> None:
    said = problem(SpeedwireDecoder(ONE), datagram(ONE, 0, [(1, 4, 20), (13, 4, 1000)]))
    assert not isinstance(said, PassedOver)
    assert str(said) == (
        "a Speedwire datagram holds neither an energy (1.8.0, 2.8.0) nor a power (1.4.0, 2.4.0)"
    )


def test_what_was_overtaken_is_passed_over_also_where_the_ticker_starts_from_0_again() -> None:
    for begin in (5_000, 2**32 - 1_500):
        decoder = SpeedwireDecoder(ONE)
        order = [0, 1, 3, 2, 3, 4, 1]
        assert imported(decoder, (sent(begin + 1000 * n, 18 * n) for n in order)) == [0, 5, 15, 15, 20]
        said = problem(decoder, sent(begin + 2000))
        assert isinstance(said, PassedOver)
        assert str(said) == "a datagram that a later one has overtaken"


def test_a_meter_that_was_restarted_is_read_on() -> None:
    decoder = SpeedwireDecoder(ONE)
    assert imported(decoder, [sent(3_600_000, 36), sent(200, 54), sent(1200, 72)]) == [10, 15, 20]


def test_what_was_overtaken_before_a_new_connection_still_is() -> None:
    decoder = SpeedwireDecoder(ONE)
    assert imported(decoder, [sent(3000)]) == [5]
    decoder.cut()
    assert imported(decoder, [sent(2000), sent(3000), sent(4000)]) == [5, 5]


def test_another_meter_is_passed_over_where_the_meter_is_named() -> None:
    decoder = SpeedwireDecoder(ONE)
    mixed = [sent(9, 1800, OTHER), sent(5000, 18), sent(7, 180_000, OTHER), sent(6000, 36)]
    assert imported(decoder, mixed) == [5, 10]
    said = problem(decoder, sent(9, 1800, OTHER))
    assert isinstance(said, PassedOver)
    assert str(said) == f"a datagram of the SMA meter {OTHER}; the one with serial_number = {ONE} is meant"


def test_an_unnamed_meter_is_read_once_it_was_heard_alone() -> None:
    decoder = SpeedwireDecoder()
    said = problem(decoder, sent(1000))
    assert isinstance(said, PassedOver)
    assert (
        str(said) == f"a datagram of the SMA meter {ONE}, which is read once it is known to be the only one"
    )
    assert imported(decoder, [sent(2000), sent(3000), sent(4000), sent(5000)]) == [5, 5]
    decoder.cut()
    assert imported(decoder, [sent(6000)]) == [5]


def test_of_two_unnamed_meters_none_is_read() -> None:
    decoder = SpeedwireDecoder()
    assert (
        imported(decoder, (sent(ticker, 18, n) for ticker in range(0, 9000, 1000) for n in (ONE, OTHER)))
        == []
    )
    assert str(problem(decoder, sent(9000))) == TWO_METERS
    assert not isinstance(problem(decoder, sent(9000)), PassedOver)


def test_a_meter_that_comes_later_ends_reading_until_it_has_gone() -> None:
    decoder = SpeedwireDecoder()
    assert imported(decoder, [sent(0), sent(2500), sent(3000)]) == [5, 5]
    assert str(problem(decoder, sent(77, 18, OTHER))) == TWO_METERS
    assert str(problem(decoder, sent(4000))) == TWO_METERS
    assert str(problem(decoder, sent(99, 18, THIRD))) == TWO_METERS.replace(str(OTHER), str(THIRD))
    decoder.cut()
    assert imported(decoder, [sent(5000)]) == [5]


def test_another_meter_never_takes_the_place_of_the_one_that_was_read() -> None:
    decoder = SpeedwireDecoder()
    assert imported(decoder, [sent(0), sent(2500)]) == [5]
    for _ in range(3):
        decoder.cut()
        others = (sent(ticker, 18, OTHER) for ticker in range(0, 9000, 1000))
        assert imported(decoder, others) == []


ORDER = st.lists(
    st.tuples(
        st.sampled_from(["lost", *["well"] * 5]), st.floats(0, 3), st.lists(st.floats(0, 4), max_size=2)
    ),
    min_size=20,
    max_size=60,
)


@given(ORDER, st.integers(0, 2**32 - 1))
def test_whatever_the_network_does_the_energy_is_what_the_registers_counted(
    network: list[tuple[str, float, list[float]]], first_ticker: int
) -> None:
    """Datagrams are lost, delayed so that they overtake each other, and repeated."""
    clock = FakeClock(NOON_S)
    home = Home(3, NOON_S)
    meter = SpeedwireMeter(home, clock, serial_number=ONE)
    shown = {}
    arrivals = []
    for number, (fate, delay, copies) in enumerate(network):
        meter.live.catch_up()
        ws = [total * 18 // 5 for total in (home.import_mwh, home.export_mwh)]
        shown[NOON_S + number] = {
            "import_mwh": ws[0] * 1000 // 3600,
            "export_mwh": ws[1] * 1000 // 3600,
            "power_w": home.power,
        }
        at = first_ticker + 1000 * number
        data = meter.datagram().replace(
            (home.second * 1000 % 2**32).to_bytes(4, "big"), (at % 2**32).to_bytes(4, "big"), 1
        )
        if fate == "well":
            arrivals += [(number + late, data) for late in (delay, *(delay + more for more in copies))]
        clock.pass_s(1)
    decoder, readings = SpeedwireDecoder(ONE), []
    for at_s, data in sorted(arrivals):
        for item in decoder.feed(data):
            if isinstance(item, Telegram):
                wall = NOON_S * NS + round(at_s * NS)
                readings.append(Reading("main", item.registers, wall, wall, item.serial))
    for lane in ("import", "export"):
        registers = [reading.registers[lane] for reading in readings]
        assert registers == sorted(registers)
        assert set(registers) <= {one[f"{lane}_mwh"] for one in shown.values()}
        if arrivals:
            newest = max(number for number, one in enumerate(network) if one[0] == "well")
            assert registers[-1] == shown[NOON_S + newest][f"{lane}_mwh"]
