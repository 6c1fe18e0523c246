"""The gateway's registration at a registrar, step by step as in the paper's Figure 3, and what follows from
it: its certificate, its storage credentials, and whose cards the registrar vouches for.

What is kept lies in `registration.json` of the state folder: where, as whom, the registrar's card, which is
pinned from then on, and the certificate. A password is used and forgotten, and storage credentials stay in
memory: they last for hours only. While the registrar does not answer, the gateway reads and seals as ever,
and sends as long as its credentials last; afterwards what is sealed waits in the ledger.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gateway.chain.layout import DAY_MS
from gateway.control.documents import RegistrationOrder, RegistrationStatus
from gateway.daemon.found import descriptor_of
from gateway.errors import GatewayError, Refused, Unavailable, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.host.files import write_durably
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry
from gateway.registry.client import RegistrarClient, read_certificate, read_nonce
from gateway.registry.documents import (
    CertificateAnswer,
    Confirmation,
    EvidenceDocument,
    GrantRequestState,
    Notice,
    RegistrationRequest,
    StreamsRequest,
)
from gateway.store.credentials import Credentials
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.wire import cose
from gateway.wire.card import Card
from gateway.wire.certificate import Certificate, Revocations
from gateway.wire.request import Login, Request
from gateway.wire.signed import Signed

_log = logging.getLogger(__name__)

FILE = "registration.json"
_VERSION = 1
_CARD_MS = 20 * 365 * DAY_MS
"""How long a gateway's own card is valid: as long as its TPM may serve. The certificate ends long before."""
_LOOK_S = 300.0
_TELL_S = 3600.0
"""How often the registrar is asked for notices where nothing else is due."""
_SOON_MS = 30 * 60_000
"""Credentials that end within this time are renewed before they end."""
_LEAST_MS = 60_000
"""Credentials that end sooner than this are as good as none: an upload may take as long."""
_MOST_NOTICES = 100
_MOST_SENTENCE = 1000
"""Notices that are shown, and characters of each: a registrar could send pages."""
_MOST_VOUCHED = 256
"""Certificates of providers that are kept."""
_PAUSES_S = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept of a registration; cards and certificates as they were signed, in base64."""

    url: str
    ca: str | None
    user: str
    registrar: str
    certificate: str
    region: str
    tariff_zone: str
    listed: bool
    streams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A provider's request for a grant, the provider's certificate, who vouches for it, and when the
    registrar received it (Unix ms)."""

    request: Request
    certificate: Certificate
    registrar: str
    received_ms: int


