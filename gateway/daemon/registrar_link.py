"""What is kept of the gateway's registration, and the way from it to the registrar.

It lies in `registration.json` of the state folder: where, as whom, the registrar's card, which is pinned from
then on, and the certificate. A password is not in it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.errors import Refused, Unavailable, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.host.files import write_durably
from gateway.registry.client import RegistrarClient
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.wire import cose
from gateway.wire.card import Card
from gateway.wire.certificate import Certificate

_log = logging.getLogger(__name__)

FILE = "registration.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a registration; the registrar's card and the gateway's certificate as they were signed,
    in base64; the ids of the streams that the registrar knows, hexadecimal."""

    url: str
    ca: str | None
    user: str
    registrar: str
    certificate: str
    region: str
    tariff_zone: str
    listed: bool
    streams: tuple[str, ...]


class RegistrarLink:
    """The way to the registrar at which the gateway whose state lies in the folder `state` is registered."""

    def __init__(self, state: Path, root: Root, clock: Clock) -> None:
        """UsageError where the file cannot be read. One that is damaged is put aside, as reading and sealing
        need no registrar."""
        self._path = state / FILE
        self._root = root
        self._clock = clock
        self.kid = cose.kid_of(root.public_key)
        self.kept: Kept | None = None
        self.lost: str | None = None
        """Why a registration that there was is not known any longer."""
        try:
            self.kept = _load(self._path)
        except Refused as error:
            self.lost = str(error)
            self._path.replace(self._path.with_suffix(".damaged"))
            _log.error("%s; it is kept as %s.damaged", error, self._path.stem)

    async def keep(self, kept: Kept) -> None:
        """Durably. Unavailable where the disk does not take it."""
        document = json.dumps({"version": _VERSION, **asdict(kept)}, indent=1)
        try:
            await asyncio.to_thread(write_durably, self._path, document.encode())
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written: {error.strerror}") from None
        self.kept, self.lost = kept, None

    @property
    def registered(self) -> Kept:
        """What is kept. Unavailable where the gateway is not registered."""
        if self.kept is None:
            raise Unavailable(self.missing)
        return self.kept

    @property
    def missing(self) -> str:
        """Why there is no registration, and what to do."""
        if self.lost:
            return "this gateway is no longer registered: gateway register URL --user NAME"
        return "this gateway is not registered yet: gateway register URL --user NAME"

    @property
    def registrar(self) -> Card:
        """The registrar's card, pinned when the gateway was registered. Unavailable as `registered`."""
        return _card(self.registered.registrar)

    @property
    def certificate(self) -> Certificate:
        """The certificate as it was last given, which may have expired since. Unavailable as `registered`."""
        data = base64.b64decode(self.registered.certificate)
        return Certificate.read(data, self.registrar.signing_key, "the gateway's certificate")

    def client(self) -> RegistrarClient:
        """A client without a session. Unavailable as `registered`."""
        kept = self.registered
        return RegistrarClient(kept.url, None if kept.ca is None else Path(kept.ca))

    @asynccontextmanager
    async def session(self) -> AsyncIterator[RegistrarClient]:
        """A client with a session in this gateway's name. Unavailable as `registered`, and while the clock is
        not set."""
        registrar = self.registrar
        self.check_clock()
        async with self.client() as client:
            await client.login(self.kid, registrar, unix_ms(self._clock), lambda item: sign(self._root, item))
            yield client

    def check_clock(self) -> None:
        """Unavailable while the clock is not set."""
        if not self._clock.trusted():
            raise Unavailable("the clock is not set yet, so no certificate can be checked: try again later")


def as_text(signed: bytes) -> str:
    """A signed card or certificate as `Kept` has it."""
    return base64.b64encode(signed).decode()


def _card(text: str) -> Card:
    return Card.read_self_signed(base64.b64decode(text), "the registrar's card")


def _load(path: Path) -> Kept | None:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        document = {}
    try:
        if document.pop("version") != _VERSION:
            raise ValueError
        kept = Kept(**{**document, "streams": tuple(document["streams"])})
        registrar = _card(kept.registrar)
        Certificate.read(base64.b64decode(kept.certificate), registrar.signing_key, str(path))
    except (ValueError, TypeError, KeyError, AttributeError, Refused):
        raise Refused(f"{path} is damaged: register again (gateway register URL --user NAME)") from None
    return kept
