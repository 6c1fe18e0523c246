"""Connects to the configured brokers and tries each right, a sentence for each step."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography import x509

from gateway.control.documents import Status
from gateway.errors import BrokerDenied, GatewayError, UsageError
from gateway.host.clock import Clock
from gateway.household.mqtt.configuration import HomeBroker, MqttSection, UtilityBroker
from gateway.mqtt import topics
from gateway.mqtt.broker import Access, Connection, connected

_BACK_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a step found: of which broker, whether it is in order, and a sentence."""

    part: str
    ok: bool
    sentence: str


async def check(
    section: MqttSection, status: Callable[[], Awaitable[Status]], clock: Clock
) -> AsyncIterator[Finding]:
    """Try each configured broker; `status` asks the gateway for its kid. The running daemon may lose its
    connection to the utility's broker for a moment, as both are the same client there; what waits for it
    stays."""
    brokers: list[tuple[str, AsyncIterator[str]]] = []
    if section.home is not None:
        brokers.append(("own broker", _home(section.home)))
    if section.utility is not None:
        brokers.append(("utility's broker", _utility(section.utility, status, clock)))
    if not brokers:
        yield Finding("MQTT", True, "no broker is configured: [mqtt.home] and [mqtt.utility] name them")
    for part, sentences in brokers:
        try:
            async for sentence in sentences:
                yield Finding(part, True, sentence)
        except GatewayError as error:
            yield Finding(part, False, str(error))


async def _home(section: HomeBroker) -> AsyncIterator[str]:
    access = section.access()
    if not access.tls:
        yield f"{access.url} is reached without TLS: everybody in this network can read along"
    async with connected(_apart(access)) as connection:
        yield f"connected to {access.url}"
        topic = f"{section.topics}/test"
        await _there_and_back(connection, topic)
        yield f"what was published at {topic} came back"
        await connection.publish(f"{section.discovery_prefix}/gateway/test", b"")
        yield f"it takes messages below {section.discovery_prefix}/, where Home Assistant finds the meters"


async def _utility(
    section: UtilityBroker, status: Callable[[], Awaitable[Status]], clock: Clock
) -> AsyncIterator[str]:
    kid = (await status()).signer
    access = section.access(kid)
    yield _certificate(access, kid, clock)
    # As the daemon connects, or the broker would forget what waits for it.
    async with connected(access) as connection:
        yield f"connected to {access.url}"
        topic = topics.test(kid)
        await _there_and_back(connection, topic)
        yield (
            f"what was published at {topic} came back, so the broker's rules know this certificate; whether "
            f"they let {topics.command(kid)} through shows when the first command comes"
        )


def _certificate(access: Access, kid: str, clock: Clock) -> str:
    """A sentence about the certificate; UsageError where it cannot serve."""
    assert access.certificate is not None
    try:
        certificate = x509.load_pem_x509_certificate(access.certificate.read_bytes())
    except (OSError, ValueError):
        raise UsageError(f"{access.certificate} holds no certificate (PEM) that can be read") from None
    held = [str(name.value) for name in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if held != [kid]:
        raise UsageError(
            f"{access.certificate} is for {', '.join(held) or 'nobody'}, but this gateway is {kid}: ask the "
            "utility for one with that common name"
        )
    until = certificate.not_valid_after_utc
    if until <= datetime.fromtimestamp(clock.wall() / 1e9, UTC):
        raise UsageError(f"{access.certificate} has expired on {until:%Y-%m-%d}: ask the utility for another")
    return f"the certificate is for this gateway, until {until:%Y-%m-%d}"


async def _there_and_back(connection: Connection, topic: str) -> None:
    """Publish something at a topic and wait until it comes back, since a broker may grant a subscription that
    its rules forbid."""
    mark = os.urandom(16)
    await connection.subscribe([topic], retained=False)
    await connection.publish(topic, mark)
    try:
        async with asyncio.timeout(_BACK_S):
            while True:
                message = await connection.receive()
                if message.topic == topic:
                    connection.acknowledge(message)
                    if message.payload == mark:
                        return
    except TimeoutError:
        raise BrokerDenied(
            f"{connection.url} took a message at {topic} and did not send it back: its rules let this client "
            "write there, and not read"
        ) from None


def _apart(access: Access) -> Access:
    """The same access under another client id, so that the daemon keeps its connection."""
    return replace(access, client_id=f"{access.client_id[:58]}-check")
