"""The documents of a registrar's HTTP API: typed requests and answers in JSON, checked on both sides.

Times are Unix ms; ids and kids are hexadecimal; bytes (cards, certificates, descriptors) are base64. Unknown
fields of an answer are ignored, so that an older gateway can talk to a newer registrar. Secrets (passwords,
nonces, tokens, storage keys) show in no repr.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)

from gateway.errors import KINDS, GatewayError, UsageError

PREFIX = "/v1"
_HEX16 = r"^[0-9a-f]{32}$"
MAX_OBJECT = 2**20
"""The most bytes that a signed object may have here."""


def _from_base64(value: object) -> object:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


Base64 = Annotated[
    bytes,
    BeforeValidator(_from_base64),
    PlainSerializer(lambda value: base64.b64encode(value).decode()),
    Field(max_length=MAX_OBJECT),
    WithJsonSchema(
        {
            "type": "string",
            "contentEncoding": "base64",
            "maxLength": MAX_OBJECT * 4 // 3 + 4,
            "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
        }
    ),
]
Hex16 = Annotated[str, Field(pattern=_HEX16)]
"""A stream's id, a kid, a request's id: 16 bytes."""
UnixMs = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[str, Field(min_length=1, max_length=80)]
Password = Annotated[str, Field(min_length=1, max_length=1024)]
Secret = Annotated[str, Field(min_length=1, max_length=5096)]
Nonce = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, Field(max_length=64, pattern=r"^[\w .:/+-]*$")]
"""A region, a tariff zone."""
RequestState = Literal["open", "granted", "declined"]
Role = Literal["gateway", "provider"]


class Document(BaseModel):
    """A JSON object."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, strict=True)


class Asked(Document):
    """A JSON object that is sent to a registrar: it has no other fields."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, strict=True, extra="forbid")

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The request in decoded JSON; UsageError says what is missing or wrong, and repeats no value."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the request"
            # `from None`: pydantic's error holds the values, and a password may be one.
            raise UsageError(f"{place}: {first['msg']}") from None


class ErrorAnswer(Document):
    """What went wrong: the kind of error, as in `gateway.errors`, and its sentence. Where it is about some
    homes of a load's set, `homes` says what is wrong with each, by its stream's id."""

    kind: str
    error: str
    retry_after_s: int | None = None
    homes: dict[str, str] | None = None

    @classmethod
    def of(cls, error: GatewayError) -> Self:
        """The answer for an error."""
        return cls(kind=error.kind, error=str(error), homes=dict(error.homes) or None)

    def to_error(self) -> GatewayError:
        """The error, as the same kind of exception."""
        error = KINDS.get(self.kind, GatewayError)(self.error)
        error.homes = self.homes or {}
        return error


class RegistrarStatus(Document):
    """A registrar: its name, its own card, whether it registers software roots, and its clock."""

    name: Name
    card: Base64
    software_roots: bool
    now_ms: UnixMs


class EvidenceDocument(Asked):
    """`gateway.registry.evidence.Evidence` in JSON."""

    ek_certificates: Annotated[tuple[Base64, ...], Field(strict=False, max_length=8)]
    ek_public: Base64
    ak_public: Base64
    signing_public: Base64
    certify_info: Base64
    certify_signature: Base64


class RegistrationRequest(Asked):
    """Figure 3, "requesting to register": the user's name and password, the card of the gateway or the
    provider, and what a gateway shows of its TPM; None of a software root and of a provider."""

    user: Name
    password: Password = Field(repr=False)
    card: Base64
    evidence: EvidenceDocument | None = None


class Challenge(Document):
    """Figure 3, "challenge". With evidence of a TPM: MakeCredential's two parts (TPM2B_ID_OBJECT and
    TPM2B_ENCRYPTED_SECRET, marshalled), which that TPM alone opens. Without: a nonce, 64 hexadecimal digits,
    to be signed in a gw1/login."""

    id: Hex16
    expires_ms: UnixMs
    credential_blob: Base64 | None = None
    secret: Base64 | None = None
    nonce: Secret | None = Field(default=None, repr=False)


class ChallengeResponse(Asked):
    """Figure 3, "response": what ActivateCredential gave, or the signed gw1/login."""

    answer: Base64 = Field(repr=False)


class NonceAnswer(Document):
    """Figure 3, "generating and sending a nonce": 64 hexadecimal digits, good once and until `expires_ms`."""

    nonce: Secret = Field(repr=False)
    expires_ms: UnixMs


class Confirmation(Asked):
    """Figure 3, "submitting a username/password pair and the nonce"; with the signed descriptors of the
    gateway's streams (the an-IDs), none for a provider."""

    user: Name
    password: Password = Field(repr=False)
    nonce: Nonce = Field(repr=False)
    descriptors: Annotated[tuple[Base64, ...], Field(strict=False, max_length=4096)] = ()


