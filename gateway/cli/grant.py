"""`gateway grant`: what the household lets providers open."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from gateway.chain.grant import MAX_K_MIN, in_words
from gateway.cli import follow
from gateway.cli.agreement import bits, compare, confirm, sentences, verified
from gateway.cli.card import checked_card
from gateway.cli.config import config_option
from gateway.cli.output import examples, fill, json_option, local_time, print_json, printable
from gateway.cli.values import Lanes, Moment
from gateway.config import Config
from gateway.config.tariff import load_tariff
from gateway.control.client import ControlClient
from gateway.control.documents import (
    GrantAnswer,
    GrantRecordStatus,
    GrantRequest,
    GrantStatus,
    OfferStatus,
    RequestStatus,
)
from gateway.errors import GatewayError, UsageError
from gateway.wire.tariff import tariff_body

_FILE = click.Path(path_type=Path, dir_okay=False)
_NOBODY = "Nobody may open anything."
_NOBODY_ELSE = "Nobody else may open anything."
_LEAST_DIGITS = 8  # of an id, where it is shown in short
_SURE_DIGITS = 4  # of an id, to revoke a grant without being asked


@click.group(
    epilog=examples(
        "gateway grant new --to card.cose --granularity 15min --purpose 'dynamic tariff'",
        "gateway grant list",
        "gateway grant revoke 3f2a...",
    )
)
def command() -> None:
    """Decide what a provider may open, list grants, revoke them."""


command.add_command(follow.command)


@command.command(
    short_help="Let a provider open sums, a bill or a share of a load.",
    epilog=examples(
        "gateway grant new --to card.cose --granularity 15min --purpose 'dynamic tariff'",
        "gateway grant new --to card.cose --bill tariff.toml --granularity month --purpose 'the bill'",
        "gateway grant new --load --to centre.cose --service service.cose --granularity 15min --k-min 20"
        " --purpose 'load of the street'",
        "gateway grant new --raw --to doctor.cose --granularity 1h --until 2027-01-01 --purpose 'a study'",
    ),
)
@config_option
@click.option("--to", "card", type=_FILE, help="The provider's card.")
@click.option(
    "--request",
    "asked",
    help="What a provider asked for, by its id in `gateway grant requests`, as it stands.",
)
@click.option("--granularity", help="The windows it may open: 1min, 15min, 1h, day, month, month-15.")
@click.option("--bill", "tariff", type=_FILE, help="Only each window's bill, under the tariff in this file.")
@click.option("--load", is_flag=True, help="A share of a neighbourhood's load; --to is the centre's card.")
@click.option("--service", type=_FILE, help="With --load: the card of the registrar's summing service.")
@click.option(
    "--k-min",
    type=click.IntRange(2, MAX_K_MIN),
    help="With --load: over how many homes it sums at least.  [default: as many as the service asks]",
)
@click.option("--raw", is_flag=True, help="Every unit. Windows are whole links of the chain, such as 1h.")
@click.option(
    "--zone",
    is_eager=True,
    help="Time zone of days and months: Europe/Berlin.  [default: the tariff's, or UTC]",
)
@click.option(
    "--lanes",
    type=Lanes(),
    help="Some of the stream's lanes.  [default: import,export; of a series all]",
)
@click.option("--from", "from_ms", type=Moment(), help="When the first window begins.  [default: now]")
@click.option("--until", "until_ms", type=Moment(), help="When the grant ends.  [default: never]")
@click.option("--purpose", help="What the data is for; part of the grant.")
@click.option("--meter", help="The meter, if there are several.")
@click.option("--yes", is_flag=True, help="Grant it even if the consent check finds something.")
@click.option(
    "--fingerprint",
    "fingerprints",
    multiple=True,
    help="The card's fingerprint, as the provider told you: for the first grant to it.",
)
@click.option("--dry-run", is_flag=True, help="Only show what the provider would learn; grant nothing.")
@json_option
def new(
    config: Config,
    card: Path | None,
    asked: str | None,
    granularity: str | None,
    tariff: Path | None,
    load: bool,
    service: Path | None,
    k_min: int | None,
    raw: bool,
    zone: str | None,
    lanes: tuple[str, ...] | None,
    from_ms: int | None,
    until_ms: int | None,
    purpose: str | None,
    meter: str | None,
    yes: bool,
    fingerprints: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let the provider that holds the card open sums, a bill, a share of a load, and nothing finer.

    A bill needs a tariff file, the same at the household and the provider, to the last decimal:

    \b
      currency = "EUR"
      zone = "Europe/Berlin"
      [[import]]                    # the first rule that fits the local time
      price = "0.3215"              # per kWh, as text: no decimal is lost
      days = ["mon-fri"]
      from = "06:00"
      until = "22:00"
      [[import]]
      price = "0.2450"
      [[export]]
      price = "-0.0810"             # negative: the household is paid

    With dynamic prices a lane has, instead of rules, a price for each quarter hour from a moment on, to the
    end of the bill:

    \b
      [export]
      start = 2026-11-01T00:00:00+01:00
      prices = ["-0.0810", "-0.0790", ...]

    A tariff in which few steps decide nearly all of the bill, or with prices beyond 100 a kWh, is refused.
    """
    client = ControlClient(config.gateway.socket)
    if asked is not None:
        own = (
            card,
            granularity,
            tariff,
            load,
            service,
            k_min,
            raw,
            zone,
            lanes,
            from_ms,
            until_ms,
            purpose,
            meter,
        )
        if any(own):
            raise UsageError(
                "--request grants what the provider asked for, as it stands: use it without other options"
            )
        wanted = _requested(client, asked)
        _grant(client, _as_asked(wanted, yes, dry_run), as_json)
        if not dry_run:
            _say_granted(client, wanted)
        return
    if card is None or granularity is None or purpose is None:
        raise UsageError(
            "a grant needs --to, --granularity and --purpose; or --request, for what was asked for"
        )
    if (tariff is not None) + load + raw > 1:
        raise UsageError("--bill, --load and --raw are different grants: make one at a time")
    if load != (service is not None):
        raise UsageError(
            "a load is granted to two parties: use --load with --to the centre's card and --service the "
            "summing service's"
        )
    if k_min is not None and not load:
        raise UsageError("--k-min says over how many homes a load sums: use it with --load")
    prices = None if tariff is None else load_tariff(tariff)
    request = GrantRequest(
        kind="bill" if tariff else "load" if load else "raw" if raw else "windows",
        cards=tuple(checked_card(path) for path in (card, service) if path is not None),
        granularity=granularity,
        zone=zone or ("UTC" if prices is None else prices.zone),
        lanes=lanes,
        from_ms=from_ms,
        until_ms=until_ms,
        purpose=purpose,
        meter=meter,
        tariff=None if prices is None else tariff_body(prices),
        k_min=k_min,
        confirmed=yes,
        fingerprints=fingerprints,
        dry_run=dry_run,
    )
    _grant(client, request, as_json)


