"""A card's fingerprint: what a person compares, and what it covers."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from gateway.errors import UsageError
from gateway.wire.card import Card, read_fingerprint
from tests.wire.samples import EXAMPLES

_EXAMPLE = EXAMPLES[Card]
assert isinstance(_EXAMPLE, Card)
assert _EXAMPLE.xwing_key is not None
CARD: Card = _EXAMPLE
XWING_KEY = _EXAMPLE.xwing_key


def test_it_is_of_both_keys_and_of_nothing_else() -> None:
    digest = hashlib.sha256(CARD.signing_key + XWING_KEY).hexdigest()
    assert CARD.fingerprint.replace("-", "") == digest[:32]
    assert [len(group) for group in CARD.fingerprint.split("-")] == [4] * 8
    renewed = replace(CARD, name="Another name", valid_until_ms=CARD.valid_until_ms + 1)
    assert renewed.fingerprint == CARD.fingerprint
    other = bytes([XWING_KEY[0] ^ 1]) + XWING_KEY[1:]
    assert replace(CARD, xwing_key=other).fingerprint != CARD.fingerprint


@pytest.mark.parametrize("between", ["-", "", " ", ":"])
def test_it_may_be_typed_in_groups_or_not(between: str) -> None:
    typed = CARD.fingerprint.replace("-", between)
    assert read_fingerprint(f" {typed.upper()}\n") == CARD.fingerprint


@pytest.mark.parametrize(
    "typed", ["", CARD.fingerprint[:-1], CARD.fingerprint + "0", "x" + CARD.fingerprint[1:], "0" * 64]
)
def test_what_is_no_fingerprint_is_said(typed: str) -> None:
    with pytest.raises(UsageError, match="is not a card's fingerprint: expected 32 hexadecimal digits"):
        read_fingerprint(typed)
