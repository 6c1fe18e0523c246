"""`from gateway.provider import ...`: one line of Python, as its documentation has it."""

from __future__ import annotations

import ast
import asyncio
import doctest
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gateway.provider
from gateway.chain.layout import Layout
from gateway.errors import GatewayError, NotFound, NotGranted, Refused, StoreDenied, UsageError
from gateway.provider import Home, Table, formats, library, read, read_async, streams, table
from gateway.provider.formats import Section
from gateway.provider.plot import load_curve
from gateway.store.location import Location
from tests.provider.street import Street
from tests.stream.stream import START, random_readings
from tests.stream.stream import Home as Gateway

STUB = Path(gateway.provider.__file__).with_suffix(".pyi")
QUARTERS = 96


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Street:
    """Two homes of one day in quarter hours; the examples' store is `meters`, their key `utility`."""
    street = Street(tmp_path / "meters", Street.new(tmp_path).provider)
    street.store.mkdir()
    for _ in range(2):
        gateway = street.joins(Gateway(layout=Layout(900_000, 96), start=START // 900, chunk_units=96))
        gateway.seal({"import": [15_000] * QUARTERS, "export": [0] * QUARTERS})
        gateway.grant(street.provider.card, "15min")
    street.write()
    street.lists(tmp_path / "homes.csv", "stream,signer,name")
    monkeypatch.chdir(tmp_path)
    return street


@pytest.mark.parametrize("module", [gateway.provider, library, table], ids=lambda module: module.__name__)
def test_the_examples_run(module: ModuleType, street: Street) -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner()
    ran = 0
    for example in finder.find(module, module.__name__):
        said: list[str] = []
        runner.run(example, out=said.append)
        assert not said, "".join(said)
        ran += len(example.examples)
    assert ran > 0


def test_the_stub_has_the_names_of_the_package() -> None:
    tree = ast.parse(STUB.read_text())
    imported = {
        name.asname or name.name: statement.module
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom)
        for name in statement.names
    }
    [declared] = [
        ast.literal_eval(statement.value) for statement in tree.body if isinstance(statement, ast.Assign)
    ]
    assert imported == vars(gateway.provider)["_NAMES"]
    assert declared == gateway.provider.__all__
    for name in declared:
        assert getattr(gateway.provider, name).__doc__, name
    assert set(declared) < set(dir(gateway.provider))


def test_a_name_that_is_not_there() -> None:
    name = "reed"
    with pytest.raises(AttributeError, match="has no attribute 'reed'"):
        getattr(gateway.provider, name)


def test_the_package_alone_loads_nothing() -> None:
    code = (
        "import sys, gateway.provider; print([m for m in sys.modules if m in ('numpy', 'pyarrow', 'click')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


class TestRead:
    def test_one_home(self, street: Street) -> None:
        home = street.homes[1]
        for stream, signer in ((home.stream, home.signer), (home.stream.hex(), home.signer.hex())):
            one = read("meters", key="utility", stream=stream, signer=signer)
            assert one.homes == (home,)
            assert one.homes[0].verified
            assert len(one) == QUARTERS

    def test_all_of_a_store_are_not_verified(self, street: Street) -> None:
        found = read(Location.parse("meters"), key=Path("utility"))
        assert sorted(home.stream for home in found.homes) == sorted(home.stream for home in street.homes)
        assert not any(home.verified for home in found.homes)
        assert len(found) == 2 * QUARTERS

    def test_a_list_and_a_file(self, street: Street) -> None:
        listed = read("meters", key="utility", homes=street.homes)
        from_file = read("meters", key="utility", homes="homes.csv")
        assert list(listed.records()) == list(from_file.records())
        assert [home.name for home in from_file.homes] == ["House 1", "House 2"]

    @pytest.mark.parametrize(
        ("since", "until"),
        [
            ("2026-03-01T06:00Z", "2026-03-01T12:00Z"),
            ("2026-03-01T07:00+01:00", "2026-03-01T13:00+01:00"),
            (datetime(2026, 3, 1, 6, tzinfo=UTC), datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ],
    )
    def test_a_part_of_the_time(self, since: Any, until: Any, street: Street) -> None:
        found = read("meters", key="utility", homes=street.homes, granularity="1h", since=since, until=until)
        assert [record["start"].hour for record in found.records()] == [*range(6, 12)] * 2
        assert {record["import_mwh"] for record in found.records()} == {60_000}

    def test_lanes(self, street: Street) -> None:
        assert read("meters", key="utility", lanes=["export"]).lanes == ("export",)

    def test_progress(self, street: Street) -> None:
        seen: list[tuple[int, int | None]] = []
        homes = street.homes
        read("meters", key="utility", homes=homes, progress=lambda done, total: seen.append((done, total)))
        assert seen == [(1, 2), (2, 2)]

    def test_it_remembers_heads(self, street: Street) -> None:
        old = [gateway.fork() for gateway in street.gateways]
        for one in street.gateways:
            one.seal({"import": [1], "export": [1]})
        street.write()
        read("meters", key="utility")
        Street(street.store, street.provider, old).write()
        found = read("meters", key="utility")
        assert [str(failure).partition("before: ")[2] for failure in found.failures] == [
            "the store shows an older state"
        ] * 2

    async def test_within_an_event_loop(self, street: Street) -> None:
        """As in a notebook."""
        there = read("meters", key="utility")
        assert list(there.records()) == list((await read_async("meters", key="utility")).records())
        assert len(streams("meters", key="utility").homes) == 2


class TestFailures:
    def test_one_home_raises_its_error(self, street: Street) -> None:
        one = street.homes[0]
        with pytest.raises(NotFound, match="the store holds no stream"):
            read("meters", key="utility", stream="00" * 16, signer=one.signer)
        with pytest.raises(Refused, match="names the signing key"):
            read("meters", key="utility", stream=one.stream, signer="00" * 16)
        home = street.joins(Gateway())
        street.write()
        with pytest.raises(NotGranted, match="has no grant of sums to this provider"):
            read("meters", key="utility", stream=home.id, signer=home.signer.kid)

    def test_of_several_each_has_its_own(self, street: Street) -> None:
        homes = [Home(bytes(16), bytes(16), "nobody"), *street.homes]
        found = read("meters", key="utility", homes=homes)
        assert len(found) == 2 * QUARTERS
        [failure] = found.failures
        assert str(failure).startswith(f"stream {'00' * 16} (nobody): the store holds no stream")

    def test_a_broken_stream_of_a_store(self, street: Street) -> None:
        bad = street.gateways[0]
        bad.objects = dict.fromkeys(bad.objects, b"x")
        street.write()
        found = read("meters", key="utility")
        assert len(found) == QUARTERS
        assert [failure.stream for failure in found.failures] == [bad.id]

    def test_nothing_granted(self, street: Street) -> None:
        for one in street.gateways:
            one.objects = {key: data for key, data in one.objects.items() if "/grant/" not in key}
        street.write()
        with pytest.raises(NotGranted, match="no stream in the store grants sums to this provider"):
            read("meters", key="utility")

    @pytest.mark.parametrize(
        ("arguments", "error", "sentence"),
        [
            ({"stream": "00" * 16}, UsageError, "give both, or neither"),
            ({"signer": "00" * 16}, UsageError, "give both, or neither"),
            ({"stream": "5f", "signer": "00" * 16}, UsageError, "stream '5f' is not an id"),
            ({"stream": "00" * 16, "signer": b"1"}, UsageError, "signer b'1' is not an id"),
            (
                {"stream": "00" * 16, "signer": "00" * 16, "homes": "homes.csv"},
                UsageError,
                "give one of them",
            ),
            ({"homes": []}, UsageError, "the list of homes is empty"),
            ({"homes": "absent.csv"}, UsageError, "absent.csv cannot be read"),
            ({"homes": "utility/key.cbor"}, UsageError, "is not text in UTF-8"),
            ({"homes": [Home(bytes(16), bytes(16))] * 2}, UsageError, "a stream stands twice"),
            ({"key": "absent"}, UsageError, "absent does not hold a provider's key"),
            ({"since": "yesterday"}, UsageError, "'yesterday' is not a time"),
            ({"until": datetime(2026, 3, 1)}, UsageError, "has no time zone"),
            ({"lanes": []}, UsageError, "expected some of import, export, power, temperature"),
            ({"lanes": "import"}, UsageError, "expected some of import, export, power, temperature"),
            ({"store": "absent"}, StoreDenied, "there is no directory"),
            ({"store": "ftp://x"}, UsageError, "begins with ftp://"),
        ],
    )
    def test_what_cannot_be_asked(
        self, arguments: dict[str, Any], error: type[GatewayError], sentence: str, street: Street
    ) -> None:
        with pytest.raises(error) as raised:
            read(**{"store": "meters", "key": "utility"} | arguments)
        assert sentence in str(raised.value)

    def test_a_question_that_no_home_can_answer(self, street: Street) -> None:
        found = read("meters", key="utility", granularity="7 furlongs")
        assert [failure.error.kind for failure in found.failures] == ["usage", "usage"]

    def test_old_heads(self, street: Street) -> None:
        found = read("meters", key="utility", max_age=timedelta(milliseconds=1))
        assert ["may be 0 s old at most" in str(failure) for failure in found.failures] == [True, True]


@pytest.mark.parametrize(
    ("module", "work", "sentence"),
    [
        ("pyarrow", lambda found: found.to_arrow(), "run ./provisioning/venv.sh provider"),
        ("polars", lambda found: found.to_polars(), "run ./provisioning/venv.sh provider"),
        ("pandas", lambda found: found.to_pandas(), "pip install pandas"),
        (
            "pyarrow",
            lambda found: formats.parquet([Section("window", found)]),
            "run ./provisioning/venv.sh provider",
        ),
        ("matplotlib", lambda found: load_curve(found, "png"), "run ./provisioning/venv.sh provider"),
    ],
)
def test_a_library_that_is_not_installed(
    module: str,
    work: Callable[[Table], object],
    sentence: str,
    street: Street,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = read("meters", key="utility")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as error:
        work(found)
    assert sentence in str(error.value)


def test_streams(street: Street) -> None:
    gateway = street.joins(Gateway())
    gateway.seal(random_readings(60))
    street.write()
    found = asyncio.run(library.streams_async("meters", key="utility", homes=street.homes))
    assert [one.home for one in found.homes] == street.homes[:2]
    assert len(streams("meters", key="utility").homes) == 2
