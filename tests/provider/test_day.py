"""A day's sums from its page and bundle: the same answer as `Sums` gives, whatever grant and query."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.chain.grant import Grant, seal_k0
from gateway.chain.layout import Layout
from gateway.errors import NotGranted, Refused, UsageError
from gateway.provider.day import DayReader
from gateway.provider.many import Answer, Ask, HomeReader, Terms
from gateway.provider.query import Query
from gateway.provider.sums import Rows, Sums
from gateway.wire import cose, names
from gateway.wire.grant import GrantObject, Revocation, grant_body
from gateway.wire.stream import Head, Page
from tests.provider.test_many import Objects
from tests.stream.stream import START, Home, Provider, random_readings

_START, _HOUR = START // 60, 60  # units of a minute
_DAY_MS = 86_400_000
_GRANTS = [
    [("1h", 0, None)],
    [("15min", 0, None)],
    [("1h", 0, 24)],
    [("1h", 12, 42)],
    [("3h", 36, None)],
    [("7h", 0, None)],
    [("day", 0, None)],
    [("1h", 0, None), ("15min", 0, None)],
    [("1h", 0, 24), ("1h", 24, None)],
]
"""Grants of a home: windows, and the hours at which the grant begins and ends."""


def home_of(begins: int = 0, number: int = 0, *, named: bool = True) -> Home:
    """Two days and a half, or less by `begins` hours at the beginning, in units of a minute; each `number` is
    another home. Without `named` its head names no page, so that pages are told by their signatures."""
    return _home(begins, number, named).fork()


@cache
def _home(begins: int, _number: int, named: bool) -> Home:
    home = Home(layout=Layout(60_000, 60), start=_START + _HOUR * begins, chunk_units=60)
    home.names_day = named
    home.seal(random_readings(60 * _HOUR - _HOUR * begins))
    return home


def folded(
    home: Home,
    provider: Provider,
    granularity: str = "1h",
    lanes: Sequence[str] | None = None,
    first: int = 0,
    until: int | None = None,
) -> Grant:
    """Grant a home from hour `first` until another one, with the tokens of its two days folded."""
    begin, end = max(home.start, _START + _HOUR * first), None if until is None else _START + _HOUR * until
    grant = home.grant(provider.card, granularity, lanes, first=begin, until=end)
    for day in range(2):
        one, upto = (grant.complete(_START + 24 * _HOUR * at) for at in (day, day + 1))
        if one < upto:
            home.put_bundle(grant.id, one, upto, "day")
    return grant


def change_head(home: Home, **changes: Any) -> None:
    """Sign another head."""
    key = names.head(home.id)
    head = Head.read(home.objects[key], home.signer.public, key)
    home.objects[key] = home.signer.sign(replace(head, **changes))


def begin_grant(home: Home, provider: Provider, grant: Grant, first: int) -> None:
    """Make a grant begin with another unit, in place of the one that it began with."""
    body = grant_body(replace(grant, first=first))
    assert provider.card.xwing_key is not None
    sealed = GrantObject(home.id, body, seal_k0(secrets.token_bytes(32), provider.card.xwing_key, body))
    home.objects[names.grant(home.id, grant.id)] = home.signer.sign(sealed)


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The usual value, or sometimes another one."""
    return st.sampled_from([*[usual] * 3 * len(others), *others])


