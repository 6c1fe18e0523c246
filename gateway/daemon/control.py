"""The control API: JSON over HTTP on a Unix socket, for root, the gateway's user and, where it has a group of
its own, that group.

    GET    /status            the status of all parts
    GET    /metrics           the status as metrics, in Prometheus' text format
    GET    /healthz           whether all is well, with status 503 where it is not
    GET    /readings          what each meter and series showed when it was last read
    GET    /grants            all grants
    POST   /grants            make one; if the consent check finds something, only with "confirmed"; the first
                              to a card only with its fingerprint; with "dry_run" only say what is found; with
                              "own" a grant to the household itself, to whose card nothing has to be confirmed
    DELETE /grants/<id hex>   revoke one
    GET    /consent           what each provider, and all together, could derive beyond their grants
    POST   /registration      register the gateway at a registrar, as a user of it
    GET    /requests          providers' open requests for grants
    POST   /requests/<id hex>      what the household decided on one
    POST   /meters/<name>/accept   the owner's decision on a meter's held readings
    POST   /series/<name>     values of a series as they are now, {"temperature": 21.5}: numbers by lane
    GET    /cards             the providers' cards that the gateway knows
    GET    /commands          providers' commands, the latest first
    POST   /commands          a signed command, as whoever received it delivers it
    POST   /commands/<id hex>        what the household decided on one
    POST   /commands/<id hex>/acted  what was due for one was published on the household's broker
    GET    /tariffs/<digest hex>   the tariff body that a grant of a bill names
    GET    /follows           standing decisions to grant the bills of a price series, and what they wait for
    POST   /follows           make one; as with a grant, what is found is confirmed first
    POST   /follows/<id hex>  confirm what is found about one of its periods
    DELETE /follows/<id hex>  end one
    POST   /prices            a signed price series, for the decisions that follow it
    DELETE /doubts            the owner vouches for the ledger: no unit is in doubt any longer
    GET    /configuration     the configuration file, and what is wrong with it
    PUT    /configuration     another one, with its secrets; with "dry_run" only checked
    POST   /trials            a part of a configuration, tried
    POST   /searches          meters behind a host or on a serial port
    GET    /profiles          the meter models that can be read
    GET    /doctor            the doctor's findings
    GET    /objects           the keys below the gateway's own streams and v1/prices/, of which "prefix",
                              "after" and "limit" choose some
    GET    /objects/<key>     one of these objects, as it lies in the bucket or waits to go there

GET /status has the registers of held readings: they are personal data, which the socket's owner may see and
no log has. The documents are those of `gateway.control.documents`. An error is answered with an ErrorAnswer
and status 400, 404, 503 or HTTP's own.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.chain.window import spell_ms
from gateway.control.commands import Act, CommandDecision, CommandDelivery
from gateway.control.documents import (
    AcceptAnswer,
    AcceptRequest,
    ConsentStatus,
    GrantAnswer,
    GrantRecordStatus,
    GrantRequest,
    GrantStatus,
    MeterConsent,
    MeterStatus,
    OfferStatus,
    ReadingStatus,
    RegistrationOrder,
    RequestStatus,
    Status,
    StrangerStatus,
    VerifiedStatus,
)
from gateway.control.follows import (
    ConfirmRequest,
    FollowRequest,
    PricesAnswer,
    PricesRequest,
    TariffAnswer,
)
from gateway.control.health import Health
from gateway.control.metrics import CONTENT_TYPE, render
from gateway.control.objects import MOST_KEYS, ObjectEntry, ObjectList
from gateway.daemon.answers import answer, answers, errors, json_of, serve_at
from gateway.daemon.commander import Commander
from gateway.daemon.follow_status import follow_answer, follow_status, new_follow
from gateway.daemon.follower import Follower
from gateway.daemon.granter import Granter
from gateway.daemon.grants import AnyGrant, GrantBook, ServedGrant
from gateway.daemon.issuer import Issuer
from gateway.daemon.line import Line
from gateway.daemon.objects import Objects
from gateway.daemon.registration import Registration
from gateway.daemon.series import Series
from gateway.daemon.setup import Setup
from gateway.daemon.vouching import Found
from gateway.errors import Unavailable, UsageError
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import Stream
from gateway.registry.documents import GrantRequestState
from gateway.wire.cose import digest


class Control:
    """The server of the control API."""

    def __init__(
        self,
        ledger: Ledger,
        grants: GrantBook,
        granter: Granter,
        issuer: Issuer,
        status: Callable[[], Awaitable[Status]],
        readings: Callable[[], Iterable[ReadingStatus]],
        lines: Mapping[str, Line],
        series: Mapping[str, Series],
        registration: Registration,
        setup: Setup | None,
        objects: Objects,
        commander: Commander,
        follower: Follower,
    ) -> None:
        self._commander = commander
        self._ledger = ledger
        self._follower = follower
        self._registration = registration
        self._setup = setup
        self._grants = grants
        self._granter = granter
        self._issuer = issuer
        self._status = status
        self._readings = readings
        self._lines = lines
        self._series = series
        self._objects = objects

    async def serve(self, path: Path) -> None:
        """Answer at the socket `path` until cancelled. A socket that an earlier run left behind is replaced;
        UsageError for one at which another gateway answers."""
        app = web.Application(middlewares=[errors])
        app.add_routes(
            [
                web.get("/status", self._get_status),
                web.get("/metrics", self._get_metrics),
                web.get("/healthz", self._get_healthz),
                web.get("/readings", self._get_readings),
                web.get("/grants", self._get_grants),
                web.post("/grants", self._post_grant),
                web.delete("/grants/{id}", self._delete_grant),
                web.get("/consent", self._get_consent),
                web.post("/registration", self._post_registration),
                web.get("/requests", self._get_requests),
                web.post("/requests/{id}", self._post_request),
                web.post("/meters/{name}/accept", self._post_accept),
                web.post("/series/{name}", self._post_series),
                web.get("/cards", self._get_cards),
                web.get("/commands", self._get_commands),
                web.post("/commands", self._post_command),
                web.post("/commands/{id}", self._post_decision),
                web.post("/commands/{id}/acted", self._post_acted),
                web.get("/tariffs/{digest}", self._get_tariff),
                web.get("/follows", self._get_follows),
                web.post("/follows", self._post_follow),
                web.post("/follows/{id}", self._post_confirm),
                web.delete("/follows/{id}", self._delete_follow),
                web.post("/prices", self._post_prices),
                web.delete("/doubts", self._delete_doubts),
                *(() if self._setup is None else self._setup.routes()),
                web.get("/objects", self._get_objects),
                web.get("/objects/{key:.+}", self._get_object),
            ]
        )
        await serve_at(app, path)

    async def _get_status(self, request: web.Request) -> web.Response:
        return answer(await self._status())

    async def _get_metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=render(await self._status()).encode(), headers={"Content-Type": CONTENT_TYPE}
        )

    async def _get_healthz(self, request: web.Request) -> web.Response:
        health = Health.of(await self._status())
        return answer(health, health.http_status)

    async def _get_readings(self, request: web.Request) -> web.Response:
        return answers(self._readings())

    async def _get_grants(self, request: web.Request) -> web.Response:
        streams = await self._ledger.streams()
        return answers([self._grant(grant) for stream in streams for grant in await self._grants.all(stream)])

    async def _post_grant(self, request: web.Request) -> web.Response:
        wanted = GrantRequest.parse(await json_of(request, "the grant request"))
        cards, new = wanted.read_cards(), wanted.new_grant()
        stream = await self._stream(wanted.meter)
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
        grant_id = _hex_id(request.match_info["id"], "a grant's")
        return answer(self._grant(await self._granter.revoke(grant_id)))

    async def _post_registration(self, request: web.Request) -> web.Response:
        order = RegistrationOrder.parse(await json_of(request, "the order to register"))
        return answer(await self._registration.register(order))

    async def _get_requests(self, request: web.Request) -> web.Response:
        streams = {stream.id: stream for stream in await self._ledger.streams()}
        found = await self._registration.vouching.requests()
        return answers(
            _request_status(one, streams[one.request.stream])
            for one in found
            if one.request.stream in streams
        )

    async def _post_request(self, request: web.Request) -> web.Response:
        decided = GrantRequestState.parse(await json_of(request, "the decision"))
        await self._registration.vouching.decide(_hex_id(request.match_info["id"], "a request's"), decided)
        return web.json_response({"state": decided.state})

    async def _post_accept(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        wanted = AcceptRequest.parse(await json_of(request, "the request"))
        if name not in self._lines:
            raise UsageError(f"there is no meter {name!r}; the meters are {', '.join(self._lines)}")
        decision = await self._lines[name].accept(wanted.choice, wanted.seen_mwh)
        return answer(AcceptAnswer(decision=decision, meter=await self._meter(name)))

    async def _post_series(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        values = await json_of(request, "what is put", _exactly)
        if name not in self._series:
            names = ", ".join(self._series) or "none: a [[series]] in the configuration makes one"
            raise UsageError(f"there is no series {name!r}; the series are {names}")
        self._series[name].put(values)
        return answer(await self._meter(name))

    async def _get_cards(self, request: web.Request) -> web.Response:
        return answers(await self._commander.cards())

    async def _get_commands(self, request: web.Request) -> web.Response:
        return answers(await self._commander.statuses())

    async def _post_command(self, request: web.Request) -> web.Response:
        delivery = CommandDelivery.parse(await json_of(request, "the delivery"))
        return answer(await self._commander.receive(delivery.command))

    async def _post_decision(self, request: web.Request) -> web.Response:
        decided = CommandDecision.parse(await json_of(request, "the decision"))
        command = _hex_id(request.match_info["id"], "a command's")
        if decided.decision == "end":
            return answer(await self._commander.end(command))
        return answer(await self._commander.decide(command, decided.decision == "allow"))

    async def _post_acted(self, request: web.Request) -> web.Response:
        act = Act.parse(await json_of(request, "what was published"))
        return answer(await self._commander.acted(_hex_id(request.match_info["id"], "a command's"), act))

    async def _meter(self, name: str) -> MeterStatus:
        (meter,) = [one for one in (await self._status()).meters if one.meter == name]
        return meter

    async def _delete_doubts(self, request: web.Request) -> web.Response:
        await self._issuer.confirm_ledger()
        return answer(await self._status())

    async def _get_objects(self, request: web.Request) -> web.Response:
        asked = request.query
        most = _limit(asked.get("limit", str(MOST_KEYS)))
        keys, more = await self._objects.keys(asked.get("prefix", ""), asked.get("after", ""), most)
        return answer(ObjectList(objects=tuple(ObjectEntry(key=key) for key in keys), more=more))

    async def _get_object(self, request: web.Request) -> web.Response:
        data = await self._objects.get(request.match_info["key"])
        return web.Response(body=data, content_type="application/octet-stream")

    async def _get_tariff(self, request: web.Request) -> web.Response:
        wanted = request.match_info["digest"]
        for record in await self._ledger.grants():
            if record.tariff is not None and digest(record.tariff).hex() == wanted:
                return answer(TariffAnswer(tariff=record.tariff))
        raise UsageError(f"no grant of a bill names the tariff {wanted!r}, or the ledger has lost it")

    async def _get_follows(self, request: web.Request) -> web.Response:
        return answers([follow_status(one) for one in await self._follower.all()])

    async def _post_follow(self, request: web.Request) -> web.Response:
        wanted = FollowRequest.parse(await json_of(request, "the decision"))
        stream = await self._stream(wanted.meter)
        made, found, checked = await self._follower.follow(
            stream,
            wanted.read_card(),
            new_follow(wanted),
            confirmed=wanted.confirmed,
            fingerprints=wanted.read_fingerprints(),
            dry_run=wanted.dry_run,
        )
        return answer(follow_answer(made, found, checked, stream), 200 if made is None else 201)

    async def _post_confirm(self, request: web.Request) -> web.Response:
        wanted = ConfirmRequest.parse(await json_of(request, "the confirmation"))
        follow = _hex_id(request.match_info["id"], "a decision's")
        return answer(follow_status(await self._follower.confirm(follow, wanted.from_ms, wanted.seen)))

    async def _delete_follow(self, request: web.Request) -> web.Response:
        follow = _hex_id(request.match_info["id"], "a decision's")
        return answer(follow_status(await self._follower.end(follow)))

    async def _post_prices(self, request: web.Request) -> web.Response:
        series = await self._follower.accept(
            PricesRequest.parse(await json_of(request, "the price series")).series
        )
        return answer(PricesAnswer(provider=series.provider.hex(), serial=series.serial, name=series.name))

    def _grant(self, one: AnyGrant) -> GrantRecordStatus:
        fault = self._grants.fault(one)
        return (
            _grant_status(one, fault)
            if isinstance(one, ServedGrant)
            else GrantRecordStatus(**_record_status(one, fault))
        )

    async def _stream(self, meter: str | None) -> Stream:
        streams = await self._ledger.streams()
        found = [stream for stream in streams if meter in (None, stream.meter)]
        if len(found) == 1:
            return found[0]
        if not streams:
            raise Unavailable("no stream has begun yet; `gateway status` says when it begins")
        names = ", ".join(stream.meter for stream in streams)
        if meter is None:
            raise UsageError(f"there are several meters; choose one with --meter: {names}")
        raise UsageError(f"meter {meter!r} has no stream; meters with a stream: {names}")


def _hex_id(text: str, whose: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise UsageError(f"{text!r} is not {whose} id: expected 32 hexadecimal digits") from None


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_KEYS):
        raise UsageError(f"limit: expected a number from 1 to {MOST_KEYS}")
    return int(text)


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


def _exactly(text: str) -> object:
    """JSON with decimals as they are written."""
    return json.loads(text, parse_float=Decimal)


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
