"""The keys of whole links, as a raw token holds them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.chain.raw import LinkKeys, read_links, write_links
from gateway.chain.window import Granularity
from gateway.errors import Refused, UsageError

KEY = st.binary(min_size=32, max_size=32)
U64 = st.integers(0, 2**64 - 1)
LANES = ("import", "export", "power")


@given(st.data(), st.integers(1, 3))
def test_what_was_written_is_read(data: st.DataObject, lanes: int) -> None:
    keys = st.lists(KEY, min_size=lanes, max_size=lanes).map(tuple)
    links = data.draw(st.lists(st.builds(LinkKeys, U64, U64, keys), min_size=1, max_size=5))
    plaintext = write_links(links)
    assert len(plaintext) == len(links) * (16 + 32 * lanes)
    assert read_links(plaintext, LANES[:lanes]) == links


def test_the_layout_is_the_protocols() -> None:
    link = LinkKeys(0x0102, 0x0304, (b"a" * 32, b"b" * 32))
    assert write_links([link]) == bytes(6) + b"\x01\x02" + bytes(6) + b"\x03\x04" + b"a" * 32 + b"b" * 32
    assert "aaaa" not in repr(link)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 47, 49, 80, 95, 97])
def test_no_whole_number_of_links_is_refused(size: int) -> None:
    with pytest.raises(Refused, match="does not hold a whole number of links"):
        read_links(bytes(size), ("import",))


def raw(granularity: str, first: int) -> Grant:
    windows = Granularity.parse(granularity, 1000)
    return Grant(
        id=bytes(16),
        stream=bytes(16),
        provider=bytes(16),
        lanes=("import",),
        granularity=windows,
        first=first,
        until=None,
        purpose="test",
        kind="raw",
        issued_ms=0,
        serial=1,
    )


@pytest.mark.parametrize(("granularity", "links"), [("1h", 1), ("2h", 2), ("24h", 24)])
def test_whole_links_can_be_granted(granularity: str, links: int) -> None:
    layout, grant = Layout(1000, 3600), raw(granularity, 24 * 3600)
    grant.check(layout)
    for j in range(3):
        a, b = grant.window(j)
        assert [(x, y) for _, x, y in layout.split(a, b)] == [
            (link * 3600, (link + 1) * 3600) for link in range(24 + j * links, 24 + (j + 1) * links)
        ]


@given(st.integers(1, 60), st.integers(1, 240), st.integers(0, 10**6), st.integers(0, 100))
def test_every_window_is_whole_links_or_the_grant_is_refused(link: int, size: int, k: int, j: int) -> None:
    layout, grant = Layout(1000, link), raw(f"{size}s", k * size)
    if size % link:
        with pytest.raises(UsageError, match="a raw grant opens whole links"):
            grant.check(layout)
    else:
        grant.check(layout)
        assert [layout.position(unit) for unit in grant.window(j)] == [0, 0]


@pytest.mark.parametrize("granularity", ["15min", "90min", "1s"])
def test_parts_of_links_cannot(granularity: str) -> None:
    with pytest.raises(UsageError, match="whole links of 1h: its granularity must be a whole number of them"):
        raw(granularity, 3 * 3600).check(Layout(1000, 3600))


def test_days_that_can_have_23_hours_cannot() -> None:
    with pytest.raises(UsageError, match="a raw grant opens whole links, not a day"):
        raw("day", 0)
