"""The household's own grants: with which it reads its history itself, or lets a phone show it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from gateway.control.client import ControlClient
from gateway.control.documents import GrantRequest, GrantStatus
from gateway.errors import GatewayError, UsageError
from gateway.provider.identity import CARD_FILE, Identity, new_identity, open_identity

VALIDITY_MS = 50 * 366 * 86_400_000
"""As long as a home may have its gateway: nobody else relies on the household's card."""
_FOLDER = "identity"


class OwnIdentity:
    """The keys of the household's own grants, below the state folder; made at their first use."""

    def __init__(self, state: Path) -> None:
        self._folder = state / _FOLDER
        self._lock = asyncio.Lock()
        self._identity: Identity | None = None

    async def open(self, now_ms: int) -> Identity:
        """The keys, new ones where there are none; UsageError where the folder cannot be read or made."""
        async with self._lock:
            if self._identity is None:
                self._identity = await asyncio.to_thread(self._open, now_ms)
            return self._identity

    def card(self) -> bytes:
        """The signed card of the keys; UsageError where it cannot be read."""
        try:
            return (self._folder / CARD_FILE).read_bytes()
        except OSError as error:
            raise UsageError(
                f"the household's card {self._folder / CARD_FILE} cannot be read: {error.strerror}; remove "
                f"the folder {self._folder} to begin anew"
            ) from None

    def _open(self, now_ms: int) -> Identity:
        if not self._folder.exists():
            new_identity(self._folder, "this home", now_ms, VALIDITY_MS, "household")
        return open_identity(self._folder)


async def grant_own(
    client: ControlClient,
    card: bytes,
    *,
    meter: str,
    granularity: str,
    lanes: Sequence[str] | None,
    purpose: str,
    from_ms: int | None = None,
    until_ms: int | None = None,
    zone: str = "UTC",
) -> GrantStatus:
    """Make an own grant of sums to a household's signed card. The errors are those of the gateway."""
    answer = await client.grant(
        GrantRequest(
            kind="windows",
            cards=(card,),
            granularity=granularity,
            zone=zone,
            lanes=None if lanes is None else tuple(lanes),
            purpose=purpose,
            from_ms=from_ms,
            until_ms=until_ms,
            meter=meter,
            tariff=None,
            confirmed=False,
            fingerprints=(),
            own=True,
        )
    )
    if len(answer.grants) != 1:
        raise GatewayError("the gateway has not made the household's own grant: update it")
    return answer.grants[0]
