"""The documents of the control API: typed requests and answers in JSON, checked on both sides.

Times are Unix ms; ids are hexadecimal; bytes (a card, a tariff) are base64. Unknown fields of an answer are
ignored, so that an older command can talk to a newer gateway.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from gateway.chain.consent.held import Finding, Held
from gateway.chain.grant import MAX_K_MIN, Kind
from gateway.chain.tariff import Tariff
from gateway.errors import KINDS, GatewayError, UsageError
from gateway.wire.card import Card, read_fingerprint
from gateway.wire.tariff import read_tariff_body


def _from_base64(value: object) -> object:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


Base64 = Annotated[
    bytes, BeforeValidator(_from_base64), PlainSerializer(lambda value: base64.b64encode(value).decode())
]


HoldChoice = Literal["exchange", "correction", "before"]


class Document(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)


class Order(Document):
    """What the gateway is asked to do; `name_of_order` is what a sentence calls it."""

    model_config = ConfigDict(extra="forbid")

    name_of_order: ClassVar[str] = "the request"

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The order in decoded JSON; UsageError says what is missing or wrong in it."""
        if not isinstance(value, dict):
            raise UsageError(f"{cls.name_of_order} is not a JSON object")
        try:
            # Strict, but JSON has lists where the model has tuples.
            return cls.model_validate(
                {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
            )
        except ValidationError as error:
            raise UsageError(_sentence(error, cls.name_of_order)) from None


class StoreStatus(Document):
    """The bucket: its URL, when it last answered, what has failed since, and how many objects wait for it."""

    url: str
    answered_ms: int | None
    error: str | None
    waiting: int
    errors: int = 0
    """Requests of this run that it did not answer, or refused."""


class HeldRegisterStatus(Document):
    """One lane of a meter whose readings are held: the last believed register (mWh), and the first and the
    latest held one, each with its time; the fields are left out where there is none."""

    lane: str
    believed_mwh: int | None = None
    believed_ms: int | None = None
    first_mwh: int | None = None
    first_ms: int | None = None
    latest_mwh: int | None = None
    latest_ms: int | None = None
    counts_mwh: dict[HoldChoice, int] = {}
    """What each choice counts from the last believed register to the latest held one."""


class HoldStatus(Document):
    """What is held of a meter's readings, for its owner to decide on."""

    kind: str
    """What began it: the register "fell" or "rose", or an "other" meter's serial number came."""
    since_ms: int
    registers: tuple[HeldRegisterStatus, ...]
    command: str
    """The command that shows what each choice means."""


class ScaleStatus(Document):
    """How a meter's registers differ from its power over time: what both say, the factor that corrects the
    registers, as the configuration has it, and all of this as a sentence."""

    seconds: int
    power_mwh: int
    registers_mwh: int
    factor: str
    sentence: str


class MeterStatus(Document):
    """A meter or a series, and its stream. The fields about a stream are left out where none has begun."""

    meter: str
    series: bool = False
    """Whether it is a series, whose values the household puts; left out of a meter's."""
    read_ms: int | None
    """When it was last read in this run."""
    meter_ahead_ms: int | None
    """How far its clock, if it has one, was ahead of the gateway's then."""
    error: str | None
    held: str | None
    """Since when and why its readings are held."""
    sealing: bool
    """Whether what is read is being sealed, or will be from the stream's first unit on."""
    read_errors: int = 0
    """Attempts of this run to read it that failed."""
    readings_sealed: int = 0
    """Units sealed in this run that it was read for; those that were filled in do not count."""
    hold: HoldStatus | None = None
    """The registers that are held; left out while its readings are believed."""
    scale: ScaleStatus | None = None
    """Left out unless its registers and its power steadily differ by a power of ten."""
    sealed_ahead: str | None = None
    """Until when nothing is sealed, where its last sealed unit lies in the future."""
    stream: str | None
    start_ms: int | None = None
    sealed_until_ms: int | None = None
    chunked_until_ms: int | None = None
    chunks: int = 0


class ReadingStatus(Document):
    """What a meter, or a series, showed when it was last read in this run; `registers` is None where it has
    not been."""

    meter: str
    wall_ns: int | None = None
    age_ns: int | None = None
    registers: dict[str, int] | None = Field(default=None, repr=False)
    """By lane: energy in mWh, power in W; of a series in each lane's scale."""
    meter_time_ns: int | None = None
    """Its own clock then, where it sends it."""
    error: str | None = None
    """What has kept it from being read since."""


class DoubtStatus(Document):
    """A stream's units in doubt: another copy of the ledger may have sealed them, and their tokens wait."""

    meter: str
    stream: str
    noticed_ms: int
    """When the TPM's counter showed it."""
    from_ms: int
    until_ms: int | None
    """None while the clock has not been right since."""
    windows_waiting: int
    """Windows of all grants that have closed and have no token yet."""


class DiskStatus(Document):
    """The file system of the gateway's state."""

    size_bytes: int
    free_bytes: int
    """What the gateway may still write."""


class ReleaseStatus(Document):
    """The release of the gateway's image that has booted, and from which of the card's two slots."""

    name: str
    slot: Literal["a", "b"] | None
    """None where the partitions' names do not say."""


class Status(Document):
    """The status of the running gateway."""

    version: str
    assurance: Literal["tpm", "software"]
    signer: str
    """The kid of the key that signs its objects."""
    incarnation: int
    now_ms: int
    clock_trusted: bool
    clock_waits: str | None = None
    """Why readings wait for the clock; None while they do not."""
    store: StoreStatus
    meters: tuple[MeterStatus, ...]
    faults: tuple[str, ...] = ()
    """What else is wrong, with the store's heads and with grants, a sentence each."""
    doubts: tuple[DoubtStatus, ...] = ()
    commands: tuple[str, ...] = ()
    """The commands that the household is asked about, that wait, and the limits in force: a sentence each."""
    registration: RegistrationStatus | None = None
    """None where the gateway is not registered at a registrar."""
    release: ReleaseStatus | None = None
    """Left out where the gateway does not run from an image."""
    started_ms: int | None = None
    """When this run began."""
    starts: int | None = None
    """How often the gateway has started with this ledger; each start steps the TPM's counter."""
    root_error: str | None = None
    """What keeps the root of trust from answering; left out while it answers. `faults` has it too."""
    root_errors: int = 0
    """Calls of the root, in this run, that failed."""
    ledger_errors: int = 0
    """Transactions of the ledger, in this run, that failed."""
    disk: DiskStatus | None = None
    """Left out where it cannot be asked."""


class RegistrationOrder(Order):
    """The household's order to register the gateway at a registrar, as a user of it. `registrar_kid` is the
    kid of the registrar's key that the household has seen. The catalogue lists the streams under `region` and
    `tariff_zone`; where they are `listed`, providers find them to whom nothing was granted."""

    name_of_order = "the order to register"

    url: str
    user: str
    password: str = Field(repr=False)
    registrar_kid: str
    name: str
    """The gateway's name, on its card."""
    ca: str | None = None
    """The path of a file (PEM): who may sign the server's certificate."""
    region: str = ""
    tariff_zone: str = ""
    listed: bool = False


class RegistrationStatus(Document):
    """Where and as whom the gateway is registered, what the registrar certifies of it, and until when."""

    url: str
    user: str
    registrar: str
    registrar_kid: str
    assurance: Literal["tpm", "software"]
    valid_until_ms: int
    """The certificate's end; it is renewed long before."""
    credentials_until_ms: int | None = None
    """The end of the storage credentials; None while there are none."""
    notices: tuple[str, ...] = ()
    """What the registrar tells the household: attempts that it refused."""
    error: str | None = None
    """What keeps the gateway from renewing what it has from the registrar."""


class RequestStatus(Document):
    """A provider's request for a grant, which the registrar passed on: what `GrantRequest` needs of it."""

    id: str
    provider: str
    verified_by: str
    meter: str
    card: Base64
    kind: Kind
    granularity: str
    zone: str
    lanes: tuple[str, ...]
    purpose: str
    from_ms: int | None
    until_ms: int | None
    tariff: Base64 | None
    received_ms: int


class AcceptRequest(Order):
    """The owner's decision on held readings. `seen_mwh` are the first held registers that it was shown, by
    lane: if others are held by now, nothing is decided."""

    choice: HoldChoice
    seen_mwh: dict[str, int]


class AcceptAnswer(Document):
    """What was decided, as a sentence, and the meter's state."""

    decision: str
    meter: MeterStatus


class GrantRecordStatus(Document):
    """A grant, as far as the gateway can say: one that it cannot read has no more than this."""

    id: str
    stream: str
    meter: str
    provider: str
    revoked_from_ms: int | None
    windows_served: int
    fault: str | None = None
    """Why it gets no tokens."""
    own: bool = False
    """Whether it is the household's own, whose key nobody else holds; left out of others."""


class GrantStatus(GrantRecordStatus):
    """A grant, and how far the gateway has served it."""

    provider_kid: str
    kind: Kind
    granularity: str
    zone: str
    lanes: tuple[str, ...]
    purpose: str
    from_ms: int
    until_ms: int | None
    issued_ms: int
    serial: int
    tariff: str | None
    partner: str | None
    k_min: int | None = None
    """Of a load: over how many homes it sums at least."""
    quantum: int | None = None
    """Of a bill, what it is rounded to, in units of 10^-(decimals of its tariff + 6) of the currency; left
    out of others."""


class OfferStatus(Document):
    """A grant that was asked for, as it would be made now."""

    provider: str
    meter: str
    kind: Kind
    granularity: str
    zone: str
    lanes: tuple[str, ...]
    purpose: str
    from_ms: int
    until_ms: int | None
    k_min: int | None = None
    """Of a load: over how many homes it sums at least."""

    @classmethod
    def of(cls, held: Held) -> Self:
        """What the household is shown of it."""
        grant = held.grant
        unit_ms = grant.granularity.unit_ms
        return cls(
            provider=held.provider,
            meter=held.meter,
            kind=grant.kind,
            granularity=str(grant.granularity),
            zone=grant.granularity.zone,
            lanes=grant.lanes,
            purpose=grant.purpose,
            from_ms=grant.first * unit_ms,
            until_ms=None if grant.until is None else grant.until * unit_ms,
            k_min=grant.k_min,
        )


class ConsentStatus(Document):
    """What becomes known beyond the grants: to one provider alone, and to all if they pool what they hold."""

    provider: tuple[str, ...]
    pooled: tuple[str, ...]

    @classmethod
    def of(cls, consent: Consent) -> Self:
        """The sentences of the check's findings, each once."""

        def sentences(findings: list[Finding]) -> tuple[str, ...]:
            return tuple(dict.fromkeys(finding.sentence for finding in findings))

        return cls(
            provider=sentences(consent.provider), pooled=(*sentences(consent.pooled), *consent.uncounted)
        )


class MeterConsent(ConsentStatus):
    """What becomes known beyond the grants on one meter's stream."""

    meter: str


class StrangerStatus(Document):
    """A card that nothing was granted to before, so that the household must confirm its fingerprint."""

    name: str
    fingerprint: str
    namesake: bool
    """Whether something was granted to another card of the same name."""

    @classmethod
    def of(cls, stranger: Stranger) -> Self:
        """What the household is shown of it."""
        return cls(name=stranger.card.name, fingerprint=stranger.card.fingerprint, namesake=stranger.namesake)


class VerifiedStatus(Document):
    """A card that a registrar vouches for, so that no fingerprint needs to be compared."""

    name: str
    registrar: str


class GrantAnswer(Document):
    """The grants that a request made: none if the consent check or a card's fingerprint calls for a
    confirmation first, or in a dry run."""

    grants: tuple[GrantStatus, ...]
    consent: ConsentStatus
    strangers: tuple[StrangerStatus, ...] = ()
    """The cards whose fingerprints are still to be confirmed."""
    verified: tuple[VerifiedStatus, ...] = ()
    """The cards that nothing was granted to before, and that the registrar vouches for."""
    offered: tuple[OfferStatus, ...] = ()
    """The grants that were asked for, made or not."""
    bits_a_bill: float | None = None
    """Of a bill: the most that one of its bills says."""


class GrantRequest(Order):
    """The household's request for a grant to the holders of `cards`."""

    name_of_order = "the grant request"

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
    """For a bill: the tariff body, which the grant's body names by its digest."""
    k_min: Annotated[int, Field(ge=2, le=MAX_K_MIN)] | None = None
    """For a load: over how many homes it sums at least."""
    confirmed: bool
    """Whether the household has seen the findings of the consent check, and wants the grant."""
    fingerprints: tuple[str, ...]
    """Those that the household has compared: of each card that nothing was granted to before."""
    dry_run: bool = False
    """Whether only to say what the consent check finds: then nothing is made."""
    own: bool = False
    """Whether it is the household's own grant: of sums, to a card of the role "household"."""

    def read_cards(self) -> list[Card]:
        """The cards, each signed by its own key; Refused for one that is not."""
        return [Card.read_self_signed(card, "the card") for card in self.cards]

    def read_fingerprints(self) -> set[str]:
        """The fingerprints, as cards have them; UsageError for what is none."""
        return {read_fingerprint(text) for text in self.fingerprints}

    def new_grant(self) -> NewGrant:
        """The grant that is requested; Refused for an invalid tariff."""
        return NewGrant(
            kind=self.kind,
            granularity=self.granularity,
            zone=self.zone,
            lanes=self.lanes,
            purpose=self.purpose,
            from_ms=self.from_ms,
            until_ms=self.until_ms,
            tariff=None if self.tariff is None else read_tariff_body(self.tariff, "the tariff"),
            k_min=self.k_min,
        )


class ErrorAnswer(Document):
    """What went wrong, and its kind: see `gateway.errors`."""

    error: str
    kind: str

    @classmethod
    def of(cls, error: GatewayError) -> Self:
        """The answer for an error."""
        return cls(error=str(error), kind=error.kind)

    def to_error(self) -> GatewayError:
        """The error, for the client to raise."""
        return KINDS.get(self.kind, GatewayError)(self.error)


@dataclass(frozen=True, slots=True)
class NewGrant:
    """A grant as the household decided it, without a number, a key or a first window yet."""

    kind: Kind
    granularity: str
    zone: str
    lanes: tuple[str, ...] | None
    purpose: str
    from_ms: int | None
    until_ms: int | None
    tariff: Tariff | None = None
    k_min: int | None = None


@dataclass(frozen=True, slots=True)
class Stranger:
    """A card that nothing was granted to before; `namesake` if something was to another of the same name."""

    card: Card
    namesake: bool


@dataclass(frozen=True, slots=True)
class Consent:
    """The consent check's findings, for the household to know before it grants: what one provider alone could
    derive, what all could together, and a sentence for each grant that the check could not count. `bits` is
    the most that one bill says, where the grant is a bill; `strangers` are the cards whose fingerprints are
    still to be confirmed, `verified` the new ones that a registrar vouches for, each with that registrar's
    name; `offered` are the grants that were asked for."""

    provider: list[Finding]
    pooled: list[Finding]
    uncounted: list[str] = field(default_factory=list)
    bits: float | None = None
    strangers: list[Stranger] = field(default_factory=list)
    verified: list[tuple[Card, str]] = field(default_factory=list)
    offered: list[Held] = field(default_factory=list)

    @property
    def silent(self) -> bool:
        """Whether there is nothing that the household has to confirm."""
        return not (self.provider or self.pooled or self.uncounted)


def _sentence(error: ValidationError, what: str) -> str:
    """The first thing that is wrong with a request."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f'{what} lacks "{name}"'
    if first["type"] == "extra_forbidden":
        return f'{what} has an unknown field "{name}"'
    return f'{what}\'s "{name}" is invalid: {first["msg"][:1].lower()}{first["msg"][1:]}'
