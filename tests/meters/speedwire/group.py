"""A multicast group on loopback, for one test alone."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.meters.endpoint import Multicast
from gateway.meters.speedwire.model import GROUP


def free_group() -> Multicast:
    """SMA's group at a UDP port that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        return Multicast(GROUP, probe.getsockname()[1], "127.0.0.1")


@contextmanager
def sender(group: Multicast) -> Iterator[Callable[[bytes], None]]:
    """A function that sends a datagram to `group`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outlet:
        interface = socket.inet_aton(group.interface)
        outlet.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)

        def send(data: bytes) -> None:
            outlet.sendto(data, (group.group, group.port))

        yield send
