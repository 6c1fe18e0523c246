"""The vectors against the gateway, and against the script that made them."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.chain import grant as grants
from gateway.chain.commitment import bundle_commitment, commit, commitments, openings
from gateway.chain.issue import Sealing, bill_word, hide, raw_tokens, sealed_by, window_words
from gateway.chain.keys import KeyChain, incarnation_message, link_key, openings_key, raw_key, tokens_key
from gateway.chain.layout import Layout, Run
from gateway.chain.page import Calendar, Span, add_up
from gateway.chain.raw import read_links
from gateway.chain.seal import MASK, U64, LinkWords, nonces, seal, signed, total, unseal, words, words_under
from gateway.chain.tariff import rounded, steps_digest
from gateway.chain.token import Sealed, cuts_of, incarnation_of, masks, open_raw
from gateway.chain.window import Granularity
from gateway.chain.windows import GrantWindows
from gateway.provider.evidence import prove
from gateway.stream.tokens import check_bundle
from gateway.trust import policy
from gateway.trust.gate import Gate
from gateway.wire import cose, names
from gateway.wire.approval import Approval
from gateway.wire.card import Card
from gateway.wire.command import Command, Receipt
from gateway.wire.evidence import Evidence
from gateway.wire.grant import GrantObject, Revocation, Tokens, grant_body, read_grant_body
from gateway.wire.kinds import class_at
from gateway.wire.prices import PriceSeries
from gateway.wire.stream import Chunk, Descriptor, Head, Page, SoFar
from gateway.wire.tariff import read_tariff_body, tariff_body
from tests.chain.streams import load as load_of
from tests.vectors import make, plain

ROOT = Path(__file__).parents[2]
FILES = (
    *("keys", "keystream", "seal", "nonce", "token", "bill", "load", "raw"),
    *("grant", "granularity", "objects", "pages", "commands", "gate"),
)


def load(name: str) -> dict[str, Any]:
    content = make.stored(name)
    assert content is not None
    return content


def cases(name: str, part: str = "cases") -> list[Any]:
    """A parameter for each case, named by what it is about."""
    return [
        pytest.param(case, id=str(case.get("case") or case.get("zone") or number))
        for number, case in enumerate(load(name)[part])
    ]


def unhex(*values: str) -> list[int]:
    return [int(value, 16) for value in values]


def sealing_of(case: dict[str, Any]) -> Sealing:
    root, stream = bytes.fromhex(case["root"]), bytes.fromhex(case["stream"])
    runs = [Run(int(incarnation, 16), first, end) for incarnation, first, end in case["runs"]]

    def k_inc(incarnation: int) -> bytes:
        return plain.mac(root, incarnation_message(stream, incarnation))

    return Sealing(Layout(case.get("unit_ms", 1000), case["link_units"]), runs, k_inc)


def chain_of(case: dict[str, Any]) -> tuple[Layout, Sequence[Run], LinkWords]:
    sealing = sealing_of(case)
    return sealing.layout, sealing.runs, words_under(sealing.k_inc, sealing.layout)


made = functools.cache(make.everything)


@pytest.mark.parametrize("name", FILES)
def test_the_script_makes_the_stored_bytes(name: str) -> None:
    assert make.text(made()[name]) == (make.HERE / f"{name}.json").read_text("utf-8")


def test_the_script_shares_no_code_with_the_gateway() -> None:
    show = "import sys, tests.vectors.make; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "tests.vectors.plain" in imported
    assert [module for module in imported if module.partition(".")[0] == "gateway"] == []


def test_the_script_agrees_with_published_vectors() -> None:
    # RFC 8439, section 2.3.2
    nonce = bytes.fromhex("000000090000004a00000000")
    assert plain.chacha20_block(bytes(range(32)), 1, nonce).hex() == (
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )
    # RFC 9180, appendix A.1.1
    shared = bytes.fromhex("fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc")
    key, base_nonce = plain.hpke_schedule(shared, b"Ode on a Grecian Urn", 0x20, 1, 16)
    assert (key.hex(), base_nonce.hex()) == ("4531685d41d65f03dc48f6b8302c05b0", "56d890e5accaaf011cff4b7d")
    # RFC 8949, appendix A
    assert plain.cbor({1: 2, 3: 4}).hex() == "a201020304"
    assert (
        plain.cbor([1, [2, 3], -1000, 1_000_000_000_000]).hex()
        == "8401820203" + "3903e7" + "1b000000e8d4a51000"
    )


def test_x_wing_as_its_draft_has_it() -> None:
    draft = json.loads((make.HERE / "xwing-draft.json").read_text("utf-8"))
    seed = bytes.fromhex(draft["seed"])
    public = grants.xwing_public_bytes(seed)
    assert hashlib.sha256(public).hexdigest() == draft["public_sha256"]
    assert plain.XWing(seed).public == public
    assert plain.XWing(seed).decapsulate(bytes.fromhex(draft["ct"])).hex() == draft["ss"]


def test_keys() -> None:
    vector = load("keys")
    root, stream = bytes.fromhex(vector["root"]), bytes.fromhex(vector["stream"])
    for link in vector["links"]:
        incarnation, n = unhex(link["incarnation"], link["n"])
        k_inc = plain.mac(root, incarnation_message(stream, incarnation))
        assert k_inc.hex() == link["k_inc"]
        assert link_key(k_inc, n, link["lane"]).hex() == link["key"]
    chain = KeyChain(bytes.fromhex(vector["k_0"]))
    for step in vector["chain"]:
        k_m = chain.block(step["m"])
        (incarnation,) = unhex(step["incarnation"])
        assert (k_m.hex(), tokens_key(k_m, incarnation).hex()) == (step["k_m"], step["tokens_key"])
        assert openings_key(k_m, incarnation).hex() == step["openings_key"]


@pytest.mark.parametrize("case", cases("keystream"))
def test_keystream(case: dict[str, Any]) -> None:
    w = words(bytes.fromhex(case["key"]), case["link_units"])
    assert len(w) == case["link_units"] + 1
    assert {p: f"{w[int(p)]:016x}" for p in case["words"]} == case["words"]
    if "sha256" in case:
        assert hashlib.sha256(w.astype("<u8").tobytes()).hexdigest() == case["sha256"]


@pytest.mark.parametrize("case", cases("seal"))
def test_seal(case: dict[str, Any]) -> None:
    layout, runs, link_words = chain_of(case)
    first, lane = case["first"], case["lane"]
    d = np.array(unhex(*case["d"]), dtype=np.uint64)
    sealed = []
    for run in runs:
        for n, x, y in layout.split(run.first, run.end):
            w, p = link_words(run.incarnation, n, lane), layout.position(x)
            c = seal(w, p, d[x - first : y - first])
            assert (unseal(w, p, c) == d[x - first : y - first]).all()
            sealed += [f"{value:016x}" for value in c]
    assert sealed == case["c"]
    end = first + len(d)
    (r,) = nonces(runs, [first, end], lane, layout, link_words)
    sum_c = total(np.array(unhex(*sealed), dtype=np.uint64))
    assert f"{r:016x}" == case["r"]
    assert f"{sum_c:016x}" == case["sum_c"]
    assert f"{(sum_c - r) & MASK:016x}" == case["sum_d"]
    assert signed(sum_c - r) == signed(sum(signed(int(value)) for value in d))


@pytest.mark.parametrize("case", cases("nonce"))
def test_nonce(case: dict[str, Any]) -> None:
    layout, runs, link_words = chain_of(case)
    for lane, r in case["r"].items():
        assert nonces(runs, case["boundaries"], lane, layout, link_words) == unhex(*r)


def sealed_of(case: dict[str, Any]) -> list[Sealed]:
    return [Sealed(window, int(incarnation, 16)) for window, incarnation in case["sealed"]]


def array(rows: list[list[str]]) -> U64:
    return np.array([unhex(*row) for row in rows], dtype=np.uint64)


@pytest.mark.parametrize("case", cases("token"))
def test_token(case: dict[str, Any]) -> None:
    chain, sealed, first = KeyChain(bytes.fromhex(case["k_0"])), sealed_of(case), case["first_window"]
    p = array(case["p"])
    hiding = masks(chain, sealed, first, first + len(p), p.shape[1])
    assert (hiding == array(case["masks"])).all()
    tokens = hide(p, chain, sealed, first)
    assert (tokens == array(case["tokens"])).all()
    bundle = Tokens(bytes(16), bytes(16), first, bytes.fromhex(case["words"]), tuple(sealed))
    assert (bundle.table(p.shape[1]) == tokens).all()
    assert bundle.end_window(p.shape[1]) == first + len(p)
    assert (tokens - hiding == p).all()
    opening = openings(chain, sealed, first, first + len(p))
    assert [row.astype("<u8").tobytes().hex() for row in opening] == case["openings"]
    each = commitments(np.concatenate([opening, p], axis=1))
    assert each.hex() == "".join(case["commitments"])
    assert bundle_commitment(each).hex() == commit(p, chain, sealed, first).hex() == case["commitment"]
    for j, row in enumerate(hiding, first):  # each for itself
        alone = [Sealed(j, incarnation_of(sealed, j))]
        assert (masks(chain, alone, j, j + 1, p.shape[1]) == row).all()


def grant_of(body: str, unit_ms: int = 1000) -> grants.Grant:
    return read_grant_body(bytes.fromhex(body), unit_ms, "the grant")


@pytest.mark.parametrize("case", cases("bill"))
def test_bill(case: dict[str, Any]) -> None:
    unit_ms, body, first = case["unit_ms"], bytes.fromhex(case["tariff_body"]), case["first"]
    tariff, sealing = read_tariff_body(body, "the tariff"), sealing_of(case)
    assert tariff_body(tariff) == body
    grant, chain = grant_of(case["grant_body"], unit_ms), KeyChain(bytes.fromhex(case["k_0"]))
    assert grant.tariff == cose.digest(body) == bytes.fromhex(case["tariff_digest"])
    assert grant.quantum == case["quantum"]
    edges = GrantWindows(grant).edges(0, len(case["periods"]))
    assert edges == [case["periods"][0]["a"], *(period["b"] for period in case["periods"])]
    sealed = sealed_by(sealing.runs, 0, edges)
    assert sealed == sealed_of(case)
    c = {lane: unhex(*values) for lane, values in case["c"].items()}
    held = []
    for j, (period, (a, b)) in enumerate(zip(case["periods"], pairwise(edges), strict=True)):
        weights = tariff.weights(grant.lanes, unit_ms, a, b)
        assert {lane: [list(w) for w in runs] for lane, runs in weights.items()} == period["weights"]
        assert (j, a, b) == (period["j"], period["a"], period["b"])
        assert steps_digest(weights).hex() == period["steps_digest"]
        sums = {
            lane: [sum(c[lane][w.first - first : w.end - first]) & MASK for w in steps]
            for lane, steps in weights.items()
        }
        held.append(bill_word(grant, sealing, weights, sums, a))
        weighted = sum(
            w.price * part for lane in weights for w, part in zip(weights[lane], sums[lane], strict=True)
        )
        assert [held[j], weighted & MASK] == unhex(period["p"], period["sum_price_c"])
        assert signed(weighted - int(period["sum_price_r"], 16)) == period["exact"]
        assert rounded(period["exact"], case["quantum"]) == period["rounded"]
        assert signed(weighted - held[j]) == period["rounded"]
        assert Decimal(period["rounded"]).scaleb(-tariff.scale - 6) == Decimal(period["amount"])
    digests = [bytes.fromhex(period["steps_digest"]) for period in case["periods"]]
    tokens = hide(np.array([held], dtype=np.uint64).T, chain, sealed, 0, None, cuts_of(None, digests))
    assert tokens[:, 0].tolist() == unhex(*(period["token"] for period in case["periods"]))


def test_load() -> None:
    vector = load("load")
    held: dict[tuple[int, str], list[list[int]]] = {}
    for home in vector["homes"]:
        centre, service = (grant_of(home[name]["grant_body"]) for name in ("centre", "service"))
        centres, services = (KeyChain(bytes.fromhex(home[name]["k_0"])) for name in ("centre", "service"))
        assert (centre.partner, service.partner) == (None, centre.id)
        windows, sealing = home["windows"], sealing_of(home)
        edges = GrantWindows(service).edges(0, len(windows))
        sealed = sealed_by(sealing.runs, 0, edges)
        assert sealed == sealed_of(home)
        nonce = window_words(service, sealing, edges)
        tokens = hide(nonce, services, sealed, 0, centres).tolist()
        of_centre, of_service = (masks(chain, sealed, 0, len(windows), 2) for chain in (centres, services))
        for j, window in enumerate(windows):
            assert (j, *edges[j : j + 2]) == (window["j"], window["a"], window["b"])
            found = (nonce[j].tolist(), tokens[j], of_centre[j].tolist(), of_service[j].tolist())
            assert list(found) == [unhex(*window[name]) for name in ("r", "token", "centre", "service")]
            for lane, *values in zip(service.lanes, unhex(*window["c"]), *found[1:], strict=True):
                held.setdefault((j, lane), []).append(values)
    assert len(vector["loads"]) == len(held) == 6
    for one in vector["loads"]:
        c, of_tokens, of_centres, of_services = zip(*held[one["j"], one["lane"]], strict=True)
        service_sum = sum(of_services) & MASK
        assert f"{service_sum:016x}" == one["service_sum"]
        assert load_of(c, of_tokens, of_centres, service_sum) == one["load"]


def test_raw() -> None:
    vector = load("raw")
    grant, sealing = grant_of(vector["grant_body"]), sealing_of(vector)
    grant.check(sealing.layout)
    chain, windows = KeyChain(bytes.fromhex(vector["k_0"])), vector["windows"]
    edges = GrantWindows(grant).edges(0, len(windows))
    sealed = sealed_by(sealing.runs, 0, edges)
    tokens = raw_tokens(grant, sealing, chain, sealed, 0, edges)
    opened: dict[str, list[int]] = {lane: [] for lane in grant.lanes}
    for j, (window, token, (a, b)) in enumerate(zip(windows, tokens, pairwise(edges), strict=True)):
        assert (j, a, b, token.hex()) == (window["j"], window["a"], window["b"], window["token"])
        incarnation = incarnation_of(sealed, j)
        assert f"{incarnation:016x}" == window["incarnation"]
        assert raw_key(chain.block(0), j, incarnation).hex() == window["key"]
        plaintext = open_raw(chain, grant.id, j, incarnation, a, b, token)
        assert plaintext.hex() == window["plaintext"]
        links = read_links(plaintext, grant.lanes)
        assert [
            {
                "n": link.n,
                "incarnation": f"{link.incarnation:016x}",
                "keys": {lane: key.hex() for lane, key in zip(grant.lanes, link.keys, strict=True)},
            }
            for link in links
        ] == window["links"]
        for link in links:
            (run,) = (run for run in sealing.runs if run.incarnation == link.incarnation)
            for n, x, y in sealing.layout.split(max(a, run.first), min(b, run.end)):
                for lane, key in zip(grant.lanes, link.keys, strict=True):
                    if n == link.n:
                        begin = grant.first
                        c = np.array(unhex(*vector["c"][lane][x - begin : y - begin]), dtype=np.uint64)
                        d = unseal(words(key, sealing.layout.link_units), sealing.layout.position(x), c)
                        opened[lane] += [signed(int(value)) for value in d]
    assert opened == vector["d"]


def by_name(grant: grants.Grant) -> dict[str, Any]:
    """A grant as the vectors spell it."""
    shown = {
        "id": grant.id.hex(),
        "stream": grant.stream.hex(),
        "provider": grant.provider.hex(),
        "lanes": list(grant.lanes),
        "granularity": grant.granularity.size,
        "zone": grant.granularity.zone,
        "first": grant.first,
        "until": grant.until,
        "purpose": grant.purpose,
        "kind": grant.kind,
        "tariff": grant.tariff and grant.tariff.hex(),
        "issued_ms": grant.issued_ms,
        "serial": grant.serial,
        "partner": grant.partner and grant.partner.hex(),
        "quantum": grant.quantum,
        "k_min": grant.k_min,
    }
    return {name: value for name, value in shown.items() if value is not None}


@pytest.mark.parametrize("case", cases("grant"))
def test_grant(case: dict[str, Any]) -> None:
    body, seed, k_0 = (bytes.fromhex(case[name]) for name in ("body", "seed", "k_0"))
    grant = read_grant_body(body, case["unit_ms"], "the grant")
    assert by_name(grant) == case["fields"]
    assert grant_body(grant) == body
    assert hashlib.sha256(body).hexdigest() == case["info"]
    assert grants.xwing_public_bytes(seed).hex() == case["public"]
    sealed = bytes.fromhex(case["sealed"])
    assert grants.open_k0(sealed, seed, body) == k_0
    # and the other way round: what the gateway seals opens by RFC 9180 written out
    fresh = grants.seal_k0(k_0, bytes.fromhex(case["public"]), body)
    assert len(fresh) == len(sealed)
    assert plain.hpke_open(fresh, plain.h(body), plain.XWing(seed)) == k_0


@pytest.mark.parametrize("case", cases("granularity", "calendar"))
def test_calendar_windows(case: dict[str, Any]) -> None:
    granularity = Granularity(case["size"], case["unit_ms"], case["zone"])
    windows = [(window["k"], window["start"]) for window in case["windows"]]
    assert [granularity.start(k) for k, _ in windows] == [start for _, start in windows]
    for (k, a), (_, b) in pairwise(windows):
        if a < b:  # a date that the zone skipped has no unit
            assert {granularity.index(u) for u in (a, a + 1, (a + b) // 2, b - 1) if u < b} == {k}
            assert granularity.align_up(a) == a
            assert granularity.align_up(b - 1) == (b if b - 1 > a else a)


@pytest.mark.parametrize("case", load("granularity")["spelled"], ids=lambda case: case["text"])
def test_spelled_granularities(case: dict[str, Any]) -> None:
    assert Granularity.parse(case["text"], case["unit_ms"]).size == case["size"]


def _plain_fields(values: dict[str, Any]) -> dict[str, Any]:
    def shown(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.hex()
        return [shown(item) for item in value] if isinstance(value, tuple | list) else value

    return {name: shown(value) for name, value in values.items()}


def names_of(read: Any, unit_ms: int) -> set[str]:
    """The keys of the bucket at which an object may lie."""
    if isinstance(read, PriceSeries):
        return {names.price_series(read.provider, read.start_ms, read.serial)}
    stream = read.stream
    match read:
        case Descriptor():
            return {names.descriptor(stream)}
        case Chunk():
            return {names.chunk(stream, read.first, unit_ms)}
        case SoFar():
            return {names.so_far(stream, read.period)}
        case Page():
            return {names.page(stream, read.period)}
        case Head():
            return {names.head(stream)}
        case GrantObject():
            return {names.grant(stream, read_grant_body(read.body, unit_ms, "the grant").id)}
        case Tokens(so_far=int(end)):
            return {names.tokens_so_far(stream, read.grant, end)}
        case Tokens():
            return {names.bundle(stream, read.grant, read.first_window, fold) for fold in names.FOLDS}
    return {names.revocation(stream, read.grant)}


@pytest.mark.parametrize(
    ("file", "entry"),
    [
        pytest.param(file, entry, id=entry["key"].partition("/")[2] or entry["type"])
        for file in ("objects", "pages", "prices", "commands")
        for entry in load(file)["objects"]
    ],
)
def test_object(file: str, entry: dict[str, Any]) -> None:
    vector = load(file)
    of_gateway = entry["key"] or entry["type"] == Receipt.TYPE
    spki = bytes.fromhex(vector["spki"] if of_gateway else vector["provider"]["spki"])
    data, payload = bytes.fromhex(entry["cose"]), bytes.fromhex(entry["payload"])
    kinds = (
        Descriptor,
        Chunk,
        Head,
        GrantObject,
        Tokens,
        Page,
        SoFar,
        Revocation,
        Card,
        Evidence,
        PriceSeries,
        Command,
        Receipt,
    )
    (kind,) = (kind for kind in kinds if entry["type"] == kind.TYPE)
    read = kind.read(data, spki, "the object")
    assert read.payload() == payload
    assert cose.digest(data).hex() == entry["digest"]
    kid = cose.kid_of(spki)
    assert cose.to_be_signed(entry["type"], kid, payload).hex() == entry["signed"]
    assert cose.assemble(kid, payload, data[-64:]) == data
    fields = dict(entry["fields"])
    if isinstance(read, Descriptor):
        assert read.layout == Layout(fields.pop("unit_ms"), fields.pop("link_units"))
        assert [[lane.name, lane.unit, lane.scale] for lane in read.lanes] == fields.pop("lanes")
    if entry["key"]:
        assert entry["key"] in names_of(read, vector.get("unit_ms", 1))
        assert class_at(entry["key"]) is kind
        assert kind.read_at(entry["key"], data, spki, vector.get("unit_ms", 1)) == read
    assert _plain_fields({name: getattr(read, name) for name in fields}) == fields


def opened(grant: grants.Grant, k_0: bytes, bundle: Tokens) -> U64:
    """What the tokens of a bundle hold, [window, word], and the gateway committed to."""
    sealed = [Sealed(*one) for one in bundle.sealed]
    end = bundle.end_window(grant.words)
    hiding = masks(KeyChain(k_0), sealed, bundle.first_window, end, grant.words, bundle.cuts)
    held = bundle.table(grant.words) - hiding
    assert commit(held, KeyChain(k_0), sealed, bundle.first_window, bundle.cuts) == bundle.commitment
    return held


def test_a_provider_reads_the_small_stream() -> None:
    """Nothing but the bucket, the gateway's public key and the provider's seed: the sums come out."""
    vector = load("objects")
    bucket = {entry["key"]: bytes.fromhex(entry["cose"]) for entry in vector["objects"]}
    spki, stream = bytes.fromhex(vector["spki"]), bytes.fromhex(vector["stream"])
    what = "the object"
    at = names.descriptor(stream)
    descriptor = Descriptor.read_pinned(at, bucket[at], cose.kid_of(spki))
    keys = sorted(key for key in bucket if key.startswith(names.chunks(stream)))
    chunks = [Chunk.read(bucket[key], spki, key) for key in keys]
    previous = cose.digest(bucket[names.descriptor(stream)])
    for seq, (key, chunk) in enumerate(zip(keys, chunks, strict=True)):
        assert key == names.chunk(stream, chunk.first, descriptor.layout.unit_ms)
        assert (chunk.seq, chunk.previous, names.number_in(key)) == (seq, previous, chunk.first)
        previous = cose.digest(bucket[key])
    head = Head.read(bucket[names.head(stream)], spki, what)
    assert (head.digest, head.next_unit) == (previous, chunks[-1].end)
    c = {
        lane.name: np.concatenate([chunk.c(i) for chunk in chunks]) for i, lane in enumerate(descriptor.lanes)
    }

    grant_id = bytes.fromhex(
        next(e["fields"]["grant"] for e in vector["objects"] if e["type"] == "gw1/tokens")
    )
    bound = GrantObject.read(bucket[names.grant(stream, grant_id)], spki, what)
    grant = read_grant_body(bound.body, descriptor.layout.unit_ms, what)
    k_0 = grants.open_k0(bound.sealed_k0, bytes.fromhex(vector["provider"]["seed"]), bound.body)
    sums: dict[str, list[int]] = {lane: [] for lane in grant.lanes}
    assert grant.complete(head.next_unit) == 4
    windows = GrantWindows(grant)
    for first in (0, 3):
        at = names.bundle(stream, grant_id, first)
        bundle = check_bundle(descriptor, grant, at, bucket[at])
        nonce = opened(grant, k_0, bundle)
        for j, row in enumerate(nonce.tolist(), bundle.first_window):
            a, b = windows.window(j)
            for lane, r in zip(grant.lanes, row, strict=True):
                window = c[lane][a - descriptor.start : b - descriptor.start]
                sums[lane].append(signed(total(window) - r))
    assert sums == vector["sums"]
    revocation = Revocation.read(bucket[names.revocation(stream, grant_id)], spki, what)
    assert (revocation.grant, revocation.from_unit) == (grant_id, head.next_unit)
    assert head.revoked == (grant_id,)


def test_an_arbiter_checks_the_evidence() -> None:
    """Nothing but the evidence: three of the four windows, and not the first."""
    vector = load("objects")
    (data,) = (bytes.fromhex(e["cose"]) for e in vector["objects"] if e["type"] == "gw1/evidence")
    proven = asyncio.run(prove(Evidence.read_self_signed(data, "the evidence")))
    assert {lane: d.tolist() for lane, d in proven.sums.items()} == {
        lane: sums[1:] for lane, sums in vector["sums"].items()
    }
    assert [register.agrees for register in proven.registers] == [True]


def test_a_provider_reads_pages_and_folded_tokens() -> None:
    """Day pages add up their chunks, month pages their days; day pages and a month's tokens give the sums."""
    vector = load("pages")
    bucket = {entry["key"]: bytes.fromhex(entry["cose"]) for entry in vector["objects"]}
    spki, stream = bytes.fromhex(vector["spki"]), bytes.fromhex(vector["stream"])
    descriptor = Descriptor.read(bucket[names.descriptor(stream)], spki, "the descriptor")
    unit_ms, lanes = descriptor.layout.unit_ms, range(len(descriptor.lanes))
    calendar = Calendar.of(unit_ms, descriptor.start)
    assert calendar is not None
    chunks = {
        cose.digest(bucket[key]): Chunk.read(bucket[key], spki, key)
        for key in sorted(bucket)
        if key.startswith(names.chunks(stream))
    }

    def page_of(period: str) -> tuple[Page, bytes]:
        key = names.page(stream, period)
        return Page.read(bucket[key], spki, key), cose.digest(bucket[key])

    def holds(page: Page, span: Span, parts: list[tuple[int, int, list[U64]]]) -> None:
        """The page's place in the calendar, and its sums, made of parts (first unit, step, c)."""
        period = calendar.period(span, page.first)
        assert (page.period, page.step, page.first, page.count, page.end) == (
            *(period.name, period.step, period.first, period.count),
            period.end,
        )
        sums = np.zeros((len(lanes), page.count), dtype=np.uint64)
        for first, step, c in parts:
            add_up(sums, period.edges, first, step, np.stack(c))
        assert [page.c(lane).tolist() for lane in lanes] == sums.tolist()

    (friday, one), (saturday, two), (january, _) = map(page_of, ("2026-01-30", "2026-01-31", "2026-01"))
    for day in (friday, saturday):
        begin = calendar.period("day", day.first).begin
        overlap = {d: chunk for d, chunk in chunks.items() if chunk.first < day.end and begin < chunk.end}
        assert list(day.children) == list(overlap)
        holds(day, "day", [(chunk.first, 1, [chunk.c(i) for i in lanes]) for chunk in overlap.values()])
    assert (friday.previous, saturday.previous, january.previous) == (None, one, None)
    assert january.children == (one, two)
    holds(january, "month", [(day.first, day.step, [day.c(i) for i in lanes]) for day in (friday, saturday)])

    grant, k_0 = grant_in(vector, "windows")
    tokens: dict[str, list[list[int]]] = {fold: [] for fold in names.FOLDS}
    for fold in names.FOLDS:
        for key in sorted(key for key in bucket if key.startswith(names.bundles(stream, grant.id, fold))):
            bundle = check_bundle(descriptor, grant, key, bucket[key])
            assert bundle.first_window == names.number_in(key) == len(tokens[fold])
            tokens[fold] += opened(grant, k_0, bundle).tolist()
    assert tokens["new"] == tokens["day"] == tokens["month"]
    windows = GrantWindows(grant)
    assert windows.complete(friday.end) == 1  # so many lie in Friday's bundle
    key = names.tokens_so_far(stream, grant.id, 1)
    so_far = check_bundle(descriptor, grant, key, bucket[key])
    assert (so_far.first_window, opened(grant, k_0, so_far).tolist()) == (0, tokens["month"][:1])
    cuts = windows.edges(0, len(tokens["month"]))
    sealed_sums = np.zeros((len(lanes), len(cuts) - 1), dtype=np.uint64)
    for first, step, c in (
        (friday.first, friday.step, [friday.c(i) for i in lanes]),
        (saturday.first, saturday.step, [saturday.c(i) for i in lanes]),
    ):
        add_up(sealed_sums, np.array(cuts), first, step, np.stack(c))
    sums = (sealed_sums - np.array(tokens["month"], dtype=np.uint64).T).astype(np.int64).tolist()
    assert dict(zip(grant.lanes, sums, strict=True)) == vector["sums"]


