"""What a command and a receipt must be beyond the form of their entries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from gateway.errors import Refused
from gateway.wire.command import CODES, Command, Receipt
from tests.wire.samples import EXAMPLES, KEY, OTHER, STRATEGIES

_COMMAND, _RECEIPT = EXAMPLES[Command], EXAMPLES[Receipt]
assert isinstance(_COMMAND, Command)
assert isinstance(_RECEIPT, Receipt)
COMMAND: Command = _COMMAND
RECEIPT: Receipt = _RECEIPT
DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"limit_w": None}, "a limit has its power in W, and no other command has one"),
        ({"kind": "disconnect"}, "a limit has its power in W, and no other command has one"),
        ({"kind": "message", "limit_w": None, "text": None}, "a message needs a text"),
        ({"text": ""}, "its text is empty: leave it out"),
        ({"until_ms": COMMAND.from_ms}, "its time ends before it begins"),
        ({"until_ms": COMMAND.from_ms + 366 * DAY_MS + 1}, "its time is longer than 366 days"),
        ({"from_ms": 2**48, "until_ms": 2**48 + 1}, "its time ends after the year 9999"),
    ],
)
def test_what_a_command_cannot_be(changes: dict[str, Any], sentence: str) -> None:
    command = replace(COMMAND, **changes)
    assert command.fault() == sentence
    if "9999" not in sentence:  # which no payload can hold
        with pytest.raises(Refused, match=f"^it: {sentence}$"):
            Command.read(KEY.sign("gw1/command", command.payload()), KEY.public, "it")


def test_a_command_lasts_366_days_at_most() -> None:
    longest = replace(COMMAND, until_ms=COMMAND.from_ms + 366 * DAY_MS)
    assert Command.read(KEY.sign("gw1/command", longest.payload()), KEY.public, "it") == longest


@given(STRATEGIES[Command], STRATEGIES[Receipt])
def test_both_come_back_as_they_were(command: Command, receipt: Receipt) -> None:
    assert Command.read(KEY.sign("gw1/command", command.payload()), KEY.public, "it") == command
    assert Receipt.read(KEY.sign("gw1/receipt", receipt.payload()), KEY.public, "it") == receipt
    assert command.fault() is None


def test_a_command_names_who_signed_it() -> None:
    data = OTHER.sign("gw1/command", COMMAND.payload())
    with pytest.raises(Refused, match=r"^it: it names another provider than the one that signed it$"):
        Command.read(data, OTHER.public, "it")
    with pytest.raises(Refused, match="is signed by key"):
        Command.read(data, KEY.public, "it")


@pytest.mark.parametrize("state", CODES)
def test_a_receipts_code_is_one_of_its_state(state: Any) -> None:
    for code in {code for codes in CODES.values() for code in codes}:
        data = KEY.sign("gw1/receipt", replace(RECEIPT, state=state, code=code).payload())
        if code in CODES[state]:
            assert Receipt.read(data, KEY.public, "it").code == code
        else:
            with pytest.raises(Refused, match=f'"{code}" is not a reason for the state "{state}"'):
                Receipt.read(data, KEY.public, "it")


@pytest.mark.parametrize("changes", [{"number": 0}, {"previous": None}])
def test_every_receipt_but_the_first_names_the_one_before(changes: dict[str, Any]) -> None:
    data = KEY.sign("gw1/receipt", replace(RECEIPT, **changes).payload())
    with pytest.raises(Refused, match="every receipt but a command's first names the one before"):
        Receipt.read(data, KEY.public, "it")
