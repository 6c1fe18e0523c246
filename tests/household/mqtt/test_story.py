"""A utility's prices and commands, over its broker to a home and back: real brokers, a simulated DLMS meter,
and what the household's own broker shows meanwhile."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.control.client import ControlClient
from gateway.host.clock import SystemClock
from gateway.household.money import SeriesRates
from gateway.household.mqtt import home as own_broker
from gateway.household.mqtt import utility
from gateway.household.mqtt.configuration import HomeBroker
from gateway.household.mqtt.link import LinkStatus
from gateway.household.mqtt.service import price_now
from gateway.household.prices import Prices, SeriesName
from gateway.mqtt import topics
from gateway.mqtt.broker import Connection
from gateway.provider.commands import check_answers, read_receipt
from gateway.simulate.dlms import DlmsMeterSimulation
from gateway.wire import cose
from gateway.wire.command import Receipt
from gateway.wire.prices import PriceInterval, PriceSeries
from tests.daemon.test_commands_over_the_socket import RealHome
from tests.household.mqtt.test_home import Seen, watching
from tests.household.mqtt.test_utility import section, take, until, utility_client
from tests.meters.bench import StillClock
from tests.meters.dlms.peers import policy, simulated
from tests.support.commanded import Utility
from tests.support.mosquitto import DESK, UTILITY, Certificate, Mosquitto, UtilityMosquitto

NAME = "Day ahead"


@dataclass
class Story:
    """A home with a gateway, its household's daemon as far as MQTT goes, and the utility."""

    folder: Path
    home: RealHome
    meter: DlmsMeterSimulation
    control: ControlClient
    own: Mosquitto
    broker: UtilityMosquitto
    certificate: Certificate
    grid: Certificate
    seen: Seen
    """What Home Assistant sees."""

    @property
    def kid(self) -> bytes:
        return cose.kid_of(self.home.root.public_key)

    @property
    def provider(self) -> Utility:
        return self.home.allowed

    # --- the household

    @asynccontextmanager
    async def household(self) -> AsyncIterator[utility.Utility]:
        async def cards() -> list[bytes]:
            return [one.card for one in await self.control.cards()]

        folder, clock = self.folder / "household", SystemClock("host")
        prices = Prices(folder / "prices", cards, self.home.clock)

        def rates() -> SeriesRates:
            return SeriesRates.open(prices, {"import": SeriesName(self.provider.card.kid, NAME)})

        theirs = utility.Utility(
            section(self.broker, self.certificate),
            self.control,
            prices.accept,
            folder / "mqtt",
            clock,
            interval_s=0.05,
        )
        ours = own_broker.Home(
            HomeBroker(url=self.own.url),
            self.control,
            folder / "mqtt",
            clock,
            price=price_now(rates, self.home.clock),
            interval_s=0.05,
            act_interval_s=0.05,
        )
        tasks = [asyncio.create_task(theirs.run()), asyncio.create_task(ours.run())]
        try:
            yield theirs
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- the utility

    async def publishes(self, topic: str, payload: bytes, *options: str) -> int:
        """By Mosquitto's own client; its exit code."""
        file = self.folder / "payload"
        file.write_bytes(payload)
        command = ["mosquitto_pub", "-V", "mqttv5", "-q", "1", "-h", "127.0.0.1", "-p", str(self.broker.port)]
        command += ["--cafile", str(self.broker.certificates.ca), "--cert", str(self.grid.certificate)]
        command += ["--key", str(self.grid.key), "-t", topic, "-f", str(file), *options]
        done = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True, timeout=20)
        return done.returncode

    async def commands(self, kind: str) -> bytes:
        """A command of the utility that the household trusts, sent; its bytes."""
        signed = self.provider.signs(self.home.commands_of(self.provider, kind))
        assert await self.sends(signed) == 0
        return signed

    async def sends(self, payload: bytes) -> int:
        return await self.publishes(topics.command(self.kid.hex()), payload)

    async def receipt(self, desk: Connection, state: str, command: bytes) -> Receipt:
        """The next receipt with this state, checked to be for the command."""
        while True:
            data = await take(desk, topics.receipt(self.kid.hex()))
            receipt = await read_receipt(data, self.home.bucket, self.kid, "the receipt")
            if receipt.state == state:
                check_answers(receipt, command, "the receipt")
                return receipt

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[Connection]:
        async with utility_client(self.broker, DESK) as connection:
            await connection.subscribe([f"gw1/{self.kid.hex()}/#"])
            yield connection


