"""A grant by forms: previewed, its card's fingerprint compared, findings confirmed; none is made before."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.control.documents import GrantStatus
from gateway.household.home import Household
from gateway.provider.identity import KEY_FILE, new_identity
from tests.support.filled import fields, send, tags
from tests.support.home import Home
from tests.support.pages import Browser, words
from tests.support.provider import Provider

FORM = "/privacy/grant"
TARIFF = b'currency = "EUR"\nzone = "Europe/Berlin"\n[[import]]\nprice = "0.3215"\n'


async def granted(household: Household) -> list[GrantStatus]:
    """What providers were granted."""
    return [one for one in await household.control.grants() if isinstance(one, GrantStatus) and not one.own]


async def previewed(browser: Browser, provider: Provider, **typed: str) -> str:
    """The preview of a grant to this provider."""
    _, html = await browser.get(FORM)
    wanted = {"granularity": "1h", "purpose": "the bill", "do": "preview"} | typed
    answer = await send(browser, html, FORM, {"card": provider.card_bytes()}, **wanted)
    assert answer.status == 200, words(await answer.text())
    return await answer.text()


async def test_a_grant_is_previewed_then_made_once_the_fingerprint_is_compared(
    browser: Browser, household: Household, provider: Provider
) -> None:
    html = await previewed(browser, provider)
    shown = words(html)
    assert "Stadtwerke would be able to open one sum for each hour of energy from the grid" in shown
    assert "24 numbers for this day" in shown
    assert "nothing becomes known beyond what this grant opens by itself" in shown
    assert f"Its fingerprint is {provider.card.fingerprint}" in shown
    assert await granted(household) == []

    answer = await send(browser, html, FORM, do="grant")
    html = await answer.text()
    assert answer.status == 403
    assert "Nothing was granted yet: compare the fingerprint" in words(html)
    assert await granted(household) == []

    answer = await send(browser, html, FORM, do="grant", fingerprint=provider.card.fingerprint)
    (made,) = await granted(household)
    assert (answer.status, answer.headers["Location"]) == (303, f"/privacy/grants/{made.id}")
    assert (made.granularity, made.purpose, made.lanes) == ("1h", "the bill", ("import", "export"))
    assert "Stadtwerke may now open one sum for each hour" in await browser.shown(
        f"/privacy/grants/{made.id}"
    )
    assert "Stadtwerke may open one sum for each hour" in await browser.shown("/privacy")


async def test_another_card_of_the_same_name_is_warned_of(
    browser: Browser, home: Home, household: Household, provider: Provider
) -> None:
    await home.grants(provider, "1h")
    assert "first grant" not in words(await previewed(browser, provider))
    shown = words(await previewed(browser, Provider(home.clock.now_ms)))
    assert "Another card of Stadtwerke was granted something before" in shown


async def test_the_household_is_no_provider_to_choose(browser: Browser, household: Household) -> None:
    await household.history.prepare()
    assert await household.control.cards() == ()
    assert "this home (" not in await browser.shown(FORM)


async def test_a_wrong_fingerprint_grants_nothing(
    browser: Browser, household: Household, provider: Provider
) -> None:
    html = await previewed(browser, provider)
    answer = await send(browser, html, FORM, do="grant", fingerprint="0000-" * 7 + "0000")
    assert answer.status == 400
    assert "is not that of this card" in words(await answer.text())
    assert await granted(household) == []


async def test_findings_are_granted_only_where_they_were_shown_and_confirmed(
    browser: Browser, home: Home, household: Household, provider: Provider
) -> None:
    await home.grants(provider, "1h")
    html = await previewed(browser, provider, granularity="", other="90min")
    assert "together learn" in words(html) or "learns" in words(html)
    answer = await send(browser, html, FORM, do="grant")
    assert answer.status == 403
    assert "more becomes known than the grant says" in words(await answer.text())
    assert len(await granted(household)) == 1

    found = re.search(r'name="findings" value="(\w+)"', html)
    assert found is not None
    answer = await send(browser, html, FORM, do="grant", findings="0" * 64)
    assert (answer.status, len(await granted(household))) == (403, 1)
    answer = await send(browser, html, FORM, do="grant", findings=found[1])
    assert (answer.status, len(await granted(household))) == (303, 2)


async def test_a_bill_says_how_many_amounts_it_can_be(
    browser: Browser, household: Household, provider: Provider
) -> None:
    _, html = await browser.get(FORM)
    files = {"card": provider.card_bytes(), "tariff": TARIFF}
    answer = await send(
        browser, html, FORM, files, kind="bill", granularity="month", purpose="a bill", do="preview"
    )
    html = await answer.text()
    assert re.search(r"Each bill says at most [\d.]+ bits: it is one of some [\d,]+ amounts", words(html))
    assert "One number for a whole month. Of this day alone nothing can be told." in words(html)
    answer = await send(browser, html, FORM, do="grant", fingerprint=provider.card.fingerprint)
    (made,) = await granted(household)
    assert (made.kind, made.granularity, made.zone) == ("bill", "month", "Europe/Berlin")


async def test_a_share_takes_two_cards_and_both_fingerprints(
    browser: Browser, home: Home, household: Household
) -> None:
    centre, service = Provider(home.clock.now_ms, "Centre"), Provider(home.clock.now_ms, "Service")
    _, html = await browser.get(FORM)
    files = {"card": centre.card_bytes(), "service": service.card_bytes()}
    wanted = {"kind": "load", "granularity": "1h", "k_min": "20", "purpose": "the street", "do": "preview"}
    html = await (await send(browser, html, FORM, files, **wanted)).text()
    assert "Centre would be able to open a share in the neighbourhood’s sum for each hour" in words(html)
    assert "Service would be able to open" in words(html)
    assert "over at least 20 homes" in words(html)
    answer = await send(browser, html, FORM, do="grant", fingerprint=centre.card.fingerprint)
    assert (answer.status, await granted(household)) == (403, [])
    html = await answer.text()  # the one that was compared stays so
    prints = [centre.card.fingerprint, service.card.fingerprint]
    assert ("fingerprint", prints[0]) in fields(html, FORM)
    found = re.search(r'name="findings" value="(\w+)"', html)
    assert found is not None  # that the two could put their halves together
    answer = await send(browser, html, FORM, do="grant", fingerprint=prints, findings=found[1])
    assert answer.status == 303
    assert {(one.kind, one.provider, one.k_min) for one in await granted(household)} == {
        ("load", "Centre", 20),
        ("load", "Service", 20),
    }


async def test_everything_is_warned_of_and_granted_by_whole_links(
    browser: Browser, household: Household, provider: Provider
) -> None:
    html = await previewed(browser, provider, kind="raw")
    assert "This opens everything." in words(html)
    assert "Every single value, more finely than this picture shows." in words(html)
    assert "every single unit" in words(html)  # the finding
    found = re.search(r'name="findings" value="(\w+)"', html)
    assert found is not None
    await send(browser, html, FORM, do="grant", fingerprint=provider.card.fingerprint, findings=found[1])
    (made,) = await granted(household)
    assert (made.kind, made.granularity) == ("raw", "2h")


async def test_the_past_and_the_last_day_are_those_of_the_home(
    browser: Browser, household: Household, provider: Provider
) -> None:
    html = await previewed(browser, provider, granularity="day", first="2026-05-29", last="2026-06-05")
    shown = words(html)
    assert "It opens the past too, from 29 May 2026, 00:00 on" in shown
    assert "from 29 May 2026 to 5 Jun 2026" in shown
    await send(browser, html, FORM, do="grant", fingerprint=provider.card.fingerprint)
    (made,) = await granted(household)
    assert (made.until_ms or 0) - made.from_ms == 8 * 86_400_000
    assert made.zone == "Europe/Berlin"


MISTAKES = (
    ({"granularity": "", "other": "7 parsecs"}, "Granularity '7 parsecs': it must be"),
    ({"first": "yesterday"}, "The first day is not a date"),
    ({"purpose": " "}, "Purpose: it is empty"),
    ({"kind": "bill"}, "A bill needs the tariff’s file"),
    ({"kind": "load"}, "needs two cards"),
    ({"kind": "nothing"}, "Choose what may be opened"),
    ({"first": "2026-06-05", "last": "2026-06-01"}, "until must be later"),
    ({"last": "9999-12-31"}, "calendar"),
    ({"who": "00" * 32}, "does not know this card any more"),
)


async def test_a_mistake_is_told_at_the_form_and_nothing_typed_is_lost(
    browser: Browser, household: Household, provider: Provider
) -> None:
    _, empty = await browser.get(FORM)
    for typed, sentence in MISTAKES:
        wanted = {
            "purpose": "my <study>",
            "last": "2027-01-01",
            "granularity": "day",
            "do": "preview",
        } | typed
        answer = await send(browser, empty, FORM, {"card": provider.card_bytes()}, **wanted)
        html = await answer.text()
        assert answer.status in (400, 403)
        assert sentence in words(html)
        kept = dict(fields(html, FORM))
        assert "card_kept" in kept
        for name in set(wanted) - {"do", "who", "kind", "granularity"}:
            assert kept[name] == wanted[name].strip()
    assert await granted(household) == []


async def test_the_form_comes_back_filled_in_to_be_changed(
    browser: Browser, household: Household, provider: Provider
) -> None:
    html = await previewed(browser, provider, purpose="first thought")
    answer = await send(browser, html, FORM, do="change")
    html = await answer.text()
    assert dict(fields(html, FORM))["purpose"] == "first thought"
    answer = await send(browser, html, FORM, do="preview", purpose="second thought")
    assert "For: second thought" in words(await answer.text())


async def test_a_secret_key_is_no_card(browser: Browser, tmp_path: Path, household: Household) -> None:
    new_identity(tmp_path / "identity", "Stadtwerke", household.now_ms)
    _, html = await browser.get(FORM)
    key = (tmp_path / "identity" / KEY_FILE).read_bytes()
    answer = await send(browser, html, FORM, {"card": key}, purpose="x", do="preview")
    assert answer.status == 400
    assert "this is a SECRET key" in words(await answer.text()).replace("This", "this")


async def test_a_file_that_is_too_large_is_refused(browser: Browser, household: Household) -> None:
    _, html = await browser.get(FORM)
    answer = await send(browser, html, FORM, {"card": bytes(70_000)}, purpose="x", do="preview")
    assert answer.status == 400
    assert "too large to be a card" in words(await answer.text())


async def test_markup_in_a_name_and_a_purpose_is_shown_as_text(
    browser: Browser, home: Home, household: Household
) -> None:
    name, purpose = "<img src=x onerror=alert(1)>", "</bdi><script>alert('שלום')</script>"
    provider = Provider(home.clock.now_ms, name)
    html = await previewed(browser, provider, purpose=purpose)
    await send(browser, html, FORM, do="grant", fingerprint=provider.card.fingerprint)
    (made,) = await granted(household)
    pages = [html] + [
        (await browser.get(path))[1]
        for path in (
            "/privacy",
            f"/privacy/grants/{made.id}",
            f"/privacy/grants/{made.id}/revoke",
            f"/privacy/grant?instead={made.id}",
        )
    ]
    for html in pages:
        assert "img" not in tags(html)
        assert html.count("<script") == 1  # the page's own
        assert "onerror" not in html or "&lt;img src=x onerror" in html
    assert name in words(pages[1]).replace("&lt;", "<")


async def test_a_form_of_another_site_grants_nothing(browser: Browser, household: Household) -> None:
    form = await browser.form_of(FORM)
    for origin in ("http://evil.example", "null", None):
        answer = await browser.post(FORM, origin=origin, form=form, purpose="x", do="grant")
        assert answer.status == 403
    answer = await browser.post(FORM, form="0" * len(form), purpose="x", do="grant")
    assert answer.status == 403
    assert await granted(household) == []
