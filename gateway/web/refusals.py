"""The refusals that HTTP has a status of its own for."""

from __future__ import annotations

from gateway.errors import GatewayError, NotFound, NotGranted, Refused, Unavailable, UsageError


class NotAuthenticated(Refused):
    """A wrong password, an unknown user, a session that is none: 401."""


class Conflict(Refused):
    """What is there already stands against it: another account's card or stream: 409."""


class TooMany(Unavailable):
    """Too many attempts that failed, or too many at once: 429."""

    def __init__(self, sentence: str, retry_after_s: int) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


_STATUS: tuple[tuple[type[GatewayError], int], ...] = (
    (NotAuthenticated, 401),
    (Conflict, 409),
    (TooMany, 429),
    (NotFound, 404),
    (NotGranted, 403),
    (Refused, 403),
    (Unavailable, 503),
    (UsageError, 400),
)


def status_of(error: GatewayError) -> int:
    """The HTTP status that an error is answered with."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
