"""The whole walk from a meter of each kind to a provider's sums: a gateway reads them all at once, its store
and its TPM are real, and what the provider opens is what each meter showed, to the mWh."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from gateway.meters.dlms.application import association
from gateway.meters.dlms.application.cipher import AUTHENTICATED, ENCRYPTED, CipherKeys
from gateway.meters.endpoint import Tcp
from gateway.meters.p1.model import P1Model
from gateway.meters.profile import load_profile
from gateway.meters.secrets import Secrets
from gateway.simulate import dlms, p1, push, sml, speedwire
from gateway.simulate.dlms_server import Policy
from gateway.simulate.home import Home
from tests.faults.household import MODBUS, Simulated, household
from tests.faults.scaled import ScaledClock
from tests.meters.speedwire.group import free_group

pytestmark = pytest.mark.slow

ANYWHERE = Tcp("127.0.0.1", 0)
SECRETS = Secrets(encryption_key=bytes(range(16)), authentication_key=bytes(range(16, 32)))
_LATE_S = 20  # a telegram may wait, on this clock, while the machine is busy

Listening = Callable[[int], None]
Serving = Coroutine[Any, Any, None]


def section(profile: str, *, keys: bool = False, interval_s: int = 1) -> str:
    line = f'profile = "{profile}"\ntcp = {{ host = "127.0.0.1", port = PORT }}\ninterval_s = {interval_s}\n'
    return line + ('keys = "./meter.keys"\n' if keys else "")


def speaking_p1(profile: str, every_s: int) -> Simulated:
    model = load_profile(profile).model
    assert isinstance(model, P1Model)

    def serve(home: Home, clock: ScaledClock, truth: Path, listening: Listening) -> Serving:
        return p1.serve(home, model, ANYWHERE, clock, SECRETS, truth, listening)

    return Simulated(profile, section(profile, keys=model.encrypted), serve, every_s, _LATE_S)


def pushing(profile: str, every_s: int) -> Simulated:
    def serve(home: Home, clock: ScaledClock, truth: Path, listening: Listening) -> Serving:
        return push.serve(home, load_profile(profile), ANYWHERE, clock, SECRETS, truth, listening)

    return Simulated(profile, section(profile, keys=True), serve, every_s, _LATE_S)


def asked_dlms(name: str, profile: str, framing: dlms.Framing, policy: Policy, every_s: int) -> Simulated:
    def serve(home: Home, clock: ScaledClock, truth: Path, listening: Listening) -> Serving:
        simulation = dlms.DlmsMeterSimulation(home, policy, clock, truth)
        return dlms.serve(simulation, framing, "127.0.0.1", 0, listening)

    return Simulated(name, section(profile, keys=policy.protection != 0, interval_s=every_s), serve, every_s)


def sending_sml(home: Home, clock: ScaledClock, truth: Path, listening: Listening) -> Serving:
    return sml.serve(home, ANYWHERE, clock, truth, listening)


CIPHERED = Policy(
    association.HLS5, ENCRYPTED | AUTHENTICATED, CipherKeys(bytes(range(16)), bytes(range(16, 32)))
)
METERS = (
    MODBUS,
    asked_dlms("dlms", "dlms-generic", "wrapper", Policy(), 5),
    asked_dlms("dlms-ciphered", "idis-tcp", "wrapper", CIPHERED, 5),
    asked_dlms("dlms-hdlc", "idis-optical", "hdlc", CIPHERED, 5),
    pushing("kaifa-ma309", 5),
    speaking_p1("dsmr-5", 1),
    speaking_p1("luxembourg-smarty", 10),
    Simulated("sml", section("sml-generic"), sending_sml, late_s=_LATE_S),
)


def sending_speedwire(home: Home, clock: ScaledClock, truth: Path, listening: Listening) -> Serving:
    return speedwire.serve(home, free_group(), clock, truth, listening=listening)


SPEEDWIRE = Simulated(
    "speedwire",
    'profile = "sma-energy-meter"\nmulticast = { interface = "127.0.0.1", port = PORT }',
    sending_speedwire,
    late_s=_LATE_S,
)


def write_keys(folder: Path) -> Path:
    """The file of the meters' keys."""
    keys = folder / "meter.keys"
    keys.touch(0o600)
    assert SECRETS.encryption_key is not None
    assert SECRETS.authentication_key is not None
    keys.write_text(
        f'encryption_key = "{SECRETS.encryption_key.hex()}"\n'
        f'authentication_key = "{SECRETS.authentication_key.hex()}"\n'
    )
    return keys


async def test_each_kind_of_meter_to_a_providers_sums(tmp_path: Path) -> None:
    write_keys(tmp_path)
    async with household(tmp_path, (*METERS, SPEEDWIRE)) as home:
        await home.begin()
        await home.live(60)
        await home.end(signal.SIGKILL)
        await home.live(10)
        await home.start()
        await home.settle()
        await home.check()
