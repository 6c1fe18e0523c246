"""The options that commands which read a stream share: whose key, which store and stream, how old."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TypeVar, get_args

import click

from gateway.cli.values import Duration, HexId
from gateway.errors import UsageError
from gateway.host.clock import SystemClock
from gateway.provider.desk import opened
from gateway.provider.identity import open_identity
from gateway.provider.through import Where, opened_through
from gateway.store.bucket import Bucket
from gateway.store.location import Addressing, Location

Result = TypeVar("Result")

REGISTRAR = "registrar:"
THROUGH_REGISTRAR = Location(REGISTRAR)
"""In place of a store's location: that of the registrar, with credentials from it."""

key_option = click.option(
    "--key", "folder", required=True, type=click.Path(path_type=Path), help="The folder of `provider new`."
)
age_option = click.option(
    "--max-age",
    "max_age_ms",
    type=Duration(),
    default="1d",
    show_default=True,
    help="How old the newest object in the store may be.",
)


def source_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """`--from-bills`, `--from-windows` and `--period` for a command that takes `source` and `period`."""
    for option in (
        click.option(
            "--period",
            default="month",
            show_default=True,
            help="What windows are added up to: day, month, month-15.",
        ),
        click.option("--from-windows", "source", flag_value="windows", help="Use grants of windows alone."),
        click.option(
            "--from-bills",
            "source",
            flag_value="bills",
            help="Use grants of bills alone.  [default: bills, or windows where no bill is granted]",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Place:
    """A stream, the store it is in, and the kid of the key that signs it."""

    location: Location
    stream: bytes
    signer: bytes

    @asynccontextmanager
    async def bucket(self, folder: Path | None = None) -> AsyncIterator[Bucket]:
        """The store, closed at the end; `folder` is the provider's, which a registrar's store needs."""
        async with opened_store(self.location, folder, keep=False) as bucket:
            yield bucket


@asynccontextmanager
async def opened_store(
    location: Location, folder: Path | None, *, keep: bool = True
) -> AsyncIterator[Bucket]:
    """The store at a location, or that of the registrar at which the provider's `folder` is registered,
    closed at the end. With `keep`, what lasts of an S3 store is kept on this machine."""
    if location != THROUGH_REGISTRAR:
        async with opened(location, keep=keep) as bucket:
            yield bucket
        return
    if folder is None:
        raise UsageError(
            f"--store {REGISTRAR} needs a provider's key, and this command has none: name the store"
        )
    async with opened_through(folder, open_identity(folder), SystemClock("host")) as granted:
        yield granted


def store_options(
    command: Callable[..., Result], *, registrar: bool = True, option: str = "--store", required: bool = True
) -> Callable[..., Result]:
    """`--store`, or another `option`, `--endpoint`, `--region`, `--addressing` and `--ca` for a command that
    takes `location`, None where the option is not `required` and not given; with `registrar`, of one that
    reads what households granted."""
    read = f"s3://bucket, a folder, or {REGISTRAR} for the store of your registrar."

    @click.option(option, "store", required=required, help=read if registrar else "s3://bucket, or a folder.")
    @click.option("--endpoint", help="The S3 server's address, if it is not Amazon's.")
    @click.option("--region", help="The S3 region, if AWS's configuration does not name it.")
    @click.option(
        "--addressing",
        type=click.Choice(get_args(Addressing)),
        help="Whether the bucket's name is in the path or in the host name.",
    )
    @click.option(
        "--ca",
        type=click.Path(path_type=Path),
        help="Who may sign the S3 server's certificate (PEM), if this machine does not trust it.",
    )
    @wraps(command)
    def with_location(
        store: str | None,
        endpoint: str | None,
        region: str | None,
        addressing: Addressing | None,
        ca: Path | None,
        **others: object,
    ) -> Result:
        if store is None:
            return command(location=None, **others)
        if store == REGISTRAR and not registrar:
            raise UsageError(
                f"--store {REGISTRAR} reads what households granted, and nothing else: name a store that you "
                "have keys of"
            )
        if store == REGISTRAR:
            if any((endpoint, region, addressing, ca)):
                raise UsageError(f"--store {REGISTRAR} needs no more: the registrar says where the store is")
            return command(location=THROUGH_REGISTRAR, **others)
        place = Location.parse(store, endpoint, region, addressing=addressing, ca=ca)
        return command(location=place, **others)

    return with_location


def own_store_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """The same for a command to which a registrar's store is of no use."""
    return store_options(command, registrar=False)


def where_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """`--where` for a command that takes `where: Where`."""

    @click.option(
        "--where",
        "conditions",
        multiple=True,
        metavar="region=NAME",
        help=f"With --store {REGISTRAR}: only homes of this region, tariff_zone or with this lane.",
    )
    @wraps(command)
    def with_where(conditions: tuple[str, ...], **others: object) -> Result:
        parts: dict[str, str] = {}
        for condition in conditions:
            name, equals, value = condition.partition("=")
            if name not in ("region", "tariff_zone", "lane") or not equals or not value or name in parts:
                raise UsageError(
                    f"--where {condition!r}: expected region=NAME, tariff_zone=NAME or lane=NAME, each once"
                )
            parts[name] = value
        return command(where=Where(**parts), **others)

    return with_where


def place_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """The options of `store_options`, `--stream` and `--signer` for a command that takes `place`."""

    @store_options
    @click.option("--stream", required=True, type=HexId(), help="The stream's id.")
    @click.option("--signer", required=True, type=HexId(), help="The kid of the gateway's signing key.")
    @wraps(command)
    def with_place(location: Location, stream: bytes, signer: bytes, **others: object) -> Result:
        return command(place=Place(location, stream, signer), **others)

    return with_place
