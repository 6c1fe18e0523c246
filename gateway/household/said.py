"""The gateway's own sentences in the language of a page.

The gateway speaks English. A sentence that quotes nothing is in a catalogue as it is; one that quotes a name,
a number or another sentence is in `gateway.po` as a template, such as "cannot open %(where)s: %(why)s", and
what it quotes is translated in turn. A place called `name` is for one word. What no catalogue has stays
English.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from markupsafe import Markup

from gateway.household.i18n import gettext, language, translations
from gateway.household.settings import Language
from gateway.household.shown import foreign

_PLACE = re.compile(r"%\((\w+)\)s")
_WORD = r"[^\s:;,]+"
_LONGEST = 1000
"""Characters of a sentence for which templates are tried."""
_DEEPEST = 4


class _Template(NamedTuple):
    """A sentence with places for what it quotes, and its translation; `begin` is what it begins with."""

    begin: str
    form: re.Pattern[str]
    translated: str


def said(sentence: str) -> str:
    """A sentence of the gateway's in the page's language, as far as that is known."""
    return sentence if language() == "en" else _said(sentence, _DEEPEST)


def spoken(sentence: str) -> Markup:
    """The same for a page, as text that somebody else wrote; marked as English where it is."""
    text = said(sentence)
    if language() == "en" or text != sentence:
        return foreign(text)
    return Markup('<span lang="en">{}</span>').format(foreign(text))


def _said(sentence: str, deeper: int) -> str:
    found = gettext(sentence) if deeper == _DEEPEST else _whole(language()).get(sentence, sentence)
    if found != sentence or not deeper or len(sentence) > _LONGEST:
        return found
    for one in _templates(language()):
        if sentence.startswith(one.begin) and (match := one.form.fullmatch(sentence)):
            quoted = {name: _said(text, deeper - 1) for name, text in match.groupdict().items()}
            return one.translated % quoted
    for mark in ("; ", ": "):  # several sentences, or one behind what it is about
        before, _, behind = sentence.partition(mark)
        if behind and (translated := _said(behind, deeper - 1)) != behind:
            return f"{_said(before, deeper - 1)}{mark}{translated}"
    return sentence


@cache
def _whole(of: Language) -> Mapping[str, str]:
    """The sentences that quote nothing. What a sentence quotes is looked for here alone: it may be a name,
    such as a meter's, that is a word of a page too."""
    return {text: translated for text, translated in translations(of, "gateway.po") if "%(" not in text}


@cache
def _templates(of: Language) -> tuple[_Template, ...]:
    """The templates of a language, those that say the most first."""
    return tuple(sorted(_read(of), key=lambda one: -len(one.form.pattern)))


def _read(of: Language) -> Iterator[_Template]:
    for text, translated in translations(of, "gateway.po"):
        parts = _PLACE.split(text)  # text, name, text, name, ..., text
        if len(parts) > 1:
            form = "".join(
                f"(?P<{part}>{_WORD if part == 'name' else '.+?'})" if at % 2 else re.escape(part)
                for at, part in enumerate(parts)
            )
            yield _Template(parts[0], re.compile(form, re.DOTALL), translated)
