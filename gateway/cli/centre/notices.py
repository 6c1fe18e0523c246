"""`--notices`: where to hear of new objects, and what opens it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TypeVar

import click

from gateway.centre.hints import Hints

Result = TypeVar("Result")
_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True)
class Notices:
    """What the options say; see `gateway.centre.notices.read_sources`."""

    urls: tuple[str, ...]
    ca: Path | None
    certificate: Path | None
    key: Path | None
    secret: Path | None

    def heeding(self, hints: Hints) -> AbstractAsyncContextManager[None]:
        """Pass on to `hints` what comes while the block runs. UsageError where an option is wrong."""
        if not any((self.urls, self.ca, self.certificate, self.key, self.secret)):
            return nullcontext()
        from gateway.centre.notices import heeding, read_sources  # noqa: PLC0415 - paho is of the extra

        sources = read_sources(
            self.urls, ca=self.ca, certificate=self.certificate, key=self.key, secret=self.secret
        )
        return heeding(sources, hints, lambda sentence: click.echo(f"gateway: {sentence}", err=True))


def notices_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """`--notices` and what opens it for a command that takes `notices: Notices`."""

    @click.option(
        "--notices",
        "urls",
        multiple=True,
        metavar="URL",
        help="With --follow: look sooner at homes of which this has news: mqtts://HOST, what gateways send"
        " live; mqtts://[USER@]HOST/TOPIC, what a store publishes; http://127.0.0.1:PORT/, where a store's"
        " webhook posts.",
    )
    @click.option("--notices-ca", type=_FILE, help="Who may sign the broker's certificate (PEM).")
    @click.option("--notices-certificate", type=_FILE, help="What opens the broker (PEM), with its key.")
    @click.option("--notices-key", type=_FILE, help="The key of --notices-certificate (PEM).")
    @click.option(
        "--notices-secret", type=_FILE, help="A file with the USER's password, or the webhook's bearer token."
    )
    @wraps(command)
    def with_notices(
        urls: tuple[str, ...],
        notices_ca: Path | None,
        notices_certificate: Path | None,
        notices_key: Path | None,
        notices_secret: Path | None,
        **others: object,
    ) -> Result:
        notices = Notices(urls, notices_ca, notices_certificate, notices_key, notices_secret)
        return command(notices=notices, **others)

    return with_notices
