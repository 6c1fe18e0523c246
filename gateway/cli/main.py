"""The entry point of the command line: the list of commands, and how each of them ends.

A command's module exposes a click command or group named `command`. COMMANDS lists it with the line that
`gateway --help` shows, so that help imports none of them. A command reports a failure by raising a
GatewayError: `main` prints its sentence and ends with its exit code. An int that a command returns is its
exit code.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from gateway import __version__
from gateway.cli.codes import BUG, INTERRUPTED, PIPE_CLOSED, exit_code
from gateway.cli.lazy import LazyGroup
from gateway.cli.output import examples
from gateway.errors import GatewayError

# name: (module, short help), in the order in which a person meets them.
COMMANDS = {
    "run": ("gateway.cli.run", "Read the meters, seal and publish."),
    "status": ("gateway.cli.status", "Show the state of the running gateway."),
    "metrics": ("gateway.cli.metrics", "Print what a monitoring system watches."),
    "doctor": ("gateway.cli.doctor", "Check every part, and say what to do."),
    "household": ("gateway.cli.household", "Serve the pages of this home."),
    "meters": ("gateway.cli.meters.group", "List, find and read meters."),
    "series": ("gateway.cli.series", "Add values of the home, such as the weather."),
    "grant": ("gateway.cli.grant", "Decide what a provider may open."),
    "view": ("gateway.cli.view", "Let a phone show this home's energy."),
    "command": ("gateway.cli.command", "Decide on what a provider commands."),
    "register": ("gateway.cli.register", "Register this gateway at a registrar."),
    "card": ("gateway.cli.card", "Show a provider's card and its fingerprint."),
    "tariff": ("gateway.cli.tariff", "Show how a tariff file is read."),
    "ledger": ("gateway.cli.ledger", "Confirm a ledger that was restored."),
    "provider": ("gateway.cli.provider.group", "The utility's side: make an identity, read, verify."),
    "registrar": ("gateway.cli.registrar.group", "The registrar: who may register, and its server."),
    "centre": ("gateway.cli.centre.group", "The load monitoring centre: sums over many homes."),
    "dispute": ("gateway.cli.dispute", "Check what a provider claims of a home."),
    "config": ("gateway.cli.config", "Print an example configuration, or check one."),
    "update": ("gateway.cli.update", "Update the appliance's image."),
    "first-boot": ("gateway.cli.first_boot", "Take over the first-boot file of an image."),
    "fleet": ("gateway.cli.fleet", "Make the cards of many homes."),
    "release": ("gateway.cli.release.group", "Releases of the appliance's image: keys, manifests."),
    "bench": ("gateway.cli.bench", "Measure this machine."),
    "simulate": ("gateway.cli.simulate.group", "Simulated meters, to try it without hardware."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("gateway config example > gateway.toml", "gateway config check gateway.toml"),
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """The privacy gateway for home energy: reads meters, seals readings, opens only what is granted."""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command. Every outcome is an exit code and, where something was wrong, a sentence."""
    color = False if os.environ.get("NO_COLOR") else None
    try:
        # Not click's own main, which has other exit codes for interrupts and closed pipes.
        with cli.make_context(
            "gateway", list(sys.argv[1:] if args is None else args), color=color
        ) as context:
            result = cli.invoke(context)
        sys.stdout.flush()  # so that a closed pipe is met here, not at the interpreter's end
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except GatewayError as error:
        for sentence in str(error).splitlines():
            click.echo(f"gateway: {sentence}", err=True)
        return exit_code(error)
    except BrokenPipeError:
        # Discard what is still buffered, which would raise once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:
        if os.environ.get("GATEWAY_DEBUG") == "1":
            traceback.print_exc()
        else:
            click.echo(f"gateway: {_bug(error)}", err=True)
        return BUG
    return result if isinstance(result, int) else 0


def _bug(error: Exception) -> str:
    # Its type and place, never its text: that may quote a secret.
    package = Path(__file__).parents[1]
    ours = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(package)]
    place = f"{Path(ours[-1].filename).relative_to(package.parent)}, line {ours[-1].lineno}"
    return (
        f"this is a bug: {type(error).__name__} in {place}. Please report it, "
        "with what GATEWAY_DEBUG=1 shows when you run the command again"
    )
