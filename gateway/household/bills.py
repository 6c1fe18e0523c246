"""What each supplier was told by bills, period by period, and the household's own sum beside it.

A supplier with a grant of bills opens the exact amount rounded to the grant's quantum, and nothing else; so
that number follows from the household's own sums under the grant's tariff. One with a grant of windows can
work out the exact amount under any tariff whose price steps are whole windows of the grant.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from gateway.chain.tariff import MAX_DECIMALS
from gateway.chain.window import Granularity
from gateway.control.documents import GrantStatus
from gateway.errors import GatewayError, Refused
from gateway.household.money import Money, Rates, Sums, TariffRates, cost, money
from gateway.wire.cose import digest
from gateway.wire.tariff import read_tariff_body

Why = Literal["rounded", "exact", "running", "waiting", "revoked", "unpriced", "unknown", "coarse"]
"""How what a supplier was told of a period comes about:

- rounded   the own sum as the nearest multiple of the quantum
- exact     the own sum, from windows
- running   nothing yet: the period is not over
- waiting   nothing yet: the period is over, and its token is not made
- revoked   nothing: the grant was revoked before the period's end
- unpriced  a part of the period has no price
- unknown   something, but the household's own sums do not reach as far
- coarse    nothing: a price changes within a window of the grant
"""

Absent = Literal["early", "revoked", "short", "old"]
"""Why there is no period of a grant:

- early     the first one has not begun
- revoked   the grant was revoked before the first one began, so none ever will
- short     the grant ended before the first one did
- old       they were over too long ago
"""


@dataclass(frozen=True, slots=True)
class BillPeriod:
    """A billing period [start_ms, end_ms), Unix ms, of the grant with this id. `told` is what the supplier
    opens, None where it opens nothing or the household cannot work it out; `own` is the household's own sum
    under the same tariff, exact, None while the period runs."""

    grant: str
    start_ms: int
    end_ms: int
    told: Decimal | None
    own: Money | None
    why: Why

    @property
    def difference(self) -> Decimal | None:
        """By how much what was told is above the own sum: half a quantum at most."""
        return None if self.told is None or self.own is None else self.told - self.own.exact


@dataclass(frozen=True, slots=True)
class SupplierBills:
    """What a supplier was told for one purpose, by one grant or several that follow each other. `quantum` is
    what its bills are rounded to, None where they are exact. A `fault` says why a grant's tariff cannot be
    read: then its periods are left out."""

    provider: str
    provider_kid: str
    meter: str
    purpose: str
    kind: Literal["bill", "windows"]
    lanes: tuple[str, ...]
    currency: str
    zone: str
    quantum: Decimal | None
    periods: tuple[BillPeriod, ...]
    fault: str | None = None
    absent: Absent | None = None
    """Why there are no `periods`, of the last of its grants; `absent_ms` is when that was revoked, or ended,
    Unix ms."""
    absent_ms: int | None = None


class _Terms(NamedTuple):
    """What bills of several grants have in common."""

    provider: str
    provider_kid: str
    meter: str
    purpose: str
    kind: Literal["bill", "windows"]
    lanes: tuple[str, ...]
    currency: str
    zone: str
    quantum: Decimal | None


async def bills(
    grants: Sequence[GrantStatus],
    tariff_body: Callable[[str], Awaitable[bytes]],
    sums: Callable[[str], Sums],
    now_ms: int,
    *,
    rates: Rates | None = None,
    from_ms: int = 0,
) -> list[SupplierBills]:
    """The bills of these grants whose periods end after `from_ms` and begin before `now_ms`, Unix ms; the
    household's own grants are left out.

    `tariff_body` gives the tariff body with a digest (hexadecimal), `sums` those of a meter. Grants of
    windows are priced by `rates`, for the months of its zone, and left out without. Errors of `sums` are
    raised.
    """
    found: dict[_Terms, list[BillPeriod]] = {}
    faults: dict[_Terms, str] = {}
    absent: dict[_Terms, tuple[Absent, int | None]] = {}
    for grant in sorted((one for one in grants if not one.own), key=lambda one: one.from_ms):
        if grant.kind == "windows" and rates is not None:
            lanes = tuple(lane for lane in rates.lanes if lane in grant.lanes)
            if lanes:
                periods = await _of_windows(grant, lanes, rates, sums(grant.meter), now_ms, from_ms)
                terms = _terms(grant, "windows", lanes, rates, rates.zone, None)
                found.setdefault(terms, []).extend(periods)
                absent[terms] = _absent(grant, Granularity("month", 1, rates.zone), now_ms)
        elif grant.kind == "bill":
            try:
                tariff = await _tariff(grant, tariff_body)
            except GatewayError as error:
                empty = _terms(grant, "bill", grant.lanes, None, grant.zone, None)
                found.setdefault(empty, [])
                faults[empty] = str(error)
                continue
            scale = tariff.tariff.scale
            quantum = (grant.quantum or 1) * 10 ** (MAX_DECIMALS - scale)
            periods = await _of_bill(grant, quantum, tariff, sums(grant.meter), now_ms, from_ms)
            terms = _terms(grant, "bill", grant.lanes, tariff, grant.zone, money(quantum))
            found.setdefault(terms, []).extend(periods)
            absent[terms] = _absent(grant, Granularity.parse(grant.granularity, 1, grant.zone), now_ms)
    return [
        SupplierBills(
            *terms,
            tuple(sorted(periods, key=lambda one: (one.start_ms, one.grant))),
            faults.get(terms),
            *(absent.get(terms, (None, None)) if not periods else (None, None)),
        )
        for terms, periods in found.items()
    ]


def _terms(
    grant: GrantStatus,
    kind: Literal["bill", "windows"],
    lanes: tuple[str, ...],
    rates: Rates | None,
    zone: str,
    quantum: Decimal | None,
) -> _Terms:
    currency = "" if rates is None else rates.currency
    who = (grant.provider, grant.provider_kid, grant.meter, grant.purpose)
    return _Terms(*who, kind, lanes, currency, zone, quantum)


async def _tariff(grant: GrantStatus, tariff_body: Callable[[str], Awaitable[bytes]]) -> TariffRates:
    """The grant's tariff, which must have the digest that the grant names."""
    assert grant.tariff is not None
    body = await tariff_body(grant.tariff)
    if digest(body).hex() != grant.tariff:
        raise Refused(f"the tariff of grant {grant.id} is not the one that the grant names")
    return TariffRates(read_tariff_body(body, f"the tariff of grant {grant.id}"))


