"""The setup from nothing, at the real setup of a gateway that waits for its configuration."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient, TestServer

from gateway.config import Config
from gateway.daemon.setup import Setup
from gateway.host.clock import Clock
from gateway.household.configuration import HouseholdConfig, HouseholdSection, ListenSection
from gateway.household.home import Household, open_household
from gateway.household.pages import setup as pages
from gateway.household.server import build_app
from gateway.simulate.home import Home
from gateway.simulate.modbus import serve
from tests.meters.bench import modbus_model
from tests.support.clock import FakeClock
from tests.support.pages import PASSWORD, Browser

SECRET = "a-secret-key-of-the-store"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


@pytest.fixture
async def household(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Household]:
    """A home whose gateway waits for its configuration, and is gone once that is written."""
    monkeypatch.setattr(pages, "_BEGIN_S", 0)
    socket = tmp_path / "control.sock"
    config = HouseholdConfig(
        household=HouseholdSection(state=tmp_path / "household", socket=socket),
        listen=ListenSection(host="127.0.0.1", port=0, tls=False),
    )
    waiting = asyncio.create_task(Setup(path).wait(socket))
    async with open_household(config, FakeClock()) as opened:
        while not socket.exists():  # noqa: ASYNC110 - what the task does
            await asyncio.sleep(0)
        yield opened
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.fixture
async def browser(household: Household) -> AsyncIterator[Browser]:
    """A browser that has just chosen the password."""
    async with TestClient(TestServer(build_app(household)), cookie_jar=CookieJar(unsafe=True)) as client:
        found = Browser(client)
        code = household.password.setup_code()
        form = await found.form_of("/welcome")
        answer = await found.post("/welcome", form=form, code=code, password=PASSWORD)
        assert (answer.status, answer.headers["Location"]) == (303, "/setup")
        yield found


@asynccontextmanager
async def meter(clock: Clock) -> AsyncIterator[int]:
    """The port of a simulated Modbus meter."""
    port = asyncio.get_running_loop().create_future()
    home = Home(seed=1, start_s=clock.wall() // 10**9)
    served = asyncio.create_task(
        serve(home, modbus_model("eastron-sdm630"), "127.0.0.1", 0, clock, listening=port.set_result)
    )
    try:
        yield await port
    finally:
        served.cancel()
        await asyncio.gather(served, return_exceptions=True)


async def send(browser: Browser, page: str, to: str = "", **fields: str) -> tuple[int, str]:
    """Send the form of a page: the status, and where it leads or what it shows."""
    answer = await browser.post(to or page, form=await browser.form_of(page), **fields)
    text = await answer.text()
    return answer.status, answer.headers.get("Location", text)


async def test_from_nothing_to_a_configuration(
    browser: Browser, household: Household, path: Path, tmp_path: Path
) -> None:
    """Each step as a person goes through it, with a simulated meter and a folder as store."""
    assert (await browser.ask("/setup")).headers["Location"] == "/setup/home"
    assert await send(browser, "/setup/home", zone="Europe/Berlin", language="en", name="Lindenstraße 7") == (
        303,
        "/setup",
    )
    assert household.zone == "Europe/Berlin"
    assert (await browser.ask("/setup")).headers["Location"] == "/setup/trust"
    assert (await send(browser, "/setup/trust", root="software"))[1] == "/setup/meters"

    (tmp_path / "bucket").mkdir()
    async with meter(household.clock) as port:
        place = {"place": "tcp", "host": "127.0.0.1", "port": str(port)}
        typed = {"profile": "eastron-sdm630", "name": "main", **place}
        status, shown = await send(browser, "/setup/meters", **typed)
        assert status == 200
        assert re.search(r'class="reading">[\d,.]+ kWh', shown)
        assert household.draft.meters == []
        assert (await send(browser, "/setup/meters", add="1", **typed))[1] == "/setup/meters"
    assert (await browser.ask("/setup")).headers["Location"] == "/setup/store"

    # It is left, and gone on with after the pages have started again.
    assert household.draft.open(household.config.household.state).meters == household.draft.meters

    to_folder = {"kind": "folder", "folder": str(tmp_path / "bucket")}
    assert (await send(browser, "/setup/store", **to_folder))[1] == "/setup/registrar"
    config = Config.load(path)
    assert config.trust.root == "software"
    assert [(one.name, one.tcp and one.tcp.port) for one in config.meter] == [("main", port)]
    assert not (household.config.household.state / "draft.json").exists()


async def test_what_cannot_be_is_said_at_its_form_and_what_was_typed_stays(
    browser: Browser, path: Path, tmp_path: Path
) -> None:
    for page, fields, sentence in (
        ("/setup/home", {"zone": "Berlin", "language": "en"}, "Berlin"),
        ("/setup/home", {"zone": "Europe/Berlin", "language": "xx"}, "language"),
        ("/setup/trust", {"root": "tpm"}, "TPM"),
        ("/setup/meters", {"profile": "no-such-meter", "place": "tcp", "host": "a"}, "model"),
        ("/setup/meters", {"profile": "eastron-sdm630", "place": "tcp", "host": "a", "port": "x"}, "number"),
        ("/setup/meters", {"profile": "eastron-sdm630", "place": "tcp", "host": ""}, "host"),
        ("/setup/meters", {"profile": "eastron-sdm630", "place": "serial", "device": "x"}, "device"),
        ("/setup/meters/search", {"host": "127.0.0.1", "device": "/dev/ttyUSB0"}, "one of the two"),
        ("/setup/store", {"kind": "s3", "bucket": "home"}, "both"),
        ("/setup/store", {"kind": "folder", "folder": str(tmp_path / "nowhere")}, "nowhere"),
        ("/setup/registrar", {"url": "nonsense"}, "nonsense"),
    ):
        shown = page.removesuffix("/search")
        status, text = await send(browser, shown, page, **fields)
        assert status in (200, 422), (page, fields)
        assert sentence in text, (page, fields)
        assert "Traceback" not in text
    assert not path.exists()


async def test_a_secret_of_the_store_is_shown_by_nothing(
    browser: Browser, household: Household, path: Path
) -> None:
    household.draft.trust = {"root": "software"}
    household.draft.add_meter({"name": "main", "profile": "eastron-sdm630", "tcp": {"host": "127.0.0.1"}}, {})
    fields = {"kind": "s3", "bucket": "home", "endpoint": "http://127.0.0.1:1", "key": "k", "secret": SECRET}
    status, text = await send(browser, "/setup/store", **fields)
    assert status == 422
    assert "127.0.0.1:1" in text
    assert SECRET not in text
    assert all(
        SECRET not in file.read_text(errors="replace") for file in path.parent.rglob("*") if file.is_file()
    )


async def test_the_keys_of_a_meter_that_were_forgotten_are_asked_for_again(
    browser: Browser, household: Household, tmp_path: Path
) -> None:
    section = {
        "name": "main",
        "profile": "dlms-generic",
        "tcp": {"host": "127.0.0.1"},
        "keys": "./secrets/meter-main",
    }
    household.draft.trust = {"root": "software"}
    household.draft.add_meter(section, {})
    (tmp_path / "bucket").mkdir()
    fields = {"kind": "folder", "folder": str(tmp_path / "bucket")}
    status, text = await send(browser, "/setup/store", **fields)
    assert status == 422
    assert "no longer known" in text


async def test_the_registrar_can_be_left_out(browser: Browser) -> None:
    assert (await send(browser, "/setup/registrar", skip="1"))[1] == "/setup"
    assert (await send(browser, "/setup/tariff", source="file"))[0] == 422
    assert (await send(browser, "/setup/tariff", skip="1"))[1] == "/setup/finish"


async def test_settings_change_the_language_and_end_a_login(browser: Browser, household: Household) -> None:
    assert (await send(browser, "/settings", language="de", zone="UTC", name="Zuhause"))[0] == 303
    assert "Einstellungen" in await browser.shown("/settings")
    other = household.logins.begin("Mozilla/5.0 (X11; Linux) Firefox/150.0", "192.168.1.9")
    assert "Firefox, Linux" in await browser.shown("/settings")
    found = household.logins.find(other)
    assert found is not None
    assert (await send(browser, "/settings", "/settings/logins/end", login=found.id))[0] == 303
    assert household.logins.find(other) is None


async def test_another_password_ends_all_other_logins(browser: Browser, household: Household) -> None:
    other = household.logins.begin("", "192.168.1.9")
    status, _ = await send(browser, "/settings", "/settings/password", present="wrong", new="a long sentence")
    assert status == 401
    assert household.logins.find(other) is not None
    new = {"present": PASSWORD, "new": "a long sentence"}
    assert (await send(browser, "/settings", "/settings/password", **new))[0] == 303
    assert household.logins.find(other) is None
    assert (await browser.ask("/settings")).status == 200
    await household.password.check("a long sentence", "a")


TARIFF = """
currency = "EUR"
zone = "Europe/Berlin"
[[import]]
price = "0.3215"
"""


async def test_a_tariff_is_taken_once_it_can_be_read(browser: Browser, household: Household) -> None:
    form = await browser.form_of("/settings")

    async def upload(text: str) -> tuple[int, str]:
        fields = aiohttp.FormData({"form": form, "source": "file"})
        fields.add_field("tariff", text.encode(), filename="tariff.toml")
        answer = await browser.answered(
            await browser.client.post(
                "/settings/tariff", data=fields, headers={"Origin": browser.origin}, allow_redirects=False
            )
        )
        return answer.status, await answer.text()

    status, text = await upload(TARIFF.replace("0.3215", "cheap"))
    assert status == 422
    assert "cheap" in text
    assert str(household.settings.tariff_file.parent) not in text
    assert household.tariffs.rates() is None
    assert (await upload("\x00[[["))[0] == 422
    assert (await upload(TARIFF))[0] == 303
    assert household.tariffs.rates() is not None
    assert "by the tariff’s file" in await browser.shown("/settings")
    assert (await send(browser, "/settings", "/settings/tariff", source="series"))[0] == 422
    assert household.tariffs.rates() is not None
    assert (await send(browser, "/settings", "/settings/tariff"))[0] == 303
    assert household.tariffs.rates() is None


async def test_a_home_that_is_not_set_up_goes_on_with_that(browser: Browser) -> None:
    answer = await browser.ask("/now")
    assert (answer.status, answer.headers["Location"]) == (303, "/setup")


async def test_a_search_says_what_it_lacks_and_stays_open(browser: Browser) -> None:
    for typed in ({"host": "", "device": ""}, {"host": "127.0.0.1", "device": "/dev/ttyUSB0"}):
        status, text = await send(browser, "/setup/meters", "/setup/meters/search", **typed)
        assert status == 422
        assert "Type the meter’s address in the network, or choose a serial port: one of the two." in text
        assert '<details class="numbers" open>' in text
    _, text = await send(browser, "/setup/meters", "/setup/meters/search", host="127.0.0.1:x", device="")
    assert "The port is a number, and not x." in text


async def test_a_search_takes_the_port_with_the_address(browser: Browser, household: Household) -> None:
    async with meter(household.clock) as port:
        _, text = await send(browser, "/setup/meters", "/setup/meters/search", host=f"127.0.0.1:{port}")
    for model in ("eastron-sdm120", "eastron-sdm630"):  # they answer alike
        assert f"<option>{model}</option>" in text


async def test_a_second_meter_takes_no_name_of_the_first(browser: Browser, household: Household) -> None:
    def fields(port: int) -> dict[str, str]:
        return {"profile": "eastron-sdm630", "place": "tcp", "host": f"127.0.0.1:{port}", "name": "main"}

    for _ in range(2):  # a double click adds it once
        await send(browser, "/setup/meters", add="1", **fields(5020))
    assert 'value="meter-2"' in (await browser.get("/setup/meters"))[1]
    status, text = await send(browser, "/setup/meters", add="1", **fields(5021))
    assert status == 422
    assert "There is a meter main already: give this one another name." in text
    assert [one["tcp"] for one in household.draft.meters] == [{"host": "127.0.0.1", "port": 5020}]


async def test_a_mistake_in_the_cards_file_is_shown(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "first-boot.json"
    monkeypatch.setattr(pages, "FIRST_BOOT", report)
    title = "The file gateway.toml on the card was not taken over"
    assert title not in (await browser.get("/setup/home"))[1]
    for nothing in ("", "[]", "{}", '{"errors": []}', '{"errors": 1}'):
        report.write_text(nothing)
        assert title not in (await browser.get("/setup/home"))[1]
    report.write_text('{"errors": ["gateway.toml, line 2: <hostname> must be a name"]}')
    _, shown = await browser.get("/setup/home")
    assert title in shown
    assert "gateway.toml, line 2: &lt;hostname&gt; must be a name" in shown
