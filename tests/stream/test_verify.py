"""Whatever is done to a stored object, `verify` names that object, and goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import NotFound, Refused
from gateway.provider.query import Query
from gateway.stream.chunks import ChainFollower
from gateway.stream.seen import Seen
from gateway.wire import cose, names
from gateway.wire.grant import GrantObject, Tokens
from gateway.wire.stream import Chunk, Head
from tests.provider.reading import expected, problems, read, tally_of
from tests.stream.stream import START, Home, Provider, Signer, random_readings

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Eleven chunks under two incarnations, two grants with several bundles, one of them revoked."""
    provider = Provider.new(tmp_path_factory.mktemp("provider") / "acme")
    home = Home()
    home.seal(random_readings(100))
    revoked = home.grant(provider.card, "10s", ("export",), bundle=3)
    home.grant(provider.card, "30s")
    home.restart()
    home.seal(random_readings(90))
    home.revoke(revoked)
    home.seal(random_readings(80))
    return home


@pytest.fixture
def home(whole: Home) -> Home:
    """The same, to tamper with."""
    return whole.fork()


def keys(home: Home, part: str) -> list[str]:
    return sorted(key for key in home.objects if part in key)


def named(home: Home) -> set[str]:
    return {problem.key for problem in problems(home)}


def test_everything_holds(home: Home) -> None:
    assert problems(home) == []
    tally = tally_of(home)
    assert (tally.chunks, tally.units, tally.incarnations, tally.grants) == (11, 270, 2, 2)
    assert tally.bundles == len(keys(home, "/new/"))
    assert tally.head is not None
    assert tally.head.next_unit == START + 270


def test_an_empty_stream_holds(home: Home) -> None:
    assert problems(Home()) == []


def test_no_stream(home: Home) -> None:
    home.objects = {}
    with pytest.raises(NotFound, match="the store holds no stream"):
        problems(home)


@pytest.mark.slow
@settings(max_examples=150)
@given(data=st.data())
def test_any_flipped_bits_are_named(data: st.DataObject, whole: Home) -> None:
    home = whole.fork()
    key = data.draw(st.sampled_from(sorted(whole.objects)))
    changed = bytearray(whole.objects[key])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    home.objects = whole.objects | {key: bytes(changed)}
    assert named(home) == {key}


@pytest.mark.slow
@settings(max_examples=40)
@given(data=st.data())
def test_any_cut_or_extended_object_is_named(data: st.DataObject, whole: Home) -> None:
    home = whole.fork()
    key = data.draw(st.sampled_from(sorted(whole.objects)))
    old = whole.objects[key]
    new = data.draw(st.one_of(st.integers(0, len(old) - 1).map(lambda n: old[:n]), st.just(old + b"\0")))
    home.objects = whole.objects | {key: new}
    assert named(home) == {key}


@pytest.mark.slow
@settings(max_examples=80)
@given(data=st.data())
def test_any_object_in_anothers_place_is_named(data: st.DataObject, whole: Home) -> None:
    home = whole.fork()
    to, source = data.draw(
        st.lists(st.sampled_from(sorted(whole.objects)), min_size=2, max_size=2, unique=True)
    )
    home.objects = whole.objects | {to: whole.objects[source]}
    assert named(home) == {to}


@pytest.mark.slow
@settings(max_examples=60)
@given(data=st.data())
def test_any_two_swapped_objects_are_named(data: st.DataObject, whole: Home) -> None:
    home = whole.fork()
    a, b = data.draw(st.lists(st.sampled_from(sorted(whole.objects)), min_size=2, max_size=2, unique=True))
    home.objects = whole.objects | {a: whole.objects[b], b: whole.objects[a]}
    # Without its descriptor nothing of a stream can be told.
    descriptor = names.descriptor(whole.id)
    assert named(home) == ({descriptor} if descriptor in (a, b) else {a, b})


@pytest.mark.slow
def test_each_dropped_object_is_named(whole: Home) -> None:
    for key in whole.objects:
        home = whole.fork()
        home.objects = {other: data for other, data in whole.objects.items() if other != key}
        assert named(home) == {key}


def test_a_dropped_revocation_leaves_tokens_missing(home: Home) -> None:
    """Where the head does not name the grant."""
    home.forgets_revocations()
    assert problems(home) == []
    [key] = keys(home, "revoked.cose")
    del home.objects[key]
    [problem] = problems(home)
    assert problem.key.startswith(key.removesuffix("revoked.cose"))
    assert "is missing" in problem.text


