"""A period of a standing decision has one grant, and an ended decision makes none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import LedgerError
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, FollowedPeriod, FollowRecord, PriceRecord
from tests.ledger.values import descriptor, grant, stream

MAIN = stream()
PROVIDER = b"\xb0" * 16


def follow(number: int, **changes: object) -> FollowRecord:
    values: dict[str, object] = {
        "id": bytes([number]) * 16,
        "stream": MAIN.id,
        "provider": PROVIDER,
        "card": b"a card",
        "series": "Day ahead",
        "lanes": ("import",),
        "granularity": "month",
        "zone": "UTC",
        "purpose": "the bill",
        "first": 80,
        "made_ms": 1000 + number,
    }
    return FollowRecord(**(values | changes))  # type: ignore[arg-type]


def said(text: str) -> AuditEntry:
    return AuditEntry(1000, "follow", text)


async def begun(tmp_path: Path) -> Ledger:
    ledger = await Ledger.open(tmp_path / "ledger.sqlite")
    await ledger.add_stream(MAIN, descriptor(MAIN), [], b"state")
    return ledger


async def state(ledger: Ledger) -> tuple[object, ...]:
    return (
        await ledger.grants(),
        await ledger.followed(),
        [one.object.key for one in await ledger.outbox(100)],
        await ledger.audit_log(100),
    )


async def test_a_period_gets_one_grant_and_an_ended_decision_none(tmp_path: Path) -> None:
    ledger = await begun(tmp_path)
    try:
        await ledger.add_follow(follow(1), said("first"))
        period = FollowedPeriod(MAIN.id, PROVIDER, "Day ahead", 80, 96, bytes([7]) * 16)
        await ledger.add_followed(follow(1).id, period, [grant(MAIN, 7)])
        before = await state(ledger)
        with pytest.raises(LedgerError, match="a transaction failed"):
            await ledger.add_followed(follow(1).id, period._replace(grant=bytes([8]) * 16), [grant(MAIN, 8)])
        assert await state(ledger) == before
        await ledger.end_follow(follow(1).id, 2000, said("ended"))
        await ledger.end_follow(follow(1).id, 3000, said("ended again"))
        before = await state(ledger)
        later = FollowedPeriod(MAIN.id, PROVIDER, "Day ahead", 96, 104, bytes([9]) * 16)
        with pytest.raises(LedgerError, match="which was ended meanwhile"):
            await ledger.add_followed(follow(1).id, later, [grant(MAIN, 9)])
        assert await state(ledger) == before
        assert [entry.detail for entry in await ledger.audit_log(10)] == ["first", "granted", "ended"]
        assert await ledger.follows() == [follow(1, ended_ms=2000)]
        assert await ledger.followed() == [period]
    finally:
        await ledger.close()


async def test_what_is_covered_only_grows(tmp_path: Path) -> None:
    ledger = await begun(tmp_path)
    try:
        await ledger.add_follow(follow(1, covered={"alone": 9}), said("first"))
        await ledger.add_follow(follow(2), said("second"))
        await ledger.cover(follow(1).id, {"alone": 12, "together": 5}, said("more"))
        assert [dict(one.covered) for one in await ledger.follows()] == [{"alone": 9, "together": 5}, {}]
        await ledger.cover(follow(1).id, {"together": 4}, said("worse"))
        assert dict((await ledger.follows())[0].covered) == {"alone": 9, "together": 4}
    finally:
        await ledger.close()


async def test_prices_are_kept_while_they_are_needed(tmp_path: Path) -> None:
    ledger = await begun(tmp_path)
    try:
        await ledger.add_follow(follow(1), said("first"))
        serials = [2, 2**63, 2**64 - 1]
        prices = [
            PriceRecord(PROVIDER, serial, "Day ahead", 10 * n, 10 * n + 10, bytes([n]))
            for n, serial in enumerate(serials)
        ]
        for one in (*prices[::-1], prices[0]._replace(data=b"another")):
            await ledger.add_price(one)
        assert await ledger.prices(PROVIDER) == prices
        assert [await ledger.price(PROVIDER, one) for one in (*serials, 3)] == [b"\0", b"\1", b"\2", None]
        await ledger.trim_prices(PROVIDER, 20, 10)
        assert await ledger.prices(PROVIDER) == [prices[1]._replace(data=None), prices[2]]
        await ledger.add_price(prices[1])
        assert await ledger.prices(PROVIDER) == prices[1:]
        await ledger.trim_prices(PROVIDER, 20, 10)
        await ledger.drop_prices()
        await ledger.add_follow(follow(2, series="Another"), said("what was dropped is read again"))
        assert await ledger.prices(PROVIDER) == [prices[2]]
        for number in (1, 2):
            await ledger.end_follow(follow(number).id, 2000, said("ended"))
        await ledger.drop_prices()
        assert await ledger.prices(PROVIDER) == []
    finally:
        await ledger.close()
