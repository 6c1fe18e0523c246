"""Sets the supply and the limit of each meter to what the commands want, and says what became of them.

A command is carried out once, and not again if somebody undoes it by hand; a limit is looked after as long as
it is in force. A limit is noted in the ledger before it is set, until it was lifted: so also a gateway that
starts anew lifts it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from gateway.config.wiring import Controls
from gateway.control.commands import Act
from gateway.daemon.acts import Published, Unpublished
from gateway.daemon.held_command import Held, Next, watts
from gateway.errors import MeterError
from gateway.host.clock import Clock
from gateway.host.fault_log import FaultLog
from gateway.ledger.ledger import Ledger

_log = logging.getLogger(__name__)
_NONE = Controls()


class Switcher:
    """The switches and limits of all meters: `controls`, by the meter's name."""

    def __init__(self, ledger: Ledger, clock: Clock, controls: Mapping[str, Controls]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._controls = controls
        self._faults: dict[tuple[str, str], str] = {}  # by meter, and "supply" or "limit"
        self._logs: dict[tuple[str, str], FaultLog] = {}
        self._for: dict[tuple[str, str], int] = {}  # the number of the command for which each was set last

    @property
    def faults(self) -> tuple[str, ...]:
        """What could not be set, a sentence each."""
        return tuple(self._faults.values())

    def able(self, meter: str, kind: str) -> bool:
        """Whether the meter has what a command of this kind takes."""
        controls = self._controls.get(meter, _NONE)
        control = {"message": True, "limit": controls.limit}.get(kind, controls.supply)
        return control is not None

    def fault_for(self, held: Held, meter: str | None) -> str | None:
        """What keeps a command from being carried out, or its limit from being lifted."""
        place = _place(held, meter)
        return self._faults.get(place) if self._for.get(place) == held.number else None

    def due_for(self, held: Held, meter: str | None) -> Act | None:
        """What the household's daemon has to publish for a command."""
        place = _place(held, meter)
        controls = self._controls.get(place[0], _NONE)
        control = controls.supply if held.of_supply else controls.limit
        if self._for.get(place) != held.number or not isinstance(control, Published):
            return None
        return control.due

    def acknowledge(self, meter: str, act: Act) -> None:
        """The household's broker has what was due at the meter."""
        controls = self._controls.get(meter, _NONE)
        for control in (controls.supply, controls.limit):
            if isinstance(control, Published):
                control.acknowledge(act)

    async def supply(self, meter: str, commands: Sequence[Held], now_ms: int | None) -> list[Next]:
        """Carry out the first of a meter's commands that waits for its supply; what becomes of it, and of the
        disconnects that it ends. Empty where none waits, or where a switch that was not reached before was
        not reached again."""
        held = next(
            (one for one in commands if one.of_supply and one.state == "waits" and one.begun(now_ms)), None
        )
        if held is None:
            return []
        supply = self._controls.get(meter, _NONE).supply
        if supply is None:
            return [Next(held, "refused", "unable")]
        self._for[meter, "supply"] = held.number
        holding = [one for one in commands if one.holds]
        mine = [one for one in holding if one.same_origin(held)]
        reconnects = held.command.kind == "reconnect"
        held_by_others = reconnects and len(holding) > len(mine)
        try:
            shown = await supply.bring(reconnects and not held_by_others)
        except MeterError as error:
            return self._unreached(meter, "supply", error, [held])
        self._reached(meter, "supply")
        ended = "reconnected" if reconnects else "replaced"
        return [
            Next(held, "done", "held" if held_by_others else "switched", switch=shown),
            *(Next(one, "ended", ended) for one in mine),
        ]

    async def limit(self, meter: str, commands: Sequence[Held], now_ms: int | None) -> list[Next]:
        """Set a meter's limit to the lowest in force, or lift it; what becomes of those that waited."""
        limit = self._controls.get(meter, _NONE).limit
        in_force = [
            held
            for held in commands
            if held.command.kind == "limit" and held.state in ("waits", "running") and held.begun(now_ms)
        ]
        waiting = [held for held in in_force if held.state == "waits"]
        if limit is None:
            return [Next(held, "refused", "unable") for held in waiting]
        was_set = meter in await self._ledger.limited()
        if not in_force and not was_set:
            return []
        first = min(in_force, key=watts) if in_force else _last_limit(commands)
        if first is not None:
            self._for[meter, "limit"] = first.number
        lowest = watts(first) if first is not None and in_force else None
        if not was_set:
            await self._ledger.set_limited(meter, True)
        try:
            shown = await limit.bring(lowest)
        except MeterError as error:
            return self._unreached(meter, "limit", error, waiting, lifting=lowest is None)
        if lowest is None:
            await self._ledger.set_limited(meter, False)
        self._reached(meter, "limit")
        return [Next(held, "running", "limited", limit_w=shown) for held in waiting]

    def _unreached(
        self, meter: str, what: str, error: MeterError, waiting: Sequence[Held], *, lifting: bool = False
    ) -> list[Next]:
        """Something could not be set: a receipt for each command that waits says so once."""
        why = "the limit is over, and not lifted yet: " if lifting else ""
        said = str(error).removeprefix(f"meter {meter}: ")
        self._faults[meter, what] = sentence = f"commands to meter {meter}: {why}{said}"
        if isinstance(error, Unpublished):  # which is as it should be, for a moment
            return []
        self._logs.setdefault((meter, what), FaultLog(self._clock, _log.warning, _log.info)).report(sentence)
        return [Next(held, "waits", "unreached") for held in waiting if held.receipt.code != "unreached"]

    def _reached(self, meter: str, what: str) -> None:
        self._faults.pop((meter, what), None)
        if (log := self._logs.pop((meter, what), None)) is not None:
            log.clear(f"commands to meter {meter}: its {what} is set")


def _place(held: Held, meter: str | None) -> tuple[str, str]:
    return meter or "", "supply" if held.of_supply else "limit"


def _last_limit(commands: Sequence[Held]) -> Held | None:
    """The command that stands for a limit to be lifted: the last limit, or where none is kept, the last of
    any kind."""
    limits = [held for held in commands if held.command.kind == "limit"]
    return next(reversed(limits or commands), None)
