"""The way in: nothing is shown to who is not logged in."""

from __future__ import annotations

import pytest

from tests.support.pages import Browser


@pytest.mark.parametrize("path", ["/now", "/today", "/history", "/bills", "/privacy", "/nothing"])
async def test_a_stranger_is_led_to_the_login(stranger: Browser, path: str) -> None:
    answer = await stranger.ask(path)
    assert (answer.status, answer.headers["Location"]) == (303, "/login")


async def test_a_wrong_password_lets_nobody_in(stranger: Browser) -> None:
    answer = await stranger.log_in("another sentence")
    assert answer.status == 401
    assert "password is wrong" in await answer.text()
    assert (await stranger.ask("/now")).status == 303


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Das Passwort ist falsch."),
        ("fr", "Le mot de passe est faux."),
        ("nl", "Het wachtwoord is onjuist."),
    ],
)
async def test_an_error_is_said_in_the_page_s_language(stranger: Browser, language: str, text: str) -> None:
    stranger.language = language
    assert text in await (await stranger.log_in("another sentence")).text()


async def test_who_logs_in_is_led_to_the_first_page(stranger: Browser) -> None:
    for answer in (await stranger.log_in(), await stranger.ask("/")):
        assert (answer.status, answer.headers["Location"]) == (303, "/now")


async def test_who_is_logged_in_is_led_to_the_first_page(browser: Browser) -> None:
    answer = await browser.ask("/login")
    assert (answer.status, answer.headers["Location"]) == (303, "/now")
