"""Bills: what each supplier was told, beside the household's own sum."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pytest

from gateway.config.tariff import load_tariff
from gateway.control.documents import GrantStatus
from gateway.errors import Unavailable
from gateway.household.home import Household
from gateway.wire.cose import digest
from gateway.wire.tariff import tariff_body
from tests.support.energy import MINUTE_MS, FakeHistory, imported
from tests.support.pages import Answers, Browser, words

TARIFF = 'currency = "EUR"\nzone = "Europe/Berlin"\n[[import]]\nprice = "0.3215"\n'
MAY_20 = 1_779_228_000_000  # 2026-05-20T00:00+02:00


@pytest.fixture(autouse=True)
def granted(household: Household, gateway: Answers, tmp_path: Path) -> None:
    """A supplier with a grant of bills, rounded to a cent, since the middle of February."""
    household.settings.change(zone="Europe/Berlin")
    (tmp_path / "bill.toml").write_text(TARIFF)
    body = tariff_body(load_tariff(tmp_path / "bill.toml"))
    gateway.tariffs = {digest(body).hex(): body}
    gateway.given = (grant(digest(body).hex()),)


def grant(tariff: str, **changed: object) -> GrantStatus:
    return GrantStatus(
        id="11" * 16,
        stream="ab" * 16,
        meter="main",
        provider="Stadtwerke <i>Nord</i>",
        revoked_from_ms=None,
        windows_served=2,
        provider_kid="cd" * 16,
        kind="bill",
        granularity="month",
        zone="Europe/Berlin",
        lanes=("import",),
        purpose="electricity bill",
        from_ms=1_771_110_000_000,  # 2026-02-15T00:00+01:00
        until_ms=None,
        issued_ms=1_771_110_000_000,
        serial=1,
        tariff=tariff,
        partner=None,
        quantum=10**8,
    ).model_copy(update=changed)


async def test_what_was_told_is_the_own_sum_rounded(browser: Browser) -> None:
    start, end = 1_774_994_400_000, 1_777_586_400_000  # April 2026 in Berlin
    energy = int(imported(np.arange(start // MINUTE_MS, end // MINUTE_MS)).sum())
    own = Decimal(energy) * Decimal("0.3215") / 10**6
    told = own.quantize(Decimal("0.01"), ROUND_HALF_UP)
    _, page = await browser.get("/bills")
    text = words(page)
    difference = (told - own).quantize(Decimal("0.0001"))
    assert "rounded to €0.01" in text
    assert f"April 2026 €{told} €{own:.4f} {'-' if difference < 0 else ''}€{abs(difference)}" in text
    assert "May 2026 still running – – –" in text
    assert re.findall(r"class=\"nowrap\">(\w+)", page) == ["May", "April", "March"]
    assert "<i>Nord" not in page


async def test_what_was_not_told_yet_is_said(browser: Browser, gateway: Answers) -> None:
    gateway.given = tuple(one.model_copy(update={"windows_served": 0}) for one in gateway.given)
    assert re.search(r"April 2026 not told yet – €[\d.]+ –", await browser.shown("/bills"))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({}, "None of its periods has begun yet."),
        (
            {"revoked_from_ms": MAY_20},
            "It was revoked on 20 May 2026, before the first of its periods began: nothing was told",
        ),
        (
            {"until_ms": MAY_20},
            "It ended on 20 May 2026, before a whole period was over: nothing was told.",
        ),
        ({"from_ms": 1_500_000_000_000, "until_ms": 1_600_000_000_000}, "were over more than two years ago."),
    ],
)
async def test_why_there_is_no_bill_is_the_truth(
    browser: Browser, gateway: Answers, changed: dict[str, int], sentence: str
) -> None:
    """Of a grant since 15 May, whose first month is June."""
    since = {"from_ms": 1_778_796_000_000}
    gateway.given = tuple(one.model_copy(update=since | changed) for one in gateway.given)
    text = await browser.shown("/bills")
    assert sentence in text
    assert ("has begun yet" in text) is (not changed)


async def test_a_period_that_ran_when_its_grant_was_revoked_is_listed(
    browser: Browser, gateway: Answers
) -> None:
    gateway.given = tuple(
        one.model_copy(update={"revoked_from_ms": MAY_20, "from_ms": 1_777_586_400_000, "windows_served": 0})
        for one in gateway.given
    )
    text = await browser.shown("/bills")
    assert "May 2026 revoked before its end" in text
    assert "nothing will be" not in text


async def test_own_grants_are_no_supplier_s(browser: Browser, gateway: Answers) -> None:
    gateway.given = tuple(one.model_copy(update={"own": True}) for one in gateway.given)
    assert "No supplier has a grant of bills." in await browser.shown("/bills")


async def test_a_tariff_that_is_not_there_is_said_beside_the_supplier(
    browser: Browser, gateway: Answers
) -> None:
    gateway.tariffs = {}
    assert "Its prices cannot be read: no grant names the tariff" in await browser.shown("/bills")


async def test_a_gateway_or_store_that_does_not_answer_is_a_sentence(
    browser: Browser, gateway: Answers, history: FakeHistory
) -> None:
    history.error = Unavailable("the store does not answer")
    assert "The store does not answer." in await browser.shown("/bills")
    gateway.error = Unavailable("no gateway answers")
    assert "No gateway answers." in await browser.shown("/bills")
