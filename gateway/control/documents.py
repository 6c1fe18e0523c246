"""What the control socket takes and gives, as JSON: requests and answers with types, checked on both sides.

Times are Unix ms; ids are hexadecimal; bytes (a card, a tariff) are base64. A reader ignores fields of an
answer that it does not know, so that an older command can ask a newer gateway.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from gateway.chain.consent.held import Finding
from gateway.chain.grant import Kind
from gateway.chain.tariff import Tariff
from gateway.errors import KINDS, GatewayError, UsageError
from gateway.wire.card import Card
from gateway.wire.tariff import read_tariff_body


def _from_base64(value: object) -> object:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


Base64 = Annotated[
    bytes, BeforeValidator(_from_base64), PlainSerializer(lambda value: base64.b64encode(value).decode())
]


class Document(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(frozen=True, strict=True)


class StoreStatus(Document):
    """The bucket, when it last answered and what failed since, and how many objects wait for it."""

    url: str
    answered_ms: int | None
    error: str | None
    waiting: int


class MeterStatus(Document):
    """A meter and its stream. What speaks of the stream is left out where none has begun."""

    meter: str
    read_ms: int | None
    """When it was read last in this run."""
    meter_ahead_ms: int | None
    """How far its clock was ahead of the gateway's then, if it has one."""
    error: str | None
    held: str | None
    """Since when and why its readings are held."""
    stream: str | None
    start_ms: int | None = None
    sealed_until_ms: int | None = None
    chunked_until_ms: int | None = None
    chunks: int = 0


class Status(Document):
    """How the running gateway fares."""

    version: str
    assurance: Literal["tpm", "software"]
    signer: str
    """The kid of the key that signs its objects."""
    incarnation: int
    now_ms: int
    clock_trusted: bool
    store: StoreStatus
    meters: tuple[MeterStatus, ...]


class GrantStatus(Document):
    """A grant as the gateway serves it."""

    id: str
    stream: str
    meter: str
    provider: str
    provider_kid: str
    kind: Kind
    granularity: str
    zone: str
    lanes: tuple[str, ...]
    purpose: str
    from_ms: int
    until_ms: int | None
    revoked_from_ms: int | None
    windows_served: int
    issued_ms: int
    serial: int
    tariff: str | None
    partner: str | None


class ConsentStatus(Document):
    """What becomes known beyond the grants: to a provider alone, and to all that pool what they hold."""

    provider: tuple[str, ...]
    pooled: tuple[str, ...]

    @classmethod
    def of(cls, consent: Consent) -> Self:
        """The sentences of a check's findings, each once."""

        def sentences(findings: list[Finding]) -> tuple[str, ...]:
            return tuple(dict.fromkeys(finding.sentence for finding in findings))

        return cls(provider=sentences(consent.provider), pooled=sentences(consent.pooled))


class MeterConsent(ConsentStatus):
    """The same for one meter's stream."""

    meter: str


class GrantAnswer(Document):
    """The grants that a request made: none where the consent check wants a confirmation first."""

    grants: tuple[GrantStatus, ...]
    consent: ConsentStatus


class GrantRequest(Document):
    """The household decides that the holders of `cards` may open something."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    cards: tuple[Base64, ...]
    granularity: str
    zone: str
    lanes: tuple[str, ...] | None
    """None: the meter's energy, or what the tariff prices."""
    purpose: str
    from_ms: int | None
    """None: from now on."""
    until_ms: int | None
    """None: until it is revoked."""
    meter: str | None
    """None: the only one."""
    tariff: Base64 | None
    """A bill's, as the grant's body names it by its digest."""
    confirmed: bool
    """Whether the household was shown what the consent check finds."""

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The request that decoded JSON holds; UsageError says what of it is missing or wrong."""
        if not isinstance(value, dict):
            raise UsageError("the grant request is not a JSON object")
        try:
            # Strict, but JSON has lists where this has tuples.
            return cls.model_validate(
                {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
            )
        except ValidationError as error:
            raise UsageError(_sentence(error)) from None

    def read_cards(self) -> list[Card]:
        """The cards, each signed by its own key; Refused for one that is not."""
        return [Card.read_self_signed(card, "the card") for card in self.cards]

    def new_grant(self) -> NewGrant:
        """What is to be granted; Refused for a tariff that does not hold."""
        return NewGrant(
            kind=self.kind,
            granularity=self.granularity,
            zone=self.zone,
            lanes=self.lanes,
            purpose=self.purpose,
            from_ms=self.from_ms,
            until_ms=self.until_ms,
            tariff=None if self.tariff is None else read_tariff_body(self.tariff, "the tariff"),
        )


class ErrorAnswer(Document):
    """What went wrong, and of which kind it is: see `gateway.errors`."""

    error: str
    kind: str

    @classmethod
    def of(cls, error: GatewayError) -> Self:
        """The answer for an error."""
        return cls(error=str(error), kind=error.kind)

    def to_error(self) -> GatewayError:
        """The error, on the side that asked."""
        return KINDS.get(self.kind, GatewayError)(self.error)


@dataclass(frozen=True, slots=True)
class NewGrant:
    """What the household decided: a grant that has no number, key or first window yet."""

    kind: Kind
    granularity: str
    zone: str
    lanes: tuple[str, ...] | None
    purpose: str
    from_ms: int | None
    until_ms: int | None
    tariff: Tariff | None = None


@dataclass(frozen=True, slots=True)
class Consent:
    """What the household should know before it grants: what becomes known in one hand, and in all."""

    provider: list[Finding]
    pooled: list[Finding]


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong with a grant request."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f'the grant request lacks "{name}"'
    if first["type"] == "extra_forbidden":
        return f'the grant request has a field "{name}", which no grant has'
    return f'the grant request\'s "{name}" is invalid: {first["msg"][:1].lower()}{first["msg"][1:]}'
