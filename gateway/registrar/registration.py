"""Registration, as in the paper's Figure 3; each step there is a method here, and each method's first line
has the step's words.

    consumer                                     registrar (the paper's TTP)
    requesting to register at TTP          -->   request_to_register
                                           <--   validating the consumer's identity by challenge/response
    the response                           -->   validate_response
                                           <--   generating and sending a nonce
    submitting a username/password pair    -->   confirm: validating the consumer's nonce,
    and the nonce                                mapping the username with an-IDs

The an-IDs are the ids of the household's streams, which its gateway draws at random. A provider registers by
the same steps, without streams.

A registration under way lives in memory, for some minutes: only the last step writes, all of it in one
transaction. One that was cut is begun again, and what was registered already is the same afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import LargeBinary, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import NotFound, Refused
from gateway.host.clock import Clock, unix_ms
from gateway.registrar.access import Access, Attempt
from gateway.registrar.accounts import Account, Accounts, normal
from gateway.registrar.cards import Cards, registered_card
from gateway.registrar.database import Database
from gateway.registrar.identity import RegistrarIdentity
from gateway.registrar.likeness import likeness
from gateway.registrar.streams import add_streams, read_descriptors
from gateway.registrar.tables import holders
from gateway.registry.evidence import Evidence
from gateway.web.refusals import Conflict, NotAuthenticated
from gateway.wire.card import Card
from gateway.wire.request import NONCE_BYTES, Login

if TYPE_CHECKING:
    from gateway.registrar.attestation import EkRoots

LIFETIME_MS = 300_000
"""A TPM answers within seconds; a person has typed the password before."""
_MOST = 10_000
_ROLES = {"household": "gateway", "provider": "provider"}
_SAME = select(holders.c.kid, holders.c.account_id, holders.c.assurance).where(
    (holders.c.kid == bindparam("key")) | (holders.c.tpm == bindparam("ek", type_=LargeBinary))
)
_PROVIDERS = select(holders.c.card).where(
    holders.c.role == "provider", holders.c.account_id != bindparam("account")
)
_INSERT = insert(holders)
_AGAIN = "begin the registration again"


@dataclass(frozen=True, slots=True)
class Challenged:
    """A challenge: `credential_blob` and `secret` for a TPM, else `nonce`; good until `expires_ms`."""

    id: str
    expires_ms: int
    nonce: bytes | None = None
    credential_blob: bytes | None = None
    secret: bytes | None = None


@dataclass(slots=True)
class _Pending:
    """A registration under way. `expected` is the digest of what has to come next: the challenge's secret or
    nonce, then the nonce; None once that was used."""

    account: Account
    card: Card
    signed_card: bytes
    tpm: bytes | None
    expires_ms: int
    expected: bytes | None
    step: Literal["challenge", "nonce"] = "challenge"

    @property
    def owner(self) -> tuple[int, bytes]:
        """The account and the card's key, of which one registration is under way at a time."""
        return self.account.id, self.card.kid

    @property
    def assurance(self) -> Literal["tpm", "software"] | None:
        if self.card.role != "gateway":
            return None
        return "software" if self.tpm is None else "tpm"


