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
_CUT_OFF = "the check after the update was cut off: the machine hung or lost its power"


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

    A machine does not restart for ever: it restarts only out of the slot on trial, which the firmware does
    not boot a second time. What a power cut or a full disk leaves open, the next boot's check settles.
    """
    trying = journal.read().trying
    again = journal.was_cut_off()
    unwritable: str | None = None
    try:
        journal.begin_check()
        if trying is None:
            journal.end_check()
        else:  # stands if the check is cut off
            journal.note(last=_outcome(trying, clock, _CUT_OFF))
    except GatewayError as error:
        unwritable = str(error)
    if trying is None:
        return None
    why: str | None
    try:
        came_up = (await rauc.slots()).running == trying.slot
    except GatewayError as error:
        # Or not: a restart boots the slot before in any case, once the journal has it that the check began.
        came_up, why = unwritable is None, str(error)
    else:
        why = unwritable
        if not came_up or why is None:
            why = await _why_left(trying, came_up, again, rauc, client, clock, found_newer)
    outcome = _outcome(trying, clock, why)
    with suppress(GatewayError):  # the next boot's check notes it
        journal.note(trying=None, last=outcome, **({"available": None} if outcome.kept else {}))
        journal.end_check()
    return Checked(outcome, came_up and not outcome.kept and not again)


async def _why_left(
    trying: Trying,
    came_up: bool,
    again: bool,
    rauc: Rauc,
    client: Asks,
    clock: Clock,
    found_newer: FoundNewer,
) -> str | None:
    """Why the release is not kept; None once its slot is committed. `again` after a check that was cut
    off: the slot runs then only if that one had committed it."""
    # Only what RAUC shows depends on its marks "bad": the firmware tries a slot once, marked or not.
    if not came_up:
        with suppress(GatewayError):
            await rauc.mark("bad", "other")
        if again:
            return _CUT_OFF
        return (
            f"slot {trying.slot} did not come up: the machine restarted, or lost its power, before its check"
        )
    why = await judge(trying.expected, client, clock, found_newer)
    if why is None:
        try:
            await rauc.mark("good", "booted")
        except GatewayError as error:
            why = f"its slot could not be committed: {error}"
    if why is not None:
        with suppress(GatewayError):
            await rauc.mark("bad", "booted")
    return why


def _outcome(trying: Trying, clock: Clock, why: str | None) -> Outcome:
    return Outcome(
        release=trying.release,
        kept=why is None,
        sentence="it does its work" if why is None else why,
        ended_ms=unix_ms(clock),
    )


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
