"""No word of any keystream is used for two plaintexts, whatever happens to the process."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.chain.layout import LANES, Layout, Run
from gateway.chain.seal import MASK, nonces, seal, signed, total, unseal, words_under
from tests.chain.streams import I64, k_inc

_LANES = ("import", "power")
_READINGS = st.lists(st.lists(I64, min_size=2, max_size=2), min_size=1, max_size=12)
Part = tuple[Run, dict[str, list[int]], dict[str, list[int]]]  # units, their plaintexts and ciphertexts


class Gateway(RuleBasedStateMachine):
    """A sealing process that starts, stops, crashes, is restored from a backup, and whose clock steps.

    It keeps the protocol's rules 1, 3, 4 and 6; the machine looks at each use of each word.
    """

    @initialize(link_units=st.integers(1, 5), start=st.integers(0, 2**40))
    def begin(self, link_units: int, start: int) -> None:
        self.layout = Layout(1000, link_units)
        self.start = start * link_units
        self.drawn = 0
        self.durable: list[Part] = []
        self.store: list[Part] = []  # the chain that the store holds
        self.used: set[tuple[int, int, str, int]] = set()
        self.seen: dict[int, tuple[int, int, str, int]] = {}  # a word -> where it stands, over all keystreams
        self.restart()

    @property
    def next_unit(self) -> int:
        return self.durable[-1][0].end if self.durable else self.start

    def _seal(self, values: list[list[int]]) -> Part:
        first = self.next_unit
        run = Run(self.incarnation, first, first + len(values))
        d = {lane: [row[i] for row in values] for i, lane in enumerate(_LANES)}
        c: dict[str, list[int]] = {lane: [] for lane in _LANES}
        for n, x, y in self.layout.split(run.first, run.end):
            for lane in _LANES:
                w, p = self.link_words(self.incarnation, n, lane), self.layout.position(x)
                plain = np.array([v & MASK for v in d[lane][x - first : y - first]], dtype=np.uint64)
                sealed = seal(w, p, plain)
                assert (unseal(w, p, sealed) == plain).all()
                c[lane] += [int(value) for value in sealed]
                self._record(n, lane, p, y - x, w.tolist())
        return run, d, c

    def _record(self, n: int, lane: str, p: int, count: int, w: list[int]) -> None:
        assert len(w) == self.layout.link_units + 1
        for place in range(p, p + count):
            used = (self.incarnation, n, lane, place)
            assert used not in self.used, "the same place of the same keystream, twice"
            self.used.add(used)
        for place in range(p, p + count + 1):
            where = (self.incarnation, n, lane, place)
            assert self.seen.setdefault(w[place], where) == where, "two keystreams share a word"

    @rule()
    def restart(self) -> None:
        """Each start draws an incarnation; what no run before it had."""
        self.drawn += 1
        self.incarnation = self.drawn
        self.link_words = words_under(k_inc, self.layout)

    @rule(values=_READINGS)
    def run(self, values: list[list[int]]) -> None:
        """Units are sealed and become durable."""
        self.durable.append(self._seal(values))

    @rule(values=_READINGS)
    def crash(self, values: list[list[int]]) -> None:
        """Units are sealed, perhaps sent; power goes before they are durable. They are read again."""
        self._seal(values)
        self.restart()

    @rule(lost=st.integers(1, 5))
    def restore(self, lost: int) -> None:
        """An old copy of the ledger comes back; the TPM's counter does not."""
        del self.durable[-lost:]
        self.restart()

    @rule()
    def reach_the_store(self) -> None:
        """What is durable is sent. Where the store's chain goes on otherwise, that one stands, what was
        sealed again is dropped, and a new incarnation follows."""
        if self.durable[: len(self.store)] == self.store:
            self.store = list(self.durable)
        else:
            self.durable = list(self.store)
            self.restart()

    @rule(lost=st.integers(1, 3), values=_READINGS)
    def go_on_from_an_old_copy(self, lost: int, values: list[list[int]]) -> None:
        """What the store holds is sealed again, perhaps beyond it, before the store answers."""
        self.reach_the_store()
        self.restore(lost)
        self.run(values)
        self.reach_the_store()

    @rule(gap=st.integers(1, 30))
    def step_forward(self, gap: int) -> None:
        """The clock steps: the units between are sealed as gaps."""
        self.durable.append(self._seal([[0, 0]] * gap))

    @invariant()
    def everything_opens(self) -> None:
        if not self.durable:
            return
        runs = [run for run, _, _ in self.durable]
        for lane in _LANES:
            (r,) = nonces(runs, [self.start, self.next_unit], lane, self.layout, self.link_words)
            c = np.array([value for _, _, c in self.durable for value in c[lane]], dtype=np.uint64)
            d = [value for _, d, _ in self.durable for value in d[lane]]
            assert signed(total(c) - r) == signed(sum(d))


Gateway.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestGateway = pytest.mark.slow(Gateway.TestCase)


def test_every_lane_has_its_own_words() -> None:
    """Incarnation, link and lane: each alone changes every word."""
    layout = Layout(1000, 50)
    link_words = words_under(k_inc, layout)
    streams = [link_words(i, n, lane) for i in (1, 2, 256) for n in (0, 1, 256) for lane in LANES]
    seen = np.concatenate(streams)
    assert len(np.unique(seen)) == len(seen) == 3 * 3 * 8 * 51
