"""The summing service: gives away the sum of its words over a set of homes, and never a single word.

Sums over sets that share some homes, for one instant, would reveal the homes by which the sets differ. So at
any instant the sets that it answered for are equal or disjoint, for ever.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from gateway.chain.seal import MASK
from gateway.errors import NotGranted, UsageError
from gateway.host.files import write_durably
from gateway.provider.grants import own_grants
from gateway.provider.identity import Identity
from gateway.provider.load import Member, Window, locate, own_word, published
from gateway.wire.cose import kid_of

LEAST = 2
"""A sum over a single home would be that home's."""

_FILE = TypeAdapter(list[tuple[int, int, frozenset[str]]])


@dataclass(frozen=True, slots=True)
class _Summed:
    """A set of homes, as their streams' ids, that was summed over [start_ms, end_ms) of Unix time."""

    start_ms: int
    end_ms: int
    homes: frozenset[str]


class SummingService:
    """The registrar's summing service. It records in `folder` which sets it answered for."""

    def __init__(self, folder: Path, identity: Identity, k_min: int) -> None:
        """`k_min`: the least number of gateways whose homes it sums. The record must have been begun."""
        if k_min < LEAST:
            raise UsageError(f"k_min = {k_min}: expected at least {LEAST} gateways")
        self._record = _Record(folder)
        self._identity = identity
        self._k_min = k_min

    @staticmethod
    def begin(folder: Path) -> None:
        """Begin the record of a service that has answered nothing yet. UsageError where `folder` has one."""
        _Record(folder).begin()

    async def add(self, homes: Sequence[Member], window: Window) -> int:
        """The sum of its words for the set, modulo 2^64.

        NotGranted for too few gateways, for a set that shares some homes with another that was summed at an
        instant of the window, and where a home's grant has no such window; Unavailable while a token is not
        there yet.
        """
        streams = frozenset(home.stream.hex() for home in homes)
        if len(streams) < len(homes):
            raise UsageError("the set names a home twice: name each once")
        gateways = {kid_of(home.reader.descriptor.signing_key) for home in homes}
        if len(gateways) < self._k_min:
            raise NotGranted(
                f"only sums over homes of {self._k_min} gateways or more are given away; this set has homes "
                f"of {len(gateways)}"
            )
        total = sum([await self._word(home, window) for home in homes]) & MASK
        self._record.claim(_Summed(window.start_ms, window.end_ms, streams))
        return total

    async def _word(self, home: Member, window: Window) -> int:
        held = await own_grants(home.reader, self._identity, "load")
        own = next((one for one in held if one.grant.partner == home.grant), None)
        j, lane = await locate(home, own, window)
        assert own is not None
        return own_word(own, await published(home, own, j), lane)


class _Record:
    """The record of what was summed over which sets: one JSON file, durable before an answer is given."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "summed.json"

    def begin(self) -> None:
        """Write an empty record; UsageError where there is one, damaged or not."""
        with self._locked():
            if self._path.exists():
                raise UsageError(f"{self._path} is there already: a record is begun once")
            self._save([])

    def claim(self, new: _Summed) -> None:
        """From now on these homes are summed in this set alone at every instant of this time; NotGranted
        where some of them were summed in another."""
        with self._locked():
            known = self._load()
            for one in known:
                meet = one.start_ms < new.end_ms and new.start_ms < one.end_ms
                if meet and one.homes != new.homes and one.homes & new.homes:
                    raise NotGranted(
                        f"from {one.start_ms} to {one.end_ms} ms of Unix time another set of homes was "
                        "summed, which has some of these: a second sum would reveal the homes by which "
                        "the sets differ"
                    )
            self._save(_joined([*known, new]))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The folder's lock: of two services on one folder, also in two processes, one waits."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield
            finally:
                os.close(folder)
        except OSError as error:
            raise UsageError(f"{self._path} cannot be used: {error.strerror}") from None

    def _load(self) -> list[_Summed]:
        try:
            return [_Summed(*row) for row in _FILE.validate_json(self._path.read_bytes(), strict=True)]
        except FileNotFoundError:
            state = "missing"
        except ValueError:
            state = "damaged"
        raise UsageError(
            f"{self._path} is {state}, so nobody knows what was summed, and nothing more may be: put a copy "
            "of it back that has every sum"
        )

    def _save(self, known: Sequence[_Summed]) -> None:
        document = [[one.start_ms, one.end_ms, sorted(one.homes)] for one in known]
        write_durably(self._path, json.dumps(document).encode(), 0o644)


def _joined(summed: Sequence[_Summed]) -> list[_Summed]:
    """The same times of each set, in as few entries as can be."""
    joined: list[_Summed] = []
    for one in sorted(summed, key=lambda one: (sorted(one.homes), one.start_ms)):
        last = joined[-1] if joined else None
        if last is not None and last.homes == one.homes and one.start_ms <= last.end_ms:
            joined[-1] = _Summed(last.start_ms, max(last.end_ms, one.end_ms), one.homes)
        else:
            joined.append(one)
    return joined
