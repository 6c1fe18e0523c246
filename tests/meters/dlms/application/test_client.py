from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import MeterError, UsageError
from gateway.meters.dlms.application import apdu, association, block_transfer, cipher
from gateway.meters.dlms.application.association import HLS5, LLS, NONE
from gateway.meters.dlms.application.cipher import CipherKeys
from gateway.meters.dlms.application.client import DlmsSession, Setup
from gateway.meters.dlms.application.refusal import EXCEPTION, AccessError
from gateway.meters.dlms.cosem import date_time
from gateway.meters.dlms.cosem.data import Array, Integer
from gateway.meters.dlms.cosem.objects import (
    CLOCK,
    DATA,
    DISCONNECT_CONTROL,
    PROFILE_GENERIC,
    REGISTER,
    Reference,
    obis,
    rows_between,
    rows_numbered,
)
from gateway.simulate.dlms_server import Policy, Server
from tests.meters.bench import NS, DrivenClock
from tests.meters.dlms.peers import (
    KEYS,
    OTHER_KEY,
    PASSWORD,
    TITLE,
    connection,
    meter,
    policy,
    session,
    talk,
)

IMPORT = Reference(REGISTER, obis("1-0:1.8.0"), 2)
SERIAL = Reference(DATA, obis("0-0:96.1.0"), 2)
TIME = Reference(CLOCK, obis("0-0:1.0.0"), 2)
BUFFER = Reference(PROFILE_GENERIC, obis("1-0:99.1.0"), 2)
COLUMNS = Reference(PROFILE_GENERIC, obis("1-0:99.1.0"), 3)
SWITCH = obis("0-0:96.3.10")
STATE = Reference(DISCONNECT_CONTROL, SWITCH, 2)
DAY_S = 86_400

PLAIN = [policy(), policy(LLS), policy(HLS5)]
CIPHERED = [
    policy(mechanism, protection) for mechanism in (NONE, LLS, HLS5) for protection in (0x10, 0x20, 0x30)
]


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("policy", PLAIN + CIPHERED, ids=lambda p: f"{p.mechanism}-{p.protection:#x}")
def test_every_way_to_associate_reads_the_meter(policy: Policy, general: bool) -> None:
    answer = connection(meter(policy))
    client = session(policy, general=general)
    for _ in range(2):  # and again, after a release
        talk(client.associate(), answer)
        assert talk(client.get(SERIAL), answer) == b"12345678"
        assert talk(client.get(IMPORT), answer) == 1_500_000
        talk(client.release(), answer)
        with pytest.raises(MeterError, match="association still open"):
            talk(client.get(SERIAL), answer)


@pytest.mark.parametrize("general_blocks", [False, True])
@pytest.mark.parametrize("policy", [policy(), policy(HLS5, 0x30)], ids=["plain", "ciphered"])
def test_a_long_value_comes_in_blocks(policy: Policy, general_blocks: bool) -> None:
    policy = replace(policy, longest=256, general_blocks=general_blocks)
    answer, requests = connection(meter(policy, history_s=2 * DAY_S)), []

    def counted(message: bytes) -> bytes:
        requests.append(message)
        return answer(message)

    client = session(policy, general=general_blocks)
    talk(client.associate(), counted)
    associated = len(requests)
    rows = talk(client.get(BUFFER), counted)
    assert isinstance(rows, Array)
    assert len(rows) == 192
    assert len(requests) - associated > 20
    blocks = [request for request in requests[associated:] if request[0] == 0xE0]
    assert (len(blocks) > 20) is general_blocks


def test_rows_are_selected_by_time_and_by_number() -> None:
    clock = DrivenClock()
    answer = connection(meter(policy(), clock, history_s=DAY_S))
    client = session(policy())
    talk(client.associate(), answer)
    whole = talk(client.get(BUFFER), answer)
    columns = talk(client.get(COLUMNS), answer)
    assert isinstance(whole, Array)
    assert isinstance(columns, Array)
    first, last = clock.wall() - 3600 * NS, clock.wall() - 1800 * NS
    selection = rows_between(columns[0], date_time.encode(first, 0), date_time.encode(last, 0))
    rows = talk(client.get(BUFFER, selection), answer)
    assert isinstance(rows, Array)
    stamps = [
        date_time.decode(row[0]).unix_ns
        for row in rows
        if isinstance(row, tuple) and isinstance(row[0], bytes)
    ]
    assert stamps == [first, first + 900 * NS, last]
    assert rows == whole[-5:-2]
    assert talk(client.get(BUFFER, rows_numbered(2, 3)), answer) == whole[1:3]


