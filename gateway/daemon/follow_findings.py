"""What the consent check finds for a standing decision, as the decision covers it and as the household reads
it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from gateway.chain.consent.standing import BITS, about
from gateway.control.documents import Consent


def extent_of(found: Consent, own: Collection[bytes]) -> dict[str, int]:
    """What the check's outcome is about, and how far it goes; `own` are the grants of the same series."""
    ours = {*own, *(one.grant.id for one in found.offered)}
    return about(found.provider, found.pooled, found.uncounted, found.bits, ours)


def sentences(found: Consent, asked: Mapping[str, int], own: Collection[bytes]) -> tuple[str, ...]:
    """The sentences of what the household has to confirm, each once."""
    ours = {*own, *(one.grant.id for one in found.offered)}
    alone = [one.sentence for one in found.provider if about([one], (), (), None, ours).keys() & asked.keys()]
    together = [
        f"if all providers pool what they hold: {one.sentence}"
        for one in found.pooled
        if about((), [one], (), None, ours).keys() & asked.keys()
    ]
    uncounted = [sentence for sentence in found.uncounted if sentence in asked]
    many = [f"the bill says up to {-asked[BITS]} bits"] if BITS in asked else []
    return tuple(dict.fromkeys([*alone, *together, *uncounted, *many]))


def check_of(asked: Mapping[str, int], tariff: bytes) -> str:
    """What identifies findings, and the tariff under which they were made."""
    return hashlib.sha256(repr((sorted(asked.items()), tariff)).encode()).hexdigest()
