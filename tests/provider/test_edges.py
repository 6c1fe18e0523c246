"""The edges in the bundles are the windows of a calendar grant, wherever this machine would cut otherwise."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.errors import Refused
from gateway.provider.follow import follow
from gateway.provider.query import Query
from gateway.provider.sums import Sums
from gateway.store.directory import DirectoryBucket
from gateway.stream.reader import StreamReader
from gateway.stream.times import unix_ms
from gateway.wire import names
from gateway.wire.grant import Tokens
from tests.provider.reading import DAY_MS, Answer, expected, problems, read
from tests.provider.test_follow import StepClock
from tests.stream.stream import Home, Provider, random_readings

DAYS = 11
HOUR = 4


def at(*when: int) -> int:
    """The unit of 15 min that begins at a UTC date and time."""
    return int(datetime(*when, tzinfo=UTC).timestamp()) // 900  # type: ignore[misc, arg-type]


# Days of Berlin in 2026 as if summer time had begun on 5 April, a week late.
LATER = [at(2026, 3, 26, 23) + 96 * day for day in range(DAYS - 1)] + [at(2026, 4, 5, 22)]
OWN = [edge - HOUR * (edge >= at(2026, 3, 29, 23)) for edge in LATER[:-1]] + LATER[-1:]


@pytest.fixture
def home() -> Home:
    """Ten days of quarter hours and a half, in links of a day."""
    home = Home(layout=Layout(900_000, 96), start=at(2026, 3, 26), chunk_units=96)
    home.seal(random_readings(at(2026, 4, 6, 9) - home.start))
    return home


def grant(
    home: Home, provider: Provider, bundle: int | None = 3, lanes: tuple[str, ...] | None = None
) -> Grant:
    return home.grant(
        *(provider.card, "day", lanes), zone="Europe/Berlin", first=LATER[0], edges=LATER, bundle=bundle
    )


def edges(answer: Answer) -> list[int]:
    """Where the rows begin, and the last one ends."""
    moments = [row.start for row in answer.rows] + [answer.rows[-1].end]
    return [unix_ms(when) // 900_000 for when in moments]


def test_rows_are_the_households_windows(home: Home, provider: Provider) -> None:
    granted = grant(home, provider)
    answer = read(home, provider)
    expected(home, answer)
    assert edges(answer) == LATER
    assert answer.sums.missing == []
    assert answer.sums.notes == [
        f"grant {granted.id.hex()[:8]}... has windows that this machine's time zone data would cut "
        "otherwise, first at 2026-03-29T22:00:00Z: the household's count"
    ]


def test_there_is_no_note_where_both_cut_alike(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "day", zone="Europe/Berlin", first=OWN[0])
    answer = read(home, provider)
    expected(home, answer)
    assert edges(answer) == OWN
    assert answer.sums.notes == []


@pytest.mark.parametrize(
    ("first", "until", "rows"),
    [
        (at(2026, 3, 30, 22), at(2026, 4, 2, 23), slice(4, 8)),
        (at(2026, 3, 30, 23), at(2026, 4, 2, 22), slice(4, 7)),
        (at(2026, 3, 30, 23) + 1, at(2026, 4, 4), slice(5, 9)),
        (at(2026, 3, 20), at(2026, 3, 28), slice(0, 2)),
    ],
)
def test_a_part_of_the_time(first: int, until: int, rows: slice, home: Home, provider: Provider) -> None:
    """Rows begin and end with the household's windows, however far inside the grant the question begins."""
    grant(home, provider)
    answer = read(home, provider, Query(None, None, first * 900_000, until * 900_000))
    expected(home, answer)
    assert edges(answer) == LATER[rows]
    assert answer.sums.done


def test_another_grants_hours_are_added_up_to_them(home: Home, provider: Provider) -> None:
    grant(home, provider, lanes=("import",))
    home.grant(provider.card, "1h", ("export",), first=LATER[0])
    answer = read(home, provider, Query("day"))
    expected(home, answer)
    assert edges(answer)[: len(LATER)] == LATER
    assert all(set(row.sums) == {"import", "export"} for row in answer.rows[: DAYS - 1])


def test_a_revoked_grant_is_passed_over_by_its_own_edges(home: Home, provider: Provider) -> None:
    home.revoke(grant(home, provider))
    home.seal(random_readings(3 * 96))
    answer = read(home, provider)
    expected(home, answer)
    assert edges(answer) == LATER
    [gap] = answer.sums.missing
    assert unix_ms(gap.start) // 900_000 == LATER[-1]
    assert gap.reason.endswith("was revoked")


