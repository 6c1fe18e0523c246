from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError, UsageError
from gateway.meters.dlms.application import cipher
from gateway.meters.dlms.application.cipher import AUTHENTICATED, ENCRYPTED, CipherKeys, Guard

# The worked example of DLMS UA 1000-2 (Green Book) for ciphered APDUs: its keys and its get-request.
EK = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
AK = bytes.fromhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")
KEYS = CipherKeys(EK, AK)
TITLE = bytes.fromhex("4D4D4D0000BC614E")
COUNTER = 0x01234567
GET = bytes.fromhex("C0010000080000010000FF0200")
EXAMPLES = {
    AUTHENTICATED: "C8 1E 10 01234567 C0010000080000010000FF0200 06725D910F9221D263877516",
    ENCRYPTED: "C8 12 20 01234567 411312FF935A47566827C467BC",
    AUTHENTICATED | ENCRYPTED: "C8 1E 30 01234567 411312FF935A47566827C467BC 7D825C3BE4A77C3FCC056B6B",
}
CONTROLS = list(EXAMPLES)


@pytest.mark.parametrize("control", CONTROLS)
def test_the_standards_example(control: int) -> None:
    apdu = cipher.service_glo(0xC0, cipher.seal(KEYS, control, TITLE, COUNTER, GET))
    assert apdu == bytes.fromhex(EXAMPLES[control])
    opened = Guard(KEYS, control).open(cipher.parse(apdu), TITLE)
    assert (opened.title, opened.control, opened.counter, opened.text) == (TITLE, control, COUNTER, GET)


@pytest.mark.parametrize(
    ("title", "counter", "challenge", "answer"),
    [
        ("4D4D4D0000000001", 1, b"P6wRJ21F", "10 00000001 1A52FE7DD3E72748973C1E28"),  # the client's
        ("4D4D4D0000BC614E", 0x01234567, b"K56iVagY", "10 01234567 FE1466AFB3DBCD4F9389E2B7"),  # the server's
    ],
)
def test_the_standards_example_of_hls5(title: str, counter: int, challenge: bytes, answer: str) -> None:
    sender, right = bytes.fromhex(title), bytes.fromhex(answer)
    assert cipher.gmac(KEYS, sender, counter, challenge) == right
    assert cipher.gmac_is_right(KEYS, sender, challenge, right)
    for wrong in (right[:-1], right + b"\0", b"\x30" + right[1:], right[:4] + b"\2" + right[5:]):
        assert not cipher.gmac_is_right(KEYS, sender, challenge, wrong)
    assert not cipher.gmac_is_right(KEYS, sender, b"P6wRJ21G", right)


@given(st.sampled_from(CONTROLS), st.binary(max_size=400), st.integers(0, 2**32 - 1))
def test_what_was_sealed_opens_again(control: int, text: bytes, counter: int) -> None:
    apdu = cipher.general_glo(TITLE, cipher.seal(KEYS, control, TITLE, counter, text))
    opened = Guard(KEYS).open(cipher.parse(apdu))
    assert (opened.title, opened.counter, opened.text) == (TITLE, counter, text)


