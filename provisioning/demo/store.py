"""A real S3 server, and the credentials and permissions in it."""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gateway.bench import seaweedfs
from gateway.errors import Unavailable
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from provisioning.demo.process import Parts, program, until

BUCKET = "home"
REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials at the S3 server, and the actions that they permit."""

    actions: tuple[str, ...]
    access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    secret_key: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)

    def environment(self) -> dict[str, str]:
        """The keys as AWS's tools take them."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def file(self) -> str:
        """The keys as the gateway's `credentials` file has them."""
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
    """Start SeaweedFS, all of it in one process. `ports` reserves its ports while nothing listens there."""
    listen = seaweedfs.free_ports(ports)
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
    sockets = [f"-{name}.localSocket={folder}/{name}.sock" for name in ("s3", "filer")]
    command = seaweedfs.command(program("weed"), data, config, listen, f"-bucket={BUCKET}", *sockets)
    part = await parts.start("store", *command)
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
    """Write a file that only its owner could ever read."""
    path.touch(0o600, exist_ok=False)
    path.write_text(text)