@pytest.mark.parametrize("longest", [1024, 80])
def test_the_clock_is_set_and_the_switch_thrown(longest: int) -> None:
    """Whole, and in blocks of 16 bytes."""
    clock = DrivenClock()
    answer = connection(meter(policy(HLS5, 0x30, longest=longest), clock))
    client = session(policy(HLS5, 0x30))
    talk(client.associate(), answer)
    talk(client.set(TIME, date_time.encode(clock.wall() + 120 * NS, -60)), answer)
    shown = talk(client.get(TIME), answer)
    assert isinstance(shown, bytes)
    assert date_time.decode(shown).unix_ns == clock.wall() + 120 * NS
    for method, connected in ((1, False), (2, True)):
        assert talk(client.action(Reference(DISCONNECT_CONTROL, SWITCH, method)), answer) is None
        assert talk(client.get(STATE), answer) is connected


def test_a_long_parameter_goes_in_blocks() -> None:
    server = meter(policy(longest=80))
    taken = []
    server.objects.act = lambda target, parameter, client: taken.append(parameter)  # type: ignore[method-assign]
    client = session(policy())
    answer = connection(server)
    talk(client.associate(), answer)
    talk(client.action(STATE, bytes(range(200))), answer)
    assert taken == [bytes(range(200))]


def test_a_meter_may_refuse_a_long_value_at_its_first_block() -> None:
    server = meter(policy(longest=80))
    client, answer = session(policy()), connection(server)
    talk(client.associate(), answer)
    with pytest.raises(AccessError, match="no right"):
        talk(client.set(TIME, bytes(200)), lambda message: apdu.SetAnswer(message[2], 3).encode())
    with pytest.raises(AccessError, match="no right"):
        talk(client.action(STATE, bytes(200)), lambda message: apdu.ActionAnswer(message[2], 3).encode())
    with pytest.raises(AccessError, match="value of this type"):  # once it is whole
        talk(client.set(TIME, (bytes(200),)), answer)


def test_a_long_answer_to_an_action_comes_in_blocks() -> None:
    encoded = bytes.fromhex("00 01 00 09 82 0100") + bytes(256)  # success, data, an octet-string

    def answer(message: bytes) -> bytes:
        request = apdu.parse_request(message)
        number = request.number + 1 if isinstance(request, apdu.ActionNext) else 1
        part = encoded[100 * number - 100 : 100 * number]
        return apdu.ActionAnswerBlock(request.invoke, apdu.Block(len(part) < 100, number, part)).encode()

    assert talk(session(policy()).action(STATE), answer) == bytes(256)


@pytest.mark.parametrize(
    ("wanted", "brought", "sentence"),
    [
        (policy(LLS), {"password": b"87654321"}, "check the password"),
        (policy(LLS), {"mechanism": NONE}, "requires authentication"),
        (policy(NONE), {"mechanism": LLS, "password": PASSWORD}, "authentication mechanism"),
        (policy(HLS5), {"keys": CipherKeys(OTHER_KEY, KEYS.authentication)}, "refuses our proof of the keys"),
        (policy(HLS5), {"keys": CipherKeys(KEYS.encryption, OTHER_KEY)}, "refuses our proof of the keys"),
        (policy(NONE, 0x30), {"keys": CipherKeys(OTHER_KEY, KEYS.authentication)}, "cannot decipher"),
        (policy(NONE, 0x30), {"keys": CipherKeys(KEYS.encryption, OTHER_KEY)}, "cannot decipher"),
        (policy(NONE, 0x30), {"protection": 0x20}, "cannot decipher"),
        (policy(NONE, 0x30), {"protection": 0}, "application context"),
        (policy(NONE, 0), {"protection": 0x30, "keys": KEYS}, "application context"),
    ],
)
def test_a_refusal_says_what_to_check(wanted: Policy, brought: dict[str, Any], sentence: str) -> None:
    client = session(wanted, **brought)
    with pytest.raises(MeterError, match=sentence) as refused:
        talk(client.associate(), connection(meter(wanted)))
    for secret in (PASSWORD, b"87654321", KEYS.encryption.hex().encode(), OTHER_KEY):
        assert secret.decode("latin-1") not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [  # u9n/dlms-cosem, tests/test_asce/test_aare.py at 23f068ad: the standard's examples, and a meter's
        ("6129A109060760857405080101A203020101A305A103020102BE10040E0800065F1F040000501F01F40007", "context"),
        ("611FA109060760857405080101A203020101A305A103020101BE0604040E010601", "DLMS version is too low"),
        ("6129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F0400001E1D04C80007", None),
    ],
)
def test_public_answers_to_an_association(answer: str, sentence: str | None) -> None:
    steps = session(policy()).associate()
    if sentence is None:
        talk(steps, lambda _: bytes.fromhex(answer))
        return
    with pytest.raises(MeterError, match=sentence):
        talk(steps, lambda _: bytes.fromhex(answer))


