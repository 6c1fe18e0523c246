"""One connection to an MQTT 5 broker, from CONNECT to its end; paho-mqtt runs behind it, in its own thread.

A connection that broke is never opened again: the next one is another object. So a message either was
acknowledged by the broker, or `publish` raised, and nothing that paho still holds is sent later (a client of
paho's that reconnects sends what `publish` had refused with MQTT_ERR_NO_CONN).

What must arrive has QoS 1. What comes in is acknowledged by its receiver, so that a broker sends it again to
a receiver that ended before. A broker may have no more than RECEIVED_AT_ONCE messages out that are not
acknowledged (MQTT 5, 3.1.2.11.3); Mosquitto 2.0.11 keeps to that until the first is, and then sends all. So
what exceeds MAX_WAITING_BYTES is not kept, nor acknowledged: once the rest is done with, the connection ends,
and the next one brings it again. A message of QoS 0 that exceeds it is lost.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_connection
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.errors import BrokerDenied, BrokerUnavailable, UsageError

RECEIVED_AT_ONCE = 8
MAX_PACKET = 2 << 20
"""Bytes of a message with its topic: a price series of a year of quarter hours has half a MiB."""
MAX_WAITING_BYTES = 8 << 20
_MESSAGE_BYTES = 512  # of memory, beside the payload
_PUBLISH_QOS_2 = 0x34  # MQTT 5, 3.3.1
_KEEPALIVE_S = 30
_CONNECT_S = 8  # a thread waits as long, also when the program ends
_ANSWER_S = 20
_END_S = 2
_REFUSAL_S = 2
_LOST = "failed to receive on socket: "


class TlsContext(ssl.SSLContext):
    """Remembers the socket that it has wrapped: paho leaves it open where the handshake fails."""

    wrapped: ssl.SSLSocket | None = None

    def wrap_socket(self, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        """See `ssl.SSLContext.wrap_socket`."""
        self.wrapped = super().wrap_socket(*arguments, **named)
        return self.wrapped


@dataclass(frozen=True, slots=True)
class Access:
    """Where a broker listens, and what opens it. `ca` is a file (PEM) with who may sign the broker's
    certificate, None for the system's; `certificate` and `key` are the client's own."""

    host: str
    port: int
    tls: bool
    client_id: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    session_s: int = 0
    """How long the broker keeps subscriptions and what comes for them while nobody is connected."""

    @property
    def url(self) -> str:
        """mqtts://host:8883"""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    def context(self) -> TlsContext | None:
        """The settings of TLS; UsageError where a certificate or key cannot be used."""
        if not self.tls:
            return None
        context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.ca is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(self.ca)
        except OSError as error:
            raise UsageError(f"{self.ca} holds no certificates (PEM): {_plain(error)}") from None
        if self.certificate is not None and self.key is not None:
            try:
                context.load_cert_chain(self.certificate, self.key, password="")
            except OSError as error:
                files = f"{self.certificate} and {self.key}"
                raise UsageError(f"{files} are no certificate (PEM) and its key: {_plain(error)}") from None
        return context


@dataclass(frozen=True, slots=True)
class Retained:
    """A message that a broker keeps for those who subscribe later."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A message that came in; `number` is its packet identifier, for `Connection.acknowledge`."""

    topic: str
    payload: bytes = field(repr=False)
    retained: bool
    qos: int
    number: int


class _Client(Client):
    """Ends the connection to a broker that sends what would fill the memory: paho keeps a message of any
    size, and each of QoS 2 until the broker releases it."""

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MAX_PACKET:
            raise ConnectionError("a message is larger than the broker was told to send")
        return super()._sock_recv(bufsize)

    def _packet_handle(self) -> MQTTErrorCode:
        if self._in_packet["command"] & 0xF6 == _PUBLISH_QOS_2:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        return super()._packet_handle()