class Registration:
    """The registration of the gateway whose state lies in the folder `state`. It is a `CredentialsSource` for
    the store."""

    def __init__(self, state: Path, root: Root, ledger: Ledger, clock: Clock) -> None:
        """UsageError where the file cannot be read. One that is damaged is put aside, as reading and sealing
        need no registrar."""
        self._path = state / FILE
        self._root = root
        self._ledger = ledger
        self._clock = clock
        self._kid = cose.kid_of(root.public_key)
        self._lost: str | None = None  # why a registration that there was is no longer known
        try:
            self._kept = _load(self._path)
        except Refused as error:
            self._kept, self._lost = None, str(error)
            self._path.replace(self._path.with_suffix(".damaged"))
            _log.error("%s; it is kept as %s.damaged", error, self._path.stem)
        self._vouched: dict[bytes, Certificate] = {}  # of providers, by kid, as last seen
        self._revoked: Revocations | None = None
        self._registered = asyncio.Event()
        if self._kept is not None:
            self._registered.set()
        self._faults = FaultLog(clock, _log.warning, _log.info)
        self._fault: str | None = None
        self._notices: tuple[Notice, ...] = ()
        self._credentials: dict[str, Credentials] = {}  # by stream, of which a session reaches some
        self._renewing = asyncio.Lock()
        self._failures = 0
        self._next_try = 0  # ns, monotonic
        self._tell_at = 0  # ns, monotonic

    @property
    def registrar(self) -> Card | None:
        """The registrar's card, pinned when the gateway was registered."""
        return None if self._kept is None else _card(self._kept.registrar)

    @property
    def certificate(self) -> Certificate | None:
        """The certificate as it was last given, which may have expired since."""
        if self._kept is None:
            return None
        registrar = _card(self._kept.registrar)
        data = base64.b64decode(self._kept.certificate)
        return Certificate.read(data, registrar.signing_key, "the gateway's certificate")

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, a sentence each, where nothing is known of a registration that there was."""
        return () if self._lost is None or self._kept is not None else (self._lost,)

    def status(self) -> RegistrationStatus | None:
        """Where and as whom the gateway is registered; None where it is not."""
        kept, registrar, certificate = self._kept, self.registrar, self.certificate
        if kept is None or registrar is None or certificate is None:
            return None
        return RegistrationStatus(
            url=kept.url,
            user=kept.user,
            registrar=registrar.name,
            registrar_kid=registrar.kid.hex(),
            assurance=certificate.assurance or "software",
            valid_until_ms=certificate.valid_until_ms,
            credentials_until_ms=self._credentials_end_ms,
            notices=tuple(one.sentence[:_MOST_SENTENCE] for one in self._notices),
            error=self._fault,
        )

    # Registration, in the order of Figure 3.

    async def register(self, order: RegistrationOrder) -> RegistrationStatus:
        """Register with a user's name and password. A registration that was cut off is begun again and gives
        the same result; nothing is kept before the registrar has confirmed.

        UsageError where the registrar is another than the one that the household has seen; the registrar's
        own errors; TrustError while the TPM does not answer.
        """
        self._check_clock()
        ca = None if order.ca is None else Path(order.ca)
        async with RegistrarClient(order.url, ca) as client:
            status, registrar = await client.status()
            if registrar.kid.hex() != order.registrar_kid:
                raise UsageError(
                    f"the registrar at {order.url} has another key, {registrar.kid.hex()}, than the one that"
                    f" was confirmed, {order.registrar_kid}: nothing was sent to it"
                )
            if self._root.assurance == "software" and not status.software_roots:
                raise UsageError(
                    f"{registrar.name} registers gateways with a TPM only, and this one's root is in software"
                )
            challenge = await client.request_to_register(await self._request(order, status.now_ms))
            if challenge.credential_blob is not None and challenge.secret is not None:
                answer = await self._root.activate(challenge.credential_blob, challenge.secret)
            elif challenge.nonce is not None and self._root.assurance == "software":
                login = Login(self._kid, read_nonce(challenge.nonce), registrar.kid, unix_ms(self._clock))
                answer = await self._sign(login)
            else:
                raise Refused(
                    f"{registrar.name} did not challenge this gateway's TPM: nothing was registered"
                )
            nonce = read_nonce((await client.respond(challenge.id, answer)).nonce)
            descriptors, streams = await self._descriptors()
            confirmation = Confirmation(
                user=order.user, password=order.password, nonce=nonce.hex(), descriptors=descriptors
            )
            certified = await client.confirm(challenge.id, confirmation)
        self._read_own(certified, registrar)
        kept = _Kept(
            url=order.url,
            ca=order.ca,
            user=order.user,
            registrar=_text(status.card),
            certificate=_text(certified.certificate),
            region=order.region,
            tariff_zone=order.tariff_zone,
            listed=order.listed,
            streams=streams,
        )
        await self._keep(kept)
        await self._ledger.audit(
            AuditEntry(
                unix_ms(self._clock), "registration", f"registered at {registrar.name} as {order.user}"
            )
        )
        self._credentials, self._failures, self._next_try, self._tell_at = {}, 0, 0, 0
        self._registered.set()
        await self._look()
        found = self.status()
        assert found is not None
        return found

    async def _request(self, order: RegistrationOrder, now_ms: int) -> RegistrationRequest:
        """Figure 3, "requesting to register": by whom, with which card, and what the TPM shows of itself."""
        card = Card(
            kid=self._kid,
            signing_key=self._root.public_key,
            xwing_key=None,
            role="gateway",
            name=order.name,
            valid_from_ms=min(now_ms, unix_ms(self._clock)),
            valid_until_ms=now_ms + _CARD_MS,
        )
        evidence = await self._root.evidence()
        shown = None
        if evidence is not None:
            shown = EvidenceDocument(**asdict(evidence))
        return RegistrationRequest(
            user=order.user, password=order.password, card=await self._sign(card), evidence=shown
        )

    # What follows from it.

    async def run(self) -> None:
        """Keep the certificate, the streams and the credentials of a registered gateway up to date, for ever.
        What fails is tried again."""
        while True:
            await self._registered.wait()
            await self._look()
            await self._clock.sleep(_LOOK_S)

    async def present(self, key: str, refused: Credentials | None = None) -> Credentials:
        """The storage credentials to use now: see `gateway.store.credentials.CredentialsSource`."""
        if self._kept is None:
            raise Unavailable(
                "the store's credentials come from a registrar, and this gateway is "
                f"{'no longer registered' if self._lost else 'not registered yet'}: "
                "gateway register URL --user NAME"
            )
        async with self._renewing:
            known = self._credentials_at(key)
            usable = known is not None and self._usable(known)
            if known is not None and usable and known is not refused:
                return known
            if self._clock.monotonic() >= self._next_try:
                await self._renew_credentials()
            found = self._credentials_at(key)
            if found is None or (found is known and not usable):
                raise Unavailable(f"there are no storage credentials: {self._fault or 'none were given'}")
            return found

    def _credentials_at(self, key: str) -> Credentials | None:
        """The credentials that reach an object; of one outside of the streams known to the registrar, any."""
        stream = key.removeprefix("v1/").partition("/")[0]
        return self._credentials.get(stream, next(iter(self._credentials.values()), None))

    def _usable(self, credentials: Credentials) -> bool:
        end = credentials.expires_ms
        return end is None or end > unix_ms(self._clock) + _LEAST_MS

    @property
    def _credentials_end_ms(self) -> int | None:
        """When the first of the credentials end; None where there are none, or they do not end."""
        ends = [one.expires_ms for one in self._credentials.values() if one.expires_ms is not None]
        return min(ends, default=None)

    async def verified_by(self, card: Card) -> str | None:
        """The name of the registrar that vouches for this very card, today; None where it does not, or does
        not answer."""
        if self._kept is None:
            return None
        registrar = _card(self._kept.registrar)
        now_ms = unix_ms(self._clock)
        what = f"the certificate of {card.name!r}"
        try:
            async with RegistrarClient(self._kept.url, self._ca()) as client:
                certificate = read_certificate(await client.certificate(card.kid), registrar, now_ms, what)
                (await client.revocations(registrar, now_ms)).check(certificate, what)
        except GatewayError as error:
            _log.info("%s: its fingerprint has to be compared: %s", card.name, error)
            return None
        holder = certificate.holder
        same = (holder.signing_key, holder.xwing_key, holder.name, holder.role)
        return registrar.name if same == (card.signing_key, card.xwing_key, card.name, card.role) else None

    async def certified(self, kid: bytes) -> tuple[Card, str | None] | None:
        """The card with this kid in the registrar's certificate of it, and why that does not count today
        (None: it does). None where the registrar certified no such card. While the registrar does not answer
        its last word counts, as long as its list of revocations says; then Unavailable."""
        registrar = self._registrar()
        self._check_clock()
        now_ms = unix_ms(self._clock)
        what = f"the certificate of key {kid.hex()}"
        try:
            assert self._kept is not None
            async with RegistrarClient(self._kept.url, self._ca()) as client:
                revoked = await client.revocations(registrar, now_ms)
                try:
                    answer = await client.certificate(kid)
                except Unavailable:
                    raise
                except GatewayError as error:  # there is none, or it was revoked
                    known = self._vouched.get(kid)
                    return None if known is None else (known.holder, str(error))
            found = Certificate.read(answer.certificate, registrar.signing_key, what)
        except Unavailable:
            if kid not in self._vouched or self._revoked is None or self._revoked.next_ms <= now_ms:
                raise
            found, revoked = self._vouched[kid], self._revoked
        card = found.holder
        if card.kid != kid or card.role != "provider":
            return None
        self._keep_vouched(found)
        self._revoked = revoked
        try:
            found.check(now_ms, what)
            revoked.check(found, what)
        except Refused as error:
            return card, str(error)
        return card, None

    def _keep_vouched(self, certificate: Certificate) -> None:
        kid = certificate.holder.kid
        if kid in self._vouched or len(self._vouched) < _MOST_VOUCHED:
            self._vouched[kid] = certificate

    @property
    def vouched(self) -> list[bytes]:
        """The signed cards of the providers whose certificates were seen in this run: those that command, or
        ask for grants."""
        return [certificate.card for certificate in self._vouched.values()]

    async def requests(self) -> list[Found]:
        """The open requests of providers for grants on this gateway's streams. Those that are not signed by a
        provider whom the registrar vouches for today are left out, and logged."""
        registrar = self._registrar()
        async with self._session() as client:
            answers = await client.requests()
            now_ms = unix_ms(self._clock)
            revoked = await client.revocations(registrar, now_ms)
        found = []
        for answer in answers:
            what = f"request {answer.id}"
            try:
                certificate = Certificate.read(answer.certificate, registrar.signing_key, what)
                certificate.check(now_ms, f"the certificate of {what}")
                revoked.check(certificate, f"the certificate of {what}")
                card = certificate.holder
                request = Request.read(answer.request, card.signing_key, what)
                if request.provider != card.kid or card.role != "provider" or request.id.hex() != answer.id:
                    raise Refused(f"{what} is not signed by the provider that it names")
            except Refused as error:
                _log.warning("%s", error)
                continue
            self._keep_vouched(certificate)
            if answer.state == "open":
                found.append(Found(request, certificate, registrar.name, answer.received_ms))
        return found

    async def decide(self, request: bytes, state: GrantRequestState) -> None:
        """Say to the registrar what the household decided on a request."""
        async with self._session() as client:
            await client.decide(request, state)

    async def _look(self) -> None:
        """Renew what is due. A failure is told of in the log and the status, and ends nothing."""
        try:
            due = self._clock.monotonic() >= self._tell_at or self._certificate_due()
            if due or await self._streams_changed():
                await self._renew()
                self._tell_at = self._clock.monotonic() + round(_TELL_S * 1e9)
                self._told(None)
        except (GatewayError, OSError) as error:
            self._told(str(error))
        if self._credentials_due():
            async with self._renewing:
                await self._renew_credentials()

    def _certificate_due(self) -> bool:
        """Whether a third of its time is left, or less."""
        certificate = self.certificate
        assert certificate is not None
        whole = certificate.valid_until_ms - certificate.valid_from_ms
        return unix_ms(self._clock) > certificate.valid_until_ms - whole // 3

    def _credentials_due(self) -> bool:
        """Whether credentials that are in use end soon."""
        end = self._credentials_end_ms
        return end is not None and end < unix_ms(self._clock) + _SOON_MS

    async def _streams_changed(self) -> bool:
        assert self._kept is not None
        return tuple(stream.id.hex() for stream in await self._ledger.streams()) != self._kept.streams

    async def _renew(self) -> None:
        kept, registrar = self._kept, self._registrar()
        assert kept is not None
        async with self._session() as client:
            descriptors, streams = await self._descriptors()
            told = StreamsRequest(
                descriptors=descriptors,
                region=kept.region,
                tariff_zone=kept.tariff_zone,
                listed=kept.listed,
            )
            self._notices = (await client.put_streams(told)).notices[:_MOST_NOTICES]
            certified = await client.renew() if self._certificate_due() or streams != kept.streams else None
        if certified is not None:
            self._read_own(certified, registrar)
            kept = replace(kept, certificate=_text(certified.certificate), streams=streams)
            await self._keep(kept)
            self._credentials = {}  # those that come now reach the new streams

    async def _renew_credentials(self) -> None:
        try:
            if await self._streams_changed():
                await self._renew()
            async with self._session() as client:
                found = await self._all_credentials(client)
        except (GatewayError, OSError) as error:
            pause = _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
            self._failures += 1
            self._next_try = self._clock.monotonic() + round(pause * 1e9)
            self._told(str(error))
            return
        self._failures, self._next_try = 0, 0
        self._told(None)
        self._credentials = found

    async def _all_credentials(self, client: RegistrarClient) -> dict[str, Credentials]:
        """Credentials for all streams: each session has room for some."""
        assert self._kept is not None
        own = set(self._kept.streams)
        found: dict[str, Credentials] = {}
        left: list[str] = []
        while True:
            answer = await client.credentials([bytes.fromhex(stream) for stream in left])
            keys = Credentials(answer.access_key, answer.secret_key, answer.session_token, answer.expires_ms)
            # Others that a registrar names are not ours: without end, they would fill the memory.
            reached = [stream for stream in answer.streams if stream in own and stream not in found]
            found |= dict.fromkeys(reached, keys)
            left = [stream for stream in self._kept.streams if stream not in found]
            if not left or not reached:
                return found

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[RegistrarClient]:
        """A client with a session in this gateway's name. Unavailable where it is not registered."""
        registrar = self._registrar()
        assert self._kept is not None
        self._check_clock()
        async with RegistrarClient(self._kept.url, self._ca()) as client:
            await client.login(self._kid, registrar, unix_ms(self._clock), self._sign)
            yield client

    def _registrar(self) -> Card:
        registrar = self.registrar
        if registrar is None:
            raise Unavailable("this gateway is not registered: gateway register URL --user NAME")
        return registrar

    def _ca(self) -> Path | None:
        return None if self._kept is None or self._kept.ca is None else Path(self._kept.ca)

    def _check_clock(self) -> None:
        if not self._clock.trusted():
            raise Unavailable("the clock is not set yet, so no certificate can be checked: try again later")

    def _read_own(self, answer: CertificateAnswer, registrar: Card) -> Certificate:
        """The gateway's certificate; Refused unless it is of this gateway and of this registrar."""
        what = "the gateway's certificate"
        found = read_certificate(answer, registrar, unix_ms(self._clock), what)
        if found.holder.kid != self._kid or found.assurance != self._root.assurance:
            raise Refused(f"{what} is another gateway's, or states another root than this one's")
        return found

    async def _descriptors(self) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
        """The signed descriptors of all streams (the an-IDs), and the streams' ids."""
        streams = await self._ledger.streams()
        signed = [await self._sign(descriptor_of(stream, self._root)) for stream in streams]
        return tuple(signed), tuple(stream.id.hex() for stream in streams)

    async def _sign(self, item: Signed) -> bytes:
        return await sign(self._root, item)

    async def _keep(self, kept: _Kept) -> None:
        document = json.dumps({"version": _VERSION, **asdict(kept)}, indent=1)
        try:
            await asyncio.to_thread(write_durably, self._path, document.encode())
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written: {error.strerror}") from None
        self._kept = kept

    def _told(self, fault: str | None) -> None:
        self._fault = fault
        if fault is None:
            self._faults.clear("the registrar answers again")
        else:
            self._faults.report(fault)


def _load(path: Path) -> _Kept | None:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        document = {}
    try:
        if document.pop("version") != _VERSION:
            raise ValueError
        kept = _Kept(**{**document, "streams": tuple(document["streams"])})
        registrar = _card(kept.registrar)
        Certificate.read(base64.b64decode(kept.certificate), registrar.signing_key, str(path))
    except (ValueError, TypeError, KeyError, AttributeError, Refused):
        raise Refused(f"{path} is damaged: register again (gateway register URL --user NAME)") from None
    return kept


def _card(text: str) -> Card:
    return Card.read_self_signed(base64.b64decode(text), "the registrar's card")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
