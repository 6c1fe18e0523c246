"""What the centre's commands share: its folder, and the packages that they need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from gateway.centre.engine import DuckDB, Engine
from gateway.errors import UsageError

_PACKAGES = ("dask", "distributed", "duckdb", "jinja2", "matplotlib", "opendp", "paho", "pyarrow")

folder_argument = click.argument("data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))

scheduler_option = click.option(
    "--scheduler", metavar="URL", help="Add up on a Dask cluster: tcp://host:8786."
)


@contextmanager
def engine_of(scheduler: str | None) -> Iterator[Engine]:
    """Where sums are worked out: here, or on the cluster of a scheduler."""
    if scheduler is None:
        yield DuckDB()
        return
    from gateway.centre.cluster import connected  # noqa: PLC0415 - Dask takes a second

    with connected(scheduler, notify=lambda text: click.echo(f"gateway: {text}", err=True)) as engine:
        yield engine


@contextmanager
def packages() -> Iterator[None]:
    """UsageError that names the extra where a package of the centre is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        raise UsageError(
            f"the package {error.name} is missing: install gateway[centre], which has all that a load"
            " monitoring centre needs"
        ) from None
