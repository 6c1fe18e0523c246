"""The nonces that a grant's tokens hold: bundles are found, checked and opened in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from gateway.chain.grant import Grant
from gateway.chain.keys import advance, next_key, token_key
from gateway.chain.seal import MASK
from gateway.chain.token import open_token, token_bytes
from gateway.errors import Refused
from gateway.utility.fetch import first_key, holding, numbered, objects
from gateway.utility.grants import Held
from gateway.utility.reader import StreamReader
from gateway.wire import names
from gateway.wire.objects import Descriptor, Tokens

Window = tuple[int, int]

_LOOK_BACK = 4096  # windows; a bundle that began earlier is found too, by more requests


class Opener:
    """Opens one grant's tokens. It keeps K_j of the window it reached, so that going on costs nothing
    for what lies behind."""

    def __init__(self, reader: StreamReader, held: Held) -> None:
        self.held = held
        self._reader = reader
        self._reached = (0, held.k_0)

    async def nonces(self, windows: Sequence[Window]) -> dict[Window, list[int]]:
        """R of each lane of the grant, modulo 2^64, over each of the windows, which rise and are covered
        by the grant. Windows at the end whose tokens are not there yet are left out; Refused where a
        token in between is missing, or does not open."""
        grant = self.held.grant
        found: dict[Window, list[int]] = {}
        if not windows:
            return found
        spans = [(grant.number(a), grant.number(b)) for a, b in windows]
        at, key = self._reached if self._reached[0] <= spans[0][0] else (0, self.held.k_0)
        i, r = 0, [0] * len(grant.lanes)
        async with aclosing(self._tokens(spans[0][0], spans[-1][1])) as tokens:
            async for name, j, token in tokens:
                if j < spans[i][0]:
                    continue
                at, key = j, advance(key, j - at)
                try:
                    values = open_token(token_key(key), grant.id, *grant.window(j), token)
                except Refused as error:
                    raise Refused(f"{name}: {error}") from None
                r = [(old + value) & MASK for old, value in zip(r, values, strict=True)]
                if j + 1 == spans[i][1]:
                    found[windows[i]] = r
                    i, r = i + 1, [0] * len(grant.lanes)
                    self._reached = (j + 1, next_key(key))
        return found

    async def _tokens(self, first: int, end: int) -> AsyncGenerator[tuple[str, int, bytes], None]:
        """(object's key, j, token j) for each j from `first` to `end` - 1, as far as there are any."""
        descriptor, grant = self._reader.descriptor, self.held.grant
        next_window: int | None = None
        async with aclosing(objects(self._reader.bucket, self._keys(first, end))) as found:
            async for key, data in found:
                bundle = check_bundle(descriptor, grant, key, data)
                if next_window is None:
                    next_window = min(bundle.first_window, first)
                if bundle.first_window > next_window:
                    name = names.bundle(grant.stream, grant.id, next_window)
                    raise Refused(f"{name} is missing: tokens of later windows are there")
                stop = min(bundle.first_window + bundle.count, end)
                for j in range(max(next_window, first), stop):
                    yield key, j, bundle.token(j)
                next_window = max(next_window, stop)

    async def _keys(self, first: int, end: int) -> AsyncGenerator[str, None]:
        """The keys of the bundles from the one that should hold window `first` on."""
        grant, bucket = self.held.grant, self._reader.bucket
        prefix, back = names.bundles(grant.stream, grant.id), _LOOK_BACK
        while back < first:
            after = names.bundle(grant.stream, grant.id, first - back - 1)
            key = await first_key(bucket, prefix, after)
            if key is not None and names.number_in(key) <= first:
                break
            back *= 64  # the bundle that holds `first` begins earlier, or there is none
        else:
            after = ""
        async with aclosing(holding(numbered(bucket, prefix, after, end), first)) as keys:
            async for key in keys:
                yield key


def check_bundle(descriptor: Descriptor, grant: Grant | None, key: str, data: bytes | None) -> Tokens:
    """The bundle that the store holds under `key`; else Refused. `grant`, where known, says how long its
    tokens are."""
    if data is None:
        raise Refused(f"{key} is listed by the store, and is not there")
    bundle = Tokens.read(data, descriptor.signing_key, key)
    own = names.bundle(bundle.stream, bundle.grant, bundle.first_window)
    if own != key:
        raise Refused(f"{key} holds another bundle, the one of {own}: copied or moved")
    if grant is not None and len(bundle.tokens) != bundle.count * token_bytes(len(grant.lanes)):
        raise Refused(f"{key} holds tokens of another length than its grant's {len(grant.lanes)} lanes give")
    return bundle
