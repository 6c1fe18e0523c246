"""Commands from the control socket to real switches, and back as receipts that a provider reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.control.client import ControlClient
from gateway.control.commands import Act
from gateway.control.documents import GrantRequest
from gateway.errors import Refused, UsageError
from gateway.provider.commands import check_answers, read_receipt
from gateway.simulate.home import Home as SimulatedHome
from gateway.simulate.modbus import Display, devices
from gateway.simulate.modbus_registers import sheet_of
from gateway.wire import cose
from tests.meters.bench import NOON_S, StillClock, modbus_model, tcp_server
from tests.meters.dlms.peers import policy, simulated
from tests.support.commanded import CommandedHome
from tests.support.home import Home
from tests.support.serving import serving

LIMIT = 0x9000


class RealHome(CommandedHome):
    """Its meters are as its configuration has them, not devices of the test."""

    async def session_begins(self, regained: object = None) -> None:
        await Home.session_begins(self, None)

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[ControlClient]:
        """The gateway answers on its socket, and carries commands out."""
        path = self.folder / "s"
        working = asyncio.create_task(self.session.commander.run())
        try:
            async with serving(self, path):
                yield ControlClient(path)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            for meter in self.session._meters.values():
                await meter.aclose()


async def until(client: ControlClient, command: str, state: str) -> bytes:
    """The receipt of a command, once it has this state."""
    async with asyncio.timeout(20):
        while True:
            (found,) = [one for one in await client.commands() if one.id == command]
            if found.state == state:
                return found.receipt
            await asyncio.sleep(0)


async def test_a_dlms_meter_is_disconnected_and_reconnected(tmp_path: Path) -> None:
    home = RealHome(tmp_path)
    async with simulated(policy(), "wrapper", StillClock()) as (meter, port):
        home.section = {"profile": "dlms-generic", "tcp": {"host": "127.0.0.1", "port": port}, "factor": 2}
        await home.begins()
        await home.publish()
        signer = cose.kid_of(home.root.public_key)
        async with home.answering() as client:
            for kind, connected in (("disconnect", False), ("reconnect", True)):
                data = home.allowed.signs(home.commands_of(home.allowed, kind))
                sent = await client.command(data)
                assert (sent.state, sent.meter) == ("waits", "main")
                receipt = await read_receipt(
                    await until(client, sent.id, "done"), home.bucket, signer, "the receipt"
                )
                assert receipt.switch == ("connected" if connected else "disconnected")
                assert meter.objects.connected is connected
                check_answers(receipt, data, "the receipt")
                with pytest.raises(Refused, match="the receipt is a receipt for another command"):
                    check_answers(receipt, data + b"x", "the receipt")
                with pytest.raises(Refused, match="is signed by key"):
                    await read_receipt(sent.receipt, home.bucket, bytes(16), "the receipt")
        await home.crash()


async def test_a_modbus_register_is_limited_until_the_time_is_over(tmp_path: Path) -> None:
    home = RealHome(tmp_path)
    model = modbus_model("eastron-sdm630")
    display = Display(SimulatedHome(1, NOON_S), sheet_of(model), StillClock())
    async with tcp_server(devices({1: display}, LIMIT)) as port:
        home.section = {
            "tcp": {"host": "127.0.0.1", "port": port},
            "limit": {"register": {"address": LIMIT, "scale": 0.1, "type": "u32", "off": 2**32 - 1}},
            "switch": {"coil": 3},
        }
        await home.begins()
        async with home.answering() as client:
            (bus,) = {home.session._meters["main"]._bus}  # type: ignore[attr-defined]

            async def held() -> list[int]:
                words: list[int] = await bus.registers(1, "holding", LIMIT, 2)
                return words

            sent = await client.command(home.allowed.signs(home.commands_of(home.allowed, "limit")))
            await until(client, sent.id, "running")
            assert await held() == [0, 42_000]
            assert (await client.status()).commands == (
                "Netz: limit to 4200 W at main: the limit is in force",
            )
            asked = await client.command(home.asked.signs(home.commands_of(home.asked, "disconnect")))
            assert len((await client.status()).commands) == 2
            assert (await client.decide_command(asked.id, "allow")).state == "waits"
            await until(client, asked.id, "done")
            assert not await bus.coil(1, 3)
            assert home.clock.now_ms < sent.until_ms
            await home.clock.asleep()
            home.clock.pass_s((sent.until_ms - home.clock.now_ms) / 1000)
            await until(client, sent.id, "ended")
            await home.session.commander.step()  # its time ends first, and then it is lifted
            assert await held() == [0xFFFF, 0xFFFF]
            assert await home.ledger.limited() == set()
        await home.crash()


async def test_whatever_is_asked_amiss_gets_a_sentence(tmp_path: Path) -> None:
    home = RealHome(tmp_path)
    await home.begins()
    async with home.answering() as client:
        with pytest.raises(Refused, match="the command"):
            await client.command(b"")
        with pytest.raises(UsageError, match=r"there is no command 0{32}: gateway command list shows"):
            await client.decide_command("0" * 32, "allow")
        with pytest.raises(UsageError, match="is not a command's id: expected 32 hexadecimal digits"):
            await client.decide_command("xyz", "allow")
        with pytest.raises(UsageError, match="there is no command"):
            await client.acted("00", Act(topic="a", payload="b"))
        for path, body, sentence in (
            ("/commands", {}, 'the request lacks "command"'),
            ("/commands", [], "the request is not a JSON object"),
            ("/commands", {"command": "?"}, 'the request\'s "command" is invalid'),
            ("/commands/00", {"decision": "maybe"}, 'the request\'s "decision" is invalid'),
            ("/commands/00/acted", {"topic": "a"}, 'the request lacks "payload"'),
        ):
            with pytest.raises(UsageError, match=sentence):
                await client._ask(None, "POST", path, body)  # type: ignore[arg-type]
        assert await client.commands() == ()
        cards = await client.cards()
        assert {(card.name, card.known_by) for card in cards} == {
            ("Netz", "configured"),
            ("Stadtwerke", "configured"),
        }
        wish = GrantRequest(
            kind="windows",
            cards=(home.stranger.card_bytes(),),
            granularity="20s",
            zone="UTC",
            lanes=None,
            purpose="tests",
            from_ms=None,
            until_ms=None,
            meter=None,
            tariff=None,
            confirmed=True,
            fingerprints=(home.stranger.card.fingerprint,),
            dry_run=True,
        )
        await client.grant(wish)
        assert len(await client.cards()) == 2  # nothing was granted
        await client.grant(wish.model_copy(update={"dry_run": False}))
        (granted,) = [card for card in await client.cards() if card.known_by == "granted"]
        assert (granted.name, granted.kid) == ("Fremde", home.stranger.card.kid.hex())
        assert granted.fingerprint == home.stranger.card.fingerprint
        refused = await client.command(home.stranger.signs(home.commands_of(home.stranger, "message")))
        assert refused.code == "policy"
        assert cards[0].card in (home.allowed.card_bytes(), (tmp_path / "Netz.cose").read_bytes())
    await home.crash()
