"""The list of a centre's homes, from a file and from a registrar's catalogue."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.centre.homes import Home, in_catalogue, read_list
from gateway.cli.centre.options import packages
from gateway.errors import Refused, UsageError
from gateway.provider.desk import Failure
from gateway.provider.homes import Listed

HEADING = "stream,signer,grant,region\n"
IDS = st.binary(min_size=16, max_size=16)


def line(stream: int, grant: int, region: str = "North") -> str:
    return f"{bytes([stream] * 16).hex()},{'ab' * 16},{bytes([grant] * 16).hex()},{region}\n"


@given(
    st.dictionaries(IDS, st.tuples(IDS, IDS, st.sampled_from(["Nord", "Süd/2", "a,b", 'x"y'])), min_size=1)
)
def test_a_list_is_read_as_it_was_written(homes: dict[bytes, tuple[bytes, bytes, str]]) -> None:
    text, wanted = HEADING, []
    for stream, (signer, grant, region) in homes.items():
        cell = '"' + region.replace('"', '""') + '"'
        text += f"{stream.hex()},{signer.hex()},{grant.hex()},{cell}\n\n"
        wanted.append(Home(Listed(stream, signer, grant), region))
    assert read_list("\ufeff" + text, "homes.csv") == wanted


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stream,signer,grant\n", "homes.csv, line 1: expected the heading stream,signer,grant,region"),
        (HEADING, "homes.csv names no home: expected a line stream,signer,grant,region for each below"),
        (HEADING + "1,2,3\n", "homes.csv, line 2: 3 cells: expected stream,signer,grant,region"),
        (HEADING + line(1, 1) + "1,2,3,North\n", "^homes.csv, line 3: stream '1': expected 32 hexadecimal"),
        (HEADING + line(1, 1) + line(1, 1), r"homes.csv, line 3: this grant of stream .* stands in line 2"),
        (
            HEADING + line(1, 1) + line(1, 2, "South"),
            "homes.csv, line 3: stream 01010101010101010101010101010101 is in region 'North' above",
        ),
        (HEADING + line(1, 1, ""), "homes.csv, line 2: region '': expected a name of printable characters"),
        (HEADING + line(1, 1, "\a"), r"region '\\x07'"),
        (HEADING + line(1, 1, "ü" * 40), "at most 200"),
        (HEADING + '"', "homes.csv, line 2: unexpected end of data: expected CSV"),
    ],
)
def test_a_list_that_is_wrong(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_list(text, "homes.csv")


def test_a_home_of_the_catalogue_stays_in_its_region_and_listed() -> None:
    one, two, three, four = (Listed(bytes([n] * 16), b"s" * 16, b"g" * 16) for n in range(4))
    refused = [Failure(listed.stream, Refused("revoked")) for listed in (three, four)]
    known = [Home(one, "North"), Home(three, "West")]
    homes, failures = in_catalogue([(one, "South"), (two, "")], refused, known)
    assert homes == [Home(three, "West"), Home(one, "North")]
    assert [failure.stream for failure in failures] == [four.stream, two.stream]
    assert in_catalogue([(two, "East")], [], known) == ([Home(two, "East")], [])


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with (
        pytest.raises(UsageError, match=r"the package duckdb is missing: install gateway\[centre\]"),
        packages(),
    ):
        import duckdb  # noqa: F401
    with pytest.raises(ModuleNotFoundError), packages():
        import nothing_of_this_name  # type: ignore[import-not-found]  # noqa: F401