def test_a_store_without_tokens_shows_none(home: Home, provider: Provider) -> None:
    granted = grant(home, provider)
    for key in [key for key in home.objects if names.bundles(home.id, granted.id) in key]:
        del home.objects[key]
    answer = read(home, provider)
    assert answer.rows == []
    assert answer.sums.tail is not None
    assert answer.sums.tail.reason == "its tokens are not in the store yet"


def test_folded_bundles_give_the_same_windows(provider: Provider) -> None:
    home = Home(layout=Layout(900_000, 96), start=at(2026, 3, 26), chunk_units=96)
    granted = grant(home, provider)
    while home.end < at(2026, 4, 6, 9):
        home.seal(random_readings(min(96, at(2026, 4, 6, 9) - home.end)))
    for number in range(5):
        del home.objects[names.bundle(home.id, granted.id, number)]
    answer = read(home, provider)
    expected(home, answer)
    assert edges(answer) == LATER
    assert problems(home) == []


async def test_following_goes_on_from_the_households_edges(provider: Provider, tmp_path: Path) -> None:
    home = Home(layout=Layout(900_000, 96), start=at(2026, 3, 26), chunk_units=96)
    home.seal(random_readings(2 * 96))
    grant(home, provider)

    def grow() -> None:
        home.seal(random_readings(40))
        home.write(tmp_path)

    reader = await StreamReader.open(DirectoryBucket(home.write(tmp_path)), home.id, home.signer.kid)
    sums = await Sums.ask(reader, provider.identity, Query(until_ms=LATER[8] * 900_000))
    clock = StepClock([grow] * 30)
    rows = [row async for row in follow(reader, sums, clock, DAY_MS, lambda _: None)]
    answer = Answer(sums, rows)
    expected(home, answer)
    assert edges(answer) == LATER[:9]


class TestEdgesThatDoNotHold:
    def test_they_do_not_join(self, home: Home, provider: Provider) -> None:
        key, bundle = bundle_of(home, grant(home, provider))
        assert bundle.edges is not None
        for wrong in (bundle.edges[0] - 1, bundle.edges[0] + 1):
            resigned(home, key, bundle, (wrong, *bundle.edges[1:]))
            named(home, provider, key, "has edges that do not join those")

    def test_the_first_is_not_where_the_grant_begins(self, home: Home, provider: Provider) -> None:
        key, bundle = bundle_of(home, grant(home, provider), 0)
        assert bundle.edges is not None
        resigned(home, key, bundle, (bundle.edges[0] - 1, *bundle.edges[1:]))
        named(home, provider, key, "has edges that do not join those")

    def test_they_do_not_rise(self, home: Home, provider: Provider) -> None:
        key, bundle = bundle_of(home, grant(home, provider))
        assert bundle.edges is not None
        for wrong in (bundle.edges[0], bundle.edges[2]):
            resigned(home, key, bundle, (bundle.edges[0], wrong, *bundle.edges[2:]))
            named(home, provider, key, "edges that do not rise")

    def test_an_overlapping_bundle_has_others(self, home: Home, provider: Provider) -> None:
        granted = grant(home, provider)
        home.put_bundle(granted.id, 4, 9)
        assert problems(home) == []
        expected(home, read(home, provider))
        key, bundle = bundle_of(home, granted, 4)
        assert bundle.edges is not None
        resigned(home, key, bundle, (bundle.edges[0], bundle.edges[1] - 1, *bundle.edges[2:]))
        with pytest.raises(Refused, match=f"{key} has edges that do not join those"):
            read(home, provider)
        assert key in {problem.key for problem in problems(home)}

    def test_they_lie_beyond_the_calendar(self, home: Home, provider: Provider) -> None:
        key, bundle = bundle_of(home, grant(home, provider))
        assert bundle.edges is not None
        resigned(home, key, bundle, (*bundle.edges[:-1], 2**63))
        with pytest.raises(Refused, match=r"do not join|outside the calendar"):
            read(home, provider)


def bundle_of(home: Home, granted: Grant, window: int = 3) -> tuple[str, Tokens]:
    key = names.bundle(home.id, granted.id, window)
    return key, Tokens.read(home.objects[key], home.signer.public, key)


def resigned(home: Home, key: str, bundle: Tokens, edges: tuple[int, ...]) -> None:
    fields = (bundle.stream, bundle.grant, bundle.first_window, bundle.words, bundle.sealed)
    home.objects[key] = home.signer.sign(Tokens(*fields, edges=edges))


def named(home: Home, provider: Provider, key: str, text: str) -> None:
    """A provider and `verify` refuse this very bundle."""
    with pytest.raises(Refused, match=f"{key} .*{text}"):
        read(home, provider)
    [problem] = problems(home)
    assert problem.key == key
    assert text in problem.text
