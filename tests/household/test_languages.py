"""The languages of the pages: what is shown in English is there in the others too, with the same places."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from gateway.household.security.password import SHORTEST

MAIN = (  # what the pages that everybody opens consist of: complete in every language
    "base.html", "error.html", "login.html", "welcome.html", "macros.html", "parts/", "now.html", "now/",
    "today.html", "history.html", "bills.html", "energy/", "entry.py", "now.py", "today.py", "history.py",
    "appliances.html", "appliances.py",
    "privacy", "pages/privacy/", "words.py",
    "bills.py", "server.py", "render.py", "shown.py", "troubles.py", "picture.py",
    "messages.html", "messages/", "messages.py",
    "setup", "meter", "settings", "doctor", "pages/", "tariff_form.py", "draft.py",
)  # fmt: skip
_METHODS = [("templates/**.html", "jinja2"), ("**.py", "python")]
_OPTIONS = {"templates/**.html": {"newstyle_gettext": "true", "trimmed": "false"}}
_KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2)}
_NAMED = re.compile(r"%\((\w+)\)s")
PACKAGE = resources.files("gateway.household")


def _texts() -> Iterator[tuple[str, str, str | None]]:
    """Each text of the main pages: its file, and its plural where it has one."""
    found = extract_from_dir(
        str(PACKAGE), method_map=_METHODS, options_map=_OPTIONS, keywords=_KEYWORDS, strip_comment_tags=True
    )
    for file, _line, text, _comments, _context in found:
        name = file.removeprefix("templates/")
        if any(name.startswith(one) or name.endswith(f"/{one}") or name == one for one in MAIN):
            one, many = text if isinstance(text, tuple) else (text, None)
            yield file, one, many


def _catalogue(language: str) -> dict[str, tuple[str, ...]]:
    found = {}
    for file in PACKAGE.joinpath("languages", language).iterdir():
        with file.open("rb") as opened:
            for message in read_po(opened, locale=language):
                if message.id:
                    one = message.id[0] if isinstance(message.id, tuple | list) else message.id
                    text = message.string
                    found[one] = (text,) if isinstance(text, str) else tuple(text or ())
    return found


@pytest.mark.parametrize("language", ["de", "nl", "fr"])
def test_the_main_pages_are_whole(language: str) -> None:
    catalogue = _catalogue(language)
    texts = list(_texts())
    assert len(texts) > 100
    missing = [(file, one) for file, one, _many in texts if not all(catalogue.get(one, ("",)))]
    assert not missing
    for _file, one, many in texts:
        places = set(_NAMED.findall(one)) | set(_NAMED.findall(many or ""))
        for translated in catalogue[one]:
            assert set(_NAMED.findall(translated)) == places, one
        assert len(catalogue[one]) == (1 if many is None else 2), one


@pytest.mark.parametrize("language", ["de", "nl", "fr"])
def test_an_error_that_is_translated_is_raised_word_for_word(language: str) -> None:
    raised = {
        one.value
        for path in Path(str(resources.files("gateway"))).rglob("*.py")
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(one, ast.Constant)
    } | {f"a password has at least {SHORTEST} characters: a short sentence is a good one"}
    with PACKAGE.joinpath("languages", language, "errors.po").open("rb") as opened:
        translated = {message.id for message in read_po(opened, locale=language) if message.id}
    assert translated
    assert not translated - raised
