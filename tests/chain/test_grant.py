"""Grants: their windows, what cannot be granted, and how K_0 reaches one provider only."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.grant import (
    XWING_PUBLIC_BYTES,
    Grant,
    open_k0,
    seal_k0,
    xwing_private,
    xwing_public_bytes,
)
from gateway.chain.keys import KEY_BYTES
from gateway.chain.layout import Layout
from gateway.chain.window import Granularity, spell_ms
from gateway.errors import Refused, UsageError

SEED, OTHER_SEED = bytes(32), bytes(31) + b"\1"
BODY = b"a grant body"
SEALED = seal_k0(bytes(range(32)), xwing_public_bytes(SEED), BODY)


def a_grant(granularity: Granularity, first: int, until: int | None = None, **changes: Any) -> Grant:
    return Grant(
        **{
            "id": bytes(16),
            "stream": bytes(16),
            "provider": bytes(16),
            "lanes": ("import",),
            "granularity": granularity,
            "first": first,
            "until": until,
            "purpose": "billing",
            "kind": "windows",
            "issued_ms": 0,
            "serial": 1,
            **changes,
        }
    )


GRANULARITIES = st.builds(Granularity, st.integers(1, 5000), st.just(1000)) | st.builds(
    Granularity,
    st.sampled_from(("day", "month")),
    st.just(1000),
    st.sampled_from(("Europe/Berlin", "America/Havana", "Asia/Beirut", "Asia/Kathmandu")),
)


@given(GRANULARITIES, st.integers(0, 2**31), st.none() | st.integers(1, 200), st.integers(0, 250))
def test_windows_numbers_and_what_is_complete_agree(
    granularity: Granularity, unit: int, length: int | None, j: int
) -> None:
    first = granularity.align_up(unit)
    until = None if length is None else granularity.start(granularity.index(first) + length)
    grant = a_grant(granularity, first, until)
    a, b = grant.window(j)
    assert a < b
    assert grant.window(0)[0] == first
    assert grant.window(j + 1)[0] == b  # windows meet
    assert grant.number(a) == grant.number(b - 1) == j
    assert grant.number(b) == j + 1
    assert grant.number(first - 1) == -1
    # window j is complete when its last unit is sealed, and not before; past `until` none is
    ended = j if length is None else min(j, length)
    assert grant.complete(a) == ended
    assert grant.complete(b - 1) == (ended if b - 1 > a or length is None or j < length else length)
    assert grant.complete(b) == (j + 1 if length is None else min(j + 1, length))
    assert grant.complete(first) == grant.complete(first - 1) == grant.complete(0) == 0
    if until is not None:
        assert grant.complete(until) == grant.complete(until + 10**6) == length


def test_an_empty_window_has_its_number_too() -> None:
    """Samoa skipped 30 December 2011: that day's window is there, and no unit lies in it."""
    day = Granularity("day", 1000, "Pacific/Apia")
    grant = a_grant(day, day.start(15_337))  # 2011-12-29
    assert [b - a for a, b in map(grant.window, range(3))] == [86_400, 0, 86_400]
    assert grant.number(grant.window(1)[0]) == 2
    assert grant.complete(grant.window(0)[1]) == 2


