"""Passwords as argon2id digests, made on threads of their own.

One digest takes 64 MiB for a while (RFC 9106, section 4, the second recommended option: t=3, p=4), so that
only a few are made at a time and only some wait; a flood of logins is turned away before it costs memory.
"""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from gateway.host.codes import typed_groups
from gateway.web.refusals import TooMany

_GROUPS, _GROUP = 4, 4

T = TypeVar("T")


class Passwords:
    """Makes and checks digests; `at_once` of them at a time, with at most `waiting` more in the queue."""

    def __init__(self, hasher: PasswordHasher | None = None, *, at_once: int = 2, waiting: int = 32) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="argon2")
        self._room = at_once + waiting
        self._nobodys: str | None = None

    async def digest(self, password: str) -> str:
        """The encoded digest of a password."""
        return await self._run(lambda: self._hasher.hash(_normal(password)))

    async def check(self, digest: str | None, password: str) -> tuple[bool, str | None]:
        """Whether the password is that of `digest`, and a new digest where the old one has other parameters.
        Without a digest (there is no such user) no password is right, which takes as long to find out."""
        return await self._run(lambda: self._check(digest, password))

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _check(self, digest: str | None, password: str) -> tuple[bool, str | None]:
        if self._nobodys is None:
            self._nobodys = self._hasher.hash(secrets.token_hex())
        try:
            self._hasher.verify(digest or self._nobodys, _normal(password))
        except (VerificationError, InvalidHashError):
            return False, None
        if digest is None:
            return False, None
        return True, self._hasher.hash(_normal(password)) if self._hasher.check_needs_rehash(digest) else None

    async def _run(self, work: Callable[[], T]) -> T:
        if self._room == 0:
            raise TooMany("many passwords are being checked: try again in a few seconds", 5)
        self._room -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._room += 1


def new_password() -> str:
    """A password of 79 random bits, to be typed by hand once: four groups of four letters."""
    return typed_groups(_GROUPS, _GROUP)


def _normal(password: str) -> str:
    """As RFC 8265, section 4.2 has it: one form for each text, however the keyboard composed it."""
    return unicodedata.normalize("NFC", password)
