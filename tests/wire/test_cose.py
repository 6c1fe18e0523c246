"""COSE_Sign1: another implementation reads ours and we read its; any other form is refused."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cwt import COSE, COSEKey
from cwt.exceptions import VerifyError
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.wire import cose
from tests.vectors import plain
from tests.wire.samples import ANY, EXAMPLES, KEY, OTHER, U64, Object

PAYLOAD = cose.encode({1: b"x"})
CBOR2 = int(version("cbor2").partition(".")[0])


def spki(key: Any) -> bytes:
    data: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return data


def their_key(private: bool) -> Any:
    """Our key as cwt has it."""
    if private:
        pem = KEY.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    else:
        pem = KEY.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return COSEKey.from_pem(pem, kid=KEY.kid, alg="ES256")


THEIR_PUBLIC = their_key(private=False)


@pytest.mark.skipif(CBOR2 >= 6, reason="cwt 3.3 refuses the tuples that cbor2 6 makes of arrays in a tag")
@given(ANY)
@settings(max_examples=40)
def test_cwt_reads_our_objects(item: Object) -> None:
    data = KEY.sign(item.TYPE, item.payload())
    theirs = COSE.new()
    assert theirs.decode(data, THEIR_PUBLIC, external_aad=item.TYPE.encode()) == item.payload()
    for other_type in (b"", b"gw1/other", item.TYPE.encode() + b"\0"):
        with pytest.raises(VerifyError):
            theirs.decode(data, THEIR_PUBLIC, external_aad=other_type)


N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # the order of P-256


@given(st.binary())
@settings(max_examples=40)
def test_we_read_what_cwt_signs(payload: bytes) -> None:
    data = COSE.new(deterministic_header=True).encode_and_sign(
        payload, their_key(private=True), protected={1: -7, 4: KEY.kid}, external_aad=b"gw1/test"
    )
    s = int.from_bytes(data[-32:], "big")  # it takes whichever of the two that ECDSA gives
    data = data[:-32] + min(s, N - s).to_bytes(32, "big")
    assert cose.verify(data, "gw1/test", KEY.public, "it") == payload
    with pytest.raises(Refused, match="does not fit: changed, or not a gw1/other"):
        cose.verify(data, "gw1/other", KEY.public, "it")


def signed(parts: list[Any], tag: int = 18) -> bytes:
    return cbor2.dumps(cbor2.CBORTag(tag, parts), canonical=True)


def parts() -> list[Any]:
    return list(cbor2.loads(KEY.sign("gw1/test", PAYLOAD)).value)


def test_what_is_signed_is_read() -> None:
    items = parts()
    assert cose.verify(signed(items), "gw1/test", KEY.public, "it") == PAYLOAD
    assert cose.payload_unchecked(signed(items), "it") == (KEY.kid, PAYLOAD, items[3])


OTHER_FORMS: list[list[Any]] = [
    [{}, "", 0, []],
    [{1: -7}, b"", [], 0, {4: b""}],
    ["", {}, [], 0],
    ["", {}, [], 0],
]


@pytest.mark.parametrize(("at", "value"), [(at, v) for at, values in enumerate(OTHER_FORMS) for v in values])
def test_parts_of_another_form(at: int, value: Any) -> None:
    changed = parts()
    changed[at] = value
    with pytest.raises(Refused, match="it is not a COSE_Sign1"):
        cose.verify(signed(changed), "gw1/test", KEY.public, "it")


@pytest.mark.parametrize(
    "data",
    [
        signed(parts()[:3]),
        signed([*parts(), b""]),
        signed([]),
        cose.encode(parts()),  # without its tag
        cose.encode(b"x"),
        cose.encode(0),
    ],
)
def test_what_is_no_cose_sign1(data: bytes) -> None:
    with pytest.raises(Refused, match="it is not a COSE_Sign1"):
        cose.verify(data, "gw1/test", KEY.public, "it")


@pytest.mark.parametrize("tag", [0, 1, 2, 17, 24, 61, 96, 98, 55_799])
def test_another_tag(tag: int) -> None:
    with pytest.raises(Refused, match="CBOR that version 1 does not use"):
        cose.verify(signed(parts(), tag), "gw1/test", KEY.public, "it")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        cose.encode({}),
        cose.encode({1: -7}),
        cose.encode({4: KEY.kid}),
        cose.encode({1: -8, 4: KEY.kid}),
        cose.encode({1: -35, 4: KEY.kid}),
        cose.encode({1: -7, 4: KEY.kid[:15]}),
        cose.encode({1: -7, 4: KEY.kid + b"\0"}),
        cose.encode({1: -7, 4: "kid"}),
        cose.encode({1: -7, 3: 0, 4: KEY.kid}),
        cose.encode({1: -7, 2: [4], 4: KEY.kid}),
        cose.encode([]),
        b"\xa2\x04\x50" + KEY.kid + b"\x01\x26",
        b"\xbf\x01\x26\x04\x50" + KEY.kid + b"\xff",
        cose.encode({1: -7, 4: KEY.kid}) + b"\0",
    ],
)
def test_another_header(header: bytes) -> None:
    """Rightly signed under a header that version 1 does not have."""
    message = cose.encode(["Signature1", header, b"gw1/test", PAYLOAD])
    data = signed([header, {}, PAYLOAD, KEY.signature(message)])
    with pytest.raises(Refused, match="header of it"):
        cose.verify(data, "gw1/test", KEY.public, "it")


@pytest.mark.parametrize("size", [0, 1, 63, 65, 70, 128])
def test_a_signature_has_64_bytes(size: int) -> None:
    changed = parts()
    changed[3] = bytes(size)
    with pytest.raises(Refused, match=f"signature of it has {size} bytes, not 64"):
        cose.verify(signed(changed), "gw1/test", KEY.public, "it")


@pytest.mark.parametrize(
    ("r", "s"), [(0, 0), (0, 1), (1, 0), (N, 1), (1, N), (1, N // 2 + 1), (2**256 - 1, 2**256 - 1), (1, 1)]
)
def test_numbers_that_are_no_signature(r: int, s: int) -> None:
    changed = parts()
    changed[3] = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    with pytest.raises(Refused, match="does not fit"):
        cose.verify(signed(changed), "gw1/test", KEY.public, "it")


def test_a_signature_that_is_verified_later_keeps_nothing_of_the_payload() -> None:
    payload, later = cose.encode({1: bytes(10_000)}), list[cose.Unverified]()
    data = KEY.sign("gw1/test", payload)
    for one in (data, data[:-1] + bytes([data[-1] ^ 1])):
        assert cose.verify(one, "gw1/test", KEY.public, "it", later) == payload
    fits, does_not = later
    assert sum(map(len, fits)) < 300
    fits.verify()
    with pytest.raises(Refused, match="signature of it does not fit: changed, or not a gw1/test"):
        does_not.verify()


def test_an_unprotected_signature_of_something_else() -> None:
    """Neither the bare payload nor a Signature of another context is a Sign1."""
    for message in (
        PAYLOAD,
        cose.encode(["Signature", cose.protected_header(KEY.kid), b"gw1/test", PAYLOAD]),
        cose.encode(["Signature1", cose.protected_header(KEY.kid), b"", PAYLOAD]),
        cose.encode(["Signature1", b"", b"gw1/test", PAYLOAD]),
    ):
        with pytest.raises(Refused, match="does not fit"):
            cose.verify(cose.assemble(KEY.kid, PAYLOAD, KEY.signature(message)), "gw1/test", KEY.public, "it")


def test_keys_that_are_no_p256_keys() -> None:
    p384 = spki(ec.generate_private_key(ec.SECP384R1()))
    edwards = spki(ed25519.Ed25519PrivateKey.generate())
    for public in (b"", b"\0", bytes(91), p384, edwards, KEY.public[:-1], KEY.public[:-1] + b"\0"):
        with pytest.raises(Refused, match="not a P-256 public key"):
            cose.load_public_key(public, "the key")
        # also where the object names this very key
        data = cose.assemble(cose.kid_of(public), PAYLOAD, bytes(64))
        with pytest.raises(Refused, match="not a P-256 public key"):
            cose.verify(data, "gw1/test", public, "it")


def test_public_keys_have_the_one_length() -> None:
    assert len(KEY.public) == len(OTHER.public) == cose.SPKI_BYTES
    assert len(KEY.kid) == cose.KID_BYTES


@pytest.mark.parametrize(
    "data",
    [
        "1800",  # 0 in two bytes
        "1900ff",
        "1a0000ffff",
        "1b00000000ffffffff",
        "3800",
        "5800",
        "7800",
        "9800",
        "b800",
        "a2010001ff"[:-2] + "02",  # a key twice
        "a202000100",  # keys out of order
        "a21901000000" + "00",  # a shorter key after a longer one
    ],
)
def test_cbor_in_a_longer_form_than_need_be(data: str) -> None:
    with pytest.raises(Refused, match="it is not deterministic CBOR: it can be written in more than one way"):
        cose.decode(bytes.fromhex(data), "it")


@pytest.mark.parametrize(
    ("diagnostic", "data"),
    [
        ("open-ended array", "9fff"),
        ("open-ended map", "bfff"),
        ("open-ended bytes", "5f4100ff"),
        ("open-ended text", "7f6100ff"),
        ("reserved length", "1c"),
        ("reserved length", "5d"),
        ("a break alone", "ff"),
        ("false", "f4"),
        ("null", "f6"),
        ("undefined", "f7"),
        ("simple value", "e0"),
        ("half float", "f93c00"),
        ("double", "fb3ff0000000000000"),
        ("date", "c074323032302d30312d30315430303a30303a30305a"),
        ("epoch date", "c100"),
        ("bignum", "c249010000000000000000"),
        ("decimal", "c4820102"),
        ("bigfloat", "c5820102"),
        ("rational", "d81e820102"),
        ("pattern", "d8236161"),
        ("shared item", "d81c00"),
        ("set", "d9010280"),
        ("tag 18 within", "81d280"),
        ("tag 18 twice", "d2d280"),
        ("tag 18 in two bytes", "d81180"),
        ("nested too deep", "81" * 9 + "00"),
        ("a negative key", "a12000"),
        ("bytes as keys", "a2410000" + "0000"),
        ("text as a key", "a1616100"),
        ("an array as a key", "a18000"),
        ("a map as a key", "a1a000"),
        ("a negative key, within", "8300a20000a1200000"),
    ],
)
def test_cbor_that_version_1_does_not_use(diagnostic: str, data: str) -> None:
    with pytest.raises(Refused, match="it holds CBOR that version 1 does not use"):
        cose.decode(bytes.fromhex(data), "it")


KEYS = st.integers(0, 300) | U64
PLAIN = st.recursive(
    st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=300) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_encoded_is_decoded(value: Any) -> None:
    """All that objects are made of, up to the depth that is read."""

    def depth(item: Any) -> int:
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    data = cose.encode(value)
    if depth(value) < 8:
        assert cose.decode(data, "it") == value


def length_first(key: Any) -> tuple[int, bytes]:
    """Where a map's entry belongs by RFC 8949, section 4.2.3; by section 4.2.1, the bytes alone say."""
    return len(plain.cbor(key)), plain.cbor(key)


