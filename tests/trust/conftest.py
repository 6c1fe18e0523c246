"""What the tests of the trust room share: a running TPM, and roots that are closed in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.trust.owner import PATIENCE_S, Owner
from gateway.trust.tpm import TpmRoot, connector
from gateway.trust.transport import Transport
from tests.tpm import swtpm
from tests.trust.bus import Bus


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[swtpm]:
    with swtpm(tmp_path / "tpm") as running:
        yield running


@pytest.fixture
def bus(tpm: swtpm) -> Bus:
    return Bus(tpm.tcti)


class Roots:
    """Opens roots as the product does, but for a given transport, a known root, or another clock."""

    def __init__(self) -> None:
        self._open: list[TpmRoot] = []

    async def __call__(
        self,
        folder: Path,
        transport: Transport,
        *,
        known: bytes | None = None,
        patience: float = PATIENCE_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> TpmRoot:
        connect = connector(folder, transport, known)
        root = await TpmRoot.over(Owner(transport.tcti, connect, patience=patience, sleep=sleep))
        self._open.append(root)
        return root

    async def aclose(self) -> None:
        for root in self._open:
            await root.aclose()


@pytest.fixture
async def roots() -> AsyncIterator[Roots]:
    opener = Roots()
    yield opener
    await opener.aclose()
