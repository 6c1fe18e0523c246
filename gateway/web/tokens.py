"""The random tokens of browsers: a cookie's value, and what the forms of its browser carry."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

TOKEN_BYTES = 32
TOKEN_FORM = re.compile("[A-Za-z0-9_-]{43}")
"""How a token looks."""


def new_token() -> str:
    """A cookie's value: of a login, or of a browser that has none yet."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def form_token(key: bytes, token: str) -> str:
    """What the forms of the browser with this cookie carry, so that no other site's form is taken. `key` is
    the server's own."""
    return hmac.new(key, token.encode(), hashlib.sha256).hexdigest()
