"""A folder of invoices: numbers without holes, and nothing written over."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.provider.invoices.correction import Way, correct
from gateway.provider.invoices.document import Invoice, read_json
from gateway.provider.invoices.folder import InvoiceFolder
from gateway.provider.invoices.portfolio import read_portfolio
from gateway.provider.invoices.terms import Series
from tests.provider.invoices.papers import STEPS, invoice, of_windows

SERIES = Series("26-", 4, 7)
LATER = date(2026, 5, 4)


def of(home: int) -> Invoice:
    return replace(invoice(), stream=f"{home:032x}")


def test_numbers_follow_each_other_and_a_rerun_leaves_what_is_there(tmp_path: Path) -> None:
    folder = InvoiceFolder(tmp_path / "a" / "b", SERIES)
    made = [folder.put(of(home), ["text"]) for home in range(3)]
    assert [(one.number, state) for one, state in made] == [
        ("26-0007", "made"), ("26-0008", "made"), ("26-0009", "made"),
    ]  # fmt: skip
    assert {one.stat().st_mode & 0o777 for one in (tmp_path / "a" / "b").glob("26-*")} == {0o600}
    again = InvoiceFolder(tmp_path / "a" / "b", SERIES)
    assert again.next_number() == "26-0010"
    (tmp_path / "a" / "b" / "26-0008.txt").unlink()
    late = replace(of(1), issued=LATER, due=LATER + (invoice().due - invoice().issued))
    assert again.put(late, ["text"]) == (made[1][0], "made")
    assert again.put(late, ["text"]) == (made[1][0], "there")
    assert again.put(late, ["text"], replacing=True) == (made[1][0], "there")


def test_what_says_otherwise_is_refused_or_replaced(tmp_path: Path) -> None:
    folder = InvoiceFolder(tmp_path, SERIES)
    first, _ = folder.put(of(1), ["xml"])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    other = replace(of(1), metering_point="other", issued=LATER)
    with pytest.raises(
        UsageError, match=r"26-0007.json is there already and says otherwise: correct it with"
    ):
        folder.put(other, ["xml"])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    made, state = folder.put(other, ["xml"], replacing=True)
    assert (made.number, made.issued, state) == (first.number, LATER, "replaced")
    assert read_json((tmp_path / "26-0007.json").read_bytes(), "it") == made


def test_a_number_is_one_documents(tmp_path: Path) -> None:
    folder = InvoiceFolder(tmp_path, SERIES)
    folder.put(replace(of(1), number="A-1"), [], numbered=True)
    with pytest.raises(UsageError, match="number A-1 is that of another document"):
        folder.put(replace(of(2), number="A-1"), [], numbered=True)
    with pytest.raises(UsageError, match="has this invoice already, with number A-1"):
        folder.put(replace(of(1), number="A-2"), [], numbered=True)
    assert folder.put(of(2), [])[0].number == "26-0007"


def test_a_correction_stands_beside_its_invoice(tmp_path: Path) -> None:
    now = invoice(of_windows(STEPS[:2]))
    ways: tuple[Way, ...] = ("difference", "reversal")
    for way in ways:
        folder = InvoiceFolder(tmp_path / way, SERIES)
        first, _ = folder.put(invoice(), [])
        made = correct(first, now, way, folder.next_number())
        assert [folder.put(made, [])[0].number for _ in range(2)] == ["26-0008", "26-0008"]
        (other,) = set(ways) - {way}
        with pytest.raises(UsageError, match="26-0008 corrects invoice 26-0007 already: a second correction"):
            folder.put(correct(first, now, other, folder.next_number()), [])


def test_after_a_reversal_a_new_invoice_takes_the_place(tmp_path: Path) -> None:
    now = invoice(of_windows(STEPS[:2]))
    folder = InvoiceFolder(tmp_path, SERIES)
    first, _ = folder.put(invoice(), [])
    with pytest.raises(UsageError, match="is there already and says otherwise"):
        folder.put(now, [])
    folder.put(correct(first, now, "reversal", folder.next_number()), [])
    for again in (folder, InvoiceFolder(tmp_path, SERIES)):
        made, _ = again.put(now, [])
        assert (made.number, made.corrects, made.total) == ("26-0009", None, now.total)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UsageError, match=r"x.json is not an invoice as `gateway provider invoice` writes it"):
        InvoiceFolder(tmp_path, SERIES)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file is not a folder for invoices"):
        InvoiceFolder(tmp_path / "file", SERIES)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1: the heading lacks stream, signer, name"),
        ("stream,signer,name,street,city,postcode,country,vat", "and knows no vat: expected"),
        ("stream,signer,name,street,city,postcode,country", "names no home"),
        (
            "stream,signer,name,street,city,postcode,country\nx,y,a,b,c,d,FR",
            "line 2: stream 'x': expected 32",
        ),
        ("stream,signer,name,street,city,postcode,country\nx,y", "line 2: the line has more or fewer cells"),
        (
            "stream,signer,name,street,city,postcode,country" + f"\n{'0' * 32},{'1' * 32},a,b,c,d,FR" * 2,
            "stands there twice",
        ),
    ],
)
def test_a_list_that_is_wrong_is_told_where(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        read_portfolio(text, "homes.csv")
    assert sentence in str(error.value)


def test_a_wrong_buyer_is_that_homes_alone() -> None:
    rows = "".join(f"{n:032x},{n:032x},a,b,c,d,{country}\n" for n, country in enumerate(["FR", "XX"]))
    one, other = read_portfolio("stream,signer,name,street,city,postcode,country\n" + rows, "homes.csv")
    assert not isinstance(one.buyer, UsageError)
    assert isinstance(other.buyer, UsageError)
    assert "homes.csv, line 3: country is 'XX'; it must be two capital letters" in str(other.buyer)
