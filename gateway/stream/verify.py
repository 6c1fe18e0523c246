"""Verification of a whole stream, from its first chunk on: each invalid object is named.

It shows whether the store keeps what the gateway signed, and needs no grant. It goes on after an invalid
object, and what that explains is not reported again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count, takewhile

import numpy as np
from numpy.typing import NDArray

from gateway.chain.grant import Grant
from gateway.chain.layout import Run
from gateway.chain.windows import GrantWindows
from gateway.errors import Refused, UsageError
from gateway.store.bucket import Bucket
from gateway.stream.chunks import ChainFollower, Problem, check_chunk
from gateway.stream.fetch import get, listed, objects
from gateway.stream.grants import (
    check_grant,
    check_revocation,
    grant_id_in,
    listed_grants,
    missing_grant,
    missing_revocation,
)
from gateway.stream.page_audit import PageAudit
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen
from gateway.stream.tokens import check_bundle
from gateway.wire import names
from gateway.wire.grant import Tokens
from gateway.wire.stream import Descriptor, Head


@dataclass(slots=True)
class Tally:
    """What was examined so far, and how many problems there are. `head` is None unless it is valid."""

    head: Head | None = None
    chunks: int = 0
    units: int = 0
    incarnations: int = 0
    grants: int = 0
    bundles: int = 0
    pages: int = 0
    problems: int = 0


async def verify(
    bucket: Bucket,
    stream: bytes,
    signer: bytes,
    seen: Seen | None,
    on_problem: Callable[[Problem], None],
    on_chunk: Callable[[Tally], None],
    grants: Collection[bytes] | None = None,
) -> Tally:
    """Examine the descriptor, the head, all chunks, all pages, all grants, or those of the ids `grants`, and
    their tokens.

    `on_problem` gets each problem as it is found, `on_chunk` the tally after each chunk. The head is
    remembered in `seen` if no problem was found. NotFound where the store has nothing of the stream;
    StoreUnavailable and StoreDenied end the verification early.
    """
    tally = Tally()

    def report(problem: Problem) -> None:
        tally.problems += 1
        on_problem(problem)

    try:
        reader = await StreamReader.open(bucket, stream, signer, seen, grants)
    except Refused as error:
        report(Problem(names.descriptor(stream), str(error)))
        return tally
    no_head, head_key = False, names.head(stream)
    try:
        tally.head = await reader.read_head()
        no_head = tally.head is None
    except Refused as error:
        report(Problem(head_key, str(error)))
    runs = await _verify_chunks(reader, tally, report, on_chunk)
    if no_head and tally.chunks:
        report(Problem(head_key, f"{head_key} is missing, and the store holds chunks"))
    await _verify_grants(reader, runs, tally, report)
    if tally.head is not None and not tally.problems:
        reader.remember(tally.head)
    return tally


async def _verify_chunks(
    reader: StreamReader, tally: Tally, report: Callable[[Problem], None], on_chunk: Callable[[Tally], None]
) -> list[Run]:
    """Examine all chunks and pages; the runs of the valid chunks."""
    runs: list[Run] = []
    follower = ChainFollower.from_start(reader.descriptor, reader.descriptor_data, reader.marks(tally.head))
    pages = PageAudit(reader, tally.head, report)
    keys = listed(reader.bucket, names.chunks(reader.descriptor.stream))
    async with aclosing(objects(reader.bucket, keys)) as found:
        async for key, data in found:
            tally.chunks += 1
            try:
                chunk = check_chunk(reader.descriptor, key, data)
            except Refused as error:
                report(Problem(key, str(error)))
                follower.skip()
            else:
                assert data is not None
                tally.units += chunk.count
                if runs and (runs[-1].incarnation, runs[-1].end) == (chunk.incarnation, chunk.first):
                    runs[-1] = Run(chunk.incarnation, runs[-1].first, chunk.end)
                else:
                    runs.append(Run(chunk.incarnation, chunk.first, chunk.end))
                problems = follower.follow(key, chunk, data)
                for problem in problems:
                    report(problem)
                await pages.take(chunk, data, sound=not problems)
            tally.incarnations = follower.incarnations
            on_chunk(tally)
    if tally.head is not None:
        for problem in follower.finish(tally.head):
            report(problem)
    await pages.finish()
    tally.pages = pages.count
    return runs


async def _verify_grants(
    reader: StreamReader, runs: Sequence[Run], tally: Tally, report: Callable[[Problem], None]
) -> None:
    prefix = names.grants(reader.descriptor.stream)
    folder: _Folder | None = None
    shown = SealedRuns(runs)
    absent = set(reader.grants or ())
    revoked = set(() if tally.head is None else tally.head.revoked or ())  # as the head says
    if reader.grants is not None:
        revoked &= absent
    async with aclosing(objects(reader.bucket, listed_grants(reader))) as found:
        async for key, data in found:
            name, _, rest = key.removeprefix(prefix).partition("/")
            grant_id = grant_id_in(name)
            if grant_id is None or rest.partition("/")[0] not in _IN_A_GRANT:
                report(Problem(key, f"{key} is a name that version 1 does not have"))
                continue
            if folder is None or folder.id != grant_id:
                if folder is not None:
                    folder.finish(tally.head)
                absent.discard(grant_id)
                revoked.discard(grant_id)
                grant = await _grant(reader, grant_id)
                folder = _Folder(grant_id, grant, reader.descriptor, shown, tally, report)
            try:
                folder.take(key, rest, data)
            except Refused as error:
                report(Problem(key, str(error)))
    if folder is not None:
        folder.finish(tally.head)
    for grant_id in sorted(absent):
        key = names.grant(reader.descriptor.stream, grant_id)
        report(Problem(key, missing_grant(key)))
    for grant_id in sorted(revoked):
        key = names.revocation(reader.descriptor.stream, grant_id)
        report(Problem(key, missing_revocation(key)))


async def _grant(reader: StreamReader, grant_id: bytes) -> Grant | None:
    """The grant, which its day's bundles need and come before; None where it is invalid or missing."""
    key = names.grant(reader.descriptor.stream, grant_id)
    try:
        return check_grant(reader.descriptor, key, await get(reader.bucket, key))[1]
    except Refused:  # reported when its own turn comes
        return None


