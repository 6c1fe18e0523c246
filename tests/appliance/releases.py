"""Releases, their keys and a feed for tests, and a RAUC that only notes what it is told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gateway.appliance import release as releases
from gateway.appliance.feed import LATEST, LATEST_SIGNATURE, Latest
from gateway.appliance.keys import UPDATE_CERTIFICATE, UPDATE_KEY, make_keys
from gateway.appliance.rauc import Rauc, Slots
from gateway.appliance.release import MANIFEST, Release
from gateway.appliance.update import Place, Updater
from gateway.errors import GatewayError
from gateway.host.clock import Clock

OLD = Release("gateway-2026.11.1", "2026.11.1", 7, "rpi4", "1" * 64, "2" * 64)
NEW = replace(OLD, name="gateway-2026.12.0", version="2026.12.0")
BUNDLE = bytes(range(256)) * 4000


class FakeRauc(Rauc):
    """Two slots, of which A runs. `installed` are the bundles that were written to the other one."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Slots("A", "A")
        self.installed: list[bytes] = []
        self.marks: list[tuple[str, str]] = []
        self.fault: str | None = None

    async def install(self, bundle: Path, progress: Callable[[int, str], object]) -> None:
        if self.fault:
            raise GatewayError(self.fault)
        self.installed.append(bundle.read_bytes())
        progress(100, "Installing done.")
        self.state = Slots(self.state.running, "B" if self.state.running == "A" else "A")

    async def slots(self) -> Slots:
        return self.state

    async def mark(self, state: Literal["good", "bad"], which: Literal["booted", "other"]) -> None:
        if self.fault:
            raise GatewayError(self.fault)
        self.marks.append((state, which))


@dataclass
class Machine:
    """A machine that runs OLD, in a folder, with the keys that it trusts, and a feed beside it."""

    folder: Path
    rauc: FakeRauc = field(default_factory=FakeRauc)

    def __post_init__(self) -> None:
        self.keys = make_keys(self.folder / "keys")
        self.key = releases.read_key(self.keys[UPDATE_KEY])
        self.feed = self.folder / "feed"
        self.place = Place(
            boot=self.folder / "boot",
            certificate=self.keys[UPDATE_CERTIFICATE],
            folder=self.folder / "state",
            restart=self.folder / "run" / "tryboot",
        )
        for path in (self.feed, self.place.boot, self.place.folder, self.place.restart.parent):
            path.mkdir()
        self.runs(OLD)

    def runs(self, release: Release) -> None:
        (self.place.boot / MANIFEST).write_bytes(release.encode())

    def updater(self, clock: Clock) -> Updater:
        return Updater(self.place, self.rauc, clock)

    def publishes(self, release: Release, bundle: bytes = BUNDLE, name: str = "gateway.raucb") -> Latest:
        """Put a release into the feed."""
        latest = Latest(release, name, len(bundle), hashlib.sha256(bundle).hexdigest())
        (self.feed / name).write_bytes(bundle)
        (self.feed / LATEST).write_bytes(latest.encode())
        (self.feed / LATEST_SIGNATURE).write_bytes(releases.sign(self.key, latest.encode()))
        return latest