def terms(begin: float, end: float, granularity: str | None = None, lanes: Any = None) -> Terms:
    """A query between two hours of the first two days and a half."""
    span = (int(1000 * (START + 3600 * hour)) for hour in (begin, end))
    return Terms(Query(granularity, lanes, *span), time.time_ns() // 1_000_000, _DAY_MS)


async def both_ways(
    homes: Sequence[Home], provider: Provider, wanted: Terms
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All that is said of homes that are read side by side; and what `Sums` says of each by itself."""
    asks = [Ask(home.id, home.signer.kid) for home in homes]
    bucket = Objects({key: data for home in homes for key, data in home.objects.items()})
    answers = await HomeReader(bucket, provider.identity).read_each(asks, wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DayReader, "read", _nothing)
        alone = [await HomeReader(bucket, provider.identity).read(ask, wanted) for ask in asks]
    return [said(one) for one in answers], [said(one) for one in alone]


async def _nothing(*_: object) -> None:
    return None


@pytest.fixture
def no_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a test fail where `Sums` is asked."""
    monkeypatch.delattr(Sums, "ask")


def rows_in(block: Rows) -> tuple[Any, ...]:
    lanes = {lane: (sums.tolist(), block.opened[lane].tolist()) for lane, sums in block.sums.items()}
    assert {sums.dtype for sums in block.sums.values()} == {np.dtype(np.int64)}
    return block.unit_ms, block.starts.tolist(), block.ends.tolist(), list(lanes.items())


def said(answer: Answer) -> dict[str, Any]:
    """All of an answer, so that it can be compared."""
    values = {field.name: getattr(answer, field.name) for field in fields(answer)}
    error = answer.error
    return values | {
        "blocks": [rows_in(block) for block in answer.blocks],
        "error": None if error is None else (type(error), str(error)),
    }


@st.composite
def unlike(draw: st.DrawFn) -> tuple[Any, ...]:
    """What tells one home from another: see the test."""
    return (
        draw(mostly(0, 3, 30)),
        draw(st.booleans()),
        draw(mostly(*_GRANTS)),
        draw(mostly(None, ["import"], ["export", "import"])),
        draw(mostly(False, True)),
    )


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(unlike(), min_size=2, max_size=3),
    granularity=mostly(None, "1h", "3h", "30min", "day"),
    lanes=mostly(None, ("import",), ("export", "import")),
    span=mostly((24, 48), (0, 24), (25, 31), (24.2, 47.9), (20, 30), (48, 60)),
)
async def test_the_answer_is_that_of_sums(
    provider: Provider,
    kinds: list[tuple[int, bool, list[tuple[str, int, int | None]], list[str] | None, bool]],
    granularity: str | None,
    lanes: tuple[str, ...] | None,
    span: tuple[float, float],
) -> None:
    """Whatever homes are read in one pass, and in whatever order."""
    homes = []
    for number, (begins, named, grants, granted, revoked) in enumerate(kinds):
        home = home_of(begins, number, named=named)
        for size, first, until in grants:
            if until is None or until > max(begins, first):
                last = folded(home, provider, size, granted, first, until)
                if revoked:
                    home.revoke(last)
        homes.append(home)
    answers, alone = await both_ways(homes, provider, terms(*span, granularity, lanes))
    assert answers == alone


@pytest.mark.usefixtures("no_sums")
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(("begin", "end"), [(0, 24), (24, 48), (25, 31), (24.2, 47.9)])
async def test_most_days_take_no_more(provider: Provider, begin: float, end: float, named: bool) -> None:
    """And their sums are those that were sealed."""
    home = home_of(named=named)
    folded(home, provider)
    reader = HomeReader(Objects(home.objects), provider.identity)
    answer = await reader.read(Ask(home.id, home.signer.kid), terms(begin, end))
    [rows] = answer.blocks
    assert len(rows) == int(end) - ceil(begin)
    for row, (a, b) in zip(rows, zip(rows.starts.tolist(), rows.ends.tolist(), strict=True), strict=True):
        assert row.sums == {lane: home.truth(lane, a, b) for lane in home.lanes}


@pytest.mark.usefixtures("no_sums")
async def test_homes_that_are_not_alike(provider: Provider) -> None:
    """In one pass, each by its own units, lanes and windows."""
    homes, both = [], ("import", "export")
    for unit_ms, lanes, granted, size in (
        (60_000, both, both, "1h"),
        (60_000, both[::-1], both[::-1], "1h"),
        (60_000, both, both[:1], "1h"),
        (60_000, both[::-1], both[:1], "1h"),
        (60_000, both, both, "2h"),
        (30_000, both, both, "1h"),
    ):
        home = Home(lanes, layout=Layout(unit_ms, 60), start=START * 1000 // unit_ms, chunk_units=60)
        grant = home.grant(provider.card, size, granted)
        home.seal(random_readings(25 * _HOUR * 60_000 // unit_ms))
        homes.append((home, grant))
    bucket = Objects({key: data for home, _ in homes for key, data in home.objects.items()})
    asks = [Ask(home.id, home.signer.kid) for home, _ in homes]
    answers = await HomeReader(bucket, provider.identity).read_each(asks, terms(0, 24))
    for (home, grant), answer in zip(homes, answers, strict=True):
        [rows] = answer.blocks
        assert len(rows) == grant.complete(home.start + 24 * _HOUR * 60_000 // home.layout.unit_ms)
        assert tuple(rows.sums) == grant.lanes
        for row, (a, b) in zip(rows, zip(rows.starts.tolist(), rows.ends.tolist(), strict=True), strict=True):
            assert row.sums == {lane: home.truth(lane, a, b) for lane in grant.lanes}


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("what", ["stream", "grant"])
async def test_what_began_within_the_day(provider: Provider, what: str, turn: int) -> None:
    """It changes nothing for others that are read before or after it."""
    homes = [home_of(3 if what == "stream" else 0), home_of(number=1)]
    grant = folded(homes[0], provider, first=3)
    if what == "stream":
        begin_grant(homes[0], provider, grant, _START)
    folded(homes[1], provider)
    answers, alone = await both_ways(homes[::turn], provider, terms(0, 24))
    assert answers == alone
    assert [len(answer["blocks"][0][1]) for answer in answers][::turn] == [21, 24]


@pytest.mark.parametrize("missing", ["page", "bundle"])
async def test_without_one_of_the_objects_sums_answers(provider: Provider, missing: str) -> None:
    home = home_of()
    grant = folded(home, provider)
    if missing == "page":
        del home.objects[names.page(home.id, "2026-03-02")]
    else:
        del home.objects[names.bundle(home.id, grant.id, 24, "day")]
    [answer], alone = await both_ways([home], provider, terms(24, 48))
    assert [answer] == alone
    assert answer["error"] is None
    assert len(answer["blocks"]) == 1


async def test_tokens_of_a_part_of_the_day(provider: Provider) -> None:
    """The others lie elsewhere."""
    home = home_of()
    grant = folded(home, provider)
    home.put_bundle(grant.id, 24, 30, "day")
    answers, alone = await both_ways([home], provider, terms(24, 48))
    assert answers == alone


async def test_a_page_that_the_head_does_not_name_is_refused(provider: Provider) -> None:
    """Though its signature is valid: the gateway made it for another history."""
    home = home_of()
    folded(home, provider)
    change_head(home, day=bytes(32))
    [answer], alone = await both_ways([home], provider, terms(24, 48))
    assert [answer] == alone
    assert f"{names.page(home.id, '2026-03-02')} is not the page that" in str(answer["error"])


async def test_a_forged_page_that_no_head_names_is_refused(provider: Provider) -> None:
    home = home_of(named=False)
    folded(home, provider)
    key = names.page(home.id, "2026-03-02")
    kid, payload, signature = cose.payload_unchecked(home.objects[key], key)
    page = Page.from_payload(payload, key)
    page = replace(page, sums=tuple(bytes(len(lane)) for lane in page.sums))
    home.objects[key] = cose.assemble(kid, page.payload(), signature)
    [answer], alone = await both_ways([home], provider, terms(24, 48))
    assert [answer] == alone
    assert str(answer["error"][1]).startswith(f"the signature of {key} does not fit")
    assert answer["blocks"] == []


async def test_a_head_within_the_day_counts(provider: Provider) -> None:
    """Though the store shows the day's page and tokens already: the day is over where the head says so."""
    home = home_of()
    folded(home, provider)
    end = _START + 30 * _HOUR
    [seq] = (seq for seq, key in enumerate(home.chunks) if key == names.chunk(home.id, end - 60, 60_000))
    digest = cose.digest(home.objects[home.chunks[seq]])
    change_head(home, seq=seq, digest=digest, next_unit=end, day=None)
    [answer], alone = await both_ways([home], provider, terms(24, 48))
    assert [answer] == alone
    assert answer["blocks"][0][2][-1] == end


async def test_a_revocation_within_the_day_counts(provider: Provider) -> None:
    """Though the store shows tokens of later windows."""
    home = home_of()
    grant = folded(home, provider)
    home.revoke(grant)
    end = _START + 30 * _HOUR
    home.objects[names.revocation(home.id, grant.id)] = home.signer.sign(Revocation(home.id, grant.id, end))
    [answer], alone = await both_ways([home], provider, terms(24, 48))
    assert [answer] == alone
    assert answer["blocks"][0][2][-1] == end


async def test_windows_that_are_not_those_of_the_query(provider: Provider) -> None:
    """A grant whose hours begin a minute late opens none of the clock's hours."""
    home = home_of()
    grant = folded(home, provider)
    begin_grant(home, provider, grant, _START + 1)
    home.put_bundle(grant.id, 23, 48, "day")
    [answer], alone = await both_ways([home], provider, terms(24, 48))
    assert [answer] == alone
    assert answer["blocks"] == []


async def test_windows_shorter_than_a_page_has_them(provider: Provider) -> None:
    """Half minutes, where the steps of pages are minutes: their sums come from chunks."""
    home = Home(layout=Layout(10_000, 90), start=START // 10, chunk_units=90)
    home.grant(provider.card, "30s", first=home.start)
    home.seal(random_readings(25 * 360))
    [answer], alone = await both_ways([home], provider, terms(0, 24))
    assert [answer] == alone
    assert len(answer["blocks"][0][1]) == 24 * 120


async def test_a_bundle_that_goes_on_after_its_day(provider: Provider) -> None:
    home = home_of()
    grant = folded(home, provider)
    home.put_bundle(grant.id, 0, 48, "day")
    for span, hours in (((0, 24), 24), ((20, 30), 10)):
        [answer], alone = await both_ways([home], provider, terms(*span))
        assert [answer] == alone
        assert sum(len(block[1]) for block in answer["blocks"]) == hours


async def test_no_page_is_asked_for_of_a_day_before_the_stream(provider: Provider) -> None:
    home = home_of(30)
    begin_grant(home, provider, folded(home, provider), _START)
    bucket = Objects(home.objects)
    reader = HomeReader(bucket, provider.identity)
    for _ in range(2):
        answer = await reader.read(Ask(home.id, home.signer.kid), terms(0, 24))
        assert isinstance(answer.error, NotGranted)
    assert [key for key in bucket.got if "/day/" in key] == []


async def test_a_calendar_grant_with_an_invalid_bundle_is_refused(provider: Provider) -> None:
    """Before it is said what else it does not open."""
    home = home_of()
    grant = folded(home, provider, "day")
    home.objects[names.bundle(home.id, grant.id, 1, "day")] = b"damaged"
    [answer], alone = await both_ways([home], provider, terms(24, 48, "1h"))
    assert [answer] == alone
    assert answer["error"][0] is Refused


@pytest.mark.parametrize(("lanes", "error"), [(("count",), UsageError), (("export",), NotGranted)])
async def test_what_is_not_granted_is_said_of_each_home(
    provider: Provider, lanes: tuple[str, ...], error: type[Exception]
) -> None:
    homes = [home_of(), home_of(3)]
    for home in homes:
        folded(home, provider, "1h", ["import"])
    answers, alone = await both_ways(homes, provider, terms(24, 48, None, lanes))
    assert answers == alone
    assert [answer["error"][0] for answer in answers] == [error, error]