@asynccontextmanager
async def story(folder: Path, broker: UtilityMosquitto, own: Mosquitto) -> AsyncIterator[Story]:
    home = RealHome(folder)
    async with simulated(policy(), "wrapper", StillClock()) as (meter, port), watching(own) as seen:
        home.section = {
            "profile": "dlms-generic",
            "tcp": {"host": "127.0.0.1", "port": port},
            "limit": {"mqtt": {"topic": "home/limit/set", "off": "none"}},
        }
        await home.begins()
        await home.publish()
        certificate = broker.certificates.issue(cose.kid_of(home.root.public_key).hex())
        grid = broker.certificates.issue(UTILITY)
        async with home.answering() as control:
            yield Story(folder, home, meter, control, own, broker, certificate, grid, seen)
        await home.crash()


async def test_prices_a_limit_and_a_disconnection_reach_the_home_and_receipts_the_utility(
    utility_broker: UtilityMosquitto, home_broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with story(tmp_path, utility_broker, home_broker) as told:
        await _price_is_published(told)
        async with told.desk() as desk, told.household():
            await told.seen.until(lambda: told.seen.json("gateway/state").get("price") == 0.3141)
            limit = await _limit_is_in_force(told, desk)
            await _what_is_replayed_or_forged_changes_nothing(told, limit)
            cut = await told.commands("disconnect")
            assert (await told.receipt(desk, "done", cut)).switch == "disconnected"
            assert not told.meter.objects.connected
            assert len(await told.control.commands()) == 2
        # While the household's daemon is away the broker keeps a reconnection, over its own restart.
        again = await told.commands("reconnect")
        await asyncio.to_thread(utility_broker.restart)
        assert not told.meter.objects.connected
        async with told.desk() as desk, told.household():
            assert (await told.receipt(desk, "done", again)).switch == "connected"
            assert told.meter.objects.connected
            await _limit_ends_by_itself(told, desk, limit)
        await _revoked_certificates_end_it(told)
    assert not [record for record in caplog.records if record.exc_info]


async def _price_is_published(told: Story) -> None:
    """Retained, before the household connects."""
    now_ms, kid = told.home.clock.now_ms, told.provider.card.kid
    intervals = (PriceInterval(now_ms - 60_000, 86_400_000, 3141),)
    series = PriceSeries(kid, 1, NAME, ("import",), "EUR", 4, "Europe/Berlin", intervals, now_ms)
    assert await told.publishes(topics.price(kid.hex()), told.provider.signs(series), "-r") == 0


async def _limit_is_in_force(told: Story, desk: Connection) -> bytes:
    limit = await told.commands("limit")
    await told.seen.until(lambda: told.seen.now.get("home/limit/set") == b"4200")
    await told.seen.until(lambda: told.seen.json("gateway/state")["limit"] == 4200)
    await told.receipt(desk, "running", limit)
    return limit


async def _what_is_replayed_or_forged_changes_nothing(told: Story, limit: bytes) -> None:
    """The limit again, a stranger's command, a changed one, nonsense: the disconnection that follows is the
    second command that the gateway knows."""
    stranger = told.home.stranger
    forged = stranger.signs(told.home.commands_of(stranger, "disconnect"))
    for wrong in (limit, forged, limit[:-1] + bytes([limit[-1] ^ 1]), os.urandom(100), b""):
        assert await told.sends(wrong) == 0


async def _limit_ends_by_itself(told: Story, desk: Connection, limit: bytes) -> None:
    (running,) = [one for one in await told.control.commands() if one.kind == "limit"]
    await told.home.clock.asleep()
    told.home.clock.pass_s((running.until_ms - told.home.clock.now_ms) / 1000)
    await told.seen.until(lambda: told.seen.now.get("home/limit/set") == b"none")
    await told.seen.until(lambda: told.seen.json("gateway/state")["limit"] is None)
    await told.receipt(desk, "ended", limit)


async def _revoked_certificates_end_it(told: Story) -> None:
    """The utility's: what it sends reaches nobody. The gateway's: its status says so."""
    async with told.household() as household:
        await until(lambda: household.status.connected)
        await asyncio.to_thread(told.broker.revoke, told.grid)
        late = told.provider.signs(told.home.commands_of(told.provider, "disconnect"))
        assert await told.sends(late) != 0
        await asyncio.to_thread(told.broker.revoke, told.certificate)
        sentence = f"{told.broker.url} refuses this client's certificate: it is revoked"
        await until(lambda: household.status == LinkStatus(told.broker.url, False, sentence))
    assert len(await told.control.commands()) == 3
    assert told.meter.objects.connected
