"""A demonstration's registrar, in which simulated homes are enrolled: `gateway simulate fleet --registrar`.

Its folder has

- `registrar.toml`   its configuration, for `gateway registrar serve`
- `state`            its key and database
- `service`          the identity of its summing service
- `centre`           that of the load monitoring centre, which is registered
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gateway.chain.layout import DAY_MS
from gateway.cli.card import read_card
from gateway.errors import UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.host.files import write_durably
from gateway.provider.identity import CARD_FILE, KEY_FILE, new_identity
from gateway.provider.membership import Membership, keep
from gateway.simulate.fleet.objects import HomeObjects, Parties
from gateway.simulate.fleet.plan import Plan
from gateway.store.location import Location

if TYPE_CHECKING:
    from gateway.registrar.enrolment import Holder
    from gateway.registrar.settings import Settings

SETTINGS_FILE = "registrar.toml"
_CENTRE, _SERVICE, _STATE = "centre", "service", "state"
_NAMES = {_CENTRE: "Load monitoring centre", _SERVICE: "Summing service"}
_FIRST_LINE = "# The registrar of simulated homes, whose keys follow from a seed: for a demonstration alone."
_PORT = 8461  # the centre's pages are at 8460
_CLOCK = SystemClock("host")
_VALIDITY_MS = 20 * 365 * DAY_MS  # of a home's card, from the fleet's begin on


@dataclass(frozen=True, slots=True)
class Demonstration:
    """The folder of a demonstration, and its registrar's configuration."""

    folder: Path
    settings: Settings

    @classmethod
    def begin(cls, folder: Path, location: Location) -> Self:
        """Make what the folder does not have yet: the registrar's configuration, and the keys. UsageError
        where it cannot be written, has keys or a registrar that were not made for this, or belongs to another
        store, and where a package of the registrar is missing."""
        with _packages():
            from gateway.registrar import identity  # noqa: PLC0415 - gateway[registrar]
            from gateway.registrar.settings import Settings  # noqa: PLC0415
        path, now_ms = folder / SETTINGS_FILE, unix_ms(_CLOCK)
        _check_ours(folder)
        if not path.exists():
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_durably(path, _settings(location).encode(), 0o644)
            except OSError as error:
                raise UsageError(f"{folder} cannot be written: {error.strerror}") from None
        settings = Settings.load(path)
        store = settings.store
        if store is None or (store.url, store.endpoint) != (_url(location), location.endpoint):
            raise UsageError(f"{path} names another store than --to: name a new folder")
        if not (settings.registrar.state / identity.KEY_FILE).exists():
            identity.new_identity(settings.registrar.state, settings.registrar.name, now_ms)
        for who, name in _NAMES.items():
            if not (folder / who / KEY_FILE).exists():
                new_identity(folder / who, name, now_ms)
        return cls(folder, settings)

    def parties(self, k_min: int | None) -> Parties:
        """The centre and the service, to which the homes grant loads."""
        centre, service = (read_card(self.folder / who / CARD_FILE) for who in (_CENTRE, _SERVICE))
        return Parties(centre, service, k_min)

    def enrol(self, plan: Plan, parties: Parties) -> None:
        """Enrol the homes, each as a household of its own, and the centre; begin the summing service's
        memory. What is done already stays."""
        with _packages():
            from gateway.registrar.enrolment import Holder, enrol  # noqa: PLC0415 - gateway[registrar]
            from gateway.registrar.loads import LoadMemory  # noqa: PLC0415
            from gateway.registrar.service import open_registrar  # noqa: PLC0415
        centre = Holder(_CENTRE, parties.centre, (self.folder / _CENTRE / CARD_FILE).read_bytes())

        async def work() -> None:
            async with open_registrar(self.settings, _CLOCK) as registrar:
                certificates = await enrol(registrar, (centre, *_homes(plan, parties)))
                with suppress(UsageError):  # it was begun
                    await LoadMemory(registrar.database).begin()
                card = registrar.identity.card
                made = Membership(self._url, None, _CENTRE, card, certificates[parties.centre.kid])
                keep(self.folder / _CENTRE, made, registrar.identity.signed_card)

        asyncio.run(work())

    @property
    def _url(self) -> str:
        return f"http://{self.settings.listen.host}:{self.settings.listen.port}"


def _check_ours(folder: Path) -> None:
    """UsageError where a folder has more than what was made for a demonstration: anybody can work out the
    keys of simulated homes, and among real households each would count as one."""
    path = folder / SETTINGS_FILE
    try:
        ours = path.read_text("utf-8", errors="replace").startswith(_FIRST_LINE)
    except FileNotFoundError:
        ours = not any((folder / one).exists() for one in (_STATE, *_NAMES))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if not ours:
        raise UsageError(
            f"{folder} has a registrar, or keys, that were not made for simulated homes: name a new folder"
        )


def _homes(plan: Plan, parties: Parties) -> Iterator[Holder]:
    from gateway.registrar.enrolment import Holder  # noqa: PLC0415 - gateway[registrar]
    from gateway.registrar.streams import Listing  # noqa: PLC0415

    until_ms = plan.start * plan.unit_ms + _VALIDITY_MS
    for region in range(plan.regions):
        listing = Listing(plan.region_name(region), "", listed=False)
        for number in plan.region_of(region).tolist():
            home = HomeObjects(plan, number, parties, "", plan.end)
            stream = home.stream.hex()
            card, signed = home.card(f"Simulated home {stream[:8]}", until_ms)
            yield Holder(f"home-{stream}", card, signed, {home.stream: home.descriptor()}, listing)


def _settings(location: Location) -> str:
    """The registrar's configuration."""
    store = {
        "url": _url(location),
        "endpoint": location.endpoint,
        "region": location.region,
        "addressing": location.addressing,
        "ca": None if location.ca is None else str(location.ca.absolute()),
    }
    written = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in store.items() if value]
    return f"""\
{_FIRST_LINE}

[registrar]
name = "Demonstration registrar"
state = "{_STATE}"
software_roots = true

[listen]
port = {_PORT}

[store]
{"".join(written)}
[loads]
key = "{_SERVICE}"
"""


def _url(location: Location) -> str:
    return location.url if location.url.startswith("s3://") else str(Path(location.url).absolute())


@contextmanager
def _packages() -> Iterator[None]:
    """UsageError that names the extra where a package of the registrar is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--registrar needs {error.name}: install gateway[registrar], which has all it needs"
        ) from None
