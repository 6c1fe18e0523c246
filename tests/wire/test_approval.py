"""An approval has one form, the CDDL's, and nothing else is read."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.wire.approval import MOST_EPOCH, Approval
from tests.wire.samples import conforms

SIGNATURES = st.binary(min_size=64, max_size=64)
APPROVALS = st.builds(
    Approval,
    st.binary(min_size=32, max_size=32),
    st.integers(1, MOST_EPOCH),
    SIGNATURES,
    SIGNATURES,
    SIGNATURES,
)
ONE = Approval(bytes(32), 7, b"a" * 64, b"b" * 64, b"c" * 64)


@given(APPROVALS)
def test_what_is_written_keeps_the_cddl_and_comes_back(approval: Approval) -> None:
    data = approval.encode()
    assert conforms("approval", data)
    assert Approval.decode(data, "it") == approval


VALUES: tuple[object, ...] = (
    0,
    1,
    MOST_EPOCH,
    MOST_EPOCH + 1,
    -1,
    b"",
    bytes(32),
    bytes(63),
    bytes(64),
    "gw1/release",
    "",
    [],
    {},
)


@pytest.mark.parametrize("key", [*range(8), 63, 64])
def test_nothing_beyond_the_cddl_is_read(key: int) -> None:
    for value in VALUES:
        data = cbor2.dumps(cbor2.loads(ONE.encode()) | {key: value}, canonical=True)
        try:
            Approval.decode(data, "it")
        except Refused:
            continue
        assert conforms("approval", data), value


@given(st.binary(max_size=300))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        Approval.decode(data, "it")
