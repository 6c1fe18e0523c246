"""The registrar's HTTP API: what gateways and providers ask, each a few lines over the parts that do it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.errors import UsageError
from gateway.host.clock import unix_ms
from gateway.provider.homes import write_answer
from gateway.provider.load import Windows
from gateway.registrar import requests
from gateway.registrar.catalogue import MOST, Wanted
from gateway.registrar.routes import Call, Query, Routes
from gateway.registrar.streams import Listing, add_streams, ids_of, read_descriptors
from gateway.registry.documents import (
    CataloguePage,
    CertificateAnswer,
    Challenge,
    ChallengeResponse,
    Confirmation,
    CredentialsAnswer,
    CredentialsRequest,
    GrantRequestAnswer,
    GrantRequestPost,
    GrantRequestState,
    Hex16,
    Label,
    LoadAnswer,
    LoadRequest,
    Me,
    NonceAnswer,
    Notice,
    ProvidersAnswer,
    RegistrarStatus,
    RegistrationRequest,
    RevocationsAnswer,
    SessionAnswer,
    SessionRequest,
    StreamsRequest,
    UnixMs,
)
from gateway.registry.evidence import Evidence

MANY_STREAMS = 2**22
"""Bytes that hold the descriptors of as many streams as a certificate has room for."""

ROUTES = Routes()


@ROUTES.get("/registrar")
async def registrar_status(call: Call) -> RegistrarStatus:
    """The registrar: its name, its card, whether it registers software roots, and its clock."""
    one = call.registrar
    return RegistrarStatus(
        name=one.identity.card.name,
        card=one.identity.signed_card,
        software_roots=one.settings.registrar.software_roots,
        now_ms=unix_ms(one.clock),
    )


@ROUTES.get("/revocations")
async def revocations(call: Call) -> RevocationsAnswer:
    """The signed list of revoked certificates that would be valid otherwise."""
    return RevocationsAnswer(revocations=await call.registrar.cards.revocations())


@ROUTES.get("/certificates/{kid}")
async def certificate(call: Call) -> CertificateAnswer:
    """The present certificate of a gateway or a provider."""
    return _certificate(call, await call.registrar.cards.present(call.id("kid")))


@ROUTES.post("/registrations")
async def request_to_register(call: Call, asked: RegistrationRequest) -> Challenge:
    """Begin a registration. Its first step: user name, password, card, and a TPM's evidence; answered by a
    challenge."""
    evidence = None
    if asked.evidence is not None:
        shown = asked.evidence
        evidence = Evidence(**{name: getattr(shown, name) for name in type(shown).model_fields})
    found = await call.registrar.registration.request_to_register(
        asked.user, asked.password, asked.card, evidence, call.address
    )
    return Challenge(
        id=found.id,
        expires_ms=found.expires_ms,
        credential_blob=found.credential_blob,
        secret=found.secret,
        nonce=None if found.nonce is None else found.nonce.hex(),
    )


@ROUTES.post("/registrations/{id}/answer")
async def validate_response(call: Call, asked: ChallengeResponse) -> NonceAnswer:
    """Answer the challenge of a registration. Its second step: what the TPM found in the challenge, or a
    signed gw1/login; answered by a nonce."""
    nonce, expires_ms = await call.registrar.registration.validate_response(
        call.id("id").hex(), asked.answer, call.address
    )
    return NonceAnswer(nonce=nonce.hex(), expires_ms=expires_ms)


@ROUTES.post("/registrations/{id}/confirmation", most_bytes=MANY_STREAMS)
async def confirm(call: Call, asked: Confirmation) -> CertificateAnswer:
    """Confirm a registration. Its last step: user name and password with the nonce, and the descriptors of a
    gateway's streams; answered by the certificate."""
    signed = await call.registrar.registration.confirm(
        call.id("id").hex(),
        asked.user,
        asked.password,
        bytes.fromhex(asked.nonce),
        asked.descriptors,
        call.address,
    )
    return _certificate(call, signed)


@ROUTES.post("/nonces")
async def new_nonce(call: Call) -> NonceAnswer:
    """A nonce to log in with, good once and for two minutes."""
    nonce, expires_ms = call.registrar.sessions.nonce()
    return NonceAnswer(nonce=nonce.hex(), expires_ms=expires_ms)


@ROUTES.post("/sessions")
async def begin_session(call: Call, asked: SessionRequest) -> SessionAnswer:
    """Begin a session with a signed gw1/login over a nonce."""
    token, expires_ms = await call.registrar.sessions.begin(asked.login, call.address)
    return SessionAnswer(token=token, expires_ms=expires_ms)


@ROUTES.get("/me", "gateway", "provider")
async def me(call: Call) -> Me:
    """The session's account, its certificate and streams, and the refused attempts that concern it."""
    return await _me(call)


@ROUTES.post("/me/certificate", "gateway", "provider")
async def renew(call: Call) -> CertificateAnswer:
    """Renew the certificate. The present one stays while more than half of its validity is left."""
    return _certificate(call, await call.registrar.cards.renew(call.session.kid))


