"""`gateway view`: a page for a phone that reads this home's sums from the store, from anywhere."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.chain.grant import in_words
from gateway.chain.window import zone_of
from gateway.cli.config import config_option
from gateway.cli.output import examples, fill, json_option, local_time, print_json, printable
from gateway.cli.values import Lanes, Moment
from gateway.config import Config, location
from gateway.control.client import ControlClient
from gateway.control.documents import GrantStatus
from gateway.errors import Unavailable, UsageError
from gateway.host.files import write_durably
from gateway.household.view import (
    CORS_RULE,
    PLACEHOLDER,
    Access,
    Listed,
    View,
    check_credentials,
    new_view,
    policy,
    revoke_view,
    seaweedfs_identity,
    template,
    views,
)
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.store.s3 import S3Bucket

if TYPE_CHECKING:
    import segno

_LANGUAGES = ("en", "de", "nl", "fr")
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(
    epilog=examples(
        "gateway view policy",
        'gateway view new "phone of Anna" --credentials view.s3 --out anna.html',
        'gateway view revoke "phone of Anna"',
    )
)
def command() -> None:
    """Let a phone show this home's energy from anywhere.

    A view is one HTML file, or a link, with a key that opens the sums you choose and credentials that may
    only read them in the store. The phone asks the store alone, checks every signature itself, and works as
    long as the view is not revoked.
    """


@command.command(
    epilog=examples(
        'gateway view new "phone of Anna" --credentials view.s3 --out anna.html',
        "gateway view new kitchen --granularity day --credentials view.s3 --out kitchen.html",
        "gateway view new tablet --credentials view.s3 --link https://example.org/page.html --qr tablet.svg",
    )
)
@config_option
@click.argument("name")
@click.option(
    "--credentials",
    type=_FILE,
    required=True,
    help="A file of credentials that may only read: lines access_key_id= and secret_access_key=.",
)
@click.option("--out", type=_FILE, help="Write the page, with all that it needs, to this HTML file.")
@click.option("--link", help="Print a link to the page at this URL; `gateway view page` makes the page.")
@click.option("--qr", type=_FILE, help="With --link: draw it as a QR code in this file, .svg or .png.")
@click.option("--granularity", default="15min", show_default=True, help="1min, 15min, 1h, day, month.")
@click.option(
    "--zone", is_eager=True, help="The time zone of its days: Europe/Berlin.  [default: this machine's]"
)
@click.option("--language", type=click.Choice(_LANGUAGES), help="[default: the browser's]")
@click.option(
    "--meter", "meters", multiple=True, help="A meter or series, again for more.  [default: all meters]"
)
@click.option("--lanes", type=Lanes(), help="Some of their lanes.  [default: import,export; of a series all]")
@click.option("--from", "from_ms", type=Moment(), help="Where it begins.  [default: with the first reading]")
@click.option("--until", "until_ms", type=Moment(), help="Where it ends.  [default: when it is revoked]")
@click.option(
    "--endpoint",
    help="The store's address as phones reach it: https://s3.example.org.  [default: the configuration's]",
)
@json_option
def new(
    config: Config,
    name: str,
    credentials: Path,
    out: Path | None,
    link: str | None,
    qr: Path | None,
    granularity: str,
    zone: str | None,
    language: str | None,
    meters: tuple[str, ...],
    lanes: tuple[str, ...] | None,
    from_ms: int | None,
    until_ms: int | None,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Make a view called NAME, such as "phone of Anna".

    Whoever has its file, link or code can see what the phone sees: send it as you would send a key. It is
    kept nowhere else, so a lost one is made anew.
    """
    if (out is None) == (link is None):
        raise UsageError("a view is a file or a link: give one of --out FILE and --link URL")
    if qr is not None and (link is None or qr.suffix not in (".svg", ".png")):
        raise UsageError("--qr draws the link of --link in a file that ends with .svg or .png")
    if link is not None and not link.startswith(("https://", "http://")):
        raise UsageError(f"{link!r} is not the address of a page: expected https://...")
    page = template() if out is not None else b""
    for path in (out, qr):
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"{path} cannot be written: the folder {path.absolute().parent} is not there")
    if out is not None and out.exists():
        raise UsageError(f"{out} is there already: name another file, or remove that one first")
    place = location(config.store.model_copy(update={"credentials": str(credentials.absolute())}))
    shown_zone = _machine_zone() if zone is None else zone
    zone_of(shown_zone)
    client = ControlClient(config.gateway.socket)
    access = Access.of(place, endpoint and Location.parse("s3://any", endpoint).endpoint)

    async def make() -> View:
        status = await client.status()
        await _check(place, [bytes.fromhex(one.stream) for one in status.meters if one.stream is not None])
        return await new_view(
            client,
            name,
            access,
            zone=shown_zone,
            granularity=granularity,
            meters=meters,
            lanes=lanes,
            from_ms=from_ms or 0,
            until_ms=until_ms,
            language=language,
        )

    view = asyncio.run(make())
    url = None if link is None else view.link(link)
    try:
        if out is not None:
            write_durably(out, view.page(page))
        if qr is not None and url is not None:
            _draw(url, qr)
    except OSError as error:
        asyncio.run(revoke_view(client, view.name))
        raise UsageError(f"{out or qr} cannot be written: {error.strerror}; the view was revoked") from None
    if as_json:
        files = {"file": None if out is None else str(out), "link": url}
        print_json({"name": view.name, **files, "grants": [one.model_dump() for one in view.grants]})
        return
    _say(view, f"written to {out}" if out is not None else None)
    if url is not None:
        click.echo(url)
        if qr is None:
            _show_code(url)