def _grant(client: ControlClient, request: GrantRequest, as_json: bool) -> None:
    """Make the grant, or show it; ask where the household has to confirm something."""
    answer = asyncio.run(client.grant(request))
    if request.dry_run:
        _preview(answer, as_json)
        return
    if not as_json:
        for known in answer.verified:
            click.echo(verified(known), err=True)
    if not answer.grants:
        compared = (*request.fingerprints, *compare(answer.strangers, as_json))
        if not request.confirmed:
            confirm(sentences(answer.consent), "Grant it anyway?", as_json)
        request = request.model_copy(update={"confirmed": True, "fingerprints": compared})
        answer = asyncio.run(client.grant(request))
    if as_json:
        print_json(answer.model_dump())
        return
    signer = asyncio.run(client.status()).signer
    for grant in answer.grants:
        click.echo(f"{grant.provider} may now open {_in_words(grant)}, for: {grant.purpose}")
        if answer.bits_a_bill is not None:
            click.echo(bits(answer.bits_a_bill))
        click.echo(f"grant {grant.id}; revoke it with: gateway grant revoke {grant.id}")
        if grant.kind != "load":
            click.echo(f"the provider reads it with: --stream {grant.stream} --signer {signer}")
        elif grant.partner is None:
            click.echo(f"the centre's list of homes has it as: {grant.stream},{signer},{grant.id}")


def _preview(answer: GrantAnswer, as_json: bool) -> None:
    """Show what a dry run found."""
    if as_json:
        print_json(answer.model_dump())
        return
    for offer in answer.offered:
        click.echo(
            f"{offer.provider} would be able to open {_in_words(offer)}, at the meter {offer.meter}, for: "
            f"{offer.purpose}"
        )
    for sentence in sentences(answer.consent) or ["nothing beyond what the grant opens by itself"]:
        click.echo(sentence)
    if answer.bits_a_bill is not None:
        click.echo(bits(answer.bits_a_bill))
    for known in answer.verified:
        click.echo(verified(known))
    for one in answer.strangers:
        click.echo(printable(f"the card of {one.name} is new here; its fingerprint is {one.fingerprint}"))
    click.echo("Nothing was granted: this was a dry run.")


