"""Loads of a region from what was taken in: each window over its own sets of homes.

A home that is late, broken or without a valid certificate leaves a window's set before the summing service is
asked, never after: the set is written down first, and stays a set of the window whatever comes in later.
Homes that come later are a second set once there are enough of them: then the load is the sum over both. The
service's answers are kept too, so a load that is shown again asks for nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.centre.adding import reading
from gateway.centre.columns import date_of
from gateway.centre.engine import Chosen, Engine, Key
from gateway.centre.noise import Noise, noises
from gateway.centre.runs import IDS, packed
from gateway.centre.state import Known, Members, Sets, State, Times
from gateway.chain import share
from gateway.chain.layout import LANES
from gateway.chain.seal import U64
from gateway.chain.window import spell_ms
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
NOBODY_HAS = "no home of the region has"
"""With which the problem of a window begins that was never granted, or whose lanes were not."""
_NONE_HAS = "no home of its set has"
LATE = "not taken in before the window's set was asked for"
_ROWS = 2**16
"""Of homes in windows that are looked at together."""
_FEW = 2
"""Homes of which a set is asked for: fewer are in no sum. A household or the service may want more."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A home of the region that is not in the set of some windows: how many, and why in the last of them."""

    stream: bytes
    windows: int
    reason: str


@dataclass(frozen=True, slots=True)
class Load:
    """The loads of a region, [window, lane], in the lanes' own integers. Window i is summed over `homes[i]`
    homes, those of all its sets, and `absent[i]` of those that the list has now are not among them; where
    `homes[i]` is 0 it has no sum, and `problems` say why, by window. `noise` was added to the numbers of the
    windows `noisy`."""

    region: str
    windows: Windows
    sums: NDArray[np.int64]
    homes: tuple[int, ...]
    absent: tuple[int, ...]
    missing: tuple[Missing, ...]
    problems: Mapping[int, str]
    noise: Noise | None = None
    noisy: AbstractSet[int] = frozenset()


async def load(
    state: State,
    engine: Engine,
    region: str,
    windows: Windows,
    ask: Ask,
    certified: Certified | None = None,
    noise: Noise | None = None,
) -> Load:
    """The loads of a region. Without `certified` all gateways count as certified; it is asked, as the service
    is, only where a window has no set, or no answer, that is kept. With `noise` the loads of small sets are
    as they may be published; UsageError as for `gateway.centre.noise`.

    UsageError for a region without homes, Unavailable where the summing service does not answer. Where it
    refuses a set for the objects of some of its homes, it is asked for a set without these. Where it refuses
    a set otherwise, or another set was summed at a window's time, the window has no sum.
    """
    if noise is not None:
        noise.check(windows)  # before a set is asked for
    return await _load(state, engine, region, windows, ask, certified, noise, {})


