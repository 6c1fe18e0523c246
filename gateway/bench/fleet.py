"""Many homes' yesterdays in a bucket, as their gateways leave them there for one provider.

Each home is a stream with units of 1 s and two lanes, a month old, with one grant of quarter hours. Of its
objects those are there that a reader of yesterday needs: the descriptor, the head, the chunk that the head
names, the grant, yesterday's page and the day's bundle of tokens.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from numpy.typing import NDArray

from gateway.bench.chain import example_grant
from gateway.chain.grant import seal_k0
from gateway.chain.issue import hide
from gateway.chain.keys import KeyChain
from gateway.chain.layout import DAY_MS, LANES, Layout
from gateway.chain.page import Calendar
from gateway.chain.token import Sealed
from gateway.provider.identity import new_identity
from gateway.wire import cose, es256, names
from gateway.wire.card import Card
from gateway.wire.grant import GrantObject, Tokens, grant_body
from gateway.wire.signed import Stored
from gateway.wire.stream import Chunk, Descriptor, Head, Page

LAYOUT = Layout()
QUARTER = 900  # units of 1 s, the length of windows and of chunks
_DAY = DAY_MS // LAYOUT.unit_ms
_AGE_DAYS = 30
_LANES = ("import", "export")


@dataclass(frozen=True, slots=True)
class FleetHome:
    """A home: its stream, the kid that signs it, the id of its grant, and its number."""

    stream: bytes
    signer: bytes
    grant: bytes
    number: int
    keys: tuple[str, ...] = ()
    """Of its objects: first the descriptor and the grant, which a reader need not read twice."""

    def d(self) -> NDArray[np.int64]:
        """Its yesterday's sums, mWh [lane, quarter hour]."""
        shape = len(_LANES), _DAY // QUARTER
        return np.random.default_rng(self.number).integers(0, 2**20, shape, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Homes that granted their quarter hours to the provider in `folder`, as they are at `now_ms` (Unix
    ms)."""

    folder: Path
    now_ms: int
    card: Card

    @classmethod
    def new(cls, folder: Path, now_ms: int) -> Fleet:
        """A fleet, and a new provider in `folder`."""
        return cls(folder, now_ms, new_identity(folder, "bench", now_ms - _AGE_DAYS * DAY_MS))

    @property
    def begin(self) -> int:
        """The first unit of yesterday, UTC."""
        return (self.now_ms // DAY_MS - 1) * _DAY

    @property
    def yesterday_ms(self) -> tuple[int, int]:
        """The first moment of yesterday, UTC, and of today: Unix ms."""
        return self.begin * LAYOUT.unit_ms, (self.begin + _DAY) * LAYOUT.unit_ms

    def home(self, number: int) -> tuple[FleetHome, dict[str, bytes]]:
        """Home `number`, made anew, and its objects."""
        key = ec.generate_private_key(ec.SECP256R1())
        day = Calendar(LAYOUT.unit_ms, self._start).period("day", self.begin)
        spki, stream = es256.spki(key.public_key()), secrets.token_bytes(16)
        home = FleetHome(stream, cose.kid_of(spki), secrets.token_bytes(16), number)
        objects = {where: _signed(key, home.signer, item) for where, item in self._stream(home, spki)}
        now = self.now_ms // LAYOUT.unit_ms // QUARTER * QUARTER
        seq = (now - self._start) // QUARTER - 1
        lanes = tuple(os.urandom(8 * QUARTER) for _ in _LANES)
        chunk = Chunk(stream, seq, 1, now - QUARTER, QUARTER, lanes, os.urandom(32), now * LAYOUT.unit_ms)
        data = _signed(key, home.signer, chunk)
        objects[names.chunk(stream, chunk.first, LAYOUT.unit_ms)] = data
        page = cose.digest(objects[names.page(stream, day.name)])
        head = Head(stream, seq, cose.digest(data), now, self.now_ms, (), page)
        objects[names.head(stream)] = _signed(key, home.signer, head)
        return replace(home, keys=tuple(objects)), objects

    @property
    def _start(self) -> int:
        return self.begin - _AGE_DAYS * _DAY

    def _stream(self, home: FleetHome, spki: bytes) -> Iterator[tuple[str, Stored]]:
        """The objects that are written once, all but the chunk."""
        stream, lanes = home.stream, tuple(LANES[name] for name in _LANES)
        yield names.descriptor(stream), Descriptor(stream, LAYOUT, lanes, self._start, spki, "software")
        grant = replace(
            example_grant("windows", QUARTER, _LANES),
            id=home.grant,
            stream=stream,
            provider=self.card.kid,
            first=self._start,
        )
        body, k_0 = grant_body(grant), os.urandom(32)
        assert self.card.xwing_key is not None  # of a provider's card
        yield (
            names.grant(stream, grant.id),
            GrantObject(stream, body, seal_k0(k_0, self.card.xwing_key, body)),
        )
        day = Calendar(LAYOUT.unit_ms, self._start).period("day", self.begin)
        d, first = home.d(), grant.complete(self.begin)
        nonces = np.random.default_rng().integers(0, 2**64, d.shape, dtype=np.uint64)
        # A page has finer steps than windows: its last step in each window makes up the sum.
        c = np.random.default_rng().integers(0, 2**64, (len(lanes), day.count), dtype=np.uint64)
        parts = c.reshape(*d.shape, -1)
        parts[:, :, -1] += d.view(np.uint64) + nonces - parts.sum(axis=2, dtype=np.uint64)
        tokens = hide(nonces.T, KeyChain(k_0), [Sealed(first, 1)], first)
        sums = tuple(lane.astype("<u8").tobytes() for lane in c)
        children = tuple(os.urandom(32) for _ in range(_DAY // QUARTER))
        page = Page(stream, day.name, day.step, day.first, day.count, sums, children, os.urandom(32))
        yield names.page(stream, day.name), page
        bundle = Tokens(stream, grant.id, first, tokens.astype("<u8").tobytes(), ((first, 1),))
        yield names.bundle(stream, grant.id, first, "day"), bundle


def _signed(key: ec.EllipticCurvePrivateKey, kid: bytes, item: Stored) -> bytes:
    payload = item.payload()
    r, s = decode_dss_signature(
        key.sign(cose.to_be_signed(item.TYPE, kid, payload), ec.ECDSA(hashes.SHA256()))
    )
    s = min(s, es256.ORDER - s)
    return cose.assemble(kid, payload, r.to_bytes(32, "big") + s.to_bytes(32, "big"))
