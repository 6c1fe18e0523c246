"""Fields and messages: what the oracle reads in a frame is read here too, and nothing malformed is."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smllib.reader import SmlStreamReader

from gateway.errors import MeterError
from gateway.meters.crc import x25
from gateway.meters.sml.fields import Number, take
from gateway.meters.sml.message import Entry, RegisterList, Time, register_lists
from gateway.meters.sml.transport import Frames
from gateway.simulate.sml import NONE, entry, frame, list_of, octets, signed, unsigned
from tests.meters.sml.public import PublicFrame, public_frame, public_frames

SERVER = b"\x0a\x01SIM" + bytes(5)


def content_of(data: bytes) -> bytes:
    (content,) = Frames().feed(data)
    assert isinstance(content, bytes)
    return content


def lists(entries: list[bytes], server_id: bytes = SERVER) -> list[RegisterList]:
    return register_lists(content_of(frame(server_id, 7, 77, entries)))


def oracle(data: bytes) -> Any:
    """smllib's list of registers; it checks one kind of check sequence at a time, and no message's."""
    for crc in ("x25", "kermit"):
        reader = SmlStreamReader(crc=crc)
        reader.add(data)
        try:
            found = reader.get_frame()
        except Exception:
            continue
        assert found is not None
        (body,) = [
            message.message_body
            for message in found.parse_frame()
            if hasattr(message.message_body, "val_list")
        ]
        return body
    raise AssertionError("the oracle reads neither kind")


def as_the_oracle_says(one: Entry) -> tuple[str, int | None, int | None, int | None, object]:
    value = one.value
    if isinstance(value, Number):
        shown: object = value.value
    elif isinstance(value, bytes):
        shown = value.hex()
    else:
        shown = value
    return one.obis.hex(), one.status, one.unit, one.scaler, shown


def same(ours: RegisterList, theirs: Any) -> None:
    assert ours.server_id.hex() == theirs.server_id
    assert len(ours.entries) == len(theirs.val_list)
    for one, other in zip(ours.entries, theirs.val_list, strict=True):
        code, status, unit, scaler, value = as_the_oracle_says(one)
        said = other.value if one.value is not None else None  # a time, which no lane is
        if isinstance(one.value, bytes) and said != value:  # it shows what is text as text
            assert isinstance(said, str)
            said = said.encode("ascii").hex()
        assert (code, status, unit, scaler, value) == (
            str(other.obis),
            other.status,
            other.unit,
            other.scaler or 0,
            said,
        )
        assert (one.time.seconds if one.time else None) == other.val_time


@pytest.mark.parametrize(
    "public", [one for one in public_frames() if one.name != "emh-ehz-iw8"], ids=str
)  # the oracle takes no register without a value
def test_the_oracle_reads_the_same_in_real_frames(public: PublicFrame) -> None:
    (ours,) = register_lists(content_of(public.data))
    same(ours, oracle(public.data))


numbers = st.integers(1, 8).flatmap(
    lambda size: (
        st.builds(unsigned, st.integers(0, 256**size - 1), st.just(size))
        | st.builds(signed, st.integers(-(256**size // 2), 256**size // 2 - 1), st.just(size))
    )
)
# The oracle shows what looks like text as text, and drops what does not.
octet_strings = st.text("EMH 1", min_size=3, max_size=40).map(lambda text: octets(text.encode("ascii")))
codes = st.tuples(*[st.integers(0, 255)] * 6).map(lambda of: "{}-{}:{}.{}.{}*{}".format(*of))
entries = st.builds(
    entry,
    codes,
    numbers | octet_strings | st.just(list_of(unsigned(1, 1), list_of(unsigned(1, 1), unsigned(77, 4)))),
    st.none() | st.integers(0, 255),
    st.none() | st.integers(-128, 127),
    st.just(NONE) | st.integers(0, 2**64 - 1).map(lambda status: unsigned(status, 8)),
)


@given(st.lists(entries, max_size=20), st.binary(min_size=1, max_size=30))
def test_the_oracle_reads_the_same_in_any_frame(some: list[bytes], server_id: bytes) -> None:
    data = frame(server_id, 1, 2, some)
    (ours,) = register_lists(content_of(data))
    same(ours, oracle(data))


def test_times() -> None:
    def read(time: bytes) -> Time | None:
        code = octets(bytes([1, 0, 1, 8, 0, 255]))
        ((one,),) = [
            said.entries for said in lists([list_of(code, NONE, time, NONE, NONE, unsigned(1, 1), NONE)])
        ]
        return one.time

    instant = unsigned(1_800_000_000, 4)
    assert read(NONE) is None
    assert read(unsigned(77, 4)) == Time(77, absolute=False)
    assert read(list_of(unsigned(1, 1), unsigned(77, 4))) == Time(77, absolute=False)
    assert read(list_of(unsigned(2, 1), instant)) == Time(1_800_000_000, absolute=True)
    local = list_of(instant, signed(60, 2), signed(60, 2))
    assert read(list_of(unsigned(3, 1), local)) == Time(1_800_000_000, absolute=True)
    for wrong in (list_of(), list_of(unsigned(1, 1)), octets(b"noon"), list_of(octets(b"x"), octets(b"y"))):
        with pytest.raises(MeterError, match="an SML time is of an unknown kind"):
            read(wrong)


def test_other_messages_are_passed_over() -> None:
    content = content_of(public_frame("iskra-mt175"))
    assert len(register_lists(content)) == 1
    assert len(register_lists(content + content)) == 2
    assert register_lists(b"") == register_lists(b"\x00\x00") == []


@given(st.data())
def test_each_message_is_checked(data: st.DataObject) -> None:
    content = bytearray(content_of(public_frame("iskra-mt175")))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        said = register_lists(bytes(content))
    except MeterError:
        return
    assert said == []  # a message that ends the file was made of another


@given(st.binary(max_size=300))
def test_whatever_the_bytes_are(data: bytes) -> None:
    for content in (data, b"\x76" + data):
        with suppress(MeterError):
            register_lists(content)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "goes on beyond the end"),
        (b"\x81", "goes on beyond the end"),
        (b"\x80" * 100, "goes on beyond the end"),
        (b"\x8f" * 30 + bytes(10), "goes on beyond the end"),
        (b"\x05abc", "an impossible length, 5 bytes"),
        (b"\x80\x00", "an impossible length, 0 bytes"),
        (b"\x00", "an impossible length, 0 bytes"),
        (b"\x61", "type 6, 0 bytes"),
        (b"\x5aabcdefghi", "type 5, 9 bytes"),
        (b"\x43ab", "type 4, 2 bytes"),
        (b"\x22a", "type 2, 1 bytes"),
        (b"\x71" * 17 + b"\x01", "nested more than 16 deep"),
        (b"\xff\xff\xff\x0f" + bytes(30), "goes on beyond the end"),
        (b"\x7f" + b"\x01" * 14, "goes on beyond the end"),
    ],
)
def test_what_is_no_field(data: bytes, problem: str) -> None:
    with pytest.raises(MeterError, match=problem):
        take(data, 0)


def test_fields() -> None:
    assert take(b"..\x42\x00..", 2) == (False, 4)
    assert take(b"\x42\x01", 0) == (True, 2)
    assert take(b"\x01", 0) == (None, 1)
    assert take(b"\x52\xff", 0) == (Number(-1, 1), 2)
    assert take(b"\x62\xff", 0) == (Number(255, 1), 2)
    long = bytes(range(200))
    assert take(octets(long), 0) == (long, 202)
    assert take(list_of(*[unsigned(n, 1) for n in range(20)]), 0)[0] == tuple(Number(n, 1) for n in range(20))
    assert take(b"\x71" * 16 + b"\x01", 0)[1] == 17


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (list_of(NONE, octets(b"x"), NONE), "list of registers is not a list of 7"),
        (list_of(NONE, NONE, NONE, NONE, list_of(), NONE, NONE), "server id is not an octet string"),
        (list_of(NONE, octets(b"x"), NONE, NONE, NONE, NONE, NONE), "list of registers is empty"),
        (list_of(NONE, octets(b"x"), NONE, NONE, list_of(NONE), NONE, NONE), "register is not a list of 7"),
    ],
)
def test_what_is_no_list_of_registers(body: bytes, problem: str) -> None:
    with pytest.raises(MeterError, match=problem):
        register_lists(message(list_of(unsigned(0x0701, 2), body)))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ([octets(b"a"), NONE, octets(b"W"), signed(0, 1), NONE], "unit is not a number"),
        ([octets(b"a"), NONE, NONE, octets(b"W"), NONE], "scaler is not a number"),
        ([NONE, NONE, NONE, NONE, NONE], "register's name is not an octet string"),
    ],
)
def test_what_is_no_register(fields: list[bytes], problem: str) -> None:
    name, *rest = fields
    with pytest.raises(MeterError, match=problem):
        lists([list_of(name, NONE, *rest, NONE)])


def message(choice: bytes) -> bytes:
    checked = b"\x76" + octets(b"1") + unsigned(0, 1) + unsigned(0, 1) + choice
    return checked + b"\x63" + x25(checked) + b"\x00"


def test_what_is_no_message() -> None:
    good = message(list_of(unsigned(0x0201, 2), list_of(NONE)))
    assert register_lists(good) == []
    for data, problem in (
        (b"\x75" + good[1:], "does not begin with a list of six"),
        (good[:-1] + b"\x01", "longer than a list of six"),
        (good[:-1], "longer than a list of six"),
        (good[:-2] + bytes([good[-2] ^ 1, 0]), "check sequence is wrong"),
        (good[:-4] + b"\x65\x00\x01\x00\x00\x00", "check sequence is wrong"),
        (good[:-4] + b"\x01\x00", "check sequence is not a number"),
        (message(octets(b"close")), "message body is not a list of 2"),
        (message(list_of(octets(b"close"), NONE)), "message body's kind is not a number"),
    ):
        with pytest.raises(MeterError, match=problem):
            register_lists(data)