def _requested(client: ControlClient, asked: str) -> RequestStatus:
    """The one request whose id begins so."""
    found = [one for one in asyncio.run(client.requests()) if asked and one.id.startswith(asked.lower())]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} requests begin with {asked!r}; `gateway grant requests` shows all of them"
        )
    return found[0]


def _say_granted(client: ControlClient, wanted: RequestStatus) -> None:
    """Say to the registrar that a request is granted."""
    try:
        asyncio.run(client.decide(wanted.id, "granted"))
    except GatewayError as error:
        raise type(error)(
            f"the grant was made, and the registrar does not know it: {error}. Until it does, "
            f"`gateway grant requests` shows {wanted.id[:_LEAST_DIGITS]} as open: do not grant it again"
        ) from None


def _as_asked(wanted: RequestStatus, yes: bool, dry_run: bool) -> GrantRequest:
    return GrantRequest(
        kind=wanted.kind,
        cards=(wanted.card,),
        granularity=wanted.granularity,
        zone=wanted.zone,
        lanes=wanted.lanes,
        purpose=wanted.purpose,
        from_ms=wanted.from_ms,
        until_ms=wanted.until_ms,
        meter=wanted.meter,
        tariff=wanted.tariff,
        confirmed=yes,
        fingerprints=(),
        dry_run=dry_run,
    )


@command.command(epilog=examples("gateway grant requests", "gateway grant requests --json"))
@config_option
@json_option
def requests(config: Config, as_json: bool) -> None:
    """Show what providers ask for, through the registrar. Grant it with `grant new --request`."""
    found = asyncio.run(ControlClient(config.gateway.socket).requests())
    if as_json:
        print_json([one.model_dump() for one in found])
        return
    if not found:
        click.echo("Nobody asks for anything.")
    for one in found:
        zone = one.zone if one.granularity.startswith(("day", "month")) else None
        begin = "now" if one.from_ms is None else local_time(one.from_ms, zone)
        until = "" if one.until_ms is None else f" until {local_time(one.until_ms, zone)}"
        opens = in_words(one.kind, one.granularity, one.zone, one.lanes, None)
        for line in (
            f"{one.id[:_LEAST_DIGITS]}  {one.provider}, verified by {one.verified_by}, asks for",
            f"  {opens} from {begin}{until}, at the meter {one.meter}",
            f"  for: {one.purpose}",
        ):
            click.echo(fill(printable(line), "  "))


@command.command(epilog=examples("gateway grant decline 3f2a9c"))
@config_option
@click.argument("asked", metavar="REQUEST")
def decline(config: Config, asked: str) -> None:
    """Decline REQUEST: the provider is told so. The first digits of its id are enough."""
    client = ControlClient(config.gateway.socket)
    wanted = _requested(client, asked)
    asyncio.run(client.decide(wanted.id, "declined"))
    click.echo(printable(f"request {wanted.id} of {wanted.provider} is declined"))


@command.command(short_help="Say what all grants open together.", epilog=examples("gateway grant check"))
@config_option
@json_option
def check(config: Config, as_json: bool) -> None:
    """Say what providers can derive from their grants beyond what each of them opens."""
    client = ControlClient(config.gateway.socket)
    consents = asyncio.run(client.consent())
    if as_json:
        print_json([consent.model_dump() for consent in consents])
        return
    if all(grant.own for grant in asyncio.run(client.grants())):
        click.echo(_NOBODY)
        return
    for consent in consents:
        for sentence in sentences(consent) or ["nothing beyond what each grant opens by itself"]:
            click.echo(f"meter {consent.meter}: {sentence}")


@command.command(epilog=examples("gateway grant show 3f2a9c"))
@config_option
@click.argument("grant_id", metavar="GRANT")
@json_option
def show(config: Config, grant_id: str, as_json: bool) -> None:
    """Show GRANT in full. The first digits of its id are enough."""
    grant = _find(config, grant_id)
    if as_json:
        print_json(grant.model_dump())
        return
    for name, value in grant:
        if name == "own" and not value:
            continue
        moment = name.endswith("_ms") and value is not None
        text = local_time(value, _zone(grant)) if moment else ", ".join(value) if name == "lanes" else value
        click.echo(f"{name.removesuffix('_ms').replace('_', ' ')}: {'-' if text is None else text}")


