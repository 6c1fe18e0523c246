"""Tokens and the chain of keys that hides them: one window, one grant, one sealing, forward only."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.keys import (
    KeyChain,
    incarnation_message,
    ledger_message,
    link_key,
    next_key,
    raw_key,
    tokens_key,
)
from gateway.chain.layout import LANES
from gateway.chain.seal import MASK
from gateway.chain.token import BLOCK, TAG_BYTES, Sealed, cuts_of, incarnation_of, make_raw, masks, open_raw
from gateway.errors import Refused
from tests.vectors import plain

K_0 = bytes(range(32))
GRANT = bytes(range(16))
WORD = st.integers(0, MASK)
KEY = st.binary(min_size=32, max_size=32)
# Most windows lie at the borders of a block; a few lie anywhere.
J = st.integers(0, 3 * BLOCK) | st.builds(
    lambda m, at: max(0, m * BLOCK + at), st.integers(0, 3), st.integers(-3, 3)
)


@dataclass(frozen=True)
class Stretch:
    """Windows `first` to `end` - 1, and in which incarnations their last units were sealed."""

    first: int
    end: int
    sealed: tuple[Sealed, ...]


@st.composite
def stretches(draw: st.DrawFn, most: int = 60) -> Stretch:
    first, count = draw(J), draw(st.integers(1, most))
    begins = {0, *draw(st.lists(st.integers(0, count), max_size=4))}
    counters = draw(st.lists(WORD, min_size=len(begins), max_size=len(begins), unique=True))
    sealed = [Sealed(first + at, i) for at, i in zip(sorted(begins), counters, strict=True)]
    early = draw(st.integers(0, min(first, 5)))  # what is said may begin before the first window
    return Stretch(first, first + count, (Sealed(first - early, sealed[0].incarnation), *sealed[1:]))


class Counted(list[Sealed]):
    """A list that counts how often an item is taken out."""

    taken = 0

    def __getitem__(self, at: Any) -> Any:
        self.taken += 1
        return super().__getitem__(at)

    def __reversed__(self) -> Iterator[Sealed]:
        return (self[at] for at in range(len(self) - 1, -1, -1))


def test_an_incarnation_is_found_at_once_among_many() -> None:
    """Before its signature is verified a bundle may say that each window was sealed in another one."""
    sealed = Counted(Sealed(7 + 2 * at, at) for at in range(2**14))
    assert [incarnation_of(sealed, j) for j in (7, 8, 9, 2**15, 2**20)] == [0, 0, 1, 2**14 - 4, 2**14 - 1]
    assert sealed.taken < 100


# The keystream


def by_hand(k_0: bytes, j: int, incarnation: int, width: int) -> list[int]:
    """The words of S at window j's place, one by one and without the gateway's code."""
    for _ in range(j // 1024):
        k_0 = hmac.digest(k_0, b"gw1/next", "sha256")
    key = hmac.digest(k_0, b"gw1/tokens" + incarnation.to_bytes(8, "big"), "sha256")
    return [plain.word(key, j % 1024 * width + at) for at in range(width)]


@given(KEY, stretches(most=6), st.integers(1, 4))
@settings(max_examples=30)
def test_masks_are_the_words_at_a_windows_place(k_0: bytes, some: Stretch, width: int) -> None:
    found = masks(KeyChain(k_0), some.sealed, some.first, some.end, width)
    assert found.dtype == np.uint64
    for j in range(some.first, some.end):
        (*_, incarnation) = [one.incarnation for one in some.sealed if one.window <= j]
        assert incarnation_of(some.sealed, j) == incarnation
        assert found[j - some.first].tolist() == by_hand(k_0, j, incarnation, width)


@given(stretches(), st.integers(1, 4), st.data())
def test_masks_in_pieces_are_those_of_the_whole(some: Stretch, width: int, data: st.DataObject) -> None:
    """By one key chain that goes back and forth, or by a new one each time."""
    whole = masks(KeyChain(K_0), some.sealed, some.first, some.end, width)
    chain = KeyChain(K_0)
    for _ in range(3):
        x = data.draw(st.integers(some.first, some.end))
        y = data.draw(st.integers(x, some.end))
        piece = masks(chain, some.sealed, x, y, width)
        assert piece.shape == (y - x, width)
        assert np.array_equal(piece, whole[x - some.first : y - some.first])


@given(st.lists(st.tuples(st.sampled_from((K_0, bytes(32))), J, WORD), max_size=40, unique=True))
def test_no_word_hides_two_windows(places: list[tuple[bytes, int, int]]) -> None:
    """Another grant, another window or another incarnation: each alone changes every word."""
    rows = [masks(KeyChain(k_0), [Sealed(j, i)], j, j + 1, 4) for k_0, j, i in places]
    assert len({int(word) for row in rows for word in row[0]}) == 4 * len(places)


def test_a_block_and_its_neighbours_share_no_word() -> None:
    """All places of three blocks in two incarnations, at every width."""
    for width in (1, 2, 3, 4):
        rows = [masks(KeyChain(K_0), [Sealed(0, i)], 0, 3 * BLOCK, width) for i in (1, 2)]
        assert len(np.unique(np.concatenate(rows))) == 2 * 3 * BLOCK * width


@pytest.mark.parametrize("sealed", [[], [Sealed(6, 1)], [Sealed(2**40, 1)]])
def test_windows_of_which_no_incarnation_is_known_have_no_masks(sealed: list[Sealed]) -> None:
    """What would be there instead of a keystream would hide nothing."""
    with pytest.raises(ValueError, match="nothing says in which incarnation window 5 was sealed"):
        masks(KeyChain(K_0), sealed, 5, 9, 1)
    assert masks(KeyChain(K_0), sealed, 5, 5, 1).shape == (0, 1)  # of no window nothing need be known


# The chain of keys


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_the_chain_of_keys_goes_step_by_step(blocks: list[int]) -> None:
    """Asked in any order."""
    chain, keys = KeyChain(K_0), [K_0]
    while len(keys) <= max(blocks):
        keys.append(next_key(keys[-1]))
    assert [chain.block(m) for m in blocks] == [keys[m] for m in blocks]


@given(st.integers(1, 20))
def test_k_m_opens_nothing_before_m(m: int) -> None:
    """From K_m on, no key that the protocol derives is one of an earlier block's."""
    chain = KeyChain(K_0)
    earlier = {chain.block(i) for i in range(m)}
    earlier |= {tokens_key(key, 7) for key in list(earlier)} | {raw_key(key, 0, 7) for key in list(earlier)}
    k = chain.block(m)
    for _ in range(25):
        assert not {k, tokens_key(k, 7), raw_key(k, 0, 7)} & earlier
        k = next_key(k)


