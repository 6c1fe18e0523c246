"""A registrar's word on providers: whose cards it vouches for today, and what they ask of the household."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gateway.daemon.registrar_link import RegistrarLink
from gateway.errors import GatewayError, Refused, Unavailable
from gateway.host.clock import Clock, unix_ms
from gateway.registry.client import read_certificate
from gateway.registry.documents import GrantRequestState
from gateway.wire.card import Card
from gateway.wire.certificate import Certificate, Revocations
from gateway.wire.request import Request

_log = logging.getLogger(__name__)

_MOST = 256
"""Certificates of providers that are kept."""


@dataclass(frozen=True, slots=True)
class Found:
    """A provider's request for a grant, the provider's certificate, who vouches for it, and when the
    registrar received it (Unix ms)."""

    request: Request
    certificate: Certificate
    registrar: str
    received_ms: int


class Vouching:
    """The word of the registrar at which the gateway is registered."""

    def __init__(self, link: RegistrarLink, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._seen: dict[bytes, Certificate] = {}  # of providers, by kid, as last seen
        self._revoked: Revocations | None = None

    async def verified_by(self, card: Card) -> str | None:
        """The name of the registrar that vouches for this very card, today; None where it does not, or does
        not answer."""
        if self._link.kept is None:
            return None
        registrar = self._link.registrar
        now_ms = unix_ms(self._clock)
        what = f"the certificate of {card.name!r}"
        try:
            async with self._link.client() as client:
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
        registrar = self._link.registrar
        self._link.check_clock()
        now_ms = unix_ms(self._clock)
        what = f"the certificate of key {kid.hex()}"
        try:
            async with self._link.client() as client:
                revoked = await client.revocations(registrar, now_ms)
                try:
                    answer = await client.certificate(kid)
                except Unavailable:
                    raise
                except GatewayError as error:  # there is none, or it was revoked
                    known = self._seen.get(kid)
                    return None if known is None else (known.holder, str(error))
            found = Certificate.read(answer.certificate, registrar.signing_key, what)
        except Unavailable:
            if kid not in self._seen or self._revoked is None or self._revoked.next_ms <= now_ms:
                raise
            found, revoked = self._seen[kid], self._revoked
        card = found.holder
        if card.kid != kid or card.role != "provider":
            return None
        self._keep(found)
        self._revoked = revoked
        try:
            found.check(now_ms, what)
            revoked.check(found, what)
        except Refused as error:
            return card, str(error)
        return card, None

    @property
    def cards(self) -> list[bytes]:
        """The signed cards of the providers whose certificates were seen in this run: those that command, or
        ask for grants."""
        return [certificate.card for certificate in self._seen.values()]

    async def requests(self) -> list[Found]:
        """The open requests of providers for grants on this gateway's streams. Those that are not signed by a
        provider whom the registrar vouches for today are left out, and logged."""
        registrar = self._link.registrar
        async with self._link.session() as client:
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
            self._keep(certificate)
            if answer.state == "open":
                found.append(Found(request, certificate, registrar.name, answer.received_ms))
        return found

    async def decide(self, request: bytes, state: GrantRequestState) -> None:
        """Say to the registrar what the household decided on a request."""
        async with self._link.session() as client:
            await client.decide(request, state)

    def _keep(self, certificate: Certificate) -> None:
        kid = certificate.holder.kid
        if kid in self._seen or len(self._seen) < _MOST:
            self._seen[kid] = certificate
