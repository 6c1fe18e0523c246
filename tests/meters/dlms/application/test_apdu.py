from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError, UsageError
from gateway.meters.dlms.application import apdu, association, block_transfer
from gateway.meters.dlms.application.apdu import Block
from gateway.meters.dlms.application.association import Conformance, Initiate, Initiated
from gateway.meters.dlms.application.block_transfer import GeneralBlock, Reassembly
from gateway.meters.dlms.cosem.data import Unsigned, encode
from gateway.meters.dlms.cosem.objects import Reference, Selection, obis, obis_text, rows_numbered

VALUE = encode((Unsigned(3), b"abc"))
INVOKE = st.integers(0, 255)
REFERENCE = st.builds(
    Reference, st.integers(0, 0xFFFF), st.binary(min_size=6, max_size=6), st.integers(-128, 127)
)
SELECTION = st.none() | st.just(rows_numbered(1, 5)) | st.just(Selection(1, (b"", Unsigned(1))))
BLOCK = st.builds(Block, st.booleans(), st.integers(0, 2**32 - 1), st.binary(max_size=300))
NUMBER = st.integers(0, 2**32 - 1)
OCTET = st.integers(0, 255)
DATA = st.just(VALUE)
REQUESTS = st.one_of(
    st.builds(apdu.Get, INVOKE, REFERENCE, SELECTION),
    st.builds(apdu.GetNext, INVOKE, NUMBER),
    st.builds(apdu.Set, INVOKE, REFERENCE, DATA | BLOCK),
    st.builds(apdu.SetBlock, INVOKE, BLOCK),
    st.builds(apdu.Action, INVOKE, REFERENCE, DATA | BLOCK | st.none()),
    st.builds(apdu.ActionBlock, INVOKE, BLOCK),
    st.builds(apdu.ActionNext, INVOKE, NUMBER),
)
ANSWERS = st.one_of(
    st.builds(apdu.GetAnswer, INVOKE, DATA | BLOCK | OCTET),
    st.builds(apdu.SetAnswer, INVOKE, OCTET, st.none() | NUMBER),
    st.builds(apdu.SetNext, INVOKE, NUMBER),
    st.builds(apdu.ActionAnswer, INVOKE, OCTET, DATA | OCTET | st.none()),
    st.builds(apdu.ActionAnswerBlock, INVOKE, BLOCK),
    st.builds(apdu.ActionAnswerNext, INVOKE, NUMBER),
)
TITLE = st.none() | st.binary(min_size=8, max_size=8)
SECRET = st.none() | st.binary(max_size=200)
PARSERS: list[Callable[[bytes], object]] = [
    apdu.parse_request,
    apdu.parse_answer,
    apdu.parse_notification,
    association.parse_request,
    association.parse_response,
    association.parse_initiate,
    association.parse_initiated,
    association.release_information,
    block_transfer.parse,
]


@given(REQUESTS)
def test_a_request_comes_back(request: apdu.Request) -> None:
    assert apdu.parse_request(request.encode()) == request


@given(ANSWERS)
def test_an_answer_comes_back(answer: apdu.Answer) -> None:
    assert apdu.parse_answer(answer.encode()) == answer


@given(st.booleans(), st.sampled_from([1, 5]), st.binary(max_size=60), TITLE, st.binary(max_size=200))
def test_a_request_to_associate_comes_back(
    ciphered: bool, mechanism: int, initiate: bytes, title: bytes | None, secret: bytes
) -> None:
    request = association.Request(ciphered, mechanism, initiate, title, secret)
    assert association.parse_request(request.encode()) == request


@given(st.booleans(), st.sampled_from([0, 1, 2]), OCTET, SECRET, TITLE, SECRET)
def test_an_answer_to_an_association_comes_back(
    ciphered: bool,
    result: int,
    diagnostic: int,
    initiated: bytes | None,
    title: bytes | None,
    secret: bytes | None,
) -> None:
    mechanism = 0 if secret is None else 5
    response = association.Response(ciphered, result, diagnostic, initiated, mechanism, title, secret)
    assert association.parse_response(response.encode()) == response


@given(
    st.sampled_from(PARSERS),
    st.binary(max_size=100),
    st.sampled_from(["", "c401", "c402", "c701", "61", "60", "e0"]),
)
def test_any_bytes_are_understood_or_a_meter_error(
    parser: Callable[[bytes], object], noise: bytes, head: str
) -> None:
    with suppress(MeterError):
        parser(bytes.fromhex(head) + noise)


