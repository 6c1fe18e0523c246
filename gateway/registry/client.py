"""The client of a registrar's HTTP API, for gateways and providers.

A registrar is known by its own card: whoever registers pins that card's kid, and every certificate is checked
against it. HTTPS keeps passwords and storage keys from others on the way; plain HTTP is for loopback alone.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
from pydantic import TypeAdapter, ValidationError

from gateway.errors import GatewayError, Refused, Unavailable, UsageError
from gateway.registry.documents import (
    PREFIX,
    Asked,
    CataloguePage,
    CertificateAnswer,
    Challenge,
    ChallengeResponse,
    Confirmation,
    CredentialsAnswer,
    CredentialsRequest,
    Document,
    ErrorAnswer,
    GrantRequestAnswer,
    GrantRequestPost,
    GrantRequestState,
    LoadAnswer,
    LoadRequest,
    Me,
    NonceAnswer,
    ProvidersAnswer,
    RegistrarStatus,
    RegistrationRequest,
    RevocationsAnswer,
    SessionAnswer,
    SessionRequest,
    StreamsRequest,
)
from gateway.wire.card import Card
from gateway.wire.certificate import Certificate, Revocations
from gateway.wire.request import NONCE_BYTES, Login
from gateway.wire.signed import Signed

T = TypeVar("T", bound=Document)
Sign = Callable[[Signed], Awaitable[bytes]]
"""Signs an object with the holder's key, and gives the COSE_Sign1."""

_PATIENCE = aiohttp.ClientTimeout(total=60, connect=10)
_MOST_BYTES = 2**25
_MOST_SENTENCE = 1000
"""Characters of an error's sentence; a registrar's own have some 500 at most."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CLOCK_MS = 300_000
"""How far a revocation list's time may lie in the future: two clocks differ."""


