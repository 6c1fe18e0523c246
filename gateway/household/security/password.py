"""The household's password: one for the home, as an argon2id digest. The first choice of one takes the setup
code, which only who can read this machine's disk, or its screen at the first start, knows."""

from __future__ import annotations

import hmac
from contextlib import suppress
from pathlib import Path

from argon2 import PasswordHasher

from gateway.errors import UsageError
from gateway.host.clock import Clock
from gateway.host.codes import is_setup_code, new_setup_code
from gateway.host.files import write_durably
from gateway.web.limits import Limits
from gateway.web.passwords import Passwords
from gateway.web.refusals import NotAuthenticated, TooMany

SHORTEST = 10
"""The fewest characters of a password."""
_LONGEST = 1000
_EVERYONE = ""


class Password:
    """The password and the setup code, in the state folder. Who fails often waits ever longer: an address
    after 10 times, and after 100 times everybody, who then waits a minute at most."""

    def __init__(self, state: Path, clock: Clock) -> None:
        self._digest = state / "password"
        self._code = state / "setup-code"
        # OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, one lane, which a Pi has to spare.
        self._passwords = Passwords(
            PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1), at_once=1, waiting=8
        )
        self._by_address = Limits(clock, free=10, most_s=900)
        self._by_everyone = Limits(clock, free=100, most_s=60)

    @property
    def chosen(self) -> bool:
        """Whether there is a password. Until then the pages take the setup code alone."""
        return self._digest.exists()

    def setup_code(self) -> str:
        """The setup code, made where there is none: two groups of five letters, 49 random bits. Once a
        password is chosen it is gone; UsageError then, and where it cannot be read or written."""
        if self.chosen:
            raise UsageError("a password was chosen, so that no setup code is valid")
        try:
            with suppress(FileNotFoundError):
                kept = self._code.read_text(encoding="ascii", errors="replace").strip()
                if is_setup_code(kept):  # nothing, or half of it, is easily guessed
                    return kept
            code = new_setup_code()
            write_durably(self._code, code.encode())
            return code
        except OSError as error:
            raise UsageError(f"the setup code {self._code} cannot be kept: {error.strerror}") from None

    def give(self, code: str) -> None:
        """Take a setup code that was made elsewhere, as on a label, in place of the present one. UsageError
        for what is none, once a password is chosen, and where it cannot be written."""
        if not is_setup_code(code):
            raise UsageError("this is not a setup code: two groups of five letters, such as abcde-fghjk")
        if self.chosen:
            raise UsageError("a password was chosen, so that no setup code is valid")
        try:
            write_durably(self._code, code.encode())
        except OSError as error:
            raise UsageError(f"the setup code {self._code} cannot be kept: {error.strerror}") from None

    async def choose(self, code: str, password: str, address: str) -> None:
        """Choose the first password. NotAuthenticated for a wrong setup code; TooMany for who tried too
        often; UsageError for a password that is too short."""
        self._charge(address)
        if self.chosen or not hmac.compare_digest(_bare(code), _bare(self.setup_code())):
            raise NotAuthenticated("this is not the setup code of this gateway")
        self._give_back(address)
        await self._set(password)

    async def change(self, present: str, password: str, address: str) -> None:
        """Choose another password; NotAuthenticated unless `present` is the present one."""
        await self.check(present, address)
        await self._set(password)

    async def check(self, password: str, address: str) -> None:
        """NotAuthenticated for a wrong password, TooMany for who tried too often."""
        self._charge(address)
        digest = self._digest.read_text(encoding="ascii", errors="ignore") if self.chosen else None
        right, renewed = await self._passwords.check(digest, password[:_LONGEST])
        if not right:
            raise NotAuthenticated("the password is wrong")
        self._give_back(address)
        if renewed is not None:
            with suppress(OSError):  # the old one serves too
                write_durably(self._digest, renewed.encode())

    def forget(self) -> str:
        """Forget the password: a new setup code, with which the next one is chosen."""
        self._digest.unlink(missing_ok=True)
        self._code.unlink(missing_ok=True)
        return self.setup_code()

    def close(self) -> None:
        """End the thread that makes digests."""
        self._passwords.close()

    async def _set(self, password: str) -> None:
        if not SHORTEST <= len(password) <= _LONGEST:
            raise UsageError(f"a password has at least {SHORTEST} characters: a short sentence is a good one")
        digest = await self._passwords.digest(password)
        write_durably(self._digest, digest.encode())
        self._code.unlink(missing_ok=True)

    def _charge(self, address: str) -> None:
        self._by_address.charge(address)
        try:
            self._by_everyone.charge(_EVERYONE)
        except TooMany:  # others' failures are not this address's
            self._by_address.give_back(address)
            raise

    def _give_back(self, address: str) -> None:
        self._by_address.forget(address)
        self._by_everyone.give_back(_EVERYONE)


def _bare(code: str) -> bytes:
    """A setup code's letters and digits: people type capitals, a space for the hyphen, or neither."""
    return "".join(one for one in code.lower() if one.isalnum()).encode()