def test_a_dropped_folder_of_a_revoked_grant_is_named(home: Home) -> None:
    [key] = keys(home, "revoked.cose")
    for other in keys(home, key.removesuffix("revoked.cose")):
        del home.objects[other]
    [problem] = problems(home)
    assert problem.text == f"{key} is missing, and the head names its grant among those that were revoked"


def test_a_revocation_younger_than_the_head_is_no_problem(home: Home) -> None:
    """It leaves before the head that names its grant."""
    key = names.head(home.id)
    head = Head.read(home.objects[key], home.signer.public, key)
    home.objects[key] = home.signer.sign(replace(head, revoked=()))
    assert problems(home) == []


def test_a_grant_that_is_younger_than_the_head_may_lack_tokens(home: Home, provider: Provider) -> None:
    head = Head.read(home.objects[names.head(home.id)], home.signer.public, "head")
    grant = home.grant(provider.card, "10s", issued_ms=head.time_ms + 1)
    bundle = home.objects.pop(names.bundle(home.id, grant.id, 0))
    assert problems(home) == []
    home.publish(head.time_ms + 2)
    assert named(home) == {names.bundle(home.id, grant.id, 0)}
    home.objects[names.bundle(home.id, grant.id, 0)] = bundle
    assert problems(home) == []


@pytest.mark.parametrize(
    ("number", "value"), [(6, "Europe/Atlantis"), (10, "sums"), (4, ["import", "import"]), (12, "soon")]
)
def test_a_grant_that_does_not_decode_does_not_stop_the_rest(number: int, value: object, home: Home) -> None:
    """Its own bundles are still checked, and so is all that comes after it in the order of keys."""
    grants = keys(home, "grant.cose")
    first = GrantObject.read(home.objects[grants[0]], home.signer.public, grants[0])
    body = cose.encode({**cose.decode(first.body, "body"), 5: "day", number: value})
    home.objects[grants[0]] = home.signer.sign(replace(first, body=body))
    assert named(home) == {grants[0]}
    broken = [keys(home, f"{key.removesuffix('grant.cose')}new/")[-1] for key in grants]
    for key in broken:
        home.objects[key] = home.objects[key][:-1]
    assert named(home) == {grants[0], *broken}


@pytest.mark.slow
def test_bundles_may_overlap(home: Home, provider: Provider) -> None:
    """A gateway whose ledger was restored may cut what it serves another way: a token is the same in
    each bundle."""
    grant = home.grant(provider.card, "10s", bundle=9)
    for j, count in ((10, 1), (11, 3), (14, 4)):
        home.put_bundle(grant.id, j, j + count)
    assert problems(home) == []
    for first in range(0, 270, 10):
        answer = read(home, provider, Query("10s", None, (START + first) * 1000))
        assert len(answer.rows) == 27 - first // 10
        expected(home, answer)


@pytest.mark.parametrize("dropped", [(0, 1), (3, 4, 5), (9, 10), (0, 10), (2, 4, 6)])
def test_several_dropped_chunks(dropped: tuple[int, ...], home: Home) -> None:
    for i in dropped:
        del home.objects[home.chunks[i]]
    found = problems(home)
    begins = [i for i in dropped if i - 1 not in dropped]
    assert [problem.key for problem in found] == [home.chunks[i] for i in begins]
    runs = [next(n for n in range(1, 12) if i + n not in dropped) for i in begins]
    for problem, run in zip(found, runs, strict=True):
        assert f"the chunks' numbers leave out {run} chunk" in problem.text


def test_it_goes_on_after_the_first(home: Home) -> None:
    flipped, dropped, replaced = home.chunks[1], home.chunks[4], home.chunks[7]
    home.objects[flipped] = home.objects[flipped][:-1] + bytes([home.objects[flipped][-1] ^ 1])
    del home.objects[dropped]
    home.objects[replaced] = home.objects[home.chunks[2]]
    head = names.head(home.id)
    home.objects[head] = home.objects[flipped]
    assert named(home) == {flipped, dropped, replaced, head}
    assert len(problems(home)) == 4


def test_dropped_beside_tampered(home: Home) -> None:
    home.objects[home.chunks[3]] = b"\0"
    del home.objects[home.chunks[4]]
    del home.objects[home.chunks[5]]
    first, second = problems(home)
    assert first.key == home.chunks[3]
    assert f"after {home.chunks[2]} 2 chunks more are missing" in second.text