def test_another_client_address_is_refused() -> None:
    with pytest.raises(MeterError, match="check the client address"):
        talk(session(policy()).associate(), connection(meter(policy()), client=33))


def test_one_refused_object_leaves_the_association_open() -> None:
    answer = connection(meter(policy()))
    client = session(policy())
    talk(client.associate(), answer)
    refused = [
        (Reference(REGISTER, obis("1-0:9.9.9"), 2), "no such object"),
        (Reference(CLOCK, obis("1-0:1.8.0"), 2), "in another class"),
    ]
    for target, sentence in refused:
        with pytest.raises(AccessError, match=sentence):
            talk(client.get(target), answer)
    with pytest.raises(AccessError, match="does not allow it"):
        talk(client.set(IMPORT, Integer(0)), answer)
    with pytest.raises(AccessError, match="no such object"):
        talk(client.action(Reference(DISCONNECT_CONTROL, SWITCH, 3)), answer)
    assert talk(client.get(SERIAL), answer) == b"12345678"


def test_a_counter_that_was_there_is_refused_by_the_meter() -> None:
    server = meter(policy(NONE, 0x30))
    talk(session(policy(NONE, 0x30), first_counter=100).associate(), connection(server))
    with pytest.raises(MeterError, match="invocation counter is too low"):
        talk(session(policy(NONE, 0x30), first_counter=50).associate(), connection(server))
    talk(session(policy(NONE, 0x30), first_counter=101).associate(), connection(server))


def associated(wanted: Policy) -> tuple[DlmsSession, Server, bytes]:
    """A client that has associated, its meter, and an answer that it had from it."""
    server = meter(wanted)
    client, answer = session(wanted), connection(server)
    talk(client.associate(), answer)
    came = b""

    def kept(message: bytes) -> bytes:
        nonlocal came
        came = answer(message)
        return came

    talk(client.get(SERIAL), kept)
    return client, server, came


def test_an_answer_that_came_before_is_refused() -> None:
    client, _, old = associated(policy(HLS5, 0x30))
    with pytest.raises(MeterError, match="counter that was used before"):
        talk(client.get(SERIAL), lambda _: old)
    # nor in a later association, though the meter were restarted from an old copy
    with pytest.raises(MeterError, match="counter that was used before"):
        talk(client.associate(), connection(meter(policy(HLS5, 0x30))))


def test_an_answer_in_clear_is_refused_where_ciphering_was_agreed() -> None:
    client, _, _ = associated(policy(NONE, 0x30))
    plain = apdu.GetAnswer(0xC3, bytes.fromhex("0900")).encode()
    with pytest.raises(MeterError, match="in clear"):
        talk(client.get(SERIAL), lambda _: plain)


def test_an_answer_of_less_protection_is_refused() -> None:
    client, server, _ = associated(policy(NONE, 0x30))
    text = apdu.GetAnswer(0xC3, bytes.fromhex("0900")).encode()
    weak = cipher.service_glo(0xC4, cipher.seal(KEYS, 0x20, server.title, 99, text))
    with pytest.raises(MeterError, match="0x30 was agreed"):
        talk(client.get(SERIAL), lambda _: weak)
    stranger = cipher.general_glo(b"STRANGER", cipher.seal(KEYS, 0x30, b"STRANGER", 99, text))
    with pytest.raises(MeterError, match="a system title that is not the meter's"):
        talk(client.get(SERIAL), lambda _: stranger)


def test_an_empty_title_in_a_general_envelope_is_the_meters() -> None:
    client, server, _ = associated(policy(NONE, 0x30))
    text = apdu.GetAnswer(0xC2, bytes.fromhex("00 11 07")[1:]).encode()
    reply = cipher.general_glo(b"", cipher.seal(KEYS, 0x30, server.title, 99, text))
    assert talk(client.get(SERIAL), lambda _: reply) == 7


