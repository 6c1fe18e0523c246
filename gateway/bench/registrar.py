"""The registrar: registration, authentication and nonces over HTTP, beside the paper's figures.

The server runs in a process of its own, on SQLite, over loopback without TLS; passwords are checked with the
cheapest argon2id there is, since a real digest is slow on purpose: `password` shows it apart. Gateways have
software roots: a TPM takes its own time for its challenge, which is no registrar's.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.bench.figure import Figure, median_s
from gateway.chain.layout import DAY_MS, LANES, Layout
from gateway.host.clock import SystemClock, unix_ms
from gateway.registrar.identity import new_identity
from gateway.registrar.server import serving
from gateway.registrar.service import open_registrar
from gateway.registrar.settings import ListenSection, RegistrarSection, Settings
from gateway.registry.client import RegistrarClient, read_nonce
from gateway.registry.documents import Confirmation, NonceAnswer, RegistrationRequest
from gateway.web.passwords import Passwords
from gateway.wire import cose, es256
from gateway.wire.card import Card
from gateway.wire.request import Login
from gateway.wire.signed import Signed
from gateway.wire.stream import Descriptor

_CLOCK = SystemClock("host")
_PASSWORD = "a long password"  # noqa: S105 - of accounts that live for seconds
_ONE_BY_ONE = 100
_AT_ONCE = 16
_TOGETHER = 600


def figures() -> Iterator[Figure]:
    """All figures, which take a quarter of a minute together."""
    users = [f"user{n}" for n in range(_ONE_BY_ONE + _TOGETHER)]
    with _server(users) as url:
        latency_s, each_s, login_s, nonce_s = asyncio.run(_measured(url, users))
    yield Figure("registration", latency_s, 0.010, "s", "the paper's registration phases", "1")
    yield Figure("registrations", each_s, 1 / 200, "s", f"200 a second, {_AT_ONCE} at once", "1")
    yield Figure("authentication", login_s, 0.002, "s", "the paper's, 1 to 2 ms", "1")
    yield Figure("registrar_nonce", nonce_s, 0.0012, "s", "the paper's nonce", "1")
    hasher = PasswordHasher()
    digest_s = median_s(lambda: hasher.hash(_PASSWORD))
    yield Figure(
        "password", digest_s, 0.010, "s", "the paper's registration; slow on purpose, twice in one", ""
    )


def login_times(counts: Sequence[int]) -> list[float]:
    """The time in s that so many logins take, each a nonce, a signed login and a session, 16 at once."""
    with _server(["user"]) as url:
        return asyncio.run(_logged_in(url, counts))


@dataclass(frozen=True, slots=True)
class _Gateway:
    """A gateway's key in software, its card, and the descriptor of its stream, both signed."""

    key: ec.EllipticCurvePrivateKey
    card: Card
    signed_card: bytes
    descriptor: bytes

    @classmethod
    def new(cls) -> _Gateway:
        key, now_ms = ec.generate_private_key(ec.SECP256R1()), unix_ms(_CLOCK)
        public = es256.spki(key.public_key())
        kid, lanes = cose.kid_of(public), (LANES["import"], LANES["count"])
        card = Card(kid, public, None, "gateway", "Home", now_ms, now_ms + 365 * DAY_MS)
        stream = Descriptor(secrets.token_bytes(16), Layout(1000, 3600), lanes, 0, public, "software")
        return cls(key, card, _signed(key, kid, card), _signed(key, kid, stream))

    def sign(self, thing: Signed) -> bytes:
        return _signed(self.key, self.card.kid, thing)

    async def sign_soon(self, thing: Signed) -> bytes:
        return self.sign(thing)


def _signed(key: ec.EllipticCurvePrivateKey, kid: bytes, thing: Signed) -> bytes:
    payload = thing.payload()
    return cose.assemble(kid, payload, es256.sign(key, cose.to_be_signed(thing.TYPE, kid, payload)))


async def _measured(url: str, users: list[str]) -> tuple[float, float, float, float]:
    async with RegistrarClient(url) as client:
        _, registrar = await client.status()

        # What a gateway has before it registers: a key, a signed card and a signed descriptor.
        ready = [_Gateway.new() for _ in users]

        async def register(user: str) -> _Gateway:
            return await _registered(client, registrar, ready.pop(), user)

        gateway = await register(users.pop())

        async def log_in() -> None:
            await client.login(gateway.card.kid, registrar, unix_ms(_CLOCK), gateway.sign_soon)

        async def nonce() -> None:
            await client._ask(NonceAnswer, "POST", "/nonces")

        latency_s = await _median_s(lambda: register(users.pop()), _ONE_BY_ONE - 1)
        login_s = await _median_s(log_in, _ONE_BY_ONE)
        nonce_s = await _median_s(nonce, _ONE_BY_ONE)

        async def work() -> None:
            while users:
                await register(users.pop())

        count, begin = len(users), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        return latency_s, (time.perf_counter() - begin) / count, login_s, nonce_s


async def _registered(client: RegistrarClient, registrar: Card, gateway: _Gateway, user: str) -> _Gateway:
    asked = RegistrationRequest(user=user, password=_PASSWORD, card=gateway.signed_card)
    challenge = await client.request_to_register(asked)
    nonce = read_nonce(challenge.nonce or "")
    login = gateway.sign(Login(gateway.card.kid, nonce, registrar.kid, unix_ms(_CLOCK)))
    answer = await client.respond(challenge.id, login)
    confirmation = Confirmation(
        user=user, password=_PASSWORD, nonce=answer.nonce, descriptors=(gateway.descriptor,)
    )
    await client.confirm(challenge.id, confirmation)
    return gateway


async def _logged_in(url: str, counts: Sequence[int]) -> list[float]:
    async with RegistrarClient(url) as client:
        _, registrar = await client.status()
        gateway = await _registered(client, registrar, _Gateway.new(), "user")
        times = []
        for count in counts:
            left = iter(range(count))

            async def work(left: Iterator[int] = left) -> None:
                for _ in left:
                    await client.login(gateway.card.kid, registrar, unix_ms(_CLOCK), gateway.sign_soon)

            begin = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
            times.append(time.perf_counter() - begin)
        return times


async def _median_s(work: Callable[[], Awaitable[object]], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        await work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


@contextmanager
def _server(users: list[str]) -> Iterator[str]:
    """The URL of a registrar in a process of its own, with these accounts."""
    spawn = multiprocessing.get_context("spawn")
    ours, its = spawn.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = spawn.Process(target=_run_server, args=(its, folder, users))
        process.start()
        its.close()
        try:
            yield ours.recv()
        finally:
            ours.close()
            process.join()


def _run_server(connection: Connection, folder: str, users: list[str]) -> None:
    asyncio.run(_serve(connection, Path(folder), users))


async def _serve(connection: Connection, folder: Path, users: list[str]) -> None:
    settings = Settings(
        registrar=RegistrarSection(name="Bench", state=folder, software_roots=True),
        listen=ListenSection(port=0),
    )
    new_identity(folder, "Bench", unix_ms(_CLOCK))
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    async with open_registrar(settings, _CLOCK, passwords) as registrar:
        for user in users:
            await registrar.accounts.add(user, "household", _PASSWORD)
        async with serving(registrar) as url:
            connection.send(url)
            await asyncio.to_thread(_closed, connection)


def _closed(connection: Connection) -> None:
    """Wait until the other end is closed."""
    try:
        connection.recv()
    except EOFError:
        return
