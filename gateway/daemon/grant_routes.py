"""What the control API answers about grants, and about providers' requests for them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.chain.window import spell_ms
from gateway.control.documents import (
    ConsentStatus,
    GrantAnswer,
    GrantRecordStatus,
    GrantRequest,
    GrantStatus,
    MeterConsent,
    OfferStatus,
    RequestStatus,
    StrangerStatus,
    VerifiedStatus,
)
from gateway.control.follows import TariffAnswer
from gateway.daemon.answers import answer, answers, hex_id, json_of, stream_of
from gateway.daemon.granter import Granter
from gateway.daemon.grants import AnyGrant, GrantBook, ServedGrant
from gateway.daemon.vouching import Found, Vouching
from gateway.errors import UsageError
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import Stream
from gateway.registry.documents import GrantRequestState
from gateway.wire.cose import digest


class GrantRoutes:
    """The answers about grants."""

    def __init__(self, ledger: Ledger, grants: GrantBook, granter: Granter, vouching: Vouching) -> None:
        self._ledger = ledger
        self._grants = grants
        self._granter = granter
        self._vouching = vouching

    def routes(self) -> list[web.RouteDef]:
        """What the control API answers about them."""
        return [
            web.get("/grants", self._get_grants),
            web.post("/grants", self._post_grant),
            web.delete("/grants/{id}", self._delete_grant),
            web.get("/consent", self._get_consent),
            web.get("/requests", self._get_requests),
            web.post("/requests/{id}", self._post_request),
            web.get("/tariffs/{digest}", self._get_tariff),
        ]

    async def _get_grants(self, request: web.Request) -> web.Response:
        streams = await self._ledger.streams()
        return answers([self._grant(grant) for stream in streams for grant in await self._grants.all(stream)])

    async def _post_grant(self, request: web.Request) -> web.Response:
        wanted = GrantRequest.parse(await json_of(request, "the grant request"))
        cards, new = wanted.read_cards(), wanted.new_grant()
        stream = await stream_of(self._ledger, wanted.meter)
        made, consent = await self._granter.new(
            stream,
            cards,
            new,
            confirmed=wanted.confirmed,
            fingerprints=wanted.read_fingerprints(),
            dry_run=wanted.dry_run,
            own=wanted.own,
        )
        if made and not wanted.own:  # the household itself is no provider
            await self._ledger.keep_cards(
                (card.kid, data) for card, data in zip(cards, wanted.cards, strict=True)
            )
        given = GrantAnswer(
            grants=tuple(_grant_status(grant, None) for grant in made),
            consent=ConsentStatus.of(consent),
            strangers=tuple(StrangerStatus.of(one) for one in consent.strangers),
            verified=tuple(VerifiedStatus(name=card.name, registrar=by) for card, by in consent.verified),
            offered=tuple(OfferStatus.of(one) for one in consent.offered),
            bits_a_bill=consent.bits,
        )
        return answer(given, 201 if made else 200)

    async def _get_consent(self, request: web.Request) -> web.Response:
        streams = await self._ledger.streams()
        consents = [
            (stream.meter, ConsentStatus.of(await self._granter.consent(stream, []))) for stream in streams
        ]
        return answers(MeterConsent(meter=meter, **dict(consent)) for meter, consent in consents)

    async def _delete_grant(self, request: web.Request) -> web.Response:
        grant_id = hex_id(request.match_info["id"], "a grant's")
        return answer(self._grant(await self._granter.revoke(grant_id)))

    async def _get_requests(self, request: web.Request) -> web.Response:
        streams = {stream.id: stream for stream in await self._ledger.streams()}
        found = await self._vouching.requests()
        return answers(
            _request_status(one, streams[one.request.stream])
            for one in found
            if one.request.stream in streams
        )

    async def _post_request(self, request: web.Request) -> web.Response:
        decided = GrantRequestState.parse(await json_of(request, "the decision"))
        await self._vouching.decide(hex_id(request.match_info["id"], "a request's"), decided)
        return web.json_response({"state": decided.state})

    async def _get_tariff(self, request: web.Request) -> web.Response:
        wanted = request.match_info["digest"]
        for record in await self._ledger.grants():
            if record.tariff is not None and digest(record.tariff).hex() == wanted:
                return answer(TariffAnswer(tariff=record.tariff))
        raise UsageError(f"no grant of a bill names the tariff {wanted!r}, or the ledger has lost it")

    def _grant(self, one: AnyGrant) -> GrantRecordStatus:
        fault = self._grants.fault(one)
        return (
            _grant_status(one, fault)
            if isinstance(one, ServedGrant)
            else GrantRecordStatus(**_record_status(one, fault))
        )


def _request_status(found: Found, stream: Stream) -> RequestStatus:
    request = found.request
    return RequestStatus(
        id=request.id.hex(),
        provider=found.certificate.holder.name,
        verified_by=found.registrar,
        meter=stream.meter,
        card=found.certificate.card,
        kind=request.kind,
        granularity=_in_words(request.granularity, stream.layout.unit_ms),
        zone=request.zone,
        lanes=request.lanes,
        purpose=request.purpose,
        from_ms=request.from_ms,
        until_ms=request.until_ms,
        tariff=request.tariff,
        received_ms=found.received_ms,
    )


def _in_words(granularity: int | str, unit_ms: int) -> str:
    """A granularity as a person writes it; whether it is one is checked when it is granted."""
    return spell_ms(granularity * unit_ms) if isinstance(granularity, int) else granularity


def _record_status(one: AnyGrant, fault: str | None) -> dict[str, Any]:
    """The fields of every grant, read or not."""
    record, stream = one.record, one.stream
    revoked = record.revoked_from
    return {
        "id": record.id.hex(),
        "stream": stream.id.hex(),
        "meter": stream.meter,
        "provider": record.provider_name,
        "revoked_from_ms": None if revoked is None else revoked * stream.layout.unit_ms,
        "windows_served": record.next_window,
        **({} if fault is None else {"fault": fault}),
        **({"own": True} if record.own else {}),
    }


def _grant_status(served: ServedGrant, fault: str | None) -> GrantStatus:
    grant, unit_ms = served.grant, served.stream.layout.unit_ms
    return GrantStatus(
        **(_record_status(served, fault) | ({} if grant.quantum is None else {"quantum": grant.quantum})),
        provider_kid=grant.provider.hex(),
        kind=grant.kind,
        granularity=str(grant.granularity),
        zone=grant.granularity.zone,
        lanes=grant.lanes,
        purpose=grant.purpose,
        from_ms=grant.first * unit_ms,
        until_ms=None if grant.until is None else grant.until * unit_ms,
        issued_ms=grant.issued_ms,
        serial=grant.serial,
        tariff=None if grant.tariff is None else grant.tariff.hex(),
        partner=None if grant.partner is None else grant.partner.hex(),
        k_min=grant.k_min,
    )
