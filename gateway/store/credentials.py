"""Credentials of a bucket that change while it is open: temporary ones, and the source that renews them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Credentials:
    """What requests to an S3 server are signed with. Neither secret is in its repr."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    """None: the keys are permanent ones."""
    expires_ms: int | None = None
    """Unix ms; None: they do not expire."""


class CredentialsSource(Protocol):
    """Gives a bucket its credentials. It is asked before each request, so it keeps those that are valid."""

    async def present(self, key: str, refused: Credentials | None = None) -> Credentials:
        """The credentials to use now for the object at `key`, or for a list of what begins so. `refused` are
        those that the store has just refused for it: the source then gets others, where it can, and gives the
        same again where it cannot.

        Unavailable, with the reason as a sentence, while there are none; StoreDenied where a person must act.
        """
