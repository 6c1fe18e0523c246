"""The windows that are asked of a load, and what names a set of homes."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError, NotGranted, Refused, StoreUnavailable, Unavailable, UsageError
from gateway.provider.load import MAX_WINDOWS, Windows, of_each, set_digest

HOUR = 3_600_000


def ms(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 1000  # type: ignore[misc, arg-type]


@given(st.integers(0, 10**6), st.integers(1, 400), st.sampled_from((1, 60_000, 900_000, 7 * HOUR)))
def test_windows_of_a_granularity_fill_the_time(k: int, count: int, size: int) -> None:
    windows = Windows.between(("import",), k * size, (k + count) * size, f"{size}ms")
    assert list(windows.times) == [(j * size, (j + 1) * size) for j in range(k, k + count)]


def test_days_and_months_are_those_of_the_zone() -> None:
    """A day of 23 hours, and a date that the zone skipped."""
    days = Windows.between(
        ("import",), ms(2026, 3, 27, 23), ms(2026, 3, 30, 22), "day", "Europe/Berlin"
    ).times
    assert [(b - a) // HOUR for a, b in days] == [24, 23, 24]
    apia = Windows.between(
        ("import",), ms(2011, 12, 29, 10), ms(2011, 12, 31, 10), "day", "Pacific/Apia"
    ).times
    assert [(b - a) // HOUR for a, b in apia] == [24, 24]
    months = Windows.between(("import",), ms(2026, 1, 1), ms(2026, 4, 1), "month").times
    assert months == tuple(pairwise(ms(2026, month, 1) for month in (1, 2, 3, 4)))
    one = Windows.between(("import",), 17, 23, None)
    assert one.times == ((17, 23),)


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ((), "0 windows of 1 lanes: expected 1 to 65536 windows"),
        (((0, 5), (4, 9)), "the windows overlap, or are not in ascending order"),
        (((5, 9), (0, 5)), "the windows overlap, or are not in ascending order"),
        (tuple((i, i + 1) for i in range(MAX_WINDOWS + 1)), "expected 1 to 65536 windows"),
    ],
)
def test_windows_that_are_none(times: tuple[tuple[int, int], ...], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Windows(("import",), times)


MEMBERS = st.dictionaries(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1), max_size=4)


@given(MEMBERS, MEMBERS)
def test_a_digest_names_one_set(one: dict[bytes, int], two: dict[bytes, int]) -> None:
    """In whatever order, and only with the same incarnations, for one window and its lanes."""
    windows = Windows(("import", "export"), ((0, 1), (1, 2)))
    digest = set_digest(windows, 0, reversed(one.items()))
    assert digest == set_digest(windows, 0, one.items())
    assert (digest == set_digest(windows, 0, two.items())) == (one == two)
    assert digest != set_digest(windows, 1, one.items())
    assert digest != set_digest(Windows(("import",), windows.times), 0, one.items())


async def failing(error: GatewayError | None) -> str:
    if error is not None:
        raise error
    return "done"


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([None, NotGranted("a"), Unavailable("b")], NotGranted),
        ([Unavailable("a"), None, Refused("b")], Refused),
        ([Unavailable("a"), StoreUnavailable("gone"), Refused("b")], StoreUnavailable),
    ],
)
async def test_one_error_names_each_home_that_failed(
    errors: list[GatewayError | None], kind: type[GatewayError]
) -> None:
    with pytest.raises(kind) as caught:
        await of_each(errors, lambda error: str(error).encode(), failing)
    expected = "gone" if kind is StoreUnavailable else f"stream {b'a'.hex()}: a; stream {b'b'.hex()}: b"
    assert str(caught.value) == expected


async def test_an_error_of_many_homes_is_cut() -> None:
    errors: list[GatewayError | None] = [Unavailable("x")] * 25
    with pytest.raises(Unavailable, match=r"and 5 more$"):
        await of_each(errors, lambda error: str(error).encode(), failing)
    assert await of_each([None, None], lambda _: b"", failing) == ["done", "done"]
