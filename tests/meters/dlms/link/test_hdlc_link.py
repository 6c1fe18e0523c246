"""The HDLC link: client and meter against each other, with frames lost on the way."""

from __future__ import annotations

import random
from collections import deque
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.dlms.link.hdlc import Frame, FrameScanner, address
from gateway.meters.dlms.link.hdlc_link import LLC_RESPONSE, Limits, Primary, Secondary

CLIENT, SERVER = address(16), address(1, 17)
limits = st.builds(Limits, st.integers(1, 2030), st.integers(1, 2030), st.integers(1, 7), st.integers(1, 7))


def pair(client: Limits | None = None, meter: Limits | None = None) -> tuple[Primary, Secondary]:
    return Primary(CLIENT, SERVER, client), Secondary(SERVER, meter)


def frames(data: bytes) -> list[Frame]:
    return [item for item in FrameScanner().feed(data) if isinstance(item, Frame)]


class Line:
    """Carries frames between the two; `passes` says of each whether it arrives."""

    def __init__(self, primary: Primary, secondary: Secondary, passes: object = None) -> None:
        self.primary, self.secondary = primary, secondary
        self.passes = passes if callable(passes) else lambda frame: True
        self.asked: list[bytes] = []

    def settle(self, answer: bytes = b"") -> list[bytes]:
        """Let both talk until the client has what it wants. The meter answers every message alike."""
        got: list[bytes] = []
        while self.primary.busy:
            sent = self.primary.outgoing()
            if not sent:
                self.primary.lost()
                continue
            for frame in frames(sent):
                if self.passes(frame):
                    for message in self.secondary.receive(frame.encode()):
                        self.asked.append(message)
                        self.secondary.send(answer)
            for frame in frames(self.secondary.outgoing()):
                if self.passes(frame):
                    got += self.primary.receive(frame.encode())
        return got

    def connect(self) -> None:
        self.primary.connect()
        self.settle()

    def ask(self, question: bytes, answer: bytes) -> list[bytes]:
        self.primary.send(question)
        return self.settle(answer)


def connected(client: Limits | None = None, meter: Limits | None = None) -> Line:
    line = Line(*pair(client, meter))
    line.connect()
    return line


def test_snrm_and_ua_are_the_standard_s() -> None:
    primary, secondary = pair()
    primary.connect()
    snrm = primary.outgoing()
    (frame,) = frames(snrm)
    assert frame.control == 0x93
    assert frame.information == bytes.fromhex("818014 05020080 06020080 070400000001 080400000001")
    secondary.receive(snrm)
    ua = secondary.outgoing()
    assert frames(ua)[0].control == 0x73
    primary.receive(ua)
    assert primary.connected
    assert secondary.client == CLIENT


@given(limits, limits)
def test_both_agree_on_what_both_can(client: Limits, meter: Limits) -> None:
    line = connected(client, meter)
    mine, its = line.primary.limits, line.secondary.limits
    assert (mine.transmit, mine.receive) == (its.receive, its.transmit)
    assert (mine.transmit_window, mine.receive_window) == (its.receive_window, its.transmit_window)
    assert mine.transmit == min(client.transmit, meter.receive)
    assert mine.receive_window == min(client.receive_window, meter.transmit_window)


def test_a_meter_that_says_nothing_has_the_standard_s_limits() -> None:
    primary, _ = pair(Limits(1024, 1024, 7, 7))
    primary.connect()
    primary.receive(Frame(CLIENT, SERVER, 0x73).encode())
    assert primary.limits == Limits(128, 128, 1, 1)


@pytest.mark.parametrize(
    "information", ["8180", "818002 0502", "0000", "818004 05020000", "818003 070108", "818006 080400000000"]
)
def test_an_offer_that_cannot_be_is_refused(information: str) -> None:
    primary, secondary = pair()
    primary.connect()
    with pytest.raises(MeterError, match="the meter's offer for the HDLC link"):
        primary.receive(Frame(CLIENT, SERVER, 0x73, bytes.fromhex(information)).encode())
    secondary.receive(Frame(SERVER, CLIENT, 0x93, bytes.fromhex(information)).encode())
    assert secondary.outgoing() == b""