@command.command("list", epilog=examples("gateway view list", "gateway view list --all --json"))
@config_option
@click.option("--all", "all_", is_flag=True, help="Also those that are revoked.")
@json_option
def list_(config: Config, all_: bool, as_json: bool) -> None:
    """Show the views that were made."""
    found = asyncio.run(views(ControlClient(config.gateway.socket)))
    shown = [one for one in found if all_ or one.open]
    if as_json:
        print_json(
            [{"name": one.name, "grants": [grant.model_dump() for grant in one.grants]} for one in shown]
        )
        return
    if not shown:
        click.echo("There is no view: `gateway view new` makes one.")
    for one in shown:
        click.echo(printable(one.name))
        for line in _lines(one, all_):
            click.echo(fill(printable(f"  {line}"), "    "))
    if len(shown) < len(found):
        click.echo(f"revoked views, which --all shows: {len(found) - len(shown)}")


@command.command(epilog=examples('gateway view revoke "phone of Anna"'))
@config_option
@click.argument("name")
@json_option
def revoke(config: Config, name: str, as_json: bool) -> None:
    """Revoke the view called NAME: from now on it opens nothing new."""
    grants = asyncio.run(revoke_view(ControlClient(config.gateway.socket), name))
    if as_json:
        print_json([grant.model_dump() for grant in grants])
        return
    click.echo(printable(f"the view {name} is revoked: it opens nothing that is sealed from now on"))
    click.echo(
        "What it could open until then stays open to whoever has it: to end that too, remove its credentials "
        "at the store."
    )


@command.command("policy", epilog=examples("gateway view policy", "gateway view policy --set-cors"))
@config_option
@click.option(
    "--set-cors", is_flag=True, help="Let browsers in at the store, with the gateway's credentials."
)
@json_option
def policy_(config: Config, set_cors: bool, as_json: bool) -> None:
    """Print what to set at the store, so that a view's credentials may read this home's streams, and no
    more."""
    url = config.store.url
    if not url.startswith("s3://"):
        raise UsageError(f"the store {url} is a folder: a view needs a bucket on an S3 server")
    status = asyncio.run(ControlClient(config.gateway.socket).status())
    streams = [bytes.fromhex(one.stream) for one in status.meters if one.stream is not None]
    if not streams:
        raise Unavailable(
            "no stream has begun yet, so there is nothing to read: `gateway status` says when it does"
        )
    cors = asyncio.run(_set_cors(location(config.store))) if set_cors else None
    if as_json:
        known = {"policy": policy(url, streams), "seaweedfs": seaweedfs_identity(url, streams)}
        print_json({**known, "cors": CORS_RULE, **({} if cors is None else {"cors_set": cors})})
        return
    click.echo("# AWS, MinIO: a user of its own, or a service account, with this policy")
    click.echo(json.dumps(policy(url, streams), indent=2))
    click.echo("\n# SeaweedFS: an identity in s3.json, with keys that you make up; restart weed s3")
    click.echo(json.dumps(seaweedfs_identity(url, streams), indent=2))
    click.echo("\n# The file for --credentials, closed to others: chmod 0600")
    click.echo("access_key_id=ACCESS_KEY_ID\nsecret_access_key=SECRET_ACCESS_KEY")
    click.echo("\n# Browsers (CORS)")
    for sentence in _about_cors(cors):
        click.echo(fill(sentence, ""))


