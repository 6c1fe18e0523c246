"""Bytes from an enemy: refused, whatever they are, in little memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.wire import cose
from gateway.wire.card import Card
from gateway.wire.grant import GrantObject, grant_body, read_grant_body
from gateway.wire.stream import Descriptor
from gateway.wire.tariff import read_tariff_body, tariff_body
from tests.wire.samples import BODIES, DATED_TARIFF, EXAMPLES, KEY, RAW_TOKENS, TARIFF

# All the ways in: whole objects, whose bytes anybody may have written, and payloads, which a
# registered but hostile signer may have.
WAYS_IN: list[Callable[[bytes], Any]] = [
    lambda data: cose.decode(data, "it"),
    lambda data: cose.payload_unchecked(data, "it"),
    lambda data: cose.verify(data, "gw1/chunk", KEY.public, "it"),
    lambda data: cose.load_public_key(data, "it"),
    lambda data: Descriptor.read_pinned("it", data, KEY.kid),
    lambda data: Card.read_self_signed(data, "it"),
    lambda data: read_grant_body(data, 1000, "it"),
    lambda data: read_tariff_body(data, "it"),
    lambda data: Card.read_self_signed(KEY.sign("gw1/card", data), "it"),
    *(lambda data, kind=kind: kind.read(data, KEY.public, "it") for kind in EXAMPLES),
    *(lambda data, kind=kind: kind.from_payload(data, "it") for kind in EXAMPLES),
]


def try_all(data: bytes) -> None:
    """Only Refused comes out of any of them."""
    for way_in in WAYS_IN:
        with suppress(Refused):
            way_in(data)


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes(data: bytes) -> None:
    try_all(data)


GOOD = [example.payload() for example in EXAMPLES.values()]
GOOD += [RAW_TOKENS.payload()]
GOOD += [KEY.sign(kind.TYPE, example.payload()) for kind, example in EXAMPLES.items()]
GOOD += [grant_body(grant) for grant in BODIES.values()] + [tariff_body(TARIFF), tariff_body(DATED_TARIFF)]


@pytest.mark.slow
@given(st.sampled_from(GOOD), st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=4)), max_size=4))
@settings(max_examples=300)
def test_objects_with_bytes_changed(data: bytes, changes: list[tuple[int, bytes]]) -> None:
    for at, new in changes:
        place = at % (len(data) + 1)
        data = data[:place] + new + data[place + len(new) // 2 :]
    try_all(data)


ANY_CBOR = st.recursive(
    st.integers(-(2**70), 2**70)
    | st.binary(max_size=40)
    | st.text(max_size=40)
    | st.floats()
    | st.booleans()
    | st.none()
    | st.decimals()
    | st.fractions()
    | st.uuids()
    | st.datetimes(timezones=st.timezones()),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.integers(-3, 20) | st.text(max_size=3), inner, max_size=8)
        | st.builds(cbor2.CBORTag, st.integers(0, 300), inner)
    ),
    max_leaves=20,
)


@pytest.mark.slow
@given(ANY_CBOR, st.booleans())
@settings(max_examples=150)
def test_any_cbor(value: Any, canonical: bool) -> None:
    try_all(cbor2.dumps(value, canonical=canonical))


@pytest.mark.slow
@given(st.sampled_from(sorted(EXAMPLES, key=lambda kind: kind.TYPE)), st.integers(0, 16), ANY_CBOR)
@settings(max_examples=150)
def test_objects_with_a_value_of_any_form(kind: type[Any], key: int, value: Any) -> None:
    payload = cbor2.loads(EXAMPLES[kind].payload())
    if kind is GrantObject and key > 3:
        for body in (payload[2], tariff_body(DATED_TARIFF)):
            try_all(cbor2.dumps(cbor2.loads(body) | {key: value}, canonical=True))
    try_all(cbor2.dumps(payload | {key: value}, canonical=True))


def references(depth: int) -> bytes:
    """Each item is twice the one before, by reference: a few bytes that write out as 2^depth."""
    items = [b"\xd8\x1c\x80"]
    items += [b"\xd8\x1c\x82" + 2 * (b"\xd8\x1d" + cbor2.dumps(i)) for i in range(depth)]
    return cbor2.dumps([0] * len(items))[: -len(items)] + b"".join(items)


def string_references(size: int, times: int) -> bytes:
    """A text of `size`, and references to it."""
    return (
        b"\xd9\x01\x00"
        + cbor2.dumps([0] * (times + 1))[: -times - 1]
        + cbor2.dumps("x" * size)
        + b"\xd8\x19\0" * times
    )


def lengths() -> dict[str, bytes]:
    heads = {"bytes": 0x5B, "text": 0x7B, "array": 0x9B, "map": 0xBB}
    return {
        f"{name} of 2^{bits}": bytes([head]) + (2**bits - 1).to_bytes(8, "big")
        for name, head in heads.items()
        for bits in (24, 31, 32, 40, 63, 64)
    }


BOMBS = {
    **lengths(),
    "array in array, ever deeper": b"\x81" * 100_000 + b"\0",
    "map in map": b"\xa1\0" * 100_000 + b"\0",
    "map as a map's key": b"\xa1" * 100_000 + b"\0",
    "open-ended arrays": b"\x9f" * 100_000,
    "tags": b"\xd2" * 100_000 + b"\0",
    "tag 18 in arrays": b"\xd2\x81" * 100_000 + b"\0",
    "huge arrays in huge arrays": b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff" * 7 + b"\0",
    "references to references": references(18),
    "references to a text": string_references(10_000, 1000),
    "bigfloat": bytes.fromhex("c5821b7fffffffffffffff03"),
    "decimal": bytes.fromhex("c4821b7fffffffffffffff03"),
    "pattern": b"\xd8\x23" + cbor2.dumps("(" * 90 + "a" + "{1,60000})" * 90),
    "bignum": b"\xc2" + cbor2.dumps(b"\xff" * 100_000),
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_little_memory_is_used(name: str) -> None:
    """Neither what a length promises nor what a reference repeats is ever built."""
    data = BOMBS[name]
    ways = [cose.decode, cose.payload_unchecked, EXAMPLES[Card].from_payload]
    header = cose.protected_header(KEY.kid)
    wrapped = cose.encode(cbor2.CBORTag(18, [header, {}, b"", b""]))[:-2] + data
    for bomb in (data, wrapped):
        for way_in in ways:
            tracemalloc.start()
            try:
                with pytest.raises(Refused):
                    way_in(bomb, "it")
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < 500_000


@pytest.mark.parametrize("text", [b"\xff" * 10_000, b"\xed\xa0\x80" * 3000, b"a" * 9999 + b"\xc3"])
def test_texts_that_are_not_utf8_are_refused_and_leave_nothing_behind(text: bytes) -> None:
    data = cbor2.dumps({1: [text]}).replace(cbor2.dumps(text), b"\x79" + cbor2.dumps(text)[1:])
    with pytest.raises(Refused, match="it is not CBOR, or was cut short"):
        cose.decode(data, "it")
    tracemalloc.start()
    try:
        for _ in range(100):
            with pytest.raises(Refused):
                cose.decode(data, "it")
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 500_000


def test_a_large_object_is_read_in_a_few_times_its_size() -> None:
    """A link of 2^20 units is 8 MiB a lane: no more than some copies of it are made."""
    kind, example = next((k, e) for k, e in EXAMPLES.items() if k.TYPE == "gw1/chunk")
    payload = cbor2.loads(example.payload()) | {5: 2**17, 6: [bytes(2**20)] * 4}
    data = cose.encode(payload)
    tracemalloc.start()
    try:
        assert kind.from_payload(data, "it").count == 2**17
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(data)
