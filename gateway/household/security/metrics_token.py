"""The token that lets a monitoring system read the metrics: 32 random bytes, of which only the SHA-256 is
kept, in the state folder or in the configuration."""

from __future__ import annotations

import hashlib
import hmac
from contextlib import suppress
from pathlib import Path

from gateway.errors import UsageError
from gateway.host.files import write_durably
from gateway.web.tokens import new_token

_BEARER = "Bearer "


class MetricsToken:
    """The tokens that are valid: the one made by a command, kept in `metrics-token` of the state folder, and
    the one whose digest (hexadecimal) the configuration has. Without either there are no metrics."""

    def __init__(self, state: Path, configured: str | None) -> None:
        self._path = state / "metrics-token"
        self._configured = configured

    @property
    def any(self) -> bool:
        """Whether a token is valid at all."""
        return bool(self._digests())

    def make(self) -> str:
        """A new token, in place of the one that was made before. UsageError where it cannot be kept."""
        token = new_token()
        try:
            write_durably(self._path, digest_of(token).encode())
        except OSError as error:
            raise UsageError(f"the token's digest {self._path} cannot be kept: {error.strerror}") from None
        return token

    def forget(self) -> None:
        """End the token that was made. UsageError where the disk does not let it go."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{self._path} cannot be removed: {error.strerror}") from None

    def accepts(self, authorization: str) -> bool:
        """Whether a request's header has a valid token: "Bearer TOKEN" (RFC 6750, section 2.1)."""
        scheme, token = authorization[: len(_BEARER)], authorization[len(_BEARER) :]
        given = digest_of(token).encode()
        # Each is compared, so that time says nothing of which there are.
        right = [hmac.compare_digest(given, digest.encode()) for digest in self._digests()]
        return scheme.lower() == _BEARER.lower() and any(right)

    def _digests(self) -> list[str]:
        kept = "" if self._configured is None else self._configured
        made = ""
        with suppress(OSError):
            made = self._path.read_text(encoding="ascii", errors="replace").strip()
        return [digest for digest in (kept, made) if len(digest) == hashlib.sha256().digest_size * 2]


def digest_of(token: str) -> str:
    """What is kept of a token: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