async def _load(
    state: State,
    engine: Engine,
    region: str,
    windows: Windows,
    ask: Ask,
    certified: Certified | None,
    noise: Noise | None,
    without: Mapping[bytes, str],
) -> Load:
    """The same without these streams in the sets that are yet to be decided: homes whose objects the service
    refuses, each with a sentence."""
    known = state.homes(region)
    if not known:
        raise UsageError(f"no home of region {region!r}: expected one of {', '.join(state.regions())}")
    start_ms, end_ms = windows.times[0][0], windows.times[-1][1]
    present = _Present.of(engine, _files(state, region, windows), windows)
    asked = state.asked(region, start_ms, end_ms)
    refused = state.refused(region, start_ms, end_ms)
    new = any(times not in asked for times in windows.times)
    reasons = _reasons(known, None, without)
    chosen, problems = _sets(asked, refused, present, known, reasons, windows)
    if certified is not None and (new or chosen):
        try:
            reasons = _reasons(known, await certified(), without)
        except Unavailable:
            if new:
                raise
            chosen = {}  # what can be shown without those that came late is
        else:
            chosen, problems = _sets(asked, refused, present, known, reasons, windows)
    nobodys = [i for i in problems if not present.windows[i]]
    problems |= _other_windows(_files(state, region, windows), windows, nobodys)
    state.ask(region, {windows.times[i]: sets for i, sets in chosen.items()})
    written = state.asked(region, start_ms, end_ms)  # another process may have been first
    numbers = range(len(windows.times))
    for i in numbers:
        if windows.times[i] not in written:
            problems.setdefault(i, _MEANWHILE)
    sets = {i: written[times] for i, times in enumerate(windows.times) if times in written}
    digests = present.digests(windows, sets)
    if None in digests.values():  # a set of another process may have homes that were taken in meanwhile
        present = _Present.of(engine, _files(state, region, windows), windows)
        digests = present.digests(windows, sets)
    bad: dict[bytes, str] = {}
    answers = await _answers(state, region, windows, sets, digests, ask, problems, bad)
    if bad.keys() - without.keys():  # nothing is added up before the sets are without them
        return await _load(state, engine, region, windows, ask, certified, noise, {**without, **bad})
    summed = {i: _Union(sets[i], answers[i]) for i in sets if answers[i]}
    # Files may have been merged while the service answered.
    total, counts = engine.sums(_files(state, region, windows), windows, _chosen(summed, len(windows.times)))
    service = np.zeros_like(total)
    for i, union in summed.items():
        if counts[i] != len(union.homes):
            raise _damaged(state, windows.times[i], counts[i], len(union.homes))
        for sums in answers[i].values():
            service[i] += sums
    loads, added = share.load(total, service), dict[int, Sequence[int]]()
    if noise is not None:
        parts = {i: {number: sets[i][number] for number in union.numbers} for i, union in summed.items()}
        added = noises(state, region, windows, parts, noise)
    for i, mwh in added.items():
        loads[i] += np.array(mwh, dtype=np.int64)
    streams = {one.home.listed.stream for one in known}
    refused = state.refused(region, start_ms, end_ms)
    outside = {i: _late(refused.get(times)) for i, times in enumerate(windows.times)} | problems
    inside = {i: {one.stream for one in union.homes} for i, union in summed.items()}
    return Load(
        region,
        windows,
        loads,
        tuple(len(inside.get(i, ())) for i in numbers),
        tuple(len(streams - inside.get(i, set())) for i in numbers),
        _missing(known, inside, present, reasons, windows, outside),
        problems,
        noise,
        added.keys(),
    )


def _damaged(state: State, times: Times, parts: int, homes: int) -> UsageError:
    return UsageError(
        f"{state.folder} is damaged: the window from {spell(times[0], 1)} has {parts} parts of a set of"
        f" {homes} homes"
    )


def _files(state: State, region: str, windows: Windows) -> list[Path]:
    """The files that may have these windows of a region."""
    first, last = date_of(windows.times[0][0]), date_of(windows.times[-1][1])
    return [state.folder / one.name for one in state.files(region, first, last)]


class _Union:
    """The sets of a window that the service has summed: their numbers, and all their homes."""

    def __init__(self, sets: Mapping[int, Members], answered: Iterable[int]) -> None:
        self.numbers = tuple(sorted(answered))
        self.homes = [one for number in self.numbers for one in sets[number]]


class _Present:
    """Which homes are there in each window, with the incarnations that sealed it."""

    def __init__(self, windows: Sequence[dict[Key, int]]) -> None:
        self.windows = windows

    @classmethod
    def of(cls, engine: Engine, files: Sequence[Path], windows: Windows) -> _Present:
        found: list[dict[Key, int]] = [{} for _ in windows.times]
        keys: dict[Key, Key] = {}  # each once, however many windows the home has
        for batch in engine.present(files, windows).to_batches(max_chunksize=_ROWS):
            columns = [batch[name].to_pylist() for name in ("window", "stream", "grant", "incarnation")]
            for window, stream, grant, incarnation in zip(*columns, strict=True):
                key = stream, grant
                found[window][keys.setdefault(key, key)] = incarnation % 2**64
        return cls(found)

    def digests(
        self, windows: Windows, sets: Mapping[int, Mapping[int, Members]]
    ) -> dict[tuple[int, int], str | None]:
        """The digest of each set of a window; None where the window lacks one of its homes."""
        return {
            (i, number): self._digest(windows, i, members)
            for i, several in sets.items()
            for number, members in several.items()
        }

    def _digest(self, windows: Windows, i: int, members: Members) -> str | None:
        there = self.windows[i]
        try:
            sealed = [(one.stream, there[one.stream, one.grant]) for one in members]
        except KeyError:
            return None
        return set_digest(windows, i, sealed)