@given(PLAIN, st.lists(KEYS, unique=True, min_size=2, max_size=6).flatmap(st.permutations))
def test_map_entries_have_one_order(value: Any, keys: list[int]) -> None:
    """Bytewise and length-first are the same for unsigned integers, and any other order is refused."""
    assert sorted(keys, key=plain.cbor) == sorted(keys, key=length_first) == sorted(keys)
    assert cose.encode(value) == plain.cbor(value)  # which sorts bytewise
    in_order = cose.encode(dict.fromkeys(sorted(keys), value))
    assert in_order == plain.cbor(dict.fromkeys(keys, value)) == cose.encode(dict.fromkeys(keys, value))
    given_order = cbor2.dumps(dict.fromkeys(keys, 0))
    if keys == sorted(keys):
        assert cose.decode(given_order, "it") == dict.fromkeys(keys, 0)
    else:
        with pytest.raises(Refused, match="it is not deterministic CBOR"):
            cose.decode(given_order, "it")


@pytest.mark.parametrize("keys", [(24, -1), (256, b""), (256, "x"), (-25, b""), (b"xx", "x")])
def test_maps_that_the_two_orders_write_differently_are_refused_in_both(keys: tuple[Any, Any]) -> None:
    """They need keys of several kinds, which version 1 does not have."""
    assert sorted(keys, key=plain.cbor) != sorted(keys, key=length_first)
    for order in (sorted(keys, key=plain.cbor), sorted(keys, key=length_first)):
        entries = b"".join(plain.cbor(key) + b"\0" for key in order)
        for data in (b"\xa2" + entries, b"\xa1\x18\x40\xa2" + entries):
            with pytest.raises(Refused, match="it holds CBOR that version 1 does not use"):
                cose.decode(data, "it")


