"""A fault log: at once, once a minute with a count, and once when the fault clears."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.host.fault_log import FaultLog
from tests.support.clock import NS, FakeClock


def test_a_fault_is_logged_at_once_then_once_a_minute_with_a_count_and_when_it_clears() -> None:
    clock, lines = FakeClock(), list[str]()
    faults = FaultLog(clock, lines.append, lambda line: lines.append(f"info: {line}"), "meter main: ")
    for second in range(61):
        assert (faults.fault is None) == (second == 0)
        faults.report("it is silent")
        clock.pass_s(1)
    assert faults.fault == "it is silent"
    assert lines == [
        "meter main: it is silent",
        "meter main: it is silent (60 times since the last such line)",
    ]
    faults.clear("meter main answers again")
    assert faults.fault is None
    assert lines[2:] == ["info: meter main answers again"]


def test_nothing_clears_that_was_not_logged() -> None:
    clock, lines = FakeClock(), list[str]()
    faults = FaultLog(clock, lines.append, lines.append)
    faults.clear("it is over")
    assert lines == []
    faults.report("one")
    faults.clear("it is over")
    faults.report("two")  # within the minute
    faults.clear("it is over")
    assert lines == ["one", "it is over"]


@given(st.lists(st.one_of(st.integers(0, 200), st.just(None)), max_size=60))
def test_no_two_lines_of_a_fault_are_within_a_minute_and_none_is_lost(acts: list[int | None]) -> None:
    """`None` clears; a number is how many seconds pass before the fault is reported once more."""
    clock, lines = FakeClock(), list[tuple[int, str]]()
    faults = FaultLog(clock, lambda line: lines.append((clock.monotonic(), line)), lambda _: None)
    for act in acts:
        if act is None:
            faults.clear("over")
        else:
            clock.pass_s(act)
            faults.report("fault")
    clock.pass_s(60)
    faults.report("fault")
    assert all(later - before >= 60 * NS for (before, _), (later, _) in pairwise(lines))
    counted = sum(int(line.partition("(")[2].partition(" ")[0] or 1) for _, line in lines)
    assert counted == 1 + sum(act is not None for act in acts)