async def _of_bill(
    grant: GrantStatus, quantum: int, rates: Rates, sums: Sums, now_ms: int, from_ms: int
) -> list[BillPeriod]:
    out = []
    for j, (a, b) in enumerate(_periods(grant, Granularity.parse(grant.granularity, 1, grant.zone), now_ms)):
        if b <= from_ms:
            continue
        served = j < grant.windows_served
        own, why = await _own(grant, (a, b), grant.lanes, rates, sums, now_ms, served)
        if why is None:
            assert own is not None
            out.append(BillPeriod(grant.id, a, b, own.rounded(quantum), own, "rounded"))
        else:
            out.append(BillPeriod(grant.id, a, b, None, own, why))
    return out


async def _of_windows(
    grant: GrantStatus, lanes: tuple[str, ...], rates: Rates, sums: Sums, now_ms: int, from_ms: int
) -> list[BillPeriod]:
    windows = Granularity.parse(grant.granularity, 1, grant.zone)
    served_ms = windows.start(windows.index(grant.from_ms) + grant.windows_served)
    out = []
    for a, b in _periods(grant, Granularity("month", 1, rates.zone), now_ms):
        if b <= from_ms:
            continue
        own, why = await _own(grant, (a, b), lanes, rates, sums, now_ms, b <= served_ms)
        if why is None and any(
            windows.align_up(edge) != edge
            for lane in lanes
            for one in rates.prices(lane, a, b)
            for edge in (one.start_ms, one.end_ms)
        ):
            why = "coarse"
        told = own.exact if own is not None and why is None else None
        out.append(BillPeriod(grant.id, a, b, told, own, why or "exact"))
    return out


async def _own(
    grant: GrantStatus,
    period: tuple[int, int],
    lanes: tuple[str, ...],
    rates: Rates,
    sums: Sums,
    now_ms: int,
    served: bool,
) -> tuple[Money | None, Why | None]:
    """The own sum of a period, and why the supplier is told nothing, or nothing that can be worked out."""
    a, b = period
    if b > now_ms:
        revoked = grant.revoked_from_ms is not None
        return None, "revoked" if revoked else "running"
    (own,) = await cost(rates, [(a, b)], lanes, sums)
    if any(one.what == "price" for one in own.missing):
        return own, "unpriced"
    if not served:
        late = grant.revoked_from_ms is not None and b > grant.revoked_from_ms
        return own, "revoked" if late else "waiting"
    return own, "unknown" if own.missing else None


def _absent(grant: GrantStatus, granularity: Granularity, now_ms: int) -> tuple[Absent, int | None]:
    """Why a grant has no periods, if it has none, and when that came about."""
    first = granularity.align_up(grant.from_ms)
    end = granularity.start(granularity.index(first) + 1)
    if grant.revoked_from_ms is not None and grant.revoked_from_ms <= first:
        return "revoked", grant.revoked_from_ms
    if grant.until_ms is not None and end > grant.until_ms:
        return "short", grant.until_ms
    return ("early" if first >= now_ms else "old"), None


def _periods(grant: GrantStatus, granularity: Granularity, now_ms: int) -> Iterator[tuple[int, int]]:
    """The periods [a, b), Unix ms, of the grant that begin before now, from the first whole one on."""
    a = granularity.align_up(grant.from_ms)
    k = granularity.index(a)
    while a < now_ms:
        k += 1
        b = granularity.start(k)
        if grant.until_ms is not None and b > grant.until_ms:
            return
        yield a, b
        a = b
