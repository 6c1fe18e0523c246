"""Bills: each billing period's amount under a tariff, and nothing finer.

The provider adds up price[w] * C[w] itself, from public ciphertexts; one token a period removes all nonces
at once, and rounds the rest to the grant's quantum.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import accumulate

from gateway.chain.seal import signed
from gateway.chain.tariff import Tariff, Weight, steps_digest
from gateway.errors import NotGranted, Refused, UsageError
from gateway.provider.grants import OwnGrant, own_grants, short
from gateway.provider.identity import Identity
from gateway.provider.tokens import Opener
from gateway.stream.bundles import BundleReader
from gateway.stream.chunks import ChainFollower
from gateway.stream.reader import StreamReader
from gateway.stream.times import moment, spell
from gateway.wire.cose import digest
from gateway.wire.tariff import tariff_body


@dataclass(frozen=True, slots=True)
class Step:
    """A lane's energy in mWh over all of a period's windows that have one price, which is `price` units of
    10^-scale of the currency a kWh."""

    lane: str
    price: int
    energy: int


@dataclass(frozen=True, slots=True)
class Bill:
    """What is owed for the lanes over [start, end), UTC: `value` units of 10^-(scale + 6) of the currency,
    which is the multiple of `quantum` that is nearest to the exact amount."""

    start: datetime
    end: datetime
    lanes: tuple[str, ...]
    value: int
    quantum: int
    tariff: Tariff
    zone: str | None = None
    """The zone whose days or months are billed; None where the windows need none."""
    steps: tuple[Step, ...] | None = None
    """The energy at each price, in the order in which the prices first hold; None where only the amount is
    granted."""
    grants: tuple[bytes, ...] = ()
    """The ids of the grants that open it."""

    @property
    def amount(self) -> Decimal:
        """The value in the currency, a multiple of `rounding`."""
        return self._money(self.value)

    @property
    def rounding(self) -> Decimal:
        """The quantum in the currency."""
        return self._money(self.quantum)

    def _money(self, value: int) -> Decimal:
        return Decimal(value).scaleb(-(self.tariff.scale + 6))


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


async def bills(
    reader: StreamReader, held: Sequence[OwnGrant], tariff: Tariff | Mapping[bytes, Tariff]
) -> AsyncGenerator[Bill, None]:
    """The bills of all periods that have ended and have their tokens; one that two grants open comes once.
    Where `tariff` has several, they are by the ids of the grants.

    Refused for an invalid object; and, once all other bills have come, where the household weighed other
    steps of a period than this tariff has here.
    """
    given: set[tuple[datetime, datetime, tuple[str, ...]]] = set()
    refused: list[str] = []
    for one in held:
        priced = tariff if isinstance(tariff, Tariff) else tariff[one.grant.id]
        async with aclosing(_of_grant(reader, one, priced)) as found:
            async for bill in found:
                if isinstance(bill, Refused):
                    refused.append(str(bill))
                elif (bill.start, bill.end, bill.lanes) not in given:
                    given.add((bill.start, bill.end, bill.lanes))
                    yield bill
    if refused:
        raise Refused("; ".join(refused))


async def _of_grant(
    reader: StreamReader, held: OwnGrant, tariff: Tariff
) -> AsyncGenerator[Bill | Refused, None]:
    head = reader.head
    if head is None:
        return
    await held.bundles.settle()
    follower = ChainFollower(reader.descriptor, reader.marks(head))
    async with aclosing(Opener(held).words(0, held.complete(head.next_unit))) as opened:
        async for part, words in opened:
            assert part.bundle.weighed is not None  # checked with the bundle
            for j, word in enumerate(words[:, 0].tolist(), part.first):
                weighed = part.bundle.weighed[j - part.bundle.first_window]
                try:
                    weights = weights_of(held, tariff, j, weighed)
                except Refused as error:
                    yield error
                    continue
                bill = await bill_of(reader, held, tariff, follower, j, weights, word)
                if bill.value % bill.quantum:
                    raise Refused(
                        f"{part.key} does not round the bill of {_period(held, j)} to what the grant says: "
                        "its token was made for other ciphertexts, or under another key"
                    )
                yield bill


def weights_of(
    held: OwnGrant | BundleReader, tariff: Tariff, j: int, weighed: bytes
) -> dict[str, list[Weight]]:
    """The price steps of period j; Refused unless `weighed` is their digest."""
    grant, why = held.grant, ""
    try:
        weights = tariff.weights(grant.lanes, grant.granularity.unit_ms, *held.windows.window(j))
        if steps_digest(weights) == weighed:
            return weights
    except UsageError as error:
        why = f" ({error})"
    raise Refused(
        f"household and provider disagree about the price steps of {_period(held, j)}{why}: their time zone "
        f"data or their tariffs differ, so grant {short(grant.id)} gives no bill of it"
    )


async def bill_of(
    reader: StreamReader,
    held: OwnGrant | BundleReader,
    tariff: Tariff,
    follower: ChainFollower,
    j: int,
    weights: Mapping[str, Sequence[Weight]],
    word: int,
) -> Bill:
    """The bill of period j, whose token holds `word`."""
    grant, unit_ms = held.grant, held.grant.granularity.unit_ms
    assert grant.quantum is not None
    a, b = held.windows.window(j)
    bounds = sorted({a, *(w.end for runs in weights.values() for w in runs)})
    sums = await reader.sums(bounds, grant.lanes, follower)
    value = -word
    for c, runs in zip(sums, weights.values(), strict=True):
        upto = dict(zip(bounds, accumulate(map(int, c), initial=0), strict=True))
        value += sum(w.price * (upto[w.end] - upto[w.first]) for w in runs)
    zone = None if isinstance(grant.granularity.size, int) else grant.granularity.zone
    start, end = (moment(unit, unit_ms) for unit in (a, b))
    return Bill(start, end, grant.lanes, signed(value), grant.quantum, tariff, zone, None, (grant.id,))


def _period(held: OwnGrant | BundleReader, j: int) -> str:
    a, b = (spell(unit, held.grant.granularity.unit_ms) for unit in held.windows.window(j))
    return f"{a} to {b}"
