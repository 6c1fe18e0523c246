"""MQTT as a part of the household's daemon: it runs with the pages, and the doctor's page shows it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.household.home import Household
from gateway.household.mqtt.configuration import HomeBroker, MqttSection, UtilityBroker
from gateway.household.mqtt.service import Mqtt, price_now
from tests.household.mqtt.test_home import watching
from tests.household.mqtt.test_utility import until
from tests.support.mosquitto import Mosquitto
from tests.support.pages import Browser


@pytest.fixture
def household(household: Household, home_broker: Mosquitto) -> Household:
    """The home of the pages, with two brokers, of which one is not there."""
    utility = UtilityBroker(url="mqtts://127.0.0.1:9", certificate="/<b>", key="/none")
    section = MqttSection(home=HomeBroker(url=home_broker.url), utility=utility)
    price = price_now(household.tariffs.rates, household.clock)
    state = household.config.household.state
    made = Mqtt.build(section, household.control, household.prices.accept, price, state, household.clock)
    return replace(household, mqtt=made)


async def test_the_doctors_page_shows_each_broker(
    household: Household, browser: Browser, home_broker: Mosquitto
) -> None:
    assert "not connected yet" in await browser.shown("/doctor")
    async with household.mqtt.running():
        await until(lambda: household.mqtt.status["home"].connected)
        await until(lambda: household.mqtt.status["utility"].fault is not None)
        text = await browser.shown("/doctor")
    assert f"connected to {home_broker.url}" in text
    assert "the key of the broker's certificate cannot be read from /none: No such file or directory" in text


@pytest.mark.slow
def test_pages_without_a_broker_do_not_load_paho() -> None:
    """It is a MiB of a daemon that is to be small."""
    run = "import sys, gateway.household.home, gateway.household.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "gateway.household.mqtt.service" in imported
    assert not any(module.startswith("paho") for module in imported)


async def test_the_daemon_serves_the_brokers_of_its_configuration(
    home_broker: Mosquitto, tmp_path: Path
) -> None:
    file = tmp_path / "household.toml"
    file.write_text(
        '[household]\nstate = "state"\nsocket = "none"\n'
        '[listen]\nhost = "127.0.0.1"\nport = 0\ntls = false\n'
        f'[mqtt.home]\nurl = "{home_broker.url}"\ntopics = "energy"\n'
    )
    program = Path(sys.executable).with_name("gateway")
    daemon = await asyncio.create_subprocess_exec(
        program, "household", "--config", file, stderr=asyncio.subprocess.PIPE
    )
    async with watching(home_broker) as seen:
        try:
            await seen.until(lambda: seen.now.get("energy/status") == b"online")
        finally:
            daemon.send_signal(signal.SIGTERM)
            _, log = await daemon.communicate()
        await seen.until(lambda: seen.now.get("energy/status") == b"offline")
    assert (daemon.returncode, b"Traceback" in log) == (0, False), log
