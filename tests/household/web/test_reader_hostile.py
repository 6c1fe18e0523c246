"""Whatever becomes of an object, the TypeScript reader accepts it if and only if the Python one does."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.chain.layout import LANES, Layout
from gateway.chain.page import SPANS, Calendar
from gateway.errors import Refused
from gateway.stream.chunks import check_chunk
from gateway.wire import cose, es256
from gateway.wire.grant import GrantObject, Revocation, Tokens, body_of, read_grant_body
from gateway.wire.signed import Stored
from gateway.wire.stream import Chunk, Descriptor, Head, Page
from tests.household.web import mutants
from tests.household.web.reader import Reader, ReaderRefused
from tests.wire.samples import EXAMPLES, KEY, OTHER, STRATEGIES

KINDS: tuple[type[Stored], ...] = (Descriptor, Chunk, Head, Page, GrantObject, Tokens, Revocation)
UNIT_MS = 1000
ROUNDS = 400  # for each kind


def key_of(found: Stored) -> str:
    try:
        return found.own_key("v1/stream/grant/id/new/0", UNIT_MS)
    except Refused:  # beyond the calendar
        return "v1/nowhere"


def of_python(kind: type[Stored], key: str, data: bytes) -> str | None:
    """Why the Python reader refuses the object under `key`; None where it accepts it."""
    try:
        if kind is Descriptor:
            Descriptor.read_pinned(key, data, KEY.kid)
            return None
        found = kind.read_at(key, data, KEY.public, UNIT_MS)
        if isinstance(found, GrantObject):
            read_grant_body(found.body, UNIT_MS, body_of(key))
    except Refused as error:
        return str(error)
    return None


def of_typescript(reader: Reader, kind: type[Stored], key: str, data: bytes) -> str | None:
    """The same of the other."""
    signer: dict[str, Any] = {"kid": KEY.kid.hex(), "spki": KEY.public.hex(), "unit_ms": UNIT_MS}
    try:
        reader("object", type=kind.TYPE, key=key, data=data.hex(), **signer)
    except ReaderRefused as error:
        return str(error)
    return None


def accepted(reader: Reader, kind: type[Stored], key: str, data: bytes) -> bool:
    """Whether both readers accept the object; they must agree."""
    theirs, ours = of_python(kind, key, data), of_typescript(reader, kind, key, data)
    if theirs is not None and "is not in the IANA list" in theirs:
        return False  # the other reader needs no zone: the edges of its windows are in the bundles
    assert (ours is None) == (theirs is None), f"{kind.TYPE} {data.hex()}: {ours!r}, and Python {theirs!r}"
    return ours is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_objects_of_all_forms(reader: Reader, kind: type[Stored]) -> None:
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(found=STRATEGIES[kind])
    def check(found: Stored) -> None:
        accepted(reader, kind, key_of(found), KEY.sign(kind.TYPE, found.payload()))

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_objects_that_nearly_have_their_form(reader: Reader, kind: type[Stored]) -> None:
    rng = random.Random(kind.TYPE)
    example = EXAMPLES[kind]
    assert isinstance(example, Stored)
    key, payload = key_of(example), example.payload()
    assert of_python(kind, key, KEY.sign(kind.TYPE, payload)) is None
    good = 0
    for _ in range(ROUNDS):
        near = rng.choice((mutants.of_bytes, mutants.of_cbor, mutants.of_cbor))(rng, payload)
        good += accepted(reader, kind, key, KEY.sign(kind.TYPE, near))
    assert good > ROUNDS // 50  # among them are entries from 64 on, and other numbers


def test_bytes_of_objects_that_nobody_signed(reader: Reader) -> None:
    rng = random.Random(1)
    for kind in KINDS:
        example = EXAMPLES[kind]
        assert isinstance(example, Stored)
        key, data = key_of(example), KEY.sign(kind.TYPE, example.payload())
        for _ in range(60):
            other = mutants.of_bytes(rng, data)
            assert accepted(reader, kind, key, other) == (other == data)


HEAD = Head(b"stream".ljust(16), 3, bytes(32), 3602, 2**40)
(DESCRIPTOR,) = (one for one in EXAMPLES.values() if isinstance(one, Descriptor))
PAYLOAD = HEAD.payload()
NUMBER = es256.ORDER


def message(payload: bytes = PAYLOAD, type_string: str = Head.TYPE, kid: bytes = KEY.kid) -> bytes:
    return cose.to_be_signed(type_string, kid, payload)


def with_signature(r: int, s: int) -> bytes:
    return cose.assemble(KEY.kid, PAYLOAD, r.to_bytes(32, "big") + s.to_bytes(32, "big"))


SIGNATURE = KEY.signature(message())
R, S = int.from_bytes(SIGNATURE[:32], "big"), int.from_bytes(SIGNATURE[32:], "big")


def taken_apart(**parts: Any) -> bytes:
    """The head's COSE_Sign1 with other parts, signed as they are."""
    protected = parts.get("protected", cose.protected_header(KEY.kid))
    structure = ["Signature1", protected, Head.TYPE.encode(), PAYLOAD]
    signature = KEY.signature(cbor2.dumps(structure))
    whole = [protected, parts.get("unprotected", {}), PAYLOAD, parts.get("signature", signature)]
    return cbor2.dumps(cbor2.CBORTag(parts.get("tag", 18), whole), canonical=True)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a high s": lambda: with_signature(R, NUMBER - S),
    "no r": lambda: with_signature(0, S),
    "no s": lambda: with_signature(R, 0),
    "an r beyond the order": lambda: with_signature(2**256 - 1, S),
    "another object's type": lambda: cose.assemble(
        KEY.kid, PAYLOAD, KEY.signature(message(type_string="gw1/chunk"))
    ),
    "another key's name": lambda: cose.assemble(OTHER.kid, PAYLOAD, KEY.signature(message(kid=OTHER.kid))),
    "another key": lambda: OTHER.sign(Head.TYPE, PAYLOAD),
    "another algorithm": lambda: taken_apart(protected=cbor2.dumps({1: -35, 4: KEY.kid})),
    "a longer header": lambda: taken_apart(protected=cbor2.dumps({1: -7, 4: KEY.kid, 5: 0})),
    "a header in another order": lambda: taken_apart(protected=b"\xa2\x04\x50" + KEY.kid + b"\x01\x26"),
    "an unprotected header": lambda: taken_apart(unprotected={1: -7}),
    "another tag": lambda: taken_apart(tag=98),
    "a short signature": lambda: taken_apart(signature=KEY.signature(message())[:63]),
    "no tag": lambda: KEY.sign(Head.TYPE, PAYLOAD)[1:],
    "bytes after its end": lambda: KEY.sign(Head.TYPE, PAYLOAD) + b"\0",
    "no end": lambda: KEY.sign(Head.TYPE, PAYLOAD)[:-1],
    "a length of two bytes": lambda: KEY.sign(Head.TYPE, PAYLOAD).replace(b"\x58\x40", b"\x59\x00\x40"),
    "keys that fall": lambda: KEY.sign(Head.TYPE, b"\xa5" + b"".join(reversed(entries()))),
    "a key twice": lambda: KEY.sign(Head.TYPE, b"\xa6" + b"".join([entries()[0], *entries()])),
    "a longer integer": lambda: KEY.sign(Head.TYPE, PAYLOAD.replace(b"\x05\x1b", b"\x18\x05\x1b")),
    "an open map": lambda: KEY.sign(Head.TYPE, b"\xbf" + PAYLOAD[1:] + b"\xff"),
    "an entry below 64": lambda: KEY.sign(Head.TYPE, b"\xa6" + PAYLOAD[1:] + b"\x18\x3f\x00"),
    "a float": lambda: KEY.sign(Head.TYPE, b"\xa6" + PAYLOAD[1:] + b"\x18\x41\xf9\x00\x00"),
    "a tag": lambda: KEY.sign(Head.TYPE, b"\xa6" + PAYLOAD[1:] + b"\x18\x41\xc1\x00"),
    "arrays too deep": lambda: KEY.sign(
        Head.TYPE, b"\xa6" + PAYLOAD[1:] + b"\x18\x41" + b"\x81" * 7 + b"\x00"
    ),
    "an array": lambda: KEY.sign(Head.TYPE, b"\x80"),
    "nothing": lambda: KEY.sign(Head.TYPE, b""),
    "no object": lambda: b"",
}
KIND: dict[str, Callable[[], bytes]] = {
    "an entry from 64 on": lambda: KEY.sign(Head.TYPE, b"\xa6" + PAYLOAD[1:] + b"\x18\x42\x00"),
    "arrays that nest 7 deep": lambda: KEY.sign(
        Head.TYPE, b"\xa6" + PAYLOAD[1:] + b"\x18\x42" + b"\x81" * 6 + b"\x00"
    ),
    "a low s": lambda: with_signature(R, S),
    "the head": lambda: KEY.sign(Head.TYPE, PAYLOAD),
}


