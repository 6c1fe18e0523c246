"""What waits to be sent and what was sent, by key; and which grants were revoked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.ledger.ledger import Ledger
from gateway.ledger.records import Outgoing
from tests.ledger.values import descriptor, grant, sealed, stream

ONE, OTHER = stream(1), stream(2)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = await Ledger.open(tmp_path / "ledger.sqlite")
    await ledger.begin_incarnation(7, 1000)
    for each in (ONE, OTHER):
        await ledger.add_stream(each, descriptor(each), [sealed(7, each.start, 3)], b"state")
    yield ledger
    await ledger.close()


async def test_what_waits_is_found_by_its_key_the_newest_of_several(ledger: Ledger) -> None:
    first, second = (Outgoing("head", "v1/head", data) for data in (b"first", b"second"))
    await ledger.enqueue(ONE.id, [first])
    assert await ledger.unsent("v1/head") == b"first"
    await ledger.enqueue(ONE.id, [second])
    assert await ledger.unsent("v1/head") == b"second"
    assert await ledger.unsent("v1/hea") is None


async def test_the_keys_that_wait_come_in_order_in_parts(ledger: Ledger) -> None:
    keys = sorted(("v1/a/2", "v1/a/1", "v1/b/1", "v1/a/3"))
    await ledger.enqueue(ONE.id, [Outgoing("chunk", key, b"") for key in reversed(keys)])
    assert await ledger.unsent_keys("v1/a/", "", 10) == ["v1/a/1", "v1/a/2", "v1/a/3"]
    assert await ledger.unsent_keys("v1/a/", "v1/a/1", 1) == ["v1/a/2"]
    assert await ledger.unsent_keys("v1/a/", "v1/a/3", 10) == []
    assert await ledger.unsent_keys("v1/c/", "", 10) == []


async def test_what_was_sent_is_found_by_its_stream_and_key(ledger: Ledger) -> None:
    assert await ledger.sent(ONE, "v1/a") is None
    await ledger.enqueue(ONE.id, [Outgoing("chunk", "v1/a", b"sent")])
    waiting = [one.id for one in await ledger.outbox(10) if one.object.key == "v1/a"]
    await ledger.confirm(waiting, 2000)
    assert await ledger.sent(ONE, "v1/a") == b"sent"
    assert await ledger.sent(OTHER, "v1/a") is None
    assert await ledger.unsent("v1/a") is None


async def test_the_revoked_grants_of_a_stream_rise(ledger: Ledger) -> None:
    made = [grant(ONE, number) for number in (3, 1, 2)] + [grant(OTHER, 4)]
    await ledger.add_grants(made)
    for record, _, line in (made[0], made[1], made[3]):
        await ledger.revoke_grant(record, 90, Outgoing("revocation", f"v1/{record.id.hex()}", b""), line)
    assert await ledger.revoked(ONE) == [bytes([1]) * 16, bytes([3]) * 16]
    assert await ledger.revoked(OTHER) == [bytes([4]) * 16]