def test_objects_in_an_undeterministic_form_are_refused() -> None:
    """The same object, rightly signed over these very bytes."""
    for kind, example in EXAMPLES.items():
        payload = cbor2.loads(example.payload())
        backwards = cbor2.dumps(dict(reversed(payload.items())))
        longer = b"\xb8" + bytes([len(payload)]) + example.payload()[1:]
        open_ended = b"\xbf" + example.payload()[1:] + b"\xff"
        for other in (backwards, longer, open_ended):
            assert cbor2.loads(other) == payload
            with pytest.raises(Refused, match="CBOR"):
                kind.read(KEY.sign(kind.TYPE, other), KEY.public, "it")
        whole = KEY.sign(kind.TYPE, example.payload())
        assert whole[:2] == b"\xd2\x84"
        for other in (
            b"\xd8\x12" + whole[1:],
            b"\xd2\x98\x04" + whole[2:],
            b"\xd2\x9f" + whole[2:] + b"\xff",
        ):
            with pytest.raises(Refused, match="CBOR"):
                kind.read(other, KEY.public, "it")


@given(
    st.one_of(PLAIN, st.lists(st.binary(min_size=20, max_size=40), min_size=6, max_size=12)),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
)
@settings(max_examples=300)
def test_what_is_decoded_has_no_other_form(value: Any, changes: list[tuple[int, int]]) -> None:
    """Written again it gives the same bytes, also where some were changed."""
    data = bytearray(cose.encode(value))
    for at, byte in changes:
        data[at % len(data)] = byte
    with suppress(Refused):
        assert cose.encode(cose.decode(bytes(data), "it")) == bytes(data)


