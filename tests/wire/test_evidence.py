"""Evidence: what its form cannot say is checked too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import Refused
from gateway.wire.evidence import Evidence
from tests.wire.samples import EXAMPLES, KEY, OTHER

_EXAMPLE = EXAMPLES[Evidence]
assert isinstance(_EXAMPLE, Evidence)
EVIDENCE: Evidence = _EXAMPLE


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"objects": (("v1/b", b"1"), ("v1/a", b"2"))},
            "its objects are not in the order of their keys, each once",
        ),
        (
            {"objects": (("v1/a", b"1"), ("v1/a", b"2"))},
            "its objects are not in the order of their keys, each once",
        ),
        ({"before": bytes(33)}, "a commitment has 32 bytes"),
        ({"after": bytes(63)}, "a commitment has 32 bytes"),
        ({"registers": (("import", 1, 2, 1), ("import", 1, 2, 1))}, "it has the register of a lane twice"),
    ],
)
def test_what_evidence_cannot_be(changes: dict[str, Any], says: str) -> None:
    data = KEY.sign("gw1/evidence", replace(EVIDENCE, **changes).payload())
    with pytest.raises(Refused, match=f"^it: {says}$"):
        Evidence.read_self_signed(data, "it")


def test_evidence_is_signed_by_the_key_that_it_names() -> None:
    data = KEY.sign("gw1/evidence", EVIDENCE.payload())
    found = Evidence.read_self_signed(data, "it")
    assert (found, found.provider) == (EVIDENCE, KEY.kid)
    with pytest.raises(Refused, match=r"^it is signed by key "):
        Evidence.read_self_signed(OTHER.sign("gw1/evidence", EVIDENCE.payload()), "it")