def _reasons(
    known: Sequence[Known], certified: AbstractSet[bytes] | None, without: Mapping[bytes, str]
) -> dict[Key, str]:
    """Why homes are in no set that is yet to be asked for, whatever was taken in of them."""
    reasons = {one.home.key: one.problem for one in known if one.problem is not None}
    for one in known:
        if certified is not None and one.home.listed.stream not in certified:
            reasons.setdefault(one.home.key, "its gateway has no valid certificate")
        if (why := without.get(one.home.listed.stream)) is not None:
            reasons.setdefault(one.home.key, f"{REFUSES} it: {why}")
    return reasons


def _sets(
    asked: Sets,
    refused: Mapping[Times, int],
    present: _Present,
    known: Sequence[Known],
    reasons: Mapping[Key, str],
    windows: Windows,
) -> tuple[dict[int, list[Members]], dict[int, str]]:
    """The sets of each window that the service is yet to be asked for, and why windows have none at all."""
    chosen: dict[int, list[Members]] = {}
    problems: dict[int, str] = {}
    summed = _Summed(asked)
    for i, times in enumerate(windows.times):
        there, own = present.windows[i], asked.get(times, {})
        bound = summed.at(times)
        taken = frozenset[bytes]().union(*(streams for _, streams in bound))
        if len(taken) < sum(len(streams) for _, streams in bound):  # a home is in two of them
            if not own:
                problems[i] = "parts of it were summed over different sets of homes"
            continue
        grants = dict(sorted(there))
        sets, problem = [], None
        own_streams = {one.stream for members in own.values() for one in members}
        for signers, streams in bound:
            if not streams.isdisjoint(own_streams):
                continue
            lacking = [stream for stream, _ in signers if stream not in grants]
            if lacking:
                problem = (
                    "its time was summed over a set of homes, and"
                    f" {len(lacking)} of these are not complete in it, such as stream {lacking[0].hex()}"
                )
            else:
                sets.append(tuple(Listed(stream, signer, grants[stream]) for stream, signer in signers))
        others = _others(known, there.keys() - reasons.keys(), taken)
        enough = max(_FEW, refused.get(times, 0) + 1) if bound else 1
        if len(others) >= enough and (own or sets or not bound):
            sets.append(others)
        if sets:
            chosen[i] = sets
        elif not own:
            problems[i] = problem or _none_usable(there.keys(), reasons)
    return chosen, problems


def _none_usable(there: AbstractSet[Key], reasons: Mapping[Key, str]) -> str:
    sentence = "no home of the region is complete in it"
    why = next(((stream, reasons[stream, grant]) for stream, grant in sorted(there & reasons.keys())), None)
    if why is None:
        return sentence
    return f"{sentence} that may be summed, such as stream {why[0].hex()}: {why[1]}"


def _other_windows(files: Sequence[Path], windows: Windows, numbers: Sequence[int]) -> dict[int, str]:
    """Why no home has these windows, of whose times something else was taken in."""
    if not numbers or not files:
        return {}
    some = []
    for path in files:
        with reading(path) as file:
            some.append(file.runs.times)
    starts, ends = np.unique(np.concatenate(some), axis=0).T
    found = {}
    for i in numbers:
        start_ms, end_ms = windows.times[i]
        there = (starts < end_ms) & (ends > start_ms)
        if (there & (starts == start_ms) & (ends == end_ms)).any():
            granted = _granted(files, windows.times[i])
            what, lanes = _and(windows.lanes), _lanes(granted.values())
            found[i] = f"{NOBODY_HAS} {what} in it: its {len(granted)} homes granted {lanes}"
        elif there.any():
            sizes = _and(spell_ms(int(one)) for one in np.unique(ends[there] - starts[there]))
            found[i] = (
                f"{NOBODY_HAS} this window of {spell_ms(end_ms - start_ms)}: of its time,"
                f" windows of {sizes} were taken in, the first from {spell(int(starts[there][0]), 1)}:"
                " ask for windows as they were granted"
            )
    return found


