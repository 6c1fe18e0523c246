"""Code as a user of the library writes it, for the type checker: nothing here runs.

It sees gateway/provider/__init__.pyi. What it must find wrong says so, and a comment that is not needed is an
error by itself.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import gateway.provider
from gateway.provider import Home, Table, read, read_async, streams


def table() -> Table:
    return read(
        "s3://meters",
        key="utility",
        since=datetime(2026, 3, 1, tzinfo=UTC),
        lanes=["import"],
        granularity="1h",
    )


def height() -> int:
    return table().to_polars(kwh=True).height


def names() -> list[str]:
    return [one.home.name for one in streams("s3://meters", key="utility").homes]


async def service(homes: list[Home]) -> list[str]:
    sums = await read_async("s3://meters", key="utility", homes=homes, max_age=timedelta(days=7))
    return [str(failure.error) for failure in sums.failures]


def mistakes() -> None:
    gateway.provider.reed()  # type: ignore[attr-defined]
    read("s3://meters")  # type: ignore[call-arg]
    read("s3://meters", key="utility", since=5)  # type: ignore[arg-type]
    Home("4a36", "415d")  # type: ignore[arg-type]
    table().to_excel()  # type: ignore[attr-defined]
