"""Commitments bind what tokens hold, window by window, and openings are of no other use."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.commitment import bundle_commitment, commit, commitments, openings
from gateway.chain.keys import KeyChain
from gateway.chain.seal import U64
from gateway.chain.token import BLOCK, Sealed, masks

KEY = st.binary(min_size=32, max_size=32)
FIRST = st.integers(0, 40) | st.integers(BLOCK - 5, BLOCK + 5)


@st.composite
def bundles(draw: st.DrawFn) -> tuple[bytes, int, list[Sealed], list[bytes], U64]:
    """K_0, and of some windows the first one's number, how they were sealed and cut, and P."""
    first, count, width = draw(FIRST), draw(st.integers(1, 12)), draw(st.integers(1, 4))
    starts = sorted(draw(st.sets(st.integers(0, count - 1), max_size=3)) | {0})
    sealed = [Sealed(first + at, draw(st.integers(0, 2**64 - 1))) for at in starts]
    cuts = draw(st.just([]) | st.lists(KEY, min_size=count, max_size=count))
    seed = draw(st.integers(0, 2**32))
    words = np.random.default_rng(seed).integers(0, 2**64, (count, width), dtype=np.uint64)
    return draw(KEY), first, sealed, cuts, words


@given(bundles())
def test_a_windows_commitment_is_the_same_in_every_bundle(
    bundle: tuple[bytes, int, list[Sealed], list[bytes], U64],
) -> None:
    """A bundle's is of its windows' in their order, wherever it begins and ends."""
    k_0, first, sealed, cuts, words = bundle
    alone = []
    for i, row in enumerate(words):
        incarnation = [one.incarnation for one in sealed if one.window <= first + i][-1]
        opening = openings(
            KeyChain(k_0), [Sealed(first + i, incarnation)], first + i, first + i + 1, cuts[i : i + 1]
        )
        alone.append(commitments(np.concatenate([opening, [row]], axis=1)))
    assert {len(one) for one in alone} == {32}
    assert commit(words, KeyChain(k_0), sealed, first, cuts) == bundle_commitment(b"".join(alone))


@given(bundles(), st.data())
def test_it_binds_every_word_and_every_opening(
    bundle: tuple[bytes, int, list[Sealed], list[bytes], U64], data: st.DataObject
) -> None:
    k_0, first, sealed, cuts, words = bundle
    rows = np.concatenate([openings(KeyChain(k_0), sealed, first, first + len(words), cuts), words], axis=1)
    good = bundle_commitment(commitments(rows))
    assert good == commit(words, KeyChain(k_0), sealed, first, cuts)
    changed = rows.copy()
    i, at = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, rows.shape[1] - 1))
    changed[i, at] ^= np.uint64(1 << data.draw(st.integers(0, 63)))
    assert bundle_commitment(commitments(changed)) != good
    if len(rows) > 1:
        assert bundle_commitment(commitments(rows[::-1])) != good
        assert bundle_commitment(commitments(rows[1:])) != good


@given(KEY, st.integers(0, 2**64 - 2))
def test_no_opening_is_used_twice_nor_hides_a_token(k_0: bytes, incarnation: int) -> None:
    """Over the border of blocks, of two incarnations and of two cuts."""
    first, end = BLOCK - 3, BLOCK + 3
    seen: set[int] = set()
    ways: tuple[tuple[int, list[bytes]], ...] = (
        (incarnation, []),
        (incarnation + 1, []),
        (incarnation, [b"a"] * 6),
        (incarnation, [b"b"] * 6),
    )
    for sealed_in, cuts in ways:
        sealed = [Sealed(0, sealed_in)]
        seen |= {*openings(KeyChain(k_0), sealed, first, end, cuts).ravel().tolist()}
        seen |= {*masks(KeyChain(k_0), sealed, first, end, 4, cuts).ravel().tolist()}
    assert len(seen) == 4 * 6 * 8


def test_windows_before_the_first_incarnation_have_no_opening() -> None:
    with pytest.raises(ValueError, match="in which incarnation window 3 was sealed"):
        openings(KeyChain(bytes(32)), [Sealed(4, 1)], 3, 5)