def grant_in(vector: dict[str, Any], kind: str) -> tuple[grants.Grant, bytes]:
    """The grant of a kind in a bucket, and its K_0."""
    for entry in vector["objects"]:
        if entry["type"] != "gw1/grant":
            continue
        bound = GrantObject.read(bytes.fromhex(entry["cose"]), bytes.fromhex(vector["spki"]), "the grant")
        grant = read_grant_body(bound.body, vector["unit_ms"], "the grant")
        if grant.kind == kind:
            seed = bytes.fromhex(vector["provider"]["seed"])
            return grant, grants.open_k0(bound.sealed_k0, seed, bound.body)
    raise AssertionError(kind)


def test_a_provider_reads_a_bill_by_its_edges() -> None:
    """The edges in the bundle are the window; the digest says that both weigh the same steps."""
    vector = load("pages")
    bucket = {entry["key"]: bytes.fromhex(entry["cose"]) for entry in vector["objects"]}
    spki, stream, unit_ms = bytes.fromhex(vector["spki"]), bytes.fromhex(vector["stream"]), vector["unit_ms"]
    descriptor = Descriptor.read(bucket[names.descriptor(stream)], spki, "the descriptor")
    keys = sorted(key for key in bucket if key.startswith(names.chunks(stream)))
    c = np.concatenate([Chunk.read(bucket[key], spki, key).c(0) for key in keys])
    grant, k_0 = grant_in(vector, "bill")
    tariff_bytes = bytes.fromhex(vector["bill"]["tariff_body"])
    assert (grant.tariff, k_0.hex()) == (cose.digest(tariff_bytes), vector["bill"]["k_0"])
    keys = [names.bundle(stream, grant.id, 0, fold) for fold in names.FOLDS]
    bundles = [check_bundle(descriptor, grant, key, bucket[key]) for key in keys]
    assert bundles == bundles[:1] * 3
    bundle = bundles[0]
    assert bundle.edges is not None
    assert GrantWindows(grant).settle(0, bundle.edges) is None
    a, b = bundle.edges
    weights = read_tariff_body(tariff_bytes, "the tariff").weights(grant.lanes, unit_ms, a, b)
    assert {lane: [list(step) for step in steps] for lane, steps in weights.items()} == vector["bill"][
        "weights"
    ]
    assert bundle.weighed == (steps_digest(weights),)
    weighted = sum(
        step.price * total(c[step.first - descriptor.start : step.end - descriptor.start])
        for step in weights["import"]
    )
    assert signed(weighted - int(opened(grant, k_0, bundle)[0, 0])) == vector["bill"]["rounded"]
    assert grant.quantum is not None
    assert rounded(vector["bill"]["exact"], grant.quantum) == vector["bill"]["rounded"]


