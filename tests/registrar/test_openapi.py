"""The OpenAPI description: valid, complete, and true of a running registrar (schemathesis)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import settings as bounded
from schemathesis.checks import CHECKS

from gateway.host.clock import SystemClock
from gateway.registrar.api import ROUTES
from gateway.registrar.openapi import describe
from gateway.registrar.server import serving
from gateway.registry.documents import PREFIX
from gateway.web.limits import Limits
from tests.support.registrar import Holder, log_in, open_new, register, settings

SCHEMA: Any = schemathesis.openapi.from_dict(describe(ROUTES))
WITHOUT_STORE = (f"{PREFIX}/me/credentials", f"{PREFIX}/loads/sums")
"""What a registrar without [store] and [loads] refuses, whatever is asked."""


class Running:
    """A registrar in a thread of its own, with a gateway and a provider that are logged in."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.tokens: dict[str, str] = {}
        self._ready = threading.Event()
        self._folder = folder
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        clock = SystemClock("host")
        async with open_new(settings(self._folder), clock) as registrar, serving(registrar) as self.url:
            for name, role in (("muller", "household"), ("acme", "provider")):
                password = await registrar.accounts.add(name, role)  # type: ignore[arg-type]
                holds = "provider" if role == "provider" else "gateway"
                holder = Holder(holds, clock.wall() // 10**6)  # type: ignore[arg-type]
                await register(registrar, name, password, holder)
                self.tokens[holds] = await log_in(registrar, holder)
            self._ready.set()
            await self._stop.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Limits, "charge", lambda *_: None)  # else all but the first would be 429
        with Running(tmp_path_factory.mktemp("registrar")) as one:
            yield one


@pytest.mark.slow
@SCHEMA.parametrize()  # type: ignore[untyped-decorator]
@bounded(max_examples=10, suppress_health_check=list(HealthCheck), derandomize=True)
def test_the_running_registrar_is_as_described(case: Any, running: Running) -> None:
    operation = case.operation
    (roles,) = [
        route.roles
        for route in ROUTES
        if PREFIX + route.path == operation.path and route.method == operation.method.upper()
    ]
    headers = {"Authorization": f"Bearer {running.tokens[roles[0]]}"} if roles else None
    without = [CHECKS.get_one("positive_data_acceptance")] if operation.path in WITHOUT_STORE else []
    case.call_and_validate(base_url=running.url, headers=headers, excluded_checks=without)


def test_the_description_is_valid_openapi() -> None:
    SCHEMA.validate()


def test_every_route_is_described_by_its_signature() -> None:
    described = describe(ROUTES)
    for route in ROUTES:
        operation = described["paths"][PREFIX + route.path][route.method.lower()]
        assert operation["summary"]
        assert operation["description"].startswith(operation["summary"].removesuffix("."))
        assert ("requestBody" in operation) == (route.asks is not None)
        assert ("security" in operation) == bool(route.roles)
        assert {"400", "429", "503"} < operation["responses"].keys()
    names = [route.handler.__name__ for route in ROUTES]
    assert len(set(names)) == len(names)


def test_no_description_has_a_value_by_which_a_secret_could_leak() -> None:
    """Defaults and examples are none."""
    assert "example" not in str(describe(ROUTES)).lower()