def entries() -> list[bytes]:
    """The head's entries, in CBOR."""
    return [cose.encode({key: value})[1:] for key, value in cbor2.loads(PAYLOAD).items()]


@pytest.mark.parametrize("what", [*HOSTILE, *KIND])
def test_a_hostile_object(reader: Reader, what: str) -> None:
    data = {**HOSTILE, **KIND}[what]()
    assert accepted(reader, Head, key_of(HEAD), data) == (what in KIND)


def test_an_object_elsewhere(reader: Reader) -> None:
    assert not accepted(reader, Head, key_of(HEAD)[:-1], KEY.sign(Head.TYPE, PAYLOAD))


@pytest.mark.parametrize("form", ["compressed", "hybrid", "off the curve", "another curve"])
def test_a_key_of_another_form(reader: Reader, form: str) -> None:
    """The descriptor names its key: its point is not compressed, and lies on P-256."""
    x, y = KEY.public[27:59], KEY.public[59:]
    compressed = (
        bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + bytes([2 + y[-1] % 2]) + x
    )
    public = {
        "compressed": compressed,
        "hybrid": KEY.public[:26] + bytes([6 + y[-1] % 2]) + x + y,
        "off the curve": KEY.public[:-1] + bytes([KEY.public[-1] ^ 1]),
        "another curve": KEY.public.replace(
            bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030108")
        ),
    }[form]
    payload = cbor2.loads(DESCRIPTOR.payload())
    payload[6] = public
    kid, encoded = cose.kid_of(public), cose.encode(payload)
    data = cose.assemble(kid, encoded, KEY.signature(message(encoded, Descriptor.TYPE, kid)))
    key = key_of(DESCRIPTOR)
    with pytest.raises(Refused):
        Descriptor.read_pinned(key, data, kid)
    with pytest.raises(ReaderRefused):
        reader("object", type=Descriptor.TYPE, key=key, data=data.hex(), kid=kid.hex())


