"""The keys of one stream, derived from the root: K_inc of each incarnation, and the vault's."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.chain.keys import incarnation_message, ledger_message
from gateway.trust.root import Root
from gateway.trust.vault import Vault


class KeyRing:
    """The key ring of one stream. It asks the root for each key once, and then holds it in RAM. Calling it
    gives a loaded K_inc."""

    def __init__(self, root: Root, stream: bytes, vault: Vault) -> None:
        self._root = root
        self._stream = stream
        self._keys: dict[int, bytes] = {}
        self.vault = vault

    @classmethod
    async def open(cls, root: Root, stream: bytes) -> KeyRing:
        """The ring of a stream, with its vault."""
        return cls(root, stream, Vault(await root.hmac(ledger_message(stream))))

    async def load(self, incarnations: Iterable[int]) -> None:
        """Load K_inc of these incarnations."""
        for incarnation in incarnations:
            if incarnation not in self._keys:
                message = incarnation_message(self._stream, incarnation)
                self._keys[incarnation] = await self._root.hmac(message)

    def __call__(self, incarnation: int) -> bytes:
        return self._keys[incarnation]
