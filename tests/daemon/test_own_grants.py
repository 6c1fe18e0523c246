"""The household's own grants: made without questions, out of the consent check, and of nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.control.documents import Consent, NewGrant
from gateway.daemon.grants import ServedGrant
from gateway.errors import UsageError
from gateway.wire.card import Card
from tests.support.home import LINK_UNITS, Home
from tests.support.provider import Provider


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def begun(home: Home) -> Provider:
    """A stream with some chunks; keys, which are the household's where a card says so."""
    await home.runs(4 * LINK_UNITS)
    return Provider(home.clock.now_ms, "the page")


def household(keys: Provider) -> Card:
    return replace(keys.card, role="household")


async def new(
    home: Home, card: Card, *, own: bool = True, confirmed: bool = False, **wish: Any
) -> tuple[list[ServedGrant], Consent]:
    wanted = {"kind": "windows", "granularity": "1s", "zone": "UTC", "lanes": None, "purpose": "history"}
    times = {"from_ms": None, "until_ms": None}
    fingerprints = wish.pop("fingerprints", ())
    return await home.granter.new(
        await home.stream(),
        [card],
        NewGrant(**{**wanted, **times, **wish}),
        confirmed=confirmed,
        own=own,
        fingerprints=fingerprints,
    )


async def findings(home: Home) -> list[str]:
    consent = await home.granter.consent(await home.stream(), [])
    return [*(one.sentence for one in [*consent.provider, *consent.pooled]), *consent.uncounted]


async def test_an_own_grant_opens_what_has_been_and_asks_nothing(home: Home) -> None:
    """Of single units, from the stream's first on: of a provider's both would have to be confirmed."""
    async with home:
        keys = await begun(home)
        (made,), consent = await new(home, household(keys), from_ms=0, lanes=("import", "power"))
        assert made.record.own
        assert consent.silent
        assert (consent.strangers, consent.verified) == ([], [])
        await home.runs(LINK_UNITS)
        await home.publish()
        grant = await home.check_grant(keys, made.record, await home.check_energy())
        assert grant.first == (await home.stream()).start
        (detail,) = [entry.detail for entry in await home.ledger.audit_log(10) if entry.what == "grant"]
        assert detail == (
            f"1s sums of import, power (grant {grant.id.hex()}) to the household itself (the page), for: "
            "history"
        )


async def test_own_grants_are_nobody_elses_knowledge(home: Home) -> None:
    """Neither beside others nor alone do they count in the check; a provider's that is as fine does."""
    async with home:
        keys = await begun(home)
        await new(home, household(keys), from_ms=0)
        assert await findings(home) == []
        provider = Provider(home.clock.now_ms)
        seen: dict[str, Any] = {"own": False, "fingerprints": [provider.card.fingerprint]}
        for granularity in ("10s", "15s"):
            made, consent = await new(home, provider.card, granularity=granularity, **seen)
            assert len(made) == (consent.silent and not consent.strangers) == (granularity == "10s")
        found = await findings(home)
        made, consent = await new(home, household(keys), granularity="15s")
        assert (len(made), consent.silent) == (1, True)
        assert await findings(home) == found == []
        made, consent = await new(home, provider.card, **seen)
        assert made == []
        assert not consent.silent


async def test_the_mark_outlives_the_gateway_and_not_the_ledger(home: Home) -> None:
    """What another copy of the ledger granted is found in the store, and nobody knows any longer whose."""
    async with home:
        keys = await begun(home)
        await home.publish()
        home.copies("before")
        (made,), _ = await new(home, household(keys))
        await home.runs(LINK_UNITS)
        await home.publish()
        await home.crashes_and_starts()
        (record,) = await home.ledger.grants()
        assert record.own
        assert await findings(home) == []
        await home.restores("before")
        await home.publishes_all()
        (record,) = await home.ledger.grants()
        assert (record.id, record.own, record.key) == (made.grant.id, False, b"")
        assert await findings(home) != []
        # Its keys make an own grant again.
        (made,), consent = await new(home, household(keys))
        assert made.record.own
        assert consent.silent


@pytest.mark.parametrize("role", ["provider", "gateway", "registrar"])
async def test_nobody_else_gets_an_own_grant(home: Home, role: Any) -> None:
    async with home:
        keys = await begun(home)
        with pytest.raises(
            UsageError, match=f"has the role {role}; a household's own grant needs a household's"
        ):
            await new(
                home, replace(keys.card, role=role), fingerprints=[keys.card.fingerprint], confirmed=True
            )
        assert await home.ledger.grants() == []


async def test_a_households_card_gets_no_other_grant(home: Home) -> None:
    async with home:
        keys = await begun(home)
        for fingerprints in ((), (keys.card.fingerprint,)):
            with pytest.raises(UsageError, match="has the role household; a grant needs a provider's"):
                await new(home, household(keys), own=False, confirmed=True, fingerprints=fingerprints)
        assert await home.ledger.grants() == []


@pytest.mark.parametrize("kind", ["bill", "load", "raw"])
async def test_an_own_grant_opens_sums_and_nothing_else(home: Home, kind: str) -> None:
    async with home:
        keys = await begun(home)
        with pytest.raises(UsageError):
            await new(home, household(keys), kind=kind, granularity="1min")
        assert await home.ledger.grants() == []


async def test_a_card_of_the_same_keys_is_a_strangers(home: Home) -> None:
    """What was granted to a household vouches for no provider, even if it has the same keys."""
    async with home:
        keys = await begun(home)
        await new(home, household(keys))
        made, consent = await new(home, keys.card, own=False, confirmed=True, granularity="10s")
        assert made == []
        assert [one.card.fingerprint for one in consent.strangers] == [keys.card.fingerprint]
        assert not consent.strangers[0].namesake


async def test_a_card_that_has_expired_gets_none(home: Home) -> None:
    async with home:
        keys = await begun(home)
        with pytest.raises(UsageError, match="not valid today"):
            await new(home, replace(household(keys), valid_until_ms=home.clock.now_ms))


async def test_an_own_grant_is_revoked_like_any_other(home: Home) -> None:
    async with home:
        keys = await begun(home)
        (made,), _ = await new(home, household(keys))
        record = (await home.granter.revoke(made.grant.id)).record
        await home.runs(LINK_UNITS)
        await home.publish()
        assert record.own
        await home.check_grant(keys, record, await home.check_energy())
