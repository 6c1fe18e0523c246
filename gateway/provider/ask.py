"""A question to a stream, settled: which windows and lanes, or a sentence that says why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.chain.window import Granularity
from gateway.errors import NotGranted, UsageError
from gateway.provider.grants import Held
from gateway.wire.stream import Descriptor

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Ask:
    """What a person asks for. None: whatever the grants open, in their finest windows. Times are Unix ms;
    the windows lie wholly between them."""

    granularity: str | None = None
    lanes: tuple[str, ...] | None = None
    from_ms: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """An `Ask` that grants answer, each lane at least for some windows. Units, on window boundaries."""

    granularity: Granularity
    lanes: tuple[str, ...]
    first: int
    until: int | None


def settle(ask: Ask, descriptor: Descriptor, held: Sequence[Held], kid: bytes) -> Question:
    """The question that `ask` is, for these grants to the provider `kid`. NotGranted, saying what they do
    open, where they open nothing of a lane asked for; UsageError for what no grant could answer."""
    present = tuple(lane.name for lane in descriptor.lanes)
    unknown = [lane for lane in ask.lanes or () if lane not in present]
    if unknown:
        raise UsageError(f"lanes {', '.join(unknown)}: the stream has {', '.join(present)}")
    if not held:
        raise NotGranted(
            f"stream {descriptor.stream.hex()} holds no grant of sums to this provider, {kid.hex()}:"
            " the household makes one for the provider's card.cose"
        )
    choices = _granularities(ask, descriptor, held)
    for granularity in choices:
        question = _span(ask, descriptor, granularity, ask.lanes or present)
        open_lanes = tuple(
            lane for lane in question.lanes if any(fault(question, one, [lane]) is None for one in held)
        )
        if open_lanes and ask.lanes in (None, open_lanes):
            return Question(granularity, open_lanes, question.first, question.until)
    question = _span(ask, descriptor, choices[0], ask.lanes or present)
    closed = [lane for lane in question.lanes if all(fault(question, one, [lane]) for one in held)]
    reasons = "; ".join(f"{one}; {fault(question, one, closed)}" for one in held)
    raise NotGranted(f"sums of {question.granularity} of {', '.join(closed)} are not granted: {reasons}")


def fault(question: Question, held: Held, lanes: Sequence[str]) -> str | None:
    """Why a grant opens none of the question's windows for any of the lanes; None where it opens some."""
    if not set(lanes) & set(held.grant.lanes):
        return f"it opens no {' or '.join(lanes)}"
    granularity = question.granularity
    a = granularity.align_up(max(question.first, held.grant.first))
    b = granularity.start(granularity.index(a) + 1)
    if not held.divides(a, b):
        return f"it opens no window of {granularity}"
    if min(end for end in (question.until, held.limit, b) if end is not None) < b:
        return "it opens no whole window in the time asked for"
    return None


def length_ms(granularity: Granularity) -> int:
    """How long a window is, roughly for days and months: to order granularities by."""
    if isinstance(granularity.size, int):
        return granularity.size * granularity.unit_ms
    return _DAY_MS if granularity.size == "day" else 30 * _DAY_MS


def _granularities(ask: Ask, descriptor: Descriptor, held: Sequence[Held]) -> list[Granularity]:
    """The one that is asked for, or those of the grants, the finest first."""
    granted = sorted({one.grant.granularity for one in held}, key=length_ms)
    if ask.granularity is None:
        return granted
    # Days and months are those of the place that the grants name.
    zones = [granularity.zone for granularity in granted if isinstance(granularity.size, str)]
    return [Granularity.parse(ask.granularity, descriptor.layout.unit_ms, *zones[:1])]


def _span(ask: Ask, descriptor: Descriptor, granularity: Granularity, lanes: tuple[str, ...]) -> Question:
    """The whole windows inside the time asked for."""
    unit_ms = descriptor.layout.unit_ms
    first, until = descriptor.start, None
    if ask.from_ms is not None:
        first = max(first, -(-ask.from_ms // unit_ms))
    first = granularity.align_up(first)
    if ask.until_ms is not None:
        until = granularity.start(granularity.index(ask.until_ms // unit_ms))
        if until <= first:
            raise UsageError(f"there is no whole window of {granularity} between the two times asked for")
    return Question(granularity, lanes, first, until)
