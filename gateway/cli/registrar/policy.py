"""`gateway registrar policy`: storage credentials for a store that makes no sessions."""

from __future__ import annotations

import click

from gateway.cli.output import examples, print_json
from gateway.cli.registrar.options import settings_option, working
from gateway.errors import UsageError
from gateway.registrar.service import Registrar
from gateway.registrar.settings import Settings
from gateway.registrar.storage import Policy

_POLICY = "gateway registrar policy > policy.json"
_USER = "gateway registrar policy --user arn:aws:iam::123456789012:user/homes/{kid}"


@click.command("policy", epilog=examples(_POLICY, _USER))
@click.option(
    "--user",
    default="arn:aws:iam::000000000000:user/{kid}",
    show_default=True,
    help="The ARN of a user of the store; {kid} stands for the id of a gateway's or provider's key.",
)
@settings_option
def command(user: str, settings: Settings) -> None:
    """Print a policy of the bucket that allows each gateway and provider what a session would.

    It is for a store without AssumeRole, which has a user for each of them: put it there anew when streams,
    grants or certificates have changed. `gateway registrar certificate list` shows the keys.
    """
    if not user.startswith("arn:") or "{kid}" not in user:
        raise UsageError(
            "--user is not a user's ARN with {kid} in it: expected arn:aws:iam::ACCOUNT:user/{kid}"
        )

    async def policy(registrar: Registrar) -> Policy:
        if registrar.credentials is None:
            raise UsageError(
                "this registrar has no [store] that is a bucket, and a policy is for one: set it first"
            )
        return await registrar.credentials.policy(user)

    print_json(working(settings, policy))
