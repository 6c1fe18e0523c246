"""What the tests of the trust room share: a running TPM, and roots that are closed in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.trust.gate import Gate
from gateway.trust.tpm.keys import TpmKeys
from gateway.trust.tpm.owner import Owner
from gateway.trust.tpm.root import TpmRoot, connector
from gateway.trust.tpm.transport import Transport
from tests.support.tpm import swtpm
from tests.trust.tpm.bus import Bus


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[swtpm]:
    with swtpm(tmp_path / "tpm") as running:
        yield running


@pytest.fixture
def bus(tpm: swtpm) -> Bus:
    return Bus(tpm.tcti)


class Roots:
    """Opens roots as the product does, but for a given transport, a known root, or another clock.
    `owner` is that of the latest."""

    def __init__(self) -> None:
        self._open: list[TpmRoot] = []
        self.owner: Owner[TpmKeys] | None = None

    async def __call__(
        self,
        folder: Path,
        transport: Transport,
        *,
        known: bytes | None = None,
        gate: Gate | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> TpmRoot:
        owner = Owner(transport.tcti, connector(folder, transport, known, gate), sleep=sleep)
        root = await TpmRoot.over(owner)
        self._open.append(root)
        self.owner = owner
        return root

    async def aclose(self) -> None:
        for root in self._open:
            await root.aclose()


@pytest.fixture
async def roots() -> AsyncIterator[Roots]:
    opener = Roots()
    yield opener
    await opener.aclose()
