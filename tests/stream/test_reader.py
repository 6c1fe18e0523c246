"""What a reader refuses: every object that its answer rests on, a store gone back, a store gone stale."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.errors import NotFound, Refused, RolledBack, StoreDenied, UsageError
from gateway.provider.grants import limit_of
from gateway.provider.query import Query
from gateway.store.directory import DirectoryBucket
from gateway.stream import seen
from gateway.stream.chunks import ChunkMark
from gateway.stream.grants import grants
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen
from gateway.wire import names
from gateway.wire.grant import GrantObject, Tokens, grant_body
from gateway.wire.stream import Head
from tests.provider.reading import DAY_MS, expected, read, read_raw
from tests.stream.stream import START, Home, Provider, Signer, random_readings

ONE_MINUTE = Query("1min", None, (START + 60) * 1000, (START + 120) * 1000)


@pytest.fixture
def home(provider: Provider) -> Home:
    """Six minutes in chunks of half a minute, granted by the minute, a bundle for each window."""
    home = Home()
    home.seal(random_readings(360))
    home.grant(provider.card, "1min", bundle=1)
    return home


def head_of(home: Home) -> Head:
    return Head.read(home.objects[names.head(home.id)], home.signer.public, "head")


def used(home: Home) -> list[str]:
    """The objects that ONE_MINUTE rests on."""
    bundles = sorted(key for key in home.objects if "/new/" in key)
    small = [key for key in home.objects if key.endswith(("stream.cose", "head.cose", "grant.cose"))]
    return [*small, *home.chunks[2:4], home.chunks[-1], bundles[1]]


def test_a_part_is_read_without_the_rest(home: Home, provider: Provider) -> None:
    kept = set(used(home))
    home.objects = {key: data for key, data in home.objects.items() if key in kept}
    answer = read(home, provider, ONE_MINUTE)
    assert len(answer.rows) == 1
    expected(home, answer)


@pytest.mark.slow
@settings(max_examples=60)
@given(data=st.data())
def test_any_flipped_bits_are_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    provider = Provider.new(tmp_path_factory.mktemp("provider") / "acme")
    home = Home()
    home.seal(random_readings(180))
    home.grant(provider.card, "1min", bundle=1)
    key = data.draw(st.sampled_from(sorted(used(home))))
    changed = bytearray(home.objects[key])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    home.objects[key] = bytes(changed)
    with pytest.raises(Refused) as refusal:
        read(home, provider, ONE_MINUTE)
    assert key in str(refusal.value)
    assert refusal.value.kind == "refused"


def drop(home: Home, key: str) -> None:
    del home.objects[key]


def swap_with_next(home: Home, key: str) -> None:
    other = sorted(home.objects)[sorted(home.objects).index(key) + 1]
    home.objects[key], home.objects[other] = home.objects[other], home.objects[key]


def sign_with_another_key(home: Home, key: str) -> None:
    home.signer, kept = Signer(), home.signer
    other = home.fork()
    other.objects, other.chunks, other.runs, other.end = (
        dict.fromkeys(home.objects, b""),
        [],
        [],
        home.start,
    )
    other.seal(random_readings(360))
    home.objects[key], home.signer = other.objects[key], kept


@pytest.mark.parametrize("change", [drop, swap_with_next, sign_with_another_key])
@pytest.mark.parametrize("i", [2, 3, 11])
def test_a_chunk_that_is_needed(
    change: Callable[[Home, str], None], i: int, home: Home, provider: Provider
) -> None:
    key = home.chunks[i]
    change(home, key)
    with pytest.raises(Refused) as refusal:
        read(home, provider, ONE_MINUTE)
    if (change, i) != (drop, 11):  # the head names its chunk by number: the key is in the chunk alone
        assert key in str(refusal.value)


@pytest.mark.parametrize("dropped", [[4], [5], [4, 5], [5, 6], [4, 5, 6, 7]])
def test_a_hole_is_named_by_its_first_chunk(dropped: list[int], home: Home, provider: Provider) -> None:
    for i in dropped:
        del home.objects[home.chunks[i]]
    with pytest.raises(Refused, match=f"{home.chunks[dropped[0]]} is missing"):
        read(home, provider)


def test_a_hole_inside_a_link_where_reading_begins(provider: Provider) -> None:
    home = Home(chunk_units=10)
    home.seal(random_readings(180))
    home.grant(provider.card, "10s")
    missing = home.chunks[8]
    del home.objects[missing]
    for first in (80, 60, 70):
        with pytest.raises(Refused, match=f"{missing} is missing"):
            read(home, provider, Query("10s", None, (START + first) * 1000, (START + 100) * 1000))


def test_chunks_of_another_history_do_not_join(home: Home, provider: Provider) -> None:
    """The gateway signed each of them, and only the digests tell that they do not belong together."""
    other = home.fork()
    for fork in (home, other):
        fork.seal(random_readings(120))
    home.objects[home.chunks[12]] = other.objects[home.chunks[12]]
    with pytest.raises(Refused, match=home.chunks[12]):
        read(home, provider)


class TestTokens:
    def test_one_missing_in_between(self, home: Home, provider: Provider) -> None:
        bundles = sorted(key for key in home.objects if "/new/" in key)
        for i in (0, 1, 3):
            tampered = home.fork()
            del tampered.objects[bundles[i]]
            with pytest.raises(Refused, match=f"{bundles[i]} is missing"):
                read(tampered, provider)

    def test_one_of_another_window(self, home: Home, provider: Provider) -> None:
        bundles = sorted(key for key in home.objects if "/new/" in key)
        home.objects[bundles[2]] = home.objects[bundles[1]]
        with pytest.raises(Refused, match=f"{bundles[2]} holds the object that belongs at {bundles[1]}"):
            read(home, provider)

    def test_one_of_another_grant(self, home: Home, provider: Provider) -> None:
        bundles = sorted(key for key in home.objects if "/new/" in key)
        other = home.fork()
        grant = other.grant(provider.card, "1min", bundle=1)
        own = names.bundle(home.id, grant.id, 2)
        home.objects[bundles[2]] = other.objects[own]
        with pytest.raises(Refused, match=f"{bundles[2]} holds the object that belongs at {own}"):
            read(home, provider)

    def test_one_that_does_not_open(self, home: Home, provider: Provider) -> None:
        """The gateway signed it, under a key that is not the window's."""
        grant = home.grant(provider.card, "1min", kind="raw", bundle=1)
        key = names.bundle(home.id, grant.id, 2)
        other = home.fork()
        wrong = other.grant(provider.card, "1min", kind="raw", bundle=1)
        tokens = tokens_of(other, names.bundle(home.id, wrong.id, 2))
        home.objects[key] = home.signer.sign(replace(tokens, grant=grant.id))
        with pytest.raises(Refused, match=f"{key}: the token for units .* does not open"):
            read_raw(home, provider)

    def test_one_of_another_number_of_lanes(self, home: Home, provider: Provider) -> None:
        key = sorted(key for key in home.objects if "/new/" in key)[2]
        tokens = tokens_of(home, key)
        assert isinstance(tokens.words, bytes)
        home.objects[key] = home.signer.sign(replace(tokens, words=tokens.words + bytes(8)))
        with pytest.raises(Refused, match=f"{key} holds tokens of another length than its grant's 2 lanes"):
            read(home, provider)


