"""SeaweedFS, an S3 server, all of it in one process on loopback: its ports, and its command line."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from gateway.errors import Unavailable

PARTS = ("master", "volume", "filer", "s3", "admin")
GRPC = 10_000
"""The distance at which SeaweedFS's parts look for each other's gRPC ports, whatever its options say."""
# With GRPC added still below the ports that Linux gives to outgoing connections (32768 to 60999): a
# client that calls a stopped server's port in that range may be given the same port, and reach itself.
_PORTS = range(15_000, 22_000)


def free_ports(stack: ExitStack) -> dict[str, int]:
    """A free port for each part, free GRPC above it too. No other caller on this machine gets it until
    `stack` ends, even while nothing listens there."""
    ports: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if len(ports) == len(PARTS):
            return dict(zip(PARTS, ports, strict=True))
        with ExitStack() as taken:
            try:
                for number in (port, port + GRPC):
                    taken.enter_context(_lock_port(number))
            except OSError:
                continue
            stack.enter_context(taken.pop_all())
            ports.append(port)
    raise Unavailable(f"fewer than {len(PARTS)} ports are free between {_PORTS.start} and {_PORTS.stop} here")


def command(weed: Path, data: Path, config: Path, listen: Mapping[str, int], *options: str) -> list[str]:
    """The command line of the program `weed`, with its state in `data` and the permissions in `config`."""
    return [
        str(weed),
        "mini",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={data}",
        *(f"-{part}.port={port}" for part, port in listen.items()),
        *(f"-{part}.port.grpc={port + GRPC}" for part, port in listen.items()),
        f"-s3.config={config}",
        "-s3.autoCreateBucket=false",  # as at Amazon: a put into a missing bucket is an error
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-volume.preStopSeconds=0",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        *options,
    ]


def _lock_port(port: int) -> socket.socket:
    """An abstract Unix socket named after the port: a lock that goes when its process does."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0gateway-port-{port}")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        lock.close()
        raise
    return lock
