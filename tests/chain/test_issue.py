"""What each kind of grant's tokens open: bills, loads, raw links and windows, from public ciphertexts."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.grant import Grant, Kind
from gateway.chain.issue import Cursor, Sealing, make_tokens
from gateway.chain.keys import advance, token_key
from gateway.chain.layout import Layout, Run
from gateway.chain.raw import read_links
from gateway.chain.seal import MASK, signed, total, unseal, words
from gateway.chain.share import centre_half, load
from gateway.chain.tariff import Dynamic, Tariff
from gateway.chain.token import open_token, read_words
from gateway.chain.window import Granularity
from tests.chain.streams import I64, STREAM, Sealed, k_inc, seal_all, streams

K_0, PARTNER_K_0 = hashlib.sha256(b"K_0").digest(), hashlib.sha256(b"partner").digest()
_ids = itertools.count(1)


def grant(sealed: Sealed, size: int, kind: Kind = "windows", **fields: object) -> Grant:
    granularity = Granularity(size, sealed.layout.unit_ms)
    values = {
        "id": next(_ids).to_bytes(16, "big"),
        "stream": STREAM,
        "provider": bytes(16),
        "lanes": tuple(sealed.d),
        "granularity": granularity,
        "first": granularity.align_up(sealed.start),
        "until": None,
        "purpose": "test",
        "kind": kind,
        "issued_ms": 0,
        "serial": 1,
    }
    return Grant(**(values | fields))  # type: ignore[arg-type]


def sealing(sealed: Sealed) -> Sealing:
    return Sealing(sealed.layout, sealed.runs, k_inc)


def plaintexts(
    sealed: Sealed, of: Grant, tariff: Tariff | None = None, partner_key: bytes | None = None
) -> list[bytes]:
    """What the tokens of all complete windows hold, opened as the provider does it."""
    end = of.complete(sealed.end)
    tokens, after = make_tokens(of, tariff, sealing(sealed), Cursor(0, K_0, partner_key), end)
    assert len(tokens) == end
    assert after == Cursor(0, K_0, partner_key).forward(end)
    return [
        open_token(token_key(advance(K_0, j)), of.id, *of.window(j), token) for j, token in enumerate(tokens)
    ]


def ciphertext(sealed: Sealed, lane: str, a: int, b: int) -> int:
    return total(sealed.c[lane][a - sealed.start : b - sealed.start])


def plaintext(sealed: Sealed, lane: str, a: int, b: int) -> int:
    return sum(sealed.d[lane][a - sealed.start : b - sealed.start])


@given(streams(), st.integers(1, 7))
def test_windows_open_each_lanes_sums(sealed: Sealed, size: int) -> None:
    of = grant(sealed, size)
    for j, opened in enumerate(plaintexts(sealed, of)):
        a, b = of.window(j)
        for lane, r in zip(of.lanes, read_words(opened, len(of.lanes)), strict=True):
            assert signed(ciphertext(sealed, lane, a, b) - r) == signed(plaintext(sealed, lane, a, b))


PRICE = st.integers(-(10**6), 10**6) | st.sampled_from((0, 1, -1))


@st.composite
def tariffs(draw: st.DrawFn, sealed: Sealed, step: int) -> Tariff:
    """A price for each lane and each step of so many units."""
    step_ms = step * sealed.layout.unit_ms
    first, end = sealed.start // step, -(-sealed.end // step)
    few = draw(st.booleans())  # few prices make long runs of one
    values = st.sampled_from(draw(st.lists(PRICE, min_size=1, max_size=2))) if few else PRICE
    lists = {lane: draw(st.lists(values, min_size=end - first, max_size=end - first)) for lane in sealed.d}
    prices = {lane: Dynamic(first * step_ms, tuple(given)) for lane, given in lists.items()}
    return Tariff("EUR", 5, "UTC", step_ms, prices)


@pytest.mark.slow
@given(streams(("import", "export")), st.sampled_from((1, 2, 3, 4)), st.integers(1, 5), st.data())
def test_a_bill_is_the_sum_of_price_times_reading(
    sealed: Sealed, step: int, steps: int, data: st.DataObject
) -> None:
    """Any readings, prices of either sign, runs and incarnations; one word a billing period."""
    tariff = data.draw(tariffs(sealed, step))
    of = grant(sealed, step * steps, "bill", tariff=bytes(32))
    for j, opened in enumerate(plaintexts(sealed, of, tariff)):
        a, b = of.window(j)
        (r,) = read_words(opened, 1)
        weighted = due = 0
        for lane in of.lanes:
            prices = tariff.prices[lane]
            assert isinstance(prices, Dynamic)
            for x in range(a, b, step):
                price = prices.prices[x // step - sealed.start // step]
                weighted += price * ciphertext(sealed, lane, x, x + step)
                due += price * plaintext(sealed, lane, x, x + step)
        assert signed(weighted - r) == signed(due)


@pytest.mark.slow
@given(streams(("import", "export")), st.data())
def test_a_bill_prices_the_lanes_of_its_grant_alone(sealed: Sealed, data: st.DataObject) -> None:
    """One tariff serves homes with and without export."""
    tariff = data.draw(tariffs(sealed, 1))
    others = {lane: Dynamic(0, (1,)) for lane in ("import", "export")}
    both = replace(tariff, prices={**others, **tariff.prices})
    of = grant(sealed, 2, "bill", tariff=bytes(32))
    assert plaintexts(sealed, of, both) == plaintexts(sealed, of, tariff)


@st.composite
def streets(draw: st.DrawFn) -> list[Sealed]:
    """Homes that all sealed the same 12 units of one lane, each with its own runs."""
    layout, homes = Layout(1000, draw(st.integers(1, 5))), []
    counters = draw(st.lists(st.integers(0, MASK), min_size=8, max_size=8, unique=True))
    begin = 60 * layout.link_units
    for home in range(draw(st.integers(2, 4))):
        cut = begin + draw(st.integers(1, 11))
        runs = (Run(counters[2 * home], begin, cut), Run(counters[2 * home + 1], cut, begin + 12))
        d = draw(st.lists(I64, min_size=12, max_size=12))
        homes.append(Sealed(layout, runs, {"import": d}, {"import": seal_all(layout, runs, "import", d)}))
    return homes


@given(streets(), st.sampled_from((1, 3, 4)))
def test_halves_open_the_sum_over_homes(street: list[Sealed], size: int) -> None:
    grants = [grant(home, size, "load", partner=bytes(16)) for home in street]
    tokens = [plaintexts(home, of, partner_key=PARTNER_K_0) for home, of in zip(street, grants, strict=True)]
    for j in range(grants[0].complete(street[0].end)):
        a, b = grants[0].window(j)
        c = [ciphertext(home, "import", a, b) for home in street]
        centre = [centre_half(advance(PARTNER_K_0, j), "import")] * len(street)
        service = [read_words(of[j], 1)[0] for of in tokens]
        loads = sum(plaintext(home, "import", a, b) for home in street)
        assert load(c, centre, sum(service) & MASK) == signed(loads)


@given(streams(), st.integers(1, 3))
def test_raw_tokens_open_every_unit_of_their_links(sealed: Sealed, links: int) -> None:
    layout = sealed.layout
    of = grant(sealed, links * layout.link_units, "raw")
    of.check(layout)
    for j, opened in enumerate(plaintexts(sealed, of)):
        a, b = of.window(j)
        found = read_links(opened, of.lanes)
        parts = {
            (n, run.incarnation): (max(x, run.first), min(y, run.end))
            for n, x, y in layout.split(a, b)
            for run in sealed.runs
            if run.first < y and x < run.end
        }
        assert [(link.n, link.incarnation) for link in found] == list(parts)
        for link in found:
            x, y = parts[link.n, link.incarnation]
            for lane, key in zip(of.lanes, link.keys, strict=True):
                c = sealed.c[lane][x - sealed.start : y - sealed.start]
                d = unseal(words(key, layout.link_units), layout.position(x), c)
                assert [signed(int(value)) for value in d] == sealed.d[lane][
                    x - sealed.start : y - sealed.start
                ]


def test_a_link_sealed_in_many_chunks_of_one_incarnation_has_its_keys_once() -> None:
    layout = Layout(1000, 6)
    runs = (Run(1, 0, 2), Run(1, 2, 4), Run(2, 4, 5), Run(2, 5, 6))
    sealed = Sealed(layout, runs, {"import": [0] * 6}, {"import": seal_all(layout, runs, "import", [0] * 6)})
    (opened,) = plaintexts(sealed, grant(sealed, 6, "raw"))
    assert [(link.n, link.incarnation) for link in read_links(opened, ("import",))] == [(0, 1), (0, 2)]


@given(streams(("import", "export")), st.sampled_from(("windows", "bill", "load", "raw")), st.data())
def test_tokens_are_a_pure_function_of_what_was_sealed(
    sealed: Sealed, kind: Kind, data: st.DataObject
) -> None:
    """Made at once, or in any pieces by any cursors, they are the same bytes."""
    tariff = data.draw(tariffs(sealed, 1)) if kind == "bill" else None
    size = sealed.layout.link_units if kind == "raw" else 2
    of = grant(sealed, size, kind, tariff=tariff and bytes(32), partner=bytes(16) if kind == "load" else None)
    cursor = Cursor(0, K_0, PARTNER_K_0 if kind == "load" else None)
    end = of.complete(sealed.end)
    whole, _ = make_tokens(of, tariff, sealing(sealed), cursor, end)
    cuts = sorted({0, end, *data.draw(st.lists(st.integers(0, end), max_size=3))})
    pieces: list[bytes] = []
    for x, y in pairwise(cuts):
        start = cursor if data.draw(st.booleans()) else cursor.forward(x)
        made, cursor = make_tokens(of, tariff, sealing(sealed), start.forward(x), y)
        pieces += made
        if data.draw(st.booleans()):
            cursor = Cursor(0, K_0, cursor.partner_key and PARTNER_K_0)
    assert pieces == whole


def test_a_centres_half_is_never_published() -> None:
    """Without its partner's key a load's token would hold the whole nonce."""
    sealed = _one_link()
    with pytest.raises(ValueError, match="need the key of the grant's partner"):
        make_tokens(grant(sealed, 2, "load"), None, sealing(sealed), Cursor(0, K_0), 1)
    with pytest.raises(ValueError, match="need the key of the grant's partner"):
        make_tokens(grant(sealed, 2), None, sealing(sealed), Cursor(0, K_0, PARTNER_K_0), 1)


def test_a_bill_needs_its_tariff() -> None:
    sealed = _one_link()
    with pytest.raises(ValueError, match="need its tariff"):
        make_tokens(grant(sealed, 2, "bill", tariff=bytes(32)), None, sealing(sealed), Cursor(0, K_0), 1)


def test_a_cursor_shows_no_key() -> None:
    assert "key" not in repr(Cursor(3, K_0, PARTNER_K_0))
    assert "k_inc" not in repr(sealing(_one_link()))


def _one_link() -> Sealed:
    layout, runs, d = Layout(1000, 6), (Run(1, 0, 6),), [5] * 6
    return Sealed(layout, runs, {"import": d}, {"import": seal_all(layout, runs, "import", d)})
