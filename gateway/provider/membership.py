"""A provider's membership of a registrar: registered once, by the steps of the paper's Figure 3, and kept
beside its key in `registrar.json`. With it the provider asks who granted it what, and for new grants.

The file has the registrar's address and its card, which is pinned, and the provider's certificate; no secret.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import Refused, UsageError
from gateway.host.files import write_durably
from gateway.provider.identity import CARD_FILE, Identity
from gateway.wire import cose, es256
from gateway.wire.card import Card
from gateway.wire.certificate import Certificate
from gateway.wire.request import Login, Request
from gateway.wire.signed import Signed

if TYPE_CHECKING:  # a reader of a store without a registrar would wait for the client's import half its time
    from gateway.registry.client import RegistrarClient
    from gateway.registry.documents import CatalogueStream, GrantRequestAnswer

FILE = "registrar.json"
_VERSION = 1
_PAGE = "500"


@dataclass(frozen=True, slots=True)
class Membership:
    """Where a provider is registered: the registrar's address and card, who may sign its TLS certificate, the
    user's name, and the certificate as it was signed."""

    url: str
    ca: str | None
    user: str
    registrar: Card
    certificate: bytes

    def read(self) -> Certificate:
        """The certificate, its signature checked; it may have expired since."""
        return Certificate.read(self.certificate, self.registrar.signing_key, "the provider's certificate")


def open_membership(folder: Path) -> Membership:
    """The membership kept in the folder of the provider's key; UsageError where there is none."""
    path = folder / FILE
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{folder} is not registered at a registrar: gateway provider login URL --key {folder} --user YOU"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        document = {}
    try:
        if document["version"] != _VERSION:
            raise ValueError
        registrar = Card.read_self_signed(base64.b64decode(document["registrar"]), str(path))
        found = Membership(
            document["url"],
            document["ca"],
            document["user"],
            registrar,
            base64.b64decode(document["certificate"]),
        )
        found.read()
    except (ValueError, KeyError, TypeError, Refused):
        raise UsageError(f"{path} is damaged: log in again (gateway provider login URL)") from None
    return found


async def join(
    folder: Path,
    identity: Identity,
    *,
    url: str,
    ca: Path | None,
    user: str,
    password: str,
    registrar_kid: bytes,
    now_ms: int,
) -> Membership:
    """Register the card in `folder` at a registrar, in the order of Figure 3, and keep what it certifies. One
    that was cut off is begun again. UsageError where the registrar has another key than `registrar_kid`, the
    one that a person has compared; the registrar's own errors."""
    from gateway.registry.client import (  # noqa: PLC0415 - see above
        RegistrarClient,
        read_certificate,
        read_nonce,
    )
    from gateway.registry.documents import Confirmation, RegistrationRequest  # noqa: PLC0415 - see above

    card_path = folder / CARD_FILE
    try:
        card = card_path.read_bytes()
    except OSError as error:
        raise UsageError(f"{card_path} cannot be read: {error.strerror}") from None
    async with RegistrarClient(url, ca) as client:
        status, registrar = await client.status()
        if registrar.kid != registrar_kid:
            raise UsageError(f"the registrar at {url} has another key than the one that was confirmed")
        asked = RegistrationRequest(user=user, password=password, card=card)
        challenge = await client.request_to_register(asked)
        if challenge.nonce is None:
            raise Refused(f"{registrar.name} sent a challenge for a TPM, and a provider has none")
        login = Login(identity.kid, read_nonce(challenge.nonce), registrar.kid, now_ms)
        nonce = read_nonce((await client.respond(challenge.id, sign(identity, login))).nonce)
        confirmation = Confirmation(user=user, password=password, nonce=nonce.hex())
        certified = await client.confirm(challenge.id, confirmation)
    found = read_certificate(certified, registrar, now_ms, "the provider's certificate")
    if found.holder.kid != identity.kid:
        raise Refused("the provider's certificate is another's")
    made = Membership(url, None if ca is None else str(ca), user, registrar, certified.certificate)
    keep(folder, made, status.card)
    return made


def keep(folder: Path, made: Membership, registrar: bytes) -> None:
    """Keep a membership in the folder of the provider's key; `registrar` is the registrar's card as it signed
    it. UsageError where it cannot be written."""
    document = {
        "version": _VERSION,
        "url": made.url,
        "ca": made.ca,
        "user": made.user,
        "registrar": base64.b64encode(registrar).decode(),
        "certificate": base64.b64encode(made.certificate).decode(),
    }
    try:
        write_durably(folder / FILE, json.dumps(document, indent=1).encode(), 0o644)
    except OSError as error:
        raise UsageError(f"{folder / FILE} cannot be written: {error.strerror}") from None


@asynccontextmanager
async def session(membership: Membership, identity: Identity, now_ms: int) -> AsyncIterator[RegistrarClient]:
    """A client with a session in the provider's name."""
    from gateway.registry.client import RegistrarClient  # noqa: PLC0415 - see above

    async def signed(item: Signed) -> bytes:
        return sign(identity, item)

    ca = None if membership.ca is None else Path(membership.ca)
    async with RegistrarClient(membership.url, ca) as client:
        await client.login(identity.kid, membership.registrar, now_ms, signed)
        yield client


async def catalogue(client: RegistrarClient, **query: str) -> AsyncIterator[CatalogueStream]:
    """All streams of the registrar's catalogue that answer the query, page by page: region, tariff_zone,
    lane, granted, covers_from_ms, covers_until_ms. Refused where they do not come in the order of their ids,
    each once: a page that comes again would never end, and a home that comes twice counts twice in a sum."""
    last, following = "", True
    while following:
        more = {"after": last} if last else {}
        page = await client.catalogue(**query, **more, limit=_PAGE)
        for one in page.streams:
            if one.stream <= last:
                raise Refused(
                    f"the registrar's catalogue has the stream {one.stream} twice, or out of order: its"
                    " answer cannot be trusted"
                )
            last = one.stream
            yield one
        following = page.after is not None and bool(page.streams)


async def ask(client: RegistrarClient, identity: Identity, request: Request) -> GrantRequestAnswer:
    """Send a request for a grant, signed."""
    return await client.ask_for_grant(sign(identity, request))


def new_request_id() -> bytes:
    """A request's id, drawn at random."""
    return secrets.token_bytes(16)


def sign(identity: Identity, item: Signed) -> bytes:
    """The object, signed with the provider's key."""
    payload = item.payload()
    message = cose.to_be_signed(item.TYPE, identity.kid, payload)
    return cose.assemble(identity.kid, payload, es256.sign(identity.signing_key, message))
