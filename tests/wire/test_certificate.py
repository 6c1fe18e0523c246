"""A certificate and the list of revoked ones: what their forms cannot say is checked too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import Refused
from gateway.wire.card import Card
from gateway.wire.certificate import Certificate, Revocations
from tests.wire.samples import EXAMPLES, KEY

_CARD, _CERTIFICATE = EXAMPLES[Card], EXAMPLES[Certificate]
assert isinstance(_CARD, Card)
assert isinstance(_CERTIFICATE, Certificate)
CERTIFICATE: Certificate = _CERTIFICATE


def card(**changes: Any) -> bytes:
    return KEY.sign("gw1/card", replace(_CARD, **changes).payload())


PROVIDERS = card()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"assurance": None}, "assurance is stated of a gateway, and of a gateway only"),
        ({"card": PROVIDERS, "streams": None}, "assurance is stated of a gateway, and of a gateway only"),
        ({"card": PROVIDERS, "assurance": None}, "a provider has no streams"),
        ({"valid_from_ms": 2**41}, "it ends before it begins to be valid"),
    ],
)
def test_what_a_certificate_cannot_be(changes: dict[str, Any], says: str) -> None:
    data = KEY.sign("gw1/certificate", replace(CERTIFICATE, **changes).payload())
    with pytest.raises(Refused, match=f"^it: {says}$"):
        Certificate.read(data, KEY.public, "it")


@pytest.mark.parametrize(
    ("of_card", "at", "says"),
    [
        ((1, 2**41), 0, "it is not valid yet: check this machine's clock"),
        ((1, 2**41), 2**41, "it has expired: its holder renews it at the registrar"),
        ((9, 2**41), 8, "the card of 'Acme' is not valid yet: check this machine's clock"),
        ((1, 9), 9, "the card of 'Acme' has expired: its holder renews it at the registrar"),
    ],
)
def test_certificate_and_card_are_valid_for_their_times(of_card: tuple[int, int], at: int, says: str) -> None:
    begin, end = of_card
    held = card(xwing_key=None, role="gateway", name="Acme", valid_from_ms=begin, valid_until_ms=end)
    certificate = replace(CERTIFICATE, card=held)
    assert certificate.holder.name == "Acme"
    certificate.check(max(begin, 1), "it")
    certificate.check(min(end, 2**41) - 1, "it")
    with pytest.raises(Refused, match=f"^{says}$"):
        certificate.check(at, "it")


def test_a_revoked_certificate_is_refused() -> None:
    Revocations(1, 2, None).check(CERTIFICATE, "it")
    Revocations(1, 2, (6, 8)).check(CERTIFICATE, "it")
    with pytest.raises(Refused, match=r"^it was revoked by 'Registrar'$"):
        Revocations(1, 2, (6, 7)).check(CERTIFICATE, "it")
