"""The summing service: gives away the sum of its halves over a set of homes, and never a single half.

Two sums over the same time and different sets would reveal the homes by which they differ, so for any instant
there is one set, for ever.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from gateway.chain.seal import MASK
from gateway.chain.token import read_words
from gateway.errors import NotGranted, Unavailable, UsageError
from gateway.host.files import write_durably
from gateway.provider.grants import own_grants
from gateway.provider.identity import Identity
from gateway.provider.load import Member, Window, locate
from gateway.provider.tokens import Opener

LEAST = 2
"""A sum over fewer homes is one home's."""


@dataclass(frozen=True, slots=True)
class _Summed:
    """[start_ms, end_ms) was summed over this set of homes alone."""

    start_ms: int
    end_ms: int
    homes: str


class SummingService:
    """The registrar's summing service. It records in `folder` what it has summed."""

    def __init__(self, folder: Path, identity: Identity, k_min: int) -> None:
        """`k_min` is the least number of homes that it sums over."""
        if k_min < LEAST:
            raise UsageError(f"k_min = {k_min}: expected at least {LEAST} homes")
        self._record = _Record(folder)
        self._identity = identity
        self._k_min = k_min

    async def add(self, homes: Sequence[Member], window: Window) -> int:
        """The sum of its halves for the set, modulo 2^64.

        NotGranted for too few homes, for a set other than the one that was summed over this time before, and
        where a home's grant has no such window; Unavailable while a token is not there yet.
        """
        streams = {home.stream for home in homes}
        if len(streams) < len(homes):
            raise UsageError("the set names a home twice: name each once")
        if len(streams) < self._k_min:
            raise NotGranted(f"a sum over {len(streams)} homes is not given away: use at least {self._k_min}")
        total = sum([await self._half(home, window) for home in homes]) & MASK
        set_id = hashlib.sha256(b"".join(sorted(streams))).hexdigest()
        self._record.claim(_Summed(window.start_ms, window.end_ms, set_id))
        return total

    async def _half(self, home: Member, window: Window) -> int:
        held = await own_grants(home.reader, self._identity, "load")
        own = next((one for one in held if one.grant.partner == home.grant), None)
        j, lane = locate(home, own, window)
        assert own is not None
        async with aclosing(Opener(home.reader, own).plaintexts(j, j + 1)) as plaintexts:
            async for _, plaintext in plaintexts:
                return read_words(plaintext, len(own.grant.lanes))[lane]
        raise Unavailable(f"the token of stream {home.stream.hex()} for this window is not in the store yet")


class _Record:
    """The record of what was summed over which sets: one JSON file, durable before an answer is given."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "summed.json"

    def claim(self, new: _Summed) -> None:
        """Reserve a time for a set, for ever; NotGranted where part of it is another set's."""
        try:
            with self._path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # two services on one folder answer one after the other
                known = self._load()
                for one in known:
                    if one.homes != new.homes and one.start_ms < new.end_ms and new.start_ms < one.end_ms:
                        raise NotGranted(
                            f"from {one.start_ms} to {one.end_ms} ms of Unix time another set of homes was "
                            "summed: a second sum would reveal the homes by which the sets differ"
                        )
                self._save(_joined([*known, new]))
        except OSError as error:
            raise UsageError(f"{self._path} cannot be used: {error.strerror}") from None

    def _load(self) -> list[_Summed]:
        try:
            known = [
                _Summed(int(a), int(b), str(homes)) for a, b, homes in json.loads(self._path.read_bytes())
            ]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError):
            raise UsageError(
                f"{self._path} is damaged, so it is not known what was summed, and nothing more may be: "
                "restore it from a backup"
            ) from None
        return known

    def _save(self, known: Sequence[_Summed]) -> None:
        document = [[one.start_ms, one.end_ms, one.homes] for one in known]
        write_durably(self._path, json.dumps(document).encode(), 0o644)


def _joined(summed: Sequence[_Summed]) -> list[_Summed]:
    """The same times and sets in order, in as few entries as possible."""
    joined: list[_Summed] = []
    for one in sorted(summed, key=lambda one: (one.start_ms, one.end_ms)):
        last = joined[-1] if joined else None
        if last is not None and last.homes == one.homes and one.start_ms <= last.end_ms:
            joined[-1] = _Summed(last.start_ms, max(last.end_ms, one.end_ms), one.homes)
        else:
            joined.append(one)
    return joined