_BEYOND = 2**62  # all units of a stream lie below
_IN_A_GRANT = ("day", "grant.cose", "month", "new", "revoked.cose", names.SO_FAR)


class SealedRuns:
    """The incarnations of the units in the valid chunks."""

    def __init__(self, runs: Sequence[Run]) -> None:
        ordered = sorted(runs, key=lambda run: run.first)
        self._firsts = np.array([min(run.first, _BEYOND) for run in ordered], dtype=np.int64)
        self._ends = np.array([min(run.end, _BEYOND) for run in ordered], dtype=np.int64)
        self._incarnations = np.array([run.incarnation for run in ordered], dtype=np.uint64)

    def contradict(self, units: NDArray[np.int64], incarnations: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Of each of the units, whether a chunk holds it under another incarnation than is said here."""
        at = np.searchsorted(self._firsts, units, "right") - 1
        found = np.zeros(len(units), dtype=np.bool_)
        held = np.flatnonzero(at >= 0)
        run = at[held]
        found[held] = (units[held] < self._ends[run]) & (incarnations[held] != self._incarnations[run])
        return found


class _Folder:
    """The objects of one grant, which come in the order of their keys."""

    def __init__(
        self,
        grant_id: bytes,
        grant: Grant | None,
        descriptor: Descriptor,
        runs: SealedRuns,
        tally: Tally,
        report: Callable[[Problem], None],
    ) -> None:
        self.id = grant_id
        self._runs = runs
        self._grant = grant
        self._descriptor = descriptor
        self._tally = tally
        self._report = report
        self._there = False
        self._windows: list[tuple[int, int]] = []  # those that have tokens, of one fold after another
        # Of a calendar grant's windows, by number.
        self._edges: dict[int, int] = {} if grant is None else {0: grant.first}
        self._broken: list[int] = []  # the first windows of invalid bundles
        self._revoked_from: int | None = None

    def take(self, key: str, name: str, data: bytes | None) -> None:
        """Take the next object; Refused if it is invalid."""
        if name == "grant.cose":
            self._there = True
            self._tally.grants += 1
            check_grant(self._descriptor, key, data)
            return
        folder = name.partition("/")[0]
        if folder == names.SO_FAR:  # a reader does without it: its windows have their tokens in the folds
            self._tally.bundles += 1
            bundle = check_bundle(self._descriptor, self._grant, key, data)
            self._check_edges(key, bundle)
            self._check_sealed(key, bundle)
        elif folder in names.FOLDS:
            self._tally.bundles += 1
            first = names.number_in(key)
            try:
                bundle = check_bundle(self._descriptor, self._grant, key, data)
                self._check_edges(key, bundle)
                self._check_sealed(key, bundle)
            except Refused:
                self._broken.append(first)
                raise
            if self._grant is None:  # how many windows the bundle has is not known
                return
            if self._windows and self._windows[-1][1] == first:
                first = self._windows.pop()[0]
            self._windows.append((first, bundle.end_window(self._grant.words)))
        elif name == "revoked.cose":
            self._revoked_from = 0  # of an invalid one: no token is missed then
            self._revoked_from = check_revocation(self._descriptor, key, data).from_unit

    def _check_edges(self, key: str, bundle: Tokens) -> None:
        """Refused where the bundle has other edges than those before it of the same windows."""
        if self._grant is None or bundle.edges is None:
            return
        edges = dict(enumerate(bundle.edges, bundle.first_window))
        if any(self._edges.get(j, edge) != edge for j, edge in edges.items()):
            raise Refused(f"{key} has edges that do not join those of the grant's other bundles")
        self._edges |= edges

    def _check_sealed(self, key: str, bundle: Tokens) -> None:
        """Refused where the bundle's tokens are of units sealed under another incarnation than the chunks
        have: after a rolled-back ledger a store could mix what was sealed twice."""
        if self._grant is None:
            return
        first, end = bundle.first_window, bundle.end_window(self._grant.words)
        edges = bundle.edges or GrantWindows(self._grant).edges(first, end)
        last = np.array([min(edge, _BEYOND) - 1 for edge in edges[1:]], dtype=np.int64)
        starts = [window - first for window, _ in bundle.sealed]
        said = np.array([incarnation for _, incarnation in bundle.sealed], dtype=np.uint64)
        at = np.searchsorted(starts, np.arange(end - first), "right") - 1
        other = np.flatnonzero(self._runs.contradict(last, said[at]))
        if len(other):
            raise Refused(
                f"{key} has a token of window {first + int(other[0])} for other units than the chunks hold: "
                "they were sealed twice, and the store mixes the two"
            )

    def finish(self, head: Head | None) -> None:
        """After the last object: report what is missing. Each window must have its token in some fold. The
        gateway sends the tokens of closed windows before the head, those of past windows right after the
        grant."""
        if not self._there:
            key = names.grant(self._descriptor.stream, self.id)
            self._report(Problem(key, f"{key} is missing, and the store holds other objects of the grant"))
        if head is not None and self.id in (head.revoked or ()) and self._revoked_from is None:
            key = names.revocation(self._descriptor.stream, self.id)
            self._report(Problem(key, missing_revocation(key)))
            self._revoked_from = 0  # as for an invalid one
        at = 0
        for first, end in sorted(self._windows):
            if first > at:
                self._missing(at, first, "tokens of later windows are there")
            at = max(at, end)
        grant = self._grant
        # A load's tokens also end where the load monitoring centre's grant is revoked.
        if grant is None or grant.kind == "load" or head is None:
            return
        end = head.next_unit if self._revoked_from is None else min(head.next_unit, self._revoked_from)
        # A calendar grant's windows go on from the last edge that a bundle gives.
        settled = [self._edges[j] for j in takewhile(self._edges.__contains__, count())]
        try:
            complete = GrantWindows(grant, settled).complete(end)
        except UsageError:  # a head beyond the calendar, which no chunk reaches: that is reported
            return
        if head.time_ms > grant.issued_ms and complete > at:
            self._missing(at, complete, "the head is beyond its first window")

    def _missing(self, window: int, end: int, why: str) -> None:
        """Report that no bundle holds windows `window` to `end` - 1, unless an invalid one should."""
        if not any(window <= broken < end for broken in self._broken):
            key = names.bundle(self._descriptor.stream, self.id, window)
            self._report(Problem(key, f"{key} is missing: {why}"))
