"""A load: sums over many homes, of which neither of its two parties can open a single one.

A token of a load holds a word of each party, from that party's own key chain. The load monitoring centre
(gateway.centre) subtracts its own words; the summing service (gateway.registrar) gives away only the sum of
its words over the set of homes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeVar

import numpy as np

from gateway.chain.grant import Grant
from gateway.chain.keys import KeyChain, be64
from gateway.chain.seal import U64
from gateway.chain.token import incarnation_of, masks
from gateway.chain.window import Granularity
from gateway.errors import GatewayError, NotGranted, Refused, StoreUnavailable, Unavailable, UsageError
from gateway.provider.desk import AT_ONCE, side_by_side
from gateway.provider.grants import OwnGrant, held_by, limit_of
from gateway.provider.identity import Identity
from gateway.stream.bundles import BundleReader
from gateway.stream.grants import grants
from gateway.stream.reader import StreamReader
from gateway.stream.times import spell

MAX_WINDOWS = 2**16
"""In one request: a year of quarter hours is 35 040."""
_SHOWN = 20  # homes that one sentence names

Role = Literal["centre", "service"]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Member:
    """A home of a set: its stream, and the id of the centre's grant there, which both parties know."""

    reader: StreamReader
    grant: bytes

    @property
    def stream(self) -> bytes:
        """The stream's id."""
        return self.reader.descriptor.stream


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows and lanes that are added up over a set: `times` are [start_ms, end_ms) of Unix time, in
    ascending order, each a window of each home's grant. Arrays of them have the shape [window, lane]."""

    lanes: tuple[str, ...]
    times: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.lanes or not 1 <= len(self.times) <= MAX_WINDOWS:
            raise UsageError(
                f"{len(self.times)} windows of {len(self.lanes)} lanes: expected 1 to {MAX_WINDOWS} windows, "
                "and a lane at least"
            )
        if any(start < end for (_, end), (start, _) in pairwise(self.times)):
            raise UsageError("the windows overlap, or are not in ascending order")

    @classmethod
    def between(
        cls, lanes: tuple[str, ...], from_ms: int, until_ms: int, granularity: str | None, zone: str = "UTC"
    ) -> Windows:
        """The windows of a granularity from one time to another; without a granularity, the one window
        between them. UsageError where a time is not a boundary between windows."""
        if until_ms <= from_ms:
            raise UsageError("the times end before they begin: until must be later than from")
        if granularity is None:
            return cls(lanes, ((from_ms, until_ms),))
        windows = Granularity.parse(granularity, 1, zone)
        for name, ms in (("from", from_ms), ("until", until_ms)):
            k = windows.index(ms)
            if windows.start(k) != ms:
                near = " or ".join(spell(windows.start(one), 1) for one in (k, k + 1))
                raise UsageError(
                    f"{name}: no window of {granularity} begins or ends at {spell(ms, 1)}: use {near}"
                )
        first, end = windows.index(from_ms), windows.index(until_ms)
        if end - first > MAX_WINDOWS:
            raise UsageError(f"{end - first} windows at a time: ask for {MAX_WINDOWS} at most")
        edges = sorted({windows.start(k) for k in range(first, end + 1)})  # a date that a zone skips has none
        return cls(lanes, tuple(pairwise(edges)))


@dataclass(frozen=True, slots=True)
class Answer:
    """The summing service's sums of its words over a set, modulo 2^64, an array [window, lane]; and for each
    window the `set_digest` of the homes."""

    windows: Windows
    sums: U64
    sets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """The two grants of a home's load, as one of the two parties holds them.

    `own` is the party's grant, with the bundles that are published with the service's, and the limit of
    whichever ends first. `others` are the grants by which the centre may learn something of the home without
    this service, with their limits: all of its grants on the stream but loads that this service sums. What
    another service has summed is not in this one's memory.
    """

    home: Member
    centre: Grant
    own: OwnGrant
    k_min: int
    others: tuple[tuple[Grant, int | None], ...]


@dataclass(frozen=True, slots=True)
class Words:
    """The tokens of a home, and this party's words in them, arrays [window, lane]; and the incarnation that
    sealed the last unit of each window."""

    tokens: U64
    own: U64
    incarnations: tuple[int, ...]


async def pair(home: Member, identity: Identity, role: Role) -> Pair:
    """The home's pair of grants, as its party of this role holds it. NotGranted where one of the two is
    missing, or the party's is another's; Refused for an invalid grant, and for two that do not fit together.
    """
    centre, service, others = None, None, []
    async for one in grants(home.reader):
        grant = one[2]
        if grant.kind == "load" and grant.id == home.grant and grant.partner is None:
            centre = one
        elif grant.partner == home.grant and service is None:
            service = one
        else:
            others.append(grant)
    own = centre if role == "centre" else service
    if centre is None or service is None or own is None or own[2].provider != identity.kid:
        raise NotGranted(
            f"it has no load grant {home.grant.hex()} for this party and its partner: name the load "
            "monitoring centre's grant"
        )
    ours, theirs = ((one.lanes, one.granularity, one.first) for one in (centre[2], service[2]))
    if ours != theirs:
        raise Refused(f"{service[0]} is not of the same windows and lanes as {home.grant.hex()}, its partner")
    held = await held_by(home.reader, identity, *own)
    limit, revoked = held.limit, held.revoked
    for _, _, grant in (centre, service):
        end, cut = await limit_of(home.reader, grant, home.reader.head)
        if end is not None and (limit is None or end < limit):
            limit, revoked = end, cut
    elsewhere = {grant.partner for grant in others if grant.provider != service[2].provider}
    of_the_centre = [
        grant
        for grant in (centre[2], *others)
        if grant.provider == centre[2].provider and (grant.kind != "load" or grant.id in elsewhere)
    ]
    limits = [(await limit_of(home.reader, grant, home.reader.head))[0] for grant in of_the_centre]
    bundles = BundleReader(home.reader, service[2])
    await bundles.settle()
    return Pair(
        home,
        centre[2],
        replace(held, limit=limit, revoked=revoked, bundles=bundles),
        max(one[2].k_min or 0 for one in (centre, service)),
        tuple(zip(of_the_centre, limits, strict=True)),
    )


