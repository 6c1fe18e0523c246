"""One job on a TPM, without a session or a key: for commands beside a running gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gateway.trust.tpm.esapi import Context
from gateway.trust.tpm.owner import Owner
from gateway.trust.tpm.transport import Transport, locate

T = TypeVar("T")


class _Connection:
    def __init__(self, transport: Transport) -> None:
        self.context = Context(transport)

    def close(self, *, orderly: bool) -> None:
        self.context.close()


async def once(tcti: str, job: Callable[[Context], T]) -> T:
    """The result of `job` at the TPM at `tcti`. TrustError where it does not answer, UsageError where `tcti`
    is not an address. The job must be safe to run twice. Harmless while a gateway uses the TPM."""
    transport = locate(tcti)
    owner = Owner(tcti, lambda: _Connection(transport))
    try:
        return await owner.run(lambda connection: job(connection.context))
    finally:
        await owner.aclose()