@command.command("page", epilog=examples("gateway view page page.html"))
@click.argument("file", type=_FILE)
def page_(file: Path) -> None:
    """Write the page without data to FILE, for a server of yours; `gateway view new --link` links to it.

    Whoever can change the page on that server can have it give the link's key away. The file that `gateway
    view new --out` writes trusts no server.
    """
    try:
        write_durably(file, template().replace(PLACEHOLDER, b"null"), 0o644)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None


async def _check(place: Location, streams: Sequence[bytes]) -> None:
    bucket = open_bucket(place)
    try:
        await check_credentials(bucket, streams)
    finally:
        await bucket.aclose()


async def _set_cors(place: Location) -> bool:
    bucket = open_bucket(place)
    try:
        return isinstance(bucket, S3Bucket) and await bucket.let_browsers_in(CORS_RULE)
    finally:
        await bucket.aclose()


def _about_cors(done: bool | None) -> list[str]:
    if done:
        return ["The rule is set: browsers may read the bucket from any page, with credentials alone."]
    if done is False:
        return [
            "This server keeps no rules for a bucket. MinIO lets every page in, unless its setting "
            "MINIO_API_CORS_ALLOW_ORIGIN names some: then add null, for pages in a file, and the address of "
            "a page on a server."
        ]
    return [
        "SeaweedFS and MinIO let every page in unless they are told otherwise. AWS, and a SeaweedFS bucket "
        "that has rules, need one more: gateway view policy --set-cors adds it with the gateway's own "
        "credentials, or set it yourself:",
        json.dumps({"CORSRules": [CORS_RULE]}),
    ]


def _machine_zone() -> str:
    """The IANA time zone of this machine; UTC where it has none."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name:
        with suppress(OSError):
            name = str(Path("/etc/localtime").readlink()).partition("zoneinfo/")[2]
    try:
        zone_of(name)
    except UsageError:
        return "UTC"
    return name


def _draw(url: str, path: Path) -> None:
    """The link as a QR code in a file, closed to others."""
    drawn = io.BytesIO()
    _code(url).save(drawn, kind=path.suffix[1:], scale=4)
    write_durably(path, drawn.getvalue())


def _show_code(url: str) -> None:
    """The link as a QR code on a terminal, where it is wide enough."""
    code = _code(url)
    width = code.symbol_size()[0]
    if not sys.stdout.isatty():
        return
    if shutil.get_terminal_size().columns < width:
        click.echo(f"its QR code needs {width} columns: widen the terminal, or give --qr FILE.svg")
        return
    code.terminal(compact=True)


def _code(url: str) -> segno.QRCode:
    try:
        import segno  # noqa: PLC0415 - of gateway[household]
    except ImportError:
        raise UsageError("QR codes need segno: install gateway[household]") from None
    try:
        return segno.make_qr(url, error="l")
    except segno.DataOverflowError:
        raise UsageError("the link is too long for a QR code: make a view of fewer meters") from None


def _say(view: View, where: str | None) -> None:
    for grant in view.grants:
        click.echo(printable(f"{view.name} opens {_in_words(grant)}, at the meter {grant.meter}"))
    if where is not None:
        click.echo(f"{where}; whoever has this file can open them")
    click.echo(printable(f"revoke it with: gateway view revoke {shlex.quote(view.name)}"))


def _lines(view: Listed, all_: bool) -> list[str]:
    lines = []
    for grant in view.grants:
        if all_ or grant.revoked_from_ms is None:
            at = grant.revoked_from_ms
            state = "" if at is None else f"; revoked from {local_time(at, _zone(grant))}"
            lines.append(f"{_in_words(grant)}, at the meter {grant.meter}{state}")
    return lines


def _in_words(grant: GrantStatus) -> str:
    zone = _zone(grant)
    until = "" if grant.until_ms is None else f" until {local_time(grant.until_ms, zone)}"
    opens = in_words(grant.kind, grant.granularity, grant.zone, grant.lanes, grant.k_min)
    return f"{opens} from {local_time(grant.from_ms, zone)}{until}"


def _zone(grant: GrantStatus) -> str | None:
    return grant.zone if grant.granularity.startswith(("day", "month")) else None
