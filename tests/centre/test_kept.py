"""What is kept of homes between passes changes nothing about what they take in, or refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bench.memory import MemoryBucket
from gateway.centre import look
from gateway.centre.ingest import Pass, ingest
from gateway.centre.kept import Kept
from gateway.centre.state import State
from gateway.chain.layout import Layout
from gateway.wire import es256, names
from tests.centre.neighbourhood import NOW_MS, Neighbourhood
from tests.centre.test_ingest import stored
from tests.stream.stream import START, Home, random_readings
from tests.support.home import MEMORY

Damage = dict[str, bytes | None]
"""What a store has instead of the objects under these keys."""


async def passes(
    street: Neighbourhood, folder: str, kept: Kept | None, damage: Damage | None = None
) -> tuple[Pass, set[str]]:
    """One pass, and the keys of what it read."""
    bucket = MemoryBucket()
    for home in street.homes:
        shown = home.objects | (damage or {})
        bucket.add((key, data) for key, data in shown.items() if data is not None)
    state = State.open(street.folder / folder, make=True)
    try:
        state.list_homes(street.listing)
        done = await ingest(state, bucket, street.centre.identity, NOW_MS, kept=kept)
        return done, bucket.read
    finally:
        state.close()


def loses_it(home: Home) -> Damage:
    return {home.chunks[-1]: None}


def replaces_it(home: Home) -> Damage:
    return {home.chunks[-1]: home.objects[home.chunks[0]]}


def damages_it(home: Home) -> Damage:
    return _flipped(home, home.chunks[-1])


def damages_the_head(home: Home) -> Damage:
    return _flipped(home, names.head(home.id))


def damages_the_tokens(home: Home) -> Damage:
    return _flipped(home, max(key for key in home.objects if "/new/" in key))


def _flipped(home: Home, key: str) -> Damage:
    data = home.objects[key]
    return {key: data[:-1] + bytes([data[-1] ^ 1])}


def restarts(home: Home) -> Damage:
    home.restart()
    return {}


def _nothing(home: Home) -> Damage:
    return {}


EVENTS: list[Callable[[Home], Damage]] = [
    *3 * [_nothing],
    restarts,
    loses_it,
    replaces_it,
    damages_it,
    damages_the_head,
    damages_the_tokens,
]
"""What happens to a home, or to what the store has of it, after a chunk was sealed."""


@pytest.mark.slow
@settings(max_examples=12)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.sampled_from([30, 60, 90, 120]), st.sampled_from(EVENTS), st.booleans()
        ),
        max_size=5,
    ),
    st.sampled_from([START - 180, START]),
)
async def test_passes_that_keep_homes_do_as_those_that_do_not(
    steps: list[tuple[int, int, Callable[[Home], Damage], bool]], start: int
) -> None:
    with TemporaryDirectory(prefix="kept-", dir=MEMORY) as name:
        street, kept = Neighbourhood.new(Path(name)), Kept()
        for _ in range(2):
            street.joins(Home(start=start)).seal(random_readings(100))
        damage: Damage = {}
        for who, count, event, mended in [(0, 20, _nothing, False), *steps]:
            damage = {} if mended else damage
            street.homes[who].seal(random_readings(count))
            damage |= event(street.homes[who])
            with_it, _ = await passes(street, "kept", kept, damage)
            without, _ = await passes(street, "anew", None, damage)
            assert _spoken(with_it) == _spoken(without)
            assert stored(street.folder / "kept").equals(stored(street.folder / "anew"))


def _spoken(done: Pass) -> tuple[object, ...]:
    failures = [(one.stream, str(one.error)) for one in done.passed_over]
    return done.windows, done.files, done.homes, failures, done.until_ms


async def test_a_home_that_goes_on_is_read_by_its_head_its_chunks_and_its_tokens(tmp_path: Path) -> None:
    street, kept = Neighbourhood.new(tmp_path), Kept()
    home = street.joins(Home())
    home.seal(random_readings(60))
    _, keys = await passes(street, "data", kept)
    assert names.descriptor(home.id) in keys
    _, keys = await passes(street, "data", kept)
    assert keys == {names.head(home.id)}
    home.seal(random_readings(60))
    done, keys = await passes(street, "data", kept)
    assert done.windows == 1
    (tokens,) = keys - {names.head(home.id), *home.chunks[-2:]}
    assert "/new/" in tokens
    assert len(keys) == 4
    assert len(stored(street.folder / "data")) == 2


def turns_a_signature_over(home: Home) -> Damage:
    """The twin of its last chunk's signature, which verifies but for its high s."""
    key = home.chunks[-1]
    data = home.objects[key]
    return {key: data[:-32] + (es256.ORDER - int.from_bytes(data[-32:], "big")).to_bytes(32, "big")}


