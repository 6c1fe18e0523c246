"""Doctor: each part checked, and what to do about what is wrong."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.control.setup import Finding
from gateway.errors import GatewayError
from gateway.household.render import home, page, sentence
from gateway.household.troubles import troubles


async def _doctor(request: web.Request) -> web.Response:
    """What the running gateway knows of itself, which is there at once."""
    try:
        status = await home(request).control.status()
    except GatewayError as error:
        return _shown(request, problem=sentence(error), status_of=None, wrong=[], findings=None)
    return _shown(request, problem="", status_of=status, wrong=troubles(status), findings=None)


async def _examine(request: web.Request) -> web.Response:
    """Every part, tried: which takes seconds."""
    findings: tuple[Finding, ...] | None = None
    problem, status = "", None
    try:
        status = await home(request).control.status()
    except GatewayError as error:
        problem = sentence(error)
    try:
        findings = await home(request).control.doctor()
    except GatewayError as error:
        problem = problem or sentence(error)
    wrong = [] if status is None else troubles(status)
    return _shown(request, problem=problem, status_of=status, wrong=wrong, findings=findings)


def _shown(request: web.Request, **context: Any) -> web.Response:
    return page(request, "doctor.html", brokers=home(request).mqtt.status, **context)


routes = (web.get("/doctor", _doctor), web.post("/doctor", _examine))
