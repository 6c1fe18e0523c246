"""Where objects lie: names that sort by time, and are taken apart again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.wire import names
from gateway.wire.kinds import class_at
from tests.wire.samples import EXAMPLES, SENT

STREAM, GRANT = bytes(range(16)), bytes(range(16, 32))
KID = bytes(range(32, 48))
PREFIX = "v1/000102030405060708090a0b0c0d0e0f/"
FOLDER = PREFIX + "grant/101112131415161718191a1b1c1d1e1f/"
UNITS = st.integers(0, 2_000_000_000_000)


def test_names_are_the_protocols() -> None:
    at = 1_767_225_599  # the last second of 2025, in units of a second
    assert names.stream_prefix(STREAM) == PREFIX
    assert names.descriptor(STREAM) == PREFIX + "stream.cose"
    assert names.head(STREAM) == PREFIX + "head.cose"
    assert names.chunk(STREAM, at, 1000) == PREFIX + "chunk/2025-12-31/000000006955b8ff.cose"
    assert names.chunk(STREAM, at + 1, 1000) == PREFIX + "chunk/2026-01-01/000000006955b900.cose"
    assert names.grant(STREAM, GRANT) == FOLDER + "grant.cose"
    assert names.revocation(STREAM, GRANT) == FOLDER + "revoked.cose"
    assert names.bundle(STREAM, GRANT, 255) == FOLDER + "new/00000000000000ff.cose"
    assert names.bundle(STREAM, GRANT, 255, "day") == FOLDER + "day/00000000000000ff.cose"
    assert names.bundle(STREAM, GRANT, 255, "month") == FOLDER + "month/00000000000000ff.cose"
    assert names.page(STREAM, "2025-12-31") == PREFIX + "day/2025-12-31.cose"
    assert names.page(STREAM, "2025-12") == PREFIX + "month/2025-12.cose"
    assert names.so_far(STREAM, "2025-12-31") == PREFIX + "so-far/2025-12-31.cose"
    assert names.tokens_so_far(STREAM, GRANT, 26) == FOLDER + "so-far/000000000000001a.cose"
    assert names.FOLDS == ("new", "day", "month")
    series = "v1/prices/202122232425262728292a2b2c2d2e2f/0000019b76c4a480/00000000000000ff.cose"
    assert names.price_series(KID, 0x19B76C4A480, 255) == series


@given(UNITS, UNITS, st.sampled_from((1, 1000, 60_000)))
def test_names_sort_as_units_do(one: int, two: int, unit_ms: int) -> None:
    one, two = one // unit_ms, two // unit_ms
    first, second = (names.chunk(STREAM, unit, unit_ms) for unit in (one, two))
    assert (first < second) == (one < two)
    assert first.startswith(names.chunks(STREAM))
    assert names.number_in(first) == one
    day = datetime.fromtimestamp(one * unit_ms // 1000, UTC).date()
    assert first.split("/")[-2] == day.isoformat()
    for fold in names.FOLDS:
        bundles = [names.bundle(STREAM, GRANT, window, fold) for window in (one, two)]
        assert (bundles[0] < bundles[1]) == (one < two)
        assert all(bundle.startswith(names.bundles(STREAM, GRANT, fold)) for bundle in bundles)
        assert names.number_in(bundles[1]) == two


@pytest.mark.parametrize(
    "key",
    [
        "",
        "0000000000000000",
        "000000000000000.cose",
        "00000000000000000.cose",
        "000000000000000G.cose",
        "00000000000000FF.cose",
        "-000000000000001.cose",
        "0x00000000000001.cose",
        "０000000000000000.cose",
        "0000000000000000.cose/",
        "0000000000000000.cose.cose",
        "0000000000000000.COSE",
    ],
)
def test_names_of_nothing(key: str) -> None:
    for name in (key, names.chunks(STREAM) + "2026-01-01/" + key):
        with pytest.raises(Refused, match="a name that version 1 does not have"):
            names.number_in(name)


@given(st.text())
def test_any_name_is_a_number_or_refused(key: str) -> None:
    try:
        assert 0 <= names.number_in(key) < 2**64
    except Refused:
        return
    assert key.endswith(".cose")


def test_what_lies_where() -> None:
    places = [
        ("gw1/stream", names.descriptor(STREAM)),
        ("gw1/chunk", names.chunk(STREAM, 0, 1000)),
        ("gw1/page", names.page(STREAM, "2026-01-01")),
        ("gw1/page", names.page(STREAM, "2026-01")),
        ("gw1/sofar", names.so_far(STREAM, "2026-01-01")),
        ("gw1/head", names.head(STREAM)),
        ("gw1/grant", names.grant(STREAM, GRANT)),
        *(("gw1/tokens", names.bundle(STREAM, GRANT, 0, fold)) for fold in names.FOLDS),
        ("gw1/tokens", names.tokens_so_far(STREAM, GRANT, 0)),
        ("gw1/revoked", names.revocation(STREAM, GRANT)),
        ("gw1/prices", names.price_series(KID, 1_767_222_000_000, 7)),
    ]
    assert [class_at(key).TYPE for _, key in places] == [type_string for type_string, _ in places]
    assert len({key for _, key in places}) == len(places)
    assert {kind.TYPE for kind in EXAMPLES} - {t for t, _ in places} == SENT
    nothings = (names.prices(KID), names.prices(KID) + "x.cose", names.prices(KID) + "a/b/c.cose")
    for key in (
        "",
        PREFIX,
        PREFIX + "other.cose",
        PREFIX + "year/2026.cose",
        FOLDER,
        FOLDER + "year/x.cose",
        *nothings,
    ):
        with pytest.raises(Refused, match="a name that version 1 does not have"):
            class_at(key)


def test_what_is_read_again_and_again_lasts() -> None:
    lasting = (
        names.grant(STREAM, GRANT),
        names.page(STREAM, "2026-01-01"),
        names.page(STREAM, "2026-01"),
        names.bundle(STREAM, GRANT, 7, "day"),
        names.bundle(STREAM, GRANT, 7, "month"),
    )
    others = (
        names.descriptor(STREAM),
        names.head(STREAM),
        names.so_far(STREAM, "2026-01-01"),
        names.chunk(STREAM, 900, 1000),
        names.revocation(STREAM, GRANT),
        names.bundle(STREAM, GRANT, 7),
        names.tokens_so_far(STREAM, GRANT, 7),
    )
    assert all(map(names.lasts, lasting))
    assert not any(map(names.lasts, others))
