"""Codes that people type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.host.codes import LETTERS, is_setup_code, new_setup_code, typed_groups


@given(st.integers(1, 5), st.integers(1, 6))
def test_groups_of_letters(groups: int, letters: int) -> None:
    code = typed_groups(groups, letters)
    assert [len(group) for group in code.split("-")] == [letters] * groups
    assert set(code) <= {*LETTERS, "-"}


def test_a_setup_code_is_one_and_no_two_are_the_same() -> None:
    codes = {new_setup_code() for _ in range(50)}
    assert len(codes) == 50
    assert all(map(is_setup_code, codes))


@pytest.mark.parametrize(
    "text", ["", "abcde", "abcde-fghij", "abcde-fghjk\n", "ABCDE-FGHJK", "abcde-fghjk-mnpqr"]
)
def test_what_is_no_setup_code(text: str) -> None:
    assert not is_setup_code(text)
