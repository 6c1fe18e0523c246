"""The names that the pages answer to.

Another site can give its own name the address of this machine (DNS rebinding), and its script would then be
of the same origin as these pages. So a request must name this machine: by a name that it has, or by the very
address that the browser reached it at, which no other site's name is.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web


class Hosts:
    """The names of this machine: those configured, its host name, with and without .local, and localhost."""

    def __init__(self, configured: Iterable[str]) -> None:
        own = socket.gethostname().lower()
        self.names = tuple(
            dict.fromkeys((*(name.lower() for name in configured), own, f"{own}.local", "localhost"))
        )

    def accept(self, request: web.Request) -> bool:
        """Whether the request names this machine."""
        try:
            name = urlsplit(f"//{request.host}").hostname or ""
        except ValueError:
            return False
        if name.rstrip(".") in self.names:
            return True
        transport = request.transport
        reached = None if transport is None else transport.get_extra_info("sockname")
        try:
            return reached is not None and ip_address(name) == _plain(reached[0])
        except ValueError:
            return False


def _plain(address: str) -> object:
    """An address without a zone, and an IPv4 one that came mapped into IPv6 as such."""
    found = ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found
