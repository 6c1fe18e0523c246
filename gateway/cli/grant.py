"""`gateway grant`: what the household lets providers open."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli.config import config_option
from gateway.cli.output import examples, json_option, local_time, print_json, print_table
from gateway.cli.values import Lanes, Moment
from gateway.config import Config
from gateway.config.tariff import load_tariff
from gateway.control.client import ask
from gateway.errors import NotGranted, UsageError
from gateway.wire.tariff import tariff_body

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(
    epilog=examples(
        "gateway grant new --to card.cose --granularity 15min --purpose 'dynamic tariff'",
        "gateway grant list",
        "gateway grant revoke 3f2a...",
    )
)
def command() -> None:
    """Decide what a provider may open, see it, take it back."""


@command.command(
    epilog=examples(
        "gateway grant new --to card.cose --granularity 15min --purpose 'dynamic tariff'",
        "gateway grant new --to card.cose --bill tariff.toml --granularity month --zone Europe/Berlin"
        " --purpose 'the bill'",
        "gateway grant new --load --to centre.cose --service service.cose --granularity 15min"
        " --purpose 'load of the street'",
        "gateway grant new --raw --to doctor.cose --granularity 1h --until 2027-01-01 --purpose 'a study'",
    )
)
@config_option
@click.option("--to", "card", required=True, type=_FILE, help="The provider's card.")
@click.option("--granularity", required=True, help="The windows it may open: 1min, 15min, 1h, day, month.")
@click.option("--bill", "tariff", type=_FILE, help="Only each window's bill, under the tariff in this file.")
@click.option("--load", is_flag=True, help="A share of a neighbourhood's load; --to is the centre's card.")
@click.option("--service", type=_FILE, help="With --load: the card of the registrar's summing service.")
@click.option("--raw", is_flag=True, help="Every unit. Windows are whole links of the chain, as 1h.")
@click.option("--zone", default="UTC", show_default=True, help="Whose days and months, as Europe/Berlin.")
@click.option("--lanes", type=Lanes(), help="Which of import,export,power,count.  [default: energy]")
@click.option("--from", "from_ms", type=Moment(), help="The first window's beginning.  [default: now]")
@click.option("--until", "until_ms", type=Moment(), help="The end.  [default: none]")
@click.option("--purpose", required=True, help="What for: it stands in the grant.")
@click.option("--meter", help="Which meter, where there are several.")
@click.option("--yes", is_flag=True, help="Grant it though the consent check finds something.")
@json_option
def new(
    config: Config,
    card: Path,
    granularity: str,
    tariff: Path | None,
    load: bool,
    service: Path | None,
    raw: bool,
    zone: str,
    lanes: tuple[str, ...] | None,
    from_ms: int | None,
    until_ms: int | None,
    purpose: str,
    meter: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Let the provider that holds the card open sums, a bill, a share of a load, and nothing finer."""
    if (tariff is not None) + load + raw > 1:
        raise UsageError("--bill, --load and --raw are different grants: make one at a time")
    if load != (service is not None):
        raise UsageError("a load is granted to two: --load with --to the centre's card and --service")
    wish = {
        "kind": "bill" if tariff else "load" if load else "raw" if raw else "windows",
        "cards": [_read(path) for path in (card, service) if path is not None],
        "granularity": granularity,
        "zone": zone,
        "lanes": lanes,
        "from_ms": from_ms,
        "until_ms": until_ms,
        "purpose": purpose,
        "meter": meter,
        "tariff": None if tariff is None else base64.b64encode(tariff_body(load_tariff(tariff))).decode(),
    }
    answer = ask(config.gateway.socket, "POST", "/grants", wish | {"confirmed": yes})
    if not answer["grants"]:
        _confirm(answer["consent"], as_json)
        answer = ask(config.gateway.socket, "POST", "/grants", wish | {"confirmed": True})
    if as_json:
        print_json(answer)
        return
    signer = ask(config.gateway.socket, "GET", "/status")["signer"]
    for grant in answer["grants"]:
        click.echo(f"{grant['provider']} may now open {_what(grant)}, for: {grant['purpose']}")
        click.echo(f"grant {grant['id']}; take it back with: gateway grant revoke {grant['id']}")
        click.echo(f"the provider reads it with: --stream {grant['stream']} --signer {signer}")