def _granted(files: Sequence[Path], times: Times) -> dict[Key, frozenset[str]]:
    """The lanes that each home granted, of those that have this window."""
    found: dict[Key, frozenset[str]] = {}
    for path in files:
        with reading(path) as file:
            (of_window,) = np.nonzero((file.runs.times == times).all(axis=1))
            if not len(of_window):
                continue
            table = file.read((*IDS, *LANES))
        for run in of_window:
            rows = table.slice(file.runs.begins()[run], file.runs.rows[run])
            there = [rows[lane].is_valid().to_pylist() for lane in LANES]
            keys = zip(*(rows[name].to_pylist() for name in IDS), strict=True)
            for key, *valid in zip(keys, *there, strict=True):
                found[key] = frozenset(lane for lane, one in zip(LANES, valid, strict=True) if one)
    return found


def _not_granted(
    members: Members, lanes: Sequence[str], granted: Mapping[Key, AbstractSet[str]]
) -> str | None:
    """Why a set, whose homes granted these lanes, has no sum of others; None where they granted all."""
    own = [granted.get((one.stream, one.grant), frozenset(lanes)) for one in members]
    lacking = [one for one in own if not one >= set(lanes)]
    if not lacking:
        return None
    what = _and(lane for lane in lanes if any(lane not in one for one in lacking))
    if len(lacking) == len(own):
        return f"{_NONE_HAS} {what} in it: its {len(own)} homes granted {_lanes(own)}"
    count = f"{len(lacking)} of the {len(own)} homes of its set have no {what} in it"
    return f"{count}: they granted {_lanes(lacking)}"


def _lanes(granted: Collection[AbstractSet[str]]) -> str:
    return _and(lane for lane in LANES if any(lane in one for one in granted))


def _and(words: Iterable[str]) -> str:
    return " and ".join(words)


def _others(known: Sequence[Known], usable: AbstractSet[Key], taken: AbstractSet[bytes]) -> Members:
    """The homes of `usable` that are in no set of the window yet; of two grants that have it, the last."""
    free = {key for key in usable if key[0] not in taken}
    found = {one.home.listed.stream: one.home.listed for one in known if one.home.key in free} if free else {}
    return tuple(found.values())


class _Summed:
    """The sets that were asked for, by time."""

    def __init__(self, asked: Sets) -> None:
        # The service tells homes apart by streams and signers, whatever their grants.
        members = {number: one for sets in asked.values() for number, one in sets.items()}
        self._sets = {
            number: (
                tuple((one.stream, one.signer) for one in several),
                frozenset(one.stream for one in several),
            )
            for number, several in members.items()
        }
        self._windows = sorted((times, tuple(sets)) for times, sets in asked.items())
        self._starts = [start_ms for (start_ms, _), _ in self._windows]
        self._longest = max((end_ms - start_ms for start_ms, end_ms in asked), default=0)

    def at(self, times: Times) -> list[tuple[tuple[tuple[bytes, bytes], ...], frozenset[bytes]]]:
        """The sets of all windows that share an instant with this one, each once: its homes' streams and
        signers, and the streams alone."""
        start_ms, end_ms = times
        a = bisect_right(self._starts, start_ms - self._longest)
        b = bisect_left(self._starts, end_ms)
        numbers = dict.fromkeys(
            number
            for (_, until_ms), several in self._windows[a:b]
            if until_ms > start_ms
            for number in several
        )
        if len(numbers) < 2:
            return [self._sets[number] for number in numbers]
        return list(dict(self._sets[number] for number in numbers).items())


