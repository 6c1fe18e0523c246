"""Meters, the doctor and the configuration's text, with a gateway that answers what the test says."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.control.documents import (
    AcceptAnswer,
    AcceptRequest,
    HeldRegisterStatus,
    HoldStatus,
    MeterStatus,
)
from gateway.control.setup import ConfigurationOrder, ConfigurationStatus, Finding, digest_of
from gateway.errors import Refused, Unavailable, UsageError
from tests.support.clock import START_S
from tests.support.filled import fields as fields_of
from tests.support.pages import Answers, Browser, meter, reading, status, words

HOLD = HoldStatus(
    kind="rose",
    since_ms=START_S * 1000,
    registers=(
        HeldRegisterStatus(
            lane="import",
            believed_mwh=5_000_000,
            believed_ms=START_S * 1000,
            first_mwh=905_000_000,
            first_ms=START_S * 1000,
            latest_mwh=906_000_000,
            latest_ms=START_S * 1000,
            counts_mwh={"exchange": 1_000_000, "correction": 901_000_000, "before": 0},
        ),
    ),
    command="gateway meters accept main",
)
HELD = "since 12:00 it rose by 900 kWh at once"


@dataclass
class Gateway(Answers):
    """Also decides on held readings, examines, and has a configuration."""

    accepted: list[tuple[str, AcceptRequest]] = field(default_factory=list)
    orders: list[ConfigurationOrder] = field(default_factory=list)
    text: str = "# the present one\n"
    raced: str | None = None
    """What somebody else writes just before the next order."""

    async def accept(self, name: str, request: AcceptRequest) -> AcceptAnswer:
        if request.seen_mwh != {"import": 905_000_000}:
            raise UsageError("meter main: another register is held by now: look at it again")
        self.accepted.append((name, request))
        return AcceptAnswer(decision="main counts on", meter=meter("main"))

    async def doctor(self) -> tuple[Finding, ...]:
        return self._answer((Finding(part="store <b>", ok=False, sentence="it is <i>away</i>"),))

    async def configuration(self) -> ConfigurationStatus:
        return self._answer(ConfigurationStatus(path="/etc/gateway.toml", text=self.text, writable=True))

    async def configure(self, order: ConfigurationOrder) -> ConfigurationStatus:
        self.orders.append(order)
        if self.raced is not None:
            self.text, self.raced = self.raced, None
        if order.replaces not in (None, digest_of(self.text)):
            raise Refused("the configuration was changed by somebody else meanwhile")
        mistakes = ("[store] url is missing",) if "store" not in order.text else ()
        return ConfigurationStatus(path="/etc/gateway.toml", text=order.text, mistakes=mistakes)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def held() -> MeterStatus:
    return meter("main", held=HELD, hold=HOLD, sealing=False)


async def test_each_meter_is_shown_beside_its_display(gateway: Gateway, browser: Browser) -> None:
    gateway.now = status(meters=(meter("main"), meter("pv", error="it does not answer")))
    gateway.shown = (reading("main", import_=0, **{"import": 1_234_567_000, "power": -350}),)
    shown = await browser.shown("/meters")
    assert "1,234.567 kWh" in shown
    assert "-350 W" in shown
    assert "it does not answer" in shown


async def test_held_readings_are_decided_on(gateway: Gateway, browser: Browser) -> None:
    gateway.now = status(meters=(held(),))
    assert HELD in await browser.shown("/meters")
    shown = await browser.shown("/meters/main/held")
    assert "905.000 kWh" in shown
    assert "+901.000 kWh" in shown
    form = await browser.form_of("/meters/main/held")
    for fields, sentence in (
        ({"seen_import": "905000000"}, "Choose what happened"),
        ({"choice": "nothing", "seen_import": "905000000"}, "Choose what happened"),
        ({"choice": "correction", "seen_import": "1"}, "look at it again"),
        ({"choice": "correction", "seen_import": "²"}, "look at it again"),
        ({"choice": "correction"}, "look at it again"),
    ):
        answer = await browser.post("/meters/main/held", form=form, **fields)
        assert answer.status == 422
        assert sentence in await answer.text()
    assert gateway.accepted == []
    answer = await browser.post("/meters/main/held", form=form, choice="correction", seen_import="905000000")
    assert answer.headers["Location"] == "/meters"
    assert [(name, one.choice) for name, one in gateway.accepted] == [("main", "correction")]
    assert "main counts on" in await browser.shown("/meters")


async def test_what_is_held_no_more_cannot_be_decided_on(gateway: Gateway, browser: Browser) -> None:
    code, text = await browser.get("/meters/main/held")
    assert code == 400
    assert "nothing is held" in text.lower()


async def test_the_doctor_shows_what_it_found_as_text(gateway: Gateway, browser: Browser) -> None:
    answer = await browser.post("/doctor", form=await browser.form_of("/doctor"))
    text = await answer.text()
    assert "store &lt;b&gt;" in text
    assert "it is &lt;i&gt;away&lt;/i&gt;" in text


async def test_pages_open_without_a_gateway(gateway: Gateway, browser: Browser) -> None:
    gateway.error = Unavailable("no gateway answers")
    for path in ("/meters", "/meters/new", "/doctor", "/settings", "/setup/home", "/setup/meters"):
        code, text = await browser.get(path)
        assert code in (200, 422), path
        assert path in ("/settings", "/setup/home") or "no gateway answers" in text.lower(), path


async def test_a_configuration_with_mistakes_stays_in_the_form(gateway: Gateway, browser: Browser) -> None:
    assert "# the present one" in (await browser.get("/settings/configuration"))[1]
    form = await browser.form_of("/settings/configuration")
    answer = await browser.post("/settings/configuration", form=form, text="# mine </textarea>\r\n")
    text = await answer.text()
    assert answer.status == 422
    assert "[store] url is missing" in text
    assert "# mine &lt;/textarea&gt;" in text
    answer = await browser.post("/settings/configuration", form=form, text="[store]\r\n")
    assert answer.headers["Location"] == "/settings"
    assert gateway.orders[-1].text == "[store]\n"


@pytest.mark.parametrize("late", [False, True])
async def test_what_somebody_else_wrote_is_not_written_over(
    gateway: Gateway, browser: Browser, late: bool
) -> None:
    """Both texts are shown, and the next form takes the place of the one that was shown."""
    _, page = await browser.get("/settings/configuration")
    edited = fields_of(page, "/settings/configuration")
    theirs = "[store]\n# theirs <b>\n"
    gateway.text, gateway.raced = (gateway.text, theirs) if late else (theirs, None)
    answer = await browser.post("/settings/configuration", **{**dict(edited), "text": "[store]\n# mine\n"})
    assert answer.status == 409
    page = await answer.text()
    assert gateway.text == theirs
    assert "was changed meanwhile, and nothing was written" in words(page)
    assert "[store]\n# mine" in page
    assert "[store]\n# theirs &lt;b&gt;" in page
    both = {**dict(fields_of(page, "/settings/configuration")), "text": "[store]\n# both\n"}
    answer = await browser.post("/settings/configuration", **both)
    assert answer.headers["Location"] == "/settings"
    assert gateway.orders[-1].replaces == digest_of(theirs)


async def test_the_end_of_the_setup_says_whether_sealing_has_begun(
    gateway: Gateway, browser: Browser
) -> None:
    assert "The gateway runs, and seals what the meters show." in await browser.shown("/setup/finish")
    gateway.now = status(meters=(meter("main", stream=None),))
    assert "Sealing begins with the next full hour" in await browser.shown("/setup/finish")


async def test_a_store_that_is_sent_after_the_setup_ended_changes_nothing(
    gateway: Gateway, browser: Browser
) -> None:
    form = await browser.form_of("/settings")
    answer = await browser.post("/setup/store", form=form, kind="folder", folder="/srv/store")
    assert (answer.status, answer.headers["Location"]) == (303, "/setup")


async def test_what_the_gateway_says_is_in_the_language_of_the_page(
    gateway: Gateway, browser: Browser
) -> None:
    """And is marked as English where it is not known."""
    browser.language = "de"
    away = "the store in /mnt cannot be used: Input/output error"
    gateway.now = status(
        meters=(meter("main", error="cannot open 192.0.2.1:502: it is not a serial port"),),
        store=status().store.model_copy(update={"error": away, "waiting": 2}),
    )
    for path in ("/doctor", "/now"):
        shown = await browser.shown(path)
        assert "192.0.2.1:502 lässt sich nicht öffnen: das ist keine serielle Schnittstelle" in shown
    assert "der Speicher in /mnt kann nicht verwendet werden: Input/output error" in await browser.shown(
        "/doctor"
    )
    assert "192.0.2.1:502 lässt sich nicht öffnen" in await browser.shown("/meters")
    answer = await browser.post("/doctor", form=await browser.form_of("/doctor"))
    assert '<span lang="en"><bdi>it is &lt;i&gt;away&lt;/i&gt;</bdi></span>' in await answer.text()
    gateway.error = Unavailable(f"the gateway cannot run: {away}")
    answer = await browser.ask("/settings/configuration")
    assert "Das Gateway kann nicht laufen: der Speicher in /mnt" in words(await answer.text())