class Registration:
    """Registers gateways and providers. `roots` say whose TPMs are genuine; None: no TPM is accepted."""

    def __init__(
        self,
        database: Database,
        identity: RegistrarIdentity,
        accounts: Accounts,
        access: Access,
        cards: Cards,
        clock: Clock,
        *,
        roots: EkRoots | None,
        software_roots: bool,
    ) -> None:
        self._database = database
        self._identity = identity
        self._accounts = accounts
        self._access = access
        self._cards = cards
        self._clock = clock
        self._roots = roots
        self._software_roots = software_roots
        self._pending: dict[str, _Pending] = {}  # in the order in which they expire
        self._latest: dict[tuple[int, bytes], str] = {}  # by account and card

    async def request_to_register(
        self, user: str, password: str, signed_card: bytes, evidence: Evidence | None, address: str
    ) -> Challenged:
        """Requesting to register at TTP; answered by a challenge, which only the holder of the card's key can
        answer, and of a TPM's key only that TPM."""
        async with self._access.attempt("password", address, normal(user)) as attempt:
            account = await self._accounts.authenticate(user, password, attempt)
            attempt.kind = "card"
            card = self._check_card(account, signed_card)
            attempt.kind = "evidence"
            return await self._challenge(account, card, signed_card, evidence)

    async def validate_response(self, registration: str, answer: bytes, address: str) -> tuple[bytes, int]:
        """Validating the consumer's identity by challenge/response. Generating and sending a nonce: it comes
        with the time until when it is good (Unix ms)."""
        pending = self._find(registration)
        async with self._access.attempt("challenge", address, pending.account.name) as attempt:
            attempt.account_id = pending.account.id
            expected, step = pending.expected, pending.step
            pending.expected = None
            if step != "challenge" or expected is None:
                raise NotAuthenticated(f"the challenge was answered before: {_AGAIN}")
            if pending.tpm is None:
                answer = self._read_login(pending, answer)
            if not hmac.compare_digest(_digest(answer), expected):
                holder = "TPM" if pending.tpm is not None else "key"
                raise NotAuthenticated(
                    f"the answer to the challenge is wrong: another {holder} answered; {_AGAIN}"
                )
        nonce = secrets.token_bytes(NONCE_BYTES)
        pending.expected, pending.step = _digest(nonce), "nonce"
        return nonce, pending.expires_ms

    async def confirm(
        self,
        registration: str,
        user: str,
        password: str,
        nonce: bytes,
        descriptors: Sequence[bytes],
        address: str,
    ) -> bytes:
        """Submitting a username/password pair and the nonce; answered by the certificate."""
        pending = self._find(registration)
        async with self._access.attempt("password", address, normal(user)) as attempt:
            account = await self._accounts.authenticate(user, password, attempt)
            self._validate_nonce(pending, account, nonce, attempt)
            attempt.kind = "descriptor"
            if descriptors and pending.card.role != "gateway":
                raise Refused("a provider has no streams: send no descriptors")
            found = read_descriptors(descriptors, pending.card, pending.assurance or "software")
            return await self._map_user(pending, found)

    def _check_card(self, account: Account, signed_card: bytes) -> Card:
        """The card that is to be registered: of the account's role, and valid now."""
        card = Card.read_self_signed(signed_card, "the card")
        now_ms = unix_ms(self._clock)
        role = _ROLES.get(account.role)
        if role is None:
            raise Refused("an operator's account registers no card: use one of a household or a provider")
        if card.role != role:
            raise Refused(f"the card is a {card.role}'s, and a {account.role} registers a {role}'s")
        if not card.valid_from_ms <= now_ms < card.valid_until_ms:
            when = "has expired" if now_ms >= card.valid_until_ms else "is not valid yet"
            raise Refused(f"the card {when}: send one that is valid now")
        return card

    async def _challenge(
        self, account: Account, card: Card, signed_card: bytes, evidence: Evidence | None
    ) -> Challenged:
        """The challenge: a secret that only the TPM can open, or a nonce that the card's key has to sign."""
        now_ms = unix_ms(self._clock)
        registration, expires_ms = secrets.token_hex(16), now_ms + LIFETIME_MS
        tpm, blob, sealed, nonce = None, None, None, None
        if evidence is not None and card.role == "gateway":
            tpm, blob, sealed, secret = await self._challenge_tpm(card, evidence)
        elif card.role == "gateway" and not self._software_roots:
            raise Refused(
                "this registrar registers gateways with a TPM only: its operator may allow software roots "
                "(software_roots in registrar.toml)"
            )
        else:
            secret = nonce = secrets.token_bytes(NONCE_BYTES)
        async with self._database.reading() as connection:
            await self._check_free(connection, account, card, tpm)
        self._keep(registration, _Pending(account, card, signed_card, tpm, expires_ms, _digest(secret)))
        return Challenged(registration, expires_ms, nonce, blob, sealed)

    async def _challenge_tpm(self, card: Card, evidence: Evidence) -> tuple[bytes, bytes, bytes, bytes]:
        """The digest of the TPM's endorsement key, the challenge's two parts, and the secret in them."""
        from gateway.registrar.attestation import (  # noqa: PLC0415 - the TPM's library, for gateways with one
            SECRET_BYTES,
            make_credential,
            verify,
        )

        if self._roots is None:
            raise Refused(
                "this registrar knows no maker of TPMs: its operator sets ek_roots in registrar.toml"
            )
        found = await asyncio.to_thread(verify, evidence, card.signing_key, self._roots)
        secret = secrets.token_bytes(SECRET_BYTES)
        blob, sealed = await asyncio.to_thread(make_credential, found.ek_public, found.ak_name, secret)
        return found.ek, blob, sealed, secret

    def _read_login(self, pending: _Pending, answer: bytes) -> bytes:
        """The nonce in a gw1/login that the card's key signed for this registrar."""
        login = Login.read(answer, pending.card.signing_key, "the answer to the challenge")
        if login.registrar != self._identity.card.kid:
            raise NotAuthenticated(f"the answer to the challenge is for another registrar: {_AGAIN}")
        return login.nonce

    def _validate_nonce(self, pending: _Pending, account: Account, nonce: bytes, attempt: Attempt) -> None:
        """Validating the consumer's nonce: of this user's registration, and good once."""
        attempt.kind = "nonce"
        if account.id != pending.account.id:
            raise Refused("another user began this registration: begin one of your own")
        expected, step = pending.expected, pending.step
        if step != "nonce":
            raise NotAuthenticated("the challenge was not answered: answer it, and then send the nonce")
        pending.expected = None
        if expected is None:
            raise NotAuthenticated(f"the nonce was used before: {_AGAIN}")
        if not hmac.compare_digest(_digest(nonce), expected):
            raise NotAuthenticated(f"the nonce is wrong: {_AGAIN}")

    async def _map_user(self, pending: _Pending, descriptors: dict[bytes, bytes]) -> bytes:
        """Mapping the username with an-IDs: card, streams and certificate, all of it or nothing."""
        card, account, now_ms = pending.card, pending.account, unix_ms(self._clock)
        async with self._database.writing() as connection:
            known = await self._check_free(connection, account, card, pending.tpm)
            values = {"card": pending.signed_card, "assurance": pending.assurance, "tpm": pending.tpm}
            if known:
                await connection.execute(update(holders).where(holders.c.kid == card.kid).values(**values))
                await add_streams(connection, card.kid, descriptors, now_ms)
                return await self._cards.certify(connection, card, pending.signed_card, pending.assurance)
            row = {"kid": card.kid, "account_id": account.id, "role": card.role, "registered_ms": now_ms}
            await connection.execute(_INSERT, row | values)
            await add_streams(connection, card.kid, descriptors, now_ms)
            # Certificates that the key had in an account that was removed count no more.
            ids = sorted(descriptors)
            return await self._cards.issue(connection, card, pending.signed_card, pending.assurance, ids)

    async def _check_free(
        self, connection: AsyncConnection, account: Account, card: Card, tpm: bytes | None
    ) -> bool:
        """Whether the account has the card already. Conflict where another account has it, or its TPM."""
        rows = await connection.execute(_SAME, {"key": card.kid, "ek": tpm})
        known = False
        for row in rows:
            if row.account_id != account.id:
                what = "card" if row.kid == card.kid else "TPM"
                raise Conflict(
                    f"this {what} is registered for another user: use that user's name, or ask the "
                    "registrar's operator"
                )
            if row.kid == card.kid and row.assurance == "tpm" and tpm is None:
                raise Refused("this card was registered with its TPM: send the TPM's evidence again")
            known |= row.kid == card.kid
        if card.role == "provider":
            await _check_name(connection, account, card.name)
        return known

    def _find(self, registration: str) -> _Pending:
        pending = self._pending.get(registration)
        if pending is None or pending.expires_ms <= unix_ms(self._clock):
            raise NotFound(
                f"no such registration is under way: it took too long, or was begun anew; {_AGAIN}"
            )
        return pending

    def _keep(self, registration: str, pending: _Pending) -> None:
        """Keep a registration in the place of what this user began for this card before; drop what has
        expired, and the oldest of too many."""
        now_ms = unix_ms(self._clock)
        for old, one in list(self._pending.items()):
            if one.expires_ms > now_ms and len(self._pending) < _MOST:
                break
            self._drop(old)
        if (before := self._latest.get(pending.owner)) is not None:
            self._drop(before)
        self._pending[registration] = pending
        self._latest[pending.owner] = registration

    def _drop(self, registration: str) -> None:
        del self._latest[self._pending.pop(registration).owner]


async def _check_name(connection: AsyncConnection, account: Account, name: str) -> None:
    """Conflict where a provider of another account has the name, or one that looks like it."""
    rows = await connection.execute(_PROVIDERS, {"account": account.id})
    for row in rows:
        if likeness(registered_card(row.card).name) == likeness(name):
            raise Conflict(
                f"{name!r} is the name of another user's provider, or looks like it, and households would"
                " take one for the other: choose another name, or ask the registrar's operator"
            )


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
