"""Evidence of what a grant opened, as a third party checks it who has the file and trusts the gateway.

Nothing is asked of a store, and no key is needed. The objects in the file are read as from a bucket, by the
same code as a stream in a store. What their tokens hold is not opened but taken from the file, and compared
with what the gateway committed to: PROTOCOL.md, "Disputes".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from gateway.chain.commitment import (
    COMMITMENT_BYTES,
    COMMITTED,
    OPENING_WORDS,
    bundle_commitment,
    commitments,
)
from gateway.chain.grant import Grant
from gateway.chain.layout import ENERGY, Run
from gateway.chain.seal import U64, signed
from gateway.chain.tariff import Tariff
from gateway.errors import NotFound, Refused, UsageError
from gateway.provider.bill import Bill, bill_of, weights_of
from gateway.store.bucket import is_key
from gateway.store.memory import MemoryBucket, NotedBucket
from gateway.stream.bundles import BundleReader, Part
from gateway.stream.chunks import ChainFollower
from gateway.stream.fetch import get
from gateway.stream.grants import check_grant
from gateway.stream.reader import ANY_AGE_MS, StreamReader
from gateway.stream.times import moment
from gateway.stream.verify import SealedRuns
from gateway.wire import names
from gateway.wire.cose import digest
from gateway.wire.evidence import MOST_WINDOWS, Evidence
from gateway.wire.kinds import class_at
from gateway.wire.stream import Chunk, Descriptor, Head
from gateway.wire.tariff import read_tariff_body


@dataclass(frozen=True, slots=True)
class Register:
    """A lane's register in mWh, as it was read off the meter at both ends; its last digit stands for `digit`
    mWh. `proven` is the sum in mWh that the gateway sealed between, `factor` what it multiplied by before."""

    lane: str
    start: int
    end: int
    digit: int
    proven: int
    factor: Decimal

    @property
    def difference(self) -> Decimal:
        """By how many mWh it rose, multiplied as the gateway does."""
        return (self.end - self.start) * self.factor

    @property
    def agrees(self) -> bool:
        """Whether the sum is the difference, as far as the last digits tell: each reading was cut after its
        own. A factor may have rounded both."""
        rounding = 0 if self.factor == 1 else 1
        return abs(self.difference - self.proven) < self.digit * self.factor + rounding


@dataclass(frozen=True, slots=True)
class Proven:
    """What evidence proves: window i of the claimed ones is units [edges[i], edges[i + 1]).

    Of a grant of sums, `sums` has each lane's int64 of every window; of a bill grant, `bills` has each
    window's bill. `registers` were compared with the sums, and nobody signed them but the provider.
    """

    evidence: Evidence
    descriptor: Descriptor
    head: Head
    grant: Grant
    edges: NDArray[np.int64]
    sums: Mapping[str, NDArray[np.int64]]
    bills: Sequence[Bill]
    registers: Sequence[Register]

    @property
    def period(self) -> tuple[datetime, datetime]:
        """When the claimed windows begin and end, UTC."""
        a, b = (moment(int(edge), self.descriptor.layout.unit_ms) for edge in self.edges[[0, -1]])
        return a, b

    @property
    def claims(self) -> tuple[int, ...]:
        """The numbers that the gateway's objects give."""
        totals = (signed(int(d.view(np.uint64).sum())) for d in self.sums.values())
        return tuple(bill.value for bill in self.bills) or tuple(totals)


async def prove(evidence: Evidence) -> Proven:
    """What the evidence proves. Refused, with a sentence, where an object in it is invalid, missing or not
    needed, an opening is not what the gateway committed to, or a claimed number is another."""
    proven, read = await replay(evidence)
    idle = [key for key, _ in evidence.objects if key not in read]
    if idle:
        raise Refused(f"{idle[0]} proves nothing here: evidence holds what its claim needs, and nothing else")
    if proven.claims != evidence.claims:
        at = next(
            (
                i
                for i, pair in enumerate(zip(proven.claims, evidence.claims, strict=False))
                if len({*pair}) > 1
            ),
            min(len(proven.claims), len(evidence.claims)),
        )
        raise Refused(f"the claimed number {at + 1} is not the one that the gateway's objects give")
    return proven


