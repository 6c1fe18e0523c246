"""Tokens and the chain of keys that opens them: one window, one grant, forward only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.keys import advance, incarnation_message, ledger_message, link_key, next_key, token_key
from gateway.chain.layout import LANES
from gateway.chain.seal import MASK
from gateway.chain.token import TAG_BYTES, make_token, open_token, open_words, pack_words, read_words
from gateway.errors import Refused

K_0 = bytes(range(32))
GRANT = bytes(range(16))
WORD = st.integers(0, MASK)
SEVEN = pack_words([7])


def refuses(t_j: bytes, grant: bytes, a: int, b: int, token: bytes) -> bool:
    try:
        open_token(t_j, grant, a, b, token)
    except Refused:
        return True
    return False


def flipped(data: bytes) -> Iterator[bytes]:
    """Every one of the bytes that differ from `data` in one bit."""
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), WORD, WORD)
def test_a_token_opens_to_what_it_holds(t_j: bytes, plaintext: bytes, a: int, b: int) -> None:
    token = make_token(t_j, GRANT, a, b, plaintext)
    assert len(token) == len(plaintext) + TAG_BYTES
    assert open_token(t_j, GRANT, a, b, token) == plaintext
    assert make_token(t_j, GRANT, a, b, plaintext) == token  # nothing new is encrypted


def test_a_token_with_any_bit_changed_is_refused() -> None:
    t_j = token_key(K_0)
    token = make_token(t_j, GRANT, 900, 1800, pack_words([1, 2**63, MASK]))
    for changed in flipped(token):
        assert refuses(t_j, GRANT, 900, 1800, changed)
    for changed in flipped(GRANT):
        assert refuses(t_j, changed, 900, 1800, token)
    for changed in flipped(t_j):
        assert refuses(changed, GRANT, 900, 1800, token)
    for bit in range(64):
        assert refuses(t_j, GRANT, 900 ^ 1 << bit, 1800, token)
        assert refuses(t_j, GRANT, 900, 1800 ^ 1 << bit, token)


@given(WORD, WORD, WORD, WORD)
def test_a_token_opens_no_other_window(a: int, b: int, c: int, d: int) -> None:
    token = make_token(token_key(K_0), GRANT, a, b, SEVEN)
    assert refuses(token_key(K_0), GRANT, c, d, token) == ((a, b) != (c, d))


@pytest.mark.parametrize(("a", "b"), [(-1, 0), (0, 2**64), (2**64, 2**65), (0, -1)])
def test_windows_that_cannot_be_are_refused(a: int, b: int) -> None:
    assert refuses(token_key(K_0), GRANT, a, b, make_token(token_key(K_0), GRANT, 0, 0, SEVEN))


@given(st.binary(max_size=64))
def test_no_bytes_are_a_token(token: bytes) -> None:
    assert refuses(token_key(K_0), GRANT, 0, 1, token)


@pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: t + b"\0", lambda t: t + t, lambda t: t[8:]])
def test_a_token_of_another_length_is_refused(change) -> None:  # type: ignore[no-untyped-def]
    token = make_token(token_key(K_0), GRANT, 0, 1, pack_words([1, 2, 3]))
    assert refuses(token_key(K_0), GRANT, 0, 1, change(token))


@given(st.lists(WORD, max_size=20))
def test_words_are_little_endian_and_counted(values: list[int]) -> None:
    plaintext = pack_words(values)
    assert plaintext == b"".join(value.to_bytes(8, "little") for value in values)
    assert read_words(plaintext, len(values)) == values
    for count in {*range(len(values) + 3)} - {len(values)}:
        with pytest.raises(Refused, match=f"where its grant has {count} words"):
            read_words(plaintext, count)


@pytest.mark.parametrize("plaintext", [b"", b"seven b", bytes(9), bytes(16)])
def test_broken_words_are_refused(plaintext: bytes) -> None:
    """Sealed with the right key, and yet not the one word of the grant."""
    with pytest.raises(Refused, match=f"holds {len(plaintext)} bytes where its grant has 1 words"):
        read_words(plaintext, 1)
    token = make_token(token_key(K_0), GRANT, 0, 1, plaintext)
    with pytest.raises(Refused, match="do not hold 1 words each"):
        open_words(K_0, GRANT, [0, 1], [token], 1)


@pytest.mark.parametrize("r", [[-1], [2**64]])
def test_only_u64_are_words(r: list[int]) -> None:
    with pytest.raises(OverflowError):
        pack_words(r)


@st.composite
def bundles(draw: st.DrawFn) -> tuple[int, list[int], list[list[int]], list[bytes]]:
    """Windows from number j on: their boundaries, words and tokens."""
    j, count = draw(st.integers(0, 5)), draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(WORD, min_size=count, max_size=count), min_size=1, max_size=6))
    cuts = sorted(draw(st.lists(WORD, min_size=len(rows) + 1, max_size=len(rows) + 1, unique=True)))
    tokens = [
        make_token(token_key(advance(K_0, j + i)), GRANT, cuts[i], cuts[i + 1], pack_words(row))
        for i, row in enumerate(rows)
    ]
    return j, cuts, rows, tokens


@given(bundles())
def test_a_bundle_opens_as_its_tokens_do(bundle: tuple[int, list[int], list[list[int]], list[bytes]]) -> None:
    j, cuts, rows, tokens = bundle
    words, after = open_words(advance(K_0, j), GRANT, cuts, tokens, len(rows[0]))
    assert words.tolist() == rows
    assert after == advance(K_0, j + len(rows))


@given(bundles(), st.data())
def test_a_bundle_with_one_token_changed_is_refused(
    bundle: tuple[int, list[int], list[list[int]], list[bytes]], data: st.DataObject
) -> None:
    j, cuts, rows, tokens = bundle
    at = data.draw(st.integers(0, len(tokens) - 1))
    changed = bytearray(tokens[at])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    bad = [*tokens[:at], bytes(changed), *tokens[at + 1 :]]
    with pytest.raises(Refused, match=f"for units {cuts[at]} to {cuts[at + 1]} of grant {GRANT.hex()}"):
        open_words(advance(K_0, j), GRANT, cuts, bad, len(rows[0]))
    if len(tokens) > 1:  # nor do they open in another order
        with pytest.raises(Refused, match="does not open"):
            open_words(advance(K_0, j), GRANT, cuts, [*tokens[1:], tokens[0]], len(rows[0]))
    with pytest.raises(Refused, match="does not open"):
        open_words(advance(K_0, j + 1), GRANT, cuts, tokens, len(rows[0]))


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_chain_of_keys_goes_step_by_step(i: int, j: int) -> None:
    assert advance(advance(K_0, i), j) == advance(K_0, i + j)
    assert advance(K_0, i + 1) == next_key(advance(K_0, i))


@given(st.integers(1, 20))
def test_k_j_opens_nothing_before_j(j: int) -> None:
    """From K_j on, no key that the protocol derives opens an earlier window's token."""
    earlier = [
        (i, make_token(token_key(advance(K_0, i)), GRANT, i, i + 1, pack_words([i]))) for i in range(j)
    ]
    k = advance(K_0, j)
    for _ in range(25):
        for key in (k, token_key(k), next_key(k)):
            assert all(refuses(key, GRANT, i, i + 1, token) for i, token in earlier)
        k = next_key(k)


def test_the_chain_has_no_way_back() -> None:
    with pytest.raises(ValueError, match="only goes forward"):
        advance(K_0, -1)


def test_no_two_derivations_give_the_same_key() -> None:
    """Keys of links, of tokens and of the chain stay apart, and each part of a message counts."""
    keys = [K_0, next_key(K_0), token_key(K_0), next_key(next_key(K_0)), token_key(next_key(K_0))]
    keys += [link_key(K_0, n, lane) for n in (0, 1, 256, 2**32, MASK) for lane in LANES]
    assert len(set(keys)) == len(keys)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), WORD, WORD)
def test_what_the_root_is_asked_names_stream_and_incarnation(s: bytes, t: bytes, i: int, j: int) -> None:
    assert (incarnation_message(s, i) == incarnation_message(t, j)) == ((s, i) == (t, j))
    assert ledger_message(s) != incarnation_message(t, j)


@pytest.mark.parametrize("incarnation", [-1, 2**64])
def test_an_incarnation_is_a_u64(incarnation: int) -> None:
    with pytest.raises(OverflowError):
        incarnation_message(GRANT, incarnation)
