"""What a standing decision covers: findings of the check that are no worse than those that were confirmed.

A decision that stands for grants to come is made once, before their findings are known in full. Each finding
is put under what it is about: who learns it, of which lanes, and by which other grants. Under one of these a
sum over less time tells more, so a finding is covered only where one was confirmed that is over no more time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import ceil

from gateway.chain.consent.held import Finding

BITS = "bits"
MOST_BITS = 16
"""A bill of such a decision says at most so many bits, unless more were confirmed. Chosen: a bill of some 650
units of the currency a month, rounded to cents, as a home with electric heating has it."""


def about(
    alone: Iterable[Finding],
    together: Iterable[Finding],
    uncounted: Iterable[str],
    bits: float | None,
    own: Collection[bytes],
) -> dict[str, int]:
    """What findings are about, each with how harmless the worst of them is: over how many units its sum is.
    `own` are the grants that the decision made; `uncounted` are sentences about what could not be checked,
    `bits` how much a bill says."""
    found: dict[str, int] = dict.fromkeys(uncounted, 0)
    for who, findings in (("alone", alone), ("together", together)):
        for one in findings:
            lanes = sorted({lane for lane, _, _ in one.key})
            others = sorted({grant.hex() for grant in one.grants if grant not in own})
            what = " ".join([who, *lanes, *others])
            length = sum(end - first for _, first, end in one.key)
            found[what] = min(length, found.get(what, length))
    if bits is not None:
        found[BITS] = -ceil(bits)
    return found


def beyond(found: Mapping[str, int], covered: Mapping[str, int]) -> dict[str, int]:
    """Those of the findings that a decision with these confirmed ones does not cover."""
    least = {BITS: -MOST_BITS, **covered}
    return {what: harmless for what, harmless in found.items() if what not in least or harmless < least[what]}
