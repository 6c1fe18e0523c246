"""The household's side of a home, opened: what every page works with."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from gateway.control.client import ControlClient
from gateway.errors import UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.household.configuration import HouseholdConfig
from gateway.household.draft import Draft
from gateway.household.history import History
from gateway.household.live import Live
from gateway.household.mqtt.service import Mqtt, price_now
from gateway.household.objects import ControlBucket
from gateway.household.prices import Cards, Prices
from gateway.household.recent import Recent
from gateway.household.security.authority import Authority
from gateway.household.security.logins import Logins
from gateway.household.security.metrics_token import MetricsToken
from gateway.household.security.password import Password
from gateway.household.settings import Settings
from gateway.household.tariffs import Tariffs
from gateway.web.hosts import Hosts


@dataclass(frozen=True, slots=True)
class Household:
    """A home as its pages see it. `control` asks the gateway, and raises Unavailable where none runs;
    `history` reads the sums of any time, and `recent` has those that were shown last; `draft` is the
    configuration that the setup is making."""

    config: HouseholdConfig
    clock: Clock
    control: ControlClient
    live: Live
    history: History
    recent: Recent
    draft: Draft
    settings: Settings
    prices: Prices
    tariffs: Tariffs
    mqtt: Mqtt
    password: Password
    logins: Logins
    metrics_token: MetricsToken
    hosts: Hosts
    authority: Authority

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """While the block runs, do what nobody at a page asks for: the brokers, prices, grants to oneself."""
        bucket = ControlBucket(self.control)
        async with self.mqtt.running(), self.prices.current(bucket, self.control), self.history.prepared():
            yield

    @property
    def zone(self) -> str:
        """The IANA time zone in which days and times are shown."""
        return self.settings.choices.zone

    @property
    def now_ms(self) -> int:
        """The time, Unix ms."""
        return unix_ms(self.clock)


@asynccontextmanager
async def open_household(
    config: HouseholdConfig, clock: Clock, control: ControlClient | None = None
) -> AsyncIterator[Household]:
    """Open the state folder and all that lies in it. `control` is the gateway's, at the socket that the
    configuration names unless it is given. UsageError where the folder cannot be made or written."""
    state = config.household.state
    try:
        state.mkdir(parents=True, mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the state folder {state} cannot be made: {error.strerror}") from None
    hosts = Hosts(config.listen.names)
    password = Password(state, clock)
    control = control or ControlClient(config.household.socket)
    live = Live(control, clock)
    settings = Settings(state)
    try:
        prices = Prices(state / "prices", _cards(control), clock)
    except OSError as error:
        raise UsageError(f"{state / 'prices'} cannot be read: {error.strerror}") from None
    tariffs = Tariffs(settings, prices)
    now = price_now(tariffs.rates, clock)
    try:
        yield Household(
            config=config,
            clock=clock,
            control=control,
            live=live,
            history=History(state, control, clock),
            recent=Recent(),
            draft=Draft.open(state),
            settings=settings,
            prices=prices,
            tariffs=tariffs,
            mqtt=Mqtt.build(config.mqtt, control, prices.accept, now, state, clock),
            password=password,
            logins=Logins(state, clock),
            metrics_token=MetricsToken(state, config.metrics.token_sha256),
            hosts=hosts,
            authority=Authority(state, hosts.names, own_addresses(), clock),
        )
    finally:
        await live.aclose()
        password.close()


def _cards(control: ControlClient) -> Cards:
    """The cards of the providers that the gateway knows: their prices are accepted."""

    async def cards() -> list[bytes]:
        return [one.card for one in await control.cards()]

    return cards


def own_addresses() -> list[str]:
    """The addresses that this machine has in its home: those from which it would reach another."""
    found = []
    for family, other in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):  # RFC 5737, 3849
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((other, 9))  # of a datagram socket: nothing is sent
            found.append(asking.getsockname()[0])
    return found
