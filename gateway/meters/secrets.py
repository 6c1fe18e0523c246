"""A meter's keys and password, read from a private TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from gateway.errors import UsageError
from gateway.host.files import read_private

_KEYS = ("encryption_key", "authentication_key")
_FORM = (
    'lines such as encryption_key = "32 hex digits", authentication_key = "32 hex digits" and '
    'password = "...", those that the meter needs'
)


@dataclass(frozen=True, slots=True)
class Secrets:
    """A meter's global unicast encryption key and authentication key (16 bytes each), and the password for
    low-level security; None for what the meter does not have."""

    encryption_key: bytes | None = field(default=None, repr=False)
    authentication_key: bytes | None = field(default=None, repr=False)
    password: bytes | None = field(default=None, repr=False)


def read_secrets(path: Path) -> Secrets:
    """Read a TOML file of a meter's secrets. UsageError when it is missing, malformed or open to every user;
    the error never shows a line of it."""
    data = read_private(path, "the meter's keys")
    try:
        document = tomllib.loads(data.decode(), parse_float=Decimal)
    except UnicodeDecodeError:
        raise UsageError(f"{path} does not hold a meter's keys: it must have {_FORM}") from None
    except (ValueError, ArithmeticError, RecursionError):  # whose text may show the line
        raise UsageError(f"{path} is not valid TOML: it must have {_FORM}") from None
    if set(document) - {*_KEYS, "password"}:  # not shown: the name may be a key, put in the wrong place
        raise UsageError(f"{path} has a line for something else; it must have {_FORM}")
    password = document.get("password")
    if password is not None and not isinstance(password, str):
        raise UsageError(f'{path}: password must be a string, such as "00000001"')
    encryption_key, authentication_key = (_key(document.get(name), name, path) for name in _KEYS)
    return Secrets(encryption_key, authentication_key, password.encode() if password else None)


def _key(value: object, name: str, path: Path) -> bytes | None:
    if value is None:
        return None
    try:
        key = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        key = b""
    if len(key) != 16:
        raise UsageError(f"{path}: {name} must be a string of 32 hex digits, a key of 128 bits")
    return key
