"""gw1.cddl says what the code does: all that is written keeps it, and nothing beyond it is read."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.tariff import Tariff
from gateway.errors import Refused
from gateway.wire import cose
from gateway.wire.card import Card
from gateway.wire.certificate import Certificate, Revocations
from gateway.wire.command import Command, Receipt
from gateway.wire.grant import GrantObject, Tokens, grant_body, read_grant_body
from gateway.wire.prices import PriceSeries
from gateway.wire.request import Login, Request
from gateway.wire.stream import Chunk, Descriptor, Head, Page
from gateway.wire.tariff import read_tariff_body, tariff_body
from tests.vectors import make
from tests.wire.samples import (
    ANY,
    BODIES,
    DATED_TARIFF,
    DEMANDED,
    EXAMPLES,
    KEY,
    RULES,
    TARIFF,
    Object,
    conforms,
    tariffs,
)


@given(ANY)
@settings(max_examples=200)
def test_all_that_is_written_conforms(item: Object) -> None:
    assert conforms(RULES[type(item)], item.payload())
    if isinstance(item, GrantObject):
        assert conforms("grant-body", item.body)


@given(tariffs())
@settings(max_examples=40)
def test_all_tariffs_conform(tariff: Tariff) -> None:
    assert conforms("tariff", tariff_body(tariff))


def vector(name: str) -> dict[str, Any]:
    content = make.stored(name)
    assert content is not None
    return content


def test_the_vectors_conform() -> None:
    rules = {kind.TYPE: rule for kind, rule in RULES.items()}
    for entry in (entry for name in ("objects", "pages", "commands") for entry in vector(name)["objects"]):
        assert conforms(rules[entry["type"]], bytes.fromhex(entry["payload"])), entry["key"]
        assert conforms("signed-object", bytes.fromhex(entry["cose"]))
    for case in vector("grant")["cases"]:
        assert conforms("grant-body", bytes.fromhex(case["body"]))
    for case in vector("bill")["cases"]:
        assert conforms("tariff", bytes.fromhex(case["tariff_body"]))


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
        "month-15",
        "month-28",
        "month-1",
        "month-29",
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


def entries(kind: str) -> dict[int, Any]:
    """The grant body of a kind, as a map."""
    decoded: dict[int, Any] = cbor2.loads(grant_body(BODIES[kind]))
    return decoded


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(BODIES))
def test_no_grant_body_beyond_the_cddl_is_read(kind: str) -> None:
    for changes in ({}, {5: 900, 6: "UTC"}):
        for key in range(18):
            for value in VALUES:
                data = cbor2.dumps(entries(kind) | changes | {key: value}, canonical=True)
                try:
                    read_grant_body(data, 1000, "it")
                except Refused:
                    continue
                assert conforms("grant-body", data), (key, value)


@pytest.mark.slow
@given(
    st.sampled_from(sorted(BODIES)),
    st.dictionaries(st.integers(1, 16), st.sampled_from(VALUES)),
    st.sets(st.integers(1, 16), max_size=2),
)
@settings(max_examples=300)
def test_grant_bodies_changed_at_will(kind: str, changes: dict[int, Any], without: set[int]) -> None:
    body = {k: v for k, v in (entries(kind) | changes).items() if k not in without}
    data = cbor2.dumps(body, canonical=True)
    try:
        read_grant_body(data, 1000, "it")
    except Refused:
        return
    assert conforms("grant-body", data)


def tariff_entries() -> dict[int, Any]:
    decoded: dict[int, Any] = cbor2.loads(tariff_body(TARIFF))
    return decoded


WEEK = list(range(7))
# When a rule holds, at the edges of the form, and beyond.
WHEN: tuple[Any, ...] = (
    *({1: [1]}, {1: list(range(1, 13))}, {2: 0}, {3: 65_535}, {4: [0, 65_535]}, {4: list(range(4096))}),
    *({1: [4, 10], 2: 5, 3: 6, 4: [5]}, {2: 6, 3: 5}, {2: 5, 3: 5}, {4: [5, 5]}, {4: [6, 5]}, {1: [2, 1]}),
)
NO_WHEN: tuple[Any, ...] = (
    *({}, [], 0, {0: 0}, {5: 0}, {64: 0}, {1: []}, {1: [0]}, {1: [13]}, {1: 1}, {1: [1] * 13}, {2: -1}),
    *({2: 65_536}, {3: [1]}, {3: -1}, {4: []}, {4: [65_536]}, {4: [-1]}, {4: 5}, {4: [1] * 4097}),
    *({1: [1], 5: 0}, {4: {1: 1}}),
)
# Prices at the edges of their form, and beyond.
PRICES: tuple[Any, ...] = (
    [[-(2**63), list(range(7)), 0, 1440]],
    [[2**63 - 1, list(range(7)), 0, 1440]] * 256,
    [[1, [0], 0, 1440]],
    [[1, [*WEEK, 7], 0, 1440]],
    [[1, [0], 60, 0]],
    *([[1, WEEK, 0, 1440, when], [1, WEEK, 0, 1440]] for when in WHEN),
    [0, [1]],
    [900_000, [-(2**63), 2**63 - 1]],
    [1, [1]],
)
NO_PRICES: tuple[Any, ...] = (
    *([], [[]], 0, [0], [0, []], [0, 1], [0, [1], 0], [0, ["1"]], [-900_000, [1]]),
    *([0, [2**63]], [0, [-(2**63) - 1]], [[2**63, [0], 0, 1440]], [[1, [0], 0]], [[1, [0], 0, 1440, 0]]),
    *([[1, 0, 0, 1440]], [[1, [8], 0, 1440]], [[1, [-1], 0, 1440]], [[1, [], 0, 1440]]),
    *([[1, [0] * 9, 0, 1440]], [[1, [0], 0, 1441]], [[1, [0], -1, 1440]]),
    *([[1, [0], 0, 1440]] * 257, [[1, [0], 0, 1440], 5], [[1, [0], 0, 1440], [1, [8], 0, 1440]]),
    *([[1, WEEK, 0, 1440, when], [1, WEEK, 0, 1440]] for when in NO_WHEN),
    [[1, WEEK, 0, 1440, {1: [1]}, {1: [1]}], [1, WEEK, 0, 1440]],
)


def test_no_tariff_beyond_the_cddl_is_read() -> None:
    assert conforms("tariff", cbor2.dumps(tariff_entries(), canonical=True))
    read = 0
    for key in range(11):
        for value in (*VALUES, *PRICES, *NO_PRICES, *([20_000], [20_000, 20_001])):
            for dates in ({}, {7: 19_999, 8: 20_002}):
                data = cbor2.dumps(tariff_entries() | dates | {key: value}, canonical=True)
                try:
                    read_tariff_body(data, "it")
                except Refused:
                    continue
                assert conforms("tariff", data), (key, value)
                read += 1
    assert read > 50


@pytest.mark.parametrize(
    "changes", [{7: 5, 8: 5}, {7: 5, 8: 7, 9: [7]}, {7: 5, 8: 9, 9: [6, 6]}, {7: 6, 8: 5}]
)
def test_dates_that_make_no_calendar_are_refused(changes: dict[int, Any]) -> None:
    with pytest.raises(Refused, match="it: a tariff's "):
        read_tariff_body(cbor2.dumps(tariff_entries() | changes, canonical=True), "it")


def test_a_rule_that_is_wrong_inside_is_pointed_at() -> None:
    wrong = [[1, WEEK, 0, 1440], [1, WEEK, 0, 1440, {1: [1], 4: [5, 65_536]}]]
    with pytest.raises(
        Refused, match=r"import\[1\]\[4\]\[4\]\[1\] is invalid: expected an integer from 0 to 65535"
    ):
        read_tariff_body(cbor2.dumps(tariff_entries() | {5: wrong}, canonical=True), "it")


@pytest.mark.parametrize(
    "changes",
    [
        {1: ""},
        {1: "x" * 9},
        {2: 13},
        {4: 0},
        {4: 86_400_001},
        *({5: prices} for prices in NO_PRICES),
        *({7: -1}, {8: 65_536}, {7: [0]}, {9: [1]}, {7: 0, 9: [1]}, {8: 2, 9: [1]}),
        *({7: 0, 8: 2, 9: dates} for dates in ([], [[1]], [65_536], [-1], [1.5], 1, {1: 1}, [1] * 4097)),
        {10: 0},
    ],
)
def test_the_cddl_is_tight_for_tariffs(changes: dict[int, Any]) -> None:
    data = cbor2.dumps(tariff_entries() | changes, canonical=True)
    assert not conforms("tariff", data)
    with pytest.raises(Refused):
        read_tariff_body(data, "it")


def test_a_tariff_prices_import_or_export_or_both() -> None:
    for without in (set(), {5}, {6}, {5, 6}):
        body = {key: value for key, value in tariff_entries().items() if key not in without}
        data = cbor2.dumps(body, canonical=True)
        assert conforms("tariff", data) == (without != {5, 6})
        if without == {5, 6}:
            with pytest.raises(Refused):
                read_tariff_body(data, "it")
        else:
            assert tariff_body(read_tariff_body(data, "it")) == data


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
        (Descriptor, {4: [["temperature", "Cel", "1"]]}),
        (Descriptor, {4: [["import", "Wh", "0.001"], ["temperature", "Cel", "0.01"]]}),
        (Descriptor, {4: [["occupancy", "persons", "1"], ["power", "W", "1"], ["count", "readings", "1"]]}),
        (Descriptor, {6: bytes(90)}),
        (Descriptor, {7: "TPM"}),
        (Head, {64: 0}),
        (Head, {64: [bytes(15)]}),
        (Head, {64: [0]}),
        (Head, {64: [number.to_bytes(16, "big") for number in range(1025)]}),
        (Chunk, {5: 0}),
        (Chunk, {6: []}),
        (Chunk, {6: [bytes(16)] * 6}),
        (Chunk, {6: [b""]}),
        (Chunk, {7: bytes(31)}),
        (GrantObject, {2: b"\xa0"}),
        (GrantObject, {3: bytes(1167)}),
        (Tokens, {4: []}),
        (Tokens, {4: bytes(7)}),
        (Tokens, {4: [bytes(24), bytes(15)]}),
        (Tokens, {5: 0}),
        (Tokens, {5: []}),
        (Tokens, {5: [[24]]}),
        (Tokens, {5: [[24, 1, 1]]}),
        (Tokens, {5: [[24, -1]]}),
        (Tokens, {5: [24, 1]}),
        (Tokens, {6: []}),
        (Tokens, {6: [-1]}),
        (Tokens, {6: 24}),
        (Tokens, {7: []}),
        (Tokens, {7: [bytes(31)]}),
        (Tokens, {7: bytes(32)}),
        (Tokens, {8: 0}),
        (Page, {2: "2026"}),
        (Page, {2: "2026-13"}),
        (Page, {2: "2026-01-32"}),
        (Page, {2: "2026-01-01T00"}),
        (Page, {3: 0}),
        (Page, {5: 0}),
        (Page, {6: []}),
        (Page, {6: [bytes(16)] * 6}),
        (Page, {7: []}),
        (Page, {7: [bytes(32), bytes(31)]}),
        (Page, {8: bytes(31)}),
        (Card, {3: bytes(1217)}),
        (Card, {4: "utility"}),
        (Certificate, {1: b"card"}),
        (Certificate, {6: "none"}),
        (Certificate, {7: []}),
        (Certificate, {8: 0}),
        (Revocations, {3: []}),
        (Revocations, {3: [-1]}),
        (Login, {2: bytes(31)}),
        (Request, {4: "raw"}),
        (Request, {4: "windows"}),
        (Request, {5: ["power"]}),
        (Request, {6: 900}),
        (Request, {6: 0, 7: "UTC"}),
        (Request, {6: "week"}),
        (Request, {11: b"tariff"}),
        (Card, {5: "x" * 81}),
        (PriceSeries, {3: "x" * 81}),
        (PriceSeries, {4: []}),
        (PriceSeries, {4: ["power"]}),
        (PriceSeries, {5: ""}),
        (PriceSeries, {5: "x" * 9}),
        (PriceSeries, {6: 13}),
        (PriceSeries, {8: []}),
        (PriceSeries, {8: [[0, 0, 1]]}),
        (PriceSeries, {8: [[0, 366 * 86_400_000 + 1, 1]]}),
        (PriceSeries, {8: [[0, 1, 2**63]]}),
        (PriceSeries, {8: [[0, 1]]}),
        (Command, {4: 2**63}),
        (Command, {5: "message"}),
        (Command, {5: "disconnect"}),
        (Command, {5: "explode"}),
        (Command, {6: -1}),
        (Command, {7: 253_402_300_800_000}),
        (Command, {8: 2**32}),
        (Command, {8: -1}),
        (Command, {9: ""}),
        (Command, {9: "x" * 257}),
        (Receipt, {4: 0}),
        (Receipt, {5: "done"}),
        (Receipt, {5: "gone"}),
        (Receipt, {6: "over"}),
        (Receipt, {9: "unknown"}),
        (Receipt, {10: 2**32}),
        (Receipt, {11: bytes(31)}),
    ],
)
def test_the_cddl_is_tight(kind: type[Any], changes: dict[int, Any]) -> None:
    """What the code refuses by itself, the CDDL forbids to other implementations too."""
    data = cbor2.dumps(cbor2.loads(EXAMPLES[kind].payload()) | changes, canonical=True)
    assert not conforms(RULES[kind], data)
    with pytest.raises(Refused):
        kind.from_payload(data, "it")


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *(("windows", {key: value}) for key, value in ((5, 0), (5, 2**40), (5, "week"), (5, 900), (4, []))),
        *(("windows", {5: f"month-{day}"}) for day in (0, 1, 29, "02", "2x", "")),
        *(("windows", {key: value}) for key, value in ((4, ["heat"]), (9, "x" * 257), (10, "x"), (15, 0))),
        *(("windows", {key: value}) for key, value in ((15, 1), (16, 2), (17, 0))),
        *(("bill", {key: value}) for key, value in ((15, 0), (15, -1), (15, 2**63), (16, 2), (15, "cent"))),
        *(("load", {key: value}) for key, value in ((16, 1), (16, 0), (16, 2**32 + 1), (15, 1))),
        *(("raw", {key: value}) for key, value in ((15, 1), (16, 2))),
        *(("windows", {key: value}) for key, value in ((11, bytes(32)), (14, bytes(16)), (10, "bill"))),
        *(("bill", {key: value}) for key, value in ((4, ["power"]), (14, bytes(16)), (10, "windows"))),
        *(("load", {key: value}) for key, value in ((11, bytes(32)), (14, bytes(15)), (10, "raw"))),
        *(("raw", {key: value}) for key, value in ((5, "day"), (6, "Europe/Berlin"), (14, bytes(16)))),
    ],
)
def test_the_cddl_is_tight_for_grant_bodies(kind: str, changes: dict[int, Any]) -> None:
    data = cbor2.dumps(entries(kind) | changes, canonical=True)
    assert not conforms("grant-body", data)
    with pytest.raises(Refused):
        read_grant_body(data, 1000, "it")


@pytest.mark.parametrize("count", [0, 1, 1024])
def test_a_head_names_revoked_grants(count: int) -> None:
    revoked = tuple(number.to_bytes(16, "big") for number in range(count))
    head = Head(bytes(16), 3, bytes(32), 3602, 2**40, revoked)
    assert conforms("head", head.payload())
    assert Head.from_payload(head.payload(), "it") == head


@pytest.mark.parametrize("kind", list(EXAMPLES))
def test_the_cddl_asks_for_every_entry(kind: type[Any]) -> None:
    payload = cbor2.loads(EXAMPLES[kind].payload())
    demanded = DEMANDED - {(Certificate, "assurance")}  # the CDDL does not look into the card
    optional = {f.key for f in kind.FIELDS if f.optional and (kind, f.name) not in demanded}
    for key in payload:
        less = {k: v for k, v in payload.items() if k != key}
        assert conforms(RULES[kind], cose.encode(less)) == (key in optional)
    for key in (0, 63, -1, -64, "x", "64", b"x"):
        assert not conforms(RULES[kind], cose.encode(payload | {key: 0}))


def added_from(first: int) -> tuple[dict[int, Any], ...]:
    """Entries of later versions, whose keys begin with `first`."""
    return (
        {first: 0},
        {2**64 - 1: "x", first: -(2**64)},
        {99: [b"x", [], {}, {1: [0], 0: {2**64 - 1: ""}}]},
    )


NOT_ADDED: tuple[Any, ...] = (
    1.5,
    True,
    None,
    [1.5],
    {1: None},
    {-1: 0},
    {"x": 0},
    {b"x": 0},
    cbor2.CBORTag(0, ""),
    cbor2.undefined,
)


@pytest.mark.slow
def test_the_cddl_lets_later_versions_add_entries() -> None:
    """From key 64 on, of whatever CBOR version 1 uses; the code skips the same."""
    bodies = [(RULES[kind], example.payload(), kind.from_payload) for kind, example in EXAMPLES.items()]
    bodies += [
        ("grant-body", grant_body(grant), lambda data, what: read_grant_body(data, 1000, what))
        for grant in BODIES.values()
    ]
    bodies += [("tariff", tariff_body(tariff), read_tariff_body) for tariff in (TARIFF, DATED_TARIFF)]
    for rule, data, read in bodies:
        plain = cbor2.loads(data)
        first = max(63, *plain) + 1
        for added in added_from(first):
            more = cose.encode(plain | added)
            assert conforms(rule, more)
            assert read(more, "it") == read(data, "it")
        for value in NOT_ADDED:
            more = cbor2.dumps(plain | {first: value}, canonical=True)
            assert not conforms(rule, more)
            with pytest.raises(Refused):
                read(more, "it")
        for extra in (*range(17, 64), -1, -64, "x", b"x"):
            more = cose.encode(plain | {extra: 0})
            assert not conforms(rule, more)
            with pytest.raises(Refused):
                read(more, "it")


@pytest.mark.parametrize("kind", list(BODIES))
def test_the_cddl_asks_for_every_entry_of_a_grant_body(kind: str) -> None:
    body = entries(kind)
    for key in body:
        less = cose.encode({k: v for k, v in body.items() if k != key})
        assert conforms("grant-body", less) == (key in {8, 14, 16})
        if key not in {8, 14, 16}:
            with pytest.raises(Refused):
                read_grant_body(less, 1000, "it")
