"""Checks of a chunk: alone (`check_chunk`), and after the one before (`ChainFollower`).

The order is that of PROTOCOL.md, "What a reader checks": signature, form and place, then the chain of digests
and seq without a hole. No I/O here. Every sentence names the object by its key.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gateway.errors import Refused
from gateway.stream.times import spell
from gateway.wire import cose, names
from gateway.wire.stream import Chunk, Descriptor, Head


@dataclass(frozen=True, slots=True)
class Problem:
    """An invalid object, and a sentence that names it and says why."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class ChunkMark:
    """What identifies the chunk numbered `seq`: its digest, and the unit after its last."""

    seq: int
    digest: bytes
    next_unit: int


@dataclass(frozen=True, slots=True)
class Place:
    """A follower's position: behind the object `key`, whose mark this is."""

    key: str
    mark: ChunkMark
    incarnation: int | None


def check_chunk(
    descriptor: Descriptor, key: str, data: bytes | None, later: list[cose.Unverified] | None = None
) -> Chunk:
    """The chunk that the store holds under `key`; Refused unless it is valid by itself. With `later` its
    signature is put there, to be verified before the chunk is used."""
    if data is None:
        raise Refused(f"{key} is listed by the store but is not there")
    chunk = Chunk.read_at(key, data, descriptor.signing_key, descriptor.layout.unit_ms, later)
    _check_fits(descriptor, key, chunk)
    return chunk


def is_chunk_of(mark: ChunkMark, descriptor: Descriptor, key: str, data: bytes) -> bool:
    """Whether the store holds under `key` the chunk of `mark`, which a valid head gives. Bytes with its
    digest are the gateway's, so their own signature need not be checked. Refused where they do not fit."""
    chunk = Chunk.read_named(key, data, mark.digest, descriptor.layout.unit_ms)
    if chunk is None:
        return False
    _check_fits(descriptor, key, chunk)
    return (chunk.seq, chunk.end) == (mark.seq, mark.next_unit)


def _check_fits(descriptor: Descriptor, key: str, chunk: Chunk) -> None:
    layout = descriptor.layout
    if len(chunk.lanes) != len(descriptor.lanes):
        raise Refused(f"{key} holds {len(chunk.lanes)} lanes; the stream has {len(descriptor.lanes)}")
    if layout.link(chunk.first) != layout.link(chunk.end - 1):
        raise Refused(f"{key} reaches across the border of a link")
    if chunk.first < descriptor.start:
        raise Refused(f"{key} begins before the stream's start, unit {descriptor.start}")