class CertificateAnswer(Document):
    """A certificate, and the card of the registrar that signed it."""

    certificate: Base64
    registrar_card: Base64


class RevocationsAnswer(Document):
    """The signed gw1/revocations."""

    revocations: Base64


class SessionRequest(Asked):
    """A signed gw1/login over a nonce."""

    login: Base64


class SessionAnswer(Document):
    """A session: the token goes into `Authorization: Bearer`."""

    token: Secret = Field(repr=False)
    expires_ms: UnixMs


class Notice(Document):
    """What a household, a provider or the operator should know: a refused attempt, mostly."""

    time_ms: UnixMs
    kind: str
    sentence: str


class Me(Document):
    """A session's account."""

    user: str
    role: Role
    kid: Hex16
    certificate: Base64
    streams: tuple[Hex16, ...] = ()
    notices: tuple[Notice, ...] = ()


class StreamsRequest(Asked):
    """A gateway's streams, as signed descriptors, all of them; and how the catalogue lists them. `listed`:
    whether providers to whom nothing was granted find them too."""

    descriptors: Annotated[tuple[Base64, ...], Field(strict=False, max_length=4096)]
    region: Label = ""
    tariff_zone: Label = ""
    listed: bool = False


class CredentialsRequest(Asked):
    """Storage credentials for these streams; without any, for all of a gateway's."""

    streams: Annotated[tuple[Hex16, ...], Field(strict=False, max_length=4096)] = ()


class CredentialsAnswer(Document):
    """Storage credentials, and what they are for. `streams`: those that they reach; the rest takes another
    request, since a session's policy has room for some only."""

    url: str
    endpoint: str | None = None
    region: str | None = None
    access_key: Secret = Field(repr=False)
    secret_key: Secret = Field(repr=False)
    session_token: str | None = Field(default=None, max_length=8192, repr=False)
    expires_ms: UnixMs
    streams: tuple[Hex16, ...] = ()
    grants: dict[Hex16, tuple[Hex16, ...]] = {}
    """Of a provider, by stream: the grants that they reach. Others are not even listed to it."""


class GrantRequestAnswer(Document):
    """A provider's request for a grant, as the registrar passes it on: the signed gw1/request and the
    provider's certificate."""

    id: Hex16
    request: Base64
    certificate: Base64
    state: RequestState
    received_ms: UnixMs


class GrantRequestPost(Asked):
    """A signed gw1/request."""

    request: Base64


class GrantRequestState(Asked):
    """What a household decided on a request."""

    state: Literal["granted", "declined"]


class CatalogueGrant(Document):
    """A grant, as it lies in the store. Times are None where it is open."""

    id: Hex16
    kind: str
    lanes: tuple[str, ...]
    granularity: str
    zone: str
    purpose: str
    from_ms: UnixMs
    until_ms: UnixMs | None = None
    revoked_from_ms: UnixMs | None = None


class CatalogueStream(Document):
    """A stream in the catalogue: what it has, since when and until when; and the asking provider's grants on
    it. Nothing of what its readings say, and no household's name."""

    stream: Hex16
    signer: Hex16
    assurance: Literal["tpm", "software"]
    unit_ms: int
    lanes: tuple[str, ...]
    region: str
    tariff_zone: str
    start_ms: UnixMs | None = None
    sealed_until_ms: UnixMs | None = None
    grants: tuple[CatalogueGrant, ...] = ()
    certificate: Base64 | None = None
    """The gateway's, which names its streams; None where it was revoked or has expired."""


class CataloguePage(Document):
    """Streams in the order of their ids; `after` continues the list, None where this is its end."""

    streams: tuple[CatalogueStream, ...]
    after: Hex16 | None = None


class CatalogueProvider(Document):
    """A provider that the registrar certified."""

    name: str
    kid: Hex16
    valid_until_ms: UnixMs


class ProvidersAnswer(Document):
    """All providers with a valid certificate."""

    providers: tuple[CatalogueProvider, ...]


_Span = Annotated[tuple[UnixMs, UnixMs], Field(strict=False)]


class LoadRequest(Asked):
    """The load monitoring centre asks the summing service: the set of homes as the CSV of
    `gateway.provider.homes.write_homes`, and the windows: lanes and [start, end) of each in Unix ms."""

    homes: Annotated[str, Field(max_length=2**24)]
    lanes: Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=5)]
    times: Annotated[tuple[_Span, ...], Field(strict=False, min_length=1, max_length=2**16)]


class LoadAnswer(Document):
    """The service's sums, as the CSV of `gateway.provider.homes.write_answer`."""

    sums: str
