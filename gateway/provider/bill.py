"""Bills: each billing period's amount under a tariff, and nothing finer.

The provider adds up price[w] * C[w] itself, from public ciphertexts; one token a period removes all nonces
at once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import accumulate

from gateway.chain.seal import signed
from gateway.chain.tariff import Tariff
from gateway.chain.token import read_words
from gateway.errors import NotGranted
from gateway.provider.grants import OwnGrant, own_grants
from gateway.provider.identity import Identity
from gateway.provider.tokens import Opener
from gateway.stream.chunks import ChainFollower
from gateway.stream.reader import StreamReader
from gateway.stream.times import moment
from gateway.wire.cose import digest
from gateway.wire.tariff import tariff_body


@dataclass(frozen=True, slots=True)
class Bill:
    """What is owed for the lanes over [start, end), UTC: `value` units of 10^-(scale + 6) of the currency."""

    start: datetime
    end: datetime
    lanes: tuple[str, ...]
    value: int
    tariff: Tariff

    @property
    def amount(self) -> Decimal:
        """The value in the currency, exact."""
        return Decimal(self.value).scaleb(-(self.tariff.scale + 6))


async def bill_grants(reader: StreamReader, identity: Identity, tariff: Tariff) -> list[OwnGrant]:
    """The grants of bills under this very tariff, the earliest first. NotGranted where there is none."""
    held = await own_grants(reader, identity, "bill")
    fitting = [one for one in held if one.grant.tariff == digest(tariff_body(tariff))]
    if not fitting:
        others = "; ".join(map(str, held)) or "there is no grant of a bill to this provider"
        raise NotGranted(
            f"no bill under this tariff is granted: {others}. Use the household's own tariff, exact to the "
            "last price and decimal"
        )
    return sorted(fitting, key=lambda one: one.grant.first)


async def bills(reader: StreamReader, held: Sequence[OwnGrant], tariff: Tariff) -> AsyncGenerator[Bill, None]:
    """The bills of all periods that have ended and have their tokens; one that two grants open comes once.
    Refused for an invalid object."""
    given = set()
    for one in held:
        async with aclosing(_of_grant(reader, one, tariff)) as found:
            async for bill in found:
                if (bill.start, bill.end, bill.lanes) not in given:
                    given.add((bill.start, bill.end, bill.lanes))
                    yield bill


async def _of_grant(reader: StreamReader, held: OwnGrant, tariff: Tariff) -> AsyncGenerator[Bill, None]:
    head, grant, unit_ms = reader.head, held.grant, reader.descriptor.layout.unit_ms
    if head is None:
        return
    follower = ChainFollower(reader.descriptor, reader.marks(head))
    async with aclosing(Opener(reader, held).plaintexts(0, held.complete(head.next_unit))) as plaintexts:
        async for j, plaintext in plaintexts:
            a, b = grant.window(j)
            weights = tariff.weights(grant.lanes, unit_ms, a, b)
            bounds = sorted({a, *(w.end for runs in weights.values() for w in runs)})
            sums = await reader.sums(bounds, grant.lanes, follower)
            value = -read_words(plaintext, 1)[0]
            for c, runs in zip(sums, weights.values(), strict=True):
                upto = dict(zip(bounds, accumulate(map(int, c), initial=0), strict=True))
                value += sum(w.price * (upto[w.end] - upto[w.first]) for w in runs)
            yield Bill(moment(a, unit_ms), moment(b, unit_ms), grant.lanes, signed(value), tariff)