@pytest.mark.parametrize(
    ("first", "count", "lanes", "fits"),
    [
        (0, 1, 2, True),
        (3600, 1800, 2, True),
        (5399, 2, 2, True),
        (7199, 1, 2, True),
        (7199, 2, 2, False),  # of two links
        (-3600, 1, 2, False),  # before the stream
        (0, 1, 1, False),
        (0, 1, 3, False),
    ],
)
def test_a_chunk_in_its_stream(reader: Reader, first: int, count: int, lanes: int, fits: bool) -> None:
    start = 3600 * 490_000
    layout, of = Layout(1000, 3600), (LANES["import"], LANES["export"])
    descriptor = Descriptor(b"stream".ljust(16), layout, of, start, KEY.public, "tpm")
    words = (bytes(8 * count),) * lanes
    chunk = Chunk(descriptor.stream, 0, 1, start + first, count, words, bytes(32), 1)
    key, data = key_of(chunk), KEY.sign(Chunk.TYPE, chunk.payload())
    try:
        check_chunk(descriptor, key, data)
    except Refused:
        assert not fits
    else:
        assert fits
    signed = KEY.sign(Descriptor.TYPE, descriptor.payload()).hex()
    where = {"key": key, "of": key_of(descriptor), "kid": KEY.kid.hex()}
    try:
        reader("chunk", **where, descriptor=signed, data=data.hex())
    except ReaderRefused:
        assert not fits
    else:
        assert fits


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    unit_ms=st.sampled_from((1, 10, 250, 1000, 7000, 60_000, 96_000, 600_000, 900_000, 3_600_000)),
    start=st.integers(0, 2**30),
    at_ms=st.integers(0, 253370764799999),
)
def test_periods(reader: Reader, unit_ms: int, start: int, at_ms: int) -> None:
    """The days and months of pages, and their steps, are those of the Python reader."""
    calendar = Calendar.of(unit_ms, start)
    for span in SPANS:
        found = reader("period", unit_ms=unit_ms, start=start, span=span, unit=at_ms // unit_ms)
        if calendar is None:
            assert found is None
            continue
        period = calendar.period(span, at_ms // unit_ms)
        assert found == {
            "span": span,
            "name": period.name,
            **{name: str(getattr(period, name)) for name in ("begin", "end", "step", "first")},
        }
