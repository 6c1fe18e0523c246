"""Connections of botocore that can be broken while a call waits for them (see `gateway.store.calls`)."""

from __future__ import annotations

import socket
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.httpsession import URLLib3Session

from gateway.store.calls import Wire, use


class _Breakable:
    """A mixin for a connection of urllib3's: the call that uses it knows its socket."""

    _wire: Wire | None = None

    def _new_conn(self) -> socket.socket:
        use(None)
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        self._wire = Wire(made)
        try:
            use(self._wire)
        except TimeoutError:
            made.close()
            raise
        return made

    def request(self, *args: Any, **options: Any) -> Any:
        if self._wire is not None:  # else it connects now
            use(self._wire)
        return super().request(*args, **options)  # type: ignore[misc]

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        self._wire = None


class _Http(_Breakable, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _Https(_Breakable, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _HttpPool(AWSHTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(AWSHTTPSConnectionPool):
    ConnectionCls = _Https


def make_breakable(session: URLLib3Session) -> None:
    """Have a session that has not been used yet make connections that can be broken, by a proxy too."""
    session._pool_classes_by_scheme.update(  # type: ignore[attr-defined]
        http=_HttpPool, https=_HttpsPool
    )
