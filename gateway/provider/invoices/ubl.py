"""An invoice as XML: UBL 2.1 (ISO/IEC 19845) as EN 16931-1 and CEN/TS 16931-3-2 bind it.

The tests hold it against the rules of EN 16931, release 1.3.16, those of Peppol BIS Billing and Self-Billing
3.0, release 2026.5, and the schemas of UBL 2.1. These rules allow totals of VAT that are off by less than 1;
here they are exact.
"""

from __future__ import annotations

from decimal import Decimal
from xml.etree import ElementTree as ET

from gateway.provider.invoices.document import Invoice, Line, Party, Standard, Vat

_UBL = "urn:oasis:names:specification:ubl:schema:xsd:"
_CAC = f"{_UBL}CommonAggregateComponents-2"
_CBC = f"{_UBL}CommonBasicComponents-2"
_EN16931 = "urn:cen.eu:en16931:2017"
_PEPPOL = "urn:fdc:peppol.eu:2017:poacc"
_METERED_OBJECT = "130"
"""The code by which a referenced document is the object that is invoiced, BT-18."""
_SEPA, _TRANSFER = "58", "30"
"""How to pay (UNTDID 4461): a SEPA credit transfer, any credit transfer."""


def write_ubl(invoice: Invoice) -> bytes:
    """The document as XML in UTF-8: `Invoice`, or `CreditNote` for what is credited."""
    kind = "CreditNote" if invoice.credits else "Invoice"
    namespace = f"{_UBL}{kind}-2"
    for prefix, uri in (("", namespace), ("cac", _CAC), ("cbc", _CBC)):
        ET.register_namespace(prefix, uri)
    root = ET.Element(f"{{{namespace}}}{kind}")
    customization, profile = _standard(invoice.standard, invoice.self_billed)
    _basic(root, "CustomizationID", customization)
    if profile is not None:
        _basic(root, "ProfileID", profile)
    _basic(root, "ID", invoice.number)
    _basic(root, "IssueDate", invoice.issued.isoformat())
    if not invoice.credits:
        _basic(root, "DueDate", invoice.due.isoformat())
    _basic(root, f"{kind}TypeCode", invoice.type)
    if invoice.notes:
        _basic(root, "Note", " ".join(invoice.notes))
    _basic(root, "DocumentCurrencyCode", invoice.currency)
    if invoice.buyer.id is not None:
        _basic(root, "BuyerReference", invoice.buyer.id)
    period = _part(root, "InvoicePeriod")
    _basic(period, "StartDate", invoice.start.isoformat())
    _basic(period, "EndDate", invoice.end.isoformat())
    if invoice.corrects is not None:
        earlier = _part(root, "BillingReference", "InvoiceDocumentReference")
        _basic(earlier, "ID", invoice.corrects.number)
        _basic(earlier, "IssueDate", invoice.corrects.issued.isoformat())
    if invoice.metering_point is not None:
        reference = _part(root, "AdditionalDocumentReference")
        _basic(reference, "ID", invoice.metering_point)
        _basic(reference, "DocumentTypeCode", _METERED_OBJECT)
    outside = any(one.vat.category == "O" for one in invoice.vat)
    _party(_part(root, "AccountingSupplierParty", "Party"), invoice.seller, with_vat_id=not outside)
    _party(_part(root, "AccountingCustomerParty", "Party"), invoice.buyer, with_vat_id=not outside)
    if invoice.seller.iban is not None and not invoice.credits:
        means = _part(root, "PaymentMeans")
        _basic(means, "PaymentMeansCode", _SEPA if invoice.currency == "EUR" else _TRANSFER)
        _basic(means, "PaymentID", invoice.number)
        _basic(_part(means, "PayeeFinancialAccount"), "ID", invoice.seller.iban)
    _totals(root, invoice)
    for count, line in enumerate(invoice.lines, 1):
        _line(root, kind, count, line, invoice.currency)
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return body + b"\n"


def _standard(standard: Standard, self_billed: bool) -> tuple[str, str | None]:
    """The identifiers of the rules that the document keeps: BT-24 and BT-23."""
    if standard == "en16931":
        return _EN16931, None
    process, number = ("selfbilling", "06") if self_billed else ("billing", "01")
    return f"{_EN16931}#compliant#{_PEPPOL}:{process}:3.0", f"{_PEPPOL}:{process}:{number}:1.0"