def tokens_of(home: Home, key: str) -> Tokens:
    return Tokens.read(home.objects[key], home.signer.public, key)


class TestPinning:
    def test_another_signer_than_the_registered_one(self, home: Home, provider: Provider) -> None:
        home.signer = Signer()
        with pytest.raises(Refused, match=r"stream\.cose names the signing key"):
            read(home, provider)

    def test_another_streams_descriptor(self, home: Home, provider: Provider) -> None:
        other = Home(signer=home.signer)
        home.objects[names.descriptor(home.id)] = other.objects[names.descriptor(other.id)]
        key, own = names.descriptor(home.id), names.descriptor(other.id)
        with pytest.raises(Refused, match=f"^{key} holds the object that belongs at {own}: copied or moved$"):
            read(home, provider)

    def test_no_descriptor(self, home: Home, provider: Provider) -> None:
        del home.objects[names.descriptor(home.id)]
        with pytest.raises(Refused, match=r"stream\.cose is missing"):
            read(home, provider)
        home.objects = {}
        with pytest.raises(NotFound, match=f"holds no stream {home.id.hex()}"):
            read(home, provider)


class TestAGrant:
    def test_another_one(self, home: Home, provider: Provider) -> None:
        key = next(key for key in home.objects if key.endswith("grant.cose"))
        other = home.grant(provider.card, "10s")
        own = names.grant(home.id, other.id)
        home.objects[key] = home.objects[own]
        with pytest.raises(Refused, match=f"^{key} holds the object that belongs at {own}: copied or moved$"):
            read(home, provider)

    def test_one_of_another_stream(self, home: Home, provider: Provider) -> None:
        other = Home(signer=home.signer)
        grant = other.grant(provider.card, "1min")
        data = other.objects[names.grant(other.id, grant.id)]
        inner = GrantObject.read(data, other.signer.public, "grant")
        for found, says in (
            (inner, f"belongs at {names.grant(other.id, grant.id)}: copied or moved"),
            (replace(inner, stream=home.id), f"another stream, {other.id.hex()}"),
        ):
            tampered = home.fork()
            key = names.grant(home.id, grant.id)
            tampered.objects[key] = home.signer.sign(found)
            with pytest.raises(Refused, match=f"{key}.* {says}"):
                read(tampered, provider)

    def test_one_of_lanes_that_the_stream_has_not(self, home: Home, provider: Provider) -> None:
        grant = replace(home.grant(provider.card, "1min"), lanes=("import", "power"))
        key = names.grant(home.id, grant.id)
        found = GrantObject.read(home.objects[key], home.signer.public, key)
        home.objects[key] = home.signer.sign(replace(found, body=grant_body(grant)))
        with pytest.raises(Refused, match=f"{key} grants power, which the stream does not have"):
            read(home, provider)

    def test_somebody_elses_that_does_not_hold_is_not_passed_over(
        self, home: Home, provider: Provider, tmp_path: Path
    ) -> None:
        """It cannot be told whose it is."""
        grant = home.grant(Provider.new(tmp_path / "other").card, "10s")
        key = names.grant(home.id, grant.id)
        for data in (b"", None):
            if data is None:
                del home.objects[key]
            else:
                home.objects[key] = data
            with pytest.raises(Refused, match=key):
                read(home, provider)

    def test_a_revocation_that_does_not_hold(self, home: Home, provider: Provider) -> None:
        grant, other = home.grant(provider.card, "10s"), home.grant(provider.card, "10s")
        home.revoke(grant)
        home.revoke(other)
        key = names.revocation(home.id, grant.id)
        own = names.revocation(home.id, other.id)
        home.objects[key] = home.objects[own]
        with pytest.raises(Refused, match=f"^{key} holds the object that belongs at {own}: copied or moved$"):
            read(home, provider)

    def test_a_revocation_that_the_head_names_must_be_there(self, home: Home, provider: Provider) -> None:
        grant = home.grant(provider.card, "10s")
        home.revoke(grant)
        key = names.revocation(home.id, grant.id)
        del home.objects[key]
        with pytest.raises(Refused, match=f"^{key} is missing, and the head names its grant"):
            read(home, provider)

    @pytest.mark.parametrize("earlier", [False, True])
    @pytest.mark.parametrize("revokes", [False, True])
    def test_what_is_asked_for_of_revocations(
        self, earlier: bool, revokes: bool, home: Home, provider: Provider, tmp_path: Path
    ) -> None:
        """Those that the head names; of an earlier gateway, whose head names none, every grant's."""
        home = home.fork()
        kept, gone = home.grant(provider.card, "10s"), home.grant(provider.card, "20s")
        if revokes:
            home.revoke(gone)
        if earlier:
            home.forgets_revocations()
        bucket = Asked(home.write(tmp_path))

        async def limits() -> list[tuple[int | None, bool]]:
            reader = await StreamReader.open(bucket, home.id, home.signer.kid)
            await reader.refresh(time.time_ns() // 1_000_000, DAY_MS)
            return [await limit_of(reader, grant, reader.head) for grant in (kept, gone)]

        assert asyncio.run(limits()) == [(None, False), (home.end, True) if revokes else (None, False)]
        asked = [key for key in bucket.keys if key.endswith("revoked.cose")]
        both = [names.revocation(home.id, grant.id) for grant in (kept, gone)]
        assert asked == (both if earlier else both[1:] if revokes else [])

    def test_listing_steps_over_what_grants_hold(self, home: Home, provider: Provider) -> None:
        """With thousands of bundles, grants are found by a request each."""
        for _ in range(3):
            home.grant(provider.card, "1min", bundle=1)
        answer = read(home, provider)
        assert len(answer.sums.sources) == 4


async def refreshed(home: Home, folder: Path) -> StreamReader:
    """A reader that has checked the head, and read nothing else."""
    reader = await StreamReader.open(DirectoryBucket(home.write(folder)), home.id, home.signer.kid)
    await reader.refresh(time.time_ns() // 1_000_000, DAY_MS)
    return reader


class Asked(DirectoryBucket):
    """Notes which objects are asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.keys: list[str] = []

    async def get(self, key: str) -> bytes:
        self.keys.append(key)
        return await super().get(key)


class TestTheHead:
    def test_too_old(self, home: Home, provider: Provider) -> None:
        home.publish(time_ms=time.time_ns() // 1_000_000 - DAY_MS - 60_000)
        with pytest.raises(Refused, match=r"head\.cose is 24 h old, and may be 24 h old at most"):
            read(home, provider)

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda head: replace(head, digest=bytes(32)),
            lambda head: replace(head, seq=head.seq + 1),
            lambda head: replace(head, next_unit=head.next_unit - 1),
            lambda head: replace(head, next_unit=head.next_unit + 30),
            lambda head: replace(head, next_unit=2**64 - 1),
        ],
    )
    def test_not_what_the_chunks_say(
        self, wrong: Callable[[Head], Head], home: Home, provider: Provider
    ) -> None:
        home.objects[names.head(home.id)] = home.signer.sign(wrong(head_of(home)))
        with pytest.raises(Refused, match=r"head\.cose|calendar"):
            read(home, provider)

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda head: replace(head, digest=bytes(32)),
            lambda head: replace(head, seq=head.seq + 1),
            lambda head: replace(head, next_unit=head.next_unit - 1),
        ],
    )
    def test_not_what_a_chunk_of_the_default_length_says(
        self, wrong: Callable[[Head], Head], tmp_path: Path
    ) -> None:
        """It lies where it is looked for first."""
        home = Home(layout=Layout(1000, 3600), chunk_units=900)
        home.seal(random_readings(900))
        asyncio.run(refreshed(home, tmp_path / "store"))
        home.objects[names.head(home.id)] = home.signer.sign(wrong(head_of(home)))
        with pytest.raises(Refused, match=rf"^{home.chunks[0]} is not the chunk number . that"):
            asyncio.run(refreshed(home, tmp_path / "store"))

    @pytest.mark.parametrize("twin", [True, False])
    def test_another_chunk_of_the_default_length(self, twin: bool, tmp_path: Path) -> None:
        """Of the same number, place and length: the gateway's own from another history, or a forged one."""
        home = Home(layout=Layout(1000, 3600), chunk_units=900)
        other = home.fork()
        other.signer = home.signer if twin else Signer()
        for one in (home, other):
            one.seal(random_readings(900))
        [key] = home.chunks
        home.objects[key] = other.objects[key]
        with pytest.raises(Refused, match=rf"^{key} is (not the chunk number 0 that|signed by key)"):
            asyncio.run(refreshed(home, tmp_path / "store"))

    def test_before_the_start(self, home: Home, provider: Provider) -> None:
        home.objects[names.head(home.id)] = home.signer.sign(replace(head_of(home), next_unit=START))
        with pytest.raises(Refused, match=r"head\.cose lies before the stream's start"):
            read(home, provider)


class TestMemory:
    def test_what_was_seen_is_kept(self, home: Home, provider: Provider) -> None:
        read(home, provider, remember=True)
        head = head_of(home)
        assert Seen(provider.folder, home.id).load() == ChunkMark(head.seq, head.digest, head.next_unit)
        home.seal(random_readings(60))
        assert len(read(home, provider, remember=True).rows) == 7
        mark = Seen(provider.folder, home.id).load()
        assert mark is not None
        assert mark.seq == head.seq + 2

    def test_an_older_head(self, home: Home, provider: Provider) -> None:
        old = dict(home.objects)
        home.seal(random_readings(60))
        read(home, provider, remember=True)
        home.objects = old
        with pytest.raises(RolledBack, match=r"head\.cose ends with chunk number 11, .* older state"):
            read(home, provider, remember=True)
        expected(home, read(home, provider))

    def test_no_head_any_more(self, home: Home, provider: Provider) -> None:
        read(home, provider, remember=True)
        del home.objects[names.head(home.id)]
        with pytest.raises(RolledBack, match=r"head\.cose is missing"):
            read(home, provider, remember=True)

    def test_another_history_of_the_same_length(self, home: Home, provider: Provider) -> None:
        other = home.fork()
        home.seal(random_readings(60))
        other.seal(random_readings(60))
        read(home, provider, remember=True)
        with pytest.raises(RolledBack, match="names another chunk number 13 than was seen before"):
            read(other, provider, remember=True)

    def test_another_history_that_is_longer(self, home: Home, provider: Provider) -> None:
        other = home.fork()
        home.seal(random_readings(60))
        other.seal(random_readings(180))
        read(home, provider, remember=True)
        with pytest.raises(RolledBack, match=f"{home.chunks[-1]} is not the chunk number 13 that was seen"):
            read(other, provider, remember=True)

    @pytest.mark.parametrize("content", [b"", b"{}", bytes(4096), b"SQLite format 3\0"])
    def test_a_damaged_memory_is_a_sentence(self, content: bytes, home: Home, provider: Provider) -> None:
        (provider.folder / "seen.db").write_bytes(content)
        with pytest.raises(UsageError, match="is damaged, so a store gone back"):
            read(home, provider, remember=True)

    def test_a_memory_whose_making_is_cut_off_is_none(
        self, home: Home, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full disk leaves no file without the table, which would count as damaged."""

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(os, "link", full)
            with pytest.raises(UsageError, match=r"/seen\.db cannot be written: No space"):
                read(home, provider, remember=True)
        assert [path.name for path in provider.folder.iterdir() if "seen" in path.name] == []
        read(home, provider, remember=True)

    def test_of_two_that_make_the_memory_the_first_counts(
        self, home: Home, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mark, other, link = ChunkMark(3, bytes(32), 5), bytes(16), os.link

        def late(made: Path, path: Path) -> None:
            monkeypatch.setattr(os, "link", link)
            seen.save_all(provider.folder, {other: mark})
            link(made, path)

        monkeypatch.setattr(os, "link", late)
        read(home, provider, remember=True)
        assert seen.load_all(provider.folder, [other, home.id]).keys() == {other, home.id}
        assert [path.name for path in provider.folder.iterdir() if "seen" in path.name] == ["seen.db"]


def test_sums_of_ciphertexts_show_no_reading(home: Home, tmp_path: Path) -> None:
    """What the store's owner can add up is not what was measured."""

    async def ciphertexts() -> int:
        from gateway.stream.chunks import ChainFollower

        bucket = DirectoryBucket(home.write(tmp_path))
        reader = await StreamReader.open(bucket, home.id, home.signer.kid)
        await reader.refresh(time.time_ns() // 1_000_000, DAY_MS)
        c = await reader.sums([START, START + 60], ["import"], ChainFollower(reader.descriptor, {}))
        return int(c[0, 0])

    assert asyncio.run(ciphertexts()) != home.truth("import", START, START + 60) % 2**64


def test_grants_that_are_named_are_read_without_a_list(
    home: Home, provider: Provider, tmp_path: Path
) -> None:
    """As by a provider whose credentials reach its own grants only: others are not looked at, and one of its
    own that is gone is named."""

    class Unlisted(DirectoryBucket):
        def list(self, prefix: str, after: str = "") -> AsyncGenerator[str, None]:
            raise StoreDenied(f"{prefix} may not be listed")

    home = home.fork()
    own, other = (home.grant(provider.card, "1min") for _ in range(2))
    home.objects[names.grant(home.id, other.id)] += b"x"

    async def found(*ids: bytes, only: list[bytes] | None = None) -> list[Grant]:
        bucket = Unlisted(home.write(tmp_path))
        reader = await StreamReader.open(bucket, home.id, home.signer.kid, grants=ids)
        return [grant async for _, _, grant in grants(reader, only)]

    assert asyncio.run(found(own.id)) == asyncio.run(found(own.id, other.id, only=[own.id])) == [own]
    with pytest.raises(Refused, match=names.grant(home.id, other.id)):
        asyncio.run(found(own.id, other.id))
    gone = bytes(16)
    with pytest.raises(Refused, match=r"is missing: the store holds no such grant, and was expected to"):
        asyncio.run(found(own.id, gone))
