"""Names that a person takes for one another.

A household sees a provider by its card's name, "verified by" the registrar. So no user gets a certificate for
a name that looks like that of another user's provider.
"""

from __future__ import annotations

import unicodedata

# Small letters of the Cyrillic and Greek alphabets, and digits, that look like Latin ones in one case or the
# other: from the confusables of Unicode Technical Standard 39. A capital I, a small l and 1 are one.
_LOOKS = {
    "a": "аα",
    "b": "вβ",
    "c": "с",
    "d": "ԁ",
    "e": "еε",
    "g": "ɡ",
    "h": "һнη",
    "j": "ј",
    "k": "кκ",
    "l": "iıіι1",
    "m": "мμ",
    "o": "оο0",
    "p": "рρ",
    "q": "ԛ",
    "s": "ѕ",
    "t": "тτ",
    "u": "υ",
    "v": "ν",
    "w": "ԝ",
    "x": "хχ",
    "y": "у",
}
_LATIN = str.maketrans({other: latin for latin, others in _LOOKS.items() for other in others})


def likeness(name: str) -> str:
    """What is left of a name where case, accents, spaces and signs do not count, nor whose alphabet a letter
    is of: the same for names that look the same."""
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    return "".join(one for one in letters.translate(_LATIN) if one.isalnum())
