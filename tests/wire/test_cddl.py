"""gw1.cddl says what the code does: all that is written keeps it, and nothing beyond it is read."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.wire import cose
from gateway.wire.objects import Card, Chunk, Descriptor, GrantObject, Tokens, read_grant_body
from tests.wire.samples import ANY, EXAMPLES, KEY, RULES, Object, conforms


@given(ANY)
@settings(max_examples=200)
def test_all_that_is_written_conforms(item: Object) -> None:
    assert conforms(RULES[type(item)], item.payload())
    if isinstance(item, GrantObject):
        assert conforms("grant-body", item.body)


@pytest.mark.parametrize("kind", list(EXAMPLES))
def test_signed_objects_conform(kind: type[Any]) -> None:
    data = KEY.sign(kind.TYPE, EXAMPLES[kind].payload())
    protected, unprotected, payload, _ = cbor2.loads(data).value
    assert conforms("header", protected)
    assert conforms("unprotected", cose.encode(unprotected))
    assert conforms(RULES[kind], payload)
    assert conforms("signed-object", data)
    for wrong in (
        cbor2.loads(data).value,
        cbor2.CBORTag(17, [protected, {}, payload, bytes(64)]),
        cbor2.CBORTag(18, [protected, {}, payload, bytes(63)]),
        cbor2.CBORTag(18, [protected, {}, payload]),
        cbor2.CBORTag(18, [protected, {}, "payload", bytes(64)]),
    ):
        assert not conforms("signed-object", cbor2.dumps(wrong))
    for wrong_header in ({1: -7}, {1: -8, 4: KEY.kid}, {1: -7, 4: KEY.kid[1:]}, {1: -7, 4: KEY.kid, 5: 0}):
        assert not conforms("header", cbor2.dumps(wrong_header))


# Values that sit at the edges of one form or another.
VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 23, 24, 900, 3_600_000, 3_600_001, 2**20, 2**20 + 1, 2**40 - 1, 2**40, 2**63, 2**64 - 1),
    *(b"", b"\0", bytes(8), bytes(15), bytes(16), bytes(17), bytes(24), bytes(31), bytes(32), bytes(64)),
    *(bytes(91), bytes(1167), bytes(1168), bytes(1216), b"\xa0", KEY.public, KEY.kid),
    *(
        "",
        "x",
        "UTC",
        "day",
        "month",
        "week",
        "tpm",
        "gateway",
        "provider",
        "windows",
        "raw",
        "ä" * 40,
        "x" * 81,
    ),
    *("ä" * 128, "ä" * 129, "Europe/Berlin", "import"),
    *([], ["import"], ["import", "export"], ["heat"], ["import"] * 5, [b""], [bytes(16)], [bytes(16)] * 4),
    *(
        [["import", "Wh", "0.001"]],
        [["import", "Wh", "1"]],
        [["count", "readings", "1"]],
        [[]],
        [["power", "W"]],
    ),
    *({}, {1: 1}),
)
BODY = EXAMPLES[GrantObject].payload()


@pytest.mark.parametrize("kind", list(EXAMPLES))
def test_nothing_beyond_the_cddl_is_read(kind: type[Any]) -> None:
    """For each entry and each value: where the code reads it, the CDDL allows it."""
    payload = cbor2.loads(EXAMPLES[kind].payload())
    for field in kind.FIELDS:
        for value in VALUES:
            data = cbor2.dumps(payload | {field.key: value}, canonical=True)
            try:
                kind.from_payload(data, "it")
            except Refused:
                continue
            assert conforms(RULES[kind], data), (field.name, value)


def grant_body_entries() -> dict[int, Any]:
    entries: dict[int, Any] = cbor2.loads(cbor2.loads(BODY)[2])
    return entries


def test_no_grant_body_beyond_the_cddl_is_read() -> None:
    for changes in ({}, {5: 900, 6: "UTC"}):
        for key in range(15):
            for value in VALUES:
                data = cbor2.dumps(grant_body_entries() | changes | {key: value}, canonical=True)
                try:
                    read_grant_body(data, 1000, "it")
                except Refused:
                    continue
                assert conforms("grant-body", data), (key, value)


@given(st.dictionaries(st.integers(1, 13), st.sampled_from(VALUES)), st.sets(st.integers(1, 13), max_size=2))
@settings(max_examples=300)
def test_grant_bodies_changed_at_will(changes: dict[int, Any], without: set[int]) -> None:
    body = {k: v for k, v in (grant_body_entries() | changes).items() if k not in without}
    data = cbor2.dumps(body, canonical=True)
    try:
        read_grant_body(data, 1000, "it")
    except Refused:
        return
    assert conforms("grant-body", data)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (Descriptor, {2: 0}),
        (Descriptor, {2: 3_600_001}),
        (Descriptor, {3: 0}),
        (Descriptor, {3: 2**20 + 1}),
        (Descriptor, {4: []}),
        (Descriptor, {4: [["import", "W", "0.001"]]}),
        (Descriptor, {4: [["power", "Wh", "0.001"]]}),
        (Descriptor, {6: bytes(90)}),
        (Descriptor, {7: "TPM"}),
        (Chunk, {5: 0}),
        (Chunk, {6: []}),
        (Chunk, {6: [bytes(16)] * 5}),
        (Chunk, {6: [b""]}),
        (Chunk, {7: bytes(31)}),
        (GrantObject, {2: b"\xa0"}),
        (GrantObject, {3: bytes(1167)}),
        (Tokens, {4: 0}),
        (Tokens, {5: bytes(23)}),
        (Card, {3: bytes(1217)}),
        (Card, {4: "registrar"}),
        (Card, {5: "x" * 81}),
    ],
)
def test_the_cddl_is_tight(kind: type[Any], changes: dict[int, Any]) -> None:
    """What the code refuses by itself, the CDDL forbids to other implementations too."""
    data = cbor2.dumps(cbor2.loads(EXAMPLES[kind].payload()) | changes, canonical=True)
    assert not conforms(RULES[kind], data)
    with pytest.raises(Refused):
        kind.from_payload(data, "it")


@pytest.mark.parametrize(
    "changes",
    [{5: 0}, {5: 2**40}, {5: "week"}, {5: 900}, {4: []}, {4: ["heat"]}, {9: "x" * 257}, {10: "x"}, {14: 0}],
)
def test_the_cddl_is_tight_for_grant_bodies(changes: dict[int, Any]) -> None:
    assert not conforms("grant-body", cbor2.dumps(grant_body_entries() | changes, canonical=True))


@pytest.mark.parametrize("kind", list(EXAMPLES))
def test_the_cddl_asks_for_every_entry(kind: type[Any]) -> None:
    payload = cbor2.loads(EXAMPLES[kind].payload())
    for key in payload:
        less = {k: v for k, v in payload.items() if k != key}
        assert not conforms(RULES[kind], cose.encode(less))
    assert not conforms(RULES[kind], cose.encode(payload | {99: 0}))
    optional = {8, 11}
    for key in grant_body_entries():
        less = {k: v for k, v in grant_body_entries().items() if k != key}
        assert conforms("grant-body", cose.encode(less)) == (key in optional)
