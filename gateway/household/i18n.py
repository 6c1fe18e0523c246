"""The languages of the pages. English is what the code says; the others are in `languages/<language>/*.po`, a
file for each page, as gettext has them. Numbers, dates and money are spelt as CLDR has it, by Babel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from importlib import resources

from babel import Locale
from babel.messages.pofile import read_po

from gateway.household.settings import LANGUAGES, Language

_language: ContextVar[Language] = ContextVar("language", default="en")


def language() -> Language:
    """The language of the page that is being made."""
    return _language.get()


def use(chosen: Language) -> None:
    """Make what follows in this task in this language."""
    _language.set(chosen)


def locale() -> Locale:
    """The CLDR locale of the page that is being made. English is Britain's, whose days come before months."""
    return _locale(language())


@cache
def _locale(of: Language) -> Locale:
    return Locale("en", "GB") if of == "en" else Locale(of)


def negotiated(header: str) -> Language:
    """The language that an Accept-Language header likes best (RFC 9110, section 12.5.4); English without."""
    liked: list[tuple[float, int, Language]] = []
    for place, part in enumerate(header.split(",")[:20]):
        tag, _, weight = part.strip().partition(";q=")
        known = tag.partition("-")[0].lower()
        try:
            share = float(weight or 1)
        except ValueError:
            continue
        if known in LANGUAGES and share > 0:
            liked.append((-share, place, known))
    return min(liked)[2] if liked else "en"


def gettext(text: str) -> str:
    """A text in the page's language; as it is where there is no translation."""
    found = _catalogue(language()).get(text)
    return found if isinstance(found, str) else text


def ngettext(one: str, many: str, count: int) -> str:
    """The form of a text for this many things."""
    of = language()
    if of != "en" and isinstance(found := _catalogue(of).get(one), tuple):
        return found[_plural(of)(count)]
    return one if count == 1 else many


def _plural(of: Language) -> Callable[[int], int]:
    # CLDR, "Language Plural Rules": French has 0 and 1 in the singular.
    return (lambda count: int(count > 1)) if of == "fr" else (lambda count: int(count != 1))


def translations(of: Language, file: str) -> Iterator[tuple[str, str]]:
    """The texts of one file of a language, without plurals, and their translations; none where it has no such
    file."""
    path = resources.files("gateway.household").joinpath("languages", of, file)
    if path.is_file():
        with path.open("rb") as opened:
            for message in read_po(opened, locale=of):
                if isinstance(message.id, str) and message.id and isinstance(message.string, str):
                    yield message.id, message.string


@cache
def _catalogue(of: Language) -> Mapping[str, str | tuple[str, ...]]:
    """All translated texts of a language; of a text with plurals all its forms, by the singular. None where
    its files are missing: the pages are in English then."""
    found: dict[str, str | tuple[str, ...]] = {}
    folder = resources.files("gateway.household").joinpath("languages", of)
    if of == "en" or not folder.is_dir():
        return found
    for file in folder.iterdir():
        if not file.name.endswith(".po"):
            continue
        with file.open("rb") as opened:
            for message in read_po(opened, locale=of):
                if message.id and message.string and not message.fuzzy:
                    key = message.id[0] if isinstance(message.id, tuple | list) else message.id
                    text = message.string
                    found[key] = text if isinstance(text, str) else tuple(text)
    return found
