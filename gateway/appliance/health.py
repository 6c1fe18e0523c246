"""The check after an update: a release on trial is kept once it does its work, and left otherwise.

The firmware tries a new slot once. Within ten minutes its gateway has to seal a reading and to reach the
store, as far as that worked before; then the slot is committed. Otherwise the machine restarts, and the
firmware boots the slot before. A machine that hangs is restarted by its watchdog, with the same effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from gateway.appliance.journal import Journal, Outcome, Part, Trying
from gateway.appliance.rauc import Rauc
from gateway.control.documents import Status
from gateway.control.setup import ConfigurationStatus
from gateway.errors import GatewayError
from gateway.host.clock import Clock, unix_ms

MOST_S = 600
"""How long a release on trial has, by the monotonic clock, since its check began."""
_EVERY_S = 5.0
_ANSWER_S = 30.0


class Asks(Protocol):
    """The gateway's control client, as far as the check needs it."""

    async def status(self) -> Status: ...

    async def configuration(self) -> ConfigurationStatus: ...


@dataclass(frozen=True, slots=True)
class Checked:
    """How a trial ended, and whether the machine has to restart, out of the slot that is not kept."""

    outcome: Outcome
    restart: bool


FoundNewer = Callable[[], Awaitable[bool]]
"""Whether the gateway's last run ended because a newer gateway wrote the ledger."""


async def check_trial(
    journal: Journal, rauc: Rauc, client: Asks, clock: Clock, found_newer: FoundNewer
) -> Checked | None:
    """Check the release on trial, if there is one, and commit its slot or disarm it. The outcome is in the
    journal too.

    The check runs once for each trial, whatever becomes of it: a machine cannot end in restarting for ever.
    """
    journal.end_trial()
    trying = journal.read().trying
    if trying is None:
        return None
    # Stands if the check is cut off.
    _note(
        journal, trying, clock, "the check after the update was cut off: the machine hung or lost its power"
    )
    came_up = (await rauc.slots()).running == trying.slot
    if not came_up:
        why: str | None = (
            f"slot {trying.slot} did not come up: the machine restarted, or lost its power, before its check"
        )
        with suppress(GatewayError):  # nothing but the display depends on it: a slot is tried once
            await rauc.mark("bad", "other")
    else:
        why = await judge(trying.expected, client, clock, found_newer)
        if why is None:
            try:
                await rauc.mark("good", "booted")
            except GatewayError as error:
                why = f"its slot could not be committed: {error}"
        if why is not None:
            with suppress(GatewayError):
                await rauc.mark("bad", "booted")
    outcome = _note(journal, trying, clock, why)
    journal.note(trying=None)
    return Checked(outcome, came_up and not outcome.kept)


def _note(journal: Journal, trying: Trying, clock: Clock, why: str | None) -> Outcome:
    outcome = Outcome(
        release=trying.release,
        kept=why is None,
        sentence="it works, and is kept" if why is None else why,
        ended_ms=unix_ms(clock),
    )
    journal.note(last=outcome)
    return outcome


async def judge(
    expected: tuple[Part, ...], client: Asks, clock: Clock, found_newer: FoundNewer
) -> str | None:
    """Wait until the gateway does all that is expected, at most MOST_S: None then, else what is missing."""
    deadline = clock.monotonic() + MOST_S * 1_000_000_000
    watch = _Watch(expected)
    while True:
        if await found_newer():
            return "the ledger was written by a newer gateway, and this release leaves it alone"
        missing = await watch.look(client)
        if not missing:
            return None
        if clock.monotonic() >= deadline:
            return f"within {MOST_S // 60} minutes {'; '.join(missing)}"
        await clock.sleep(_EVERY_S)


class _Watch:
    """What the gateway has done since it was first asked."""

    def __init__(self, expected: tuple[Part, ...]) -> None:
        self._expected = expected
        self._sealed_until: dict[str, int | None] | None = None
        self._sealed = False

    async def look(self, client: Asks) -> list[str]:
        """What is missing, a part of a sentence each."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                if not self._expected:
                    await client.configuration()  # which a gateway that is not set up answers too
                    return []
                status = await client.status()
        except TimeoutError:
            return [f"the gateway did not answer in {_ANSWER_S:.0f} s"]
        except GatewayError as error:
            return [f"the gateway did not answer: {error}"]
        missing = []
        if not self._seals(status) and "sealing" in self._expected:
            errors = [meter.error for meter in status.meters if meter.error is not None]
            missing.append("; ".join(["no reading was sealed", *filter(None, [status.clock_waits, *errors])]))
        if status.store.answered_ms is None and "store" in self._expected:
            missing.append(f"the store was not reached: {status.store.error or 'it was not used yet'}")
        return missing

    def _seals(self, status: Status) -> bool:
        """Whether a meter's sealed time has grown since it was first seen."""
        sealed = {meter.meter: meter.sealed_until_ms for meter in status.meters if not meter.series}
        if self._sealed_until is None:
            self._sealed_until = sealed
        for meter, until_ms in sealed.items():
            before = self._sealed_until.get(meter)
            self._sealed = self._sealed or (until_ms is not None and until_ms > (before or 0))
        return self._sealed
