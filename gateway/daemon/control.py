"""The daemon's ear: JSON over HTTP on a Unix socket that only its user and root can open.

    GET    /status            how everything fares
    GET    /grants            all grants
    POST   /grants            make one; where the consent check finds something, only if "confirmed"
    DELETE /grants/<id hex>   revoke one
    GET    /consent           what each provider, and all together, could derive beyond their grants

An error comes back as {"error": sentence, "exit_code": n}, with status 400, 503 or HTTP's own.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.chain.consent.held import Finding
from gateway.chain.grant import KINDS
from gateway.daemon.granter import Consent, Granter, NewGrant
from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import GrantRecord, Stream
from gateway.wire.card import Card
from gateway.wire.grant import read_grant_body
from gateway.wire.tariff import read_tariff_body

Status = Callable[[], Awaitable[dict[str, Any]]]


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except GatewayError as error:
        status = 503 if isinstance(error, Unavailable) else 400
        return web.json_response({"error": str(error), "exit_code": error.exit_code}, status=status)
    except web.HTTPException as refusal:
        sentence = f"the gateway takes no such {request.method} {request.path}: {refusal.reason}"
        answer = {"error": sentence, "exit_code": UsageError.exit_code}
        return web.json_response(answer, status=refusal.status)


class Control:
    """Answers on the socket until it is cancelled."""

    def __init__(self, ledger: Ledger, granter: Granter, status: Status) -> None:
        self._ledger = ledger
        self._granter = granter
        self._status = status

    async def serve(self, path: Path) -> None:
        """Listen at `path`. A socket that an earlier run left behind is replaced."""
        app = web.Application(middlewares=[_errors])
        app.add_routes(
            [
                web.get("/status", self._get_status),
                web.get("/grants", self._get_grants),
                web.post("/grants", self._post_grant),
                web.delete("/grants/{id}", self._delete_grant),
                web.get("/consent", self._get_consent),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            listener = _listen(path)
            await web.SockSite(runner, listener).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _get_status(self, request: web.Request) -> web.Response:
        return web.json_response(await self._status())

    async def _get_grants(self, request: web.Request) -> web.Response:
        streams = {stream.id: stream for stream in await self._ledger.streams()}
        records = await self._ledger.grants()
        return web.json_response([grant_json(streams[record.stream], record) for record in records])

    async def _post_grant(self, request: web.Request) -> web.Response:
        try:
            wanted = await request.json()
            meter, cards, wish = wanted["meter"], _cards(wanted["cards"]), _wish(wanted)
            confirmed = wanted["confirmed"] is True
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
            raise UsageError("this is no wish for a grant that this gateway understands") from None
        stream = await self._stream(meter)
        records, consent = await self._granter.new(stream, cards, wish, confirmed=confirmed)
        answer = {
            "grants": [grant_json(stream, record) for record in records],
            "consent": _consent_json(consent),
        }
        return web.json_response(answer, status=201 if records else 200)

    async def _get_consent(self, request: web.Request) -> web.Response:
        streams = await self._ledger.streams()
        consents = [(stream, await self._granter.consent(stream, [])) for stream in streams]
        return web.json_response([{"meter": s.meter, **_consent_json(consent)} for s, consent in consents])

    async def _delete_grant(self, request: web.Request) -> web.Response:
        try:
            grant_id = bytes.fromhex(request.match_info["id"])
        except ValueError:
            raise UsageError(
                f"{request.match_info['id']!r} is no grant's id: 32 hexadecimal digits"
            ) from None
        record = await self._granter.revoke(grant_id)
        streams = {stream.id: stream for stream in await self._ledger.streams()}
        return web.json_response(grant_json(streams[record.stream], record))

    async def _stream(self, meter: str | None) -> Stream:
        streams = await self._ledger.streams()
        found = [stream for stream in streams if meter in (None, stream.meter)]
        if len(found) == 1:
            return found[0]
        if not streams:
            raise Unavailable(
                "no stream has begun yet: it does at the first link border after the first reading"
            )
        names = ", ".join(stream.meter for stream in streams)
        if meter is None:
            raise UsageError(f"there are several meters; say which with --meter: {names}")
        raise UsageError(f"meter {meter!r} has no stream; those that have: {names}")


def _cards(given: list[str]) -> list[Card]:
    return [Card.read_self_signed(base64.b64decode(card, validate=True), "the card") for card in given]


def _wish(wanted: dict[str, Any]) -> NewGrant:
    if wanted["kind"] not in KINDS:
        raise ValueError
    tariff = wanted["tariff"]
    return NewGrant(
        kind=wanted["kind"],
        granularity=str(wanted["granularity"]),
        zone=str(wanted["zone"]),
        lanes=None if wanted["lanes"] is None else tuple(str(lane) for lane in wanted["lanes"]),
        purpose=str(wanted["purpose"]),
        from_ms=None if wanted["from_ms"] is None else int(wanted["from_ms"]),
        until_ms=None if wanted["until_ms"] is None else int(wanted["until_ms"]),
        tariff=None
        if tariff is None
        else read_tariff_body(base64.b64decode(tariff, validate=True), "the tariff"),
    )


def _consent_json(consent: Consent) -> dict[str, Any]:
    def sentences(findings: list[Finding]) -> list[str]:
        return list(dict.fromkeys(finding.sentence for finding in findings))

    return {"provider": sentences(consent.provider), "pooled": sentences(consent.pooled)}


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        # Before it has a name: between bind and chmod anybody could connect.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise UsageError(f"the control socket {path} cannot be opened: {error.strerror}") from None
    return listener


def grant_json(stream: Stream, record: GrantRecord) -> dict[str, Any]:
    """A grant for a person or a script: times in Unix ms."""
    unit_ms = stream.layout.unit_ms
    grant = read_grant_body(record.body, unit_ms, f"grant {record.id.hex()}")
    return {
        "id": grant.id.hex(),
        "stream": stream.id.hex(),
        "meter": stream.meter,
        "provider": record.provider_name,
        "provider_kid": grant.provider.hex(),
        "kind": grant.kind,
        "granularity": str(grant.granularity),
        "zone": grant.granularity.zone,
        "lanes": list(grant.lanes),
        "purpose": grant.purpose,
        "from_ms": grant.first * unit_ms,
        "until_ms": None if grant.until is None else grant.until * unit_ms,
        "revoked_from_ms": None if record.revoked_from is None else record.revoked_from * unit_ms,
        "windows_served": record.next_window,
        "issued_ms": grant.issued_ms,
        "serial": grant.serial,
        "tariff": None if grant.tariff is None else grant.tariff.hex(),
        "partner": None if grant.partner is None else grant.partner.hex(),
    }
