"""From bytes to telegrams: what is believed, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError, UsageError
from gateway.meters.dlms.application import block_transfer, cipher
from gateway.meters.dlms.application.apdu import DataNotification
from gateway.meters.dlms.cosem import date_time
from gateway.meters.dlms.cosem.data import DoubleLongUnsigned, Enum, Integer, Value
from gateway.meters.dlms.cosem.objects import obis
from gateway.meters.dlms.link import mbus
from gateway.meters.dlms.link.hdlc import Frame
from gateway.meters.dlms.link.hdlc_link import LLC_RESPONSE
from gateway.meters.dlms.push.decoder import PushDecoder, Seen
from gateway.meters.dlms.push.layouts import Layout, parse_item
from gateway.meters.dlms.push.links import HdlcLink, MbusLink
from gateway.meters.dlms.push.lists import ListForm
from gateway.meters.dlms.push.model import DlmsPushModel
from gateway.meters.reading import Telegram
from gateway.meters.secrets import Secrets

KEYS = cipher.CipherKeys(bytes(range(16)), bytes(range(16, 32)))
ENCRYPTION = cipher.CipherKeys(bytes(range(16)))
TITLE = b"SIM\x00\x00\x00\x00\x01"
DRAWN = Layout((parse_item("u32 1-0:1.7.0"),))
NOON = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000_000
SECOND = 1_000_000_000


def notification(wh: int = 1000, moment: int | None = NOON) -> bytes:
    wh_scale: Value = (Integer(0), Enum(30))
    body: Value = (obis("1-0:1.8.0"), DoubleLongUnsigned(wh), wh_scale)
    return DataNotification(0, None if moment is None else date_time.encode(moment, -120), body).encode()


def ciphered(
    apdu: bytes, counter: int, *, keys: cipher.CipherKeys = KEYS, control: int = 0x30, title: bytes = TITLE
) -> bytes:
    return cipher.general_glo(title, cipher.seal(keys, control, title, counter, apdu))


def framed(message: bytes, size: int = 2000, *, repeat_header: bool = False) -> bytes:
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(
        Frame(
            b"\xcf",
            b"\x03",
            0x13,
            (LLC_RESPONSE if at == 0 or repeat_header else b"") + part,
            segmented=at < len(parts) - 1,
        ).encode()
        for at, part in enumerate(parts)
    )


def decoder(keys: cipher.CipherKeys | None = None) -> PushDecoder:
    return PushDecoder(HdlcLink(), ListForm(), keys, Seen())


def said(item: Telegram | MeterError) -> int | str:
    """The import of a telegram in Wh, or the sentence of an error."""
    return str(item) if isinstance(item, MeterError) else item.registers["import"] // 1000


def heard(line: bytes, keys: cipher.CipherKeys | None = None) -> list[int | str]:
    return [said(item) for item in decoder(keys).feed(line)]


@pytest.mark.parametrize(
    ("keys", "control"),
    [(KEYS, 0x30), (ENCRYPTION, 0x20), (ENCRYPTION, 0x21), (KEYS, 0x31), (ENCRYPTION, 0x60)],
)
def test_ciphered_messages_are_opened(keys: cipher.CipherKeys, control: int) -> None:
    assert heard(framed(ciphered(notification(), 1, keys=keys, control=control)), keys) == [1000]


def test_service_ciphered_messages_are_opened_once_the_meter_told_its_title() -> None:
    def service(counter: int) -> bytes:
        return framed(cipher.service_glo(0xC2, cipher.seal(KEYS, 0x30, TITLE, counter, notification(2000))))

    no_title = "a ciphered message lacks its system title, and so did all before it"
    line = service(1) + framed(ciphered(notification(), 2)) + service(3)
    assert heard(line, KEYS) == [no_title, 1000, 2000]


def test_blocks_hold_a_ciphered_message_and_a_plain_one() -> None:
    for message, keys in ((ciphered(notification(), 1), KEYS), (notification(), None)):
        blocks = block_transfer.split(message, 20, window=63)
        assert heard(b"".join(framed(block.encode()) for block in blocks), keys) == [1000]


@pytest.mark.parametrize("repeat_header", [False, True])
@given(st.integers(1, 100))
def test_segments_make_a_message(repeat_header: bool, size: int) -> None:
    assert heard(framed(notification(), size, repeat_header=repeat_header)) == [1000]


@pytest.mark.parametrize("repeat_header", [False, True])
def test_a_lost_segment_costs_its_message_only(repeat_header: bool) -> None:
    first = framed(notification(), 10, repeat_header=repeat_header)
    count = -(-len(notification()) // 10)
    frames = [b"\x7e" + part + b"\x7e" for part in first.strip(b"\x7e").split(b"\x7e\x7e")]
    assert len(frames) == count
    for lost in range(count):
        line = b"".join(frame for at, frame in enumerate(frames) if at != lost)
        items = heard(line + framed(notification(2000), 10, repeat_header=repeat_header))
        assert items[-1] == 2000
        assert 1000 not in items


def test_an_unknown_list_and_a_wrong_key_are_two_things() -> None:
    """Whatever list the right key opens, the key is right; and a wrong key says nothing of lists."""
    apdu = DataNotification(0, None, (DoubleLongUnsigned(5), b"ab")).encode()
    for keys, control in ((KEYS, 0x30), (ENCRYPTION, 0x20)):
        (unknown,) = heard(framed(ciphered(apdu, 1, keys=keys, control=control)), keys)
        assert "an unknown list of 2 values (u32, octets[2])" in str(unknown)
        assert "key" not in str(unknown)
    other = cipher.CipherKeys(bytes(range(1, 17)))
    (wrong,) = heard(framed(ciphered(notification(), 1, keys=other, control=0x20)), ENCRYPTION)
    assert str(wrong).startswith("the encryption key is wrong, or is not this meter's")
    assert "list" not in str(wrong)


def test_keys_that_are_missing_or_in_vain_are_told() -> None:
    assert heard(framed(ciphered(notification(), 1))) == [
        "the meter ciphers what it pushes: its keys are needed"
    ]
    (plain,) = heard(framed(notification()), KEYS)
    assert "is not ciphered although the meter's keys are set" in str(plain)


def test_a_wrong_key_is_told() -> None:
    other = cipher.CipherKeys(bytes(16), KEYS.authentication)
    assert "fails its check" in str(heard(framed(ciphered(notification(), 1)), other)[0])
    unauthenticated = ciphered(notification(), 1, keys=ENCRYPTION, control=0x20)
    assert "the encryption key is wrong, or is not this meter's" in str(
        heard(framed(unauthenticated), cipher.CipherKeys(bytes(16)))[0]
    )


@pytest.mark.parametrize(("keys", "control"), [(KEYS, 0x20), (KEYS, 0x10), (ENCRYPTION, 0x00)])
def test_what_is_protected_less_than_it_could_be_is_refused(keys: cipher.CipherKeys, control: int) -> None:
    (error,) = heard(framed(ciphered(notification(), 1, control=control)), keys)
    assert "protects its messages" in str(error) or "neither encrypted nor" in str(error)


def test_an_altered_message_is_refused() -> None:
    message = bytearray(ciphered(notification(), 1))
    for at in range(len(message)):
        message[at] ^= 1
        assert not isinstance(decoder(KEYS).feed(framed(bytes(message)))[0], Telegram)
        message[at] ^= 1


def test_a_copy_is_refused_over_the_next_connection_too() -> None:
    first, second = (framed(ciphered(notification(wh), wh, keys=KEYS)) for wh in (1, 2))
    one = decoder(KEYS)
    assert [said(item) for item in one.feed(first + second + first[:-9])] == [1, 2]
    for copy in (first, second):
        one.cut()
        (error,) = one.feed(copy)
        assert "was used before" in str(error)


def test_a_counter_that_falls_is_believed_with_a_later_clock_only() -> None:
    """A meter that lost its counter goes on with its clock; a copy of what it said before cannot."""
    said_before = framed(ciphered(notification(1, NOON - SECOND), 90))
    last = framed(ciphered(notification(2, NOON), 100))
    after_reset = framed(ciphered(notification(3, NOON + SECOND), 5))
    next_one = framed(ciphered(notification(4, NOON + 2 * SECOND), 6))
    one = decoder(KEYS)
    assert [said(item) for item in one.feed(last + after_reset + next_one)] == [2, 3, 4]
    for copy in (last, said_before, after_reset, next_one):
        assert "was used before" in str(said(one.feed(copy)[0]))


def test_a_counter_that_falls_without_a_clock_is_refused() -> None:
    line = framed(ciphered(notification(1, None), 100)) + framed(ciphered(notification(2, None), 5))
    first, second = heard(line, KEYS)
    assert first == 1
    assert "was used before" in str(second)


def test_a_clock_that_was_set_back_costs_nothing() -> None:
    line = framed(ciphered(notification(1, NOON), 1)) + framed(
        ciphered(notification(2, NOON - 3600 * SECOND), 2)
    )
    assert heard(line, KEYS) == [1, 2]


def test_each_meter_has_its_own_counter() -> None:
    line = framed(ciphered(notification(1), 100)) + framed(ciphered(notification(2), 5, title=b"OTHERONE"))
    assert heard(line, KEYS) == [1, 2]


def test_what_is_kept_of_meters_is_bounded() -> None:
    seen = Seen()
    for number in range(1000):
        seen.pass_once(number.to_bytes(8, "big"), 1, None)
    assert len(seen._last) <= 16


def test_a_refused_copy_does_not_count() -> None:
    """What fails its check leaves the counter where it was."""
    forged = bytearray(ciphered(notification(), 0xFFFFFFFF))
    forged[-1] ^= 1
    items = heard(framed(bytes(forged)) + framed(ciphered(notification(), 1)), KEYS)
    assert items[-1] == 1000


@given(st.lists(st.binary(max_size=60)), st.booleans())
def test_noise_between_messages_takes_none_with_it(noises: list[bytes], over_mbus: bool) -> None:
    link = MbusLink() if over_mbus else HdlcLink()
    one = PushDecoder(link, ListForm(), KEYS, Seen())
    for counter, noise in enumerate(noises, 1):
        message = ciphered(notification(counter), counter)
        frames = b"".join(part.encode() for part in mbus.split(message)) if over_mbus else framed(message)
        items = one.feed(noise + frames)
        assert [said(item) for item in items if isinstance(item, Telegram)] == [counter]


@given(st.lists(st.binary(max_size=200)), st.lists(st.binary(max_size=200)), st.booleans())
def test_whatever_comes_only_declared_errors_go(
    noises: list[bytes], messages: list[bytes], plain: bool
) -> None:
    for link in (HdlcLink(), MbusLink()):
        one = PushDecoder(
            link, ListForm(layouts=(DRAWN,), hourly_s=10), None if plain else ENCRYPTION, Seen()
        )
        for noise in noises:
            one.feed(noise)
        for message in messages:
            contents = message if plain else ciphered(b"\x0f" + message, 1, keys=ENCRYPTION, control=0x20)
            one.feed(framed(contents))
            one.feed(b"".join(part.encode() for part in mbus.split(contents)))


def test_a_meter_that_encrypts_needs_its_key() -> None:
    model = DlmsPushModel("hdlc", True, ListForm())
    with pytest.raises(UsageError, match="encryption_key is needed"):
        model.decoder(Secrets(authentication_key=bytes(16)))
    shown = repr(model.decoder(Secrets(encryption_key=b"\xa5" * 16)))
    assert "a5a5" not in shown
    assert r"\xa5" not in shown