def test_the_chain_has_no_way_back() -> None:
    chain = KeyChain(K_0)
    for _ in range(2):
        with pytest.raises(ValueError, match="only goes forward"):
            chain.block(-1)
        assert chain.block(0) == K_0
    with pytest.raises(ValueError, match="only goes forward"):
        masks(chain, [Sealed(-5, 1)], -5, -4, 1)


def test_a_key_chain_shows_no_key() -> None:
    assert K_0.hex() not in repr(KeyChain(K_0)).lower()
    assert repr(K_0)[2:10] not in repr(KeyChain(K_0))


def test_no_two_derivations_give_the_same_key() -> None:
    """Keys of links, of tokens and of the chain stay apart, and each part of a message counts."""
    numbers = (0, 1, 256, 2**32, MASK)
    k_1 = next_key(K_0)
    keys = [K_0, k_1, next_key(k_1)]
    keys += [tokens_key(k, i) for k in (K_0, k_1) for i in numbers]
    keys += [raw_key(k, j, i) for k in (K_0, k_1) for j in numbers for i in numbers]
    keys += [link_key(K_0, n, lane) for n in numbers for lane in LANES]
    assert len(set(keys)) == len(keys)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), WORD, WORD)
def test_what_the_root_is_asked_names_stream_and_incarnation(s: bytes, t: bytes, i: int, j: int) -> None:
    assert (incarnation_message(s, i) == incarnation_message(t, j)) == ((s, i) == (t, j))
    assert ledger_message(s) != incarnation_message(t, j)


@pytest.mark.parametrize("incarnation", [-1, 2**64])
def test_an_incarnation_is_a_u64(incarnation: int) -> None:
    with pytest.raises(OverflowError):
        incarnation_message(GRANT, incarnation)
    with pytest.raises(OverflowError):
        tokens_key(K_0, incarnation)
    with pytest.raises(OverflowError):
        raw_key(K_0, 0, incarnation)


# Raw tokens


def refuses(k_0: bytes, grant: bytes, j: int, incarnation: int, window: Sequence[int], token: bytes) -> bool:
    a, b = window
    try:
        open_raw(KeyChain(k_0), grant, j, incarnation, a, b, token)
    except Refused:
        return True
    return False