def _read(path: Path) -> str:
    try:
        return base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise UsageError(f"the card {path} cannot be read: {error.strerror}") from None


def _confirm(consent: dict[str, list[str]], as_json: bool) -> None:
    """Show what the check found, and ask; NotGranted where nobody can be asked, or the answer is no."""
    for sentence in _sentences(consent):
        click.echo(sentence, err=True)
    if as_json or not sys.stdin.isatty() or not click.confirm("Grant it all the same?", err=True):
        raise NotGranted("nothing was granted; with --yes it is, though more becomes known than it says")


def _sentences(consent: dict[str, list[str]]) -> list[str]:
    pooled = [f"if all providers pool what they hold: {sentence}" for sentence in consent["pooled"]]
    return [*consent["provider"], *pooled]


@command.command(epilog=examples("gateway grant check"))
@config_option
@json_option
def check(config: Config, as_json: bool) -> None:
    """Say what providers can derive from their grants beyond what each of them opens."""
    consents = ask(config.gateway.socket, "GET", "/consent")
    if as_json:
        print_json(consents)
        return
    for consent in consents:
        for sentence in _sentences(consent) or ["nothing beyond what each grant opens by itself"]:
            click.echo(f"meter {consent['meter']}: {sentence}")


@command.command(epilog=examples("gateway grant show 3f2a9c"))
@config_option
@click.argument("grant_id", metavar="GRANT")
@json_option
def show(config: Config, grant_id: str, as_json: bool) -> None:
    """Show all of GRANT. The first digits of its id are enough."""
    grant = _find(config, grant_id)
    if as_json:
        print_json(grant)
        return
    moments = {name for name in grant if name.endswith("_ms") and grant[name] is not None}
    for name, value in grant.items():
        text = local_time(value) if name in moments else ", ".join(value) if name == "lanes" else value
        click.echo(f"{name.removesuffix('_ms').replace('_', ' ')}: {'-' if text is None else text}")


@command.command("list", epilog=examples("gateway grant list", "gateway grant list --json"))
@config_option
@json_option
def list_(config: Config, as_json: bool) -> None:
    """Show all grants."""
    grants = ask(config.gateway.socket, "GET", "/grants")
    if as_json:
        print_json(grants)
        return
    if not grants:
        click.echo("Nobody may open anything.")
        return
    rows = [
        [g["id"], g["provider"], _what(g), g["purpose"], str(g["windows_served"]), _state(g)] for g in grants
    ]
    print_table(["grant", "provider", "may open", "for", "windows", "state"], rows, numbers=["windows"])


@command.command(epilog=examples("gateway grant revoke 3f2a9c..."))
@config_option
@click.argument("grant_id", metavar="GRANT")
@json_option
def revoke(config: Config, grant_id: str, as_json: bool) -> None:
    """Take GRANT back: from now on it opens nothing new. The first digits of its id are enough."""
    grant = ask(config.gateway.socket, "DELETE", f"/grants/{_find(config, grant_id)['id']}")
    if as_json:
        print_json(grant)
        return
    click.echo(f"grant {grant['id']} of {grant['provider']} is {_state(grant)}")
    click.echo("What it has opened until then stays known to the provider.")


def _find(config: Config, grant_id: str) -> dict[str, Any]:
    grants = ask(config.gateway.socket, "GET", "/grants")
    found = [g for g in grants if grant_id and g["id"].startswith(grant_id.lower())]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} grants begin with {grant_id!r}; `gateway grant list` shows those there are"
        )
    return dict(found[0])


def _what(grant: dict[str, Any]) -> str:
    zone = f" ({grant['zone']})" if grant["granularity"] in ("day", "month") else ""
    until = "" if grant["until_ms"] is None else f" until {local_time(grant['until_ms'])}"
    begin = local_time(grant["from_ms"])
    what = {
        "windows": f"{grant['granularity']}{zone} sums",
        "bill": f"each {grant['granularity']}'s bill{zone}",
        "load": f"a share of {grant['granularity']}{zone} loads",
        "raw": "every unit",
    }[grant["kind"]]
    return f"{what} of {', '.join(grant['lanes'])} from {begin}{until}"


def _state(grant: dict[str, Any]) -> str:
    revoked = grant["revoked_from_ms"]
    return "open" if revoked is None else f"revoked from {local_time(revoked)}"