SOME_LANES = (
    "they must be some of import, export, power, temperature, irradiance, appliances, occupancy, count, "
    "each once"
)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lanes": ()}, SOME_LANES),
        ({"lanes": ("heat",)}, SOME_LANES),
        ({"lanes": ("import", "import")}, "each once"),
        ({"until": 0}, "until must be later than from"),
        ({"first": 900, "until": 900}, "until must be later than from"),
        ({"first": 1800, "until": 900}, "until must be later than from"),
        ({"purpose": "x" * 257}, "at most 256 bytes of printable text"),
        ({"purpose": "ä" * 129}, "at most 256 bytes of printable text"),
        ({"purpose": "two\nlines"}, "printable text"),
        ({"purpose": "\udc80"}, "printable text"),
        ({"kind": "bill"}, "a bill has a tariff, and no other grant has one"),
        ({"tariff": bytes(32)}, "a bill has a tariff, and no other grant has one"),
        (
            {"kind": "bill", "tariff": bytes(32), "lanes": ("import", "power")},
            "lanes that a tariff can price",
        ),
        ({"kind": "bill", "tariff": bytes(32)}, "rounded to a quantum of at least 1, and no other grant is"),
        ({"kind": "bill", "tariff": bytes(32), "quantum": 0}, "rounded to a quantum of at least 1"),
        ({"quantum": 1}, "rounded to a quantum of at least 1, and no other grant is"),
        ({"kind": "load", "quantum": 1}, "rounded to a quantum of at least 1, and no other grant is"),
        ({"k_min": 2}, "a load sums over at least 2 homes, and no other grant says over how many"),
        ({"kind": "load", "k_min": 1}, "a load sums over at least 2 homes"),
        ({"kind": "load", "k_min": 0}, "a load sums over at least 2 homes"),
        ({"partner": bytes(16)}, "only the summing service's grant of a load has a partner"),
        ({"kind": "raw", "partner": bytes(16)}, "only the summing service's grant of a load has a partner"),
        ({"kind": "raw", "granularity": Granularity("day", 1000)}, "opens whole links, not a day"),
    ],
)
def test_what_cannot_be_granted(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        replace(a_grant(Granularity(900, 1000), 0), **changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"first": 1}, "from = unit 1 is not a boundary between windows of 15min"),
        ({"until": 901}, "until = unit 901 is not a boundary between windows of 15min"),
        (
            {"granularity": Granularity("day", 1000, "Europe/Berlin"), "first": 1_767_222_001},
            "from = unit 1767222001 is not a boundary between windows of day",
        ),
    ],
)
def test_a_grant_is_made_from_window_to_window(changes: dict[str, Any], says: str) -> None:
    grant = replace(a_grant(Granularity(900, 1000), 0), **changes)
    with pytest.raises(UsageError, match=says):
        grant.check(Layout(1000, 3600))


@pytest.mark.parametrize("until", [None, 900, 90_000])
def test_grants_that_can_be(until: int | None) -> None:
    assert a_grant(Granularity(900, 1000), 0, until, purpose="ä" * 128).until == until


@pytest.mark.parametrize("partner", [None, bytes(16)])
@pytest.mark.parametrize("k_min", [None, 2, 20])
def test_a_load_may_say_over_how_many_homes(partner: bytes | None, k_min: int | None) -> None:
    grant = a_grant(Granularity(900, 1000), 0, kind="load", partner=partner, k_min=k_min)
    assert (grant.partner, grant.k_min) == (partner, k_min)


@pytest.mark.parametrize("lanes", [("import",), ("export", "import")])
def test_a_token_has_a_word_for_each_lane_or_one_for_a_bill(lanes: tuple[str, ...]) -> None:
    quarters = Granularity(900, 1000)
    assert a_grant(quarters, 0, lanes=lanes).words == len(lanes)
    assert a_grant(quarters, 0, lanes=lanes, kind="load").words == len(lanes)
    assert a_grant(quarters, 0, lanes=lanes, kind="bill", tariff=bytes(32), quantum=10**8).words == 1


@given(st.integers(1, 2000), st.integers(1, 5000), st.integers(0, 10**6))
def test_raw_windows_are_whole_links(link_units: int, size: int, k: int) -> None:
    """A grant that passes cuts no link, at any window; one that does not cuts one at the first."""
    layout = Layout(1000, link_units)
    grant = a_grant(Granularity(size, 1000), k * size, kind="raw")
    cuts = [unit for j in range(3) for unit in grant.window(j) if unit % link_units]
    if not cuts:
        grant.check(layout)
        return
    assert set(cuts) & set(grant.window(0))
    with pytest.raises(UsageError, match=f"opens whole links of {spell_ms(1000 * link_units)}: its granul"):
        grant.check(layout)
    replace(grant, kind="windows").check(layout)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.binary())
