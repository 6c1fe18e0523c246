"""A stream as it lies in the store, checked link by link and opened with the root's own keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from gateway.chain.keys import incarnation_message, link_key
from gateway.chain.seal import MASK, signed, unseal, words
from gateway.errors import NotFound
from gateway.store.bucket import Bucket
from gateway.trust.root import Root
from gateway.wire import cose, names
from gateway.wire.stream import Chunk, Descriptor, Head, Page


@dataclass(frozen=True)
class Stored:
    """Whole and in order: units [start, end), their ciphertexts and plaintexts lane by lane."""

    descriptor: Descriptor
    chunks: list[Chunk]
    c: dict[str, NDArray[np.uint64]]
    d: dict[str, NDArray[np.int64]]

    @property
    def start(self) -> int:
        return self.descriptor.start

    @property
    def end(self) -> int:
        return self.chunks[-1].end if self.chunks else self.start

    def opened(self, lane: str, a: int, b: int, nonce: int) -> int:
        """The sum of a window as a provider opens it, with the window's nonce."""
        total = int(self.c[lane][a - self.start : b - self.start].sum(dtype=np.uint64))
        return signed((total - nonce) & MASK)

    def total(self, lane: str, a: int, b: int) -> int:
        """The sum of a window's plaintexts."""
        return int(self.d[lane][a - self.start : b - self.start].sum())


async def read_stored(bucket: Bucket, root: Root, stream: bytes, *, head: bool = True) -> Stored:
    """Read all of a stream. AssertionError where the chain has a hole, a fork or a chunk that spans more
    than one link; with `head`, also where the head names another chunk than the last."""
    key = names.descriptor(stream)
    data = await bucket.get(key)
    descriptor = Descriptor.read(data, root.public_key, key)
    assert descriptor.stream == stream
    layout, lanes = descriptor.layout, [lane.name for lane in descriptor.lanes]
    chunks: list[Chunk] = []
    c: dict[str, list[NDArray[np.uint64]]] = {lane: [] for lane in lanes}
    d: dict[str, list[NDArray[np.int64]]] = {lane: [] for lane in lanes}
    at, previous = descriptor.start, cose.digest(data)
    async for key in bucket.list(names.chunks(stream)):
        data = await bucket.get(key)
        chunk = Chunk.read(data, root.public_key, key)
        assert key == names.chunk(stream, chunk.first, layout.unit_ms)
        assert (chunk.stream, chunk.seq, chunk.first, chunk.previous) == (stream, len(chunks), at, previous)
        assert layout.link(chunk.first) == layout.link(chunk.end - 1)
        k_inc = await root.hmac(incarnation_message(stream, chunk.incarnation))
        n, p = layout.link(chunk.first), layout.position(chunk.first)
        for number, lane in enumerate(lanes):
            w = words(link_key(k_inc, n, lane), layout.link_units)
            c[lane].append(chunk.c(number))
            d[lane].append(unseal(w, p, chunk.c(number)).view(np.int64))
        chunks.append(chunk)
        at, previous = chunk.end, cose.digest(data)
    if head:
        await _check_head(bucket, root, descriptor, chunks, previous)
    return Stored(
        descriptor,
        chunks,
        {lane: np.concatenate([np.empty(0, np.uint64), *c[lane]]) for lane in lanes},
        {lane: np.concatenate([np.empty(0, np.int64), *d[lane]]) for lane in lanes},
    )


async def _check_head(
    bucket: Bucket, root: Root, descriptor: Descriptor, chunks: list[Chunk], digest: bytes
) -> None:
    stream = descriptor.stream
    key = names.head(stream)
    try:
        head = Head.read(await bucket.get(key), root.public_key, key)
    except NotFound:
        assert not chunks
        return
    last = chunks[-1]
    assert (head.stream, head.seq, head.digest, head.next_unit) == (stream, last.seq, digest, last.end)
    assert head.day == await _last_day(bucket, root, head, descriptor.layout.unit_ms)


async def _last_day(bucket: Bucket, root: Root, head: Head, unit_ms: int) -> bytes | None:
    """The digest of the page of the day that was over last, if it has one."""
    if 86_400_000 % unit_ms:
        return None
    end_ms = head.next_unit * unit_ms // 86_400_000 * 86_400_000
    key = names.page(head.stream, str(datetime.fromtimestamp((end_ms - 1) / 1000, UTC).date()))
    try:
        data = await bucket.get(key)
    except NotFound:
        return None
    assert Page.read(data, root.public_key, key).end == end_ms // unit_ms
    return cose.digest(data)
