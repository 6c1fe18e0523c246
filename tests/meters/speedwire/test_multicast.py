"""A multicast group on real sockets: everyone hears each datagram for itself, and silence is explained."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket

import pytest

from gateway.errors import MeterError
from gateway.meters.endpoint import Multicast
from gateway.meters.listener import Listener
from gateway.meters.speedwire.decoder import SpeedwireDecoder
from gateway.meters.transport import Connection
from gateway.simulate.speedwire import datagram
from tests.meters.bench import StillClock, until
from tests.meters.speedwire.group import free_group, sender

ONE, OTHER = 1_900_204_522, 3_003_000_001


def listener(group: Multicast, serial_number: int | None = ONE, silence_s: float = 5) -> Listener:
    return Listener(
        "main",
        group,
        SpeedwireDecoder(serial_number),
        lanes=("import", "export", "power"),
        silence_s=silence_s,
        clock=StillClock(),
        rollover={},
    )


def sent(ticker: int, ws: int, serial_number: int = ONE) -> bytes:
    return datagram(serial_number, ticker, [(1, 8, ws)])


async def test_each_datagram_comes_alone_and_an_empty_one_ends_nothing() -> None:
    group = free_group()
    connection = await Connection.open(group)
    with sender(group) as send:
        for data in (b"one", b"", b"two", bytes(60_000)):
            send(data)
        async with asyncio.timeout(10):
            assert [await connection.read() for _ in range(3)] == [b"one", b"two", bytes(60_000)]
    connection.close()


async def test_what_is_sent_to_this_machine_alone_is_heard_too() -> None:
    group = free_group()
    connection = await Connection.open(group)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outlet:
        outlet.sendto(b"for you", ("127.0.0.1", group.port))
    async with asyncio.timeout(10):
        assert await connection.read() == b"for you"
    connection.close()


async def test_all_members_of_a_group_hear_the_same_and_no_other_group() -> None:
    group = free_group()
    members = [await Connection.open(group) for _ in range(3)]
    other = Multicast("239.12.255.253", group.port, "127.0.0.1")
    stranger = await Connection.open(other)
    with sender(group) as send, sender(other) as send_other:
        send_other(b"other")
        send(b"all")
        async with asyncio.timeout(10):
            assert [await member.read() for member in members] == [b"all"] * 3
            assert await stranger.read() == b"other"
    for member in (*members, stranger):
        member.close()


async def test_a_group_is_only_listened_to() -> None:
    group = free_group()
    connection = await Connection.open(group)
    with pytest.raises(MeterError, match=r"\(multicast\) on 127\.0\.0\.1 is only listened to"):
        await connection.write(b"x")
    connection.close()


async def test_an_interface_that_is_not_there() -> None:
    with pytest.raises(MeterError) as caught:
        await Connection.open(Multicast("239.12.255.254", 9522, "198.51.100.77"))
    assert str(caught.value) == (
        "cannot join 239.12.255.254:9522 (multicast) on 198.51.100.77: no interface of this machine has the "
        "address 198.51.100.77"
    )


async def test_a_machine_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unconnected(socket.socket):
        def setsockopt(self, level: int, name: int, value: object, *_: object) -> None:
            if name == socket.IP_ADD_MEMBERSHIP:
                raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr("gateway.meters.transport.socket.socket", Unconnected)
    with pytest.raises(MeterError) as caught:
        await Connection.open(Multicast("239.12.255.254", free_group().port))
    assert "(multicast): this machine has no route to it; is it connected?" in str(caught.value)


async def test_a_port_that_another_program_has_for_itself() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as selfish:
        selfish.bind(("", 0))
        group = Multicast("239.12.255.254", selfish.getsockname()[1], "127.0.0.1")
        with pytest.raises(
            MeterError, match=r"^cannot open 239\..* on 127\.0\.0\.1: Address already in use$"
        ):
            await Connection.open(group)


async def test_two_meters_of_one_group_are_read_side_by_side(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    group = free_group()
    one, other = listener(group, ONE), listener(group, OTHER)
    reading = [asyncio.create_task(meter.read()) for meter in (one, other)]
    await until(lambda: one._connection is not None and other._connection is not None)
    with sender(group) as send:
        send(sent(1000, 18, ONE))
        send(b"SMA\0\0\4\2\xa0\xff\xff\xff\xff\0\0\0\x20\0\0\0\0")
        send(sent(1000, 36, OTHER))
        async with asyncio.timeout(10):
            first, second = [await task for task in reading]
    assert (first.registers, first.serial) == ({"import": 5}, str(ONE))
    assert (second.registers, second.serial) == ({"import": 10}, str(OTHER))
    assert not caplog.records
    await one.aclose()
    await other.aclose()


async def test_nothing_heard_is_explained() -> None:
    group = free_group()
    meter = listener(group, silence_s=0.05)
    with pytest.raises(MeterError) as caught:
        await meter.read()
    assert str(caught.value) == (
        f"meter main at 239.12.255.254:{group.port} (multicast) on 127.0.0.1 has sent nothing for 0.05 s: "
        "check that it is in the same network as this machine, that no firewall here closes its UDP port, "
        "and that switches and Wi-Fi in between pass multicast on (with IGMP snooping it often ends after "
        "minutes)"
    )


@pytest.mark.parametrize(
    ("said", "sentence", "logged"),
    [
        (
            [sent(1, 18, OTHER)],
            f"a datagram of the SMA meter {OTHER}; the one with serial_number = {ONE} is",
            0,
        ),
        ([datagram(ONE, 1, [], protocol=0x6065)], "of protocol 0x6065, which other devices use", 0),
        ([b"hello", sent(1, 18, OTHER)], "a datagram that is not Speedwire's", 1),
    ],
)
async def test_only_what_does_not_count_is_heard(
    said: list[bytes], sentence: str, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    group = free_group()
    meter = listener(group, silence_s=0.5)
    reading = asyncio.create_task(meter.read())
    await until(lambda: meter._connection is not None)
    with sender(group) as send:
        for data in said:
            send(data)
        with pytest.raises(MeterError) as caught:
            await reading
    assert re.search(
        f"has sent nothing that can be read for 0.5 s: .*{re.escape(sentence)}", str(caught.value)
    )
    assert len(caplog.records) == logged
    with pytest.raises(MeterError, match=r"sent nothing for 0\.5 s: check that"):  # the others are long gone
        await meter.read()
    await meter.aclose()


async def test_of_two_meters_none_is_read_and_both_are_named(caplog: pytest.LogCaptureFixture) -> None:
    group = free_group()
    meter = listener(group, None, silence_s=0.5)
    reading = asyncio.create_task(meter.read())
    await until(lambda: meter._connection is not None)
    with sender(group) as send:
        for ticker in range(0, 5000, 1000):
            send(sent(ticker, 18, ONE))
            send(sent(ticker, 1800, OTHER))
        with pytest.raises(MeterError) as caught:
            await reading
    named = f"two SMA meters are heard, with the serial numbers {ONE} and {OTHER}; say which is meant: "
    assert f"sent nothing that can be read for 0.5 s: {named}" in str(caught.value)
    assert [record.getMessage() for record in caplog.records] == [
        f"meter main: a telegram is skipped: {named}multicast = {{ serial_number = {ONE} }} (--serial-number)"
    ]
    await meter.aclose()
