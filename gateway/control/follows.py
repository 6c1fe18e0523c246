"""The documents of following: standing decisions to grant the bills of a provider's price series."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.control.documents import (
    Base64,
    ConsentStatus,
    Document,
    Order,
    StrangerStatus,
    VerifiedStatus,
)
from gateway.wire.card import Card, read_fingerprint


class FollowRequest(Order):
    """The household's decision: the holder of `card` is granted the bill of each period, under the prices in
    its price series `series`, until the decision is ended."""

    name_of_order = "the decision"

    card: Base64
    series: str
    meter: str | None = None
    """None: the only one."""
    lanes: tuple[str, ...] = ("import",)
    granularity: str = "month"
    """The billing periods: month, month-2 to month-28, or day."""
    zone: str
    from_ms: int | None = None
    """None: the first period begins now, or later."""
    purpose: str
    confirmed: bool = False
    """Whether the household has seen what the check finds, and wants such grants."""
    fingerprints: tuple[str, ...] = ()
    """That of the card, where nothing was granted to it before: the household has compared it."""
    dry_run: bool = False
    """Whether only to say what would be found."""

    def read_card(self) -> Card:
        """The card, signed by its own key; Refused for one that is not."""
        return Card.read_self_signed(self.card, "the card")

    def read_fingerprints(self) -> set[str]:
        """The fingerprints, as cards have them; UsageError for what is none."""
        return {read_fingerprint(text) for text in self.fingerprints}


class ConfirmRequest(Order):
    """The household's answer to a period that asks: with `seen`, the `check` that it was shown. If something
    else is found by now, nothing is granted."""

    name_of_order = "the confirmation"

    from_ms: int
    seen: str


class PricesRequest(Order):
    """A signed price series, handed to the gateway."""

    name_of_order = "the price series"

    series: Base64


class PricesAnswer(Document):
    """The price series that the gateway took."""

    provider: str
    serial: int
    name: str


class TariffAnswer(Document):
    """The body of a tariff that a grant of a bill names."""

    tariff: Base64


class PeriodStatus(Document):
    """A billing period of a decision that has no grant yet. It "waits", for its end or its prices, or since
    no such bill is ever granted, as `why` says; or it "asks", since the check finds more than was confirmed,
    as `findings` say."""

    from_ms: int
    until_ms: int
    state: Literal["waits", "asks"]
    why: str | None = None
    findings: tuple[str, ...] = ()
    check: str | None = None
    """What identifies these findings."""


class FollowStatus(Document):
    """A decision, and its periods without a grant: all that are over, and the one that comes next."""

    id: str
    meter: str
    provider: str
    provider_kid: str
    series: str
    lanes: tuple[str, ...]
    granularity: str
    zone: str
    purpose: str
    from_ms: int
    made_ms: int
    ended_ms: int | None
    grants: tuple[str, ...]
    """The grants made so far, in order of time; earlier decisions about the same series count too."""
    periods: tuple[PeriodStatus, ...]
    fault: str | None = None
    """Why no prices can be read from the store now."""


class FollowAnswer(Document):
    """What became of a decision: `follow` is None where something is to be confirmed first, and in a dry run.
    The check was made for the period [checked_from_ms, checked_until_ms), the latest whose prices are known;
    both are None where there is none yet. `bits_a_bill` is the most that its bill would say."""

    follow: FollowStatus | None
    consent: ConsentStatus
    strangers: tuple[StrangerStatus, ...] = ()
    verified: tuple[VerifiedStatus, ...] = ()
    checked_from_ms: int | None = None
    checked_until_ms: int | None = None
    bits_a_bill: Annotated[float, Field(ge=0)] | None = None
