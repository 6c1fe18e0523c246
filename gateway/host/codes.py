"""Codes that people type from a label or a screen: groups of random letters with hyphens between."""

from __future__ import annotations

import re
import secrets

LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""What codes are made of: none of these 31 is mistaken for another."""
_SETUP_CODE = re.compile(f"[{LETTERS}]{{5}}-[{LETTERS}]{{5}}")


def typed_groups(groups: int, letters: int) -> str:
    """So many groups of so many random letters of LETTERS, with hyphens between."""
    return "-".join("".join(secrets.choice(LETTERS) for _ in range(letters)) for _ in range(groups))


def new_setup_code() -> str:
    """A setup code, with which a home's first password is chosen: two groups of five letters, 49 random
    bits."""
    return typed_groups(2, 5)


def is_setup_code(text: str) -> bool:
    """Whether the text has the form of a setup code."""
    return _SETUP_CODE.fullmatch(text) is not None