async def replay(evidence: Evidence) -> tuple[Proven, Mapping[str, bytes]]:
    """What the objects in the evidence prove, and those of them that this needs; the claimed numbers are not
    compared."""
    stray = [key for key, _ in evidence.objects if not is_key(key)]
    if stray:
        raise Refused(f"{stray[0]!r} is not a bucket's key")
    bucket = NotedBucket(MemoryBucket(dict(evidence.objects)))
    try:
        reader = await StreamReader.open(bucket, evidence.stream, evidence.signer, guesses=False)
        spki, unit_ms = reader.descriptor.signing_key, reader.descriptor.layout.unit_ms
        # All of them, though a reader may pass over one.
        found = [class_at(key).read_at(key, data, spki, unit_ms) for key, data in evidence.objects]
        runs = [Run(one.incarnation, one.first, one.end) for one in found if isinstance(one, Chunk)]
        await reader.refresh(0, ANY_AGE_MS)
        return await open_evidence(reader, evidence, SealedRuns(runs)), bucket.read
    except (NotFound, UsageError) as error:
        raise Refused(str(error)) from None


async def open_evidence(reader: StreamReader, evidence: Evidence, runs: SealedRuns) -> Proven:
    """What a stream, with its head read, proves by what the evidence reveals. `runs` are of the chunks at
    hand."""
    key = names.grant(evidence.stream, evidence.grant)
    data = await get(reader.bucket, key)
    if data is None:
        raise Refused(f"{key} is missing")
    grant = check_grant(reader.descriptor, key, data)[1]
    if grant.provider != evidence.provider:
        raise Refused(f"{key} is a grant to {grant.provider.hex()}, and {evidence.provider.hex()} claims it")
    if grant.kind not in COMMITTED:
        raise Refused(f"{key} is a {grant.kind} grant, of which there is no evidence")
    if reader.head is None:
        raise Refused(f"{names.head(evidence.stream)} is missing")
    tariff = _tariff(evidence, grant, key)
    bundles, revealed = BundleReader(reader, grant), _Revealed(evidence, grant)
    await bundles.settle()
    if bundles.windows.complete(reader.head.next_unit) < revealed.end:
        raise Refused("windows are claimed that had not ended at the head, or that are not granted")
    edges = np.array(bundles.windows.edges(revealed.first, revealed.end), dtype=np.int64)
    follower = ChainFollower(reader.descriptor, reader.marks(reader.head))
    bills: list[Bill] = []
    async with aclosing(bundles.read(revealed.first, revealed.end)) as parts:
        async for part in parts:
            words = revealed.words(part)
            _check_sealed(part, edges[part.first - revealed.first :], runs)
            if tariff is not None:
                bills += await _bills(reader, bundles, tariff, follower, part, words)
    revealed.finish()
    sums: dict[str, NDArray[np.int64]] = {}
    if tariff is None:
        d = await reader.sums(edges, grant.lanes, follower) - revealed.all_words.T
        sums = dict(zip(grant.lanes, d.view(np.int64), strict=True))
    registers = _registers(evidence, reader.descriptor, sums)
    return Proven(evidence, reader.descriptor, reader.head, grant, edges, sums, bills, registers)


