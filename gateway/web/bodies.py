"""Bodies of requests, read with a limit on their size and on how long they take."""

from __future__ import annotations

import asyncio

from aiohttp import web

_BODY_S = 30


async def read_body(request: web.Request, most: int) -> bytes:
    """The body; no more of it is read than `most` bytes, which is answered with 413, nor for longer than
    30 s, which is answered with 408."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for part in request.content.iter_any():
                body += part
                if len(body) > most:
                    raise web.HTTPRequestEntityTooLarge(most, len(body))
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (web.RequestPayloadError, ConnectionError):  # broken compression, or cut off
        raise web.HTTPBadRequest from None
    return bytes(body)