@given(limits, limits, st.lists(st.tuples(st.binary(max_size=400), st.binary(max_size=400)), max_size=10))
def test_questions_and_answers_come_through_whole(
    client: Limits, meter: Limits, talk: list[tuple[bytes, bytes]]
) -> None:
    line = connected(client, meter)
    for question, answer in talk:
        assert line.ask(question, answer) == [answer]
    assert line.asked == [question for question, _ in talk]


@pytest.mark.parametrize("window", [1, 2, 7])
@pytest.mark.parametrize("length", [128, 2030])
def test_ten_kilobytes_either_way(window: int, length: int) -> None:
    question, answer = random.Random(1).randbytes(10_240), random.Random(2).randbytes(10_240)
    line = connected(*[Limits(length, length, window, window)] * 2)
    for _ in range(3):
        assert line.ask(question, answer) == [answer]
    assert line.asked == [question] * 3


@pytest.mark.slow
@given(st.integers(), st.integers(1, 7), st.sampled_from([1, 8, 64]))
def test_lost_frames_cost_time_and_nothing_else(seed: int, window: int, length: int) -> None:
    """Each question arrives once and each answer once, in order, whatever is lost: here up to two of 32
    frames in a row, so that the client never gives up."""
    chance = random.Random(seed)
    lost = deque([False] * 31, maxlen=31)

    def passes(frame: Frame) -> bool:
        lost.append(sum(lost) < 2 and chance.random() < 0.4)
        return not lost[-1]

    line = Line(*pair(*[Limits(length, length, window, window)] * 2), passes)
    line.connect()
    talk = [(chance.randbytes(40), chance.randbytes(90)) for _ in range(6)]
    for question, answer in talk:
        assert line.ask(question, answer) == [answer]
    assert line.asked == [question for question, _ in talk]
    line.primary.disconnect()
    line.settle()
    assert not line.primary.connected


def test_a_lost_answer_is_given_again_and_a_late_one_is_not_taken_twice() -> None:
    line = connected()
    line.primary.send(b"first")
    line.secondary.receive(line.primary.outgoing())
    line.secondary.send(b"one")
    late = line.secondary.outgoing()
    line.primary.lost()
    line.secondary.receive(line.primary.outgoing())
    again = line.secondary.outgoing()
    assert line.primary.receive(late) == [b"one"]
    line.primary.send(b"second")
    assert line.primary.receive(again) == []
    assert len(line.primary._outgoing) == len(Frame(SERVER, CLIENT, 0, b"\xe6\xe6\x00second").encode())
    assert line.settle(b"two") == [b"two"]
    assert line.asked == [b"second"]


def test_a_meter_that_needs_long_is_polled() -> None:
    line = connected()
    line.primary.send(b"a load profile")
    line.secondary.receive(line.primary.outgoing())
    for _ in range(2):
        line.primary.lost()
        line.secondary.receive(line.primary.outgoing())
        line.primary.receive(line.secondary.outgoing())
    line.secondary.send(b"here it is")
    assert line.settle() == [b"here it is"]


def test_silence_is_an_error_in_the_end() -> None:
    primary, _ = pair()
    primary.connect()
    for _ in range(4):
        primary.lost()
        assert frames(primary.outgoing())[-1].control == 0x93
    with pytest.raises(MeterError, match="does not answer on its HDLC link, asked 5 times"):
        primary.lost()
    assert not primary.busy


def test_what_is_no_hdlc_is_an_error_in_the_end() -> None:
    primary, _ = pair()
    primary.connect()
    for _ in range(16):
        assert primary.receive(bytes(1000)) == []
    with pytest.raises(MeterError, match="not this meter's HDLC"):
        primary.receive(bytes(1000))


