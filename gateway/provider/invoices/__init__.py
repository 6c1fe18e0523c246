"""Invoices: the documents that a provider makes of bills, as text, JSON, PDF, and UBL 2.1 as EN 16931 has it.

In the order in which to read it:

- `document`    an invoice or credit note: its parties, lines, VAT and totals; its JSON
- `checks`      what may stand in one: countries, currencies, VAT identifiers, text
- `terms`       what `invoice.toml` says of all of them: the seller, VAT, levies, numbers
- `making`      a period's bills, made into an invoice by these terms
- `correction`  what an earlier invoice is corrected with
- `text`, `pdf`, `ubl`  the forms in which a person or a program reads it
- `folder`      a portfolio's invoices in a folder: their numbers, and what is there already

`gateway.provider.invoice` has the lines that stand in a tariff's file.
"""