def test_the_standards_example_of_an_association() -> None:
    """DLMS UA 1000-2 (Green Book): an AARQ with a password, and its AARE."""
    request = association.Request(
        False, association.LLS, Initiate(Conformance(0x007E1F), 1200).encode(), secret=b"12345678"
    )
    assert request.encode() == bytes.fromhex(
        "6036 A109060760857405080101 8A020780 8B0760857405080201 AC0A80083132333435363738"
        "BE10040E01000000065F1F0400007E1F04B0"
    )
    response = association.Response(False, 0, 0, Initiated(Conformance(0x00501F), 500).encode())
    assert response.encode() == bytes.fromhex(
        "6129 A109060760857405080101 A203020100 A305A103020100 BE10040E0800065F1F040000501F01F40007"
    )
    assert association.parse_initiated(response.initiated or b"") == Initiated(Conformance(0x00501F), 500)


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        ("D8 01 01", "is the association still open"),
        ("D8 02 02", "does not support that"),
        ("D8 01 05", "check the keys"),
        ("D8 01 06 00000005", "invocation counter is too low"),
        ("D8 01 09", "not allowed in this association"),
        ("D8 07 09", "exception 7, 9"),
        ("D8 01", "ends too early"),
        ("0E 01 06 01", "DLMS version"),
        ("0E 01 06 04", "check the client address"),
        ("0E 05 05 02", "error of access, number 2"),
        ("0E 05 63 02", "error of kind 99, number 2"),
        ("C4 07 C1", "not a known answer"),
    ],
)
def test_a_refusal_becomes_a_sentence(octets: str, sentence: str) -> None:
    with pytest.raises(MeterError, match=sentence):
        apdu.parse_answer(bytes.fromhex(octets))


@pytest.mark.parametrize(
    ("diagnostic", "sentence"),
    [
        (1, "password"),
        (2, "application context"),
        (3, "title"),
        (11, "mechanism"),
        (13, "failed"),
        (77, "77"),
    ],
)
def test_a_refused_association_names_what_to_check(diagnostic: int, sentence: str) -> None:
    response = association.Response(False, 1, diagnostic)
    with pytest.raises(MeterError, match=sentence):
        association.parse_response(response.encode()).check()


def test_short_names_are_not_spoken() -> None:
    request = association.Request(False, 0, b"").encode()
    with pytest.raises(MeterError, match="context 2"):
        association.parse_request(request.replace(bytes.fromhex("0508 01 01"), bytes.fromhex("0508 01 02")))


@given(st.binary(min_size=1, max_size=1000), st.integers(1, 50), st.integers(1, 5))
def test_a_message_in_blocks_comes_together(message: bytes, size: int, window: int) -> None:
    whole = Reassembly()
    blocks = block_transfer.split(message, size, window)
    assert [block_transfer.parse(block.encode()) for block in blocks] == blocks
    *parts, last = [whole.feed(block) for block in blocks]
    assert parts == [None] * len(parts)
    assert last == message


def test_a_missing_block_takes_no_later_message_with_it() -> None:
    whole = Reassembly()
    first, second, third = (GeneralBlock(n == 3, True, 1, n, 0, bytes((n,))) for n in (1, 2, 3))
    whole.feed(first)
    with pytest.raises(MeterError, match="block 3 of a long message came instead of block 2"):
        whole.feed(third)
    with pytest.raises(MeterError, match="came instead of block 1"):
        whole.feed(second)
    whole.feed(first)
    assert whole.feed(first) is None  # begun again
    assert whole.feed(second) is None
    assert whole.feed(third) == b"\1\2\3"


def test_a_message_without_end_is_given_up() -> None:
    whole = Reassembly()
    endless = (GeneralBlock(False, True, 1, number, 0, bytes(50_000)) for number in range(1, 100))
    with pytest.raises(MeterError, match="more than a meter sends"):
        list(map(whole.feed, endless))


@pytest.mark.parametrize("sent", [None, bytes(range(12))])
def test_a_notification_comes_back(sent: bytes | None) -> None:
    notification = apdu.DataNotification(0x40000001, sent, (Unsigned(1), b"x"))
    assert apdu.parse_notification(notification.encode()) == notification
    for cut in range(len(notification.encode())):
        with pytest.raises(MeterError):
            apdu.parse_notification(notification.encode()[:cut])


def test_a_notification_whose_time_is_tagged_is_read() -> None:
    tagged = bytes.fromhex("0F 00000001 09 0C 07E8011E020C2D00FFFFC400 11 07")
    assert apdu.parse_notification(tagged) == apdu.DataNotification(1, tagged[7:19], Unsigned(7))
    with pytest.raises(MeterError, match="time of 3 bytes"):
        apdu.parse_notification(bytes.fromhex("0F 00000001 03 010203 11 07"))


def test_obis_codes_are_read_and_shown() -> None:
    assert obis("1-0:1.8.0") == obis("1-0:1.8.0.255") == obis("1-0:1.8.0*255") == bytes((1, 0, 1, 8, 0, 255))
    assert obis_text(obis("0-1:96.3.10")) == "0-1:96.3.10.255"
    for wrong in ("1.8.0", "1-0:1.8.256", "", "1-0:1.8.0.255.1"):
        with pytest.raises(UsageError, match="not an OBIS code"):
            obis(wrong)