def flipped(data: bytes) -> Iterator[bytes]:
    """Every one of the bytes that differ from `data` in one bit."""
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@given(KEY, J, WORD, st.binary(max_size=100), WORD, WORD)
def test_a_raw_token_opens_to_what_it_holds(
    k_0: bytes, j: int, incarnation: int, keys: bytes, a: int, b: int
) -> None:
    token = make_raw(KeyChain(k_0), GRANT, j, incarnation, a, b, keys)
    assert len(token) == len(keys) + TAG_BYTES
    assert open_raw(KeyChain(k_0), GRANT, j, incarnation, a, b, token) == keys
    # nothing new is encrypted
    assert make_raw(KeyChain(k_0), GRANT, j, incarnation, a, b, keys) == token


def test_a_raw_token_with_any_bit_changed_is_refused() -> None:
    window = (3600, 7200)
    token = make_raw(KeyChain(K_0), GRANT, 5, 9, *window, bytes(range(48)))
    assert not refuses(K_0, GRANT, 5, 9, window, token)
    for changed in flipped(token):
        assert refuses(K_0, GRANT, 5, 9, window, changed)
    for changed in flipped(GRANT):
        assert refuses(K_0, changed, 5, 9, window, token)
    for changed in flipped(K_0):
        assert refuses(changed, GRANT, 5, 9, window, token)
    for bit in range(64):
        assert refuses(K_0, GRANT, 5, 9 ^ 1 << bit, window, token)
        assert refuses(K_0, GRANT, 5, 9, (3600 ^ 1 << bit, 7200), token)
        assert refuses(K_0, GRANT, 5, 9, (3600, 7200 ^ 1 << bit), token)
    for bit in range(16):
        assert refuses(K_0, GRANT, 5 ^ 1 << bit, 9, window, token)


@given(J, J, WORD, WORD, WORD, WORD, WORD, WORD)
def test_a_raw_token_opens_no_other_window(
    j: int, k: int, i: int, other: int, a: int, b: int, c: int, d: int
) -> None:
    token = make_raw(KeyChain(K_0), GRANT, j, i, a, b, bytes(48))
    assert refuses(K_0, GRANT, k, i, (a, b), token) == (j != k)
    assert refuses(K_0, GRANT, j, other, (a, b), token) == (i != other)
    assert refuses(K_0, GRANT, j, i, (c, d), token) == ((a, b) != (c, d))


@pytest.mark.parametrize("window", [(-1, 0), (0, 2**64), (2**64, 2**65), (0, -1)])
def test_windows_that_cannot_be_are_refused(window: tuple[int, int]) -> None:
    assert refuses(K_0, GRANT, 0, 1, window, make_raw(KeyChain(K_0), GRANT, 0, 1, 0, 0, bytes(48)))


@given(st.binary(max_size=64))
def test_no_bytes_are_a_raw_token(token: bytes) -> None:
    assert refuses(K_0, GRANT, 0, 1, (0, 1), token)


@pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: t + b"\0", lambda t: t + t, lambda t: t[8:]])
def test_a_raw_token_of_another_length_is_refused(change) -> None:  # type: ignore[no-untyped-def]
    token = make_raw(KeyChain(K_0), GRANT, 0, 1, 0, 3600, bytes(48))
    assert refuses(K_0, GRANT, 0, 1, (0, 3600), change(token))


def test_no_key_shows_in_a_refusal() -> None:
    says = f"the token for units 0 to 3600 of grant {GRANT.hex()} does not open: changed, or made for another"
    with pytest.raises(Refused, match=says) as refusal:
        open_raw(KeyChain(K_0), GRANT, 0, 1, 0, 3600, bytes(64))
    assert refusal.value.__cause__ is None
    assert K_0.hex() not in str(refusal.value)


def test_a_window_that_was_cut_otherwise_has_words_of_its_own() -> None:
    """At one place and under one incarnation: calendar windows by their edges, bills by their steps."""
    sealed, edges = [Sealed(0, 5)], [10, 34, 58]
    ways = [
        cuts_of(None, None),
        cuts_of(edges, None),
        cuts_of([11, 34, 59], None),
        cuts_of(edges, [bytes(32), bytes([1]) * 32]),
    ]
    rows = [masks(KeyChain(K_0), sealed, 0, 2, 2, cuts) for cuts in ways]
    assert len({word for table in rows for row in table.tolist() for word in row}) == 4 * len(rows)
    for table, cuts in zip(rows[1:], ways[1:], strict=True):
        assert (masks(KeyChain(K_0), sealed, 1, 2, 2, cuts[1:]) == table[1:]).all()