class RegistrarClient:
    """A client of the registrar at `url`; an async context manager. Every method raises Unavailable where the
    registrar does not answer, and the error that it answers with."""

    def __init__(self, url: str, ca: Path | None = None) -> None:
        """`ca`: who may sign the server's certificate (PEM), where this machine does not trust it. UsageError
        for an address that is none, or not HTTPS."""
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
            raise UsageError(f"{url!r} is not a registrar's address: expected https://registrar.example.org")
        if parts.username or parts.password:
            raise UsageError("a user and a password do not belong in the registrar's address")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise UsageError(
                f"{url!r} would send a password in clear: use https:// (http:// is for this machine alone)"
            )
        self._ssl = _trusting(ca)
        self._http: aiohttp.ClientSession | None = None
        self._token: str | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=_PATIENCE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def status(self) -> tuple[RegistrarStatus, Card]:
        """The registrar, and its own card; Refused where that is no registrar's."""
        found = await self._ask(RegistrarStatus, "GET", "/registrar")
        card = Card.read_self_signed(found.card, f"the card of the registrar at {self.url}")
        if card.role != "registrar":
            raise Refused(f"the card of the registrar at {self.url} is a {card.role}'s")
        return found, card

    async def revocations(self, registrar: Card, now_ms: int) -> Revocations:
        """The list of revoked certificates; Refused where its signature does not hold, or it is not of
        today."""
        what = f"the revocations of {registrar.name!r}"
        found = Revocations.read(
            (await self._ask(RevocationsAnswer, "GET", "/revocations")).revocations,
            registrar.signing_key,
            what,
        )
        if found.next_ms <= now_ms or found.issued_ms > now_ms + _CLOCK_MS:
            raise Refused(f"{what} are not of today: the registrar, or this machine's clock, is wrong")
        return found

    async def certificate(self, kid: bytes) -> CertificateAnswer:
        """The present certificate of a gateway or provider."""
        return await self._ask(CertificateAnswer, "GET", f"/certificates/{kid.hex()}")

    # Registration, in the order of the paper's Figure 3.

    async def request_to_register(self, request: RegistrationRequest) -> Challenge:
        """Ask to register; the registrar's challenge."""
        return await self._ask(Challenge, "POST", "/registrations", request)

    async def respond(self, registration: str, answer: bytes) -> NonceAnswer:
        """Answer the challenge; the registrar's nonce."""
        response = ChallengeResponse(answer=answer)
        return await self._ask(NonceAnswer, "POST", f"/registrations/{registration}/answer", response)

    async def confirm(self, registration: str, confirmation: Confirmation) -> CertificateAnswer:
        """Submit user name, password and nonce; the certificate."""
        return await self._ask(
            CertificateAnswer, "POST", f"/registrations/{registration}/confirmation", confirmation
        )

    # With a session.

    async def login(self, kid: bytes, registrar: Card, now_ms: int, sign: Sign) -> SessionAnswer:
        """Begin a session: what follows is asked in the name of the key `kid`."""
        nonce = read_nonce((await self._ask(NonceAnswer, "POST", "/nonces")).nonce)
        login = await sign(Login(kid, nonce, registrar.kid, now_ms))
        found = await self._ask(SessionAnswer, "POST", "/sessions", SessionRequest(login=login))
        self._token = found.token
        return found

    async def me(self) -> Me:
        """The account of this session, and its notices."""
        return await self._ask(Me, "GET", "/me")

    async def renew(self) -> CertificateAnswer:
        """A new certificate for the same card."""
        return await self._ask(CertificateAnswer, "POST", "/me/certificate")

    async def put_streams(self, streams: StreamsRequest) -> Me:
        """Tell the gateway's streams, and how the catalogue lists them."""
        return await self._ask(Me, "PUT", "/me/streams", streams)

    async def credentials(self, streams: Sequence[bytes] = ()) -> CredentialsAnswer:
        """Storage credentials for these streams, as far as one session reaches."""
        wanted = CredentialsRequest(streams=tuple(stream.hex() for stream in streams))
        return await self._ask(CredentialsAnswer, "POST", "/me/credentials", wanted)

    async def requests(self) -> tuple[GrantRequestAnswer, ...]:
        """A gateway's requests for grants, or those that a provider made."""
        return await self._ask_all(GrantRequestAnswer, "/requests")

    async def decide(self, request: bytes, state: GrantRequestState) -> GrantRequestAnswer:
        """Say what the household decided on a request."""
        return await self._ask(GrantRequestAnswer, "POST", f"/requests/{request.hex()}", state)

    async def ask_for_grant(self, request: bytes) -> GrantRequestAnswer:
        """Send a signed gw1/request."""
        return await self._ask(GrantRequestAnswer, "POST", "/requests", GrantRequestPost(request=request))

    async def catalogue(self, **query: str) -> CataloguePage:
        """A page of the catalogue of streams: region, tariff_zone, lane, granted, covers_from_ms,
        covers_until_ms, after, limit."""
        return await self._ask(CataloguePage, "GET", "/catalogue/streams", query=query)

    async def providers(self) -> ProvidersAnswer:
        """The certified providers."""
        return await self._ask(ProvidersAnswer, "GET", "/catalogue/providers")

    async def sum_load(self, request: LoadRequest) -> LoadAnswer:
        """Ask the summing service for its sums over a set of homes."""
        return await self._ask(LoadAnswer, "POST", "/loads/sums", request)

    async def _ask(
        self,
        form: type[T],
        method: str,
        path: str,
        body: Asked | None = None,
        query: dict[str, str] | None = None,
    ) -> T:
        answer = await self._answer(method, path, body, query)
        try:
            return form.model_validate_json(answer)
        except ValidationError:
            raise self._strange() from None

    async def _ask_all(self, form: type[T], path: str) -> tuple[T, ...]:
        answer = await self._answer("GET", path, None, None)
        try:
            return TypeAdapter(tuple[form, ...]).validate_json(answer)  # type: ignore[valid-type]
        except ValidationError:
            raise self._strange() from None

    async def _answer(
        self, method: str, path: str, body: Asked | None, query: dict[str, str] | None
    ) -> bytes:
        assert self._http is not None, "use the client as a context manager"
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        try:
            async with self._http.request(
                method,
                self.url + PREFIX + path,
                data=None if body is None else body.model_dump_json(),
                headers={**headers, "Content-Type": "application/json"},
                params=query,
                ssl=self._ssl,
                allow_redirects=False,  # a redirection would carry the token elsewhere
            ) as response:
                answer, status = await _body(response), response.status
        except (aiohttp.ClientSSLError, ssl.SSLError):
            raise Unavailable(
                f"the registrar at {self.url} shows a TLS certificate that this machine does not trust: name"
                " its authority with --ca FILE, if it is the right one"
            ) from None
        except ValueError:  # the token that it gave does not fit in a header
            raise self._strange() from None
        except (aiohttp.ClientError, OSError, TimeoutError):
            raise Unavailable(
                f"the registrar at {self.url} does not answer now, and nothing is lost meanwhile"
            ) from None
        if 200 <= status < 300:
            return answer
        try:
            said = ErrorAnswer.model_validate_json(answer)
            homes = {_sentence(one): _sentence(why) for one, why in (said.homes or {}).items()}
            raise said.model_copy(update={"error": _sentence(said.error), "homes": homes}).to_error()
        except ValidationError:
            error = Unavailable if status >= 500 else GatewayError  # a proxy's page, or no registrar
            raise error(f"{self.url} answers {status}, and not as a registrar does") from None

    def _strange(self) -> GatewayError:
        return GatewayError(
            f"the registrar at {self.url} answers in a form that this program does not know: update whichever"
            " is older"
        )


def _sentence(text: str) -> str:
    """What a registrar says, as it may stand in a log and on a terminal: printable, and no page."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text[:_MOST_SENTENCE])


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > _MOST_BYTES:
            raise Unavailable(f"{response.url.host} answers with more than {_MOST_BYTES} bytes")
    return bytes(body)


def read_certificate(answer: CertificateAnswer, registrar: Card, now_ms: int, what: str) -> Certificate:
    """The certificate, checked: by this registrar, and valid at `now_ms` (Unix ms); else Refused."""
    found = Certificate.read(answer.certificate, registrar.signing_key, what)
    found.check(now_ms, what)
    return found


def read_nonce(text: str) -> bytes:
    """A registrar's nonce; Refused for anything but 64 hexadecimal digits."""
    try:
        nonce = bytes.fromhex(text)
    except ValueError:
        nonce = b""
    if len(nonce) != NONCE_BYTES:
        raise Refused(f"the registrar's nonce is invalid: expected {2 * NONCE_BYTES} hexadecimal digits")
    return nonce


def _trusting(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except ssl.SSLError:
        raise UsageError(f"{ca} holds no certificate: it must be a PEM file") from None
    except OSError as error:
        raise UsageError(f"{ca} cannot be read: {error.strerror}") from None
