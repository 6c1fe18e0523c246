"""Loads of a region from what was taken in: each window over its own set of homes.

A home that is late, broken or without a valid certificate leaves a window's set before the summing service is
asked, never after: the set is written down first, and stays the set of the window whatever comes in later.
The service's answers are kept too, so a load that is shown again asks for nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.centre.columns import date_of
from gateway.centre.engine import Chosen, Engine, Key
from gateway.centre.state import Known, Members, State, Times
from gateway.chain import share
from gateway.chain.seal import U64
from gateway.errors import GatewayError, NotGranted, Refused, Unavailable, UsageError
from gateway.provider.homes import Listed, write_homes
from gateway.provider.load import Answer, Windows, set_digest
from gateway.stream.times import spell

Ask = Callable[[str, Windows], Awaitable[Answer]]
"""Asks the summing service: the set as CSV (`provider.homes.write_homes`), and windows; gives its answer."""

Certified = Callable[[], Awaitable[AbstractSet[bytes]]]
"""Gives the streams whose gateways have valid certificates."""

_MEANWHILE = "another process asked for its set meanwhile, and was refused: try again"
REFUSES = "the summing service refuses"
"""With which the problem of a window begins whose set it refused."""
LATE = "not taken in before the window's set was asked for"


@dataclass(frozen=True, slots=True)
class Missing:
    """A home of the region that is not in the set of some windows: how many, and why in the last of them."""

    stream: bytes
    windows: int
    reason: str


@dataclass(frozen=True, slots=True)
class Load:
    """The loads of a region, [window, lane], in the lanes' own integers. Window i is summed over `homes[i]`
    homes, and `absent[i]` of those that the list has now are not among them; where `homes[i]` is 0 it has no
    sum, and `problems` say why, by window."""

    region: str
    windows: Windows
    sums: NDArray[np.int64]
    homes: tuple[int, ...]
    absent: tuple[int, ...]
    missing: tuple[Missing, ...]
    problems: Mapping[int, str]


async def load(
    state: State,
    engine: Engine,
    region: str,
    windows: Windows,
    ask: Ask,
    certified: Certified | None = None,
) -> Load:
    """The loads of a region. Without `certified` all gateways count as certified; it is asked, as the service
    is, only where a window has no set, or no answer, that is kept.

    UsageError for a region without homes, Unavailable where the summing service does not answer. Where it
    refuses a set, or another set was summed at a window's time, the window has no sum.
    """
    known = state.homes(region)
    if not known:
        raise UsageError(f"no home of region {region!r}: expected one of {', '.join(state.regions())}")
    start_ms, end_ms = windows.times[0][0], windows.times[-1][1]
    names = [one.name for one in state.files(region, date_of(start_ms), date_of(end_ms))]
    files: list[Path] = [state.folder / name for name in names]
    present = _Present.of(engine, files, windows)
    asked = state.asked(region, start_ms, end_ms)
    new = any(times not in asked for times in windows.times)
    reasons = _reasons(known, await certified() if certified is not None and new else None)
    sets, problems = _sets(asked, present, known, reasons, windows)
    state.ask(region, {windows.times[i]: one for i, one in sets.items() if windows.times[i] not in asked})
    written = state.asked(region, start_ms, end_ms)  # another process may have been first
    problems.update({i: _MEANWHILE for i in sets if windows.times[i] not in written})
    sets = {i: written[windows.times[i]] for i in sets if windows.times[i] in written}
    answers = await _answers(state, region, windows, sets, present, ask, problems)
    open_windows = {i: sets[i] for i in sets if i in answers}
    total, counts = engine.sums(files, windows, _chosen(open_windows, len(windows.times)))
    service = np.zeros_like(total)
    for i, members in open_windows.items():
        if counts[i] != len(members):
            raise UsageError(
                f"{state.folder} is damaged: the window from {spell(windows.times[i][0], 1)} has {counts[i]}"
                f" parts of a set of {len(members)} homes"
            )
        service[i] = answers[i]
    numbers = range(len(windows.times))
    streams = {one.home.listed.stream for one in known}
    return Load(
        region,
        windows,
        share.load(total, service),
        tuple(len(open_windows.get(i, ())) for i in numbers),
        tuple(len(streams - {one.stream for one in open_windows.get(i, ())}) for i in numbers),
        _missing(known, open_windows, present, reasons, windows),
        problems,
    )


class _Present:
    """Which homes are there in each window, with the incarnations that sealed it."""

    def __init__(self, windows: Sequence[dict[Key, int]]) -> None:
        self.windows = windows

    @classmethod
    def of(cls, engine: Engine, files: Sequence[Path], windows: Windows) -> _Present:
        found: list[dict[Key, int]] = [{} for _ in windows.times]
        table = engine.present(files, windows)
        columns = [table[name].to_pylist() for name in ("window", "stream", "grant", "incarnation")]
        for window, stream, grant, incarnation in zip(*columns, strict=True):
            found[window][stream, grant] = incarnation % 2**64
        return cls(found)

    def digest(self, windows: Windows, i: int, members: Members) -> str:
        sealed = ((one.stream, self.windows[i][one.stream, one.grant]) for one in members)
        return set_digest(windows, i, sealed)


def _reasons(known: Sequence[Known], certified: AbstractSet[bytes] | None) -> dict[Key, str]:
    """Why homes are in no set that is yet to be asked for, whatever was taken in of them."""
    reasons = {one.home.key: one.problem for one in known if one.problem is not None}
    for one in known:
        if certified is not None and one.home.listed.stream not in certified:
            reasons.setdefault(one.home.key, "its gateway has no valid certificate")
    return reasons


def _sets(
    asked: Mapping[Times, Members],
    present: _Present,
    known: Sequence[Known],
    reasons: Mapping[Key, str],
    windows: Windows,
) -> tuple[dict[int, Members], dict[int, str]]:
    """The set of each window, and why the others have none."""
    sets: dict[int, Members] = {}
    problems: dict[int, str] = {}
    for i, times in enumerate(windows.times):
        if times in asked:
            sets[i] = asked[times]
            continue
        there = present.windows[i]
        bound = _streams_summed(asked, times)
        if len(bound) > 1:
            problems[i] = "parts of it were summed over different sets of homes"
        elif bound:
            (signers,) = bound
            grants = dict(sorted(there))
            lacking = [stream for stream, _ in signers if stream not in grants]
            if lacking:
                problems[i] = (
                    "its time was summed over a set of homes, and"
                    f" {len(lacking)} of these are not complete in it, such as stream {lacking[0].hex()}"
                )
            else:
                sets[i] = tuple(Listed(stream, signer, grants[stream]) for stream, signer in signers)
        else:
            usable = [
                one.home.listed for one in known if one.home.key in there and one.home.key not in reasons
            ]
            members = {one.stream: one for one in usable}  # of two grants that have the window, the last
            if members:
                sets[i] = tuple(members.values())
            else:
                problems[i] = "no home of the region is complete in it"
    return sets, problems


def _streams_summed(asked: Mapping[Times, Members], times: Times) -> set[tuple[tuple[bytes, bytes], ...]]:
    """The sets that were asked for at some instant of a window, each as its homes' streams and signers: the
    service tells homes apart by these, whatever their grants."""
    start_ms, end_ms = times
    return {
        tuple((one.stream, one.signer) for one in members)
        for (a, b), members in asked.items()
        if a < end_ms and start_ms < b
    }


async def _answers(
    state: State,
    region: str,
    windows: Windows,
    sets: Mapping[int, Members],
    present: _Present,
    ask: Ask,
    problems: dict[int, str],
) -> dict[int, U64]:
    """The service's sums of the windows that have a set; those that it refuses are put among `problems`."""
    lanes = ",".join(windows.lanes)
    kept = state.answers(region, lanes, windows.times[0][0], windows.times[-1][1])
    found: dict[int, U64] = {}
    wanted: dict[Members, list[int]] = {}
    for i, members in sets.items():
        times = windows.times[i]
        if times in kept and kept[times][0] == present.digest(windows, i, members):
            found[i] = kept[times][1]
        else:
            wanted.setdefault(members, []).append(i)
    for members, numbers in wanted.items():
        part = Windows(windows.lanes, tuple(windows.times[i] for i in numbers))
        try:
            answer = await ask(write_homes(members), part)
        except (NotGranted, UsageError, Refused) as error:
            state.unask(region, part.times)
            problems.update(dict.fromkeys(numbers, f"{REFUSES}: {error}"))
            continue
        if answer.windows != part:
            raise GatewayError("the summing service answered for other windows than it was asked for")
        good: dict[Times, tuple[str, U64]] = {}
        for at, i in enumerate(numbers):
            digest = present.digest(windows, i, members)
            if answer.sets[at] != digest:
                problems[i] = (
                    "the summing service read other incarnations of these homes: one has sealed the window"
                    " again"
                )
                continue
            found[i] = answer.sums[at]
            good[windows.times[i]] = digest, answer.sums[at]
        state.answer(region, lanes, good)
    return found