@given(st.sampled_from([AUTHENTICATED, AUTHENTICATED | ENCRYPTED]), st.binary(max_size=40), st.data())
def test_one_altered_bit_is_noticed(control: int, text: bytes, draw: st.DataObject) -> None:
    body = bytearray(cipher.seal(KEYS, control, TITLE, 7, text))
    bit = draw.draw(st.integers(0, 8 * len(body) - 1))
    body[bit // 8] ^= 1 << bit % 8
    if body[0] == ENCRYPTED:
        return  # its authentication taken away: `least` refuses that
    with pytest.raises(MeterError):
        cipher.open_body(KEYS, TITLE, bytes(body))


@pytest.mark.parametrize("keys", [CipherKeys(AK, AK), CipherKeys(EK, EK)])
@pytest.mark.parametrize("control", [AUTHENTICATED, AUTHENTICATED | ENCRYPTED])
def test_a_wrong_key_is_told_and_not_shown(keys: CipherKeys, control: int) -> None:
    body = cipher.seal(KEYS, control, TITLE, 7, GET)
    with pytest.raises(MeterError, match="wrong encryption or authentication key") as refusal:
        cipher.open_body(keys, TITLE, body)
    for secret in (EK, AK):
        assert secret.hex() not in str(refusal.value) + repr(keys)
        assert repr(secret) not in repr(keys)


def test_a_message_comes_once() -> None:
    guard = Guard(KEYS)
    other = b"OTHER..1"

    def message(title: bytes, counter: int) -> cipher.Ciphered:
        return cipher.parse(cipher.general_glo(title, cipher.seal(KEYS, 0x30, title, counter, GET)))

    guard.open(message(TITLE, 5))
    guard.open(message(other, 5))  # another meter counts for itself
    for counter in (5, 4, 0):
        with pytest.raises(MeterError, match="counter that was used before"):
            guard.open(message(TITLE, counter))
    guard.open(message(TITLE, 6))


def test_a_forged_counter_does_not_count() -> None:
    guard = Guard(KEYS)
    forged = cipher.seal(CipherKeys(AK, AK), 0x30, TITLE, 2**32 - 1, GET)
    with pytest.raises(MeterError, match="wrong encryption"):
        guard.open(cipher.Ciphered(cipher.GENERAL_GLO, TITLE, forged))
    guard.open(cipher.Ciphered(cipher.GENERAL_GLO, TITLE, cipher.seal(KEYS, 0x30, TITLE, 1, GET)))


def test_less_protection_than_agreed_is_refused() -> None:
    for agreed in CONTROLS:
        for control in CONTROLS:
            message = cipher.Ciphered(0xC8, None, cipher.seal(KEYS, control, TITLE, 1, GET))
            if control & agreed == agreed:
                Guard(KEYS, agreed).open(message, TITLE)
            else:
                with pytest.raises(MeterError, match="was agreed"):
                    Guard(KEYS, agreed).open(message, TITLE)


@pytest.mark.parametrize("length", [0, 4, 127 - 5, 128 - 5, 300, 70_000])
def test_long_messages_and_an_empty_title(length: int) -> None:
    body = cipher.seal(KEYS, ENCRYPTED, TITLE, 1, bytes(length))
    message = cipher.parse(cipher.general_glo(b"", body))
    assert message.title is None
    assert Guard(KEYS).open(message, TITLE).text == bytes(length)
    with pytest.raises(MeterError, match="system title"):
        Guard(KEYS).open(message)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("32 00000001 00", "security suite 2"),
        ("B0 00000001 00", "compresses"),
        ("00 00000001 00", "neither encrypted nor"),
        ("30 00000001 0011", "cut off in its authentication tag"),
        ("30 0000", "too early"),
        ("", "too early"),
    ],
)
def test_what_cannot_be_opened_is_told(body: str, sentence: str) -> None:
    with pytest.raises(MeterError, match=sentence):
        cipher.open_body(KEYS, TITLE, bytes.fromhex(body))


def test_every_cut_of_a_message_is_refused() -> None:
    whole = cipher.general_glo(TITLE, cipher.seal(KEYS, 0x30, TITLE, 1, bytes(200)))
    for cut in range(len(whole)):
        with pytest.raises(MeterError):
            cipher.parse(whole[:cut])
    with pytest.raises(MeterError, match="bytes too long"):
        cipher.parse(whole + b"\0")


@given(st.binary(max_size=80))
def test_any_bytes_are_a_message_or_a_meter_error(noise: bytes) -> None:
    with suppress(MeterError):
        Guard(KEYS).open(cipher.parse(noise), TITLE)


@pytest.mark.parametrize("tag", [0xDC, 0xDD, 0xDF, 0xD0, 0xD4])
def test_ciphering_not_read_here_is_named(tag: int) -> None:
    assert cipher.is_ciphered(bytes((tag,)))
    with pytest.raises(MeterError, match="only global ciphering is supported"):
        cipher.parse(bytes((tag, 0)))


def test_keys_of_another_length_are_refused() -> None:
    with pytest.raises(UsageError, match="encryption key has 15 bytes"):
        CipherKeys(EK[:15])
    with pytest.raises(UsageError, match="authentication key has 17 bytes"):
        CipherKeys(EK, AK + b"\0")


def test_a_missing_authentication_key_is_asked_for() -> None:
    with pytest.raises(MeterError, match="authentication_key is needed too"):
        cipher.open_body(CipherKeys(EK), TITLE, cipher.seal(KEYS, 0x30, TITLE, 1, GET))


def test_a_title_of_another_length_is_refused() -> None:
    with pytest.raises(MeterError, match="system title has 7 bytes"):
        cipher.parse(cipher.general_glo(TITLE[:7], bytes(20)))
