"""Asks the running gateway, over its control socket."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import aiohttp

from gateway.errors import GatewayError, Unavailable


class _Answered(GatewayError):
    """What the gateway answered instead, with the exit code that goes with it."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def ask(socket: Path, method: str, path: str, body: object = None) -> Any:
    """The answer, decoded from JSON, of the gateway that listens at `socket`. Unavailable where none does."""
    return asyncio.run(_ask(socket, method, path, body))


async def _ask(socket: Path, method: str, path: str, body: object) -> Any:
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
            session.request(method, f"http://gateway{path}", json=body) as response,
        ):
            answer = await response.json()
            if response.ok:
                return answer
            raise _Answered(answer["error"], answer["exit_code"])
    except (aiohttp.ClientError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.EACCES:  # aiohttp's own, no PermissionError
            raise Unavailable(
                f"the gateway's socket {socket} is not yours to open: use sudo, or be user gateway"
            ) from None
        raise Unavailable(
            f"no gateway answers at {socket}: start it (systemctl start gateway, or gateway run), "
            "or see what is wrong with gateway doctor"
        ) from None
