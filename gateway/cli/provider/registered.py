"""`gateway provider login` and `provider request`: the provider at a registrar."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import click

from gateway.chain.window import Granularity
from gateway.cli.first_contact import compare, password_of, registrar_card
from gateway.cli.output import examples, json_option, local_time, print_json, print_table, printable
from gateway.cli.provider.examples import LOGIN, REQUEST, REQUESTS
from gateway.cli.provider.place import key_option
from gateway.cli.values import HexId, Lanes, Moment
from gateway.config.tariff import load_tariff
from gateway.errors import NotGranted, UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.identity import Identity, open_identity
from gateway.provider.membership import ask, catalogue, join, new_request_id, open_membership, session
from gateway.registry.client import RegistrarClient
from gateway.registry.documents import CatalogueStream, GrantRequestAnswer
from gateway.wire import es256
from gateway.wire.request import Request
from gateway.wire.tariff import tariff_body


@click.command("login", short_help="Register at a registrar.", epilog=examples(LOGIN))
@click.argument("url", metavar="URL")
@key_option
@click.option("--user", required=True, help="Your user name at the registrar.")
@click.option("--ca", type=click.Path(path_type=Path), help="Who may sign the registrar's certificate (PEM).")
@click.option("--fingerprint", help="The registrar's fingerprint, as its operator told you.")
@json_option
def login(url: str, folder: Path, user: str, ca: Path | None, fingerprint: str | None, as_json: bool) -> None:
    """Register your card at the registrar at URL, and renew its certificate.

    The registrar's operator gives you a user name and a password, which is asked for or read from standard
    input. Households then see your card as verified by the registrar, and you find their streams there.
    """
    identity = open_identity(folder)
    card = asyncio.run(registrar_card(url, ca))
    compare(card, url, fingerprint, as_json)
    made = asyncio.run(
        join(
            folder,
            identity,
            url=url,
            ca=None if ca is None else ca.absolute(),
            user=user,
            password=password_of(user),
            registrar_kid=card.kid,
            now_ms=unix_ms(SystemClock("host")),
        )
    )
    certificate = made.read()
    if as_json:
        print_json(
            {
                "registrar": made.registrar.name,
                "user": made.user,
                "kid": identity.kid.hex(),
                "serial": certificate.serial,
                "valid_until_ms": certificate.valid_until_ms,
            }
        )
        return
    click.echo(printable(f"registered at {made.registrar.name} as {made.user}"))
    click.echo(f"certificate: valid until {local_time(certificate.valid_until_ms)}")


@click.command("request", short_help="Ask households for a grant.", epilog=examples(REQUEST))
@key_option
@click.option("--stream", "streams", multiple=True, type=HexId(), help="The stream; may be repeated.")
@click.option("--region", help="All listed streams of this region.")
@click.option("--granularity", required=True, help="The windows: 15min, 1h, day, month, month-15.")
@click.option("--bill", "tariff", type=click.Path(path_type=Path, dir_okay=False), help="Only the bill.")
@click.option("--zone", is_eager=True, help="Time zone of days and months.  [default: the tariff's, or UTC]")
@click.option(
    "--lanes",
    type=Lanes(),
    help="Some of import,export,power,count, or a series' own.  [default: import]",
)
@click.option("--from", "from_ms", type=Moment(), help="When the first window begins.  [default: now]")
@click.option("--until", "until_ms", type=Moment(), help="When the grant ends.  [default: never]")
@click.option("--purpose", required=True, help="What the data is for; the household reads it.")
@json_option
def request(
    folder: Path,
    streams: tuple[bytes, ...],
    region: str | None,
    granularity: str,
    tariff: Path | None,
    zone: str | None,
    lanes: tuple[str, ...] | None,
    from_ms: int | None,
    until_ms: int | None,
    purpose: str,
    as_json: bool,
) -> None:
    """Ask households, through the registrar, for a grant. Each decides by itself."""
    if not streams and region is None:
        raise UsageError("whom to ask: name --stream, or a --region for all listed streams there")
    identity, membership = open_identity(folder), open_membership(folder)
    prices = None if tariff is None else load_tariff(tariff)
    now_ms = unix_ms(SystemClock("host"))

    def wanted(stream: bytes, known: Mapping[bytes, CatalogueStream]) -> Request:
        if stream not in known:
            raise UsageError(
                f"stream {stream.hex()} is not in the registrar's catalogue, or not listed there"
            )
        windows = Granularity.parse(
            granularity, known[stream].unit_ms, zone or ("UTC" if prices is None else prices.zone)
        )
        return Request(
            id=new_request_id(),
            provider=identity.kid,
            stream=stream,
            kind="windows" if prices is None else "bill",
            lanes=lanes or (("import",) if prices is None else prices.lanes),
            granularity=windows.size,
            zone=windows.zone,
            purpose=purpose,
            from_ms=from_ms,
            until_ms=until_ms,
            tariff=None if prices is None else tariff_body(prices),
            time_ms=now_ms,
        )

    async def send() -> tuple[list[GrantRequestAnswer], dict[bytes, int]]:
        async with session(membership, identity, now_ms) as client:
            query = {} if region is None else {"region": region}
            known = {bytes.fromhex(one.stream): one async for one in catalogue(client, **query)}
            if not streams and not known:
                raise NotGranted(f"nobody was asked: the registrar lists no stream of region {region!r}")
            asked = [wanted(stream, known) for stream in streams or known]  # all of them, before any is sent
            units = {stream: one.unit_ms for stream, one in known.items()}
            return [await ask(client, identity, one) for one in asked], units

    answers, units = asyncio.run(send())
    _show(identity, answers, units, as_json)


@click.command("requests", short_help="Show what became of your requests.", epilog=examples(REQUESTS))
@key_option
@json_option
def requests(folder: Path, as_json: bool) -> None:
    """Show the grants that you asked for, and what each household decided."""
    identity, membership = open_identity(folder), open_membership(folder)

    async def found() -> tuple[tuple[GrantRequestAnswer, ...], dict[bytes, int]]:
        async with session(membership, identity, unix_ms(SystemClock("host"))) as client:
            answers = await client.requests()
            asked = {one.stream for _, one in _read(identity, answers) if isinstance(one.granularity, int)}
            return answers, {} if as_json else await _units(client, asked)

    answers, units = asyncio.run(found())
    _show(identity, answers, units, as_json)


async def _units(client: RegistrarClient, streams: Collection[bytes]) -> dict[bytes, int]:
    """The units of streams, ms, as far as the catalogue lists them."""
    if not streams:
        return {}
    units = {bytes.fromhex(one.stream): one.unit_ms async for one in catalogue(client)}
    return {stream: units[stream] for stream in streams if stream in units}


def _read(
    identity: Identity, answers: Sequence[GrantRequestAnswer]
) -> list[tuple[GrantRequestAnswer, Request]]:
    """Each answer with the request that it is to, which the provider itself has signed."""
    own = es256.spki(identity.signing_key.public_key())
    return [(answer, Request.read(answer.request, own, f"request {answer.id}")) for answer in answers]


def _granularity(wanted: Request, units: Mapping[bytes, int]) -> str:
    """The windows that were asked for, such as 15min or month; in units of a stream that the catalogue does
    not list any more."""
    if isinstance(wanted.granularity, int) and wanted.stream not in units:
        return f"{wanted.granularity} units"
    return str(Granularity(wanted.granularity, units.get(wanted.stream, 1), wanted.zone))


def _show(
    identity: Identity, answers: Sequence[GrantRequestAnswer], units: Mapping[bytes, int], as_json: bool
) -> None:
    """Print requests, and what became of them. `units` are those of their streams, ms."""
    read = _read(identity, answers)
    if as_json:
        print_json(
            [
                {
                    "id": answer.id,
                    "stream": wanted.stream.hex(),
                    "kind": wanted.kind,
                    "lanes": list(wanted.lanes),
                    "granularity": wanted.granularity,
                    "zone": wanted.zone,
                    "from_ms": wanted.from_ms,
                    "until_ms": wanted.until_ms,
                    "purpose": wanted.purpose,
                    "state": answer.state,
                    "received_ms": answer.received_ms,
                }
                for answer, wanted in read
            ]
        )
        return
    if not read:
        click.echo("You have asked for nothing.")
        return
    rows = [
        [
            answer.id[:8],
            one.stream.hex(),
            one.kind,
            ", ".join(one.lanes),
            _granularity(one, units),
            answer.state,
            one.purpose,
        ]
        for answer, one in read
    ]
    print_table(["request", "stream", "kind", "lanes", "granularity", "state", "purpose"], rows)