class ChainFollower:
    """A walk along the chain from chunk to chunk, which finds what breaks it.

    It begins at the stream's start (`from_start`) or at the first chunk given. A chunk that was refused by
    itself is passed over with `skip`; what it explains is not reported again.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        marks: dict[str, ChunkMark],
        place: Place | None = None,
        incarnations: Collection[int] = (),
    ) -> None:
        """`marks` are chunks that the chain must contain, each keyed by the words that say who claims it.
        `place` and `incarnations` are those at which an earlier follower stopped (`stopped`)."""
        self._descriptor = descriptor
        self._marks = marks
        self._place = place
        self._skipped = 0
        self._incarnations = set(incarnations)
        self._listed: tuple[str, bytes, int] | None = None  # a page, the last chunk that it lists, its end

    @classmethod
    def from_start(cls, descriptor: Descriptor, data: bytes, marks: dict[str, ChunkMark]) -> ChainFollower:
        """A follower that expects the stream's first chunk; `data` is the descriptor's whole COSE_Sign1."""
        mark = ChunkMark(-1, cose.digest(data), descriptor.start)
        return cls(descriptor, marks, Place(names.descriptor(descriptor.stream), mark, None))

    @property
    def incarnations(self) -> int:
        """How many incarnations sealed the chunks so far."""
        return len(self._incarnations)

    @property
    def stopped(self) -> tuple[Place | None, frozenset[int]]:
        """Where it is now, and the incarnations that sealed the chunks so far: with these a later follower
        goes on. None for the place where the last units were read from pages."""
        return self._place, frozenset(self._incarnations)

    def fork(self) -> ChainFollower:
        """A copy that goes on behind the last valid chunk, while this follower stays."""
        other = ChainFollower(self._descriptor, self._marks, self._place)
        other._incarnations = set(self._incarnations)
        other._listed = self._listed
        return other

    def step_over(self, unit: int, page: tuple[str, bytes] | None) -> None:
        """Go on at `unit`, behind chunks that were not read. `page` is the key of the day page that ends
        there and its last child, which must be the chunk that holds the unit or the one before."""
        if self._place is None or self._place.mark.next_unit < unit:
            self._place, self._skipped = None, 0
            self._listed = None if page is None else (*page, unit)

    def skip(self) -> None:
        """Pass over the next object in order, which was refused by itself."""
        self._skipped += 1

    def follow(self, key: str, chunk: Chunk, data: bytes) -> list[Problem]:
        """Take the next valid chunk; returns what is wrong between it and the last one."""
        here = Place(key, ChunkMark(chunk.seq, cose.digest(data), chunk.end), chunk.incarnation)
        last = self._place
        if last is not None and last.key == key:  # read once more, where a window ends inside it
            if last == here:
                return []
            return [Problem(key, f"{key} has changed since it was read the last time")]
        problems = self._check_listed(here, chunk) if last is None else self._join(last, here, chunk)
        if last is not None and chunk.first < last.mark.next_unit:
            return problems  # the chain goes on from the chunk that was there first
        problems += self._check_marks(here)
        problems += self._check_incarnation(last, here)
        self._place, self._skipped = here, 0
        return problems

    def finish(self, head: Head) -> list[Problem]:
        """After the last chunk: returns what the head promises beyond it."""
        assert self._place is not None
        last = self._place.mark
        missing = head.seq - last.seq - self._skipped
        if missing <= 0:
            return []
        return [self._missing(self._place, head.next_unit, missing)]

    def _join(self, last: Place, here: Place, chunk: Chunk) -> list[Problem]:
        mark, key = last.mark, here.key
        if chunk.first < mark.next_unit:
            return [Problem(key, f"{key} begins inside {last.key}, which reaches to unit {mark.next_unit}")]
        if chunk.first == mark.next_unit and chunk.seq == mark.seq + 1:
            if chunk.previous == mark.digest:
                return []
            return [
                Problem(last.key, f"{last.key} is not the object that {key} was made to follow: replaced")
            ]
        missing = chunk.seq - mark.seq - 1 - self._skipped
        if chunk.first > mark.next_unit and missing > 0:
            return [self._missing(last, chunk.first, missing)]
        if self._skipped and missing == 0 and chunk.first > mark.next_unit:
            return []
        return [
            Problem(
                key,
                f"{key} is number {chunk.seq} and begins at unit {chunk.first};"
                f" after {last.key} must come number {mark.seq + 1} at unit {mark.next_unit}",
            )
        ]

    def _check_listed(self, here: Place, chunk: Chunk) -> list[Problem]:
        listed, self._listed = self._listed, None
        # A chunk that begins later does not show it: the reader reports what is missing before that.
        if listed is None or chunk.first > listed[2] or listed[1] in (here.mark.digest, chunk.previous):
            return []
        return [
            Problem(here.key, f"{here.key} does not go on where {listed[0]} ends: it is of another history")
        ]

    def _missing(self, last: Place, end: int, count: int) -> Problem:
        unit_ms, first = self._descriptor.layout.unit_ms, last.mark.next_unit
        span = f"from {spell(first, unit_ms)} to {spell(end, unit_ms)}"
        chunks = "1 chunk" if count == 1 else f"{count} chunks"
        if self._skipped:
            return Problem(last.key, f"after {last.key} {chunks} more are missing, {span}")
        key = names.chunk(self._descriptor.stream, first, unit_ms)
        return Problem(key, f"{key} is missing: the chunks' numbers leave out {chunks} {span}")

    def _check_marks(self, here: Place) -> list[Problem]:
        return [
            Problem(here.key, f"{here.key} is not the chunk number {mark.seq} that {holder}")
            for holder, mark in self._marks.items()
            if mark.seq == here.mark.seq and mark != here.mark
        ]

    def _check_incarnation(self, last: Place | None, here: Place) -> list[Problem]:
        """No incarnation comes back once another has sealed, and a TPM's counter only rises."""
        new = here.incarnation
        assert new is not None
        old = last.incarnation if last is not None else None
        ended = new in self._incarnations or (self._descriptor.assurance == "tpm" and new < (old or 0))
        self._incarnations.add(new)
        if old is None or new == old or not ended:
            return []
        return [
            Problem(here.key, f"{here.key} was sealed in incarnation {new}, which ended before {old} began")
        ]
