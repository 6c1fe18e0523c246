"""Health in a word: what anybody in the home's network may learn of the gateway, and no more."""

from __future__ import annotations

from typing import Literal, Self

from gateway.control.documents import Document, Status

Reason = Literal["gateway", "root", "clock", "meter", "store"]
"""What is not in order: the gateway does not answer, the root of trust does not, readings wait for the clock,
a meter's readings are not sealed, the store does not take what is sent."""


class Health(Document):
    """Whether all is well, and the first reason where it is not."""

    ok: bool
    reason: Reason | None = None

    @classmethod
    def of(cls, status: Status | None) -> Self:
        """The health of the gateway with this status, or of one that does not answer."""
        reason = "gateway" if status is None else _reason(status)
        return cls(ok=True) if reason is None else cls(ok=False, reason=reason)

    @property
    def http_status(self) -> int:
        """As servers say it of themselves: 200, or 503 Service Unavailable."""
        return 200 if self.ok else 503


def _reason(status: Status) -> Reason | None:
    if status.root_error is not None:
        return "root"
    if not status.clock_trusted or status.clock_waits is not None:
        return "clock"
    if not all(meter.sealing for meter in status.meters):
        return "meter"
    return None if status.store.error is None else "store"
