"""`gateway grant follow`: standing decisions to grant the bills of a provider's price series."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from gateway.chain.consent.standing import MOST_BITS
from gateway.chain.grant import in_words
from gateway.cli.agreement import bits, compare, confirm, sentences, verified
from gateway.cli.card import checked_card
from gateway.cli.config import config_option
from gateway.cli.output import examples, fill, json_option, local_time, print_json, printable
from gateway.cli.values import Lanes, Moment
from gateway.config import Config
from gateway.control.client import ControlClient
from gateway.control.follows import ConfirmRequest, FollowAnswer, FollowRequest, FollowStatus, PeriodStatus
from gateway.errors import UsageError

_DIGITS = 8  # of an id, where it is shown in short
_NEW = "gateway grant follow new 'Day ahead' --to card.cose --zone Europe/Berlin --purpose 'the bill'"


@click.group("follow", epilog=examples(_NEW, "gateway grant follow list", "gateway grant follow end 3f2a9c"))
def command() -> None:
    """Grant the bill of each period under a provider's prices, until you end it.

    A provider publishes its prices as signed price series, and may correct them. You decide once; when a
    period is over and all its prices are known, the gateway grants the bill of that period under these very
    prices. Each period is checked as any grant is: where more would become known than you have confirmed, the
    period waits for you.
    """


@command.command("new", short_help="Decide to grant the bills of a price series.", epilog=examples(_NEW))
@config_option
@click.argument("series", metavar="SERIES")
@click.option(
    "--to",
    "card",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The provider's card.",
)
@click.option(
    "--granularity", default="month", show_default=True, help="The billing periods: month, month-15, day."
)
@click.option("--zone", is_eager=True, required=True, help="Time zone of the periods: Europe/Berlin.")
@click.option("--lanes", type=Lanes(), default="import", show_default=True, help="import, export or both.")
@click.option("--from", "from_ms", type=Moment(), help="When the first period begins.  [default: now]")
@click.option("--purpose", required=True, help="What the bills are for; part of each grant.")
@click.option("--meter", help="The meter, if there are several.")
@click.option("--yes", is_flag=True, help="Decide so even if the consent check finds something.")
@click.option(
    "--fingerprint",
    "fingerprints",
    multiple=True,
    help="The card's fingerprint, as the provider told you: for the first grant to it.",
)
@click.option("--dry-run", is_flag=True, help="Only show what the provider would learn; decide nothing.")
@json_option
def new(
    config: Config,
    series: str,
    card: Path,
    granularity: str,
    zone: str,
    lanes: tuple[str, ...],
    from_ms: int | None,
    purpose: str,
    meter: str | None,
    yes: bool,
    fingerprints: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Grant the bill of each period to the holder of the card, under its prices named SERIES.

    What the consent check finds for the latest period whose prices are known is shown first. What you confirm
    then is covered for later periods too, and nothing worse.
    """
    client = ControlClient(config.gateway.socket)
    request = FollowRequest(
        card=checked_card(card),
        series=series,
        meter=meter,
        lanes=lanes,
        granularity=granularity,
        zone=zone,
        from_ms=from_ms,
        purpose=purpose,
        confirmed=yes,
        fingerprints=fingerprints,
        dry_run=dry_run,
    )
    answer = asyncio.run(client.follow(request))
    if dry_run:
        _preview(answer, as_json)
        return
    if not as_json:
        for known in answer.verified:
            click.echo(verified(known), err=True)
    if answer.follow is None:
        compared = (*fingerprints, *compare(answer.strangers, as_json))
        if not yes:
            confirm(_found(answer), "Follow it anyway?", as_json)
        request = request.model_copy(update={"confirmed": True, "fingerprints": compared})
        answer = asyncio.run(client.follow(request))
    if as_json:
        print_json(answer.model_dump())
        return
    follow = answer.follow
    assert follow is not None  # all was confirmed
    click.echo(
        printable(f"{follow.provider} may open {_in_words(follow)} under its prices {follow.series!r}")
    )
    if answer.bits_a_bill is not None:
        click.echo(bits(answer.bits_a_bill))
    click.echo(f"decision {follow.id}; end it with: gateway grant follow end {follow.id}")


def _found(answer: FollowAnswer) -> list[str]:
    """What the household has to confirm."""
    most = answer.bits_a_bill or 0
    return [*sentences(answer.consent), *([bits(most)] if most > MOST_BITS else [])]


