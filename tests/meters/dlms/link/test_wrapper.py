"""The TCP wrapper: messages however the connection cuts them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.dlms.link.wrapper import Message, Unwrapper

ports = st.integers(0, 0xFFFF)
messages = st.lists(st.builds(Message, ports, ports, st.binary(max_size=300)), max_size=5)


def test_a_message_stands_as_the_standard_says() -> None:
    assert Message(16, 1, b"\x60\x01\x00").encode() == bytes.fromhex("0001 0010 0001 0003 600100")
    with pytest.raises(ValueError, match="at most 65535"):
        Message(16, 1, bytes(65536)).encode()


@given(messages, st.data())
def test_messages_come_out_however_they_come_in(sent: list[Message], data: st.DataObject) -> None:
    stream = b"".join(message.encode() for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    unwrapper = Unwrapper()
    came = [
        message
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for message in unwrapper.feed(stream[begin:end])
    ]
    assert came == sent


def test_what_is_no_wrapper_is_refused() -> None:
    with pytest.raises(MeterError, match="does it use HDLC"):
        Unwrapper().feed(bytes.fromhex("7ea0070321930f017e"))


@given(st.lists(st.binary(max_size=100)))
def test_whatever_comes_only_declared_errors_go(pieces: list[bytes]) -> None:
    unwrapper = Unwrapper()
    with suppress(MeterError):
        for piece in pieces:
            unwrapper.feed(piece)
