"""MQTT as a part of the household's daemon: the brokers of the configuration, served until it ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.control.client import ControlClient
from gateway.host.clock import Clock
from gateway.household.mqtt.configuration import MqttSection
from gateway.household.mqtt.home import Home, Price
from gateway.household.mqtt.link import LinkStatus, together
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
            utility = Utility(section.utility, control, accept, folder, clock)

        def problems() -> tuple[str, ...]:
            fault = utility and utility.status.fault
            return (f"the utility's broker: {fault}",) if fault else ()

        if section.home is not None:
            home = Home(section.home, control, folder, clock, price=price, problems=problems)
        return cls(home, utility)

    @property
    def status(self) -> dict[str, LinkStatus]:
        """How the connections stand, by "home" and "utility"."""
        found = {"home": self.home, "utility": self.utility}
        return {name: broker.status for name, broker in found.items() if broker is not None}

    async def run(self) -> None:
        """Serve them until cancelled."""
        await together(*(broker.run() for broker in (self.home, self.utility) if broker is not None))
