"""A billing period's bills, made into an invoice: energy, levies, the tariff file's lines, VAT, totals.

Each line is rounded to what the tariff's file says, halves away from zero, and the totals are sums of lines.
The VAT of a category is rounded likewise, on the sum of its lines. So the total is that of the table [bill]
where all lines carry the same VAT and all energy is one line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext

from gateway.chain.window import zone_of
from gateway.errors import UsageError
from gateway.provider.bill import Bill
from gateway.provider.invoice import Charge, Tax, Terms, count
from gateway.provider.invoices import checks
from gateway.provider.invoices.document import Invoice, Line, Unit, Vat, VatTotal
from gateway.provider.invoices.terms import Buyer, InvoiceTerms

_PRECISION = 100  # digits, more than any sum or product of a bill and a line has
_UNITS: dict[str, Unit] = {"day": "DAY", "month": "MON", "period": "C62"}
_CENT = Decimal("0.01")
_NAMES = {"import": "Electricity", "export": "Electricity fed in"}
_PLAIN = Terms((), _CENT)


@dataclass(frozen=True, slots=True)
class Billed:
    """What a home is invoiced for: the bills of one period, each lane in one of them at most; the stream's id
    and the kid of the key that signed it."""

    stream: bytes
    signer: bytes
    bills: tuple[Bill, ...]


def make(
    billed: Billed,
    terms: InvoiceTerms,
    lines: Terms | None,
    buyer: Buyer,
    number: str,
    issued: date,
    *,
    feed_in: bool = False,
) -> Invoice:
    """The invoice of a home's bills, or with `feed_in` the self-billed one of the energy that it fed in.
    `lines` are those of the tariff's file.

    UsageError where the terms, the tariff's lines and the bills do not fit each other.
    """
    bills = _chosen(billed.bills, terms, feed_in)
    first = bills[0]
    currency = checks.currency(first.tariff.currency)
    zone = zone_of(first.tariff.zone)
    start, end = (
        first.start.astimezone(zone).date(),
        (first.end - timedelta(microseconds=1)).astimezone(zone).date(),
    )
    with localcontext(prec=_PRECISION):
        maker = _Maker(terms, _PLAIN if lines is None else lines, bills, feed_in)
        made, vat = maker.lines, maker.vat
    seller, payer = (terms.seller, buyer.party) if not feed_in else (buyer.party, terms.seller)
    invoice = Invoice(
        "389" if feed_in else "380",
        terms.standard,
        checks.number(number, "number"),
        issued,
        issued + timedelta(days=terms.due_days),
        currency,
        seller,
        payer,
        buyer.metering_point,
        billed.stream.hex(),
        start,
        end,
        tuple(made),
        tuple(vat),
        (*_notes(billed, bills), *terms.notes),
    )
    check_parties(invoice)
    return invoice


def check_parties(invoice: Invoice) -> None:
    """UsageError where a party lacks what the rules of EN 16931 or of Peppol want of it."""
    categories = {one.vat.category for one in invoice.vat}
    seller, buyer = ("buyer", "seller") if invoice.self_billed else ("seller", "buyer")
    if "O" in categories and len(categories) > 1:
        raise UsageError(
            "lines of category O stand beside lines of another VAT, which EN 16931 refuses (BR-O-11): use "
            "E with a "
            'reason, or feed_in as = "own"'
        )
    if "O" not in categories and invoice.seller.vat_id is None:
        raise UsageError(
            f"{seller}: vat_id is missing: VAT of category {', '.join(sorted(categories))} wants the VAT "
            "identifier of who sells"
        )
    if "AE" in categories and invoice.buyer.vat_id is None:
        raise UsageError(f"{buyer}: vat_id is missing: reverse charge wants the VAT identifier of who buys")
    if (invoice.seller.id, invoice.seller.register, invoice.seller.vat_id) == (None, None, None) or (
        "O" in categories and (invoice.seller.id, invoice.seller.register) == (None, None)
    ):
        raise UsageError(
            f"{seller}: id is missing: where no VAT identifier stands, an invoice names who sells by a "
            "number (BR-CO-26)"
        )
    if invoice.standard == "peppol":
        for party, what in ((invoice.seller, seller), (invoice.buyer, buyer)):
            if party.endpoint is None:
                raise UsageError(f"{what}: endpoint is missing: Peppol wants an electronic address of both")
        if invoice.buyer.id is None:
            raise UsageError(f"{buyer}: id is missing: Peppol wants a reference of the buyer's")


def _chosen(bills: Sequence[Bill], terms: InvoiceTerms, feed_in: bool) -> list[Bill]:
    """The bills of this document."""
    if feed_in and not terms.own_feed_in:
        raise UsageError(
            'energy that is fed in is a line of the invoice: set as = "own" in [feed_in] for another'
        )
    if not terms.own_feed_in:
        return list(bills)
    found: list[Bill] = []
    for bill in bills:
        if bill.steps is None and len(bill.lanes) > 1:
            raise UsageError(
                f"one bill is of {' and '.join(bill.lanes)} together, so what was fed in cannot be invoiced "
                "by itself: ask the household for a bill of each, or for windows"
            )
        if bill.steps is not None or bill.lanes == (("export",) if feed_in else ("import",)):
            found.append(bill)
    lane = "export" if feed_in else "import"
    if not any(lane in bill.lanes for bill in found):
        raise UsageError(f"no bill of {lane} is granted for this period")
    return found


class _Maker:
    """The lines of a document, and its VAT."""

    def __init__(self, terms: InvoiceTerms, lines: Terms, bills: Sequence[Bill], feed_in: bool) -> None:
        if lines.unit < _CENT or lines.unit % _CENT or lines.unit > 1:
            raise UsageError(
                f"bill: round is {lines.unit:f}; an invoice's lines are rounded to 0.01 or a multiple of "
                "it, 1 at most"
            )
        self._terms = terms
        self._table = lines
        self._bills = bills
        self._feed_in = feed_in
        self.lines: list[Line] = []
        for bill in bills:
            self.lines += self._energy(bill)
        self.vat: list[VatTotal] = []
        if not feed_in:
            self._add_levies()
            self._add_table()
        self._check_names()
        self._add_vat()

    def _energy(self, bill: Bill) -> Iterator[Line]:
        if bill.steps is None:
            lane = bill.lanes[0] if len(bill.lanes) == 1 else None
            name = _NAMES[lane] if lane else "Electricity, less what was fed in"
            yield self._sum(
                name,
                lane,
                bill.amount,
                f"rounded to {bill.rounding.normalize():f} by the household's gateway",
            )
            return
        lanes = bill.lanes
        if self._terms.own_feed_in:
            lanes = ("export",) if self._feed_in else tuple(x for x in lanes if x != "export")
        for lane in lanes:
            steps = [step for step in bill.steps if step.lane == lane]
            if self._terms.by_step:
                for step in sorted(steps, key=lambda step: step.price, reverse=lane == "import"):
                    price = Decimal(step.price).scaleb(-bill.tariff.scale)
                    yield self._line(_NAMES[lane], lane, _kwh(step.energy), "KWH", self._signed(price))
            else:
                energy, amount = sum(step.energy for step in steps), sum(s.price * s.energy for s in steps)
                exact = Decimal(amount).scaleb(-bill.tariff.scale - 6)
                what = f"{_kwh(energy):f} kWh at {len(steps)} price{'s' if len(steps) != 1 else ''}"
                yield self._sum(_NAMES[lane], lane, exact, what)

    def _signed(self, amount: Decimal) -> Decimal:
        """An amount as the seller sees it: who feeds in is paid what the tariff charges below 0."""
        return -amount + 0 if self._feed_in else amount

    def _sum(self, name: str, lane: str | None, amount: Decimal, description: str) -> Line:
        return self._line(name, lane, Decimal(1), "C62", self._rounded(self._signed(amount)), description)

    def _line(
        self,
        name: str,
        lane: str | None,
        quantity: Decimal,
        unit: Unit,
        price: Decimal,
        description: str | None = None,
    ) -> Line:
        vat = self._terms.other_vat.get(name, self._terms.vat)
        if lane == "export" and self._terms.feed_in_vat is not None:
            vat = self._terms.feed_in_vat
        if price < 0:
            quantity, price = -quantity, -price
        amount = self._rounded(quantity * price)
        return Line(name, quantity + 0, unit, price, amount, vat, description)

    def _add_levies(self) -> None:
        for levy in self._terms.levies:
            energy = 0
            for bill in self._bills:
                if bill.steps is None:
                    raise UsageError(
                        f"levy: {levy.name} is charged for each kWh, and the bill that is granted says no "
                        "energy: make it part of the tariff's prices, or bill from windows"
                    )
                energy += sum(step.energy for step in bill.steps if step.lane == "import")
            self.lines.append(self._line(levy.name, None, _kwh(energy), "KWH", levy.amount))

    def _add_table(self) -> None:
        """The lines of the tariff's file, but for that which is VAT."""
        terms, above, taxed = self._terms, [line.amount for line in self.lines], False
        names = [line.name for line in self._table.lines]
        if terms.vat_line is not None and terms.vat_line not in names:
            raise UsageError(
                f"vat: line is {terms.vat_line!r}, and the tariff's [bill] has no such line: it has "
                f"{', '.join(names) or 'none'}"
            )
        first = self._bills[0]
        for line in self._table.lines:
            if isinstance(line, Charge):
                times = count(line, first.start, first.end, first.tariff.zone)
                made = self._line(line.name, None, Decimal(times), _UNITS[line.per], line.amount)
            else:
                amount = self._rounded(sum(above, Decimal()) * line.percent / 100)
                if line.name == terms.vat_line:
                    self._check_vat(line)
                    taxed = True
                    above.append(amount)
                    continue
                if terms.vat_line is None and line.percent == terms.vat.percent:
                    raise UsageError(
                        f"the tariff's [bill] has a line {line.name!r} of {line.percent:f} %, which is the "
                        f"percent of [vat] too: say line = {line.name!r} in [vat] where it is this VAT"
                    )
                made = self._line(
                    line.name, None, Decimal(1), "C62", amount, f"{line.percent:f} % of the lines above"
                )
            if taxed and line.name not in terms.other_vat:
                raise UsageError(
                    f"the line {line.name!r} comes after the VAT in the tariff's [bill], so it carries none "
                    f"of it: say its VAT in [[vat.other]], with lines = [{line.name!r}]"
                )
            self.lines.append(made)
            above.append(made.amount)

    def _check_vat(self, line: Tax) -> None:
        if line.percent != (self._terms.vat.percent or 0):
            raise UsageError(
                f"the VAT of the tariff's [bill], {line.name}, is {line.percent:f} %, and that of [vat] is "
                f"{self._terms.vat.percent or 0:f} %: they must be the same"
            )

    def _check_names(self) -> None:
        names = {line.name for line in self.lines}
        if not self._feed_in and (
            unknown := sorted(self._terms.other_vat.keys() - names - {*_NAMES.values()})
        ):
            raise UsageError(
                f"vat.other: the invoice has no line {unknown[0]!r}; its lines are {', '.join(sorted(names))}"
            )

    def _add_vat(self) -> None:
        bases: dict[Vat, Decimal] = defaultdict(Decimal)
        for line in self.lines:
            bases[line.vat] += line.amount
        for vat, base in bases.items():
            self.vat.append(VatTotal(vat, base, self._rounded(base * (vat.percent or 0) / 100)))

    def _rounded(self, amount: Decimal) -> Decimal:
        units = (amount / self._table.unit).quantize(Decimal(1), ROUND_HALF_UP)
        return (units * self._table.unit).quantize(_CENT) + 0


def _kwh(mwh: int) -> Decimal:
    return Decimal(mwh).scaleb(-6)


def _notes(billed: Billed, bills: Sequence[Bill]) -> Iterator[str]:
    """Where the amounts come from."""
    grants = dict.fromkeys(grant for bill in bills for grant in bill.grants)
    known = all(bill.steps is not None for bill in bills)
    yield (
        ("Energy" if known else "The amount")
        + f" computed from readings that the household's gateway sealed: stream {billed.stream.hex()}, "
        f"signed by {billed.signer.hex()}, opened by grant{'s' if len(grants) > 1 else ''} "
        f"{', '.join(grant.hex() for grant in grants)}."
    )
    for bill in bills:
        if bill.steps is None:
            yield (
                f"Amount rounded to {bill.rounding.normalize():f} {bill.tariff.currency} by the household's "
                "gateway; nothing finer is known to the seller."
            )
