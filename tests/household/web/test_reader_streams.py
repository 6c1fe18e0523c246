"""Streams that the TypeScript reader opens as the Python reader does, and stores that lie to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.control.documents import NewGrant
from gateway.errors import NotFound, Refused
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.grants import own_grants
from gateway.provider.identity import new_identity, open_identity
from gateway.provider.query import Query
from gateway.provider.sums import Sums
from gateway.simulate.history import Home as PastHome
from gateway.simulate.history import fill
from gateway.simulate.seasons import SeasonalHome
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.stream.chunks import Problem
from gateway.stream.reader import StreamReader
from gateway.stream.tokens import check_bundle
from gateway.stream.verify import verify
from gateway.wire import names
from gateway.wire.card import Card
from gateway.wire.grant import Revocation, Tokens
from gateway.wire.stream import Chunk, Head, Page, SoFar
from tests.household.web import mutants
from tests.household.web.reader import Reader, ReaderRefused
from tests.stream.stream import START, Home, Provider, random_readings

LANES = ("import", "export", "power")
FAR = 2**52  # ms of Unix time, beyond every stream


@dataclass(frozen=True, slots=True)
class Made:
    home: Home
    card: Card
    hours: Grant  # 2 h, from the stream's start on
    days: Grant  # calendar days in Berlin, one of which has 23 hours
    odd: Grant  # windows of a length that does not divide a day
    revoked: Grant  # half-way

    def of(self, name: str) -> Grant:
        found = getattr(self, name)
        assert isinstance(found, Grant)
        return found


def made(folder: Path, unit_ms: int, days: int, step: int, odd: str) -> Made:
    """Days from 3 March 2026 on, `step` of them at a time, in three incarnations, and some hours more: with
    pages, folded tokens, and new ones of the last day."""
    card = Provider.new(folder / "acme").card
    day = 86_400_000 // unit_ms
    start = START * 1000 // unit_ms + 2 * day + day // 4
    home = Home(LANES, layout=Layout(unit_ms, day // 4), start=start, chunk_units=day // 4)
    grants = [
        home.grant(card, "2h", ("export", "import")),
        home.grant(card, "day", zone="Europe/Berlin"),
        home.grant(card, odd, ("power",)),
        home.grant(card, "1h"),
    ]
    for n in range(0, days, step):
        home.seal(random_readings(step * day, LANES))
        if n in (18, 27):
            home.restart()
        if n == 24:
            home.revoke(grants[3])
    for count in (day // 5, day // 24, day // 12):
        home.seal(random_readings(count, LANES))
    return Made(home, card, *grants)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("provider"), 600_000, 70, 1, "50min")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("provider"), 3_600_000, 36, 3, "5h")


def opens(reader: Reader, home: Home, seen: dict[str, str] | None = None) -> dict[str, Any]:
    """Open the stream in the store of `home`."""
    reader.holds(home.objects)
    found: dict[str, Any] = reader("open", stream=home.id.hex(), kid=home.signer.kid.hex(), seen=seen)
    return found


def grant(reader: Reader, home: Home, which: Grant) -> dict[str, Any]:
    found: dict[str, Any] = reader("grant", id=which.id.hex(), k_0=home._k_0[which.id].hex())
    return found


def windows(reader: Reader, from_ms: int = 0, until_ms: int = FAR) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = reader("windows", **{"from": from_ms, "until": until_ms})
    return found


def truth(home: Home, which: Grant, end: int | None = None) -> list[dict[str, Any]]:
    """The windows of a grant that end at or before unit `end`, with what was sealed."""
    end, found, j = home.end if end is None else end, [], 0
    while (window := which.window(j))[1] <= end:
        lanes = [str(home.truth(lane, *window)) for lane in which.lanes]
        start, until = (unit * home.layout.unit_ms for unit in window)
        found.append({"start": start, "end": until, "lanes": lanes})
        j += 1
    return found


@pytest.mark.parametrize("name", ["hours", "days", "odd"])
def test_windows_are_what_was_sealed(reader: Reader, whole: Made, name: str) -> None:
    opens(reader, whole.home)
    found = grant(reader, whole.home, whole.of(name))
    assert (found["limit"], found["revoked"]) == (None, False)
    right = truth(whole.home, whole.of(name))
    assert windows(reader) == right
    if name == "days":
        assert {one["end"] - one["start"] for one in right} == {23 * 3_600_000, 24 * 3_600_000}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hours", "days", "odd"])
def test_any_part_of_them(reader: Reader, whole: Made, name: str) -> None:
    """Whichever pages, chunks and bundles serve a range, by a new reader and by one that has read before."""
    rng = random.Random(name)
    right = truth(whole.home, whole.of(name))
    first, last = right[0]["start"], right[-1]["end"]
    for n in range(24):
        if n % 4 == 0:
            opens(reader, whole.home)
            grant(reader, whole.home, whole.of(name))
        a = rng.randrange(first - 10**7, last)
        b = a + rng.choice((10**7, 10**8, 10**9, 10**10))
        assert windows(reader, a, b) == [one for one in right if a <= one["start"] and one["end"] <= b]


@pytest.mark.parametrize("name", ["hours", "days", "odd"])
def test_totals_of_windows(reader: Reader, whole: Made, name: str) -> None:
    """Between any edges: those of the windows that begin there, null where none does."""
    rng = random.Random(name)
    right = truth(whole.home, whole.of(name))
    first, last = right[0]["start"] - 10**8, right[-1]["end"] + 10**8
    opens(reader, whole.home)
    grant(reader, whole.home, whole.of(name))
    for count in (2, 3, 8, 40):
        edges = sorted(rng.sample(range(first, last), count))
        inside = [one for one in right if edges[0] <= one["start"] and one["end"] <= edges[-1]]
        of_edges = [[one["lanes"] for one in inside if a <= one["start"] < b] for a, b in pairwise(edges)]
        sums = [[str(sum(map(int, lane))) for lane in zip(*some, strict=True)] or None for some in of_edges]
        assert reader("totals", edges=edges) == sums


def test_totals_end_where_tokens_do(reader: Reader, whole: Made) -> None:
    home = whole.home.fork()
    late = sorted(key for key in home.objects if f"{whole.hours.id.hex()}/new/" in key)[-2:]
    drop(home, *late)
    opens(reader, home)
    grant(reader, home, whole.hours)
    found = windows(reader)
    assert found == truth(home, whole.hours)[: len(found)]
    edges = [found[0]["start"], found[-2]["start"], FAR]
    sums = [
        [str(sum(int(one["lanes"][lane]) for one in some)) for lane in range(2)]
        for some in (found[:-2], found[-2:])
    ]
    assert reader("totals", edges=edges) == sums


def test_a_long_past_takes_few_requests(reader: Reader, whole: Made) -> None:
    opens(reader, whole.home)
    grant(reader, whole.home, whole.hours)
    windows(reader)
    asked = reader("asked")
    gets = [key for key in asked if not key.endswith("*")]
    assert len(gets) == len(set(gets))
    # The pages of 2 months and of 12 days, as many bundles, and what is new: of a day that is not over.
    assert len([key for key in gets if "/chunk/" not in key and "/new/" not in key]) <= 2 * (2 + 12) + 6
    assert len(gets) <= 2 * (2 + 12) + 16
    assert not [key for key in gets if "revoked" in key]


def test_a_revoked_grant_ends(reader: Reader, whole: Made) -> None:
    opens(reader, whole.home)
    found = grant(reader, whole.home, whole.revoked)
    assert found["revoked"]
    right = truth(whole.home, whole.revoked, int(found["limit"]))
    assert windows(reader) == right
    assert right != truth(whole.home, whole.revoked)


def test_nothing_opens_after_a_revocation(reader: Reader, whole: Made) -> None:
    """Not even what has its tokens already."""
    home = whole.home.fork()
    limit = whole.hours.window(100)[1]
    key = names.revocation(home.id, whole.hours.id)
    home.objects[key] = home.signer.sign(Revocation(home.id, whole.hours.id, limit + 1))
    key = names.head(home.id)
    head = Head.read(home.objects[key], home.signer.public, key)
    revoked = tuple(sorted((whole.hours.id, whole.revoked.id)))
    home.objects[key] = home.signer.sign(replace(head, revoked=revoked))
    opens(reader, home)
    assert grant(reader, home, whole.hours)["limit"] == str(limit + 1)
    assert windows(reader) == truth(home, whole.hours, limit)


@pytest.mark.parametrize("says", [True, False])
def test_a_revocation_that_the_store_hides(reader: Reader, whole: Made, says: bool) -> None:
    """Where the head names revoked grants it shows; without, the tokens end all the same."""
    home = whole.home.fork()
    del home.objects[names.revocation(home.id, whole.revoked.id)]
    if not says:
        head = Head.read(home.objects[names.head(home.id)], home.signer.public, "head")
        home.objects[names.head(home.id)] = home.signer.sign(replace(head, revoked=None))
    opens(reader, home)
    if says:
        with pytest.raises(ReaderRefused, match="the head names its grant"):
            grant(reader, home, whole.revoked)
        return
    assert grant(reader, home, whole.revoked)["revoked"] is False
    right = truth(home, whole.revoked)
    found = windows(reader)
    assert found == right[: len(found)]
    assert len(found) < len(right)


def test_another_key_is_seen(reader: Reader, whole: Made) -> None:
    opens(reader, whole.home)
    reader("grant", id=whole.hours.id.hex(), k_0=whole.home._k_0[whole.odd.id].hex())
    with pytest.raises(ReaderRefused, match="is not that of grant") as caught:
        windows(reader)
    assert caught.value.kind == "WrongKey"


def test_a_grant_of_another_kind_is_not_opened(reader: Reader, whole: Made) -> None:
    home = whole.home.fork()
    raw = home.grant(whole.card, "6h", kind="raw")
    opens(reader, home)
    with pytest.raises(ReaderRefused, match="kind raw"):
        grant(reader, home, raw)
    with pytest.raises(ReaderRefused) as caught:
        reader("grant", id=bytes(16).hex(), k_0=bytes(32).hex())
    assert caught.value.kind == "NotFound"


def test_a_stream_goes_on(reader: Reader, whole: Made) -> None:
    home = whole.home.fork()
    opens(reader, home)
    grant(reader, home, whole.hours)
    before = windows(reader)
    home.seal(random_readings(300, LANES))
    reader.holds(home.objects)
    assert windows(reader) == before
    reader("refresh")
    assert windows(reader) == truth(home, whole.hours)


def test_an_older_state_is_refused(reader: Reader, whole: Made) -> None:
    """Of a store that a reader saw before, and of one that goes back while it is open."""
    home = whole.home.fork()
    home.seal(random_readings(9, LANES))
    seen = opens(reader, home)["seen"]
    key, old = names.head(home.id), whole.home.objects[names.head(home.id)]
    other = Head.read(home.objects[key], home.signer.public, key)
    for data, why in (
        (old, "was seen before"),
        (None, "is missing"),
        (home.signer.sign(replace(other, digest=bytes(32))), "names another chunk number"),
    ):
        shown = {one: held for one, held in home.objects.items() if one != key}
        reader.holds({**shown, key: data} if data else shown)
        with pytest.raises(ReaderRefused, match=why) as caught:
            reader("refresh")
        assert caught.value.kind == "RolledBack"
        with pytest.raises(ReaderRefused, match=why):
            reader("open", stream=home.id.hex(), kid=home.signer.kid.hex(), seen=seen)
    assert opens(reader, home, seen)["seen"] == seen
    home.seal(random_readings(30, LANES))
    assert opens(reader, home, seen)["seen"] != seen


def test_another_history_is_refused(reader: Reader, whole: Made) -> None:
    """The chunk that was seen must still be there once later ones are."""
    ours, other = whole.home.fork(), whole.home.fork()
    ours.seal(random_readings(9, LANES))
    seen = opens(reader, ours)["seen"]
    other.seal(random_readings(9, LANES))
    other.seal(random_readings(9, LANES))
    with pytest.raises(ReaderRefused, match="was seen there before") as caught:
        opens(reader, other, seen)
    assert caught.value.kind == "RolledBack"


def test_another_stream_or_key(reader: Reader, whole: Made) -> None:
    reader.holds(whole.home.objects)
    with pytest.raises(ReaderRefused) as caught:
        reader("open", stream=bytes(16).hex(), kid=whole.home.signer.kid.hex(), seen=None)
    assert caught.value.kind == "NotFound"
    with pytest.raises(ReaderRefused, match="but the registered one is"):
        reader("open", stream=whole.home.id.hex(), kid=bytes(16).hex(), seen=None)


@dataclass(frozen=True, slots=True)
class Payload:
    """CBOR that is signed as a bundle, whatever it holds."""

    data: bytes
    TYPE: ClassVar[str] = Tokens.TYPE

    def payload(self) -> bytes:
        return self.data


@pytest.mark.parametrize("kind", ["windows", "day", "raw", "load"])
def test_bundles_that_nearly_fit_their_grant(reader: Reader, small: Made, kind: str) -> None:
    """Both readers take them, or neither: by the tokens, and by what is said of the windows."""
    rng, home = random.Random(kind), small.home.fork()
    which = {"windows": small.hours, "day": small.days}.get(kind)
    if which is None and kind == "raw":
        which = home.grant(small.card, "6h", kind="raw")
    elif which is None:
        which = home.grant(small.card, "2h", kind="load", partner=home.grant(small.card, "2h", kind="load"))
    key = max(key for key in home.objects if f"{which.id.hex()}/new/" in key)
    found = Tokens.read(home.objects[key], home.signer.public, key)
    count, payload = found.end_window(which.words) - found.first_window, found.payload()
    size = 16 + 16 + 32 * len(which.lanes)
    others = [
        replace(found, words=(bytes(size),) * count),
        replace(found, words=(bytes(size + 1),) * count),
        replace(found, words=bytes(8 * which.words * count)),
        replace(found, words=bytes(8 * which.words * count + 4)),
        replace(found, commitment=bytes(32)),
        replace(found, weighed=(bytes(32),) * count),
    ]
    of, grant_key = names.descriptor(home.id), names.grant(home.id, which.id)
    where = {"of": of, "descriptor": home.objects[of].hex(), "kid": home.signer.kid.hex()}
    where |= {"grantKey": grant_key, "grant": home.objects[grant_key].hex()}
    taken = 0
    near: list[Tokens | Payload] = [*others, found]
    near += (Payload(mutants.of_cbor(rng, payload)) for _ in range(250))
    for one in near:
        data = home.signer.sign(one)
        try:
            theirs = str(check_bundle(home.descriptor, which, key, data).end_window(which.words))
        except Refused:
            theirs = None
        try:
            ours = reader("bundle", key=key, data=data.hex(), **where)
        except ReaderRefused:
            ours = None
        assert ours == theirs, data.hex()
        taken += ours is not None
    assert 5 < taken < 200


@pytest.mark.slow
async def test_a_past_of_the_real_gateway(reader: Reader, tmp_path: Path) -> None:
    """Sealed, issued and sent by the gateway itself, under two granularities: the sums of the Python reader,
    to the mWh."""
    (tmp_path / "store").mkdir()
    place, folder = Location.parse(str(tmp_path / "store")), tmp_path / "utility"
    first, days, zone = date(2026, 3, 20), 45, "Europe/Berlin"
    card = new_identity(folder, "Stadtwerke", unix_ms(SystemClock("host")))
    from_ms = int(SeasonalHome(1, zone).seconds_of(first)[0]) * 1000
    wanted = [
        NewGrant("windows", size, zone, ("import", "export"), "tests", from_ms, None)
        for size in ("15min", "day")
    ]
    simulated = PastHome(
        tmp_path / "home", 1, zone, "eastron-sdm630", 300, first, first + timedelta(days=days)
    )
    past = await fill(simulated, place, [(card, one) for one in wanted])
    bucket, identity = open_bucket(place), open_identity(folder)
    try:
        objects = {key: await bucket.get(key) async for key in bucket.list("v1/")}
        stream = await StreamReader.open(bucket, past.stream, past.signer)
        await stream.refresh(past.end_ms, 10**12)
        held = await own_grants(stream, identity)
        sums = {
            size: [
                row async for row in (await Sums.ask(stream, identity, Query(size, None, None, None))).rows()
            ]
            for size in ("15min", "day")
        }
    finally:
        await bucket.aclose()
    reader.holds(objects)
    reader("open", stream=past.stream.hex(), kid=past.signer.hex(), seen=None)
    for one in held:
        reader("grant", id=one.grant.id.hex(), k_0=one.k_0.hex())
        rows = sums[str(one.grant.granularity)]
        assert len(rows) in (days, days * 96 - 4)
        assert windows(reader) == [
            {
                "start": round(row.start.timestamp() * 1000),
                "end": round(row.end.timestamp() * 1000),
                "lanes": [str(row.sums[lane]) for lane in one.grant.lanes],
            }
            for row in rows
        ]
    reader("verify")


@pytest.mark.parametrize("lie", ["none", "missing", "digest", "unit", "another"])
def test_a_head_without_its_chunk(reader: Reader, whole: Made, lie: str) -> None:
    """The head is that of the chain, whichever part of it is read."""
    home = whole.home.fork()
    key, last = names.head(home.id), chunks(home)[-1]
    head = Head.read(home.objects[key], home.signer.public, key)
    match lie:
        case "missing":
            del home.objects[last]
        case "digest":
            home.objects[key] = home.signer.sign(replace(head, digest=bytes(32)))
        case "unit":
            home.objects[key] = home.signer.sign(replace(head, next_unit=head.next_unit + 1))
        case "another":
            signed_anew(home, Chunk, last, sealed_ms=1)
    if lie == "none":
        opens(reader, home)
        return
    with pytest.raises(ReaderRefused, match=r"chunk number|is missing"):
        opens(reader, home)


def test_a_head_whose_chunk_has_expired(reader: Reader, small: Made) -> None:
    """A lifecycle rule may let chunks expire whose day has its page: the page lists them."""
    home = small.home.fork()
    home.seal(random_readings(24 - (home.end - home.start + 6) % 24, LANES))
    assert home.end % 24 == 0
    right = truth(home, small.hours)
    drop(home, *chunks(home))
    opens(reader, home)
    grant(reader, home, small.hours)
    assert windows(reader) == right
    page = pages(home, "day")[-1]
    signed_anew(home, Page, page, children=(bytes(32),))
    with pytest.raises(ReaderRefused, match="is missing"):
        opens(reader, home)


def test_a_month_so_far_stands_for_its_days(reader: Reader, whole: Made) -> None:
    """One object in place of the pages of the month's days, but the last, which the chunks after it follow;
    the days where there is none."""
    home = whole.home.fork()
    month = pages(home, "so-far")[-1][-15:-8]
    days = [key for key in pages(home, "day") if month in key]
    right = truth(home, whole.hours)
    for so_far, read in ((pages(home, "so-far")[-1:], days[-1:]), ([], days)):
        opens(reader, home)
        reader("asked")
        grant(reader, home, whole.hours)
        assert windows(reader) == right
        asked = reader("asked")
        assert [key for key in pages(home, "so-far") if key in asked] == so_far
        assert [key for key in days if key in asked] == read
        drop(home, *pages(home, "so-far"))


def test_tokens_so_far_stand_for_those_of_their_days(reader: Reader, whole: Made) -> None:
    """One bundle, which no list gives, in place of those of the month's days, where most of it is asked for;
    the days' where there is none, and for a few days."""
    home = whole.home.fork()
    right = truth(home, whole.hours)
    so_far = tokens_so_far(home, whole.hours)
    days = names.bundles(home.id, whole.hours.id, "day")
    few = right[-30]["start"]
    for from_ms, asked_for, listed in ((0, so_far[-1:], False), (few, [], True), (0, so_far[-1:], True)):
        opens(reader, home)
        reader("asked")
        grant(reader, home, whole.hours)
        assert windows(reader, from_ms) == [one for one in right if from_ms <= one["start"]]
        asked = reader("asked")
        assert [key for key in so_far if key in asked] == asked_for
        assert any(key.startswith(days) for key in asked) is listed
        if from_ms:
            drop(home, *so_far)


