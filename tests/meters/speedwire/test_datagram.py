"""Speedwire datagrams: those of real meters are read, damaged and other ones are said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.reading import PassedOver, Telegram
from gateway.meters.speedwire.datagram import read
from gateway.meters.speedwire.decoder import SpeedwireDecoder
from gateway.simulate.speedwire import datagram
from tests.meters.speedwire.public import PublicDatagram, public_datagrams

GOOD = datagram(7, 1000, [(1, 4, 1), (1, 8, 2), (2, 4, 3), (2, 8, 4)])
# SMA, SpeedwireDD-TI-en-10: the request that finds devices, and an answer.
REQUEST = bytes.fromhex("534d4100000402a0ffffffff0000002000000000")
ANSWER = bytes.fromhex(
    "534d4100000402a000000001000200000001000400100001000100040020000000010004003000000a0100000000"
)


@pytest.mark.parametrize("public", public_datagrams(), ids=str)
def test_real_meters(public: PublicDatagram) -> None:
    assert read(public.data).ticker == public.ticker
    (telegram,) = SpeedwireDecoder(int(public.serial)).feed(public.data)
    assert isinstance(telegram, Telegram)
    assert (telegram.registers, telegram.serial) == (public.registers, public.serial)


def test_what_is_no_value_of_the_whole_house_is_left_out() -> None:
    with_phase = datagram(7, 1000, [(1, 4, 1), (21, 4, 9), (1, 8, 2)])
    assert read(with_phase).values == {(1, 4): 1, (21, 4): 9, (1, 8): 2}
    other_channel = with_phase.replace(bytes((0, 1, 8, 0)), bytes((1, 1, 8, 0)))
    other_tariff = with_phase.replace(bytes((0, 1, 8, 0)), bytes((0, 1, 8, 1)))
    for one in (other_channel, other_tariff):
        assert read(one).values == {(1, 4): 1, (21, 4): 9}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (REQUEST, "a Speedwire datagram that looks for devices, and holds no values"),
        (ANSWER, "of protocol 0x0001, which other devices use; an Energy Meter's is 0x6069"),
        (datagram(7, 1000, [], protocol=0x6065), "of protocol 0x6065, which other devices use"),
        (datagram(7, 1000, [], protocol=0x6081), "of protocol 0x6081, which other devices use"),
    ],
)
def test_what_other_devices_send_is_passed_over(data: bytes, sentence: str) -> None:
    with pytest.raises(PassedOver) as caught:
        read(data)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "a datagram that is not Speedwire's: it does not begin with SMA and a zero byte"),
        (b"M-SEARCH * HTTP/1.1", "a datagram that is not Speedwire's"),
        (b"SMA\0", "a Speedwire datagram is shorter than its lengths say"),
        (GOOD[:-4], "a Speedwire datagram is shorter than its lengths say"),
        (b"SMA\0\0\x02\0\x10\x60\x69\0\0\0\0", "a Speedwire datagram ends before its first value"),
        (
            b"SMA\0\0\x0e\0\x10\x60\x69" + bytes(10) + b"\0\1" + bytes(4),
            "a Speedwire datagram ends within an entry",
        ),
        (
            b"SMA\0\0\x11\0\x10\x60\x69" + bytes(10) + b"\0\1\4\0\0" + bytes(4),
            "a Speedwire datagram ends within an entry",
        ),
        (
            GOOD.replace(bytes((0, 1, 8, 0)), bytes((0, 1, 7, 0))),
            "a Speedwire datagram has a value 0.1.7.0: type 7 is unknown",
        ),
    ],
)
def test_what_is_damaged(data: bytes, sentence: str) -> None:
    with pytest.raises(MeterError) as caught:
        read(data)
    assert not isinstance(caught.value, PassedOver)
    assert sentence in str(caught.value)


def test_each_way_to_cut_a_datagram_is_noticed() -> None:
    for end in range(len(GOOD)):
        with pytest.raises(MeterError):
            read(GOOD[:end])


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 10**9))
def test_what_is_sent_is_read(serial_number: int, ticker: int, ws: int, power: int) -> None:
    entries = [(1, 4, power), (2, 4, 0), (1, 8, ws), (2, 8, 0)]
    found = read(datagram(serial_number, ticker, entries))
    assert (found.serial_number, found.ticker) == (serial_number, ticker)
    assert [(*key, value) for key, value in found.values.items()] == entries


@given(st.lists(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda tail: GOOD[:20] + tail))))
def test_damaged_ones_never_stop_the_others(noise: list[bytes]) -> None:
    decoder = SpeedwireDecoder(7)
    for ticker, one in enumerate(noise):
        said = decoder.feed(one)
        assert len(said) == 1
        good = datagram(7, ticker, [(1, 8, 18)])
        if isinstance(said[0], MeterError):
            assert str(said[0])
            assert decoder.feed(good) == [Telegram({"import": 5}, "7")]
        else:
            decoder = SpeedwireDecoder(7)
