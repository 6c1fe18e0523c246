"""The README's table of meters says what the profiles say."""

from __future__ import annotations

import re

import pytest

from gateway.meters.profile import load_profile, profile_ids
from gateway.meters.table import README, table, with_table

TEXT = README.read_text("utf-8")


def test_the_readme_has_the_profiles_table() -> None:
    assert with_table(TEXT) == TEXT, "the profiles changed: run `python -m gateway.meters.table`"


def test_every_product_is_in_the_row_of_its_profile() -> None:
    meters, also = table().split("\n\n")
    rows, others = (
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in one.splitlines()[2:]]
        for one in (meters, also)
    )
    assert {(name, profile.strip("`")) for name, profile in others} == {
        (name, profile_id) for profile_id in profile_ids() for name in load_profile(profile_id).also
    }
    assert all(len(row) == 5 for row in rows)
    found = {(product, row[1].strip("`")) for row in rows for product in row[0].split("; ")}
    assert found == {
        (product, profile_id) for profile_id in profile_ids() for product in load_profile(profile_id).products
    }
    first = [row[0].casefold() for row in rows]
    assert first == sorted(first)


@pytest.mark.parametrize(
    ("profile_id", "row"),
    [
        ("eastron-sdm72", "[Modbus](#modbus), 9600 Bd, 8N1 | `serial` or `tcp`, `unit_id` | vendor-doc"),
        ("sma-home-manager", "[Modbus](#modbus), network | `tcp`, `unit_id` | community"),
        ("luxembourg-smarty", "[P1](#p1), 115200 Bd, 8N1 | `serial`, `keys` | vendor-doc"),
        ("dsmr-2.2", "[P1](#p1), 9600 Bd, 7E1 | `serial` | vendor-doc"),
        ("kaifa-ma309", "[DLMS push](#dlms-push), 2400 Bd, 8N1 | `serial`, `keys` | vendor-doc"),
        ("aidon-han", "[DLMS push](#dlms-push), 2400 Bd, 8E1 | `serial`; `keys` if it encrypts | vendor-doc"),
        ("dlms-generic", "[DLMS polled](#dlms-polled), network | `tcp` | community"),
        ("dlms-generic-lls", "[DLMS polled](#dlms-polled), network | `tcp`, `keys` | community"),
    ],
)
def test_a_row_says_what_its_meter_needs(profile_id: str, row: str) -> None:
    assert f"| `{profile_id}` | {row} |" in table()


def test_what_the_table_links_to_is_there() -> None:
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)}
    linked = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert linked
    assert linked <= headings


def test_without_its_markers_there_is_no_place_for_the_table() -> None:
    with pytest.raises(ValueError, match="lacks the lines"):
        with_table(TEXT.replace("<!-- the end", "<!-- an end"))
