"""The gateway's own sentences in German: each is one that the code says, and what it quotes is said too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from gateway.daemon.held_command import SENTENCES
from gateway.household import i18n
from gateway.household.said import said, spoken

PACKAGE = resources.files("gateway.household")
_PLACE = re.compile(r"%\((\w+)\)s")


@pytest.fixture
def german() -> Iterator[None]:
    i18n.use("de")
    yield
    i18n.use("en")


def _texts() -> dict[str, str]:
    with PACKAGE.joinpath("languages/de/gateway.po").open("rb") as opened:
        return {one.id: one.string for one in read_po(opened, locale="de") if one.id}  # type: ignore[misc]


def _strings() -> Iterator[str]:
    """What the code can say, with NUL for what a string quotes."""
    for path in Path(str(resources.files("gateway"))).rglob("*.py"):
        if "household" in path.parts and "mqtt" not in path.parts:
            continue
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = one.values if isinstance(one, ast.JoinedStr) else [one]
            texts = [part.value if isinstance(part, ast.Constant) else "\0" for part in parts]
            if any(isinstance(text, str) and text.strip("\0 :.,()") for text in texts):
                yield re.sub(r"{\w+}", "\0", "".join(map(str, texts)))  # also what str.format fills in


def test_each_is_what_the_code_says() -> None:
    """So that a sentence that is worded anew does not lose its translation unseen. What the code puts
    together of several strings is made of parts that it says."""
    strings = set(_strings())
    forms = [(re.compile(".*".join(map(re.escape, one.split("\0")))), len(one)) for one in strings]
    everything = "\n".join(strings)
    for text in _texts():
        own = _PLACE.sub("\0", text)
        if any(length >= 0.8 * len(own) and form.fullmatch(own) for form, length in forms):
            continue
        parts = [part.strip(" ,.)(") for part in re.split(r": |; |\0", own)]
        assert not [part for part in parts if part not in everything], text


def test_each_has_the_same_places() -> None:
    texts = _texts()
    assert len(texts) > 150
    for text, translated in texts.items():
        assert sorted(_PLACE.findall(text)) == sorted(_PLACE.findall(translated)), text
        assert text != translated or "HTTP" in text
        translated % dict.fromkeys(_PLACE.findall(text), "x")


@pytest.mark.usefixtures("german")
def test_every_receipt_is_said() -> None:
    for sentence in SENTENCES.values():
        assert said(sentence) != sentence


@pytest.mark.usefixtures("german")
@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (
            "the bucket home at https://s3.example cannot be used now: it does not answer in time",
            "the bucket home at https://s3.example kann zurzeit nicht verwendet werden: er antwortet nicht "
            "rechtzeitig",
        ),
        (
            "the bucket home refuses: it does not know the access key; check the credentials "
            "(InvalidAccessKeyId (HTTP 403))",
            None,
        ),
        (
            "meter main: its import register fell; readings are held until it is back (since 2026-11-28 "
            "10:00:00 UTC)",
            "Zähler main: sein Register import ist gefallen; Ablesungen werden zurückgehalten, bis es wieder "
            "stimmt (seit 2026-11-28 10:00:00 UTC)",
        ),
        (
            "commands to meter main: device 1 at 192.0.2.1:502 does not answer within 1.5 s",
            "Befehle an Zähler main: Gerät 1 an 192.0.2.1:502 antwortet nicht innerhalb von 1.5 s",
        ),
        ("meter main", "Zähler main"),
        (
            "meter main at udp:9522 has sent nothing for 30 s, since another program is connected to it "
            "already",
            "Zähler main an udp:9522 hat seit 30 s nichts gesendet, da schon ein anderes Programm mit ihm "
            "verbunden ist",
        ),
        ("what nobody has translated: yet", "what nobody has translated: yet"),
        ("meter Now: it is not a serial port", "Zähler Now: das ist keine serielle Schnittstelle"),
    ],
)
def test_what_is_quoted_is_said_in_turn(sentence: str, expected: str | None) -> None:
    """A name is never translated, also where it is a word of the pages."""
    found = said(sentence)
    assert found != sentence if expected is None else found == expected


@pytest.mark.usefixtures("german")
def test_what_stays_english_is_marked_as_that() -> None:
    assert spoken("<b>unheard of</b>") == '<span lang="en"><bdi>&lt;b&gt;unheard of&lt;/b&gt;</bdi></span>'
    assert spoken("its time is over") == "<bdi>seine Zeit ist vorbei</bdi>"
    i18n.use("en")
    assert spoken("its time is over") == "<bdi>its time is over</bdi>"


@given(st.text(alphabet="%()s: ;meter ab", max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    i18n.use("de")
    try:
        assert isinstance(said(text), str)
    finally:
        i18n.use("en")
