"""Following a price series, from the provider's prices to its bills, by both sides' commands."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.test_grant_kinds import Run, gateway, home, provider, read, zurich
from tests.stream.stream import Provider
from tests.support.home import Home

__all__ = ["gateway", "home", "provider", "zurich"]
pytestmark = pytest.mark.slow


def prices(path: Path, first: datetime, hours: int, price: int = 2000) -> Path:
    """A file of a price an hour, from `first` on."""
    lines = ["from,until,price"]
    for n in range(hours):
        begin = first + timedelta(hours=n)
        lines.append(
            f"{begin.isoformat()},{(begin + timedelta(hours=1)).isoformat()},0.{price + 13 * (n % 24)}"
        )
    path.write_text("\n".join(lines) + "\n")
    return path


async def test_a_price_series_is_followed_from_command_to_bill(  # noqa: PLR0915 - a story is long
    home: Home, provider: Provider, gateway: Run, tmp_path: Path
) -> None:
    await home.publish()
    card, store = str(provider.folder / "card.cose"), str(home.folder / "store")
    names = ("--name", "Day ahead", "--zone", "Europe/Zurich", "--currency", "CHF")
    key = ("--key", str(provider.folder), "--store", store)

    async def publish(first: datetime, hours: int, *more: str, price: int = 2000) -> None:
        path = prices(tmp_path / "prices.csv", first, hours, price)
        code, _, err = await gateway("provider", "price", "publish", str(path), *key, *names, *more)
        assert code == 0, err

    new = ["grant", "follow", "new", "Day ahead", "--to", card, "--granularity", "day", "--purpose", "tests"]
    new += ["--zone", "Europe/Zurich", "--from", "2026-05-31"]
    known = ["--fingerprint", provider.card.fingerprint]
    code, out, err = await gateway(*new, *known, "--dry-run")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "the prices of no whole period are known yet, so nothing could be checked",
        "Nothing was decided: this was a dry run.",
    ]
    await publish(datetime(2026, 5, 29, 22, tzinfo=UTC), 24)
    code, out, _ = await gateway(*new, "--dry-run")
    assert out.splitlines()[:2] == [
        "checked for the period from 2026-05-30T00:00:00+02:00 until 2026-05-31T00:00:00+02:00:",
        "nothing beyond what the bill says by itself",
    ]
    assert f"ACME Energy is new here; its fingerprint is {provider.card.fingerprint}" in out
    code, out, err = await gateway(*new)
    assert (code, out) == (3, "")
    assert "compare the fingerprint" in err
    assert await home.ledger.follows() == []

    code, out, err = await gateway(*new, *known)
    assert (code, err) == (0, "")
    follow = out.rpartition(" ")[2].strip()
    assert out.splitlines()[0] == (
        "ACME Energy may open the bill of each day (Europe/Zurich) for import from 2026-05-31T00:00:00+02:00 "
        "under its prices 'Day ahead'"
    )
    code, _, err = await gateway(*new)
    assert code == 2
    assert f"is followed already, by decision {follow}" in err

    await publish(datetime(2026, 5, 30, 22, tzinfo=UTC), 24)
    await publish(datetime(2026, 5, 31, 2, tzinfo=UTC), 1, "--correct", price=7000)
    await publish(datetime(2026, 5, 31, 22, tzinfo=UTC), 23)
    await home.session.follower.tick()
    await publish(datetime(2026, 5, 31, 3, tzinfo=UTC), 1, "--correct", price=8000)
    code, out, _ = await gateway("grant", "list")
    entry = " ".join(out[out.index(follow[:8]) :].split())
    assert entry.startswith(
        f"{follow[:8]} meter main, to ACME Energy, following its prices 'Day ahead' the bill of each day "
        "(Europe/Zurich) for import from 2026-05-31T00:00:00+02:00 for: tests stands, bills granted: 1 the "
        "bill from 2026-06-01T00:00:00+02:00 until 2026-06-02T00:00:00+02:00 waits: there is no price of "
        "import from 2026-06-01T23:00:00+02:00 until 2026-06-02T00:00:00+02:00 the bill from "
    )
    code, out, _ = await gateway("grant", "follow", "list", "--json")
    (shown,) = json.loads(out)
    assert [one["state"] for one in shown["periods"]] == ["waits"] * len(shown["periods"])
    assert len(shown["grants"]) == 1

    code, out, err = await gateway(*await read(home, provider, "bill", "--series", "Day ahead", "--json"))
    assert code == 0, err
    (bill,) = json.loads(out)["bills"]
    assert (bill["from"], bill["until"]) == ("2026-05-30T22:00:00Z", "2026-05-31T22:00:00Z")
    assert bill["currency"] == "CHF"
    assert "was made before series 5 corrected its prices" in err
    for options, says in (
        ((), "a bill needs --tariff, the file of its prices, or --series"),
        (("--series", "Day ahead", "--from-bills"), "use it without --tariff and --from"),
        (("--series", "Other"), "no bill under the 0 series named 'Other' is granted"),
    ):
        code, _, err = await gateway(*await read(home, provider, "bill", *options))
        assert code != 0
        assert says in err

    code, _, err = await gateway("grant", "follow", "confirm", follow[:4])
    assert (code, err) == (2, f"gateway: no period of decision {follow[:8]} asks anything\n")
    code, out, _ = await gateway("grant", "follow", "end", follow[:4])
    assert out.splitlines() == [
        "the prices 'Day ahead' of ACME Energy are no longer followed",
        "bills granted until now: 1. They stay granted; gateway grant revoke ends one",
    ]
    code, out, _ = await gateway("grant", "follow", "list")
    assert out == "No price series is followed.\n"
    code, out, _ = await gateway("grant", "follow", "list", "--all")
    assert "ended at" in out
    code, _, err = await gateway("grant", "follow", "end", "xy")
    assert "no decisions begin with 'xy'" in err


async def test_what_a_period_asks_is_confirmed_by_command(
    home: Home, provider: Provider, gateway: Run, tmp_path: Path
) -> None:
    """Prices so high that one bill says more than a decision covers."""
    await home.publish()
    await home.grants(provider, "1h", from_ms=0)  # so that its card is known
    card = str(provider.folder / "card.cose")
    store = ("--key", str(provider.folder), "--store", str(home.folder / "store"))
    new = ["grant", "follow", "new", "Day ahead", "--to", card, "--granularity", "day", "--purpose", "tests"]
    code, _, err = await gateway(*new, "--zone", "UTC", "--from", "2026-05-30T00:00:00Z")
    assert code == 0, err
    lines = prices(tmp_path / "prices.csv", datetime(2026, 5, 30, tzinfo=UTC), 24).read_text()
    (tmp_path / "prices.csv").write_text(lines.replace(",0.", ",99."))
    path = str(tmp_path / "prices.csv")
    code, _, err = await gateway(
        "provider", "price", "publish", path, *store, "--name", "Day ahead", "--currency", "EUR"
    )
    assert code == 0, err
    await home.session.follower.tick()
    code, out, _ = await gateway("grant", "follow", "list")
    follow = out[:8]
    assert "asks: the bill says up to 17 bits" in " ".join(out.split())
    code, out, err = await gateway("grant", "follow", "confirm", follow)
    assert code == 3
    assert "the bill says up to 17 bits" in err
    code, out, err = await gateway("grant", "follow", "confirm", follow, "--yes")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "is granted"
    code, out, _ = await gateway("grant", "follow", "list")
    assert "stands, bills granted: 1" in out