@pytest.mark.parametrize("case", cases("gate"))
def test_release_gate(case: dict[str, Any]) -> None:
    key = ec.derive_private_key(int(case["private"], 16), ec.SECP256R1()).public_key()
    release, epoch = hashlib.sha256(case["manifest"].encode()).digest(), case["epoch"]
    assert policy.measured(release).hex() == case["pcr14"]
    assert policy.key_area(key).hex() == case["key_area"]
    assert policy.key_name(key).hex() == case["key_name"]
    assert policy.min_epoch_area(key, written=False).hex() == case["nv_area"]
    assert policy.min_epoch_name(key, written=False).hex() == case["nv_name"]
    assert policy.min_epoch_name(key, written=True).hex() == case["nv_name_written"]
    assert policy.authorized(key, policy.RELEASE_REF).hex() == case["root_policy"]
    assert policy.authorized(key, policy.EPOCH_REF).hex() == case["min_epoch_policy"]
    signed = case["signed"]
    for which, made, ref in (
        ("opens", policy.release_policy(key, release, epoch), policy.RELEASE_REF),
        ("begins", policy.begin_policy(key, epoch), policy.EPOCH_REF),
        ("raises", policy.raise_policy(key, epoch), policy.EPOCH_REF),
    ):
        assert (made.hex(), ref.decode()) == (signed[which]["policy"], signed[which]["reference"])
        assert hashlib.sha256(made + ref).hexdigest() == signed[which]["ahash"]
    approval = Approval.decode(bytes.fromhex(case["approval"]), "the approval")
    assert (approval.release, approval.epoch) == (release, epoch)
    assert approval.opens.hex() == signed["opens"]["signature"]
    assert Gate(key, Path("nowhere")).signed(approval)
    assert approval.encode().hex() == case["approval"]
