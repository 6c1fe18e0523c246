"""The keys that the root gives: byte for byte PROTOCOL.md's, each asked for once."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from gateway.errors import LedgerError, TrustError
from gateway.trust.keyring import KeyRing
from gateway.trust.opening import open_root
from tests.support.faulty import FaultyRoot

STREAM = bytes(range(16))


async def test_it_holds_what_the_protocol_says(tmp_path: Path) -> None:
    async with FaultyRoot(await open_root("software", tmp_path, "")) as root:
        ring = await KeyRing.open(root, STREAM)
        await ring.load([0, 2**64 - 1])
        for incarnation in (0, 2**64 - 1):
            message = b"gw1/incarnation" + STREAM + incarnation.to_bytes(8, "big")
            assert hmac.compare_digest(ring(incarnation), await root.hmac(message))
        assert ring(0) != ring(2**64 - 1)


async def test_it_asks_the_root_once_for_each(tmp_path: Path) -> None:
    async with FaultyRoot(await open_root("software", tmp_path, "")) as root:
        ring = await KeyRing.open(root, STREAM)
        await ring.load([1, 2, 1])
        calls = root.calls
        await ring.load([2, 1])
        assert root.calls == calls
        await ring.load([1, 3])
        assert root.calls == calls + 1


async def test_a_fault_of_the_root_leaves_no_key_behind(tmp_path: Path) -> None:
    async with FaultyRoot(await open_root("software", tmp_path, "")) as root:
        ring = await KeyRing.open(root, STREAM)
        root.fail_after(1)
        with pytest.raises(TrustError):
            await ring.load([1, 2])
        ring(1)
        with pytest.raises(KeyError):
            ring(2)
        await ring.load([1, 2])
        ring(2)


async def test_the_vault_is_this_roots_and_this_streams(tmp_path: Path) -> None:
    async with (
        FaultyRoot(await open_root("software", tmp_path / "one", "")) as one,
        FaultyRoot(await open_root("software", tmp_path / "two", "")) as two,
    ):
        sealed = (await KeyRing.open(one, STREAM)).vault.seal(b"secret", b"state/1")
        assert (await KeyRing.open(one, STREAM)).vault.open(sealed, b"state/1") == b"secret"
        for root, stream in ((one, bytes(16)), (two, STREAM)):
            other = await KeyRing.open(root, stream)
            with pytest.raises(LedgerError, match="state does not open under this root"):
                other.vault.open(sealed, b"state/1")
