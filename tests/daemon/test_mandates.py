"""Providers that the household knows by a registrar's word: how that is asked for, kept, and taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import CommandsSection
from gateway.daemon.commander import Commander
from gateway.daemon.mandates import Mandates
from gateway.errors import Refused, Unavailable
from tests.daemon.test_registration import DAY_S, Town, provider_of, town
from tests.support.commanded import HOUR_MS, Utility
from tests.support.registrar import Holder

SECTION = CommandsSection.model_validate({"from": "Stadtwerk", "message": "allow"})


def commander(one: Town, section: CommandsSection = SECTION) -> Commander:
    home = one.home
    mandates = Mandates((section,), one.registration.vouching, home.ledger, home.clock)
    return Commander(home.ledger, home.root, home.clock, mandates, {})


async def message(one: Town, holder: Holder, serial: int, **changes: Any) -> bytes:
    now_ms = one.home.clock.now_ms
    command = Utility(now_ms).command(
        (await one.home.stream()).id, "message", now_ms, provider=holder.kid, serial=serial, **changes
    )
    return holder.sign(command)


async def test_a_registrars_word_gives_and_takes_back_a_mandate(tmp_path: Path) -> None:
    async with town(tmp_path) as one:
        holder, works = await provider_of(one), commander(one)
        first = await message(one, holder, 1)
        with pytest.raises(Unavailable, match="this gateway is not registered yet"):
            await works.receive(first)
        await one.registration.register(one.order())
        assert (await works.receive(first)).state == "waits"
        assert [(card.name, card.known_by) for card in await works.cards()] == [("Stadtwerk", "registrar")]
        other = CommandsSection.model_validate({"from": "Stadtwerk 2", "message": "allow"})
        assert (await commander(one, other).receive(await message(one, holder, 2))).code == "policy"
        stranger = Holder("provider", one.home.clock.now_ms, "Stadtwerk")
        with pytest.raises(Refused, match="which no known provider has"):
            await works.receive(await message(one, stranger, 1))
        # A granted card of that name is not one for which the registrar vouches.
        await one.home.ledger.keep_cards([(stranger.kid, stranger.signed_card)])
        refused = await works.receive(await message(one, stranger, 1))
        assert (refused.state, refused.code) == ("refused", "policy")
        (serial,) = [found.serial for found in await one.registrar.cards.all() if found.kid == holder.kid]
        await one.registrar.cards.revoke(serial)
        revoked = await works.receive(await message(one, holder, 3))
        assert (revoked.state, revoked.code) == ("refused", "card")
        (line,) = await one.home.ledger.audit_log(1)
        assert "was revoked" in line.detail
        one.registration = one.made()  # a gateway that starts anew has not seen the card
        with pytest.raises(Refused, match="which no known provider has"):
            await commander(one).receive(await message(one, holder, 4))


async def test_the_registrars_last_word_counts_while_it_is_away(tmp_path: Path) -> None:
    async with town(tmp_path) as one:
        holder, works = await provider_of(one), commander(one)
        await one.registration.register(one.order())
        await works.receive(await message(one, holder, 1))
        kept = one.registration._link.kept
        assert kept is not None
        one.registration._link.kept = type(kept)(
            **{name: getattr(kept, name) for name in kept.__dataclass_fields__ if name != "url"},
            url="https://127.0.0.1:1",
        )
        assert (await works.receive(await message(one, holder, 2))).state == "waits"
        one.home.clock.pass_s(40 * DAY_S)  # the list of revocations is not of today any longer
        with pytest.raises(Unavailable, match="does not answer"):
            await works.receive(await message(one, holder, 3))


async def test_unknown_keys_are_looked_up_a_few_times_a_minute(tmp_path: Path) -> None:
    async with town(tmp_path) as one:
        works = commander(one)
        await one.registration.register(one.order())
        strangers = [Holder("provider", one.home.clock.now_ms) for _ in range(21)]
        for stranger in strangers[:20]:
            with pytest.raises(Refused):
                await works.receive(await message(one, stranger, 1))
        with pytest.raises(Unavailable, match="too many commands by unknown keys"):
            await works.receive(await message(one, strangers[20], 1))
        one.home.clock.pass_s(60)
        with pytest.raises(Refused):
            await works.receive(await message(one, strangers[20], 1, until_ms=2 * HOUR_MS + 2**41))
