"""A real S3 server, and who may do what in it."""

from __future__ import annotations

import json
import secrets
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import Unavailable
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from provisioning.demo.process import Parts, program, until

BUCKET = "home"
REGION = "us-east-1"

# SeaweedFS's parts look for each other's gRPC at this distance, whatever its options say.
_GRPC = 10_000
# With _GRPC added still below the ports that Linux gives to outgoing connections (32768 to 60999).
_PORTS = range(15_000, 22_000)


@dataclass(frozen=True, slots=True)
class Keys:
    """Somebody's credentials at the S3 server, and what they may do there."""

    actions: tuple[str, ...]
    access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    secret_key: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)

    def environment(self) -> dict[str, str]:
        """As AWS's tools take them."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def file(self) -> str:
        """As the gateway's `credentials` file has them."""
        return f"access_key_id={self.access_key}\nsecret_access_key={self.secret_key}\n"


@dataclass(frozen=True, slots=True)
class Store:
    """An S3 server with one bucket: `owner` runs it, the gateway reads and writes, the provider reads."""

    endpoint: str
    owner: Keys = field(default_factory=lambda: Keys(("Admin", "Read", "Write", "List")))
    gateway: Keys = field(default_factory=lambda: _keys("Read", "Write", "List"))
    provider: Keys = field(default_factory=lambda: _keys("Read", "List"))

    def bucket(self) -> Bucket:
        """The bucket, as its owner."""
        keys = self.owner
        return open_bucket(
            Location.parse(f"s3://{BUCKET}", self.endpoint, REGION, keys.access_key, keys.secret_key)
        )


def _keys(*actions: str) -> Keys:
    return Keys(tuple(f"{action}:{BUCKET}" for action in actions))


async def start_store(parts: Parts, folder: Path, ports: ExitStack) -> Store:
    """SeaweedFS, all of it in one process. `ports` holds on to its ports while nothing listens there."""
    names = ("master", "volume", "filer", "s3", "admin")
    listen = dict(zip(names, _free_ports(len(names), ports), strict=True))
    store = Store(f"http://127.0.0.1:{listen['s3']}")
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": keys.access_key, "secretKey": keys.secret_key}],
            "actions": keys.actions,
        }
        for name, keys in (("owner", store.owner), ("gateway", store.gateway), ("provider", store.provider))
    ]
    data = folder / "store"
    data.mkdir()
    config = folder / "store.json"
    write_secret(config, json.dumps({"identities": identities}))
    part = await parts.start(
        "store",
        program("weed"),
        "mini",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={data}",
        f"-bucket={BUCKET}",
        *(f"-{name}.port={port}" for name, port in listen.items()),
        *(f"-{name}.port.grpc={port + _GRPC}" for name, port in listen.items()),
        *(f"-{name}.localSocket={folder}/{name}.sock" for name in ("s3", "filer")),
        f"-s3.config={config}",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-volume.preStopSeconds=0",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
    )
    bucket = store.bucket()

    async def takes_objects() -> bool:
        try:
            await bucket.put("ready", b"yes")
            await bucket.delete("ready")
        except Unavailable:
            return False
        return True

    try:
        await until(part, "take objects", takes_objects)
    finally:
        await bucket.aclose()
    return store


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner ever could read."""
    path.touch(0o600, exist_ok=False)
    path.write_text(text)


def _free_ports(count: int, stack: ExitStack) -> list[int]:
    """Ports that are free, as are those _GRPC above them, and that no other demo picks until `stack` ends."""
    ports: list[int] = []
    for port in secrets.SystemRandom().sample(_PORTS, len(_PORTS)):
        if len(ports) == count:
            return ports
        with ExitStack() as taken:
            try:
                for number in (port, port + _GRPC):
                    taken.enter_context(_lock_port(number))
            except OSError:
                continue
            stack.enter_context(taken.pop_all())
            ports.append(port)
    raise Unavailable(f"Fewer than {count} ports are free between {_PORTS.start} and {_PORTS.stop} here.")


def _lock_port(port: int) -> socket.socket:
    """An abstract Unix socket named after the port: a lock that goes when its process does."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0gateway-demo-port-{port}")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        lock.close()
        raise
    return lock
