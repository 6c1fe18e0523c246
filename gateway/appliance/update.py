"""An update: find a newer release in the feed, install it into the other slot, restart into it for a trial.

What a release must be to be installed: signed by the update key, for this machine, newer than the running
one, and of no lower epoch. RAUC checks the bundle once more, by its own signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.appliance import feed as feeds
from gateway.appliance.feed import Latest, Progress
from gateway.appliance.journal import FOLDER, Journal, Known, Part, ReleaseNote, Trying
from gateway.appliance.keys import UPDATE_CERTIFICATE
from gateway.appliance.rauc import Rauc
from gateway.appliance.release import Release, read_certificate, read_release
from gateway.control.documents import Status
from gateway.errors import GatewayError, Refused, Unavailable, UsageError
from gateway.host.clock import Clock, unix_ms

BOOT = Path("/boot/firmware")
CERTIFICATE = Path("/usr/lib/gateway") / UPDATE_CERTIFICATE
"""The update key that the image trusts."""
RESTART = Path("/run/gateway-updater/tryboot")
"""systemd restarts the machine, into the slot on trial, once this file is there: gateway-tryboot.path."""
_ASKS, _ASK_S = 12, 5
"""How often a gateway that does not answer is asked what works, and after how many seconds again."""


class AsksStatus(Protocol):
    """The gateway's control client, as far as updates need it."""

    async def status(self) -> Status: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image has what updates need."""

    boot: Path = BOOT
    certificate: Path = CERTIFICATE
    folder: Path = FOLDER
    restart: Path = RESTART


class Updater:
    """Updates this machine."""

    def __init__(self, place: Place, rauc: Rauc, clock: Clock) -> None:
        self._place = place
        self._rauc = rauc
        self._clock = clock
        self._journal = Journal(place.folder)

    def running(self) -> Release:
        """The release that runs. UsageError where this is not the appliance's image."""
        try:
            return read_release(self._place.boot)
        except UsageError as error:
            raise UsageError(
                f"this machine does not run the appliance's image, which these updates are for: {error}"
            ) from None

    def known(self) -> Known:
        """What is known of updates."""
        return self._journal.read()

    async def check(self, feed: str) -> Latest | None:
        """The feed's release where it is newer than the running one, None where it is not. Refused where it
        must not be installed here."""
        running = self.running()
        try:
            latest = await self._newer(feed, running)
        except GatewayError as error:
            self._journal.note(checked_ms=unix_ms(self._clock), available=None, error=str(error))
            raise
        available = None if latest is None else ReleaseNote.of(latest.release)
        self._journal.note(checked_ms=unix_ms(self._clock), available=available, error=None)
        return latest

    async def _newer(self, feed: str, running: Release) -> Latest | None:
        latest = await feeds.read_latest(feed, read_certificate(self._place.certificate))
        found = latest.release
        if found.machine != running.machine:
            raise Refused(f"{found.name} is for the machine {found.machine}, and this is {running.machine}")
        if found.order <= running.order:
            return None
        if found.epoch < running.epoch:
            raise Refused(
                f"{found.name} has epoch {found.epoch}, and {running.name}, which runs, has {running.epoch}: "
                "a release of a lower epoch is not installed"
            )
        return latest

    async def install(self, feed: str, downloading: Progress, installing: Installing) -> Release | None:
        """Install the feed's release into the other slot, which `restart` tries; None where it is not newer
        than the running one. GatewayError says what failed; what runs stays as it is."""
        await self._not_on_trial()
        latest = await self.check(feed)
        if latest is None:
            return None
        note = ReleaseNote.of(latest.release)
        if self.known().installed == note and await self._is_armed():
            return latest.release
        try:
            folder = self._place.folder
            bundle = await feeds.fetch_bundle(feed, latest, folder, downloading, self._clock)
            # From here on the other slot has no release, until it has the new one.
            self._journal.note(installed=None)
            await self._rauc.install(bundle, installing)
        except GatewayError as error:
            self._journal.note(error=str(error))
            raise
        self._journal.note(installed=note)
        if bundle.parent == folder:
            bundle.unlink(missing_ok=True)
        return latest.release

    async def restart(self, expected: tuple[Part, ...]) -> None:
        """Have the machine restart into the installed release, on trial; `expected` is what has to work
        there. Unavailable where none is installed."""
        installed = self.known().installed
        slots = await self._rauc.slots()
        if installed is None or slots.primary == slots.running:
            raise Unavailable("no release is installed that has not been tried: `gateway update install`")
        trying = Trying(release=installed, slot=slots.primary, expected=expected)
        self._journal.note(trying=trying, installed=None, last=None)
        self._journal.begin_trial()
        try:
            self._place.restart.touch()
        except OSError as error:
            raise GatewayError(
                f"{self._place.restart} cannot be made: {error.strerror}; run this with sudo"
            ) from None

    async def _not_on_trial(self) -> None:
        """Unavailable while the running release is on trial: the other slot is the way back."""
        trying = self.known().trying
        if trying is not None and trying.slot == (await self._rauc.slots()).running:
            raise Unavailable(
                f"{trying.release.name} is still on trial, and the other slot is the way back: "
                "wait until its check ends, ten minutes at most"
            )

    async def _is_armed(self) -> bool:
        slots = await self._rauc.slots()
        return slots.primary != slots.running


class Installing(Protocol):
    """Is told how far RAUC is: the per cent, and the step."""

    def __call__(self, percent: int, step: str, /) -> object: ...


async def what_works(client: AsksStatus, clock: Clock) -> tuple[Part, ...]:
    """What works of the running gateway, and so has to work after an update. A home whose meter is broken, or
    whose first stream is yet to begin, gets its updates all the same; one that does not answer is asked again
    for a minute."""
    for asked in range(_ASKS):
        if asked:
            await clock.sleep(_ASK_S)
        try:
            status = await client.status()
            break
        except GatewayError:
            continue
    else:
        return ()
    parts: list[Part] = []
    meters = [meter for meter in status.meters if not meter.series]
    if any(one.sealing and one.error is None and one.sealed_until_ms is not None for one in meters):
        parts.append("sealing")
    if status.store.answered_ms is not None and status.store.error is None:
        parts.append("store")
    return tuple(parts)
