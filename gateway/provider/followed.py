"""Bills under a price series: the tariff of each grant, found among the prices that the provider published.

A household that follows a price series grants the bill of each period under the prices that were in force
when it did. A correction that came later is not in that tariff, so series are left out again, the latest
first, until the tariff is the one that the grant names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.chain.tariff import Tariff
from gateway.errors import NotGranted, UsageError
from gateway.provider.grants import OwnGrant, own_grants, short
from gateway.provider.identity import Identity
from gateway.store.bucket import Bucket
from gateway.stream.prices import published, tariff_of
from gateway.stream.reader import StreamReader
from gateway.wire.card import Card
from gateway.wire.cose import digest
from gateway.wire.prices import PriceSeries
from gateway.wire.tariff import tariff_body


@dataclass(frozen=True, slots=True)
class PricedGrant:
    """A grant of a bill, with the tariff that it names. `left_out` are the serials of later series, which
    corrected its prices after it was made."""

    held: OwnGrant
    tariff: Tariff
    left_out: tuple[int, ...] = ()

    @property
    def note(self) -> str | None:
        """What the provider should know of its prices, as a sentence; None where there is nothing."""
        if not self.left_out:
            return None
        serials = ", ".join(map(str, self.left_out))
        return f"grant {short(self.held.grant.id)} was made before series {serials} corrected its prices"


async def priced_grants(
    reader: StreamReader, identity: Identity, bucket: Bucket, card: Card, name: str
) -> list[PricedGrant]:
    """The grants of bills under the prices that `bucket` has in the provider's series of this name; the
    earliest first. NotGranted where there is none; Refused for a series that is invalid."""
    held = await own_grants(reader, identity, "bill")
    begins = [one.grant.first * one.grant.granularity.unit_ms for one in held]
    ends = [one.grant.until * one.grant.granularity.unit_ms for one in held if one.grant.until is not None]
    series = await published(bucket, card, min(begins), max(ends)) if ends else []
    named = [one for one in series if one.name == name]
    found = [priced for one in held if (priced := priced_grant(one, named)) is not None]
    if not found:
        others = "; ".join(map(str, held)) or "there is no grant of a bill to this provider"
        raise NotGranted(f"no bill under the {len(named)} series named {name!r} is granted: {others}")
    return sorted(found, key=lambda one: one.held.grant.first)


def priced_grant(held: OwnGrant, series: Sequence[PriceSeries]) -> PricedGrant | None:
    """The grant with its tariff; None where these series never gave it."""
    grant, unit_ms = held.grant, held.grant.granularity.unit_ms
    if grant.until is None:
        return None
    a, b = grant.first * unit_ms, grant.until * unit_ms
    known = sorted((one for one in series if one.start_ms < b and one.end_ms > a), key=lambda one: one.serial)
    for count in range(len(known), 0, -1):
        try:
            tariff = tariff_of(known[:count], grant.lanes, grant.granularity.zone, a, b)
        except UsageError:  # without the later ones a moment has no price, or currencies differ
            continue
        if digest(tariff_body(tariff)) == grant.tariff:
            return PricedGrant(held, tariff, tuple(one.serial for one in known[count:]))
    return None
