"""A folder of invoices: their numbers, which follow each other, and what is there already.

Each document is a file `NUMBER.json` and, as asked for, `NUMBER.pdf`, `NUMBER.xml` and `NUMBER.txt`. A file
that is there is never written again with other content, unless it is to be replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from gateway.errors import UsageError
from gateway.host.files import write_durably
from gateway.provider.invoices.document import Invoice, read_json, write_json
from gateway.provider.invoices.pdf import write_pdf
from gateway.provider.invoices.terms import Series
from gateway.provider.invoices.text import write_text
from gateway.provider.invoices.ubl import write_ubl

State = Literal["made", "there", "replaced"]
WRITERS: Mapping[str, Callable[[Invoice], bytes]] = {
    "json": write_json,
    "text": lambda invoice: write_text(invoice).encode(),
    "pdf": write_pdf,
    "xml": write_ubl,
}
"""How each form is written; JSON comes first, as it keeps the number."""
_SUFFIXES = {"json": "json", "text": "txt", "pdf": "pdf", "xml": "xml"}


class InvoiceFolder:
    """The folder, made where it is missing; UsageError where a JSON file in it is not an invoice."""

    def __init__(self, path: Path, series: Series) -> None:
        self._path = path
        self._series = series
        self._numbers: dict[str, Invoice] = {}
        try:
            path.mkdir(parents=True, exist_ok=True)
            for file in sorted(path.glob("*.json")):
                invoice = read_json(file.read_bytes(), str(file))
                self._numbers[invoice.number] = invoice
        except OSError as error:
            raise UsageError(f"{path} is not a folder for invoices: {error.strerror}") from None

    def next_number(self) -> str:
        """The number after all of the series that are there."""
        counts = [count for n in self._numbers if (count := self._series.count(n)) is not None]
        return self._series.number(max([self._series.first - 1, *counts]) + 1)

    def put(
        self, draft: Invoice, formats: Sequence[str], *, replacing: bool = False, numbered: bool = False
    ) -> tuple[Invoice, State]:
        """Write a document in these forms and in JSON: under its own number where it is `numbered`, else
        under the one that its home and period have already, or the next. One that is there keeps its date of
        issue; after a reversal the next one takes its place.

        UsageError where a file that is there says otherwise and is not to be replaced, or the number does not
        fit what is there. Nothing is written then.
        """
        credited = {one.corrects.number for one in self._numbers.values() if one.corrects and one.credits}
        standing = [one for number, one in self._numbers.items() if number not in credited]
        earlier = next((one for one in standing if _key(one) == _key(draft)), None)
        self._check_once(draft)
        if numbered:
            self._check_number(draft, earlier)
            invoice = draft
        else:
            number = self.next_number() if earlier is None else earlier.number
            invoice = replace(draft, number=number)
        if earlier is not None:
            again = replace(invoice, issued=earlier.issued, due=earlier.issued + (draft.due - draft.issued))
            if again == earlier or not replacing:
                invoice = again
        files = {}
        for name in ("json", *(name for name in formats if name != "json")):
            path = self._path / f"{invoice.number}.{_SUFFIXES[name]}"
            files[path] = WRITERS[name](invoice), path.read_bytes() if path.exists() else None
        other = [path for path, (data, present) in files.items() if present not in (None, data)]
        if other and not replacing:
            raise UsageError(
                f"{other[0]} is there already and says otherwise: correct it with --corrects, or replace it "
                "with --replace where nobody has it yet"
            )
        for path, (data, present) in files.items():
            if present != data:
                write_durably(path, data, 0o600)
        self._numbers[invoice.number] = invoice
        new = any(present is None for _, present in files.values())
        return invoice, "replaced" if other else "made" if new else "there"

    def _check_once(self, draft: Invoice) -> None:
        """UsageError where the draft corrects an invoice that another document here corrects already."""
        for one in self._numbers.values():
            if draft.corrects is not None and one.corrects == draft.corrects and _key(one) != _key(draft):
                raise UsageError(
                    f"{one.title.lower()} {one.number} corrects invoice {draft.corrects.number} already: "
                    "a second correction would credit it twice"
                )

    def _check_number(self, draft: Invoice, earlier: Invoice | None) -> None:
        """UsageError where the number is another document's, or the document has another number."""
        if draft.number in self._numbers and self._numbers[draft.number] is not earlier:
            raise UsageError(
                f"number {draft.number} is that of another document in {self._path}: the next one is "
                f"{self.next_number()}"
            )
        if earlier is not None and earlier.number != draft.number:
            raise UsageError(
                f"{self._path} has this {draft.title.lower()} already, with number {earlier.number}: leave "
                "--number out"
            )


def _key(invoice: Invoice) -> tuple[object, ...]:
    """What a document is of: two of them with one key never stand side by side."""
    return invoice.stream, invoice.start, invoice.end, invoice.type, invoice.corrects
