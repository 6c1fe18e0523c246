"""A pytest plugin that fails a run whose tests reach too little of some rooms: `pytest -p tests.floors`.

The rooms are those where a mistake costs most. What counts are the lines and branches of a room that these
rooms' own tests and the vectors' reach, in pytest's own process. All other tests run unmeasured, since
measuring makes Python half as fast. Only a run of all tests can reach the floors.
"""

from __future__ import annotations

from collections.abc import Generator
from importlib import import_module
from io import StringIO
from pathlib import Path
from pkgutil import walk_packages

import pytest
from coverage import Coverage

# The least share of each room's lines and branches, in percent: one or two below what a whole run measured
# (98.8, 99.7, 95.8, 97.7 and 99.7), since random inputs and threads move it a little.
FLOORS = {"chain": 98, "ledger": 99, "stream": 94, "trust": 96, "wire": 99}

_ROOT = Path(__file__).parents[1]
_MEASURED = [_ROOT / "tests" / folder for folder in (*FLOORS, "vectors")]


class Floors:
    """Measures from the first import of the gateway's code on, and during each test that counts."""

    def __init__(self) -> None:
        rooms = [str(_ROOT / "gateway" / room) for room in FLOORS]
        self._coverage = Coverage(data_file=None, config_file=False, branch=True, source=rooms)
        self._shares: dict[str, float] = {}
        self._coverage.start()

    def pytest_collection_finish(self) -> None:
        # What a module does when it is imported counts, whichever test would have imported it first.
        for room in FLOORS:
            for module in walk_packages([str(_ROOT / "gateway" / room)], f"gateway.{room}."):
                import_module(module.name)
        self._coverage.stop()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        if not any(item.path.is_relative_to(folder) for folder in _MEASURED):
            return (yield)
        self._coverage.start()
        try:
            return (yield)
        finally:
            self._coverage.stop()

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            for room in FLOORS:
                include = str(_ROOT / "gateway" / room / "*")
                self._shares[room] = self._coverage.report(include=[include], file=StringIO())
            if self._low():
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        shown = [f"{room} {share:.1f} %" for room, share in self._shares.items()]
        terminalreporter.write_line(f"What the rooms' own tests reach: {', '.join(shown)}")
        for room in self._low():
            terminalreporter.write_line(
                f"The tests of gateway/{room} reach {self._shares[room]:.1f} % of its lines and branches:"
                f" the floor is {FLOORS[room]} % (tests/floors.py)",
                red=True,
            )

    def _low(self) -> list[str]:
        return [room for room, share in self._shares.items() if share < FLOORS[room]]


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Begin before a conftest imports any of the gateway's code."""
    early_config.pluginmanager.register(Floors())