@command.command("list", epilog=examples("gateway grant list", "gateway grant list --all --json"))
@config_option
@click.option("--all", "all_", is_flag=True, help="Also those that are revoked.")
@json_option
def list_(config: Config, all_: bool, as_json: bool) -> None:
    """Show who may open what, at which meter. Your own grants, for your page and phones, come last."""
    grants = asyncio.run(ControlClient(config.gateway.socket).grants())
    shown = [grant for grant in grants if all_ or grant.revoked_from_ms is None]
    if as_json:
        print_json([grant.model_dump() for grant in shown])
        return
    followed = [
        one
        for one in asyncio.run(ControlClient(config.gateway.socket).follows())
        if all_ or one.ended_ms is None
    ]
    if all(grant.own for grant in shown) and not followed:
        click.echo(_NOBODY_ELSE if shown else _NOBODY)
    digits = _digits([grant.id for grant in grants])
    for grant in sorted(shown, key=lambda grant: grant.own):
        click.echo(_entry(grant, digits))
    for one in followed:
        click.echo(follow.entry(one))
    if len(shown) < len(grants):
        click.echo(f"revoked grants, which --all shows: {len(grants) - len(shown)}")


@command.command(epilog=examples("gateway grant revoke 3f2a9c..."))
@config_option
@click.argument("grant_id", metavar="GRANT")
@json_option
def revoke(config: Config, grant_id: str, as_json: bool) -> None:
    """Revoke GRANT: from now on it opens nothing new. The first digits of its id are enough, four or more;
    with fewer it asks."""
    client = ControlClient(config.gateway.socket)
    found = _find(config, grant_id)
    if len(grant_id) < _SURE_DIGITS:
        click.echo(_entry(found, len(found.id)), err=True)
        if as_json or not sys.stdin.isatty() or not click.confirm("Revoke this grant?", err=True):
            raise UsageError(
                f"nothing was revoked: give at least {_SURE_DIGITS} digits of the grant's id, such as "
                f"{found.id[:_LEAST_DIGITS]}"
            )
    grant = asyncio.run(client.revoke(found.id))
    if as_json:
        print_json(grant.model_dump())
        return
    click.echo(f"grant {grant.id} of {grant.provider} is {_state(grant)}")
    if not grant.own:
        click.echo("What it has opened until then stays known to the provider.")


def _find(config: Config, grant_id: str) -> GrantStatus | GrantRecordStatus:
    grants = asyncio.run(ControlClient(config.gateway.socket).grants())
    found = [grant for grant in grants if grant_id and grant.id.startswith(grant_id.lower())]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} grants begin with {grant_id!r}; "
            "`gateway grant list --all` shows all grants"
        )
    return found[0]


def _digits(ids: Sequence[str]) -> int:
    """How many first digits tell these ids apart."""
    digits = _LEAST_DIGITS
    while len({id_[:digits] for id_ in ids}) < len(ids):
        digits += 1
    return digits


def _entry(grant: GrantStatus | GrantRecordStatus, digits: int) -> str:
    """A grant in a few lines: the first digits of its id, meter and provider; what it opens and for what; how
    far it is served."""
    whom = f"your own ({grant.provider})" if grant.own else f"to {grant.provider}"
    lines = [f"{grant.id[:digits]}  meter {grant.meter}, {whom}"]
    if isinstance(grant, GrantStatus):
        lines += [f"  {_in_words(grant)}", f"  for: {grant.purpose}"]
    else:
        lines.append("  what it opens cannot be read")
    lines.append(f"  {_state(grant)}, windows served: {grant.windows_served}")
    if grant.fault is not None:
        lines.append(f"  it gets no tokens: {grant.fault}")
    return "\n".join(fill(printable(line), "  ") for line in lines)


def _in_words(grant: GrantStatus | OfferStatus) -> str:
    zone = _zone(grant)
    until = "" if grant.until_ms is None else f" until {local_time(grant.until_ms, zone)}"
    opens = in_words(grant.kind, grant.granularity, grant.zone, grant.lanes, grant.k_min)
    return f"{opens} from {local_time(grant.from_ms, zone)}{until}"


def _state(grant: GrantStatus | GrantRecordStatus) -> str:
    revoked = grant.revoked_from_ms
    return "open" if revoked is None else f"revoked from {local_time(revoked, _zone(grant))}"


def _zone(grant: GrantStatus | GrantRecordStatus | OfferStatus) -> str | None:
    """The zone whose days or months a grant opens; None where its windows need none."""
    if isinstance(grant, GrantRecordStatus) and not isinstance(grant, GrantStatus):
        return None
    return grant.zone if grant.granularity.startswith(("day", "month")) else None