class TestWhoeverMadeIt:
    @pytest.fixture(params=["stream", "head", "chunk", "grant", "bundle", "revocation"])
    def key(self, request: pytest.FixtureRequest, home: Home) -> str:
        """One object of each kind."""
        part = {"chunk": "/chunk/", "bundle": "/new/", "grant": "grant.cose", "revocation": "revoked.cose"}
        return keys(home, part.get(request.param, f"/{request.param}.cose"))[-1]

    def test_not_signed(self, key: str, home: Home) -> None:
        kid, payload, _ = cose.payload_unchecked(home.objects[key], "test")
        for unsigned in (payload, cose.assemble(kid, payload, bytes(64))):
            home.objects[key] = unsigned
            assert named(home) == {key}

    def test_signed_by_another_key(self, key: str, home: Home) -> None:
        _, payload, _ = cose.payload_unchecked(home.objects[key], "test")
        other = Signer()
        as_other = _resigned(other, payload, _type_of(key))
        kid, _, signature = cose.payload_unchecked(as_other, "test")
        home.objects[key] = as_other
        assert named(home) == {key}
        home.objects[key] = cose.assemble(home.signer.kid, payload, signature)  # and claiming to be ours
        assert kid != home.signer.kid
        assert named(home) == {key}

    def test_signed_as_another_type(self, key: str, home: Home) -> None:
        _, payload, _ = cose.payload_unchecked(home.objects[key], "test")
        for type_string in {"gw1/stream", "gw1/chunk", "gw1/head", "gw1/grant", "gw1/price"} - {
            _type_of(key)
        }:
            home.objects[key] = _resigned(home.signer, payload, type_string)
            assert named(home) == {key}

    def test_of_another_stream_of_the_same_gateway(self, key: str, home: Home, provider: Provider) -> None:
        other = Home(signer=home.signer)
        other.seal(random_readings(270))
        grant = other.grant(provider.card, "10s")
        other.revoke(grant)
        other_key = {
            "gw1/stream": names.descriptor(other.id),
            "gw1/head": names.head(other.id),
            "gw1/chunk": other.chunks[-1],
            "gw1/grant": names.grant(other.id, grant.id),
            "gw1/tokens": names.bundle(other.id, grant.id, 0),
            "gw1/revoked": names.revocation(other.id, grant.id),
        }[_type_of(key)]
        home.objects[key] = other.objects[other_key]
        [problem] = problems(home)
        assert problem.key == key
        assert other.id.hex() in problem.text or grant.id.hex() in problem.text


def _type_of(key: str) -> str:
    if "/chunk/" in key:
        return "gw1/chunk"
    if "/new/" in key:
        return "gw1/tokens"
    name = key.rpartition("/")[2].removesuffix(".cose")
    return {"stream": "gw1/stream", "head": "gw1/head", "grant": "gw1/grant", "revoked": "gw1/revoked"}[name]


def _resigned(signer: Signer, payload: bytes, type_string: str) -> bytes:
    class Raw:
        TYPE: ClassVar[str] = type_string

        def payload(self) -> bytes:
            return payload

    return signer.sign(Raw())


def _chunk_at(home: Home, i: int) -> Chunk:
    return Chunk.read(home.objects[home.chunks[i]], home.signer.public, "chunk")


