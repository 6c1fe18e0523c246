"""Connections of a server of pages: how many there may be, and how long one may ask for nothing.

Whoever opens many, and sends half a request in each, would leave none for others; one over TLS takes a
quarter of a MiB.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable

from aiohttp import web


class FewSocket(socket.socket):
    """A listening socket that has at most `most` connections open, `most_each` of them from one address;
    further ones are closed at once."""

    most, most_each = 256, 48  # a browser opens six to a server

    def accept(self) -> tuple[socket.socket, object]:
        """The next connection, as socket.socket.accept gives it. BlockingIOError where it was one too
        many."""
        connection, address = super().accept()
        accepted: list[tuple[socket.socket, object]] = [
            one for one in getattr(self, "_accepted", ()) if one[0].fileno() >= 0
        ]
        self._accepted = accepted
        of_this = sum(one == address[0] for _, one in accepted)
        if len(accepted) >= self.most or of_this >= self.most_each:
            connection.close()
            raise BlockingIOError
        accepted.append((connection, address[0]))
        return connection, address


async def listening(host: str, port: int) -> list[FewSocket]:
    """Sockets that listen at all addresses of a host, nonblocking. OSError where they cannot."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[FewSocket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            made.append(one := FewSocket(family, kind, protocol))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
            one.setblocking(False)
    except BaseException:
        close(made)
        raise
    return made


def close(sockets: Iterable[socket.socket]) -> None:
    """Close all of them."""
    for one in sockets:
        one.close()


async def drop_idle(server: web.Server, idle_s: float) -> None:
    """Close connections that have asked for nothing for so long, until cancelled."""
    before: set[tuple[web.RequestHandler, int]] = set()
    while True:
        await asyncio.sleep(idle_s)
        idle = {(one, one._request_count) for one in server.connections if one._current_request is None}
        for one, _ in idle & before:
            transport = one.transport
            one.force_close()
            if transport is not None:  # over TLS a close waits for the other end's
                transport.abort()
        before = idle


def without_text(record: logging.LogRecord) -> bool:
    """A filter for the log of what aiohttp itself makes of requests that are not HTTP: of an error it keeps
    the type. Its text and its traceback quote the request, tokens too."""
    kind = record.exc_info[0] if record.exc_info else None
    record.exc_info, record.exc_text, record.args = None, None, ()
    record.msg = f"a request could not be handled: {'?' if kind is None else kind.__name__}"
    return True