def _totals(root: ET.Element, invoice: Invoice) -> None:
    currency = invoice.currency
    total = _part(root, "TaxTotal")
    _amount(total, "TaxAmount", invoice.tax, currency)
    for one in invoice.vat:
        subtotal = _part(total, "TaxSubtotal")
        _amount(subtotal, "TaxableAmount", one.base, currency)
        _amount(subtotal, "TaxAmount", one.amount, currency)
        _vat(_part(subtotal, "TaxCategory"), one.vat, with_reason=True)
    sums = _part(root, "LegalMonetaryTotal")
    _amount(sums, "LineExtensionAmount", invoice.net, currency)
    _amount(sums, "TaxExclusiveAmount", invoice.net, currency)
    _amount(sums, "TaxInclusiveAmount", invoice.total, currency)
    _amount(sums, "PayableAmount", invoice.total, currency)


def _line(root: ET.Element, kind: str, count: int, line: Line, currency: str) -> None:
    element = _part(root, f"{kind}Line")
    _basic(element, "ID", str(count))
    name = "CreditedQuantity" if kind == "CreditNote" else "InvoicedQuantity"
    _basic(element, name, f"{line.quantity:f}", unitCode=line.unit)
    _amount(element, "LineExtensionAmount", line.amount, currency)
    item = _part(element, "Item")
    if line.description is not None:
        _basic(item, "Description", line.description)
    _basic(item, "Name", line.name)
    _vat(_part(item, "ClassifiedTaxCategory"), line.vat, with_reason=False)
    _basic(_part(element, "Price"), "PriceAmount", f"{line.price:f}", currencyID=currency)


def _vat(element: ET.Element, vat: Vat, *, with_reason: bool) -> None:
    _basic(element, "ID", vat.category)
    if vat.percent is not None:
        _basic(element, "Percent", f"{vat.percent:f}")
    if with_reason and vat.reason is not None:
        _basic(element, "TaxExemptionReason", vat.reason)
    _basic(_part(element, "TaxScheme"), "ID", "VAT")


def _party(element: ET.Element, party: Party, *, with_vat_id: bool) -> None:
    """A party. Where a line is outside of VAT, no VAT identifier may stand (rule BR-O-02)."""
    if party.endpoint is not None:
        scheme, _, address = party.endpoint.partition(":")
        _basic(element, "EndpointID", address, schemeID=scheme)
    if party.id is not None:
        _basic(_part(element, "PartyIdentification"), "ID", party.id)
    _basic(_part(element, "PartyName"), "Name", party.name)
    address_ = _part(element, "PostalAddress")
    _basic(address_, "StreetName", party.street)
    _basic(address_, "CityName", party.city)
    _basic(address_, "PostalZone", party.postcode)
    _basic(_part(address_, "Country"), "IdentificationCode", party.country)
    if party.vat_id is not None and with_vat_id:
        scheme_ = _part(element, "PartyTaxScheme")
        _basic(scheme_, "CompanyID", party.vat_id)
        _basic(_part(scheme_, "TaxScheme"), "ID", "VAT")
    legal = _part(element, "PartyLegalEntity")
    _basic(legal, "RegistrationName", party.name)
    if party.register is not None:
        _basic(legal, "CompanyID", party.register)
    if party.contact or party.phone or party.email:
        contact = _part(element, "Contact")
        for name, value in (
            ("Name", party.contact),
            ("Telephone", party.phone),
            ("ElectronicMail", party.email),
        ):
            if value is not None:
                _basic(contact, name, value)


def _part(parent: ET.Element, *names: str) -> ET.Element:
    """An aggregate, in the ones that hold it."""
    for name in names:
        parent = ET.SubElement(parent, f"{{{_CAC}}}{name}")
    return parent


def _basic(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, f"{{{_CBC}}}{name}", attributes).text = text


def _amount(parent: ET.Element, name: str, amount: Decimal, currency: str) -> None:
    _basic(parent, name, f"{amount:f}", currencyID=currency)