def bounds(pair: Pair, windows: Windows) -> list[tuple[int, int]]:
    """The units [a, b) of each window in a home. NotGranted where they are not windows and lanes of the
    grant."""
    own, unit_ms = pair.own, pair.home.reader.descriptor.layout.unit_ms
    found = []
    lanes = [lane for lane in windows.lanes if lane not in own.grant.lanes]
    for start_ms, end_ms in windows.times:
        a, b = start_ms // unit_ms, end_ms // unit_ms
        exact = (a * unit_ms, b * unit_ms) == (start_ms, end_ms)
        one = (
            exact
            and own.covers(np.array([a, b])).all()
            and own.windows.window(own.windows.number(a)) == (a, b)
        )
        if lanes or not one:
            raise NotGranted(
                f"{own}, but it does not open one window of {', '.join(lanes or windows.lanes)} from "
                f"{spell(start_ms, 1)} to {spell(end_ms, 1)}"
            )
        found.append((a, b))
    return found


async def words(pair: Pair, windows: Windows) -> Words:
    """What is published of the windows in a home, and this party's own words there. NotGranted as for
    `bounds`; Unavailable while a token is not in the store."""
    own = pair.own
    numbers = [own.windows.number(a) for a, _ in bounds(pair, windows)]
    first = numbers[0]
    found = await published(pair, first, numbers[-1] + 1)
    for j, (start_ms, _) in zip(numbers, windows.times, strict=True):
        if j - first >= len(found.incarnations):
            raise Unavailable(f"the token of the window from {spell(start_ms, 1)} is not in the store yet")
    at = np.array(numbers) - first
    columns = [own.grant.lanes.index(lane) for lane in windows.lanes]
    return Words(
        found.tokens[at][:, columns], found.own[at][:, columns], tuple(found.incarnations[i] for i in at)
    )


async def published(pair: Pair, first: int, end: int) -> Words:
    """The same of the grant's windows `first` to `end` - 1 and all its lanes, as far as there are tokens in
    the store: perhaps of none."""
    own, width = pair.own, pair.own.grant.words
    tokens, found = (np.empty((end - first, width), dtype=np.uint64) for _ in range(2))
    incarnations: list[int] = []
    chain = KeyChain(own.k_0)
    async with aclosing(own.bundles.read(first, end)) as parts:
        async for part in parts:
            rows = slice(part.first - first, part.end - first)
            lo, hi = (window - part.bundle.first_window for window in (part.first, part.end))
            tokens[rows] = part.bundle.table(width)[lo:hi]
            found[rows] = masks(chain, part.sealed, part.first, part.end, width, part.bundle.cuts[lo:hi])
            incarnations += [incarnation_of(part.sealed, j) for j in range(part.first, part.end)]
    count = len(incarnations)
    return Words(tokens[:count], found[:count], tuple(incarnations))


def set_digest(windows: Windows, i: int, sealed: Iterable[tuple[bytes, int]]) -> str:
    """A name for the set of the i-th window, by its times and lanes, and by each home's stream and the
    incarnation that sealed the window's last unit: 32 hexadecimal digits. Two parties that read different
    tokens, or other windows, see it before they add them."""
    start_ms, end_ms = windows.times[i]
    members = sorted(stream + be64(incarnation) for stream, incarnation in sealed)
    window = be64(start_ms) + be64(end_ms) + ",".join(windows.lanes).encode("ascii")
    return hashlib.sha256(hashlib.sha256(window).digest() + b"".join(members)).hexdigest()[:32]


async def of_each(
    items: Sequence[Item], name: Callable[[Item], bytes], work: Callable[[Item], Awaitable[Result]]
) -> list[Result]:
    """What `work` gives for each home, in their order, several at a time. Where it fails, one error that
    names the streams for which it does, and has them as its `homes`: Refused where that is one of the errors,
    else of the first one's kind. StoreUnavailable at once, since it is about no home."""

    async def attempt(item: Item) -> Result | GatewayError:
        try:
            return await work(item)
        except StoreUnavailable:
            raise
        except GatewayError as error:
            return error

    results: list[Result] = []
    failed: list[tuple[bytes, GatewayError]] = []
    async with aclosing(side_by_side(map(attempt, items), AT_ONCE)) as found:
        at = 0
        async for one in found:
            if isinstance(one, GatewayError):
                failed.append((name(items[at]), one))
            else:
                results.append(one)
            at += 1
    if failed:
        sentences = [f"stream {stream.hex()}: {error}" for stream, error in failed[:_SHOWN]]
        more = [f"and {len(failed) - _SHOWN} more"] if len(failed) > _SHOWN else []
        worst = min((error for _, error in failed), key=lambda error: not isinstance(error, Refused))
        joint = type(worst)("; ".join(sentences + more))
        joint.homes = {stream.hex(): str(error) for stream, error in failed}
        raise joint
    return results
