"""What the centre's commands share: its folder, and the packages that they need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from gateway.errors import UsageError

_PACKAGES = ("dask", "distributed", "duckdb", "matplotlib", "opendp", "pyarrow")

folder_argument = click.argument("data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))


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
