"""Connections to a DLMS meter, one after the other, each with an open association."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes
from typing import TypeVar

from gateway.errors import MeterError, UsageError
from gateway.meters.dlms.application.cipher import CipherKeys
from gateway.meters.dlms.application.client import DlmsSession, Setup, Steps, run
from gateway.meters.dlms.cosem.objects import DATA, PUBLIC_CLIENT, Obis, Reference
from gateway.meters.dlms.link.channel import Channel, HdlcChannel, WrapperChannel
from gateway.meters.dlms.link.hdlc import address
from gateway.meters.dlms.link.hdlc_link import Limits, Primary
from gateway.meters.dlms.link.mode_e import open_hdlc
from gateway.meters.dlms.polled.counter import InvocationCounter
from gateway.meters.dlms.polled.model import Link, Security
from gateway.meters.endpoint import Endpoint
from gateway.meters.secrets import Secrets
from gateway.meters.transport import Connection

T = TypeVar("T")

# What the public client reads is not authenticated: a forged counter must not use up the remaining numbers.
_MOST_SEEN = 0xF000_0000
_FAREWELL_S = 2.0
_LIMITS = Limits(transmit=512, receive=512)


class AssociatedConnection:
    """A connection to the meter behind `endpoint`, as `link` and `security` say, with an open association.
    `counter_file` keeps the invocation counter for a meter that needs one. UsageError where `secrets` lack
    what the meter needs."""

    def __init__(
        self,
        endpoint: Endpoint,
        link: Link,
        security: Security,
        secrets: Secrets,
        counter_file: Path,
        timeout_s: float,
    ) -> None:
        self._endpoint = endpoint
        self._link = link
        self._security = security
        self._timeout_s = timeout_s
        self._setup = _setup(security, secrets)
        self._counter = InvocationCounter(counter_file) if security.counts else None
        self._counter_checked = False
        self._session: DlmsSession | None = None
        self._connection: Connection | None = None
        self._channel: Channel | None = None

    @property
    def is_open(self) -> bool:
        return self._channel is not None

    async def open(self) -> None:
        """Connect and associate. MeterError says what prevents it; then nothing is left open."""
        try:
            if self._counter is not None and not self._counter_checked:
                await self._check_counter(self._counter)
            if self._session is None:
                self._session = self._new_session()
            await self._connect(self._link.client)
            self._counter_checked = False  # until the meter has accepted it
            await self.run(DlmsSession.associate)
            self._counter_checked = True
        except BaseException:
            self.drop()
            raise

    async def run(self, operation: Callable[[DlmsSession], Steps[T]]) -> T:
        """Run `operation` in the association. After a MeterError other than AccessError, and when it was
        cancelled, an answer may still be in transit: drop the connection then."""
        assert self._session is not None  # it is open
        return await self._run(operation(self._session), self._counter)

    async def close(self) -> None:
        """Release the association and disconnect, if the meter answers, and close."""
        try:
            if self._channel is not None:
                with suppress(MeterError, TimeoutError):
                    async with asyncio.timeout(_FAREWELL_S):
                        await self.run(DlmsSession.release)
                        await self._channel.disconnect()
        finally:  # cancelled too
            self.drop()

    def drop(self) -> None:
        """Close at once. Closing twice is fine."""
        self._channel = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _connect(self, client: int) -> Channel:
        link = self._link
        self._connection = connection = await Connection.open(self._endpoint, self._timeout_s)
        if link.framing == "mode-e":
            await open_hdlc(connection, wake=link.wake)
        if link.framing == "wrapper":
            self._channel = WrapperChannel(connection, client, link.server, self._timeout_s)
        else:
            meter = address(link.server, link.physical, size=link.address_size)
            self._channel = HdlcChannel(connection, Primary(address(client), meter, _LIMITS), self._timeout_s)
        await self._channel.connect()
        return self._channel

    async def _run(self, steps: Steps[T], counter: InvocationCounter | None) -> T:
        channel = self._channel
        assert channel is not None  # it is open

        async def exchange(apdu: bytes) -> bytes:
            answer = await channel.exchange(apdu)
            if counter is not None:
                await counter.reserve()  # for the next step
            return answer

        if counter is not None:
            await counter.reserve()
        return await run(steps, exchange)

    async def _check_counter(self, counter: InvocationCounter) -> None:
        """Continue above the highest counter that the meter has seen: the file may be missing or an old copy,
        and another client may have the same keys."""
        await counter.refresh()
        if self._security.counter is not None:
            try:
                counter.skip_to(await self._seen_counter(self._security.counter) + 1)
            except MeterError as error:
                raise MeterError(
                    f"its invocation counter cannot be read by the public client: {error}"
                ) from None

    async def _seen_counter(self, code: Obis) -> int:
        public = DlmsSession(Setup(), lambda: 0)
        channel = await self._connect(PUBLIC_CLIENT)
        await self._run(public.associate(), None)
        seen = await self._run(public.get(Reference(DATA, code, 2)), None)
        await self._run(public.release(), None)
        await channel.disconnect()
        self.drop()
        if not isinstance(seen, int) or not 0 <= seen <= _MOST_SEEN:
            raise MeterError(f"it is not a number from 0 to {_MOST_SEEN:#x}")
        return seen

    def _new_session(self) -> DlmsSession:
        return DlmsSession(self._setup, self._counter.take if self._counter else _no_counter)


def _setup(security: Security, secrets: Secrets) -> Setup:
    """How to associate. UsageError where `secrets` lack what that needs."""
    keys = None
    if security.counts:
        if secrets.encryption_key is None:
            raise UsageError(
                "its profile needs the meter's encryption_key, but the file of its keys has none"
            )
        keys = CipherKeys(secrets.encryption_key, secrets.authentication_key)
    return Setup(
        mechanism=security.mechanism,
        protection=security.protection,
        general=security.general,
        # Random at each start, so that even an old copy of the counter's file repeats no nonce.
        title=b"GWY" + token_bytes(5),
        keys=keys,
        password=secrets.password,
    )


def _no_counter() -> int:
    raise AssertionError  # an association without a counter ciphers nothing
