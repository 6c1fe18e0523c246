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
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from aiohttp import web

from gateway.control.documents import (
    AcceptAnswer,
    AcceptRequest,
    MeterStatus,
    ReadingStatus,
    RegistrationOrder,
    Status,
)
from gateway.control.health import Health
from gateway.control.metrics import CONTENT_TYPE, render
from gateway.control.objects import MOST_KEYS, ObjectEntry, ObjectList
from gateway.daemon.answers import answer, answers, errors, json_of, serve_at
from gateway.daemon.issuer import Issuer
from gateway.daemon.line import Line
from gateway.daemon.objects import Objects
from gateway.daemon.registration import Registration
from gateway.daemon.series import Series
from gateway.errors import UsageError


class Subject(Protocol):
    """What answers at the control API about one subject."""

    def routes(self) -> list[web.RouteDef]:
        """Its answers."""
        ...


class Control:
    """The server of the control API."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        issuer: Issuer,
        status: Callable[[], Awaitable[Status]],
        readings: Callable[[], Iterable[ReadingStatus]],
        lines: Mapping[str, Line],
        series: Mapping[str, Series],
        registration: Registration,
        objects: Objects,
    ) -> None:
        """`subjects` answer what this does not."""
        self._subjects = subjects
        self._registration = registration
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
                web.post("/registration", self._post_registration),
                web.post("/meters/{name}/accept", self._post_accept),
                web.post("/series/{name}", self._post_series),
                web.delete("/doubts", self._delete_doubts),
                web.get("/objects", self._get_objects),
                web.get("/objects/{key:.+}", self._get_object),
                *(route for subject in self._subjects for route in subject.routes()),
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

    async def _post_registration(self, request: web.Request) -> web.Response:
        order = RegistrationOrder.parse(await json_of(request, "the order to register"))
        return answer(await self._registration.register(order))

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


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_KEYS):
        raise UsageError(f"limit: expected a number from 1 to {MOST_KEYS}")
    return int(text)


def _exactly(text: str) -> object:
    """JSON with decimals as they are written."""
    return json.loads(text, parse_float=Decimal)
