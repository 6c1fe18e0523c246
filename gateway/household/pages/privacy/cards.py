"""The cards of providers that the gateway knows already, so that no file has to be chosen."""

from __future__ import annotations

from typing import NamedTuple

from gateway.household.home import Household
from gateway.household.i18n import gettext
from gateway.household.shown import plain


class KnownCard(NamedTuple):
    """A provider's card: the kid of its signing key, what the list calls it, its signed bytes."""

    kid: str
    name: str
    card: bytes


async def known_cards(home: Household) -> list[KnownCard]:
    """The cards that the gateway knows, each with the beginning of its fingerprint: names can be alike."""
    how = {
        "granted": gettext("granted something before"),
        "registrar": gettext("verified by the registrar"),
        "configured": gettext("in the configuration"),
    }
    return [
        KnownCard(one.kid, f"{plain(one.name)} ({one.fingerprint[:9]} …, {how[one.known_by]})", one.card)
        for one in await home.control.cards()
    ]
