"""Times and numbers as a person types them."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest
from click.testing import CliRunner

from gateway.cli.values import Finite, Moment
from gateway.errors import UsageError


@click.command()
@click.option("--from", "from_ms", type=Moment())
@click.option("--zone", default="UTC", is_eager=True)
def told(from_ms: int, zone: str) -> None:
    click.echo(datetime.fromtimestamp(from_ms / 1000, UTC).isoformat())


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        (["--from", "2026-11-11", "--zone", "Europe/Berlin"], "2026-11-10T23:00:00+00:00"),
        (["--zone", "Asia/Kolkata", "--from", "2026-11-11T12:00"], "2026-11-11T06:30:00+00:00"),
        (["--from", "2026-11-11T00:00Z", "--zone", "Europe/Berlin"], "2026-11-11T00:00:00+00:00"),
        (["--from", "2026-11-11T00:00+02:00"], "2026-11-10T22:00:00+00:00"),
        (["--from", "2026-11-11"], datetime(2026, 11, 11).astimezone(UTC).isoformat()),
    ],
)
def test_a_time_is_in_the_zone_that_is_named(words: list[str], moment: str) -> None:
    assert CliRunner().invoke(told, words).output == f"{moment}\n"


def test_what_is_no_time_gets_a_sentence() -> None:
    for text in ("yesterday", "2026-13-01", "0001-01-01"):
        found = CliRunner().invoke(told, ["--from", text, "--zone", "Asia/Kolkata"])
        assert found.exit_code == 2
        assert f"'{text}' is not a time: use 2026-11-22" in found.output


def test_a_zone_that_is_none_is_named() -> None:
    found = CliRunner().invoke(told, ["--from", "2026-11-11", "--zone", "Europe/Berln"])
    assert isinstance(found.exception, UsageError)
    assert str(found.exception).startswith("time zone 'Europe/Berln' is not in the IANA list")


@pytest.mark.parametrize("bounds", [Finite(0, 100), Finite(0, min_open=True), Finite()])
@pytest.mark.parametrize("text", ["nan", "-nan", "inf", "-inf", "1e999"])
def test_a_number_that_is_not_finite_is_refused(bounds: Finite, text: str) -> None:
    assert bounds("2.5") == 2.5
    with pytest.raises(click.BadParameter):
        bounds(text)
