"""The commander beside a plain model of it: commands, decisions, clocks that step, devices that are away, and
power cuts, in any order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.config import CommandsSection
from gateway.config.wiring import Controls
from gateway.daemon.commander import Commander
from gateway.daemon.mandates import Mandates
from gateway.daemon.registrar_link import RegistrarLink
from gateway.daemon.vouching import Vouching
from gateway.errors import Refused, Unavailable, UsageError
from gateway.ledger.ledger import Ledger
from gateway.trust.opening import open_root
from gateway.wire import cose
from gateway.wire.command import Command
from tests.ledger.values import descriptor, sealed, stream
from tests.support.clock import FakeClock
from tests.support.commanded import (
    ALLOW,
    ASK,
    Device,
    DeviceLimit,
    DeviceSupply,
    PowerCut,
    Receipts,
    Utility,
)
from tests.support.home import MEMORY

T = TypeVar("T")
STREAM = stream(1)
KINDS = ("disconnect", "reconnect", "limit", "limit", "message")


@dataclass
class Modelled:
    """A command as it should be: `lived` is in ms."""

    command: Command
    provider: str
    received_ms: int
    state: str
    lived: int = 0
    by_hand: bool = False
    """Whether the household ended it, once it was accepted."""

    @property
    def open(self) -> bool:
        return self.state in ("asks", "waits", "running")

    @property
    def accepted(self) -> bool:
        return self.state in ("waits", "running")

    @property
    def group(self) -> str:
        return {"limit": "limit", "message": "message"}.get(self.command.kind, "supply")


class CommanderMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="commander-", dir=MEMORY))
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.device = Device()
        self.root = self.do(open_root("software", self.folder / "trust", ""))
        self.utilities = {name: Utility(self.clock.now_ms, name) for name in ("allowed", "asked")}
        self.sections = []
        for (name, utility), policies in zip(self.utilities.items(), (ALLOW, ASK), strict=True):
            path = self.folder / f"{name}.cose"
            path.write_bytes(utility.card_bytes())
            self.sections.append(CommandsSection.model_validate({"from": str(path), **policies}))
        self.receipts = Receipts(self.root.public_key)
        self.do(self.start())
        self.do(self.ledger.begin_incarnation(7, 0))
        self.do(self.ledger.add_stream(STREAM, descriptor(STREAM), [sealed(7, STREAM.start, 1)], b"state"))
        self.models: list[Modelled] = []
        self.sent: list[bytes] = []
        self.holding: set[str] = set()  # the providers whose disconnect holds
        self.connected = True
        self.limit: int | None = None
        self.unticked = 0  # ms

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def start(self) -> None:
        self.ledger = await Ledger.open(self.folder / "ledger.sqlite")
        self.receipts.watch(self.ledger)
        nobody = Vouching(RegistrarLink(Path("nowhere"), self.root, self.clock), self.clock)
        mandates = Mandates(self.sections, nobody, self.ledger, self.clock)
        controls = {STREAM.meter: Controls(DeviceSupply(self.device), DeviceLimit(self.device))}
        self.commander = Commander(self.ledger, self.root, self.clock, mandates, controls)
        await self.commander.open()

    def restart(self) -> None:
        self.do(self.ledger.close())
        self.do(self.start())
        self.unticked = 0

    def teardown(self) -> None:
        """Whatever happened, every limit ends: without a trusted clock, and a clock that is set back."""
        self.device.reachable, self.device.cut = True, False
        self.clock.is_trusted = False
        self.clock.step_s(-400 * 86_400)
        for _ in range(4):
            self.restart()
            self.do(self.commander.step())
            self.clock.pass_s(3600)
            self.do(self.commander.step())
        assert self.device.limit is None
        assert self.do(self.ledger.limited()) == set()
        assert self.do(self.commander.open_commands()) == ()
        self.do(self.ledger.close())
        self.do(self.root.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)

    # --- what the model does

    def tick(self) -> None:
        for model in self.models:
            model.lived += self.unticked if model.open else 0
        self.unticked = 0

    def past(self, model: Modelled, at_ms: int) -> bool:
        by_clock = self.clock.is_trusted and self.clock.now_ms >= at_ms
        return by_clock or model.lived >= at_ms - model.received_ms

    def model_settles(self) -> list[Modelled]:
        """What the time alone changes; the commands that are accepted and have begun then."""
        self.tick()
        for model in self.models:
            if model.open and self.past(model, model.command.until_ms):
                model.state = "ended" if model.state == "running" else "expired"
        begun = [model for model in self.models if model.accepted and self.past(model, model.command.from_ms)]
        for later in begun:
            for model in self.models[: self.models.index(later)]:
                same = (model.provider, model.group) == (later.provider, later.group)
                if same and model.open and model.group != "message":
                    model.state = "ended"
        begun = [model for model in begun if model.open]
        for model in begun:
            if model.group == "message":
                model.state = "done"
        return begun

    def model_steps(self) -> None:
        begun = self.model_settles()
        if not self.device.reachable:
            return
        for model in begun:
            if model.group == "supply":
                for other in self.models:
                    if other.provider == model.provider and other.command.kind == "disconnect":
                        other.state = "ended" if other.state == "done" else other.state
                model.state = "done"
                self.holding.discard(model.provider)
                if model.command.kind == "disconnect":
                    self.holding.add(model.provider)
                self.connected = not self.holding
        limits = [model for model in begun if model.group == "limit"]
        self.limit = min((model.command.limit_w or 0 for model in limits), default=None)
        for model in limits:
            model.state = "running"

    # --- what happens

    @rule(
        name=st.sampled_from(["allowed", "allowed", "asked"]),
        kind=st.sampled_from(KINDS),
        begins=st.sampled_from([0, 0, 0, -600, 600, 3000]),
        lasts=st.sampled_from([60, 900, 3600, 7200]),
        power=st.integers(0, 9000),
        behind=st.sampled_from([0, 0, 0, 0, 1]),
        then=st.booleans(),
    )
    def send(
        self, name: str, kind: str, begins: int, lasts: int, power: int, behind: int, then: bool
    ) -> None:
        utility, now_ms = self.utilities[name], self.clock.now_ms
        from_ms = now_ms + begins * 1000
        command = utility.command(STREAM.id, kind, now_ms, from_ms=from_ms, until_ms=from_ms + lasts * 1000)
        if kind == "limit":
            command = replace(command, limit_w=power)
        if behind and utility.serial > 1:  # lower than one that came
            command = replace(command, serial=utility.serial - 1)
        data = utility.signs(command)
        if not self.clock.is_trusted:
            with pytest.raises(Unavailable):
                self.do(self.commander.receive(data))
            return
        status = self.do(self.commander.receive(data))
        self.tick()
        in_order = all(
            command.serial > other.command.serial
            for other in self.models
            if other.provider == name and other.state != "out of order"
        )
        if not in_order:
            assert (status.state, status.code) == ("refused", "serial")
            state = "out of order"
        elif command.until_ms <= now_ms:
            assert (status.state, status.code) == ("refused", "late")
            state = "refused"
        else:
            state = "waits" if name == "allowed" else "asks"
            assert status.state == state
        self.models.append(Modelled(command, name, now_ms, state))
        self.sent.append(data)
        if state == "asks" and then:
            self.decide(len(self.models), True)
        if then:
            self.steps(0)

    @precondition(lambda self: self.sent and self.clock.is_trusted)
    @rule(pick=st.integers(0, 10**6))
    def replay(self, pick: int) -> None:
        n = pick % len(self.sent)
        status = self.do(self.commander.receive(self.sent[n]))
        if self.models[n].provider == "nobody":  # signed once more: judged anew
            self.tick()
        self.same(self.models[n], status.state)
        assert len(self.do(self.commander.statuses())) == len(self.models)

    @precondition(lambda self: self.sent and self.clock.is_trusted)
    @rule(pick=st.integers(0, 10**6), at=st.integers(0, 10**6), bit=st.integers(0, 7))
    def forge(self, pick: int, at: int, bit: int) -> None:
        data = bytearray(self.sent[pick % len(self.sent)])
        data[at % len(data)] ^= 1 << bit
        with pytest.raises(Refused):
            self.do(self.commander.receive(bytes(data)))

    @precondition(lambda self: self.clock.is_trusted)
    @rule(name=st.sampled_from(["allowed", "asked"]), kind=st.sampled_from(KINDS))
    def foreign(self, name: str, kind: str) -> None:
        command = self.utilities[name].command(bytes(16), kind, self.clock.now_ms)
        status = self.do(self.commander.receive(self.utilities[name].signs(command)))
        self.tick()
        assert (status.state, status.code) == ("refused", "stream")
        self.models.append(Modelled(command, "nobody", self.clock.now_ms, "refused"))
        self.sent.append(self.utilities[name].signs(command))

    @rule(pick=st.integers(0, 5), allow=st.booleans())
    def decides(self, pick: int, allow: bool) -> None:
        self.decide(pick, allow)

    def decide(self, pick: int, allow: bool) -> None:
        asked = [model for model in self.models if model.state == "asks"]
        if asked:
            model = asked[min(pick, len(asked) - 1)]
            self.model_settles()
            if model.state != "asks":  # its time was over
                with pytest.raises(UsageError):
                    self.do(self.commander.decide(model.command.id, allow))
                return
            self.do(self.commander.decide(model.command.id, allow))
            model.state = "waits" if allow else "refused"

    @precondition(lambda self: any(model.group == "limit" for model in self.models))
    @rule(pick=st.integers(0, 5))
    def ends(self, pick: int) -> None:
        """The household ends a limit by hand, where it may."""
        limits = [model for model in self.models if model.group == "limit" and model.provider != "nobody"]
        if not limits:
            return
        model = limits[-1 - min(pick, len(limits) - 1)]
        self.model_settles()
        if model.provider == "allowed" or not model.accepted:
            with pytest.raises(UsageError):
                self.do(self.commander.end(model.command.id))
            return
        assert self.do(self.commander.end(model.command.id)).code == "owner"
        model.state, model.by_hand = "refused", True

    @rule(seconds=st.sampled_from([1, 60, 600, 3600]))
    def passes(self, seconds: int) -> None:
        self.clock.pass_s(seconds)
        self.unticked += seconds * 1000

    @rule(seconds=st.sampled_from([-100_000, -600, 600, 100_000]))
    def clock_steps(self, seconds: int) -> None:
        self.clock.step_s(seconds)

    @rule(trusted=st.sampled_from([True, True, True, False]))
    def clock_is(self, trusted: bool) -> None:
        self.clock.is_trusted = trusted

    @rule(reachable=st.sampled_from([True, True, False]))
    def device_is(self, reachable: bool) -> None:
        self.device.reachable = reachable

    @rule()
    def crash(self) -> None:
        self.restart()

    @rule(cuts=st.integers(0, 2))
    def step(self, cuts: int) -> None:
        self.steps(cuts)

    def steps(self, cuts: int) -> None:
        """The gateway does what is due; the power may be cut just after something was done to the device."""
        self.model_steps()
        for _ in range(cuts):
            self.device.cut = True
            try:
                self.do(self.commander.step())
            except PowerCut:
                self.restart()
        self.device.cut = False
        self.do(self.commander.step())
        if self.device.reachable:
            assert (self.device.connected, self.device.limit) == (self.connected, self.limit)

    def same(self, model: Modelled, state: str) -> None:
        assert state == ("refused" if model.state == "out of order" else model.state)

    @invariant()
    def every_command_is_as_it_should_be(self) -> None:
        statuses = {status.id: status for status in self.do(self.commander.statuses())}
        assert len(statuses) == len(self.models)
        for model in self.models:
            self.same(model, statuses[model.command.id.hex()].state)
            receipts = (
                self.receipts.by_command[
                    next(
                        cose.digest(data)
                        for data in self.sent
                        if cose.payload_unchecked(data, "it")[1] == model.command.payload()
                    )
                ]
                if model.provider != "nobody"
                else []
            )
            assert not receipts or receipts[-1].state == statuses[model.command.id.hex()].state

    @invariant()
    def nothing_was_done_but_what_was_accepted(self) -> None:
        kinds = {
            model.command.kind
            for model in self.models
            if model.by_hand or model.state not in ("refused", "out of order")
        }
        for act in self.device.acts:
            kind = {"connect": "reconnect"}.get(act, act.partition(" ")[0])
            assert kind in kinds


CommanderMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40)
TestCommander = pytest.mark.slow(CommanderMachine.TestCase)
