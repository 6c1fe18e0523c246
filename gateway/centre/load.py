"""The load of a set of homes: the sum of their ciphertexts, less what two parties' words hide in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from gateway.chain import share
from gateway.chain.seal import U64
from gateway.errors import Unavailable, UsageError
from gateway.provider.identity import Identity
from gateway.provider.load import Answer, Member, Windows, bounds, of_each, pair, set_digest, words
from gateway.stream.chunks import ChainFollower
from gateway.stream.times import spell


@dataclass(frozen=True, slots=True)
class Part:
    """A home's part of the loads, [window, lane], and the incarnations that sealed the windows."""

    stream: bytes
    blinded: U64
    incarnations: tuple[int, ...]


async def load(homes: Sequence[Member], identity: Identity, answer: Answer) -> NDArray[np.int64]:
    """The load monitoring centre's result, an array [window, lane]: the sums over all homes of the set, in
    the lanes' own integers.

    NotGranted and Unavailable as for the summing service; Refused for an invalid chunk; UsageError where the
    service's answer is about another set, or about windows that a home has sealed again since.
    """
    windows = answer.windows

    total = np.zeros(answer.sums.shape, dtype=np.uint64)
    parts = await of_each(homes, lambda home: home.stream, lambda one: part_of(one, identity, windows))
    for i, ((start_ms, _), expected) in enumerate(zip(windows.times, answer.sets, strict=True)):
        if set_digest(windows, i, ((one.stream, one.incarnations[i]) for one in parts)) != expected:
            raise UsageError(
                f"the service's sum from {spell(start_ms, 1)} on is not over these homes and lanes as they "
                "lie in the store: use the very list that it was given, and ask it again where a home has "
                "sealed anew"
            )
    for one in parts:
        total += one.blinded
    return share.load(total, answer.sums)


async def part_of(home: Member, identity: Identity, windows: Windows) -> Part:
    """The part of a home that is complete: sealed, with its tokens in the store. NotGranted and Unavailable
    where it is not, Refused where its chain does not hold."""
    both = await pair(home, identity, "centre")
    units = bounds(both, windows)
    head = home.reader.head
    for (start_ms, _), (_, end) in zip(windows.times, units, strict=True):
        if head is None or head.next_unit < end:
            raise Unavailable(f"the window from {spell(start_ms, 1)} is not sealed until its end yet")
    found = await words(both, windows)
    c = await _ciphertexts(home, windows, units)
    return Part(home.stream, share.blinded(c, found.tokens, found.own), found.incarnations)


async def check_chain(home: Member, identity: Identity, windows: Windows) -> None:
    """Refused where a home's chain does not hold in the windows: the centre has no part of it then, so that a
    set in which it is has no load. `identity` is the summing service's, and its other errors are this one's
    too."""
    both = await pair(home, identity, "service")
    await words(both, windows)  # first that all of it is there
    await _ciphertexts(home, windows, bounds(both, windows))


async def _ciphertexts(home: Member, windows: Windows, units: Sequence[tuple[int, int]]) -> U64:
    """The sums of c, [window, lane]."""
    edges = sorted(set(chain.from_iterable(units)))
    follower = ChainFollower(home.reader.descriptor, home.reader.marks(home.reader.head))
    sums = await home.reader.sums(edges, windows.lanes, follower)
    return sums.T[[edges.index(a) for a, _ in units]]
