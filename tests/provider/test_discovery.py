"""What is found by looking through a bucket: the homes that granted this key something, and no others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import NotFound, Refused, StoreDenied
from gateway.provider import discovery
from gateway.provider.desk import Home
from gateway.provider.discovery import find, find_listed, in_store, streams_in
from gateway.store.directory import DirectoryBucket
from gateway.store.kept import KeptBucket
from gateway.wire import names
from tests.provider.street import Street
from tests.stream.stream import START, Provider, random_readings
from tests.stream.stream import Home as Gateway


class Counting(DirectoryBucket):
    """Counts listings and gets, and may be closed to some streams."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.listings = self.gets = self.keys = 0
        self.closed: set[str] = set()

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        self.listings += 1
        async for key in super().list(prefix, after):
            self.keys += 1
            yield key

    async def get(self, key: str) -> bytes:
        self.gets += 1
        if key.split("/")[1] in self.closed:
            raise StoreDenied("the store denies it")
        return await super().get(key)


@pytest.fixture
def street(tmp_path: Path) -> Street:
    """A home that granted sums, one that granted a bill's raw units, one that granted another provider, and
    one that granted nobody."""
    street = Street.new(tmp_path)
    other = Provider.new(tmp_path / "other")
    for number in range(4):
        gateway = street.joins(Gateway())
        gateway.seal(random_readings(200))
        if number == 0:
            gateway.grant(street.provider.card, "10s", ("import",), first=START + 60)
            gateway.revoke(gateway.grant(street.provider.card, "1min"))
            gateway.grant(other.card, "1min")
        elif number == 1:
            gateway.grant(street.provider.card, "1min", kind="raw")
        elif number == 2:
            gateway.grant(other.card, "1min")
    return street


async def test_only_what_names_this_key(street: Street) -> None:
    found = await find(DirectoryBucket(street.write()), street.provider.identity)
    sums, raw = (street.gateways[number] for number in (0, 1))
    by_stream = {one.home.stream: one for one in found.homes}
    assert list(by_stream) == sorted([sums.id, raw.id])
    assert (found.failures, found.denied) == ((), 0)
    one = by_stream[sums.id]
    assert one.home == Home(sums.id, sums.signer.kid)
    assert not one.home.verified
    assert one.head is not None
    assert one.head.next_unit == START + 200
    assert [(held.grant.first, held.limit, held.revoked) for held in one.grants] == [
        (START, START + 200, True),
        (START + 60, None, False),
    ]
    assert [held.grant.kind for held in by_stream[raw.id].grants] == ["raw"]


async def test_only_sums_are_there_to_read(street: Street) -> None:
    chosen = await in_store(DirectoryBucket(street.write()), street.provider.identity, None)
    assert [home.stream for home in chosen.homes] == [street.gateways[0].id]


async def test_a_list_pins_the_signers(street: Street) -> None:
    good, _, ungranted, _ = street.homes
    wrong = Home(street.gateways[1].id, good.signer, "Mill Lane 2")
    bucket = DirectoryBucket(street.write())
    found = await find_listed(bucket, [wrong, ungranted, good], street.provider.identity)
    assert [(one.home, one.home.verified) for one in found.homes] == [(good, True)]
    [failure] = found.failures
    assert isinstance(failure.error, Refused)
    assert str(failure).startswith(f"stream {wrong.stream.hex()} (Mill Lane 2): ")
    assert "names the signing key" in str(failure)


async def test_it_takes_a_listing_for_each_stream_and_grant(street: Street) -> None:
    bucket = Counting(street.write())
    await find(bucket, street.provider.identity)
    streams, grants = 4, 5
    assert bucket.listings <= 16 + streams + streams + grants
    # two descriptors, a head, each grant, and the one revocation that a head names
    assert bucket.gets <= 3 * streams + grants + 1


async def test_progress_counts_the_streams(street: Street) -> None:
    seen: list[tuple[int, int | None]] = []
    bucket = DirectoryBucket(street.write())
    await find(bucket, street.provider.identity, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


async def test_foreign_objects_are_passed_over(street: Street) -> None:
    store = street.write()
    for key in (
        "readme.txt",
        "v1/0",
        "v1/abc/x",
        "v1/photos/cat.jpg",
        f"v1/{'F' * 32}/stream.cose",
        "v2/0/x",
    ):
        path = store / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert await streams_in(DirectoryBucket(store)) == sorted(one.id for one in street.gateways)
    found = await find(DirectoryBucket(store), street.provider.identity)
    assert (len(found.homes), found.failures) == (2, ())


@pytest.mark.parametrize("passed", [1, 2, 3, 5, 1000])
async def test_streams_of_many_objects_are_stepped_over(
    street: Street, passed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a neighbour's id differs in the last digit, and where a file has an id's beginning."""
    monkeypatch.setattr(discovery, "_PASSED", passed)
    store = street.write()
    near = ["0" * 31 + digit for digit in "0129af"]
    for name in near:
        for key in ("chunk/a", "chunk/b", "grant/c", "stream.cose"):
            path = store / "v1" / name / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    (store / "v1" / "0").write_bytes(b"x")
    bucket = Counting(store)
    expected = sorted([*map(bytes.fromhex, near), *(one.id for one in street.gateways)])
    assert await streams_in(bucket) == expected
    assert bucket.listings <= 16 + len(expected)
    assert bucket.keys <= (1 + passed) * len(expected) + 1


async def test_a_stream_that_is_broken_is_named(street: Street) -> None:
    no_descriptor, broken = street.gateways[2], street.gateways[3]
    del no_descriptor.objects[names.descriptor(no_descriptor.id)]
    broken.objects[names.descriptor(broken.id)] = b"not an object"
    found = await find(DirectoryBucket(street.write()), street.provider.identity)
    assert len(found.homes) == 2
    errors = {one.stream: type(one.error) for one in found.failures}
    assert errors == {no_descriptor.id: NotFound, broken.id: Refused}


async def test_a_grant_that_is_invalid_is_not_passed_over(street: Street) -> None:
    gateway = street.gateways[2]
    key = next(key for key in gateway.objects if key.endswith("grant.cose"))
    gateway.objects[key] = gateway.objects[key][:-1] + b"?"
    [failure] = (await find(DirectoryBucket(street.write()), street.provider.identity)).failures
    assert (failure.stream, isinstance(failure.error, Refused)) == (gateway.id, True)
    assert key in str(failure)


async def test_streams_that_the_store_denies_are_counted(street: Street) -> None:
    bucket = Counting(street.write())
    bucket.closed = {street.gateways[2].id.hex(), street.gateways[3].id.hex()}
    found = await find(bucket, street.provider.identity)
    assert (len(found.homes), found.failures, found.denied) == (2, (), 2)


async def test_what_is_kept_needs_no_trust(street: Street, tmp_path: Path) -> None:
    store = DirectoryBucket(street.write())
    before = await find(store, street.provider.identity)
    kept = KeptBucket(store, tmp_path / "kept" / "one", names.lasts)
    assert await find(kept, street.provider.identity) == before
    files = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert len(files) == 5
    for path in files:
        path.write_bytes(b"damaged")
    assert await find(kept, street.provider.identity) == before


async def test_an_empty_bucket(tmp_path: Path) -> None:
    street = Street.new(tmp_path)
    found = await find(DirectoryBucket(street.store), street.provider.identity)
    assert (found.homes, found.failures) == ((), ())
