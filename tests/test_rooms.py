"""The table in gateway/README.md holds: every import goes down, to a room that the importer's row names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rooms import MOST_FLOORS, floors, read_table

ROOT = Path(__file__).parents[1]
TABLE = "gateway/README.md"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the `gateway` package in `folder`, with the contract of that folder."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def project(folder: Path, table: str | None, modules: dict[str, str]) -> None:
    """A `gateway` package of these modules (path: content), under the contract and a table of its own."""
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "tests/rooms.py", folder / "tests")
    shutil.copy(ROOT / ".importlinter", folder)
    for name, content in {**modules, "__init__": ""}.items():
        path = folder / "gateway" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(content)
    if table is not None:
        (folder / TABLE).write_text(table)


def said(result: subprocess.CompletedProcess[str]) -> str:
    """What import-linter printed, without its line breaks."""
    return " ".join(result.stdout.split())


def test_every_import_goes_down_to_a_room_that_its_row_names() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_top_of_the_package_has_rooms_and_documents_only() -> None:
    known, _ = read_table((ROOT / TABLE).read_text("utf-8"), TABLE)
    rooms = {f"{room}/" for room in known if room != "errors"}
    files = {"__init__.py", "errors.py", "py.typed"}
    top = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "gateway").iterdir()
        if path.name != "__pycache__" and path.suffix != ".md"
    }
    assert top - files <= rooms
    assert top >= files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("importer", "line", "fault"),
    [
        ("wire/box", "from gateway.chain import seal", None),
        ("cli/run", "import gateway.daemon", None),
        ("chain/seal", "from gateway.wire import box", "chain may not import wire"),
        ("chain/seal", "import gateway.host.clock", "chain may not import host"),
        ("trust/root", "def f() -> None:\n    import gateway.store.s3", "trust may not import store"),
        ("stream/reader", "from gateway.trust import root", "stream may not import trust"),
        ("provider/sums", "import gateway.daemon.service", "provider may not import daemon"),
        ("store/s3", "from gateway.ledger import rows", "store may not import ledger"),
        ("appliance/update", "import gateway.daemon.service", "appliance may not import daemon"),
        (
            "store/bucket",
            "def f() -> None:\n    import gateway.store.s3",
            "a circle of imports: gateway.store.bucket imports gateway.store.s3 imports gateway.store.bucket",
        ),
        ("novelty", "x = 1", "gateway.novelty has no row in gateway/README.md"),
    ],
)
def test_the_contract_sees(importer: str, line: str, fault: str | None, tmp_path: Path) -> None:
    modules = dict.fromkeys(("chain/seal", "wire/box", "trust/root", "ledger/rows"), "")
    modules |= dict.fromkeys(("daemon/service", "host/clock", "store/bucket"), "")
    modules |= {"store/s3": "import gateway.store.bucket"}
    project(tmp_path, (ROOT / TABLE).read_text("utf-8"), {**modules, importer: line})

    result = lint(tmp_path)
    assert result.returncode == (0 if fault is None else 1), result.stdout + result.stderr
    if fault is not None:
        assert fault in said(result)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ("```rooms\nlow: high\nhigh:\n```\n", "row 'low: high' of gateway/README.md names high"),
        (None, "gateway/README.md has no table of rooms: a block of rows such as"),
        ("# A map\n\nNothing else.\n", "gateway/README.md has no table of rooms: a block of rows such as"),
    ],
)
def test_a_faulty_table_breaks_the_contract(document: str | None, fault: str, tmp_path: Path) -> None:
    project(tmp_path, document, {"low/__init__": "", "high/__init__": ""})

    result = lint(tmp_path)
    assert result.returncode == 1
    assert fault in said(result)


def table(*rows: str) -> str:
    return "\n".join(["# A map", "```rooms", *rows, "```", ""])


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (["low: high", "high:"], "row 'low: high' of t.md names high, which has no row above"),
        (["low: low"], "row 'low: low' of t.md names low, which has no row above"),
        (["low:", "low:"], "low has two rows in t.md"),
        (["low"], "row 'low' of t.md is invalid: expected a room, a colon and rooms, \"wire: errors chain\""),
        (["low high:"], "row 'low high:' of t.md is invalid: expected a room, a colon and rooms"),
        (["r0:", *(f"r{n}: r{n - 1}" for n in range(1, 10))], "t.md has 10 floors: expected at most 9"),
    ],
)
def test_a_fault_in_the_table_is_named(rows: list[str], fault: str) -> None:
    _, faults = read_table(table(*rows), "t.md")
    assert [found[: len(fault)] for found in faults] == [fault]


def test_a_row_names_what_a_room_may_import() -> None:
    known, faults = read_table(table("errors:", "", "chain: errors", "wire: errors chain", "cli: *"), "t.md")
    assert faults == []
    assert known == {
        "errors": set(),
        "chain": {"errors"},
        "wire": {"errors", "chain"},
        "cli": {"errors", "chain", "wire"},
    }
    assert floors(known) == {"errors": 1, "chain": 2, "wire": 3, "cli": 4}


def test_nine_floors_are_not_too_many() -> None:
    _, faults = read_table(table("r0:", *(f"r{n}: r{n - 1}" for n in range(1, MOST_FLOORS))), "t.md")
    assert faults == []
