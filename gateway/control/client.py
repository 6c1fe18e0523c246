"""The client of the control API, over the running gateway's socket."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from pydantic import TypeAdapter, ValidationError

from gateway.control.commands import Act, CardStatus, CommandDecision, CommandDelivery, CommandStatus
from gateway.control.documents import (
    AcceptAnswer,
    AcceptRequest,
    ErrorAnswer,
    GrantAnswer,
    GrantRecordStatus,
    GrantRequest,
    GrantStatus,
    MeterConsent,
    MeterStatus,
    ReadingStatus,
    RegistrationOrder,
    RegistrationStatus,
    RequestStatus,
    Status,
)
from gateway.control.follows import (
    ConfirmRequest,
    FollowAnswer,
    FollowRequest,
    FollowStatus,
    PricesAnswer,
    PricesRequest,
    TariffAnswer,
)
from gateway.control.objects import MOST_KEYS, ObjectList
from gateway.control.setup import (
    ConfigurationOrder,
    ConfigurationStatus,
    Finding,
    MeterProfile,
    SearchAnswer,
    SearchOrder,
    TrialOrder,
)
from gateway.errors import GatewayError, NotFound, Unavailable

T = TypeVar("T")
_Grant = GrantStatus | GrantRecordStatus


class ControlClient:
    """A client of the gateway that listens at the path `socket`. Every method raises Unavailable if none
    does, and the error that the gateway answers with."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def status(self) -> Status:
        """The status of all parts of the gateway."""
        return await self._ask(TypeAdapter(Status), "GET", "/status")

    async def readings(self) -> tuple[ReadingStatus, ...]:
        """What each meter showed when it was last read."""
        return await self._ask(TypeAdapter(tuple[ReadingStatus, ...]), "GET", "/readings")

    async def readings_if_running(self) -> tuple[ReadingStatus, ...]:
        """As `readings`; none where no gateway runs. Unavailable only where this user may not ask."""
        try:
            return await self.readings()
        except Unavailable:
            if self._open():
                return ()
            raise

    def _open(self) -> bool:
        """Whether this user may use the socket, or there is none."""
        try:
            return not self._socket.exists() or os.access(self._socket, os.R_OK | os.W_OK)
        except PermissionError:
            return False

    async def grants(self) -> tuple[GrantStatus | GrantRecordStatus, ...]:
        """All grants, revoked ones too."""
        return await self._ask(TypeAdapter(tuple[_Grant, ...]), "GET", "/grants")

    async def grant(self, request: GrantRequest) -> GrantAnswer:
        """Make a grant; none is made if the consent check finds something and that is not confirmed."""
        return await self._ask(TypeAdapter(GrantAnswer), "POST", "/grants", request.model_dump())

    async def revoke(self, grant_id: str) -> GrantStatus | GrantRecordStatus:
        """Revoke a grant; `grant_id` is 32 hexadecimal digits."""
        return await self._ask(TypeAdapter(_Grant), "DELETE", f"/grants/{grant_id}")

    async def consent(self) -> tuple[MeterConsent, ...]:
        """What becomes known beyond the grants, meter by meter."""
        return await self._ask(TypeAdapter(tuple[MeterConsent, ...]), "GET", "/consent")

    async def register(self, order: RegistrationOrder) -> RegistrationStatus:
        """Register the gateway at a registrar."""
        form = TypeAdapter(RegistrationStatus)
        return await self._ask(form, "POST", "/registration", order.model_dump())

    async def requests(self) -> tuple[RequestStatus, ...]:
        """The open requests of providers for grants."""
        return await self._ask(TypeAdapter(tuple[RequestStatus, ...]), "GET", "/requests")

    async def decide(self, request: str, state: Literal["granted", "declined"]) -> None:
        """Say to the registrar what was decided on a request; `request` is 32 hexadecimal digits."""
        await self._ask(TypeAdapter(dict[str, str]), "POST", f"/requests/{request}", {"state": state})

    async def command(self, signed: bytes) -> CommandStatus:
        """Hand a provider's signed command (gw1/command) to the gateway, which checks it. Refused, without a
        receipt, for what no known provider has signed; Unavailable where it cannot be checked now: deliver it
        again."""
        body = CommandDelivery(command=signed).model_dump()
        return await self._ask(TypeAdapter(CommandStatus), "POST", "/commands", body)

    async def commands(self) -> tuple[CommandStatus, ...]:
        """The commands that are kept, the latest first."""
        return await self._ask(TypeAdapter(tuple[CommandStatus, ...]), "GET", "/commands")

    async def decide_command(
        self, command: str, decision: Literal["allow", "refuse", "end"]
    ) -> CommandStatus:
        """Decide on a command of which the household is asked, or end a limit; `command` is 32 hexadecimal
        digits."""
        body = CommandDecision(decision=decision).model_dump()
        return await self._ask(TypeAdapter(CommandStatus), "POST", f"/commands/{command}", body)

    async def acted(self, command: str, act: Act) -> CommandStatus:
        """Say that the household's broker has what was due for a command."""
        path = f"/commands/{command}/acted"
        return await self._ask(TypeAdapter(CommandStatus), "POST", path, act.model_dump())

    async def cards(self) -> tuple[CardStatus, ...]:
        """The providers' cards that the gateway knows."""
        return await self._ask(TypeAdapter(tuple[CardStatus, ...]), "GET", "/cards")

    async def tariff(self, digest: str) -> bytes:
        """The tariff body with this digest (hexadecimal), which a grant of a bill names."""
        return (await self._ask(TypeAdapter(TariffAnswer), "GET", f"/tariffs/{quote(digest, '')}")).tariff

    async def follows(self) -> tuple[FollowStatus, ...]:
        """The standing decisions to grant the bills of a price series, ended ones too."""
        return await self._ask(TypeAdapter(tuple[FollowStatus, ...]), "GET", "/follows")

    async def follow(self, request: FollowRequest) -> FollowAnswer:
        """Decide to grant the bills of a price series; what is found is to be confirmed first."""
        return await self._ask(TypeAdapter(FollowAnswer), "POST", "/follows", request.model_dump())

    async def confirm_follow(self, follow: str, request: ConfirmRequest) -> FollowStatus:
        """Confirm what is found about a period of the decision with this id, 32 hexadecimal digits."""
        form = TypeAdapter(FollowStatus)
        return await self._ask(form, "POST", f"/follows/{follow}", request.model_dump())

    async def end_follow(self, follow: str) -> FollowStatus:
        """End the decision with this id, 32 hexadecimal digits."""
        return await self._ask(TypeAdapter(FollowStatus), "DELETE", f"/follows/{follow}")

    async def hand_prices(self, series: bytes) -> PricesAnswer:
        """Hand a signed price series to the gateway, for the decisions that follow it."""
        request = PricesRequest(series=series)
        return await self._ask(TypeAdapter(PricesAnswer), "POST", "/prices", request.model_dump())

    async def confirm_ledger(self) -> Status:
        """Vouch for the ledger: no unit is in doubt any longer. The status afterwards."""
        return await self._ask(TypeAdapter(Status), "DELETE", "/doubts")

    async def accept(self, meter: str, request: AcceptRequest) -> AcceptAnswer:
        """End a meter's hold as its owner decided."""
        form = TypeAdapter(AcceptAnswer)
        return await self._ask(form, "POST", f"/meters/{quote(meter, '')}/accept", request.model_dump())

    async def configuration(self) -> ConfigurationStatus:
        """The configuration file, and what is wrong with it; also of a gateway that is not set up yet."""
        return await self._ask(TypeAdapter(ConfigurationStatus), "GET", "/configuration")

    async def configure(self, order: ConfigurationOrder) -> ConfigurationStatus:
        """Check a configuration and, unless it is a dry run or has mistakes, go on under it."""
        return await self._ask(TypeAdapter(ConfigurationStatus), "PUT", "/configuration", order.model_dump())

    async def try_part(self, order: TrialOrder) -> Finding:
        """Try a part of a configuration."""
        return await self._ask(TypeAdapter(Finding), "POST", "/trials", order.model_dump())

    async def search(self, order: SearchOrder) -> SearchAnswer:
        """Search for meters, which takes up to minutes."""
        return await self._ask(TypeAdapter(SearchAnswer), "POST", "/searches", order.model_dump())

    async def profiles(self) -> tuple[MeterProfile, ...]:
        """The meter models that can be read."""
        return await self._ask(TypeAdapter(tuple[MeterProfile, ...]), "GET", "/profiles")

    async def doctor(self) -> tuple[Finding, ...]:
        """The doctor's findings."""
        return await self._ask(TypeAdapter(tuple[Finding, ...]), "GET", "/doctor")

    async def put(self, series: str, values: Mapping[str, float]) -> MeterStatus:
        """Put values of a series, by lane, as they are now; the series' state."""
        return await self._ask(TypeAdapter(MeterStatus), "POST", f"/series/{quote(series, '')}", dict(values))

    async def list_objects(self, prefix: str = "", after: str = "", limit: int = MOST_KEYS) -> ObjectList:
        """The first keys, at most `limit`, that begin with `prefix` and come after `after`, of the gateway's
        own objects and of price series."""
        asked = urlencode({"prefix": prefix, "after": after, "limit": limit})
        return await self._ask(TypeAdapter(ObjectList), "GET", f"/objects?{asked}")

    async def get_object(self, key: str) -> bytes:
        """The object at `key`; NotFound where there is none."""
        return await self._send("GET", f"/objects/{quote(key)}", None)

    async def _ask(
        self, form: TypeAdapter[T], method: str, path: str, body: dict[str, Any] | None = None
    ) -> T:
        answer = await self._send(method, path, body)
        try:
            return form.validate_json(answer)
        except ValidationError:
            raise self._unknown_form() from None

    async def _send(self, method: str, path: str, body: dict[str, Any] | None) -> bytes:
        """What the gateway answers, or the error that it answers with."""
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._socket))) as session,
                session.request(method, f"http://gateway{path}", json=body) as response,
            ):
                answer, status = await response.read(), response.status
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(error) from None
        if status < 400:
            return answer
        try:
            refusal = ErrorAnswer.model_validate_json(answer).to_error()
        except ValidationError:
            raise self._unknown_form() from None
        # A path that an older gateway does not know has status 404 too, as a mistake of the one who asks.
        raise NotFound(str(refusal)) if status == 404 and refusal.kind == NotFound.kind else refusal

    def _unknown_form(self) -> GatewayError:
        return GatewayError(
            f"the gateway at {self._socket} answers in a form that this command does not know: "
            "update whichever is older"
        )

    def _group(self) -> str | None:
        """The group that may use the socket, or enter its folder where that is closed; None where that is
        nobody's to join."""
        for path in (self._socket, self._socket.parent):
            with suppress(OSError, KeyError):
                group = path.group()
                return group if path.stat().st_mode & stat.S_IRGRP and group != "root" else None
        return None

    def _unavailable(self, error: Exception) -> Unavailable:
        if isinstance(error, OSError) and error.errno == errno.EACCES:  # aiohttp's, not a PermissionError
            group = self._group()
            join = f", or join the group {group} (sudo usermod -aG {group} YOU, and log in again)"
            return Unavailable(
                f"the gateway's socket {self._socket} is closed to this user: use sudo{join if group else ''}"
            )
        return Unavailable(
            f"no gateway answers at {self._socket}: start it (systemctl start gateway, or gateway run), "
            "or run gateway doctor to see what is wrong"
        )
