"""Registration in the steps of Figure 3, on both databases."""

from __future__ import annotations

from gateway.registrar.service import Registrar
from gateway.wire.certificate import Certificate
from tests.support.clock import FakeClock
from tests.support.registrar import Holder, register


async def test_a_household_registers_its_gateway_and_streams(registrar: Registrar, clock: FakeClock) -> None:
    password = await registrar.accounts.add("muller", "household")
    home = Holder("gateway", clock.now_ms)
    streams = [bytes([n]) * 16 for n in (1, 2)]
    signed = await register(registrar, "muller", password, home, *map(home.descriptor, streams))
    certificate = Certificate.read(signed, registrar.identity.card.signing_key, "the certificate")
    certificate.check(clock.now_ms, "the certificate")
    assert certificate.holder == home.card
    assert certificate.streams == tuple(streams)
    assert certificate.assurance == "software"
