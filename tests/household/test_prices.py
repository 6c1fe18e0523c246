"""Accepted price series: of known providers alone, each once, and the highest serial has the price."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import DAY_MS
from gateway.errors import Refused
from gateway.household import prices as module
from gateway.household.prices import KEPT_MS, Prices, SeriesName
from gateway.provider.identity import CARD_FILE, Identity, new_identity, open_identity
from gateway.provider.prices import sign
from gateway.store.directory import DirectoryBucket
from gateway.wire import cose, es256, names
from gateway.wire.card import Card
from gateway.wire.prices import PriceInterval, PriceSeries
from tests.support.clock import FakeClock

HOUR_MS = 3_600_000
NOW_MS = FakeClock().now_ms


class Acme:
    """A provider that numbers its series."""

    def __init__(self, folder: Path, name: str = "ACME") -> None:
        new_identity(folder, name, NOW_MS - 3 * 366 * DAY_MS, 4 * 366 * DAY_MS)
        self.identity: Identity = open_identity(folder)
        self.card = (folder / CARD_FILE).read_bytes()
        self.serial = 0

    def signed(
        self,
        start_ms: int,
        prices: Sequence[int],
        *,
        name: str = "Day ahead",
        lanes: tuple[str, ...] = ("import",),
        serial: int | None = None,
        currency: str = "EUR",
    ) -> tuple[PriceSeries, bytes]:
        """A price an hour, in thousandths, from `start_ms` on."""
        self.serial = serial or self.serial + 1
        intervals = tuple(PriceInterval(start_ms + n * HOUR_MS, HOUR_MS, p) for n, p in enumerate(prices))
        draft = PriceSeries(bytes(16), 0, name, lanes, currency, 3, "Europe/Berlin", intervals, 0)
        return sign(self.identity, draft, self.serial, NOW_MS)


@pytest.fixture
def acme(tmp_path: Path) -> Acme:
    return Acme(tmp_path / "acme")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def opened(tmp_path: Path, clock: FakeClock, *known: Acme) -> Prices:
    async def cards() -> list[bytes]:
        return [one.card for one in known]

    return Prices(tmp_path / "prices", cards, clock)


async def test_what_is_accepted_is_there_after_a_restart_and_once(
    acme: Acme, clock: FakeClock, tmp_path: Path
) -> None:
    prices = opened(tmp_path, clock, acme)
    series, data = acme.signed(NOW_MS, [100, 200])
    assert await prices.accept(data) == series
    assert await prices.accept(data) == series
    of = SeriesName(acme.identity.kid, "Day ahead")
    for held in (prices, opened(tmp_path, clock, acme)):
        assert held.series() == {of: ("import",)}
        found = held.range(of, "import", NOW_MS + 1, NOW_MS + 9 * HOUR_MS)
        assert [(one.start_ms, one.end_ms, one.price) for one in found] == [
            (NOW_MS + 1, NOW_MS + HOUR_MS, Decimal("0.100")),
            (NOW_MS + HOUR_MS, NOW_MS + 2 * HOUR_MS, Decimal("0.200")),
        ]
        assert held.at(of, "import", NOW_MS - 1) is None
        now = held.at(of, "import", NOW_MS)
        assert now is not None
        assert (now.price, now.currency, now.serial) == (Decimal("0.100"), "EUR", 1)
        assert held.until_ms(of, "import") == NOW_MS + 2 * HOUR_MS
        assert held.until_ms(of, "export") is None
        assert held.signed(of, NOW_MS, NOW_MS + 1) == [data]
        assert held.signed(of, NOW_MS - 1, NOW_MS) == []
    assert len(list((tmp_path / "prices").iterdir())) == 1


async def test_a_series_is_refused_for_what_is_wrong_with_it(
    acme: Acme, clock: FakeClock, tmp_path: Path
) -> None:
    prices = opened(tmp_path, clock, acme)
    _, data = acme.signed(NOW_MS, [1])
    await prices.accept(data)
    stranger = Acme(tmp_path / "other", "Other")
    late = replace(acme.signed(NOW_MS, [1])[0], provider=b"", serial=0, issued_ms=0)
    cases = {
        "not a COSE_Sign1": b"\x80",
        "whose card the gateway does not know": stranger.signed(NOW_MS, [1])[1],
        "does not verify|the signature": data[:-1] + bytes([data[-1] ^ 1]),
        "which the provider has given to another series": acme.signed(NOW_MS, [2], serial=1)[1],
        "more than two years ago": acme.signed(NOW_MS - KEPT_MS - HOUR_MS, [1])[1],
        "when the card was not valid": sign(acme.identity, late, 99, NOW_MS + 5 * 366 * DAY_MS)[1],
    }
    for says, wrong in cases.items():
        with pytest.raises(Refused, match=says):
            await prices.accept(wrong)
    assert len(list((tmp_path / "prices").iterdir())) == 1


async def test_old_series_are_dropped_and_other_files_passed_over(
    acme: Acme, clock: FakeClock, tmp_path: Path
) -> None:
    prices = opened(tmp_path, clock, acme)
    for n in range(3):
        await prices.accept(acme.signed(NOW_MS + n * DAY_MS, [1] * 24)[1])
    clock.pass_s((KEPT_MS + 2 * DAY_MS) // 1000)
    (tmp_path / "prices" / "torn.cose").write_bytes(b"\xd2")
    clock.is_trusted = False
    assert len(opened(tmp_path, clock, acme).series()) == 1
    assert len(list((tmp_path / "prices").iterdir())) == 4
    clock.is_trusted = True
    opened(tmp_path, clock, acme)
    assert len(list((tmp_path / "prices").iterdir())) == 2  # the third, and the torn one


async def test_of_very_many_series_those_that_begin_last_are_kept(
    acme: Acme, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    prices, folder = opened(tmp_path, clock, acme), tmp_path / "prices"
    for n in (4, 1, 3, 2):
        await prices.accept(acme.signed(NOW_MS + n * HOUR_MS, [n])[1])
    of = SeriesName(acme.identity.kid, "Day ahead")
    assert [int(one.price * 1000) for one in prices.range(of, "import", NOW_MS, NOW_MS + DAY_MS)] == [2, 3, 4]
    with pytest.raises(Refused, match="begins before 3 others"):
        await prices.accept(acme.signed(NOW_MS, [0])[1])
    assert len(list(folder.iterdir())) == 3


async def test_a_provider_has_only_so_many_bytes(
    acme: Acme, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices, folder = opened(tmp_path, clock, acme), tmp_path / "prices"
    await prices.accept(acme.signed(NOW_MS + HOUR_MS, [1])[1])
    (one,) = folder.iterdir()
    monkeypatch.setattr(module, "MOST_BYTES", 2 * one.stat().st_size + 10)
    for n in (2, 3):
        await prices.accept(acme.signed(NOW_MS + n * HOUR_MS, [n])[1])
    with pytest.raises(Refused, match="begins before 2 others"):
        await prices.accept(acme.signed(NOW_MS, [0])[1])
    of = SeriesName(acme.identity.kid, "Day ahead")
    assert [int(one.price * 1000) for one in prices.range(of, "import", NOW_MS, NOW_MS + DAY_MS)] == [2, 3]
    assert len(list(folder.iterdir())) == 2


async def test_the_bucket_is_read_once_and_a_bad_object_stops_no_other(
    acme: Acme, clock: FakeClock, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    bucket, gets = DirectoryBucket(tmp_path / "store"), []
    plain = bucket.get

    async def counted(key: str) -> bytes:
        gets.append(key)
        return await plain(key)

    bucket.get = counted  # type: ignore[method-assign]
    prices = opened(tmp_path, clock, acme)
    for n in range(3):
        series, data = acme.signed(NOW_MS + n * DAY_MS, [n + 1])
        await bucket.put(names.price_series(acme.identity.kid, series.start_ms, series.serial), data)
    _, data = acme.signed(NOW_MS, [7])
    await bucket.put(names.price_series(acme.identity.kid, NOW_MS + 1, 9), data)  # moved
    await bucket.put(names.prices(acme.identity.kid) + "odd", b"")
    found = await prices.refresh(bucket)
    assert [one.serial for one in found.new] == [1, 2, 3]
    assert len(found.refused) == 2
    assert len(gets) == 4
    again = await prices.refresh(bucket)
    assert (again.new, sorted(again.refused)) == ((), sorted(found.refused))
    assert len(gets) == 4


async def test_a_renewed_card_serves_beside_the_old_one(acme: Acme, clock: FakeClock, tmp_path: Path) -> None:
    """A provider renews its card for the same keys: each series is checked with the one of its time."""
    card = Card.read_self_signed(acme.card, "it")
    cards = []
    for begin, end in ((NOW_MS - DAY_MS, NOW_MS), (NOW_MS, NOW_MS + DAY_MS)):
        payload = replace(card, valid_from_ms=begin, valid_until_ms=end).payload()
        message = cose.to_be_signed(Card.TYPE, card.kid, payload)
        cards.append(cose.assemble(card.kid, payload, es256.sign(acme.identity.signing_key, message)))

    async def known() -> list[bytes]:
        return cards

    prices = Prices(tmp_path / "prices", known, clock)
    series = acme.signed(NOW_MS, [1])[0]
    for serial, issued in ((1, NOW_MS - 1), (2, NOW_MS)):
        await prices.accept(sign(acme.identity, series, serial, issued)[1])
    with pytest.raises(Refused, match="when the card was not valid"):
        await prices.accept(sign(acme.identity, series, 3, NOW_MS + DAY_MS)[1])


@settings(max_examples=20)
@given(st.permutations(range(4)), st.integers(0, 3))
def test_the_order_of_arrival_does_not_matter(order: list[int], restart: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        acme, clock = Acme(Path(folder) / "acme"), FakeClock()
        signed = [acme.signed(NOW_MS + n % 2 * HOUR_MS, [n, 10 + n, 20 + n])[1] for n in range(4)]

        async def arrive() -> None:
            prices = opened(Path(folder), clock, acme)
            for n, at in enumerate(order):
                if n == restart:
                    prices = opened(Path(folder), clock, acme)
                await prices.accept(signed[at])
            found = prices.range(
                SeriesName(acme.identity.kid, "Day ahead"), "import", NOW_MS, NOW_MS + DAY_MS
            )
            assert [int(one.price * 1000) for one in found] == [2, 3, 13, 23]

        asyncio.run(arrive())