@pytest.mark.parametrize("size", [0, 1, 23, 24, 32, 255, 256])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 23, 24, 40])
def test_many_byte_strings_of_one_length(size: int, count: int) -> None:
    """As a page's digests are; with one of another length, and with one in a longer form, too."""
    items = [bytes([n]) * size for n in range(count)]
    data = cose.encode({1: items, 2: 0})
    assert cose.decode(data, "it") == {1: items, 2: 0}
    for other in ([*items[:-1], bytes(size + 1)], [*items[:-1], size], [items, *items]):
        assert cose.decode(cose.encode({1: other, 2: 0}), "it") == {1: other, 2: 0}
    last = cose.encode(items[-1])
    longer = b"\x5a" + size.to_bytes(4, "big") + items[-1]
    before = data.rpartition(last + cose.encode(2))[0]
    with pytest.raises(Refused, match="not deterministic CBOR"):
        cose.decode(before + longer + data[len(before + last) :], "it")
    with pytest.raises(Refused, match="cut short"):
        cose.decode(data[:-3], "it")
    if size < 24:
        all_longer = b"".join(b"\x58" + bytes([size]) + item for item in items)
        with pytest.raises(Refused, match="not deterministic CBOR"):
            cose.decode(cose.encode([0] * count)[:-count] + all_longer, "it")


def test_an_envelope_has_one_form() -> None:
    """For payloads of any length; and no byte of it can be another."""
    for size in (0, 1, 23, 24, 255, 256, 65_535, 65_536):
        payload = bytes(size)
        data = KEY.sign("gw1/test", payload)
        assert data == signed([cose.protected_header(KEY.kid), {}, payload, data[-64:]])
        assert cose.verify(data, "gw1/test", KEY.public, "it") == payload
        for at in {*range(30), len(data) - 66, len(data) - 65} - {*range(8, 24)}:
            for change in (1, 2, 16, 64, 128):
                other = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
                with pytest.raises(Refused):
                    cose.verify(other, "gw1/test", KEY.public, "it")
        for other in (data + b"\0", data[:-1], data[1:]):
            with pytest.raises(Refused):
                cose.verify(other, "gw1/test", KEY.public, "it")
