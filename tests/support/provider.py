"""A provider as far as the gateway sees one: a card, and what its grants open, straight by PROTOCOL.md."""

from __future__ import annotations

import secrets
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec

from gateway.chain.grant import Grant, open_k0, xwing_public_bytes
from gateway.chain.keys import KeyChain
from gateway.chain.token import Sealed, masks
from gateway.chain.windows import GrantWindows
from gateway.store.bucket import Bucket
from gateway.wire import cose, es256, names
from gateway.wire.card import Card
from gateway.wire.es256 import spki
from gateway.wire.grant import GrantObject, Tokens, read_grant_body
from gateway.wire.signed import Signed

_YEAR_MS = 365 * 86_400_000


class Provider:
    """Keys, and the card that its holder signed."""

    def __init__(self, now_ms: int, name: str = "Stadtwerke") -> None:
        self._seed = secrets.token_bytes(32)
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = spki(self._key.public_key())
        self.card = Card(
            kid=cose.kid_of(public),
            signing_key=public,
            xwing_key=xwing_public_bytes(self._seed),
            role="provider",
            name=name,
            valid_from_ms=now_ms - _YEAR_MS,
            valid_until_ms=now_ms + _YEAR_MS,
        )

    def card_bytes(self, **changes: object) -> bytes:
        """The signed card, with some fields changed before it was signed."""
        return self.signs(replace(self.card, **changes))  # type: ignore[arg-type]

    def signs(self, item: Signed) -> bytes:
        """The object, signed with the card's key."""
        kid, payload = self.card.kid, item.payload()
        message = cose.to_be_signed(item.TYPE, kid, payload)
        return cose.assemble(kid, payload, es256.sign(self._key, message))

    async def grant(
        self, bucket: Bucket, public_key: bytes, stream: bytes, grant_id: bytes, unit_ms: int
    ) -> tuple[Grant, bytes]:
        """The grant in the store, and its K_0."""
        key = names.grant(stream, grant_id)
        found = GrantObject.read(await bucket.get(key), public_key, key)
        return read_grant_body(found.body, unit_ms, key), open_k0(found.sealed_k0, self._seed, found.body)

    async def nonces(
        self, bucket: Bucket, public_key: bytes, stream: bytes, grant_id: bytes, unit_ms: int
    ) -> dict[tuple[int, int], list[int]]:
        """R of each lane, for each window that has a token in the store; windows follow one another."""
        grant, k_0 = await self.grant(bucket, public_key, stream, grant_id, unit_ms)
        chain, windows = KeyChain(k_0), GrantWindows(grant)
        found: dict[tuple[int, int], list[int]] = {}
        j = 0
        async for name in bucket.list(names.bundles(stream, grant_id)):
            bundle = Tokens.read(await bucket.get(name), public_key, name)
            assert (bundle.stream, bundle.grant, bundle.first_window) == (stream, grant_id, j)
            assert name == names.bundle(stream, grant_id, j)
            end = bundle.end_window(grant.words)
            if bundle.edges is not None:
                windows.settle(j, bundle.edges)
            sealed = [Sealed(*one) for one in bundle.sealed]
            words = bundle.table(grant.words) - masks(chain, sealed, j, end, grant.words, bundle.cuts)
            for window, r in enumerate(words.tolist(), j):
                found[windows.window(window)] = r
            j = end
        return found
