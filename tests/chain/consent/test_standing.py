"""What a standing decision covers: what was confirmed of the same grants and lanes, and nothing finer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.consent.held import Finding
from gateway.chain.consent.standing import BITS, MOST_BITS, about, beyond

OWN = frozenset({bytes([1]) * 16, bytes([2]) * 16})
GRANTS = st.lists(st.integers(1, 4).map(lambda n: bytes([n]) * 16), min_size=1, max_size=3, unique=True)


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    lane, first = draw(st.sampled_from(("import", "export"))), draw(st.integers(0, 9))
    end = first + draw(st.integers(1, 9))
    parts = draw(
        st.lists(st.tuples(st.sampled_from(("import", "export")), st.just(first), st.just(end)), max_size=2)
    )
    return Finding(lane, first, end, tuple(draw(GRANTS)), "a sentence", tuple(parts))


def length(one: Finding) -> int:
    return sum(end - first for _, first, end in one.key)


def same(one: Finding, other: Finding) -> bool:
    """Whether both are of the same lanes, by the same grants beside the decision's own."""
    return {lane for lane, _, _ in one.key} == {lane for lane, _, _ in other.key} and (
        set(one.grants) - OWN == set(other.grants) - OWN
    )


LISTS = st.lists(findings(), max_size=4)


@given(LISTS, LISTS, LISTS, LISTS)
def test_a_finding_is_covered_where_one_at_most_as_long_was_confirmed(
    alone: list[Finding], together: list[Finding], before: list[Finding], pooled: list[Finding]
) -> None:
    covered = about(before, pooled, (), None, OWN)
    right = all(
        any(same(one, other) and length(other) <= length(one) for other in known)
        for new, known in ((alone, before), (together, pooled))
        for one in new
    )
    assert (beyond(about(alone, together, (), None, OWN), covered) == {}) == right
    assert beyond(covered, covered) == {}


@given(st.floats(0, 40), st.floats(0, 40))
def test_a_bill_may_say_as_much_as_was_confirmed_or_as_is_usual(now: float, before: float) -> None:
    covered, found = about((), (), (), before, OWN), about((), (), (), now, OWN)
    allowed = max(MOST_BITS, -covered[BITS])
    assert (beyond(found, {}) == {}) == (now <= MOST_BITS)
    assert (beyond(found, {BITS: -allowed}) == {}) == (now <= allowed)


def test_a_grant_that_cannot_be_counted_is_covered_by_itself_alone() -> None:
    found = about((), (), ["what grant 1 adds is unknown"], None, OWN)
    assert beyond(found, found) == {}
    assert beyond(found, about((), (), ["what grant 2 adds is unknown"], None, OWN)) == found
