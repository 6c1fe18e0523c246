"""MQTT as a part of the household's daemon: the brokers of the configuration, served until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.control.client import ControlClient
from gateway.errors import GatewayError
from gateway.host.clock import Clock, unix_ms
from gateway.household.money import Rates
from gateway.household.mqtt.configuration import MqttSection

if TYPE_CHECKING:
    from gateway.household.mqtt.home import Home, Price
    from gateway.household.mqtt.link import LinkStatus
    from gateway.household.mqtt.utility import Accept, Utility


@dataclass(frozen=True, slots=True)
class Mqtt:
    """The brokers; None where the configuration has none."""

    home: Home | None
    utility: Utility | None

    @classmethod
    def build(
        cls,
        section: MqttSection,
        control: ControlClient,
        accept: Accept,
        price: Price,
        state: Path,
        clock: Clock,
    ) -> Mqtt:
        """The brokers of [mqtt], with what they keep in the folder `state`/mqtt. `accept` takes a signed
        price series, `price` gives the present price."""
        folder = state / "mqtt"
        utility = home = None
        if section.utility is not None:
            from gateway.household.mqtt.utility import Utility  # noqa: PLC0415 - paho-mqtt takes 1 MiB

            utility = Utility(section.utility, control, accept, folder, clock)

        def problems() -> tuple[str, ...]:
            fault = utility and utility.status.fault
            return (f"the utility's broker: {fault}",) if fault else ()

        if section.home is not None:
            from gateway.household.mqtt.home import Home  # noqa: PLC0415 - as above

            home = Home(section.home, control, folder, clock, price=price, problems=problems)
        return cls(home, utility)

    @property
    def status(self) -> dict[str, LinkStatus]:
        """How the connections stand, by "home" and "utility"."""
        found = {"home": self.home, "utility": self.utility}
        return {name: broker.status for name, broker in found.items() if broker is not None}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve them while the block runs."""
        tasks = [
            asyncio.create_task(broker.run()) for broker in (self.home, self.utility) if broker is not None
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def price_now(rates: Callable[[], Rates | None], clock: Clock) -> Price:
    """Gives the price of a kWh drawn now by the chosen `rates`; none where they have none."""

    async def price() -> tuple[Decimal, str] | None:
        now_ms = unix_ms(clock)
        try:
            chosen = rates()
            found = [] if chosen is None else chosen.prices("import", now_ms, now_ms + 1)
        except GatewayError:
            return None
        return (found[0].price, chosen.currency) if chosen is not None and found else None

    return price
