"""What a provider can tell: its windows' sums, and nothing finer, however much it computes.

For any other plaintext with the same granted sums there are words that give the very same ciphertexts
and nonces. Words are uniform to who has no key, so both are equally likely: no test tells them apart.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.chain.layout import Layout, Run
from gateway.chain.seal import MASK, U64, LinkWords, nonces, seal
from tests.chain.streams import I64, boundaries, runs


def transcript(
    layout: Layout, all_runs: tuple[Run, ...], link_words: LinkWords, d: list[int], cuts: list[int]
) -> tuple[list[int], list[int]]:
    """All that a provider sees of one lane: every ciphertext, and the nonces of its windows."""
    first, c = all_runs[0].first, []
    values = np.array([value & MASK for value in d], dtype=np.uint64)
    for run in all_runs:
        for n, x, y in layout.split(run.first, run.end):
            w = link_words(run.incarnation, n, "import")
            c += seal(w, layout.position(x), values[x - first : y - first]).tolist()
    return c, nonces(all_runs, cuts, "import", layout, link_words)


@given(st.data())
def test_plaintexts_with_equal_granted_sums_look_the_same(data: st.DataObject) -> None:
    layout = Layout(1000, data.draw(st.integers(1, 9)))
    all_runs = data.draw(runs(layout))
    first, end = all_runs[0].first, all_runs[-1].end
    size = end - first
    d = data.draw(st.lists(I64, min_size=size, max_size=size))
    cuts = data.draw(boundaries(first, end))

    # what is added to each unit: anything outside the windows, nothing in sum within each
    extra = data.draw(st.lists(I64, min_size=size, max_size=size))
    for a, b in pairwise(cuts):
        if a < b:
            extra[b - 1 - first] -= sum(extra[a - first : b - first])
    assume(any(value & MASK for value in extra))

    def one(incarnation: int, n: int, lane: str) -> U64:
        rng = np.random.default_rng([incarnation, n])
        return rng.integers(0, MASK, layout.link_units + 1, dtype=np.uint64, endpoint=True)

    def other(incarnation: int, n: int, lane: str) -> U64:
        start = n * layout.link_units
        until = [sum(extra[: max(0, u - first)]) & MASK for u in range(start, start + layout.link_units + 1)]
        return one(incarnation, n, lane) + np.array(until, dtype=np.uint64)

    changed = [value + more for value, more in zip(d, extra, strict=True)]
    assert transcript(layout, all_runs, one, d, cuts) == transcript(layout, all_runs, other, changed, cuts)
