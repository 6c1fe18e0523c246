"""Asks the running gateway, over its control socket."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from pydantic import TypeAdapter, ValidationError

from gateway.control.documents import (
    ErrorAnswer,
    GrantAnswer,
    GrantRequest,
    GrantStatus,
    MeterConsent,
    Status,
)
from gateway.errors import GatewayError, Unavailable

T = TypeVar("T")


class ControlClient:
    """The gateway that listens at the path `socket`. Every method raises Unavailable where none does, and
    what the gateway answers with instead of doing what it is asked."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def status(self) -> Status:
        """How the gateway fares."""
        return await self._ask(Status, "GET", "/status")

    async def grants(self) -> tuple[GrantStatus, ...]:
        """All grants, revoked ones too."""
        return await self._ask(tuple[GrantStatus, ...], "GET", "/grants")

    async def grant(self, request: GrantRequest) -> GrantAnswer:
        """Make a grant; none is made where the consent check finds something and it is not confirmed."""
        return await self._ask(GrantAnswer, "POST", "/grants", request.model_dump())

    async def revoke(self, grant_id: str) -> GrantStatus:
        """Take a grant back; `grant_id` is 32 hexadecimal digits."""
        return await self._ask(GrantStatus, "DELETE", f"/grants/{grant_id}")

    async def consent(self) -> tuple[MeterConsent, ...]:
        """What becomes known beyond the grants, meter by meter."""
        return await self._ask(tuple[MeterConsent, ...], "GET", "/consent")

    async def _ask(self, form: type[T], method: str, path: str, body: dict[str, Any] | None = None) -> T:
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._socket))) as session,
                session.request(method, f"http://gateway{path}", json=body) as response,
            ):
                answer, ok = await response.read(), response.ok
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(error) from None
        try:
            if not ok:
                raise ErrorAnswer.model_validate_json(answer).to_error()
            return TypeAdapter(form).validate_json(answer)
        except ValidationError:
            raise GatewayError(
                f"the gateway at {self._socket} answers in a form that this command does not know: "
                "update the one that is older"
            ) from None

    def _unavailable(self, error: Exception) -> Unavailable:
        if isinstance(error, OSError) and error.errno == errno.EACCES:  # aiohttp's own, no PermissionError
            return Unavailable(
                f"the gateway's socket {self._socket} is not yours to open: use sudo, or be user gateway"
            )
        return Unavailable(
            f"no gateway answers at {self._socket}: start it (systemctl start gateway, or gateway run), "
            "or see what is wrong with gateway doctor"
        )