@settings(max_examples=30)
def test_k_0_reaches_the_provider(k_0: bytes, seed: bytes, body: bytes) -> None:
    sealed = seal_k0(k_0, xwing_public_bytes(seed), body)
    assert len(sealed) == 1120 + 32 + 16
    assert k_0 not in sealed
    assert open_k0(sealed, seed, body) == k_0
    assert seal_k0(k_0, xwing_public_bytes(seed), body) != sealed


def test_k_0_opens_with_no_other_key_or_body() -> None:
    assert open_k0(SEALED, SEED, BODY) == bytes(range(32))
    for seed, body in ((OTHER_SEED, BODY), (SEED, BODY + b"\0"), (SEED, b""), (SEED, b"A grant body")):
        with pytest.raises(Refused, match="sealed to another provider, or the grant was changed"):
            open_k0(SEALED, seed, body)


@pytest.mark.parametrize("at", [*range(0, 1120, 37), 1087, 1088, *range(1112, 1168)])
def test_a_changed_k_0_is_refused(at: int) -> None:
    # X25519 ignores the top bit of a point, and X-Wing binds the point's bytes: also that is refused
    for bit in (0x01, 0x80):
        changed = bytearray(SEALED)
        changed[at] ^= bit
        with pytest.raises(Refused):
            open_k0(bytes(changed), SEED, BODY)


@given(st.binary(max_size=1300) | st.integers(0, 1200).map(lambda n: SEALED[:n]) | st.just(SEALED + b"\0"))
@settings(max_examples=50)
def test_no_bytes_are_a_sealed_k_0(sealed: bytes) -> None:
    if sealed != SEALED:
        with pytest.raises(Refused):
            open_k0(sealed, SEED, BODY)


def test_a_point_of_small_order_is_refused() -> None:
    for point in (bytes(32), b"\1" + bytes(31)):
        with pytest.raises(Refused):
            open_k0(SEALED[:1088] + point + SEALED[1120:], SEED, BODY)
        with pytest.raises(Refused, match="X25519 part has a small order"):
            seal_k0(bytes(32), xwing_public_bytes(SEED)[:1184] + point, BODY)


@pytest.mark.parametrize("size", [0, 1, 32, XWING_PUBLIC_BYTES - 1, XWING_PUBLIC_BYTES + 1])
def test_a_public_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(Refused, match=f"has {XWING_PUBLIC_BYTES} bytes, this one {size}"):
        seal_k0(bytes(32), bytes(size), BODY)


def test_a_public_key_whose_numbers_are_too_large_is_refused() -> None:
    with pytest.raises(Refused, match="ML-KEM part does not decode"):
        seal_k0(bytes(32), b"\xff" * XWING_PUBLIC_BYTES, BODY)


def test_a_k_0_of_another_length_is_refused() -> None:
    """Sealed rightly, by another implementation, and yet no K_0."""
    from tests.vectors import plain

    public = xwing_public_bytes(SEED)
    for size in (0, 16, KEY_BYTES - 1, KEY_BYTES + 1):
        sealed = plain.hpke_seal(bytes(size), plain.h(BODY), public, os.urandom(32))
        with pytest.raises(Refused, match=f"has {size} bytes, not 32"):
            open_k0(sealed, SEED, BODY)
        with pytest.raises(ValueError, match="32 bytes"):
            seal_k0(bytes(size), public, BODY)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(size: int) -> None:
    for use in (xwing_private, xwing_public_bytes, lambda seed: open_k0(SEALED, seed, BODY)):
        with pytest.raises(ValueError, match="an X-Wing seed has 32 bytes"):
            use(bytes(size))


def test_neither_seed_nor_k_0_shows_in_a_refusal() -> None:
    with pytest.raises(Refused) as refusal:
        open_k0(SEALED, OTHER_SEED, BODY)
    assert refusal.value.__cause__ is None
    assert OTHER_SEED.hex() not in str(refusal.value)
    assert "key" not in repr(a_grant(Granularity(1, 1000), 0)).lower()