class _Revealed:
    """What evidence reveals of the claimed windows, `first` to `end` - 1, checked bundle by bundle."""

    def __init__(self, evidence: Evidence, grant: Grant) -> None:
        width = OPENING_WORDS + grant.words
        self.first = evidence.first_window
        if len(evidence.opened) % (8 * width):
            raise Refused(f"an opening of this grant's windows has {8 * width} bytes")
        rows: U64 = np.frombuffer(evidence.opened, dtype="<u8").reshape(-1, width)
        if len(rows) > MOST_WINDOWS:
            raise Refused(f"evidence is of {MOST_WINDOWS} windows at most, and here are {len(rows)}")
        self.end = self.first + len(rows)
        self.all_words: U64 = rows[:, OPENING_WORDS:]
        before, after = evidence.before or b"", evidence.after or b""
        self._commitments = before + commitments(rows) + after
        self._begin = self.first - len(before) // COMMITMENT_BYTES
        self._at = self.first  # the first window that no bundle was compared for yet
        self._reach = [self.first, self.end]  # of the bundles

    def words(self, part: Part) -> U64:
        """P of the part's windows, [window, word]; Refused unless the bundle commits to them."""
        begin, end = part.bundle.first_window, part.bundle.end_window(self.all_words.shape[1])
        lo, hi = (COMMITMENT_BYTES * (window - self._begin) for window in (begin, end))
        each = self._commitments[max(lo, 0) : hi]
        if part.bundle.commitment is None:
            raise Refused(
                f"{part.key} has no commitment to what its tokens hold: nothing of it can be proven"
            )
        if bundle_commitment(each) != part.bundle.commitment:
            raise Refused(f"what is revealed of {part.key} is not what the gateway committed to")
        self._at = part.end
        self._reach = [min(begin, self._reach[0]), max(end, self._reach[1])]
        return self.all_words[part.first - self.first : part.end - self.first]

    def finish(self) -> None:
        """Refused unless there was a bundle for every window, and for every commitment."""
        if self._at < self.end:
            raise Refused(f"there is no bundle with the token of window {self._at}, which is claimed")
        if [self._begin, self._begin + len(self._commitments) // COMMITMENT_BYTES] != self._reach:
            raise Refused("there are commitments of windows that are in no bundle here")


def _tariff(evidence: Evidence, grant: Grant, key: str) -> Tariff | None:
    if grant.kind == "windows" and evidence.tariff is None:
        return None
    if evidence.registers is not None and grant.kind == "bill":
        raise Refused(f"{key} opens no sums, with which registers could be compared")
    if evidence.tariff is None or digest(evidence.tariff) != grant.tariff:
        raise Refused(f"the tariff is not the one that {key} names")
    return read_tariff_body(evidence.tariff, "the tariff")


async def _bills(
    reader: StreamReader,
    bundles: BundleReader,
    tariff: Tariff,
    follower: ChainFollower,
    part: Part,
    words: U64,
) -> list[Bill]:
    """The bills of a part's windows, whose tokens hold `words`."""
    assert part.bundle.weighed is not None  # checked with the bundle
    found = []
    for j, word in enumerate(words[:, 0].tolist(), part.first):
        weights = weights_of(bundles, tariff, j, part.bundle.weighed[j - part.bundle.first_window])
        bill = await bill_of(reader, bundles, tariff, follower, j, weights, word)
        if bill.value % bill.quantum:
            raise Refused(f"{part.key} does not round a bill to what the grant says")
        found.append(bill)
    return found


def _check_sealed(part: Part, edges: NDArray[np.int64], runs: SealedRuns) -> None:
    """Refused where a chunk has the last unit of a window under another incarnation than the bundle says."""
    starts = [window for window, _ in part.bundle.sealed]
    said = np.array([incarnation for _, incarnation in part.bundle.sealed], dtype=np.uint64)
    at = np.searchsorted(starts, np.arange(part.first, part.end), "right") - 1
    if runs.contradict(edges[1 : part.end - part.first + 1] - 1, said[at]).any():
        raise Refused(f"{part.key} has tokens for other units than the chunks hold: they were sealed twice")


def _registers(
    evidence: Evidence, descriptor: Descriptor, sums: Mapping[str, NDArray[np.int64]]
) -> list[Register]:
    found = []
    for lane, start, end, digit in evidence.registers or ():
        if lane not in sums or lane not in ENERGY:
            raise Refused(f"there is a register of {lane}, and no sum of it")
        proven = signed(int(sums[lane].view(np.uint64).sum()))
        found.append(Register(lane, start, end, digit, proven, descriptor.factor.energy))
    return found