def _chosen(sets: Mapping[int, Members], count: int) -> Chosen:
    distinct = list(dict.fromkeys(sets.values()))
    number = {members: n for n, members in enumerate(distinct)}
    return Chosen(
        [[(one.stream, one.grant) for one in members] for members in distinct],
        [number[sets[i]] if i in sets else None for i in range(count)],
    )


def _missing(
    known: Sequence[Known],
    sets: Mapping[int, Members],
    present: _Present,
    reasons: Mapping[Key, str],
    windows: Windows,
) -> tuple[Missing, ...]:
    """The homes of the region that are not in the sets of all windows."""
    inside = {i: {one.stream for one in members} for i, members in sets.items()}
    by_stream: dict[bytes, list[Known]] = {}
    for one in known:
        by_stream.setdefault(one.home.listed.stream, []).append(one)
    found = []
    for stream, ones in by_stream.items():
        out = [i for i in range(len(windows.times)) if stream not in inside.get(i, ())]
        if not out:
            continue
        keys = [one.home.key for one in ones]
        why = next((reasons[key] for key in keys if key in reasons), None)
        if why is None and any(key in present.windows[out[-1]] for key in keys):
            why = LATE
        end_ms = windows.times[out[-1]][1]
        ends = [one.ends_ms for one in ones]
        if why is None and all(end is not None and end < end_ms for end in ends):
            why = f"its grant ends at {spell(max(end for end in ends if end is not None), 1)}"
        if why is None:
            until = max((one.until_ms for one in ones if one.until_ms is not None), default=None)
            why = "nothing taken in" if until is None else f"taken in until {spell(until, 1)}"
        found.append(Missing(stream, len(out), why))
    return tuple(found)


def check_any(load: Load) -> None:
    """Unavailable, or NotGranted where the service refused, for loads of which no window has a sum."""
    if any(load.homes):
        return
    why = next(iter(load.problems.values()))
    error = NotGranted if why.startswith(REFUSES) else Unavailable
    raise error(f"no load of {load.region!r}: {why}")
