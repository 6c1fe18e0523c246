"""Nonces for logins: good once, and for a short time.

A nonce carries its time and a MAC of it, so that giving one out takes no memory and a flood of askers
exhausts nothing; only those that were used are remembered, until they would have expired. The key is made at
each start: nonces of an earlier run are worth nothing.

    nonce = be64(expires, Unix ms) | 8 random bytes | HMAC-SHA256(key, the first 16 bytes)[:16]
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from gateway.host.clock import Clock, unix_ms
from gateway.web.refusals import NotAuthenticated
from gateway.wire.request import NONCE_BYTES

LIFETIME_MS = 120_000
_HALF = NONCE_BYTES // 2


class Nonces:
    """Gives nonces out and takes each back once."""

    def __init__(self, clock: Clock, lifetime_ms: int = LIFETIME_MS) -> None:
        self._clock = clock
        self._lifetime_ms = lifetime_ms
        self._key = secrets.token_bytes(32)
        self._used: dict[bytes, int] = {}  # digests, and until when each is good

    def new(self) -> tuple[bytes, int]:
        """A nonce, and until when it is good (Unix ms)."""
        expires_ms = unix_ms(self._clock) + self._lifetime_ms
        begin = expires_ms.to_bytes(8, "big") + secrets.token_bytes(_HALF - 8)
        return begin + self._mac(begin), expires_ms

    def use(self, nonce: bytes) -> None:
        """NotAuthenticated for a nonce that is not this registrar's, has expired or was used before."""
        now_ms = unix_ms(self._clock)
        if not hmac.compare_digest(self._mac(nonce[:_HALF]), nonce[_HALF:]):
            raise NotAuthenticated("the nonce is not one that this registrar gave out: ask for a new one")
        expires_ms = int.from_bytes(nonce[:8], "big")
        # One of the far future was given out before the clock was set back.
        if not now_ms < expires_ms <= now_ms + 2 * self._lifetime_ms:
            raise NotAuthenticated("the nonce has expired: ask for a new one")
        self._forget(now_ms)
        digest = hashlib.sha256(nonce).digest()
        if digest in self._used:
            raise NotAuthenticated("the nonce was used before: each is good once; ask for a new one")
        self._used[digest] = expires_ms  # which is later where the clock has gone back since it was given out

    def _mac(self, begin: bytes) -> bytes:
        return hmac.digest(self._key, begin, "sha256")[:_HALF]

    def _forget(self, now_ms: int) -> None:
        for digest, until_ms in list(self._used.items()):
            if until_ms > now_ms:
                break  # those behind it end within a few minutes too
            del self._used[digest]
