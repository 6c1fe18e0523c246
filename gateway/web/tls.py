"""A server's TLS from the files of its certificate and key."""

from __future__ import annotations

import ssl
from pathlib import Path

from gateway.errors import UsageError


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's context. UsageError as `load`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load(context, certificate, key)
    return context


def load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Take the files up, also when they are renewed. UsageError where they cannot be read or used."""
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError:
        raise UsageError(
            f"{certificate} and {key} are not a TLS certificate and its key, both in PEM"
        ) from None
    except OSError as error:
        raise UsageError(f"the TLS files {certificate} and {key} cannot be read: {error.strerror}") from None