@pytest.mark.parametrize("control", [0x1F, 0x97])
def test_a_meter_that_ends_the_link_says_so(control: int) -> None:
    line = connected()
    line.primary.send(b"question")
    with pytest.raises(MeterError, match="has ended the HDLC link"):
        line.primary.receive(Frame(CLIENT, SERVER, control).encode())


def test_a_meter_that_refuses_the_link_says_so() -> None:
    primary, _ = pair()
    primary.connect()
    with pytest.raises(MeterError, match="another client"):
        primary.receive(Frame(CLIENT, SERVER, 0x1F).encode())


def test_other_stations_frames_are_not_ours() -> None:
    line = connected()
    line.primary.send(b"question")
    alien = Frame(CLIENT, address(1, 18), 0x30, LLC_RESPONSE + b"not mine").encode()
    assert line.primary.receive(alien) == []
    assert line.secondary.receive(Frame(address(1, 18), CLIENT, 0x10, b"not mine").encode()) == []
    assert line.settle(b"mine") == [b"mine"]


def test_a_push_in_between_is_no_answer() -> None:
    line = connected()
    line.primary.send(b"question")
    assert line.primary.receive(Frame(CLIENT, SERVER, 0x13, LLC_RESPONSE + b"\x0f").encode()) == []
    assert line.settle(b"answer") == [b"answer"]


def test_a_meter_without_a_client_says_so_and_one_that_hung_up_too() -> None:
    _, secondary = pair()
    secondary.receive(Frame(SERVER, CLIENT, 0x10, b"\xe6\xe6\x00\xc0").encode())
    assert frames(secondary.outgoing())[0].control == 0x1F
    line = connected()
    line.primary.disconnect()
    line.settle()
    assert line.secondary.client is None
    line.connect()
    assert line.ask(b"a", b"b") == [b"b"]


def test_a_client_that_starts_anew_gets_a_new_link() -> None:
    line = connected()
    line.primary.send(b"question")
    line.secondary.receive(line.primary.outgoing())
    line.connect()
    assert line.ask(b"again", b"answer") == [b"answer"]


def test_a_message_without_the_header_of_dlms_is_refused() -> None:
    line = connected()
    line.primary.send(b"question")
    with pytest.raises(MeterError, match="lacks the LLC header"):
        line.primary.receive(Frame(CLIENT, SERVER, 0x30, b"\xc4\x01").encode())


def test_a_message_without_end_is_refused() -> None:
    line = connected(Limits(receive=2030), Limits(transmit=2030))
    line.primary.send(b"question")
    segments = [
        Frame(CLIENT, SERVER, 0x30 | number % 8 << 1, LLC_RESPONSE + bytes(2000), segmented=True).encode()
        for number in range(140)
    ]
    assert all(line.primary.receive(segment) == [] for segment in segments[:130])
    with pytest.raises(MeterError, match="more than"):
        line.primary.receive(b"".join(segments[130:]))


def test_a_meter_that_never_takes_a_question_is_left() -> None:
    line = connected()
    line.primary.send(b"question")
    not_taken = Frame(CLIENT, SERVER, 0x11).encode()
    for _ in range(4):
        line.primary.receive(not_taken)
    with pytest.raises(MeterError, match="does not answer"):
        line.primary.receive(not_taken)


@given(
    st.lists(st.binary(max_size=40)),
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20), st.booleans())),
)
def test_whatever_comes_only_declared_errors_go(
    noise: list[bytes], said: list[tuple[int, bytes, bool]]
) -> None:
    line = connected()
    line.primary.send(b"question")
    spoken = [Frame(CLIENT, SERVER, *words).encode() for words in said]
    heard = [Frame(SERVER, CLIENT, *words).encode() for words in said]
    with suppress(MeterError):
        for data in noise + spoken:
            line.primary.receive(data)
    with suppress(MeterError):
        for data in noise + heard:
            for message in line.secondary.receive(data):
                line.secondary.send(message)
