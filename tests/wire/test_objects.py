"""Every kind of object: there and back, and nothing else is taken for it."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Literal
from zoneinfo import ZoneInfo

import cbor2
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import gateway.wire
from gateway.chain.grant import Grant
from gateway.chain.layout import LANES
from gateway.chain.tariff import Tariff
from gateway.errors import Refused
from gateway.wire import cose, names
from gateway.wire.card import Card
from gateway.wire.certificate import Certificate
from gateway.wire.form import Field, bstr, one_of, read, tstr, tuple_of
from gateway.wire.grant import GrantObject, Tokens, grant_body, read_grant_body
from gateway.wire.signed import Signed, Stored
from gateway.wire.stream import Chunk, Descriptor, Head, Page
from gateway.wire.tariff import read_tariff_body, tariff_body
from tests.wire.samples import (
    ANY,
    BODIES,
    DEMANDED,
    EXAMPLES,
    KEY,
    OTHER,
    RAW_TOKENS,
    RULES,
    TARIFF,
    U64,
    Object,
    grants,
    tariffs,
)

KINDS = list(EXAMPLES)
STREAM = b"stream".ljust(16)  # that of the examples


def test_no_kind_of_object_is_forgotten() -> None:
    modules = [import_module(f"gateway.wire.{module.name}") for module in iter_modules(gateway.wire.__path__)]
    classes = {v for m in modules for v in vars(m).values() if isinstance(v, type) and issubclass(v, Signed)}
    kinds = classes - {Signed, Stored}
    assert kinds == set(EXAMPLES) == set(RULES)
    assert len({kind.TYPE for kind in KINDS}) == len(KINDS)
    assert all(kind.TYPE.startswith("gw1/") for kind in KINDS)


@given(ANY)
@settings(max_examples=200)
def test_objects_come_back_as_they_were(item: Object) -> None:
    data = KEY.sign(item.TYPE, item.payload())
    read = type(item).read(data, KEY.public, "it")
    assert read == item
    assert read.payload() == item.payload()


@given(grants())
def test_grant_bodies_come_back_as_they_were(grant: Grant) -> None:
    body = grant_body(grant)
    read = read_grant_body(body, grant.granularity.unit_ms, "it")
    assert read == grant
    assert grant_body(read) == body


@given(tariffs())
@settings(max_examples=50)
def test_tariffs_come_back_as_they_were(tariff: Tariff) -> None:
    body = tariff_body(tariff)
    read = read_tariff_body(body, "it")
    assert read == tariff
    assert tariff_body(read) == body


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_an_object_is_of_one_type(kind: type[Any], other: type[Any]) -> None:
    """Even where the payload would fit: the type is signed."""
    data = KEY.sign(other.TYPE, EXAMPLES[kind].payload())
    if kind is other:
        assert kind.read(data, KEY.public, "it") == EXAMPLES[kind]
        return
    with pytest.raises(Refused, match=f"it does not fit: changed, or not a {kind.TYPE}$"):
        kind.read(data, KEY.public, "it")


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_of_one_key(kind: type[Any]) -> None:
    item = EXAMPLES[kind]
    with pytest.raises(
        Refused, match=f"signed by key {OTHER.kid.hex()}, not by the registered {KEY.kid.hex()}"
    ):
        kind.read(OTHER.sign(item.TYPE, item.payload()), KEY.public, "it")
    # another's signature under the registered key's name
    message = cose.to_be_signed(item.TYPE, KEY.kid, item.payload())
    with pytest.raises(Refused, match="does not fit"):
        kind.read(cose.assemble(KEY.kid, item.payload(), OTHER.signature(message)), KEY.public, "it")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_any_byte_is_refused(kind: type[Any]) -> None:
    data = KEY.sign(kind.TYPE, EXAMPLES[kind].payload())
    for at in range(len(data)):
        for flip in (1 << at % 8, 0xFF):
            changed = bytearray(data)
            changed[at] ^= flip
            with pytest.raises(Refused):
                kind.read(bytes(changed), KEY.public, "it")


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_cut_short_or_drawn_out_is_refused(kind: type[Any]) -> None:
    data = KEY.sign(kind.TYPE, EXAMPLES[kind].payload())
    for size in range(len(data)):
        with pytest.raises(Refused):
            kind.read(data[:size], KEY.public, "it")
    for more in (b"\0", b"\xf6", data):
        with pytest.raises(Refused, match="in more than one way"):
            kind.read(data + more, KEY.public, "it")


def entries(kind: type[Any]) -> dict[Any, Any]:
    """The payload of the example, as a map."""
    decoded: dict[Any, Any] = cbor2.loads(EXAMPLES[kind].payload())
    return decoded


def refusal(kind: type[Any], payload: dict[Any, Any]) -> str:
    """What a rightly signed object with this payload is refused for."""
    data = KEY.sign(kind.TYPE, cbor2.dumps(payload, canonical=True))
    with pytest.raises(Refused) as refused:
        kind.read(data, KEY.public, "it")
    return str(refused.value)


PLAIN = st.recursive(
    st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=20) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(U64, inner, max_size=3),
    max_leaves=4,
)
ADDED = st.dictionaries(U64.filter(lambda key: key >= 64), PLAIN, min_size=1, max_size=3)


@given(ANY, ADDED)
def test_entries_that_later_versions_add_are_skipped(item: Object, added: dict[int, Any]) -> None:
    """The signature covers them, and so does the digest: both are of the bytes as they are."""
    assume(not added.keys() & {field.key for field in item.FIELDS})
    plain = KEY.sign(item.TYPE, item.payload())
    data = KEY.sign(item.TYPE, cose.encode(cbor2.loads(item.payload()) | added))
    assert type(item).read(data, KEY.public, "it") == item
    assert cose.digest(data) != cose.digest(plain)
    key, value = next(iter(added.items()))
    changed = cose.encode(cbor2.loads(item.payload()) | added | {key: 0 if value != 0 else 1})
    with pytest.raises(Refused, match="does not fit"):
        type(item).read(cose.assemble(KEY.kid, changed, data[-64:]), KEY.public, "it")


@pytest.mark.slow
@given(grants(), tariffs(), ADDED)
def test_entries_that_are_added_to_a_body_are_skipped(
    grant: Grant, tariff: Tariff, added: dict[int, Any]
) -> None:
    body = cose.encode(cbor2.loads(grant_body(grant)) | added)
    assert read_grant_body(body, grant.granularity.unit_ms, "it") == grant
    found = GrantObject(grant.stream, body, bytes(1168))
    read = GrantObject.read(KEY.sign("gw1/grant", found.payload()), KEY.public, "it")
    assert read.body == body  # K_0 is sealed to H of these bytes
    assert read_tariff_body(cose.encode(cbor2.loads(tariff_body(tariff)) | added), "it") == tariff


@pytest.mark.parametrize("kind", KINDS)
def test_entries_too_many_or_too_few_are_refused(kind: type[Any]) -> None:
    payload = entries(kind)
    for extra in (0, 14, 24, 63):
        assert refusal(kind, payload | {extra: 0, 66: 0}) == (
            f"it: its payload has an entry {extra}, which version 1 does not know; only those from 64 on are"
            " skipped"
        )
    no_integers: tuple[Any, ...] = (-1, -65, "x", "64", b"x", b"\x40")
    for other in no_integers:
        assert "maps of unsigned integer keys" in refusal(kind, payload | {other: 0})
    assert {field.key for field in kind.FIELDS} == set(payload)
    for field in kind.FIELDS:
        less = {k: v for k, v in payload.items() if k != field.key}
        if (kind, field.name) in DEMANDED:
            assert refusal(kind, less).startswith("it: ")
        elif field.optional:
            read = kind.read(KEY.sign(kind.TYPE, cose.encode(less)), KEY.public, "it")
            if field.name.endswith("_factor"):
                assert getattr(read.factor, field.name.removesuffix("_factor")) == 1
            else:
                assert getattr(read, field.name) is None
        else:
            assert refusal(kind, less) == f"it: {field.name} is missing"
    for not_a_map in ([], 0, b"", "x", [payload]):
        data = KEY.sign(kind.TYPE, cbor2.dumps(not_a_map, canonical=True))
        with pytest.raises(Refused, match="is not a map"):
            kind.read(data, KEY.public, "it")


NO_PERIOD = "period is invalid: expected a day YYYY-MM-DD or a month YYYY-MM, found text of"
# What a refusal says of a value that it found.
FOUND = {
    "-1": "-1",
    "0": "0",
    str(2**64 - 1): "an integer of 64 bits",
    "''": "text of 0 bytes",
    "'x'": "text of 1 byte",
    "b''": "0 bytes",
    "b'x'": "1 byte",
    "[]": "an array of 0 items",
    "[[]]": "an array of 1 item",
    "[0]": "an array of 1 item",
    "{}": "a map",
    "{1: 1}": "a map",
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_another_form_are_refused(kind: type[Any]) -> None:
    forms: tuple[Any, ...] = (-1, 0, 2**64 - 1, "", "x", b"", b"x", [], [[]], [0], {}, {1: 1})
    not_ours: tuple[Any, ...] = (True, None, 1.0, 2**64, cbor2.undefined, cbor2.CBORTag(2, b"\1"))
    for field in kind.FIELDS:
        payload = entries(kind)
        for value in forms:
            if field.name in ("edges", "serials", "claims") and value == [0]:  # may be any of these
                continue
            if field.name == "revoked" and value == []:  # none was
                continue
            if type(value) is not type(payload[field.key]) or value in (-1, [], [[]], [0]):
                said = refusal(kind, payload | {field.key: value})
                expected = re.escape(field.form.expected)
                if isinstance(value, list) and value and "an array of" in field.form.expected:
                    assert re.fullmatch(rf"it: {field.name}\[0\] is invalid: expected .+, found .+", said)
                else:
                    assert re.fullmatch(
                        rf"it: {field.name} is invalid: expected {expected}, found {FOUND[repr(value)]}", said
                    )
        for value in not_ours:
            assert "CBOR that version 1 does not use" in refusal(kind, payload | {field.key: value})
        # a key that Python takes for the same number, and CBOR does not
        for alias in (float(field.key), *([True] if field.key == 1 else [])):
            renamed = {alias if key == field.key else key: v for key, v in entries(kind).items()}
            assert "CBOR that version 1 does not use" in refusal(kind, renamed)


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        (Descriptor, {2: 0}, "unit_ms = 0: a unit is 1 ms to 1 h"),
        (Descriptor, {3: 2**20 + 1}, "link_units = 1048577"),
        (Descriptor, {4: [["heat", "Wh", "0.001"]]}, "it: 'heat' ('Wh', '0.001') is not a lane of version 1"),
        (Descriptor, {4: [["import", "Wh", "1"]]}, "it: 'import' ('Wh', '1') is not a lane of version 1"),
        (Descriptor, {4: [["import", "Wh", "0.001"]] * 2}, "names a lane twice"),
        (
            Descriptor,
            {4: [["temperature", "Cel", "0.01"], ["power", "W", "1"]]},
            "it: temperature lies in a stream with lanes of a meter",
        ),
        (Descriptor, {5: 1}, "does not start at a link boundary"),
        (Descriptor, {6: bytes(90)}, "signing_key is invalid: expected 91 bytes, found 90 bytes"),
        (Chunk, {5: 0}, "count is invalid: expected an integer from 1 to 1048576, found 0"),
        (Chunk, {5: 1}, "its lanes do not hold 1 units each"),
        (Chunk, {6: []}, "lanes is invalid: expected an array of 1 to 5 items, found an array of 0 items"),
        (
            Chunk,
            {6: [bytes(16)] * 6},
            "lanes is invalid: expected an array of 1 to 5 items, found an array of 6 items",
        ),
        (Chunk, {6: [bytes(16), bytes(15)]}, "its lanes do not hold 2 units each"),
        (Head, {64: 0}, "revoked is invalid: expected an array of 0 to 1024 items, found 0"),
        (Head, {64: [bytes(16), bytes(15)]}, "revoked[1] is invalid: expected 16 bytes, found 15 bytes"),
        (Head, {64: [bytes(16)] * 2}, "it: the ids of its revoked grants do not rise"),
        (Head, {64: [b"b" * 16, b"a" * 16]}, "it: the ids of its revoked grants do not rise"),
        (GrantObject, {1: bytes(16)}, "its body grants another stream, 73747265616d2020"),
        (GrantObject, {2: b"\xa0"}, "the body of it: id is missing"),
        (GrantObject, {3: bytes(1167)}, "sealed_k0 is invalid: expected 1168 bytes, found 1167 bytes"),
        (
            Tokens,
            {4: []},
            "words is invalid: expected at least 8 bytes or an array of 1 to 1048576 items, "
            "found an array of 0 items",
        ),
        (
            Tokens,
            {4: [bytes(24), bytes(15)]},
            "words[1] is invalid: expected at least 16 bytes, found 15 bytes",
        ),
        (
            Tokens,
            {4: bytes(7)},
            "words is invalid: expected at least 8 bytes or an array of 1 to 1048576 items, found 7 bytes",
        ),
        (Tokens, {5: []}, "sealed is invalid: expected an array of 1 to 1048576 items, found an array of 0"),
        (Tokens, {5: [[24, 1], [25]]}, "sealed[1] is invalid: expected an array of 2 items, found an array"),
        (
            Tokens,
            {5: [[24, -1]]},
            "sealed[0][1] is invalid: expected an integer from 0 to 2^64 - 1, found -1",
        ),
        (Tokens, {6: []}, "edges is invalid: expected an array of 1 to 1048577 items, found an array of 0"),
        (Tokens, {6: [24, "x"]}, "edges[1] is invalid: expected an integer from 0 to 2^64 - 1, found text"),
        (Tokens, {7: []}, "weighed is invalid: expected an array of 1 to 1048576 items, found an array of 0"),
        (
            Tokens,
            {7: [bytes(32), bytes(31)]},
            "weighed[1] is invalid: expected 32 bytes, found 31 bytes",
        ),
        (Page, {2: "2026-13"}, f"{NO_PERIOD} 7 bytes"),
        (Page, {2: "2026-1"}, f"{NO_PERIOD} 6 bytes"),
        (Page, {2: "2026-01-32"}, f"{NO_PERIOD} 10 bytes"),
        (Page, {2: "2026-01-01\n"}, f"{NO_PERIOD} 11 bytes, not all printable"),
        (Page, {2: "٢026-01"}, f"{NO_PERIOD} 8 bytes"),
        (Page, {3: 0}, "step is invalid: expected an integer from 1 to 4294967296, found 0"),
        (Page, {5: 3}, "its lanes do not hold 3 steps each"),
        (Page, {6: [bytes(16), bytes(15)]}, "its lanes do not hold 2 steps each"),
        (Page, {6: []}, "sums is invalid: expected an array of 1 to 5 items, found an array of 0 items"),
        (
            Page,
            {7: []},
            "children is invalid: expected an array of 1 to 1048576 items, found an array of 0 items",
        ),
        (Page, {7: [bytes(31)]}, "children[0] is invalid: expected 32 bytes, found 31 bytes"),
        (Page, {8: bytes(31)}, "previous is invalid: expected 32 bytes, found 31 bytes"),
        (Card, {1: bytes(16)}, "its kid is not that of its signing key"),
        (
            Card,
            {4: "utility"},
            'role is invalid: expected "gateway" or "provider" or "registrar" or "household", found text of 7'
            " bytes",
        ),
        (
            Card,
            {5: "ä" * 41},
            "name is invalid: expected printable text of at most 80 bytes, found text of 82 bytes",
        ),
        (
            Card,
            {5: "a\nb"},
            "name is invalid: expected printable text of at most 80 bytes, found text of 3 bytes, not all",
        ),
        (Card, {6: 2}, "ends before it begins to be valid"),
    ],
)
def test_what_each_kind_refuses(kind: type[Any], changes: dict[int, Any], says: str) -> None:
    assert says in refusal(kind, entries(kind) | changes)


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        (
            "windows",
            {4: []},
            "lanes is invalid: expected an array of 1 to 5 items, found an array of 0 items",
        ),
        ("windows", {4: ["import", "import"]}, "each once"),
        ("windows", {5: 0}, "it must have 1 to"),
        ("windows", {5: 900}, "only days and months have one"),
        (
            "windows",
            {5: "week"},
            'granularity is invalid: expected an integer from 0 to 2^40 - 1 or "day" or "month" or month-2 '
            "to month-28, found",
        ),
        ("windows", {6: "Mars/Olympus"}, "not in the IANA list"),
        ("windows", {7: 2**63}, "outside the calendar"),
        ("windows", {8: 1_767_222_000}, "until must be later than from"),
        (
            "windows",
            {9: "x" * 257},
            "purpose is invalid: expected printable text of at most 256 bytes, found text of 257 bytes",
        ),
        (
            "windows",
            {10: "all"},
            'kind is invalid: expected "windows" or "bill" or "load" or "raw", found text of 3 bytes',
        ),
        ("windows", {11: bytes(32)}, "a bill has a tariff, and no other grant has one"),
        ("windows", {14: bytes(16)}, "only the summing service's grant of a load has a partner"),
        ("windows", {17: 0}, "an entry 17, which version 1 does not know"),
        ("windows", {15: 1}, "rounded to a quantum of at least 1, and no other grant is"),
        ("windows", {16: 2}, "a load sums over at least 2 homes, and no other grant says over how many"),
        (
            "bill",
            {15: 0},
            "quantum is invalid: expected an integer from 1 to 1152921504606846976, found 0",
        ),
        (
            "bill",
            {15: 2**60 + 1},
            "quantum is invalid: expected an integer from 1 to 1152921504606846976, found",
        ),
        ("load", {16: 1}, "k_min is invalid: expected an integer from 2 to 4294967296, found 1"),
        ("load", {16: 2**32 + 1}, "k_min is invalid: expected an integer from 2 to 4294967296, found an int"),
        ("bill", {10: "windows"}, "a bill has a tariff, and no other grant has one"),
        ("bill", {11: bytes(31)}, "tariff is invalid: expected 32 bytes, found 31 bytes"),
        ("bill", {4: ["power"]}, "a bill is for import, export or both"),
        ("load", {10: "bill"}, "a bill has a tariff"),
        ("load", {14: bytes(15)}, "partner is invalid: expected 16 bytes, found 15 bytes"),
        ("raw", {5: "day", 8: 86_400}, "a raw grant opens whole links, not a day"),
        ("raw", {14: bytes(16)}, "only the summing service's grant of a load has a partner"),
    ],
)
def test_what_a_grant_body_refuses(kind: str, changes: dict[int, Any], says: str) -> None:
    body = cbor2.loads(grant_body(BODIES[kind])) | changes
    with pytest.raises(Refused, match=r"^it: ") as refused:
        read_grant_body(cbor2.dumps(body, canonical=True), 1000, "it")
    assert says in str(refused.value)


ALWAYS = [[1, [0, 1, 2, 3, 4, 5, 6], 0, 1440]]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({2: 13}, "scale is invalid: expected an integer from 0 to 12, found 13"),
        ({3: "Mars/Olympus"}, "not in the IANA list"),
        ({4: 7_000}, "does not divide a day"),
        (
            {5: []},
            "import is invalid: expected an array of 1 to 256 items or an array of 2 items, found",
        ),
        ({5: [[1, [0, 8], 60, 120]]}, "import[0][1][1] is invalid: expected an integer from 0 to 7, found 8"),
        ({5: [[1, [1, 0], 60, 120]]}, "needs some kinds of day, in order"),
        ({5: [[1, [7], 0, 60], *ALWAYS]}, "import: a rule is for public holidays, but the tariff lists none"),
        (
            {5: [[1, [0], 0, 60, {1: [2, 1]}]]},
            "the months of a tariff's rule must be some of 1 to 12, in order",
        ),
        ({5: [[1, [0], 0, 60, {4: [3, 2]}]]}, "the dates of a tariff's rule must be at most 4096, in order"),
        (
            {5: [[1, [0], 0, 60, {2: 20_454, 3: 20_454}]]},
            "begin with 2026-01-01, which is not before 2026-01-01",
        ),
        (
            {5: [[1, [0], 0, 60, {2: 0}]], 7: 20_454},
            "no rule has a price from 00:00 on of day 4 of the week, such as 2026-01-01",
        ),
        ({7: 9, 8: 9}, "a tariff's dates begin with 1970-01-10, which is not before 1970-01-10"),
        ({9: [9]}, "must say from which date on, and before which, they are known"),
        ({7: 10, 8: 20, 9: [9, 10]}, "public holidays must lie within the dates for which it has prices"),
        ({5: [[1, [0], 60, 60]]}, "minutes of one day in order"),
        ({5: [[1, [0], 7, 60]]}, "a price changes within a step of 15min"),
        ({6: [1, [0]]}, "its prices do not begin on a step of 15min"),
        (
            {6: [0, [2**63]]},
            "export[1][0] is invalid: expected an integer from -2^63 to 2^63 - 1, found an integer of 64",
        ),
        ({10: 0}, "an entry 10, which version 1 does not know"),
    ],
)
def test_what_a_tariff_refuses(changes: dict[int, Any], says: str) -> None:
    body = cbor2.loads(tariff_body(TARIFF)) | changes
    with pytest.raises(Refused, match=r"^it: ") as refused:
        read_tariff_body(cbor2.dumps(body, canonical=True), "it")
    assert says in str(refused.value)


def test_a_refusal_quotes_neither_text_nor_bytes() -> None:
    """They may be secret, or long; a number of some size may be a part of a key."""
    fields = [Field(1, "it", one_of("x")), Field(1, "it", bstr(3)), Field(1, "it", tuple_of(bstr(), tstr(3)))]
    for field in fields:
        for value in ("hidden", "hidden\ud800", b"hidden", [b"hidden"], [b"", "hidden"], {1: "hidden"}):
            assert not field.form.fits(value)
            with pytest.raises(Refused, match=r"^the key: it(\[1\])? is invalid: ") as refused:
                read([field], {1: value}, "the key")
            assert "hidden" not in str(refused.value)
    with pytest.raises(Refused, match=r"found an integer of 256 bits$"):
        read(fields, {1: 2**255}, "the key")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_malformed_is_written(kind: type[Any]) -> None:
    """A value of ours that has not its form stops before it is signed; True is no 1 here."""
    for field in kind.FIELDS:
        for value in (object(), True):

            class Broken(kind):  # type: ignore[misc]
                def _values(self, name: str = field.name, value: object = value) -> dict[str, Any]:
                    return {**super()._values(), name: value}

            example = EXAMPLES[kind]
            broken = Broken(**{name: getattr(example, name) for name in kind.__dataclass_fields__})
            found = "a Python object" if value is not True else "a boolean"
            with pytest.raises(
                ValueError, match=f"^{kind.TYPE}: {field.name} is invalid: .*, found {found}$"
            ):
                broken.payload()


def test_a_descriptor_is_pinned_to_the_registered_key() -> None:
    example = EXAMPLES[Descriptor]
    data, key = KEY.sign("gw1/stream", example.payload()), names.descriptor(STREAM)
    assert Descriptor.read_pinned(key, data, KEY.kid) == example
    with pytest.raises(
        Refused, match=f"names the signing key {KEY.kid.hex()}, but the registered one is {OTHER.kid.hex()}"
    ):
        Descriptor.read_pinned(key, data, OTHER.kid)
    # it names the registered key and is signed by another
    with pytest.raises(Refused, match="signed by key"):
        Descriptor.read_pinned(key, OTHER.sign("gw1/stream", example.payload()), KEY.kid)
    elsewhere = names.descriptor(bytes(16))
    with pytest.raises(
        Refused, match=f"^{elsewhere} holds the object that belongs at {key}: copied or moved$"
    ):
        Descriptor.read_pinned(elsewhere, data, KEY.kid)


def test_a_card_of_ones_own() -> None:
    example = EXAMPLES[Card]
    assert Card.read_self_signed(KEY.sign("gw1/card", example.payload()), "it") == example
    with pytest.raises(Refused, match="signed by key"):
        Card.read_self_signed(OTHER.sign("gw1/card", example.payload()), "it")


@pytest.mark.parametrize("role", ["provider", "household"])
def test_who_is_granted_something_has_a_key_for_it(role: Literal["provider", "household"]) -> None:
    example = EXAMPLES[Card]
    assert isinstance(example, Card)
    card = replace(example, role=role, xwing_key=bytes(1216))
    assert Card.read_self_signed(KEY.sign("gw1/card", card.payload()), "it") == card
    without = replace(card, xwing_key=None)
    with pytest.raises(Refused, match=f"it: a {role}'s card needs an X-Wing key"):
        Card.read_self_signed(KEY.sign("gw1/card", without.payload()), "it")


def test_no_registrar_certifies_a_households_card() -> None:
    example, card = EXAMPLES[Certificate], EXAMPLES[Card]
    assert isinstance(example, Certificate)
    assert isinstance(card, Card)
    own = replace(card, role="household", xwing_key=bytes(1216))
    for assurance in (None, "software"):
        certified = replace(
            example, card=KEY.sign("gw1/card", own.payload()), assurance=assurance, streams=None
        )
        with pytest.raises(Refused, match="no registrar certifies one"):
            Certificate.from_payload(certified.payload(), "it")


def test_a_signing_key_that_is_none() -> None:
    """91 bytes, and no point of the curve."""
    payload = entries(Descriptor) | {6: bytes(91)}
    data = KEY.sign("gw1/stream", cbor2.dumps(payload, canonical=True))
    with pytest.raises(Refused):
        Descriptor.read_pinned(names.descriptor(STREAM), data, cose.kid_of(bytes(91)))


@given(st.integers(1, 50), st.integers(0, 2**63), st.data())
def test_tokens_are_found_by_their_window(count: int, first: int, data: st.DataObject) -> None:
    """As many words a window as their grant gives; of a raw grant a token a window, whatever its words."""
    width = data.draw(st.integers(1, 4))
    rows = data.draw(st.lists(st.lists(U64, min_size=width, max_size=width), min_size=count, max_size=count))
    content = b"".join(word.to_bytes(8, "little") for row in rows for word in row)
    bundle = Tokens(bytes(16), bytes(16), first, content, ((first, 1),))
    assert bundle.table(width).tolist() == rows
    assert bundle.end_window(width) == first + count
    each = tuple(bytes([i]) * (16 + i) for i in range(count))
    raw = Tokens(bytes(16), bytes(16), first, each, ((first, 1),))
    assert raw.end_window(width) == first + count


def test_a_bundle_of_words_and_one_of_raw_tokens_come_back_as_they_were() -> None:
    for bundle in (EXAMPLES[Tokens], RAW_TOKENS, replace(RAW_TOKENS, edges=(1, 2, 4), weighed=(bytes(32),))):
        assert Tokens.from_payload(bundle.payload(), "it") == bundle


def test_a_page_gives_its_sums() -> None:
    page = EXAMPLES[Page]
    assert isinstance(page, Page)
    assert page.c(0).tolist() == [0, 0]
    assert page.c(1).tolist() == [0x0706050403020100, 0x0F0E0D0C0B0A0908]
    assert page.end == 2**32 + 120


def test_a_chunk_gives_its_ciphertexts() -> None:
    chunk = EXAMPLES[Chunk]
    assert isinstance(chunk, Chunk)
    assert chunk.c(0).tolist() == [0x0706050403020100, 0x0F0E0D0C0B0A0908]
    assert chunk.c(1).tolist() == [0, 0]
    assert chunk.end == 3602


def test_lanes_are_written_as_the_protocol_names_them() -> None:
    assert entries(Descriptor)[4] == [
        [LANES[name].name, LANES[name].unit, LANES[name].scale] for name in ("import", "power")
    ]


def test_a_grant_body_is_read_wherever_windows_begin_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of time zones changes; what a gateway signed stays readable, on any machine."""
    body = grant_body(BODIES["windows"])
    before = read_grant_body(body, 1000, "it")
    assert before.granularity.zone != "UTC"
    monkeypatch.setattr("gateway.chain.window.ZoneInfo", lambda name: ZoneInfo("Asia/Tokyo"))
    assert before.granularity.align_up(before.first) != before.first
    assert read_grant_body(body, 1000, "it") == before
    assert grant_body(before) == body
