"""The household's own views: made for a phone as a file or a link, listed, revoked."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any

from aiohttp import web
from markupsafe import Markup

from gateway.control.documents import GrantStatus
from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.household.home import Household
from gateway.household.i18n import gettext
from gateway.household.pages.privacy.offer import GRANULARITIES
from gateway.household.render import FORM, home, page, see_other, sentence
from gateway.household.shown import plain
from gateway.household.view import (
    CORS_RULE,
    Access,
    View,
    check_credentials,
    new_view,
    policy,
    revoke_view,
    seaweedfs_identity,
    template,
    views,
)
from gateway.household.words import each, opens
from gateway.store.location import Location
from gateway.web.refusals import status_of


@dataclass(frozen=True, slots=True)
class Draft:
    """The fields of the form, as typed."""

    name: str = ""
    granularity: str = "15min"
    endpoint: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    form: str = "file"
    link: str = ""

    @classmethod
    def read(cls, request: web.Request) -> Draft:
        """The form that was posted."""
        given = request[FORM]
        names = {one.name: "as" if one.name == "form" else one.name for one in fields(cls)}
        return cls(**{name: str(given.get(sent, "")).strip() for name, sent in names.items()})


async def _list(request: web.Request) -> web.Response:
    of = home(request)
    return await _page(request, Draft(**await _configured(of)))


async def _new(request: web.Request) -> web.Response:
    """Make a view: the answer is its file, or a page with its link, and neither is kept."""
    of, draft = home(request), Draft.read(request)
    try:
        view = await _made(of, draft)
    except GatewayError as error:
        return await _page(request, draft, error)
    try:
        if draft.form == "file":
            return _download(view)
        link = view.link(draft.link)
        return page(request, "privacy-link.html", view=view, address=link, code=_code(link))
    except GatewayError as error:
        await revoke_view(of.control, view.name)
        return await _page(request, draft, error)


async def _made(of: Household, draft: Draft) -> View:
    if draft.form != "file" and not draft.link.startswith(("https://", "http://")):
        raise UsageError(gettext("a link needs the address of the page: https://…"))
    if draft.form == "file":
        _template()
    status = await of.control.status()
    place = Location.parse(
        status.store.url,
        draft.endpoint or None,
        draft.region or None,
        access_key=draft.access_key or None,
        secret_key=draft.secret_key or None,
    )
    access = Access.of(place)
    streams = [bytes.fromhex(one.stream) for one in status.meters if one.stream is not None]
    await _check(place, streams)
    chosen = of.settings.choices.language
    return await new_view(
        of.control, draft.name, access, zone=of.zone, granularity=draft.granularity, language=chosen
    )


async def _check(place: Location, streams: Sequence[bytes]) -> None:
    """UsageError unless the credentials may read these streams and write nothing."""
    from gateway.store.opening import open_bucket  # noqa: PLC0415 - heavy, and seldom needed

    bucket = open_bucket(place)
    try:
        await check_credentials(bucket, streams)
    finally:
        await bucket.aclose()


def _download(view: View) -> web.Response:
    name = "".join(one if one.isascii() and one.isalnum() else "-" for one in view.name).strip("-") or "view"
    return web.Response(
        body=view.page(_template()),
        content_type="text/html",
        charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.html"'},
    )


def _template() -> bytes:
    try:
        return template()
    except UsageError:
        raise Unavailable(
            gettext("the page of views was not built: run provisioning/venv.sh household again")
        ) from None


def _code(link: str) -> Markup | None:
    """The link as a QR code, SVG without styles; None where it is too long for one."""
    import segno  # noqa: PLC0415 - only a link needs it

    try:
        made = segno.make_qr(link, error="l")
    except segno.DataOverflowError:
        return None
    # Of our own making: segno writes nothing of the link into the SVG but its modules.
    return Markup(made.svg_inline(scale=3, border=3, dark="#000", light="#fff"))  # noqa: S704


async def _revoke(request: web.Request) -> web.Response:
    name = str(request[FORM].get("name", ""))
    try:
        await revoke_view(home(request).control, name)
    except GatewayError as error:
        return await _page(request, Draft(), error)
    return see_other(
        request,
        "/privacy/views",
        gettext("The view %(name)s is revoked: it opens nothing that is sealed from now on.")
        % {"name": plain(name)},
    )


async def _page(request: web.Request, draft: Draft, error: GatewayError | None = None) -> web.Response:
    of = home(request)
    status = await of.control.status()
    streams = [bytes.fromhex(one.stream) for one in status.meters if one.stream is not None]
    bucket = status.store.url.startswith("s3://")
    found = await views(of.control)
    return page(
        request,
        "privacy-views.html",
        status=200 if error is None else status_of(error),
        draft=draft,
        problem="" if error is None else sentence(error),
        url=status.store.url,
        bucket=bucket,
        begun=bool(streams),
        policy=_json(policy(status.store.url, streams)) if bucket else "",
        seaweedfs=_json(seaweedfs_identity(status.store.url, streams)) if bucket else "",
        cors=_json({"CORSRules": [CORS_RULE]}),
        granularities=[(one, each(one)) for one in GRANULARITIES],
        views=[(one, _opens(one.grants)) for one in found if one.open],
        ended=[one.name for one in found if not one.open],
    )


def _opens(grants: Sequence[GrantStatus]) -> list[str]:
    """What a view's open grants open, each once."""
    return list(dict.fromkeys(opens(one) for one in grants if one.revoked_from_ms is None))


async def _configured(of: Household) -> dict[str, str]:
    """The store's address and region as the gateway's configuration has them, for the form."""
    with suppress(GatewayError, tomllib.TOMLDecodeError):
        store = tomllib.loads((await of.control.configuration()).text or "").get("store", {})
        return {name: str(store[name]) for name in ("endpoint", "region") if name in store}
    return {}


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2)


routes = (
    web.get("/privacy/views", _list),
    web.post("/privacy/views", _new),
    web.post("/privacy/views/revoke", _revoke),
)
