"""A year of one home in a bucket, as a gateway leaves it there, and the same year in plaintext Parquet.

The stream has units of 1 s and two lanes. Of its chunks the last one is there, the others have expired; its
month pages and folded bundles are those of a grant of quarter hours. Their children, the day pages, are not
there either: a reader of whole months does not read them.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from numpy.typing import NDArray

from gateway.bench.chain import example_grant
from gateway.chain.grant import seal_k0
from gateway.chain.issue import Sealing, hide, sealed_by, window_words
from gateway.chain.keys import KeyChain
from gateway.chain.layout import LANES, Layout, Run
from gateway.chain.page import Calendar
from gateway.provider.identity import new_identity
from gateway.store.bucket import Bucket
from gateway.wire import cose, es256, names
from gateway.wire.grant import GrantObject, Tokens, grant_body
from gateway.wire.signed import Stored
from gateway.wire.stream import Chunk, Descriptor, Head, Page

LAYOUT = Layout()
START, END = 1_735_689_600, 1_767_225_600  # the year 2025, in units of 1 s
QUARTER = 900
NAMES = ("import", "export")


@dataclass(frozen=True, slots=True)
class Year:
    """What was put: the stream, the kid that signs it, the provider's folder, and d, mWh [lane, window]."""

    stream: bytes
    signer: bytes
    folder: Path
    d: NDArray[np.int64]


async def put_year(bucket: Bucket, folder: Path) -> Year:
    """Put a year's objects into the bucket, granted to a new provider in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    spki, stream = es256.spki(key.public_key()), secrets.token_bytes(16)
    kid, card = cose.kid_of(spki), new_identity(folder, "bench", START * 1000)

    async def put(item: Stored, where: str) -> bytes:
        payload = item.payload()
        signature = es256.sign(key, cose.to_be_signed(item.TYPE, kid, payload))
        data = cose.assemble(kid, payload, signature)
        await bucket.put(where, data, replace=True)
        return cose.digest(data)

    edges = range(START, END + 1, QUARTER)
    d = np.random.default_rng(4).integers(0, 2**20, (len(NAMES), len(edges) - 1), dtype=np.int64)
    runs, root, k_0 = [Run(1, START, END)], os.urandom(32), os.urandom(32)
    grant = example_grant("windows", QUARTER, NAMES)
    grant = replace(grant, id=secrets.token_bytes(16), stream=stream, provider=card.kid, first=START)
    nonces = window_words(grant, Sealing(LAYOUT, runs, lambda _incarnation: root), edges)
    sealed = sealed_by(runs, 0, edges)
    tokens = hide(nonces, KeyChain(k_0), sealed, 0)
    c = d.view(np.uint64) + nonces.T

    await put(
        Descriptor(stream, LAYOUT, tuple(LANES[name] for name in NAMES), START, spki, "software"),
        names.descriptor(stream),
    )
    body = grant_body(grant)
    assert card.xwing_key is not None  # of a provider's card
    await put(GrantObject(stream, body, seal_k0(k_0, card.xwing_key, body)), names.grant(stream, grant.id))
    calendar = Calendar(LAYOUT.unit_ms, START)
    previous, begin = None, START
    while begin < END:
        month = calendar.period("month", begin)
        x, y = ((unit - START) // QUARTER for unit in (month.begin, month.end))
        children = tuple(os.urandom(32) for _ in range((month.end - month.begin) // 86_400))
        sums = tuple(lane.astype("<u8").tobytes() for lane in c[:, x:y])
        page = Page(stream, month.name, month.step, month.first, month.count, sums, children, previous)
        previous = await put(page, names.page(stream, month.name))
        words, committed = tokens[x:y].astype("<u8").tobytes(), os.urandom(32)
        held = Tokens(stream, grant.id, x, words, ((x, 1),), commitment=committed)
        await put(held, names.bundle(stream, grant.id, x, "month"))
        begin = month.end
    seq, first = (END - START) // QUARTER - 1, END - QUARTER
    lanes = tuple(os.urandom(8 * QUARTER) for _ in NAMES)
    digest = await put(
        Chunk(stream, seq, 1, first, QUARTER, lanes, os.urandom(32), END * 1000),
        names.chunk(stream, first, LAYOUT.unit_ms),
    )
    await put(Head(stream, seq, digest, END, time.time_ns() // 1_000_000, ()), names.head(stream))
    return Year(stream, kid, folder, d)
