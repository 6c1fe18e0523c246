"""Evidence proves what a grant opened to who has nothing but the file, and breaks with any change."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gateway.chain.commitment import commit, openings
from gateway.chain.keys import KeyChain
from gateway.chain.layout import Factor, Layout
from gateway.chain.token import Sealed, masks
from gateway.errors import GatewayError, NotGranted, Refused, Unavailable, UsageError
from gateway.provider.claim import Claim, make_evidence
from gateway.provider.evidence import Proven, prove
from gateway.store.directory import DirectoryBucket
from gateway.wire import cose, es256, names
from gateway.wire.evidence import Evidence
from gateway.wire.grant import Tokens
from tests.provider.test_bill import CENT, TIME_OF_USE, at, by_the_clock, due, rounded
from tests.stream.stream import Home, Provider, Signable, random_readings

pytestmark = pytest.mark.slow

QUARTER = 900_000


def made(home: Home, provider: Provider, claim: Claim) -> tuple[bytes, Proven]:
    """The evidence that the provider makes of what the store of `home` has."""

    async def from_store() -> tuple[bytes, Proven]:
        with tempfile.TemporaryDirectory() as folder:
            bucket = DirectoryBucket(home.write(Path(folder)))
            now_ms = time.time_ns() // 1_000_000
            return await make_evidence(
                bucket, home.id, home.signer.kid, provider.identity, claim, now_ms, 86_400_000
            )

    return asyncio.run(from_store())


def proven(data: bytes) -> Proven:
    return asyncio.run(prove(Evidence.read_self_signed(data, "it")))


def signed(item: Signable, provider: Provider) -> bytes:
    """An object as the provider signs it."""
    key, payload = provider.identity.signing_key, item.payload()
    message = cose.to_be_signed(item.TYPE, provider.identity.kid, payload)
    return cose.assemble(provider.identity.kid, payload, es256.sign(key, message))


def span(home: Home, a: int, b: int, **more: object) -> Claim:
    """The claim of units [a, b)."""
    unit_ms = home.layout.unit_ms
    return Claim(a * unit_ms, b * unit_ms, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole() -> Home:
    """From 26 February to 3 May 2026 in units of 15 min, in three runs."""
    home = Home(layout=Layout(QUARTER, 20), start=at(2026, 2, 26) // 20 * 20, chunk_units=20)
    for end in (at(2026, 3, 17, 5), at(2026, 3, 29, 1), at(2026, 5, 3, 13)):
        home.seal(random_readings(end - home.end))
        home.restart()
    return home


@pytest.fixture
def home(whole: Home) -> Home:
    return whole.fork()


SPANS = {
    "months and days": (at(2026, 3, 1), at(2026, 5, 3)),
    "within a day": (at(2026, 3, 17, 3), at(2026, 3, 17, 9)),
    "across incarnations, to the head": (at(2026, 3, 28, 23), at(2026, 5, 3, 13)),
    "one window": (at(2026, 4, 7), at(2026, 4, 7, 1)),
}


@pytest.mark.parametrize("name", SPANS)
@pytest.mark.parametrize("granularity", ["15min", "1h"])
def test_sums_are_proven_without_store_or_key(
    name: str, granularity: str, home: Home, provider: Provider
) -> None:
    a, b = SPANS[name]
    home.grant(provider.card, granularity)
    home.publish()
    data, _ = made(home, provider, span(home, a, b))
    found = proven(data)
    step = {"15min": 1, "1h": 4}[granularity]
    assert found.edges.tolist() == list(range(a, b + 1, step))
    for lane in home.lanes:
        assert found.sums[lane].tolist() == [home.truth(lane, x, x + step) for x in range(a, b, step)]
    assert found.claims == tuple(home.truth(lane, a, b) for lane in home.lanes)


def test_calendar_windows_are_proven(home: Home, provider: Provider) -> None:
    """Over the change of clocks."""
    home.grant(provider.card, "day", zone="Europe/Berlin")
    data, _ = made(home, provider, span(home, at(2026, 3, 27, 23), at(2026, 3, 30, 22)))
    found = proven(data)
    assert np.diff(found.edges).tolist() == [96, 92, 96]
    a, b = int(found.edges[0]), int(found.edges[-1])
    assert found.claims == tuple(home.truth(lane, a, b) for lane in home.lanes)


def test_bills_are_proven(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "month", zone="Europe/Berlin", kind="bill", tariff=TIME_OF_USE)
    claim = span(home, at(2026, 2, 28, 23), at(2026, 4, 30, 22), tariff=TIME_OF_USE)
    found = proven(made(home, provider, claim)[0])
    assert [bill.start.month for bill in found.bills] == [2, 3]
    for bill in found.bills:
        assert Fraction(bill.amount) == rounded(due(home, bill, by_the_clock), CENT)
    assert found.sums == {}


def test_only_the_claimed_windows_are_revealed(home: Home, provider: Provider) -> None:
    """No opening of another window is in the file, nor anything from which one follows: K_0 to the end of
    the chain, and the keys of its keystreams."""
    grant = home.grant(provider.card, "15min")
    home.publish()
    data, found = made(home, provider, span(home, at(2026, 3, 17, 3), at(2026, 3, 17, 9)))
    chain = KeyChain(home._k_0[grant.id])
    first, end = (edge - grant.first for edge in (int(found.edges[0]), int(found.edges[-1])))
    for incarnation in (1, 2, 3):
        opening = openings(chain, [Sealed(0, incarnation)], 0, 6000)
        for j, row in enumerate(opening):
            if row.astype("<u8").tobytes() in data:
                assert first <= j < end
    for m in range(6):
        assert chain.block(m) not in data
    assert len(found.evidence.opened) == (end - first) * (32 + 16)


def test_the_coarsest_grant_proves_it(home: Home, provider: Provider) -> None:
    """So that the arbiter learns as little as can be; another one where it is named."""
    fine = home.grant(provider.card, "15min")
    coarse = home.grant(provider.card, "day")
    home.publish()
    claim = span(home, at(2026, 3, 1), at(2026, 4, 1))
    _, found = made(home, provider, claim)
    assert (found.grant.id, len(found.edges)) == (coarse.id, 32)
    _, other = made(home, provider, replace(claim, grant=fine.id))
    assert (other.grant.id, other.claims) == (fine.id, found.claims)


def test_a_year_of_quarter_hours_is_small(provider: Provider) -> None:
    """It is proven by month pages: 48 bytes of openings, 16 of tokens and 16 of sums for each window."""
    home = Home(layout=Layout(QUARTER, 96), start=at(2025, 1, 1), chunk_units=96)
    home.seal(random_readings(at(2026, 1, 2) - home.end))
    home.grant(provider.card, "15min")
    home.publish()
    a, b = at(2025, 1, 1), at(2026, 1, 1)
    data, found = made(home, provider, span(home, a, b))
    assert found.claims == tuple(home.truth(lane, a, b) for lane in home.lanes)
    assert len(data) < 85 * (b - a)


@pytest.mark.parametrize(
    ("start", "end", "agrees"),
    [
        ("1000.000000", "", True),
        ("1000.000000", "+0.000001", False),
        ("999.9", "", True),
        ("999.9", "+0.2", False),
        ("999", "-2", False),
    ],
)
def test_registers_are_compared_to_their_last_digit(
    start: str, end: str, agrees: bool, provider: Provider
) -> None:
    home = Home(layout=Layout(QUARTER, 20), start=at(2026, 3, 1) // 20 * 20, chunk_units=20)
    home.seal({lane: [123_457 + 7919 * i % 90_001 for i in range(400)] for lane in home.lanes})
    home.grant(provider.card, "day")
    a, b = at(2026, 3, 2), at(2026, 3, 4)
    digit = 10 ** (6 - len(start.partition(".")[2]))
    begin = int(Fraction(start) * 10**6)
    truth = home.truth("import", a, b)
    finish = begin + truth + int(Fraction(end or "0") * 10**6)
    finish -= finish % digit if end == "" else 0
    claim = span(home, a, b, registers=(("import", begin, finish, digit),))
    if agrees:
        found = proven(made(home, provider, claim)[0])
        (register,) = found.registers
        assert register.agrees
        assert register.proven == truth
    else:
        with pytest.raises(
            UsageError,
            match=r"^the register of import rose by .* kWh, and the gateway sealed .* kWh between: ",
        ):
            made(home, provider, claim)
        honest, _ = made(home, provider, replace(claim, registers=()))
        lie = replace(Evidence.read_self_signed(honest, "it"), registers=claim.registers)
        assert not proven(signed(lie, provider)).registers[0].agrees


def test_a_factor_counts_in_the_registers(provider: Provider) -> None:
    """Current transformers: the register shows a part of what was sealed."""
    home = Home(layout=Layout(QUARTER, 20), start=at(2026, 3, 1) // 20 * 20, chunk_units=20)
    home.seal({"import": [40 * i for i in range(100)], "export": [0] * 100})
    descriptor = replace(home.descriptor, factor=Factor(energy=Decimal(40)))
    home.objects[names.descriptor(home.id)] = home.signer.sign(descriptor)
    home.grant(provider.card, "1h")
    a, b = home.start, home.start + 96
    claim = span(home, a, b, registers=(("import", 10**6, 10**6 + sum(range(96)), 1),))
    assert proven(made(home, provider, claim)[0]).registers[0].agrees


# What is wrong with a claim, and with evidence.


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        (at(2026, 2, 20), at(2026, 3, 2), "it begins later"),
        (at(2026, 3, 1), at(2026, 5, 3, 14), "nothing after 2026-05-03T13:00:00Z is sealed yet"),
        (at(2026, 3, 1, 0, 15), at(2026, 3, 1, 0, 45), "no whole window of it lies in the requested time"),
    ],
)
def test_a_claim_that_no_grant_opens(a: int, b: int, why: str, home: Home, provider: Provider) -> None:
    home.grant(provider.card, "1h")
    with pytest.raises(NotGranted, match=f"^no one grant of sums opens all of the requested time: .*{why}"):
        made(home, provider, span(home, a, b))


def test_loads_and_raw_grants_prove_nothing(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "5h", kind="raw")
    with pytest.raises(NotGranted, match="there is none to this provider"):
        made(home, provider, span(home, at(2026, 3, 1), at(2026, 3, 2)))


def test_a_revoked_grant_proves_what_it_opened(home: Home, provider: Provider) -> None:
    grant = home.grant(provider.card, "1h")
    home.revoke(grant)
    data, _ = made(home, provider, span(home, at(2026, 3, 1), at(2026, 3, 2)))
    assert proven(data).claims == tuple(
        home.truth(lane, at(2026, 3, 1), at(2026, 3, 2)) for lane in home.lanes
    )


@pytest.mark.parametrize("commitment", [None, bytes(32)])
def test_a_bundle_that_commits_to_nothing_or_otherwise(
    commitment: bytes | None, home: Home, provider: Provider
) -> None:
    grant = home.grant(provider.card, "1h")
    key = names.bundle(home.id, grant.id, 0)
    bundle = Tokens.read(home.objects[key], home.signer.public, key)
    home.objects[key] = home.signer.sign(replace(bundle, commitment=commitment))
    why = "has no commitment to what" if commitment is None else "commits to something else than"
    with pytest.raises(Refused, match=f"{key} {why} its tokens hold, so none of it can be proven"):
        made(home, provider, span(home, at(2026, 3, 1), at(2026, 3, 2)))


@pytest.fixture(scope="module")
def small() -> tuple[bytes, Provider, Home]:
    """Evidence of some windows within two bundles, with a register, and its provider."""
    provider = Provider.new(Path(tempfile.mkdtemp()) / "acme")
    home = Home(layout=Layout(QUARTER, 8), start=at(2026, 3, 1), chunk_units=4)
    home.seal({lane: [1000 * i + 7 for i in range(24)] for lane in home.lanes})
    home.grant(provider.card, "15min", bundle=8)
    a, b = home.start + 5, home.start + 12
    truth = home.truth("import", a, b)
    claim = span(home, a, b, registers=(("import", 5, 5 + truth, 1),))
    return made(home, provider, claim)[0], provider, home


def test_a_change_of_any_byte_is_refused(small: tuple[bytes, Provider, Home]) -> None:
    data, _, _ = small
    for at_ in range(len(data)):
        changed = bytearray(data)
        changed[at_] ^= 1 << at_ % 8
        with pytest.raises(Refused):
            Evidence.read_self_signed(bytes(changed), "it")


def flipped(data: bytes, at_: int) -> bytes:
    changed = bytearray(data)
    changed[at_] ^= 1 << at_ % 8
    return bytes(changed)


def test_a_provider_that_lies_and_signs_it_is_refused(small: tuple[bytes, Provider, Home]) -> None:
    """Bytes all over what is proven, changed by the provider itself, which signs anew."""
    data, provider, _ = small
    evidence = Evidence.read_self_signed(data, "it")
    assert evidence.before is not None
    assert evidence.after is not None
    lies: list[Evidence] = []
    for name in ("stream", "signer", "grant", "opened", "before", "after"):
        value: bytes = getattr(evidence, name)
        lies += [replace(evidence, **{name: flipped(value, i)}) for i in range(0, len(value), 5)]  # type: ignore[arg-type]
    for n, (key, content) in enumerate(evidence.objects):
        for i in range(0, len(content), 31):
            objects = list(evidence.objects)
            objects[n] = (key, flipped(content, i))
            lies.append(replace(evidence, objects=tuple(objects)))
        lies.append(replace(evidence, objects=evidence.objects[:n] + evidence.objects[n + 1 :]))
    lies += [
        replace(evidence, first_window=evidence.first_window + 1),
        replace(evidence, first_window=evidence.first_window - 1),
        replace(evidence, first_window=2**64 - 1),
        replace(evidence, claims=(evidence.claims[0] + 1, evidence.claims[1])),
        replace(evidence, claims=(evidence.claims[0],)),
        replace(evidence, claims=(*evidence.claims, 0)),
        replace(evidence, opened=evidence.opened[48:]),
        replace(evidence, opened=evidence.opened + evidence.opened[:48]),
        replace(evidence, before=None),
        replace(evidence, after=None),
        replace(evidence, before=bytes(32) + evidence.before),
        replace(evidence, after=evidence.after + bytes(32)),
        replace(evidence, objects=evidence.objects[::-1]),
        replace(evidence, tariff=b"x"),
        replace(evidence, registers=(("export", 0, 0, 1), ("export", 0, 0, 1))),
    ]
    for lie in lies:
        with pytest.raises(Refused):
            proven(signed(lie, provider))


def test_pages_and_tariffs_are_checked_too(home: Home, provider: Provider) -> None:
    """A byte of each object and of the tariff, and each bill, changed by the provider."""
    home.grant(provider.card, "month", zone="Europe/Berlin", kind="bill", tariff=TIME_OF_USE)
    home.grant(provider.card, "1h")
    home.publish()
    sums = span(home, at(2026, 2, 28, 23), at(2026, 5, 3, 7))
    for claim in (sums, replace(sums, tariff=TIME_OF_USE)):
        evidence = Evidence.read_self_signed(made(home, provider, claim)[0], "it")
        kinds = [key.split("/")[2] for key, _ in evidence.objects]
        assert {*kinds} >= {"stream.cose", "head.cose", "grant", "month", "chunk"}
        assert ("day" in kinds) == (claim is sums)
        assert kinds.count("chunk") < 10
        lies = [replace(evidence, claims=(*evidence.claims[:1], evidence.claims[1] + 1))]
        if evidence.tariff is not None:
            lies += [
                replace(evidence, tariff=flipped(evidence.tariff, i)) for i in range(len(evidence.tariff))
            ]
            lies.append(replace(evidence, tariff=None))
        for n, (key, content) in enumerate(evidence.objects):
            for i in (10, len(content) // 2, len(content) - 1):
                objects = list(evidence.objects)
                objects[n] = (key, flipped(content, i))
                lies.append(replace(evidence, objects=tuple(objects)))
            lies.append(replace(evidence, objects=evidence.objects[:n] + evidence.objects[n + 1 :]))
        for lie in lies:
            with pytest.raises(Refused):
                proven(signed(lie, provider))


def test_windows_without_a_bundle_are_not_proven(small: tuple[bytes, Provider, Home]) -> None:
    """Made up, where the provider leaves out the last bundle that would show it."""
    data, provider, _ = small
    evidence = Evidence.read_self_signed(data, "it")
    objects = tuple(one for one in evidence.objects if not one[0].endswith("/new/0000000000000008.cose"))
    assert len(objects) == len(evidence.objects) - 1
    opened = evidence.opened[: 3 * 48] + bytes(len(evidence.opened) - 3 * 48)
    with pytest.raises(Refused, match="there is no bundle with the token of window 8, which is claimed"):
        proven(signed(replace(evidence, objects=objects, opened=opened, after=None), provider))


def test_no_bundle_after_the_claim_is_shown(home: Home, provider: Provider) -> None:
    """Those before it are, of days: they say where its windows begin."""
    home.grant(provider.card, "day", zone="Europe/Berlin", bundle=1)
    _, found = made(home, provider, span(home, at(2026, 5, 1, 22), at(2026, 5, 2, 22)))
    first = found.evidence.first_window
    windows = [names.number_in(key) for key, _ in found.evidence.objects if names.fold_of(key) is not None]
    assert first == 64
    assert max(windows) == first
    assert min(windows) == 0
    _, found = made(home, provider, span(home, at(2026, 4, 30, 22), at(2026, 5, 1, 22)))
    windows = [names.number_in(key) for key, _ in found.evidence.objects if names.fold_of(key) is not None]
    assert max(windows) == found.evidence.first_window == 63


def test_a_claim_beyond_a_revocation(home: Home, provider: Provider) -> None:
    grant = home.grant(provider.card, "1h")
    home.revoke(grant)
    home.seal(random_readings(8))
    with pytest.raises(NotGranted, match="when it was revoked; it ends before"):
        made(home, provider, span(home, at(2026, 5, 3), at(2026, 5, 3, 14)))


def test_tokens_that_are_not_in_the_store_yet(home: Home, provider: Provider) -> None:
    grant = home.grant(provider.card, "1h", bundle=1536)
    del home.objects[names.bundle(home.id, grant.id, 1536)]
    with pytest.raises(Unavailable, match=r"the token of window 1536 of grant .* is not in the store yet"):
        made(home, provider, span(home, at(2026, 5, 1), at(2026, 5, 3, 13)))


def test_a_bill_that_is_not_rounded_is_refused(home: Home, provider: Provider) -> None:
    """A gateway that hides another word, and commits to it."""
    grant = home.grant(provider.card, "month", zone="Europe/Berlin", kind="bill", tariff=TIME_OF_USE)
    key = names.bundle(home.id, grant.id, 0)
    bundle = Tokens.read(home.objects[key], home.signer.public, key)
    chain, sealed = KeyChain(home._k_0[grant.id]), [Sealed(*one) for one in bundle.sealed]
    tokens = bundle.table(1) + np.uint64(1)
    words = tokens - masks(chain, sealed, 0, len(tokens), 1, bundle.cuts)
    committed = commit(words, chain, sealed, 0, bundle.cuts)
    home.objects[key] = home.signer.sign(replace(bundle, words=tokens.tobytes(), commitment=committed))
    claim = span(home, at(2026, 2, 28, 23), at(2026, 4, 30, 22), tariff=TIME_OF_USE)
    with pytest.raises(Refused, match=f"{key} does not round a bill to what the grant says"):
        made(home, provider, claim)


def test_another_provider_cannot_claim_it(small: tuple[bytes, Provider, Home], provider: Provider) -> None:
    evidence = Evidence.read_self_signed(small[0], "it")
    key = es256.spki(provider.identity.signing_key.public_key())
    with pytest.raises(Refused, match=r"is a grant to .*, and .* claims it"):
        proven(signed(replace(evidence, signing_key=key), provider))


def test_objects_that_prove_nothing_are_refused(small: tuple[bytes, Provider, Home]) -> None:
    data, provider, home = small
    evidence = Evidence.read_self_signed(data, "it")
    held = dict(evidence.objects)
    spare = [key for key in home.objects if key not in held]
    assert spare
    for key in spare:
        objects = tuple(sorted({**held, key: home.objects[key]}.items()))
        with pytest.raises(Refused):
            proven(signed(replace(evidence, objects=objects), provider))


def test_units_that_were_sealed_twice_are_not_mixed(
    small: tuple[bytes, Provider, Home], provider: Provider
) -> None:
    """A bundle says another incarnation than the chunks: its tokens are of other ciphertexts."""
    _, provider, home = small
    other = home.fork()
    (key,) = [key for key in other.objects if key.endswith("/new/0000000000000000.cose")]
    bundle = Tokens.read(other.objects[key], other.signer.public, key)
    moved = other.signer.sign(replace(bundle, sealed=((0, 9),)))
    evidence = Evidence.read_self_signed(small[0], "it")
    objects = tuple((k, moved if k == key else content) for k, content in evidence.objects)
    with pytest.raises(Refused, match=f"{key} has tokens for other units than the chunks hold"):
        proven(signed(replace(evidence, objects=objects), provider))


def test_whatever_is_in_the_file_it_is_an_answer(small: tuple[bytes, Provider, Home]) -> None:
    """No bytes but those of evidence are proven, and none end in a traceback."""
    data, _, _ = small
    wrong: list[Callable[[bytes], bytes]] = [
        lambda _: b"",
        lambda _: b"\xd2\x84",
        lambda good: good[:-1],
        lambda good: good + b"\0",
        lambda good: good[1:],
    ]
    for change in wrong:
        with pytest.raises(GatewayError):
            proven(change(data))