async def _answers(
    state: State,
    region: str,
    windows: Windows,
    sets: Mapping[int, Mapping[int, Members]],
    digests: Mapping[tuple[int, int], str | None],
    ask: Ask,
    problems: dict[int, str],
    bad: dict[bytes, str],
) -> dict[int, dict[int, U64]]:
    """The service's sums of each window, by set. Of a window without any `problems` say why. Where the
    service does not answer for sets of homes that came late, the others are given alone. Homes of a set whose
    objects it refuses are added to `bad`."""
    lanes = ",".join(windows.lanes)
    kept = state.answers(region, lanes, windows.times[0][0], windows.times[-1][1])
    found: dict[int, dict[int, U64]] = {i: {} for i in sets}
    wanted: dict[int, list[int]] = {}
    for i, several in sets.items():
        for number in several:
            digest, sums = kept.get((windows.times[i], number), (None, None))
            if sums is not None and digest == digests[i, number]:
                found[i][number] = sums
            else:
                wanted.setdefault(number, []).append(i)
    for number, numbers in wanted.items():
        members = sets[numbers[0]][number]
        lacking = next((i for i in numbers if digests[i, number] is None), None)
        if lacking is not None:
            granted = _granted(_files(state, region, windows), windows.times[lacking])
            if (why := _not_granted(members, windows.lanes, granted)) is not None:
                problems.update(dict.fromkeys(numbers, why))
                continue
            parts = sum((one.stream, one.grant) in granted for one in members)
            raise _damaged(state, windows.times[lacking], parts, len(members))
        part = Windows(windows.lanes, tuple(windows.times[i] for i in numbers))
        try:
            answer = await ask(write_homes(members), part)
        except Unavailable:
            if all(found[i] for i in numbers):
                continue
            raise
        except GatewayError as error:
            named = _named(members, error.homes)
            if not named and not isinstance(error, NotGranted | UsageError | Refused):
                raise
            state.unask(region, number, part.times)
            bad |= named
            if not named:
                state.refuse(region, len(members), [windows.times[i] for i in numbers if found[i]])
            problems.update(dict.fromkeys(numbers, f"{REFUSES}: {error}"))
            continue
        if answer.windows != part:
            raise GatewayError("the summing service answered for other windows than it was asked for")
        good: dict[Times, tuple[str, U64]] = {}
        for at, i in enumerate(numbers):
            digest = answer.sets[at]
            if digest != digests[i, number]:
                problems[i] = (
                    "the summing service read other incarnations of these homes: one has sealed the window"
                    " again"
                )
                continue
            found[i][number] = answer.sums[at]
            good[windows.times[i]] = digest, answer.sums[at]
        state.answer(region, lanes, number, good)
    for i, answered in found.items():
        if answered:
            problems.pop(i, None)
    return found


def _named(members: Members, homes: Mapping[str, str]) -> dict[bytes, str]:
    """Those homes of a set that an error names, each with what is wrong. None where it names all: then it is
    about what was asked for."""
    found = {one.stream: homes[one.stream.hex()] for one in members if one.stream.hex() in homes}
    return found if len(found) < len(members) else {}


def _late(refused: int | None) -> str:
    """Why a home is in no sum of a window that has one: `refused` homes were the largest set of late ones
    that the service refused."""
    if refused is None:
        return LATE
    return f"{LATE}, and {REFUSES} a set of the {refused} homes that came so late"


def _chosen(summed: Mapping[int, _Union], count: int) -> Chosen:
    distinct = {union.numbers: union.homes for union in summed.values()}
    place = {numbers: n for n, numbers in enumerate(distinct)}
    return Chosen(
        [packed((one.stream, one.grant) for one in homes) for homes in distinct.values()],
        [place[summed[i].numbers] if i in summed else None for i in range(count)],
    )


def _missing(
    known: Sequence[Known],
    inside: Mapping[int, AbstractSet[bytes]],
    present: _Present,
    reasons: Mapping[Key, str],
    windows: Windows,
    outside: Mapping[int, str],
) -> tuple[Missing, ...]:
    """The homes of the region that are not in the sets of all windows, of which `inside` has the streams, and
    `outside` says why homes that are there in a window are in none of its sums."""
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
            why = outside[out[-1]]
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
    """Unavailable for loads of which no window has a sum; NotGranted where the service refused, or nobody
    granted them."""
    if any(load.homes):
        return
    why = next(iter(load.problems.values()))
    error = NotGranted if why.startswith((REFUSES, NOBODY_HAS, _NONE_HAS)) else Unavailable
    raise error(f"no load of {load.region!r}: {why}")