def cuts_a_signature_off(home: Home) -> Damage:
    key = home.chunks[-1]
    return {key: home.objects[key][:-1]}


@pytest.mark.parametrize(
    "damages",
    [damages_it, damages_the_head, damages_the_tokens, turns_a_signature_over, cuts_a_signature_off],
)
async def test_a_signature_that_does_not_fit_is_noticed_among_others(
    tmp_path: Path, damages: Callable[[Home], Damage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "_TOGETHER", 8)  # two homes, then three
    street, kept = Neighbourhood.new(tmp_path), Kept()
    for _ in range(5):
        street.joins(Home(start=START)).seal(random_readings(60))
    await passes(street, "data", kept)
    for home in street.homes:
        home.seal(random_readings(60))
    bad = street.homes[1]
    done, _ = await passes(street, "data", kept, damages(bad))
    (failure,) = done.passed_over
    assert (failure.stream, failure.error.kind) == (bad.id, "refused")
    assert done.windows == 4
    taken = stored(street.folder / "data")["stream"].to_pylist()
    assert sorted(taken) == sorted(
        [home.id for home in street.homes] + [h.id for h in street.homes if h != bad]
    )
    done, _ = await passes(street, "data", kept)
    assert (done.windows, done.passed_over) == (1, ())


class Pageless(Home):
    """A gateway of before there were pages."""

    def _put_pages(self, span: Literal["day", "month"]) -> None:
        pass

    def _day(self) -> None:
        return None


async def test_a_home_that_seals_beyond_the_calendar_is_passed_over(tmp_path: Path) -> None:
    """Its last chunk begins in the year 9999, and its windows end in the next."""
    end = 253_402_300_800 // 60  # of that year, in minutes
    link = next(units for units in range(6000, 60_000, 15) if end % units in range(4000, 5000))
    street, kept = Neighbourhood.new(tmp_path), Kept()
    home = Pageless(layout=Layout(60_000, link), start=end // link * link, chunk_units=link)
    street.joins(home, granularity="15min")
    other = street.joins(Home())
    for one in street.homes:
        one.seal(random_readings(60))
    done, _ = await passes(street, "data", kept)
    assert (done.windows, done.passed_over) == (5, ())
    home.seal(random_readings((end - home.end + 60) // 15 * 15))
    other.seal(random_readings(60))
    done, _ = await passes(street, "data", kept)
    assert done.windows == 1
    (failure,) = done.passed_over
    assert failure.stream == home.id
    assert "outside the calendar" in str(failure.error)


async def test_chunks_that_are_large_together_are_found_by_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    street, kept = Neighbourhood.new(tmp_path), Kept()
    home = street.joins(Home())
    home.seal(random_readings(60))
    await passes(street, "data", kept)
    bytes_each = 8 * 60 * len(home.lanes)
    for most, listed in ((bytes_each, False), (bytes_each - 1, True)):
        monkeypatch.setattr(look, "_MOST_BYTES", most)
        home.seal(random_readings(60))
        done, keys = await passes(street, "data", kept)
        assert done.windows == 1
        assert (len(keys) > 4) is listed


async def test_a_revocation_is_read_although_the_grants_are_kept(tmp_path: Path) -> None:
    street, kept = Neighbourhood.new(tmp_path), Kept()
    home = street.joins(Home())
    home.seal(random_readings(60))
    await passes(street, "data", kept)
    (served,) = home._served.values()
    home.revoke(served.grant)
    home.seal(random_readings(60))
    done, _ = await passes(street, "data", kept)
    assert (done.windows, done.passed_over) == (0, ())
    state = State.open(street.folder / "data", make=False)
    (known,) = state.homes()
    state.close()
    assert known.ends_ms == (START + 60) * 1000


async def test_another_history_is_noticed_by_one_who_kept_the_home(tmp_path: Path) -> None:
    """A gateway that sealed the last chunk again, and then goes on; and a store that shows the next chunk of
    one history with the head of another."""
    for shown in ("its head too", "its chunk alone"):
        street, kept = Neighbourhood.new(tmp_path / shown), Kept()
        home = street.joins(Home(start=START))
        home.seal(random_readings(60))
        await passes(street, "data", kept)
        fork, damage = home.fork(), Damage()
        if shown == "its head too":
            home.seal(random_readings(60))
            await passes(street, "data", kept)
            fork.restart()
            fork.seal(random_readings(180))
            street.homes[0] = fork
        else:
            home.seal(random_readings(60))
            fork.seal(random_readings(60))
            damage = {fork.chunks[-1]: fork.objects[fork.chunks[-1]]}
        before = len(stored(street.folder / "data"))
        done, _ = await passes(street, "data", kept, damage)
        (failure,) = done.passed_over
        assert failure.error.kind == "refused"
        assert len(stored(street.folder / "data")) == before
