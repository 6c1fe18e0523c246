"""Registration of gateways whose key lives in a TPM: the registrar sees that TPM answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.chain.layout import DAY_MS, LANES, Layout
from gateway.errors import GatewayError, Refused
from gateway.registrar.registration import Challenged
from gateway.registrar.service import Registrar
from gateway.registrar.settings import RegistrarSection
from gateway.registry.evidence import Evidence
from gateway.trust.opening import open_root
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.web.refusals import Conflict, NotAuthenticated
from gateway.wire import cose
from gateway.wire.card import Card
from gateway.wire.certificate import Certificate
from gateway.wire.stream import Descriptor
from tests.support.clock import FakeClock
from tests.support.registrar import ADDRESS, open_new, settings
from tests.support.tpm import maker, manufacture, swtpm

pytestmark = pytest.mark.slow

PASSWORD = "a long password"


@pytest.fixture
async def registrar(database_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Registrar]:
    """A registrar that takes gateways with a TPM only, of swtpm's maker."""
    roots = tmp_path / "makers"
    roots.mkdir()
    for path in maker().certificates:
        (roots / path.name).write_bytes(path.read_bytes())
    chosen = settings(tmp_path / "state", database_url)
    section = RegistrarSection(name="Registrar", state=tmp_path / "state", ek_roots=roots)
    async with open_new(chosen.model_copy(update={"registrar": section}), clock) as one:
        for user in ("muller", "maier"):
            await one.accounts.add(user, "household", PASSWORD)
        yield one


class Gateway:
    """A gateway on a TPM, its card and its evidence."""

    def __init__(self, root: Root, evidence: Evidence, card: bytes) -> None:
        self.root = root
        self.evidence = evidence
        self.card = card

    @classmethod
    async def new(cls, folder: Path, tcti: str, now_ms: int) -> Gateway:
        root = await open_root("tpm", folder, tcti)
        evidence = await root.evidence()
        assert evidence is not None
        kid = cose.kid_of(root.public_key)
        card = Card(kid, root.public_key, None, "gateway", "Home", now_ms, now_ms + 700 * DAY_MS)
        return cls(root, evidence, await sign(root, card))

    async def ask(self, registrar: Registrar, user: str, evidence: Evidence | None) -> Challenged:
        return await registrar.registration.request_to_register(user, PASSWORD, self.card, evidence, ADDRESS)

    async def answer(self, asked: Challenged) -> bytes:
        assert asked.credential_blob is not None
        assert asked.secret is not None
        return await self.root.activate(asked.credential_blob, asked.secret)

    async def descriptor(self) -> bytes:
        key, lanes = self.root.public_key, (LANES["import"], LANES["count"])
        return await sign(self.root, Descriptor(bytes(16), Layout(1000, 3600), lanes, 0, key, "tpm"))


async def test_a_tpm_registers_and_no_other_answers_for_it(
    registrar: Registrar, clock: FakeClock, tmp_path: Path
) -> None:
    registration = registrar.registration
    manufacture(tmp_path / "other")
    async with AsyncExitStack() as stack:
        one, other = (stack.enter_context(swtpm(tmp_path / name)) for name in ("one", "other"))
        home = await Gateway.new(tmp_path / "home", one.tcti, clock.now_ms)
        stack.push_async_callback(home.root.aclose)
        thief = await Gateway.new(tmp_path / "thief", other.tcti, clock.now_ms)
        stack.push_async_callback(thief.root.aclose)

        with pytest.raises(Refused, match="with a TPM only"):
            await home.ask(registrar, "muller", None)
        with pytest.raises(Refused, match="certifies another key than the card's"):
            await thief.ask(registrar, "muller", home.evidence)
        mixed = replace(home.evidence, ek_certificates=thief.evidence.ek_certificates)
        with pytest.raises(Refused, match="another TPM's endorsement key"):
            await home.ask(registrar, "muller", mixed)

        asked = await home.ask(registrar, "muller", home.evidence)
        assert asked.nonce is None
        with pytest.raises(GatewayError):
            await thief.answer(asked)
        with pytest.raises(NotAuthenticated, match="another TPM answered"):
            await registration.validate_response(asked.id, bytes(32), ADDRESS)
        refused = (await registrar.access.all())[0]
        assert (refused.kind, refused.who) == ("challenge", "muller")

        asked = await home.ask(registrar, "muller", home.evidence)
        nonce, _ = await registration.validate_response(asked.id, await home.answer(asked), ADDRESS)
        descriptor = await home.descriptor()
        signed = await registration.confirm(asked.id, "muller", PASSWORD, nonce, [descriptor], ADDRESS)
        found = Certificate.read(signed, registrar.identity.card.signing_key, "the certificate")
        assert (found.assurance, found.streams) == ("tpm", (bytes(16),))

        with pytest.raises(Refused, match="with a TPM only"):
            await home.ask(registrar, "muller", None)
        registration._software_roots = True
        with pytest.raises(Refused, match="send the TPM's evidence again"):
            await home.ask(registrar, "muller", None)
        with pytest.raises(Conflict, match="this card is registered for another user"):
            await home.ask(registrar, "maier", home.evidence)
        anew = await Gateway.new(tmp_path / "anew", one.tcti, clock.now_ms)
        stack.push_async_callback(anew.root.aclose)
        with pytest.raises(Conflict, match="this TPM is registered for another user"):
            await anew.ask(registrar, "maier", anew.evidence)