@pytest.mark.parametrize("i", [0, 1, 5, 10])
def test_a_signature_in_its_other_form_is_refused(i: int, home: Home) -> None:
    """(r, -s) verifies where (r, s) does: only the rule that s is low keeps it from being another object."""
    key = home.chunks[i]
    kid, payload, signature = cose.payload_unchecked(home.objects[key], "chunk")
    s = P256_ORDER - int.from_bytes(signature[32:], "big")
    home.objects[key] = cose.assemble(kid, payload, signature[:32] + s.to_bytes(32, "big"))
    message = cose.to_be_signed("gw1/chunk", kid, payload)
    twin = encode_dss_signature(int.from_bytes(signature[:32], "big"), s)
    home.signer.key.public_key().verify(twin, message, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(Refused, match="the signature of chunk does not fit"):
        _chunk_at(home, i)
    assert named(home) == {key}


@pytest.mark.parametrize("i", [0, 1, 5, 10])
def test_another_chunk_that_the_gateway_signed_for_the_same_place(i: int, home: Home) -> None:
    """As a ledger that was rolled back could make it seal again."""
    chunk = _chunk_at(home, i)
    home.objects[home.chunks[i]] = home.signer.sign(replace(chunk, sealed_ms=chunk.sealed_ms + 1))
    assert named(home) == {home.chunks[i]}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda chunk: replace(chunk, previous=bytes(32)), "was made to follow"),
        (lambda chunk: replace(chunk, seq=chunk.seq + 1), "must come number 5 at unit"),
        (lambda chunk: replace(chunk, seq=chunk.seq - 1), "must come number 5 at unit"),
        (lambda chunk: replace(chunk, lanes=chunk.lanes[:1]), "holds 1 lanes; the stream has 2"),
        (lambda chunk: replace(chunk, count=61, lanes=(bytes(61 * 8),) * 2), "across the border of a link"),
        (lambda chunk: replace(chunk, incarnation=0), "in incarnation 0, which ended before 2 began"),
    ],
)
def test_a_chunk_that_breaks_a_rule(change: Callable[[Chunk], Chunk], text: str, home: Home) -> None:
    """A gateway gone wrong: everything from there on is made to follow."""
    chunks = [_chunk_at(home, i) for i in range(11)]
    for i in range(5, 11):
        previous = cose.digest(home.objects[home.chunks[i - 1]])
        chunk = replace(chunks[i], previous=previous)
        home.objects[home.chunks[i]] = home.signer.sign(change(chunk) if i == 5 else chunk)
    home.publish()
    found = problems(home)
    assert any(text in problem.text and home.chunks[5] in problem.text for problem in found)


def test_a_chunk_inside_another(home: Home) -> None:
    """The chain goes on from the one that was there first."""
    inside = replace(_chunk_at(home, 4), first=START + 70, count=3, lanes=(bytes(24),) * 2)
    key = names.chunk(home.id, START + 70, 1000)
    home.objects[key] = home.signer.sign(inside)
    [problem] = problems(home)
    assert problem.text == f"{key} begins inside {home.chunks[2]}, which reaches to unit {START + 90}"


def test_a_chunk_that_is_another_when_it_is_read_again(home: Home) -> None:
    """A window may end inside a chunk, which is then read twice."""
    chunk = _chunk_at(home, 4)
    again = replace(chunk, sealed_ms=chunk.sealed_ms + 1)
    follower = ChainFollower(home.descriptor, {})
    assert follower.follow(home.chunks[4], chunk, home.signer.sign(chunk)) == []
    data = home.signer.sign(again)
    [problem] = follower.fork().follow(home.chunks[4], again, data)
    assert problem.text == f"{home.chunks[4]} has changed since it was read the last time"


def test_a_chunk_from_before_the_start(home: Home) -> None:
    chunk = replace(_chunk_at(home, 0), first=START - 60)
    key = names.chunk(home.id, START - 60, 1000)
    home.objects[key] = home.signer.sign(chunk)
    [problem] = problems(home)
    assert problem.text == f"{key} begins before the stream's start, unit {START}"


def test_software_incarnations_have_no_order_but_never_return() -> None:
    home = Home(assurance="software")
    for incarnation in (9, 3, 7):
        home.restart(incarnation)
        home.seal(random_readings(30))
    assert problems(home) == []
    home.restart(9)
    home.seal(random_readings(30))
    [problem] = problems(home)
    assert problem.key == home.chunks[3]
    assert "incarnation 9, which ended before 7 began" in problem.text


@pytest.mark.parametrize("returns", [False, True])
def test_a_follower_goes_on_where_another_stopped(returns: bool) -> None:
    """After any chunk, by what it says of itself: it finds what one that walks all of the chain finds."""
    home = Home(assurance="software")
    for incarnation in (1, 2, 1 if returns else 3):
        home.restart(incarnation)
        home.seal(random_readings(60))
    follower = ChainFollower.from_start(home.descriptor, home.objects[names.descriptor(home.id)], {})
    found = []
    for i, key in enumerate(home.chunks):
        found += follower.follow(key, _chunk_at(home, i), home.objects[key])
        follower = ChainFollower(home.descriptor, {}, *follower.stopped)
    assert [problem.key for problem in found] == [home.chunks[4]] * returns
    assert follower.incarnations == 3 - returns


@pytest.mark.parametrize(
    "name", ["chunk/2026-03-01/junk.cose", "chunk/x", "chunk/2026-03-01/ffffffffffffffff.cose"]
)
def test_a_chunk_too_many_is_named_and_harms_no_other(name: str, home: Home) -> None:
    key = names.stream_prefix(home.id) + name
    home.objects[key] = home.objects[home.chunks[4]]
    assert named(home) == {key}


