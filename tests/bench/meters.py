"""The meters of the soak: every kind that is simulated, on loopback ports that the system chooses."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from gateway.host.clock import Clock
from gateway.meters.dlms.application import association
from gateway.meters.dlms.application.cipher import AUTHENTICATED, ENCRYPTED, CipherKeys
from gateway.meters.endpoint import Tcp
from gateway.meters.modbus.model import ModbusModel
from gateway.meters.p1.model import P1Model
from gateway.meters.profile import load_profile
from gateway.meters.secrets import Secrets
from gateway.simulate import dlms, modbus, p1, push, sml
from gateway.simulate.dlms_server import Policy
from gateway.simulate.home import Home

HOST = "127.0.0.1"
SECRETS = {"encryption_key": bytes(range(16)), "authentication_key": bytes(range(16, 32))}

Listening = Callable[[int], None]
Serving = Coroutine[Any, Any, None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of meter, its profile, and what serves a home as one. It gives a reading every `every_s`, and
    ciphers with SECRETS where it has `keys`."""

    name: str
    profile: str
    serve: Callable[[Home, Clock, Listening], Serving]
    every_s: int = 1
    keys: bool = False

    def section(self, name: str, port: int, keys: str) -> str:
        """The meter's part of a configuration file."""
        lines = [
            "[[meter]]",
            f'name = "{name}"',
            f'profile = "{self.profile}"',
            f'tcp = {{ host = "{HOST}", port = {port} }}',
            "interval_s = 1.0",
            *([f'keys = "{keys}"'] if self.keys else []),
        ]
        return "\n".join(lines) + "\n"


def _modbus(home: Home, clock: Clock, listening: Listening) -> Serving:
    model = load_profile("eastron-sdm630").model
    assert isinstance(model, ModbusModel)
    return modbus.serve(home, model, HOST, 0, clock, None, listening)


def _dlms(policy: Policy) -> Callable[[Home, Clock, Listening], Serving]:
    def serve(home: Home, clock: Clock, listening: Listening) -> Serving:
        return dlms.serve(dlms.DlmsMeterSimulation(home, policy, clock), "wrapper", HOST, 0, listening)

    return serve


def _p1(home: Home, clock: Clock, listening: Listening) -> Serving:
    model = load_profile("dsmr-5").model
    assert isinstance(model, P1Model)
    return p1.serve(home, model, Tcp(HOST, 0), clock, Secrets(), None, listening)


def _sml(home: Home, clock: Clock, listening: Listening) -> Serving:
    return sml.serve(home, Tcp(HOST, 0), clock, None, listening)


def _push(home: Home, clock: Clock, listening: Listening) -> Serving:
    profile = load_profile("kaifa-ma309")
    return push.serve(home, profile, Tcp(HOST, 0), clock, Secrets(**SECRETS), None, listening)


_CIPHERED = Policy(association.HLS5, ENCRYPTED | AUTHENTICATED, CipherKeys(*SECRETS.values()))

# Meters are of these kinds in turn.
KINDS = (
    Kind("modbus", "eastron-sdm630", _modbus),
    Kind("sml", "sml-generic", _sml),
    Kind("dlms", "dlms-generic", _dlms(Policy())),
    Kind("modbus", "eastron-sdm630", _modbus),
    Kind("p1", "dsmr-5", _p1),
    Kind("dlms-ciphered", "idis-tcp", _dlms(_CIPHERED), keys=True),
    Kind("modbus", "eastron-sdm630", _modbus),
    Kind("push", "kaifa-ma309", _push, every_s=5, keys=True),
)