class Connection:
    """An open connection; made by `connected`. Methods are for the event loop's thread."""

    def __init__(self, access: Access, will: Retained | None) -> None:
        self._access = access
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._published: dict[int, asyncio.Future[ReasonCode]] = {}
        self._subscribed: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self._received: asyncio.Queue[Message | None] = asyncio.Queue()
        self._why = ""
        self._started = self._over = False
        self._waiting_bytes, self._more = 0, False
        self._tls = access.context()
        self._client = self._new_client(will)

    @property
    def url(self) -> str:
        """The broker's."""
        return self._access.url

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish at QoS 1, and wait until the broker has the message. BrokerDenied if it refuses it;
        BrokerUnavailable if the connection ends before it answers: it may have the message, or not."""
        self._check()
        try:
            sent = self._client.publish(topic, payload, qos=1, retain=retain)
        except ValueError:
            raise BrokerDenied(f"{topic!r} is no topic at which a message can be published") from None
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise BrokerUnavailable(f"{self.url}: the connection broke")
        code = await self._answered(self._published, sent.mid, f"a message at {topic}")
        if code.is_failure:
            raise BrokerDenied(f"{self.url} takes no message at {topic}: {_spoken(code)}")

    async def subscribe(self, topics: Iterable[str], *, retained: bool = True, qos: int = 1) -> None:
        """Subscribe at QoS 1, or at 0 to what may be lost; `retained` is whether the broker is to send what
        it keeps there. BrokerDenied if it refuses one. That it grants one does not mean that it will send
        anything: Mosquitto grants what its rules forbid, and is silent then."""
        self._check()
        when = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if retained else SubscribeOptions.RETAIN_DO_NOT_SEND
        asked = [(topic, SubscribeOptions(qos=qos, retainHandling=when)) for topic in topics]
        rc, number = self._client.subscribe(asked)
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or number is None:
            raise BrokerUnavailable(f"{self.url}: the connection broke")
        codes = await self._answered(self._subscribed, number, "a subscription")
        for (topic, _), code in zip(asked, codes, strict=True):
            if code.is_failure:
                raise BrokerDenied(f"{self.url} refuses the subscription of {topic}: {_spoken(code)}")

    async def receive(self) -> Message:
        """The next message; BrokerUnavailable says why the connection ended, or must."""
        if self._more and self._received.empty():
            raise BrokerUnavailable(f"{self.url}: more came than is kept here; the rest comes again")
        message = await self._received.get()
        if message is None:
            self._received.put_nowait(None)
            self._check()
            raise BrokerUnavailable(f"{self.url}: the connection is closed")
        self._waiting_bytes -= _MESSAGE_BYTES + len(message.payload)
        return message

    def acknowledge(self, message: Message) -> None:
        """Say that the message has been taken: the broker does not send it again."""
        if not self._over and message.qos:
            self._client.ack(message.number, message.qos)

    # --- the connection's life

    async def open(self) -> None:
        """Connect: see `connected`."""
        try:
            await asyncio.to_thread(self._dial)
        except ssl.SSLCertVerificationError as error:
            raise BrokerDenied(
                f"{self.url}: the broker's certificate is not trusted: {error.verify_message}; check `ca`"
            ) from None
        except (OSError, ValueError) as error:
            raise BrokerUnavailable(f"{self.url}: {_plain(error)}") from None
        self._client.loop_start()
        self._started = True
        try:
            code = await self._first(self._answer, "the connection")
        except BrokerUnavailable:
            if (refusal := await asyncio.to_thread(_refusal, self._access)) is not None:
                raise BrokerDenied(f"{self.url} {refusal}") from None
            raise
        if code.is_failure:
            raise BrokerDenied(f"{self.url} refuses this client: {_spoken(code)}")

    async def close(self) -> None:
        """End the connection, and let the broker publish the will."""
        self._over = True
        if self._started and not self._lost.done():
            code = ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message")
            self._client.disconnect(code)
            await asyncio.wait({self._lost}, timeout=_END_S)
        await asyncio.to_thread(self._end)

    def _dial(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._access.session_s
        properties.ReceiveMaximum = RECEIVED_AT_ONCE
        properties.MaximumPacketSize = MAX_PACKET
        self._client.connect(
            self._access.host,
            self._access.port,
            _KEEPALIVE_S,
            clean_start=self._access.session_s == 0,
            properties=properties,
        )
        if self._over:  # cancelled meanwhile
            self._end()

    def _end(self) -> None:
        self._client.loop_stop()
        for socket in (self._client.socket(), self._tls and self._tls.wrapped):
            if socket:
                socket.close()
        # paho closes its other sockets when it is deleted, which a circle of references would put off.
        self._client.on_connect = self._client.on_disconnect = None
        self._client.on_publish = self._client.on_subscribe = None
        self._client.on_message = self._client.on_log = None

    def _new_client(self, will: Retained | None) -> Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            self._access.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_S
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        if self._access.username is not None:
            client.username_pw_set(self._access.username, self._access.password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_log = self._on_log
        return client

    async def _answered(self, waiting: dict[int, asyncio.Future[Any]], number: int, what: str) -> Any:
        """The broker's answer to packet `number`."""
        future = waiting[number] = self._loop.create_future()
        try:
            return await self._first(future, what)
        finally:
            del waiting[number]

    async def _first(self, answer: asyncio.Future[Any], what: str) -> Any:
        """The answer; BrokerUnavailable if the connection ends before, or it takes too long."""
        either: set[asyncio.Future[Any]] = {answer, self._lost}
        await asyncio.wait(either, timeout=_ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        self._check()
        raise BrokerUnavailable(f"{self.url} did not confirm {what} within {_ANSWER_S} s")

    def _check(self) -> None:
        if self._lost.done():
            raise BrokerUnavailable(f"{self.url}: {self._lost.result()}")

    # --- paho's thread: each of these only passes on what it was called with

    def _pass(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _on_connect(self, _: Client, __: Any, ___: ConnectFlags, code: ReasonCode, ____: Any) -> None:
        self._pass(self._connected, code)

    def _on_disconnect(self, _: Client, __: Any, flags: DisconnectFlags, code: ReasonCode, ___: Any) -> None:
        said = _spoken(code) if flags.is_disconnect_packet_from_server else ""
        self._pass(self._ended, said or f"the connection broke{self._why}")

    def _on_publish(self, _: Client, __: Any, number: int, code: ReasonCode, ___: Any) -> None:
        self._pass(_settle, self._published, number, code)

    def _on_subscribe(self, _: Client, __: Any, number: int, codes: list[ReasonCode], ___: Any) -> None:
        self._pass(_settle, self._subscribed, number, codes)

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        topic = bytes(message._topic).decode("utf-8", "replace")  # `topic` raises on what is not UTF-8
        one = Message(topic, bytes(message.payload), message.retain, message.qos, message.mid)
        self._pass(self._queue, one)

    def _on_log(self, _: Client, __: Any, ___: int, text: str) -> None:
        if text.startswith(_LOST):
            self._why = f": {text.removeprefix(_LOST)}"

    # --- the event loop's thread

    def _connected(self, code: ReasonCode) -> None:
        if not self._answer.done():
            self._answer.set_result(code)

    def _ended(self, why: str) -> None:
        if not self._lost.done():
            self._lost.set_result(why)
            self._received.put_nowait(None)

    def _queue(self, message: Message) -> None:
        size = _MESSAGE_BYTES + len(message.payload)
        if self._waiting_bytes + size > MAX_WAITING_BYTES:
            self._more |= message.qos > 0
        else:
            self._waiting_bytes += size
            self._received.put_nowait(message)


@asynccontextmanager
async def connected(access: Access, will: Retained | None = None) -> AsyncIterator[Connection]:
    """A connection while the block runs. When it ends the broker publishes `will`, as it does when the
    connection breaks. BrokerUnavailable if the broker cannot be reached, BrokerDenied if it refuses this
    client, UsageError if certificate or key cannot be used."""
    connection = Connection(access, will)
    try:
        await connection.open()
        yield connection
    finally:
        await asyncio.shield(connection.close())


def _settle(waiting: dict[int, asyncio.Future[Any]], number: int, answer: object) -> None:
    future = waiting.get(number)
    if future is not None and not future.done():
        future.set_result(answer)


_SENTENCES = {
    "Not authorized": "its rules do not allow it",
    "Bad user name or password": "the user name or the password is wrong",
}


def _spoken(code: ReasonCode) -> str:
    """A reason code of MQTT 5 as a part of a sentence."""
    name = code.getName()
    return _SENTENCES.get(name, f"{name[:1].lower()}{name[1:]}")


_ALERTS = {
    "CERTIFICATE_REVOKED": "refuses this client's certificate: it is revoked",
    "CERTIFICATE_EXPIRED": "refuses this client's certificate: it has expired",
    "UNKNOWN_CA": "refuses this client's certificate: it does not know who signed it",
    "CERTIFICATE_REQUIRED": "wants a certificate: set `certificate` and `key`",
    "BAD_CERTIFICATE": "refuses this client's certificate",
    "HANDSHAKE_FAILURE": "refuses this client's certificate, or wants one",
}
"""By the ends of OpenSSL's names of TLS alerts."""


def _refusal(access: Access) -> str | None:
    """Why a broker ends a connection over TLS before it has answered. In TLS 1.3 a client's certificate is
    refused after the handshake, by an alert; what the client has sent by then can reset the connection before
    it reads that. So this sends nothing, and listens. None where nothing is said."""
    if (context := access.context()) is None:
        return None
    try:
        with (
            create_connection((access.host, access.port), _REFUSAL_S) as raw,
            context.wrap_socket(raw, server_hostname=access.host) as wrapped,
        ):
            wrapped.recv(1)
    except ssl.SSLError as error:
        return next((text for end, text in _ALERTS.items() if (error.reason or "").endswith(end)), None)
    except OSError:
        return None
    return None


def _plain(error: Exception) -> str:
    """An error's words, without its number and OpenSSL's place."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS failed").lower().replace("_", " ")
    if isinstance(error, TimeoutError):
        return "nothing answers there"
    return getattr(error, "strerror", None) or str(error)
