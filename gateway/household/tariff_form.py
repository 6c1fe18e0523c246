"""The form of what energy costs: a tariff's file, prices that providers send, or none."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from aiohttp import web

from gateway.errors import UsageError
from gateway.host.files import write_durably
from gateway.household.home import Household
from gateway.household.i18n import gettext
from gateway.household.money import TariffRates
from gateway.household.render import FORM, field, home
from gateway.household.settings import ChosenSeries


def offered(of: Household) -> list[tuple[str, str, ChosenSeries]]:
    """The price series that have come: lane, value of the form, and what is chosen by it."""
    return [
        (lane, f"{one.provider.hex()} {one.name}", ChosenSeries(provider=one.provider.hex(), name=one.name))
        for one, lanes in sorted(of.prices.series().items())
        for lane in lanes
    ]


async def take_tariff(request: web.Request) -> None:
    """Take the prices of the form's file, or those of the series that it chooses; or none of either.
    UsageError where they cannot be used; nothing changes then."""
    of = home(request)
    match field(request, "source"):
        case "series":
            known = {(lane, value): one for lane, value, one in offered(of)}
            chosen = {
                lane: known[lane, value]
                for lane in ("import", "export")
                if (lane, value := field(request, lane)) in known
            }
            if not chosen:
                raise UsageError(gettext("choose the prices of at least one direction"))
            of.settings.change(series=chosen)
        case "file":
            given = request[FORM].get("tariff")
            if not isinstance(given, web.FileField):
                raise UsageError(gettext("choose the tariff's file"))
            text = await asyncio.to_thread(given.file.read)
            await asyncio.to_thread(_keep_tariff, of.settings.tariff_file, text)
            of.settings.change(series={})
        case _:
            await asyncio.to_thread(of.settings.tariff_file.unlink, missing_ok=True)
            of.settings.change(series={})


def _keep_tariff(path: Path, text: bytes) -> None:
    """Keep a tariff's file once it can be read as one."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        tried = Path(folder) / "tariff.toml"
        tried.write_bytes(text)
        try:
            TariffRates.load(tried)
        except UsageError as error:
            raise UsageError(str(error).replace(f"{tried}: ", "").replace(str(tried), path.name)) from None
    write_durably(path, text)