# --- a store that changes what it holds


def tokens_so_far(home: Home, which: Grant) -> list[str]:
    prefix = names.tokens_so_far(home.id, which.id, 0).rpartition("/")[0]
    return sorted(key for key in home.objects if key.startswith(prefix))


def with_other_tokens_so_far(change: Callable[[Tokens], Tokens]) -> Callable[[Home], None]:
    """The last of each grant changed, as the gateway itself could have signed them."""

    def changed(home: Home) -> None:
        of_grants = {key.rpartition("/")[0]: key for key in sorted(home.objects) if "/so-far/" in key}
        for key in (key for folder, key in of_grants.items() if "/grant/" in folder):
            found = Tokens.read(home.objects[key], home.signer.public, key)
            home.objects[key] = home.signer.sign(change(found))

    return changed


def chunks(home: Home) -> list[str]:
    return sorted(key for key in home.objects if "/chunk/" in key)


def pages(home: Home, span: str) -> list[str]:
    return sorted(key for key in home.objects if key.startswith(names.pages(home.id, span)))


def signed_anew(home: Home, kind: type[Page] | type[Chunk], key: str, **changes: Any) -> None:
    """The object under `key` with other content, as the gateway itself could have signed it."""
    found = kind.read(home.objects[key], home.signer.public, key)
    home.objects[key] = home.signer.sign(replace(found, **changes))


