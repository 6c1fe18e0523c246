"""The picture in ARCHITECTURE.md stays true: every import goes down, to a room that may be known."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the `gateway` package in `folder`, with the contract that stands there."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_every_import_goes_down_to_a_room_that_may_be_known() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "line", "fault"),
    [
        ("wire/box", "from gateway.chain import seal", None),
        ("cli/run", "import gateway.daemon", None),
        ("chain/seal", "from gateway.wire import box", "chain may not know wire"),
        ("chain/seal", "import gateway.host.clock", "chain may not know host"),
        ("trust/root", "def f() -> None:\n    import gateway.store.s3", "trust may not know store"),
        ("stream/reader", "from gateway.trust import root", "stream may not know trust"),
        ("provider/sums", "import gateway.daemon.service", "provider may not know daemon"),
        ("store/s3", "from gateway.ledger import rows", "store may not know ledger"),
        ("novelty", "x = 1", "gateway.novelty stands on no row"),
    ],
)
def test_the_contract_sees(importer: str, line: str, fault: str | None, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests/rooms.py", tmp_path / "tests")
    shutil.copy(ROOT / ".importlinter", tmp_path)
    modules = {"chain/seal", "wire/box", "trust/root", "store/s3", "ledger/rows"}
    modules |= {"daemon/service", "host/clock"}
    for module in sorted(modules | {importer}):
        path = tmp_path / "gateway" / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(line if module == importer else "")

    result = lint(tmp_path)
    assert result.returncode == (0 if fault is None else 1), result.stdout + result.stderr
    if fault is not None:
        assert fault in result.stdout


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("low: high\n    high:", "names high, which stands on no row above"),
        ("low:\n    low:", "low stands on two rows"),
    ],
)
def test_a_wrong_table_is_no_contract(table: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests/rooms.py", tmp_path / "tests")
    head = (ROOT / ".importlinter").read_text().partition("rooms =\n    errors")[0]
    (tmp_path / ".importlinter").write_text(f"{head}rooms =\n    {table}\n")
    for name in ("low", "high"):
        (tmp_path / "gateway" / name).mkdir(parents=True)
        (tmp_path / "gateway" / name / "__init__.py").touch()
    (tmp_path / "gateway/__init__.py").touch()

    result = lint(tmp_path)
    assert result.returncode == 1
    assert fault in " ".join(result.stdout.split())