@pytest.mark.parametrize(
    "name", ["grant/junk", "grant/{0}/junk.cose", "grant/00/grant.cose", "grant/{0}/new/x"]
)
def test_an_object_that_no_grant_has(name: str, home: Home) -> None:
    grant_id = keys(home, "grant.cose")[0].split("/")[3]
    key = names.stream_prefix(home.id) + name.format(grant_id)
    home.objects[key] = home.objects[keys(home, "/new/")[0]]
    assert named(home) == {key}


@pytest.mark.parametrize(
    "name", ["day/2026-03-01.cose", "month/2026-03.cose", "day/x", "grant/{0}/day/x", "grant/{0}/so-far/x"]
)
def test_a_page_or_fold_too_many_is_named(name: str, home: Home) -> None:
    grant_id = keys(home, "grant.cose")[0].split("/")[3]
    key = names.stream_prefix(home.id) + name.format(grant_id)
    home.objects[key] = b"anything"
    # A directory shows .cose files alone, and whatever else lies in it.
    assert named(home) == {key}


def test_a_head_that_names_another_chunk(home: Home) -> None:
    head = Head.read(home.objects[names.head(home.id)], home.signer.public, "head")
    for wrong in (
        replace(head, digest=bytes(32)),
        replace(head, seq=head.seq - 1),
        replace(head, next_unit=head.next_unit - 1),
    ):
        home.objects[names.head(home.id)] = home.signer.sign(wrong)
        [problem] = problems(home)
        assert names.head(home.id) in problem.text


def test_the_head_is_allowed_to_lag(home: Home) -> None:
    head = home.objects[names.head(home.id)]
    home.seal(random_readings(300))
    home.objects[names.head(home.id)] = head
    assert problems(home) == []


class TestWithAMemory:
    def test_it_remembers_what_held(self, home: Home, tmp_path: Path) -> None:
        seen = Seen(tmp_path, home.id)
        assert problems(home, seen) == []
        mark = seen.load()
        assert mark is not None
        assert (mark.seq, mark.next_unit) == (10, START + 270)

    def test_it_remembers_nothing_of_a_bad_store(self, home: Home, tmp_path: Path) -> None:
        seen = Seen(tmp_path, home.id)
        del home.objects[home.chunks[3]]
        assert len(problems(home, seen)) == 1
        assert seen.load() is None

    def test_an_older_head(self, home: Home, tmp_path: Path) -> None:
        seen = Seen(tmp_path, home.id)
        old = home.objects[names.head(home.id)]
        home.seal(random_readings(60))
        assert problems(home, seen) == []
        home.objects[names.head(home.id)] = old
        [problem] = problems(home, seen)
        assert problem.key == names.head(home.id)
        assert "the store shows an older state" in problem.text

    def test_another_history(self, home: Home, tmp_path: Path) -> None:
        """Both are signed by the gateway, and each is whole."""
        seen = Seen(tmp_path, home.id)
        other = home.fork()
        home.seal(random_readings(60))
        assert problems(home, seen) == []
        other.seal(random_readings(120))
        assert problems(other) == []
        [problem] = problems(other, seen)
        assert problem.key == home.chunks[-1]
        assert "is not the chunk number 12 that was seen there before" in problem.text


def test_a_bundle_of_another_life_than_the_chunks(home: Home) -> None:
    """The gateway signed both: units were sealed twice, and the store shows the chunks of one life and the
    tokens of the other."""
    for key in [key for key in home.objects if "/new/" in key]:
        bundle = Tokens.read(home.objects[key], home.signer.public, key)
        for at, (window, incarnation) in enumerate(bundle.sealed):
            twin = home.fork()
            sealed = (*bundle.sealed[:at], (window, incarnation + 7), *bundle.sealed[at + 1 :])
            twin.objects[key] = home.signer.sign(replace(bundle, sealed=sealed))
            (problem,) = problems(twin)
            assert problem.key == key
            assert f"has a token of window {window} for other units than the chunks hold" in problem.text


def test_tokens_far_beyond_the_chunks_are_held_against_nothing(home: Home, provider: Provider) -> None:
    grant = home.grant(provider.card, "1h")
    far = Tokens(home.id, grant.id, 2**63, bytes(16), ((2**63, 9),))
    home.objects[names.bundle(home.id, grant.id, 2**63)] = home.signer.sign(far)
    assert any("is missing" in problem.text for problem in problems(home))