def one_more(sums: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return (*sums[:-1], bytes([sums[-1][0] ^ 1]) + sums[-1][1:])


def ends_otherwise(home: Home, key: str) -> tuple[bytes, ...]:
    found = SoFar.read(home.objects[key], home.signer.public, key)
    return (*found.children[:-1], bytes(32))


def other_sums_of_day(home: Home, key: str) -> None:
    """Of the last step, which the last day has too."""
    found = SoFar.read(home.objects[key], home.signer.public, key)
    lanes = tuple(lane[:-8] + bytes([lane[-8] ^ 1]) + lane[-7:] for lane in found.sums)
    signed_anew(home, SoFar, key, sums=lanes)


def page_of(home: Home, key: str) -> Page:
    return Page.read(home.objects[key], home.signer.public, key)


def swap(home: Home, a: str, b: str) -> None:
    home.objects[a], home.objects[b] = home.objects[b], home.objects[a]


def drop(home: Home, *keys: str) -> None:
    for key in keys:
        del home.objects[key]


def copy(home: Home, key: str, to: str) -> None:
    home.objects[to] = home.objects[key]


def cut(home: Home, key: str) -> None:
    home.objects[key] = home.objects[key][:-1]


class Memory(dict[str, bytes]):
    """A bucket that is only read."""

    async def get(self, key: str) -> bytes:  # type: ignore[override]
        try:
            return self[key]
        except KeyError:
            raise NotFound(key) from None

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        for key in sorted(self):
            if key.startswith(prefix) and key > after:
                yield key


def problems(home: Home) -> list[Problem]:
    """What the Python reader finds wrong."""
    found: list[Problem] = []
    bucket = cast(Bucket, Memory(home.objects))
    asyncio.run(verify(bucket, home.id, home.signer.kid, None, found.append, lambda _: None))
    return found


LIES: dict[str, Callable[[Home], None]] = {
    "a swapped chunk": lambda home: swap(home, *chunks(home)[3:5]),
    "a chunk that is missing": lambda home: drop(home, chunks(home)[100]),
    "the first chunk is missing": lambda home: drop(home, chunks(home)[0]),
    "the last chunk is missing": lambda home: drop(home, chunks(home)[-1]),
    "a chunk that is cut": lambda home: cut(home, chunks(home)[7]),
    "a chunk of another history": lambda home: signed_anew(home, Chunk, chunks(home)[50], previous=bytes(32)),
    "a chunk of another number": lambda home: signed_anew(home, Chunk, chunks(home)[50], seq=51),
    "an incarnation that comes back": lambda home: signed_anew(home, Chunk, chunks(home)[-1], incarnation=1),
    "a missing day page": lambda home: drop(home, pages(home, "day")[5]),
    "a missing month page": lambda home: drop(home, pages(home, "month")[0]),
    "a day's other sum": lambda home: signed_anew(
        home, Page, pages(home, "day")[-1], sums=one_more(page_of(home, pages(home, "day")[-1]).sums)
    ),
    "the last day's page made again": lambda home: signed_anew(home, Page, pages(home, "day")[-1]),
    "a month's other sum": lambda home: signed_anew(
        home, Page, pages(home, "month")[-1], sums=one_more(page_of(home, pages(home, "month")[-1]).sums)
    ),
    "a day's other child": lambda home: signed_anew(
        home, Page, pages(home, "day")[-1], children=(bytes(32),)
    ),
    "a page that follows another": lambda home: signed_anew(
        home, Page, pages(home, "day")[9], previous=bytes(32)
    ),
    "a month so far with another sum": lambda home: other_sums_of_day(home, pages(home, "so-far")[3]),
    "a month so far of other days": lambda home: signed_anew(
        home, SoFar, one := pages(home, "so-far")[-2], children=ends_otherwise(home, one)
    ),
    "a month so far that follows another": lambda home: signed_anew(
        home, SoFar, pages(home, "so-far")[-1], previous=bytes(32)
    ),
    "a month so far that is cut": lambda home: cut(home, pages(home, "so-far")[2]),
    "a page of another day": lambda home: copy(home, pages(home, "day")[5], pages(home, "day")[6]),
    "a strange page": lambda home: copy(home, pages(home, "day")[5], names.page(home.id, "2026-02-30")),
    "a strange name": lambda home: copy(home, pages(home, "day")[5], names.pages(home.id, "day") + "x"),
    "a page beyond the calendar": lambda home: copy(
        home, pages(home, "day")[5], names.page(home.id, "9999-12-31")
    ),
    **{
        f"a month so far under {name}": lambda home, name=name: copy(  # type: ignore[misc]
            home, pages(home, "so-far")[1], names.pages(home.id, "so-far") + name
        )
        for name in ("2026-02-30.cose", "2031-05-05.cose", "2031-05-31.cose", "9999-12-31.cose", "x")
    },
    "no head": lambda home: drop(home, names.head(home.id)),
    "a head that is cut": lambda home: cut(home, names.head(home.id)),
    "no descriptor": lambda home: drop(home, names.descriptor(home.id)),
    "a chunk where the head belongs": lambda home: copy(home, chunks(home)[-1], names.head(home.id)),
}


def of_today(home: Home, n: int) -> str:
    """A chunk of the day that is not over, from the last one back."""
    return chunks(home)[-n]


def other_sums(home: Home, key: str) -> None:
    signed_anew(home, Page, key, sums=one_more(page_of(home, key).sums))


def without_so_far(change: Callable[[Home], None]) -> Callable[[Home], None]:
    """The change in a store whose gateway made no sums of months so far, or whose lifecycle rule has taken
    them: the pages of days are read."""

    def both(home: Home) -> None:
        drop(home, *pages(home, "so-far"))
        change(home)

    return both


# What changes after a reader opened a stream, in what it asks for only then: the grant that it opens, up to
# which day of May, what it says, and what changes.
Lie = tuple[str, int | None, str, Callable[[Home], None]]
LATER: dict[str, Lie] = {
    "a chunk is missing": ("odd", None, "must come number", lambda home: drop(home, of_today(home, 2))),
    "the last chunk is missing": ("odd", None, "is missing", lambda home: drop(home, of_today(home, 1))),
    "the day's chunks are missing": ("odd", None, "is missing", lambda home: drop(home, *chunks(home)[-5:])),
    "another chunk before one": (
        "odd",
        None,
        "made to follow",
        lambda home: signed_anew(home, Chunk, of_today(home, 2), sealed_ms=1),
    ),
    "another last chunk": (
        "odd",
        None,
        "is not the chunk number",
        lambda home: signed_anew(home, Chunk, of_today(home, 1), sealed_ms=1),
    ),
    "another chunk after a page": (
        "odd",
        None,
        "of another history",
        lambda home: signed_anew(home, Chunk, of_today(home, 5), previous=bytes(32)),
    ),
    "a day with other sums": (
        "hours",
        None,
        "made to follow",
        without_so_far(lambda home: other_sums(home, pages(home, "day")[-3])),
    ),
    "another page than the head names": (
        "hours",
        None,
        "head.cose names: replaced",
        lambda home: signed_anew(home, Page, pages(home, "day")[-1]),
    ),
    "a month with other sums": (
        "hours",
        None,
        "made to follow",
        lambda home: other_sums(home, pages(home, "month")[0]),
    ),
    "another day after a month": (
        "hours",
        1,
        "of another history",
        without_so_far(lambda home: signed_anew(home, Page, pages(home, "day")[-11], previous=bytes(32))),
    ),
    "a month so far that ends with another day": (
        "hours",
        None,
        "does not end with the day that .*/head.cose names",
        lambda home: signed_anew(
            home, SoFar, last := pages(home, "so-far")[-1], children=ends_otherwise(home, last)
        ),
    ),
    "a month so far after another month": (
        "hours",
        None,
        "made to follow",
        lambda home: signed_anew(home, SoFar, pages(home, "so-far")[-1], previous=bytes(32)),
    ),
    "a month so far of the day before": (
        "hours",
        None,
        "holds the object that belongs at",
        lambda home: copy(home, *pages(home, "so-far")[-2:]),
    ),
    "a month so far with other sums": (
        "hours",
        None,
        "its sums are not those of",
        lambda home: other_sums_of_day(home, pages(home, "so-far")[-1]),
    ),
    "tokens so far that end before they say": (
        "hours",
        None,
        "says that it ends before another window",
        with_other_tokens_so_far(lambda found: replace(found, words=found.words[: len(found.words) // 2])),
    ),
    "tokens so far of another end": (
        "hours",
        None,
        "holds the object that belongs at .*/so-far/",
        with_other_tokens_so_far(lambda found: replace(found, so_far=1)),
    ),
    "tokens of a fold for those so far": (
        "hours",
        None,
        "holds the object that belongs at .*/new/",
        with_other_tokens_so_far(lambda found: replace(found, so_far=None)),
    ),
    "tokens so far of another grant": (
        "hours",
        None,
        "holds the object that belongs at",
        with_other_tokens_so_far(lambda found: replace(found, grant=bytes(16))),
    ),
    "a month's page for the month so far": (
        "hours",
        None,
        "the signature",
        lambda home: copy(home, pages(home, "month")[-1], pages(home, "so-far")[-1]),
    ),
}


@pytest.mark.parametrize("lie", LATER)
def test_a_store_that_lies_later(reader: Reader, whole: Made, lie: str) -> None:
    home = whole.home.fork()
    name, days, why, change = LATER[lie]
    opens(reader, home)
    grant(reader, home, whole.of(name))
    change(home)
    reader.holds(home.objects)
    may = 1_777_593_600_000  # 2026-05-01T00:00:00Z
    with pytest.raises(ReaderRefused, match=why):
        windows(reader, 0, FAR if days is None else may + days * 86_400_000)


def test_an_incarnation_that_comes_back(reader: Reader, whole: Made) -> None:
    home = whole.home.fork()
    home.restart()
    home.seal(random_readings(12, LANES))
    home.restart(3)
    home.seal(random_readings(12, LANES))
    opens(reader, home)
    grant(reader, home, whole.odd)
    with pytest.raises(ReaderRefused, match="ended before 4 began"):
        windows(reader)


@pytest.mark.parametrize("first", ["day", "month"])
@pytest.mark.parametrize("lie", ["sums", "list"])
def test_a_month_and_a_day_that_do_not_fit(reader: Reader, small: Made, lie: str, first: str) -> None:
    """Where a reader holds both, whichever it read first."""
    home = small.home.fork()
    month = pages(home, "month")[0]
    page = page_of(home, month)
    if lie == "sums":
        signed_anew(home, Page, month, sums=one_more(page.sums))
    else:
        signed_anew(home, Page, month, children=(bytes(32), *page.children[1:]))
    opens(reader, home)
    grant(reader, home, small.hours)
    begin = home.start * home.layout.unit_ms
    reads = {"day": (begin, begin + 86_400_000), "month": (0, begin + 25 * 86_400_000)}
    windows(reader, *reads[first])
    with pytest.raises(ReaderRefused, match=r"its sums are not|is not among the pages"):
        windows(reader, *reads["month" if first == "day" else "day"])


def test_a_bundle_that_is_missing(reader: Reader, whole: Made) -> None:
    """Tokens of later windows show it; those that were folded are not missed."""
    home = whole.home.fork()
    of_grant = names.grants(home.id) + whole.hours.id.hex()
    folds = tuple(f"{of_grant}/{fold}/" for fold in ("day", "month", names.SO_FAR))
    folded = [key for key in home.objects if key.startswith(folds)]
    fresh = sorted(key for key in home.objects if key.startswith(f"{of_grant}/new/"))
    drop(home, *folded)
    opens(reader, home)
    grant(reader, home, whole.hours)
    assert windows(reader) == truth(home, whole.hours)
    drop(home, fresh[30])
    opens(reader, home)
    grant(reader, home, whole.hours)
    with pytest.raises(ReaderRefused, match="tokens of later windows are there"):
        windows(reader)
    drop(home, *fresh[31:])
    opens(reader, home)
    grant(reader, home, whole.hours)
    found = windows(reader)
    assert found == truth(home, whole.hours)[: len(found)]
    assert found


def test_a_list_without_end(reader: Reader, whole: Made) -> None:
    opens(reader, whole.home)
    grant(reader, whole.home, whole.hours)
    reader("lists", anew=True)
    try:
        with pytest.raises(ReaderRefused, match="in their order"):
            windows(reader)
    finally:
        reader("lists", anew=False)


def test_a_bundle_that_began_long_ago(reader: Reader, whole: Made) -> None:
    """A grant that reaches into the past can be served by one bundle of all its windows."""
    home = whole.home.fork()
    late = home.grant(whole.card, "10min", ("import",))
    opens(reader, home)
    grant(reader, home, late)
    right = truth(home, late)[-100:]
    assert windows(reader, right[0]["start"]) == right


def test_edges_that_do_not_meet(reader: Reader, small: Made) -> None:
    """The windows of a calendar are what the bundles say, each of them once."""
    home = small.home.fork()
    key = sorted(key for key in home.objects if f"{small.days.id.hex()}/new/" in key)[-1]
    bundle = Tokens.read(home.objects[key], home.signer.public, key)
    assert bundle.edges is not None
    edges = tuple(edge + 1 for edge in bundle.edges)
    home.objects[key] = home.signer.sign(replace(bundle, edges=edges))
    drop(
        home,
        *[one for one in home.objects if f"{small.days.id.hex()}/day/" in one and one[-21:] >= key[-21:]],
    )
    opens(reader, home)
    grant(reader, home, small.days)
    with pytest.raises(ReaderRefused, match="edges that do not join"):
        windows(reader)


def audited(reader: Reader, home: Home) -> str | None:
    """Why the reader refuses the stream; None where it finds nothing wrong."""
    try:
        opens(reader, home)
        reader("verify")
    except ReaderRefused as error:
        return str(error)
    return None


def test_an_honest_store(reader: Reader, small: Made) -> None:
    assert audited(reader, small.home) is None
    assert problems(small.home) == []


@pytest.mark.parametrize("lie", LIES)
def test_a_store_that_lies(reader: Reader, small: Made, lie: str) -> None:
    home = small.home.fork()
    LIES[lie](home)
    assert problems(home)
    assert audited(reader, home) is not None


@pytest.mark.slow
def test_whatever_a_store_does(reader: Reader, small: Made) -> None:
    """What opens is right, and a stream is refused if and only if the Python reader finds something wrong."""
    rng = random.Random(13)
    right = {name: truth(small.home, small.of(name)) for name in ("hours", "days")}
    refused = 0
    for _ in range(25):
        home = small.home.fork()
        for _ in range(rng.choice((1, 1, 2, 5))):
            likely = rng.choice(("/day/", "/month/", "/chunk/", "grant/", ".cose"))
            a, b = rng.choices(sorted(key for key in home.objects if likely in key), k=2)
            match rng.randrange(5):
                case 0:
                    del home.objects[a]
                case 1:
                    swap(home, a, b)
                case 2:
                    home.objects[a] = home.objects[b]
                case 3:
                    cut(home, a)
                case _:
                    home.objects[a] = mutants.of_bytes(rng, home.objects[a])
        found_by_python = problems(home)
        of_grants = [one for one in found_by_python if "/grant/" in one.key]
        theirs = [one for one in found_by_python if one not in of_grants]
        assert (audited(reader, home) is None) == (not theirs), theirs
        for name, all_of_them in right.items():
            try:
                opens(reader, home)
                grant(reader, home, small.of(name))
                found = windows(reader)
            except ReaderRefused:
                refused += 1
                continue
            assert found == all_of_them[: len(found)]
            assert len(found) == len(all_of_them) or theirs or of_grants
    assert refused > 5
