"""Setup: step by step from nothing to a gateway that seals, each step tried as it is typed.

It can be left and gone on with: what was tried and found good is kept. With the store the configuration is
whole and is written; the gateway then begins, and the steps after that one are its.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from aiohttp import web

from gateway.control.documents import RegistrationOrder, Status
from gateway.control.setup import ConfigurationOrder, Finding, MeterProfile, TrialOrder, digest_of
from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.household.draft import SECRETS, Draft
from gateway.household.i18n import gettext
from gateway.household.meter_form import FIELDS, free_name, meter_section, search_order
from gateway.household.render import field, home, page, see_other, sentence
from gateway.household.said import said
from gateway.household.tariff_form import offered, take_tariff
from gateway.registry.client import RegistrarClient

STEPS = ("home", "trust", "meters", "store", "registrar", "tariff", "finish")
"""The steps, in order; those up to the store make the configuration."""
_MAKING = ("trust", "meters", "store")
_BEGIN_S = 20.0
"""How long the gateway is waited for once its configuration is written."""


FIRST_BOOT = Path("/run/gateway-first-boot.json")
"""The report of `gateway first-boot`, on an image."""


def _first_boot() -> list[str]:
    """What was wrong with the card's first-boot file; nothing where all was well, or there is no report."""
    try:
        return [str(one) for one in json.loads(FIRST_BOOT.read_text(encoding="utf-8"))["errors"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []


class _State:
    """How far the setup is: what the gateway says, and the draft."""

    def __init__(self, request: web.Request, written: str | None, status: Status | None, wrong: str) -> None:
        self.draft: Draft = home(request).draft
        self.steps: Mapping[str, str] = home(request).settings.choices.steps
        self.written = written
        self.status = status
        self.wrong = wrong

    def done(self, step: str) -> bool:
        """Whether a step is behind the household."""
        if step in _MAKING and self.written is not None:
            return True
        if step in ("trust", "meters"):
            return bool(self.draft.trust if step == "trust" else self.draft.meters)
        if step == "registrar" and self.status is not None and self.status.registration is not None:
            return True
        return step in self.steps

    @property
    def next(self) -> str:
        """The first step that is not."""
        return next((step for step in STEPS if not self.done(step)), "finish")


async def _state(request: web.Request) -> _State:
    """Asks the gateway. Where it does not answer at all, `wrong` says why."""
    control = home(request).control
    try:
        written = (await control.configuration()).text
    except GatewayError as error:
        return _State(request, None, None, sentence(error))
    status = None
    with suppress(GatewayError):
        status = await control.status()
    return _State(request, written, status, "")


async def _begin(request: web.Request) -> web.Response:
    return see_other(request, f"/setup/{(await _state(request)).next}")


def _shown(request: web.Request, step: str, state: _State, **values: Any) -> web.Response:
    titles = {
        "home": gettext("Your home"),
        "trust": gettext("Security chip"),
        "meters": gettext("Meters"),
        "store": gettext("Storage"),
        "registrar": gettext("Registrar"),
        "tariff": gettext("Prices"),
        "finish": gettext("Done"),
    }
    status = 422 if values.get("problem") else 200
    given: dict[str, Any] = {"problem": "", "typed": {}, "step": step, "steps": titles, "state": state}
    given["first_boot"] = _first_boot()
    return page(request, f"setup_{step}.html", status=status, **(given | values))


async def _ask(request: web.Request) -> web.Response:
    step = request.match_info["step"]
    state = await _state(request)
    if state.wrong and step in _MAKING:
        return _shown(request, step, state, problem=state.wrong, **await _choices(request, step))
    return _shown(request, step, state, **await _choices(request, step))


async def _choices(request: web.Request, step: str) -> dict[str, Any]:
    """What a step's page offers to choose from."""
    if step == "home":
        return {"zones": sorted(zone for zone in available_timezones() if "/" in zone or zone == "UTC")}
    if step == "meters":
        profiles: tuple[MeterProfile, ...] = ()
        with suppress(GatewayError):
            profiles = await home(request).control.profiles()
        name = free_name(one["name"] for one in home(request).draft.meters)
        return {"profiles": profiles, "search": None, "trial": None, "ports": (), "name": name}
    if step == "tariff":
        return {"offered": offered(home(request)), "choices": home(request).settings.choices}
    return {"card": None} if step == "registrar" else {}


async def _home(request: web.Request) -> web.Response:
    typed = {name: field(request, name) for name in ("language", "zone", "name")}
    settings = home(request).settings
    try:
        settings.change(
            language=typed["language"] or None,
            zone=typed["zone"],
            name=typed["name"],
            steps={**settings.choices.steps, "home": "done"},
        )
    except UsageError as error:
        state = await _state(request)
        choices = await _choices(request, "home")
        return _shown(request, "home", state, problem=sentence(error), typed=typed, **choices)
    return see_other(request, "/setup")


async def _trust(request: web.Request) -> web.Response:
    root = field(request, "root")
    section = {"root": "software"} if root == "software" else {"root": "tpm"}
    state = await _state(request)
    try:
        finding = await home(request).control.try_part(TrialOrder(part="trust", section=section))
    except GatewayError as error:
        return _shown(request, "trust", state, problem=sentence(error), typed={"root": root})
    if not finding.ok:
        return _shown(request, "trust", state, problem=_capital(finding.sentence), typed={"root": root})
    state.draft.trust = section
    state.draft.keep()
    return see_other(request, "/setup/meters", _capital(finding.sentence))


async def _search(request: web.Request) -> web.Response:
    typed = {name: field(request, name) for name in ("host", "device")}
    state, choices = await _state(request), await _choices(request, "meters")
    try:
        found = await home(request).control.search(search_order(typed))
    except GatewayError as error:
        return _shown(
            request, "meters", state, problem=sentence(error), typed=typed, searched=True, **choices
        )
    return _shown(
        request, "meters", state, typed=typed, **(choices | {"search": found, "ports": found.ports})
    )


async def _meter(request: web.Request) -> web.Response:
    """Try a meter; with `add`, as the reading was seen, take it into the draft."""
    typed = {name: field(request, name) for name in FIELDS}
    state, choices = await _state(request), await _choices(request, "meters")
    try:
        section, secrets = meter_section(typed, choices["profiles"])
        if field(request, "add"):
            state.draft.add_meter(section, secrets)
            return see_other(request, "/setup/meters", gettext("The meter is added."))
        trial = await home(request).control.try_part(
            TrialOrder(part="meter", section=section, secrets=secrets)
        )
    except GatewayError as error:
        return _shown(request, "meters", state, problem=sentence(error), typed=typed, **choices)
    return _shown(request, "meters", state, typed=typed, **(choices | {"trial": trial}))


async def _remove(request: web.Request) -> web.Response:
    home(request).draft.remove_meter(field(request, "name"))
    return see_other(request, "/setup/meters")


async def _store(request: web.Request) -> web.Response:
    typed = {
        name: field(request, name)
        for name in ("kind", "bucket", "endpoint", "region", "key", "secret", "folder")
    }
    state = await _state(request)
    if state.written is not None:  # in another tab, or by the first of two clicks
        return see_other(request, "/setup")
    control = home(request).control
    try:
        section, secrets = _store_section(typed)
        if typed["kind"] != "registrar":
            trial: Finding = await control.try_part(
                TrialOrder(part="store", section=section, secrets=secrets)
            )
            if not trial.ok:
                raise Unavailable(trial.sentence)
        if state.draft.lost:
            lost = ", ".join(state.draft.lost)
            raise UsageError(
                gettext("the keys of meter %(name)s are no longer known: add it again") % {"name": lost}
            )
        state.draft.store = section
        order = ConfigurationOrder(
            text=state.draft.text(home(request).config.household.socket.absolute()),
            secrets={**state.draft.secrets, **secrets},
            replaces=digest_of(None),
        )
        answer = await control.configure(order)
        if answer.mistakes:
            raise UsageError("\n".join(map(said, answer.mistakes)))
    except GatewayError as error:
        typed["secret"] = ""
        return _shown(request, "store", state, problem=sentence(error), typed=typed)
    state.draft.discard()
    await _wait(request)
    return see_other(
        request, "/setup/registrar", gettext("The configuration is written, and the gateway begins.")
    )


def _store_section(typed: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    if typed["kind"] == "folder":
        return {"url": typed["folder"]}, {}
    bucket = typed["bucket"].removeprefix("s3://").strip("/")
    section = {"url": f"s3://{bucket}"}
    section |= {name: typed[name] for name in ("endpoint", "region") if typed[name]}
    if typed["kind"] == "registrar":
        return section | {"credentials": "registrar"}, {}
    if not typed["key"] or not typed["secret"]:
        raise UsageError(gettext("the storage needs both its access key and its secret key"))
    lines = f"access_key_id={typed['key']}\nsecret_access_key={typed['secret']}\n"
    return section | {"credentials": f"{SECRETS}s3"}, {"s3": lines}


async def _wait(request: web.Request) -> None:
    """Wait a while until the gateway answers under its new configuration."""
    clock, control = home(request).clock, home(request).control
    end = clock.monotonic() + int(_BEGIN_S * 1e9)
    while clock.monotonic() < end:
        with suppress(GatewayError):
            await control.status()
            return
        await asyncio.sleep(0.2)


async def _registrar(request: web.Request) -> web.Response:
    """First show the registrar's fingerprint; then register with it."""
    typed = {name: field(request, name) for name in ("url", "user", "region", "kid", "name")}
    state = await _state(request)
    if field(request, "skip"):
        settings = home(request).settings
        settings.change(steps={**settings.choices.steps, "registrar": "skipped"})
        return see_other(request, "/setup")
    card = None
    try:
        async with RegistrarClient(typed["url"]) as client:
            card = (await client.status())[1]
        if typed["kid"]:
            order = RegistrationOrder(
                url=typed["url"],
                user=typed["user"],
                password=field(request, "password"),
                registrar_kid=typed["kid"],
                name=typed["name"] or "gateway",
                region=typed["region"],
                listed=bool(field(request, "listed")),
            )
            await home(request).control.register(order)
            return see_other(request, "/setup", gettext("The gateway is registered."))
    except GatewayError as error:
        return _shown(request, "registrar", state, problem=sentence(error), typed=typed, card=card)
    return _shown(request, "registrar", state, typed=typed, card=card)


async def _tariff(request: web.Request) -> web.Response:
    settings = home(request).settings
    try:
        if not field(request, "skip"):
            await take_tariff(request)
    except UsageError as error:
        choices = await _choices(request, "tariff")
        return _shown(request, "tariff", await _state(request), problem=sentence(error), **choices)
    done = "skipped" if field(request, "skip") else "done"
    settings.change(steps={**settings.choices.steps, "tariff": done})
    return see_other(request, "/setup/finish")


def _capital(text: str) -> str:
    text = said(text)
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


routes = (
    web.get("/setup", _begin),
    web.get(f"/setup/{{step:{'|'.join(STEPS)}}}", _ask),
    web.post("/setup/home", _home),
    web.post("/setup/trust", _trust),
    web.post("/setup/meters/search", _search),
    web.post("/setup/meters", _meter),
    web.post("/setup/meters/remove", _remove),
    web.post("/setup/store", _store),
    web.post("/setup/registrar", _registrar),
    web.post("/setup/tariff", _tariff),
)
