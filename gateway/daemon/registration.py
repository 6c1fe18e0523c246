"""The gateway's registration at a registrar, step by step as in the paper's Figure 3, and what follows from
it: its certificate and its storage credentials.

A password is used and forgotten, and storage credentials stay in memory: they last for hours only. While the
registrar does not answer, the gateway reads and seals as ever, and sends as long as its credentials last;
afterwards what is sealed waits in the ledger.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, replace
from pathlib import Path

from gateway.chain.layout import DAY_MS
from gateway.control.documents import RegistrationOrder, RegistrationStatus
from gateway.daemon.found import descriptor_of
from gateway.daemon.registrar_link import Kept, RegistrarLink, as_text
from gateway.daemon.vouching import Vouching
from gateway.errors import GatewayError, Refused, Unavailable, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry
from gateway.registry.client import RegistrarClient, read_certificate, read_nonce
from gateway.registry.documents import (
    CertificateAnswer,
    Confirmation,
    EvidenceDocument,
    Notice,
    RegistrationRequest,
    StreamsRequest,
)
from gateway.store.credentials import Credentials
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.wire.card import Card
from gateway.wire.certificate import Certificate
from gateway.wire.request import Login
from gateway.wire.signed import Signed

_log = logging.getLogger(__name__)

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
_PAUSES_S = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)


class Registration:
    """The registration of the gateway whose state lies in the folder `state`. It is a `CredentialsSource` for
    the store."""

    def __init__(self, state: Path, root: Root, ledger: Ledger, clock: Clock) -> None:
        """UsageError where the file of a registration cannot be read."""
        self._root = root
        self._ledger = ledger
        self._clock = clock
        self._link = RegistrarLink(state, root, clock)
        self.vouching = Vouching(self._link, clock)
        """Whose cards the registrar vouches for."""
        self._registered = asyncio.Event()
        if self._link.kept is not None:
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
    def faults(self) -> tuple[str, ...]:
        """What is wrong, a sentence each, where nothing is known of a registration that there was."""
        return () if self._link.lost is None else (self._link.lost,)

    def status(self) -> RegistrationStatus | None:
        """Where and as whom the gateway is registered; None where it is not."""
        kept = self._link.kept
        if kept is None:
            return None
        registrar, certificate = self._link.registrar, self._link.certificate
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
        self._link.check_clock()
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
                login = Login(
                    self._link.kid, read_nonce(challenge.nonce), registrar.kid, unix_ms(self._clock)
                )
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
        kept = Kept(
            url=order.url,
            ca=order.ca,
            user=order.user,
            registrar=as_text(status.card),
            certificate=as_text(certified.certificate),
            region=order.region,
            tariff_zone=order.tariff_zone,
            listed=order.listed,
            streams=streams,
        )
        await self._link.keep(kept)
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
            kid=self._link.kid,
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
        if self._link.kept is None:
            raise Unavailable(f"the store's credentials come from a registrar, and {self._link.missing}")
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
        certificate = self._link.certificate
        whole = certificate.valid_until_ms - certificate.valid_from_ms
        return unix_ms(self._clock) > certificate.valid_until_ms - whole // 3

    def _credentials_due(self) -> bool:
        """Whether credentials that are in use end soon."""
        end = self._credentials_end_ms
        return end is not None and end < unix_ms(self._clock) + _SOON_MS

    async def _streams_changed(self) -> bool:
        known = self._link.registered.streams
        return tuple(stream.id.hex() for stream in await self._ledger.streams()) != known

    async def _renew(self) -> None:
        kept, registrar = self._link.registered, self._link.registrar
        async with self._link.session() as client:
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
            kept = replace(kept, certificate=as_text(certified.certificate), streams=streams)
            await self._link.keep(kept)
            self._credentials = {}  # those that come now reach the new streams

    async def _renew_credentials(self) -> None:
        try:
            if await self._streams_changed():
                await self._renew()
            async with self._link.session() as client:
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
        streams = self._link.registered.streams
        own = set(streams)
        found: dict[str, Credentials] = {}
        left: list[str] = []
        while True:
            answer = await client.credentials([bytes.fromhex(stream) for stream in left])
            keys = Credentials(answer.access_key, answer.secret_key, answer.session_token, answer.expires_ms)
            # Others that a registrar names are not ours: without end, they would fill the memory.
            reached = [stream for stream in answer.streams if stream in own and stream not in found]
            found |= dict.fromkeys(reached, keys)
            left = [stream for stream in streams if stream not in found]
            if not left or not reached:
                return found

    def _read_own(self, answer: CertificateAnswer, registrar: Card) -> Certificate:
        """The gateway's certificate; Refused unless it is of this gateway and of this registrar."""
        what = "the gateway's certificate"
        found = read_certificate(answer, registrar, unix_ms(self._clock), what)
        if found.holder.kid != self._link.kid or found.assurance != self._root.assurance:
            raise Refused(f"{what} is another gateway's, or states another root than this one's")
        return found

    async def _descriptors(self) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
        """The signed descriptors of all streams (the an-IDs), and the streams' ids."""
        streams = await self._ledger.streams()
        signed = [await self._sign(descriptor_of(stream, self._root)) for stream in streams]
        return tuple(signed), tuple(stream.id.hex() for stream in streams)

    async def _sign(self, item: Signed) -> bytes:
        return await sign(self._root, item)

    def _told(self, fault: str | None) -> None:
        self._fault = fault
        if fault is None:
            self._faults.clear("the registrar answers again")
        else:
            self._faults.report(fault)
