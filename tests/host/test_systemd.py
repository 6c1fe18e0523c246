"""What a service manager hears, over a real datagram socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.host.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = str(tmp_path / "notify")
        listening.bind(name if request.param == "path" else "\0" + name)
        listening.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", name if request.param == "path" else "@" + name)
        yield listening


def test_each_message_arrives(manager: socket.socket) -> None:
    notifier = Notifier()
    for state in ("READY=1", "WATCHDOG=1", "STATUS=größer", "STOPPING=1"):
        notifier.notify(state)
        assert manager.recv(1000).decode() == state


def test_a_manager_that_is_gone_is_no_fault_and_hears_again_once_it_is_back(manager: socket.socket) -> None:
    notifier = Notifier()
    address = manager.getsockname()
    manager.close()
    notifier.notify("READY=1")
    if isinstance(address, str):
        Path(address).unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as back:
        back.bind(address)
        back.settimeout(20)
        notifier.notify("WATCHDOG=1")
        assert back.recv(1000) == b"WATCHDOG=1"


@pytest.mark.parametrize("named", [None, ""])
def test_without_a_manager_it_says_nothing(
    manager: socket.socket, named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named is None:
        monkeypatch.delenv("NOTIFY_SOCKET")
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", named)
    made: list[object] = []
    monkeypatch.setattr("gateway.host.systemd.socket.socket", made.append)
    Notifier().notify("READY=1")
    assert made == []
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1000)


@pytest.mark.parametrize(
    ("micros", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", None),
        ("nonsense", None),
        ("-5", None),
        ("60000000", 30.0),
        ("1", 5e-7),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(
    micros: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    if micros is not None:
        monkeypatch.setenv("WATCHDOG_USEC", micros)
    assert Notifier.watchdog_seconds() == seconds


async def test_the_watchdog_is_not_fed_while_something_is_unwell(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    days = iter([True, False, False, True])
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 4:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Notifier().feed_watchdog(lambda: next(days), sleep)
    assert slept == [30.0] * 4
    manager.setblocking(False)
    assert [manager.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
    with pytest.raises(BlockingIOError):
        manager.recv(100)
