"""Linear algebra modulo a random prime, beside the same in fractions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.consent.span import REST, Rows, magnitude, random_prime, randoms, spanning, sums_of
from tests.chain.views import Span

PRIME = random_prime()
tables = st.integers(1, 6).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(-3, 3) | st.integers(-(2**50), 2**50), min_size=width, max_size=width),
        min_size=1,
        max_size=9,
    )
)


def test_a_prime_is_drawn_anew_and_is_one() -> None:
    primes = {random_prime() for _ in range(5)}
    assert len(primes) == 5
    for prime in primes:
        assert prime.bit_length() == 127
        assert all(pow(a, prime - 1, prime) == 1 for a in range(2, 50))
        assert all(prime % small for small in range(2, 5000))


@given(tables)
def test_rows_are_taken_if_they_are_no_combination_and_are_made_of_those_taken(
    table: list[list[int]],
) -> None:
    width, rows = len(table[0]), Rows(PRIME)
    taken = [name for name, row in enumerate(table) if rows.add(name, dict(enumerate(row)))]
    for at, row in enumerate(table):
        before = Span(table[:at], width)
        assert (at in taken) == (before.combination(row) is None)
        weights = rows.weights(dict(enumerate(row)))
        assert weights.keys() <= set(taken)
        made = [sum(weight * table[k][i] for k, weight in weights.items()) % PRIME for i in range(width)]
        assert made == [value % PRIME for value in row]


@given(tables, st.data())
def test_a_solution_tells_what_follows_from_what_does_not(
    table: list[list[int]], data: st.DataObject
) -> None:
    width, rows = len(table[0]), Rows(PRIME)
    for name, row in enumerate(table):
        rows.add(name, dict(enumerate(row)))
    x = dict(enumerate(randoms(width, PRIME).tolist()))
    rows.solve(x)
    assert all(sum(value * x[at] for at, value in enumerate(row)) % PRIME == 0 for row in table)
    wanted = data.draw(st.lists(st.integers(-2, 2), min_size=width, max_size=width))
    follows = Span(table, width).combination(wanted) is not None
    assert (sum(value * x[at] for at, value in enumerate(wanted)) % PRIME == 0) == follows


def test_the_rest_is_solved_for_and_never_a_pivot() -> None:
    rows = Rows(PRIME)
    assert rows.add(0, {0: 2, REST: 5})
    assert not rows.add(1, {0: 4, REST: 11})
    values = {0: 0, REST: 1}
    rows.solve(values)
    assert (2 * values[0] + 5) % PRIME == 0


@given(tables)
def test_some_rows_of_a_table_span_all(table: list[list[int]]) -> None:
    chosen = Span([table[at] for at in spanning(np.array(table), PRIME)], len(table[0]))
    assert all(chosen.combination(row) is not None for row in table)


def test_a_row_that_is_rare_is_found() -> None:
    table = np.array([[1, 1, 0]] * 5000 + [[0, 1, 0]] + [[1, 1, 0]] * 5000)
    assert 5000 in spanning(table, PRIME)


@given(st.integers(-(2**40), 2**40), st.integers(1, 2**40))
def test_the_size_of_a_fraction_is_read_back(over: int, under: int) -> None:
    assert magnitude(over * pow(under, -1, PRIME) % PRIME, PRIME) == pytest.approx(abs(over) / under)


def test_values_are_summed_by_their_numbers() -> None:
    values = np.array([2**100, 5, 2**100, 7], dtype=object)
    assert list(sums_of(np.array([4, 2, 4, 9]), values)) == [(2, 5), (4, 2**101), (9, 7)]
    assert list(sums_of(np.array([], dtype=np.int64), np.array([], dtype=object))) == []