@ROUTES.put("/me/streams", "gateway", most_bytes=MANY_STREAMS)
async def put_streams(call: Call, asked: StreamsRequest) -> Me:
    """Register a gateway's streams, and how the catalogue lists them. A stream that is not named stays
    registered. The certificate is signed anew where it lacks a stream."""
    session, one = call.session, call.registrar
    async with one.access.attempt("descriptor", call.address, session.kid.hex()) as attempt:
        attempt.account_id = session.account_id
        found = read_descriptors(asked.descriptors, session.card, session.assurance or "software")
        listing = Listing(asked.region, asked.tariff_zone, asked.listed)
        async with one.database.writing() as connection:
            await add_streams(connection, session.kid, found, unix_ms(one.clock), listing)
    await one.cards.renew(session.kid)
    return await _me(call)


@ROUTES.get("/requests", "gateway", "provider")
async def list_requests(call: Call) -> tuple[GrantRequestAnswer, ...]:
    """A provider's requests for grants with what became of them, or the open ones on a gateway's streams."""
    return tuple(map(_request, await call.registrar.requests.of(call.session)))


@ROUTES.post("/requests", "provider")
async def ask_for_grant(call: Call, asked: GrantRequestPost) -> GrantRequestAnswer:
    """Ask a household for a grant, with a signed gw1/request."""
    return _request(await call.registrar.requests.add(call.session, asked.request, call.address))


@ROUTES.post("/requests/{id}", "gateway")
async def decide(call: Call, asked: GrantRequestState) -> GrantRequestAnswer:
    """Say what the household decided on a request."""
    return _request(await call.registrar.requests.decide(call.session, call.id("id"), asked.state))


class CatalogueQuery(Query):
    """What the catalogue is asked for; what is left out is any."""

    region: Label | None = None
    tariff_zone: Label | None = None
    lane: (
        Literal[
            "import",
            "export",
            "power",
            "temperature",
            "irradiance",
            "appliances",
            "occupancy",
            "count",
        ]
        | None
    ) = None
    granted: bool = False
    covers_from_ms: UnixMs | None = None
    covers_until_ms: UnixMs | None = None
    after: Hex16 | None = None
    limit: Annotated[int, Field(ge=1, le=MOST)] = MOST


@ROUTES.get("/catalogue/streams", "provider")
async def catalogue_streams(call: Call, query: CatalogueQuery) -> CataloguePage:
    """The streams that are listed or that granted the provider something, page by page, with its own grants.
    The catalogue is as the store was some minutes ago."""
    if query.granted and call.registrar.indexer is not None:
        await call.registrar.indexer.look_at_new(call.session.kid)
    wanted = Wanted(**{**query.model_dump(), "after": bytes.fromhex(query.after or "")})
    found = await call.registrar.catalogue.streams(call.session.kid, wanted)
    more = len(found) == query.limit
    return CataloguePage(streams=tuple(found), after=found[-1].stream if more else None)


@ROUTES.get("/catalogue/providers", "gateway", "provider")
async def catalogue_providers(call: Call) -> ProvidersAnswer:
    """The providers with a valid certificate."""
    return ProvidersAnswer(providers=tuple(await call.registrar.catalogue.providers()))


@ROUTES.post("/me/credentials", "gateway", "provider", most_bytes=MANY_STREAMS)
async def storage_credentials(call: Call, asked: CredentialsRequest) -> CredentialsAnswer:
    """Storage credentials that reach a gateway's own streams, or the streams that granted the provider
    something, as many as fit."""
    one = call.registrar.credentials
    if one is None:
        raise UsageError(
            "this registrar gives out no storage credentials: its operator has set no bucket in [store]"
        )
    chosen = [bytes.fromhex(stream) for stream in asked.streams]
    given = await one.give(call.session, chosen, call.address)
    keys, store = given.credentials, one.settings
    assert keys.expires_ms is not None  # a session's
    return CredentialsAnswer(
        url=store.url,
        endpoint=store.endpoint,
        region=store.region,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        session_token=keys.session_token,
        expires_ms=keys.expires_ms,
        streams=tuple(stream.hex() for stream in given.streams),
        grants={
            stream.hex(): tuple(one.hex() for one in ids) for stream, ids in given.streams.items() if ids
        },
    )


@ROUTES.post("/loads/sums", "provider", most_bytes=2**25)
async def sum_load(call: Call, asked: LoadRequest) -> LoadAnswer:
    """Ask the summing service for its sums over a set of homes that granted the provider, a load monitoring
    centre, their load. From then on these homes are summed together at those times, or not at all."""
    service = call.registrar.loads
    if service is None:
        raise UsageError("this registrar has no summing service: its operator has set no [loads]")
    windows = Windows(asked.lanes, asked.times)
    return LoadAnswer(sums=write_answer(await service.sum(call.session.kid, asked.homes, windows)))


def _certificate(call: Call, signed: bytes) -> CertificateAnswer:
    return CertificateAnswer(certificate=signed, registrar_card=call.registrar.identity.signed_card)


def _request(one: requests.Asked) -> GrantRequestAnswer:
    return GrantRequestAnswer(
        id=one.id.hex(),
        request=one.signed,
        certificate=one.certificate,
        state=one.state,
        received_ms=one.asked_ms,
    )


async def _me(call: Call) -> Me:
    session, one = call.session, call.registrar
    async with one.database.reading() as connection:
        streams = await ids_of(connection, session.kid)
    return Me(
        user=session.account,
        role=session.role,
        kid=session.kid.hex(),
        certificate=await one.cards.present(session.kid),
        streams=tuple(stream.hex() for stream in streams),
        notices=tuple(
            Notice(time_ms=refused.last_ms, kind=refused.kind, sentence=refused.notice)
            for refused in await one.access.of_account(session.account_id)
        ),
    )