def _preview(answer: FollowAnswer, as_json: bool) -> None:
    if as_json:
        print_json(answer.model_dump())
        return
    if answer.checked_from_ms is None or answer.checked_until_ms is None:
        click.echo("the prices of no whole period are known yet, so nothing could be checked")
    else:
        begin, end = local_time(answer.checked_from_ms), local_time(answer.checked_until_ms)
        click.echo(f"checked for the period from {begin} until {end}:")
        for sentence in sentences(answer.consent) or ["nothing beyond what the bill says by itself"]:
            click.echo(sentence)
    if answer.bits_a_bill is not None:
        click.echo(bits(answer.bits_a_bill))
    for known in answer.verified:
        click.echo(verified(known))
    for one in answer.strangers:
        click.echo(printable(f"the card of {one.name} is new here; its fingerprint is {one.fingerprint}"))
    click.echo("Nothing was decided: this was a dry run.")


@command.command("list", epilog=examples("gateway grant follow list", "gateway grant follow list --json"))
@config_option
@click.option("--all", "all_", is_flag=True, help="Also those that have ended.")
@json_option
def list_(config: Config, all_: bool, as_json: bool) -> None:
    """Show which price series are followed, and what their periods wait for."""
    found = asyncio.run(ControlClient(config.gateway.socket).follows())
    shown = [one for one in found if all_ or one.ended_ms is None]
    if as_json:
        print_json([one.model_dump() for one in shown])
        return
    if not shown:
        click.echo("No price series is followed.")
    for one in shown:
        click.echo(entry(one))


@command.command("confirm", epilog=examples("gateway grant follow confirm 3f2a9c"))
@config_option
@click.argument("follow_id", metavar="DECISION")
@click.option("--yes", is_flag=True, help="Confirm without being asked.")
def confirm_(config: Config, follow_id: str, yes: bool) -> None:
    """Confirm what is found about the periods of DECISION that ask, so that they and later ones are granted.
    The first digits of its id are enough."""
    client = ControlClient(config.gateway.socket)
    follow = _find(client, follow_id)
    asking = [one for one in follow.periods if one.state == "asks"]
    if not asking:
        raise UsageError(f"no period of decision {follow.id[:_DIGITS]} asks anything")
    for period in asking:
        assert period.check is not None  # it asks
        click.echo(f"the bill {_span(follow, period)}:")
        if yes:
            for sentence in period.findings:
                click.echo(sentence)
        else:
            confirm(period.findings, "Grant it, and later ones of which no more is found?", as_json=False)
        request = ConfirmRequest(from_ms=period.from_ms, seen=period.check)
        asyncio.run(client.confirm_follow(follow.id, request))
        click.echo("is granted")


@command.command(epilog=examples("gateway grant follow end 3f2a9c"))
@config_option
@click.argument("follow_id", metavar="DECISION")
@json_option
def end(config: Config, follow_id: str, as_json: bool) -> None:
    """End DECISION: no further bill is granted by it. The first digits of its id are enough."""
    client = ControlClient(config.gateway.socket)
    ended = asyncio.run(client.end_follow(_find(client, follow_id).id))
    if as_json:
        print_json(ended.model_dump())
        return
    click.echo(printable(f"the prices {ended.series!r} of {ended.provider} are no longer followed"))
    click.echo(
        f"bills granted until now: {len(ended.grants)}. They stay granted; gateway grant revoke ends one"
    )


def entry(follow: FollowStatus) -> str:
    """A decision in a few lines: the first digits of its id, meter, provider and series; what it grants and
    for what; how many bills are granted, and what the next ones wait for."""
    state = "stands" if follow.ended_ms is None else f"ended at {local_time(follow.ended_ms, follow.zone)}"
    lines = [
        f"{follow.id[:_DIGITS]}  meter {follow.meter}, to {follow.provider}, following its prices "
        f"{follow.series!r}",
        f"  {_in_words(follow)}",
        f"  for: {follow.purpose}",
        f"  {state}, bills granted: {len(follow.grants)}",
    ]
    for period in follow.periods:
        if period.state == "asks":
            lines.append(f"  the bill {_span(follow, period)} asks: {'; '.join(period.findings)}")
            lines.append(f"  confirm it with: gateway grant follow confirm {follow.id[:_DIGITS]}")
        else:
            lines.append(f"  the bill {_span(follow, period)} waits: {period.why}")
    if follow.fault is not None:
        lines.append(f"  {follow.fault}")
    return "\n".join(fill(printable(line), "  ") for line in lines)


def _find(client: ControlClient, follow_id: str) -> FollowStatus:
    found = [
        one for one in asyncio.run(client.follows()) if follow_id and one.id.startswith(follow_id.lower())
    ]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} decisions begin with {follow_id!r}; `gateway grant follow list --all` "
            "shows all of them"
        )
    return found[0]


def _in_words(follow: FollowStatus) -> str:
    opens = in_words("bill", follow.granularity, follow.zone, follow.lanes)
    return f"{opens} from {local_time(follow.from_ms, follow.zone)}"


def _span(follow: FollowStatus, period: PeriodStatus) -> str:
    begin, end = (local_time(ms, follow.zone) for ms in (period.from_ms, period.until_ms))
    return f"from {begin} until {end}"