def test_a_meter_that_sends_our_own_challenge_back_proves_nothing() -> None:
    """Without the keys, one could have us compute its proof."""

    def mirror(message: bytes) -> bytes:
        request = association.parse_request(message)
        agreed = association.Initiated(association.Conformance.GET, 1024).encode()
        return association.Response(False, 0, 14, agreed, HLS5, b"MIRROR-1", request.secret).encode()

    with pytest.raises(MeterError, match="sent back"):
        talk(session(policy(HLS5)).associate(), mirror)


def test_a_meter_that_does_not_know_the_keys_is_noticed() -> None:
    def impostor(message: bytes) -> bytes:
        if message[0] == association.AARQ:
            agreed = association.Initiated(association.Conformance.GET, 1024).encode()
            return association.Response(False, 0, 14, agreed, HLS5, b"IMPOSTOR", bytes(16)).encode()
        request = apdu.parse_request(message)
        proof = bytes.fromhex("09 11 10 00000001") + bytes(12)
        return apdu.ActionAnswer(request.invoke, 0, proof).encode()

    with pytest.raises(MeterError, match="does not prove"):
        talk(session(policy(HLS5)).associate(), impostor)


def test_an_answer_to_another_question_is_refused() -> None:
    client = session(policy())
    other = apdu.GetAnswer(0xCF, bytes.fromhex("1107")).encode()
    with pytest.raises(MeterError, match="a request other than the last"):
        talk(client.get(SERIAL), lambda _: other)
    with pytest.raises(MeterError, match="SetAnswer instead of a GetAnswer"):
        talk(client.get(SERIAL), lambda _: apdu.SetAnswer(0xC2, 0).encode())


def test_blocks_out_of_order_are_refused() -> None:
    def twice(message: bytes) -> bytes:
        return apdu.GetAnswer(message[2], apdu.Block(False, 1, b"\t\x7f")).encode()

    with pytest.raises(MeterError, match="block 1 instead of block 2"):
        talk(session(policy()).get(SERIAL), twice)

    def general(message: bytes) -> bytes:
        return block_transfer.GeneralBlock(False, False, 1, 1, 0, b"\xc4").encode()

    with pytest.raises(MeterError, match="block 1 instead of block 2"):
        talk(session(policy()).get(SERIAL), general)


def test_more_blocks_at_once_than_agreed_are_refused() -> None:
    blocks = block_transfer.split(bytes(200), 50, window=3)
    with pytest.raises(MeterError, match="several blocks at once"):
        talk(session(policy()).get(SERIAL), lambda _: blocks[0].encode())


def test_a_setup_without_what_it_needs_is_refused() -> None:
    with pytest.raises(UsageError, match="password"):
        Setup(LLS)
    with pytest.raises(UsageError, match="encryption key"):
        Setup(HLS5)
    with pytest.raises(UsageError, match="encryption key"):
        Setup(protection=0x20)
    with pytest.raises(UsageError, match="authentication key"):
        Setup(protection=0x10, keys=CipherKeys(OTHER_KEY))
    assert PASSWORD.decode() not in repr(Setup(LLS, password=PASSWORD, title=TITLE))


@pytest.mark.parametrize("wanted", [policy(LLS), policy(HLS5, 0x30)], ids=["plain", "ciphered"])
def test_every_answer_cut_at_every_byte_is_a_meter_error(wanted: Policy) -> None:
    server = meter(wanted)

    def read(cut: int) -> int:
        """Read a meter whose answers, one behind the other, end at `cut`; how long they would have been."""
        answer, given = connection(server), 0

        def cutting(message: bytes) -> bytes:
            nonlocal given
            came = answer(message)
            given += len(came)
            return came[: max(cut - given + len(came), 0)]

        client = session(wanted, first_counter=server.received + 1)
        talk(client.associate(), cutting)
        talk(client.get(IMPORT), cutting)
        return given

    whole = read(10_000)
    assert whole > 50
    for cut in range(whole):
        with pytest.raises(MeterError):
            read(cut)


def test_noise_at_the_meter_is_answered_and_forgotten() -> None:
    answer = connection(meter(policy(LLS)))
    for noise in (b"", b"\0", b"\x60", b"\xc0\x01", b"\x60\x02\xa1\x00", b"\xff" * 300):
        assert answer(noise)[0] == EXCEPTION
    reader = session(policy(LLS))
    talk(reader.associate(), answer)
    assert talk(reader.get(SERIAL), answer) == b"12345678"
