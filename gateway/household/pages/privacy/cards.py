"""The cards of providers that the gateway knows already, so that no file has to be chosen."""

from __future__ import annotations

from typing import NamedTuple

from gateway.household.home import Household


class KnownCard(NamedTuple):
    """A provider's card: the kid of its signing key, its holder's name, its signed bytes."""

    kid: str
    name: str
    card: bytes


async def known_cards(home: Household) -> list[KnownCard]:
    """The cards of those that something was granted to, or that the registrar vouches for."""
    return []
