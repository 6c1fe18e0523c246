"""Encrypted M-Bus to the lanes: the operator's example, a frame that OpenSSL encrypted, and every fault."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import KeyFault, MeterError, UsageError
from gateway.meters.mbus.decoder import SEARCH, MbusDecoder, meter_time
from gateway.meters.mbus.model import MbusModel
from gateway.meters.mbus.records import read_records
from gateway.meters.profile import load_profile
from gateway.meters.reading import Answering, Telegram
from gateway.meters.secrets import Secrets
from gateway.simulate.mbus import content, seal

# The example of the specification, 2.4.2.9.
EXAMPLE_KEY = bytes.fromhex("00112233445566778899aabbccddeeff")
EXAMPLE = bytes.fromhex(
    "68 5f 5f 68 53 f0 5b 00 00 00 00 2d 4c 01 0e 0d 00 50 05 3f d0 fe b7 26 76 0c c7 aa f0 b5 2b 41 f0 c5 41"
    "bd 63 06 dc d8 b9 1b 3d a2 31 1e f1 3d 25 14 d0 96 00 82 16 1e fe c4 b6 cb 1e 0b 33 28 be 61 77 dc a5 94"
    "c1 28 00 24 a8 35 f1 d6 55 ba 71 82 b2 56 e9 4b d3 3a c0 a6 b0 8d a4 67 81 eb 4e 91 e0 12 16"
)
# Made-up registers, encrypted by `openssl enc -aes-128-cbc -nopad -iv 2d4c00000000010e7f7f7f7f7f7f7f7f`.
KEY = bytes.fromhex("8899aabbccddeeff0123456789abcdef")
BODY = bytes.fromhex("73 f0 5b 00 00 00 00 2d 4c 01 0e 7f 00 50 05") + bytes.fromhex(
    "76648021ccd53ffdca18bda2faf76ad04f9f91eb587235ea3f329629705b69d63c36bee30338a770f4bb491d138c497c"
    "9f666c08f2df77e5959ec144e2ccd8fce3e4ad111d9e434f043caa501028eed9"
)


def framed(body: bytes) -> bytes:
    return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))


FRAME = framed(BODY)


def telegram(frame: bytes, key: bytes) -> Telegram:
    (found,) = MbusDecoder(key).feed(frame)
    assert isinstance(found, Telegram), found
    return found


def test_the_example_of_the_specification() -> None:
    found = telegram(EXAMPLE, EXAMPLE_KEY)
    assert found.registers == {"import": 684_544_000, "export": 129_412_000, "power": -117}
    summer = datetime(2014, 7, 1, 6, 12, 31, tzinfo=UTC)
    assert found.meter_time == summer.timestamp() * 10**9


def test_a_frame_that_openssl_encrypted() -> None:
    found = telegram(FRAME, KEY)
    assert found.registers == {"import": 12_345_678_000, "export": 123_456_789_000, "power": -12_345}
    assert found.meter_time == datetime(2019, 6, 28, 11, 30, 10, tzinfo=UTC).timestamp() * 10**9


@given(
    imported=st.integers(0, 2**32 - 1),
    exported=st.integers(0, 2**32 - 1),
    power=st.integers(-(2**31), 2**31),
    access=st.integers(0, 255),
)
def test_what_the_simulation_seals_is_read(imported: int, exported: int, power: int, access: int) -> None:
    second = 1_900_000_000
    found = telegram(seal(content(second, imported, exported, power), KEY, access), KEY)
    assert found.registers == {"import": imported * 1000, "export": exported * 1000, "power": power}
    assert found.meter_time == second * 10**9


def test_each_frame_and_the_search_are_confirmed_once() -> None:
    decoder = MbusDecoder(KEY)
    assert isinstance(decoder, Answering)
    assert decoder.answer() == b""
    for data in (
        SEARCH,
        FRAME,
        seal(content(1_900_000_000, 2, 3, 4), EXAMPLE_KEY, 5),
        b"\x00" + SEARCH + FRAME,
    ):
        for at in range(1, len(data)):
            decoder.feed(data[:at])
            assert at >= 5 or decoder.answer() == b""
            decoder.feed(data[at:])
            assert decoder.answer() == b"\xe5"
            assert decoder.answer() == b""


def test_a_damaged_frame_is_not_confirmed() -> None:
    decoder = MbusDecoder(KEY)
    decoder.feed(FRAME[:-2] + b"\x00\x16")
    assert decoder.answer() == b""
    decoder.feed(SEARCH)
    decoder.cut()
    assert decoder.answer() == b""


PLAIN = content(1_900_000_000, 12, 34, 56)


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (FRAME[:-2] + b"\x00\x16", "an M-Bus frame was damaged: its checksum is wrong"),
        (EXAMPLE, "an M-Bus frame cannot be decrypted: the meter has another encryption_key"),
        (
            framed(BODY[:2] + b"\x72" + BODY[3:]),
            "an M-Bus frame does not carry a meter's registers (CI field 0x72",
        ),
        (
            framed(BODY[:14] + b"\x07" + BODY[15:]),
            "an M-Bus frame is encrypted in another way (mode 7, 5 blocks)",
        ),
        (framed(BODY[:-16]), "an M-Bus frame is encrypted in another way (mode 5, 5 blocks)"),
        (
            seal(PLAIN.replace(b"\x04\x2b", b"\x04\x2c"), KEY, 1),
            "an M-Bus frame lacks the record 04 2b: the meter's list has changed",
        ),
        (
            seal(PLAIN.replace(b"\x04\x83\x3c", b"\x04\x03\x3c"), KEY, 1),
            "an M-Bus frame's records are damaged, or the meter has another encryption_key",
        ),
    ],
)
def test_each_fault_has_its_message(frame: bytes, sentence: str) -> None:
    decoder = MbusDecoder(KEY)
    (error,) = decoder.feed(frame)
    assert str(error).startswith(sentence)
    assert decoder.feed(FRAME) == [telegram(FRAME, KEY)]


def test_another_key_is_a_fault_of_keys_and_damage_is_none() -> None:
    (sealed,) = MbusDecoder(KEY).feed(EXAMPLE)
    (damaged,) = MbusDecoder(KEY).feed(FRAME[:-2] + b"\x00\x16")
    assert isinstance(sealed, KeyFault)
    assert not isinstance(damaged, KeyFault)


@given(at=st.integers(3, 14), bit=st.integers(0, 7))
def test_a_changed_header_changes_no_register(at: int, bit: int) -> None:
    """Its bits go into the vector, which changes the first block's; the checksum may fit by chance."""
    body = bytes(octet ^ (n == at) << bit for n, octet in enumerate(BODY))
    for found in MbusDecoder(KEY).feed(framed(body)):
        if isinstance(found, Telegram):
            assert found.registers == telegram(FRAME, KEY).registers


@given(st.binary(max_size=90))
def test_whatever_the_content_is_only_declared_errors_come(data: bytes) -> None:
    try:
        records = read_records(data)
    except MeterError:
        return
    assert sum(map(len, records)) + sum(map(len, records.values())) <= len(data)


@pytest.mark.parametrize("stamp", ["5f8c48c1171b", "000000000000", "ffffffffffff", "3b3b1f1f0c00"])
def test_times_that_are_none(stamp: str) -> None:
    assert meter_time(bytes.fromhex(stamp)) is None


def test_the_profile_needs_its_key() -> None:
    model = load_profile("siemens-td3511").model
    assert isinstance(model, MbusModel)
    assert model.lanes == ("import", "export", "power")
    assert model.rollover == {}
    with pytest.raises(UsageError, match="this meter encrypts: encryption_key is needed, the AES key in"):
        model.decoder(Secrets())
