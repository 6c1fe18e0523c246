"""A home's objects, as its gateway leaves them in a store: descriptor, load grants, chunks, tokens, pages,
head.

A broken home has no pages from the day on in which its chain breaks: a page vouches for sums, whatever
becomes of the chunks. Otherwise nothing is missing or has expired: tokens are there by chunk, by day and,
once it is over, by month. The bytes follow from the seed, but for the keys sealed in grants, whose
encapsulation is random.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from numpy.typing import NDArray

from gateway.chain.grant import Grant, seal_k0
from gateway.chain.issue import hide
from gateway.chain.keys import KeyChain, incarnation_message, link_key
from gateway.chain.layout import LANES as ALL_LANES
from gateway.chain.page import SPANS, Calendar, Period, add_up
from gateway.chain.seal import U64, words
from gateway.chain.token import Sealed
from gateway.simulate.fleet.plan import LANES, Plan, Trouble
from gateway.wire import cose, es256, names
from gateway.wire.card import Card
from gateway.wire.grant import GrantObject, Tokens, grant_body
from gateway.wire.names import Fold
from gateway.wire.signed import Signed
from gateway.wire.stream import Chunk, Descriptor, Head, Page

_DETERMINISTIC = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_PURPOSE = "the load of the neighbourhood"

Object = tuple[str, bytes]
"""An object's key and its bytes."""


@dataclass(frozen=True, slots=True)
class Parties:
    """The two parties of the loads, by their cards, and over how many homes a load sums at least."""

    centre: Card
    service: Card
    k_min: int | None = None


@dataclass(frozen=True, slots=True)
class _Load:
    """A pair of load grants: the service's grant, the id of the centre's, and the key chains of both."""

    grant: Grant
    centre: bytes
    chain: KeyChain
    partner: KeyChain


@dataclass(frozen=True, slots=True)
class _Runs:
    """How a day's units were sealed: under `incarnation`, and from position `restart` on under the next."""

    incarnation: int
    restart: int

    def of(self, position: int) -> int:
        """The incarnation of the unit at a position of the day."""
        return self.incarnation + (position >= self.restart)

    def sealed(self, first: int, lasts: NDArray[np.int64]) -> list[Sealed]:
        """The incarnations of windows from number `first` on, whose last units are at these positions."""
        later = int(np.searchsorted(lasts, self.restart))
        if later == 0:
            return [Sealed(first, self.incarnation + 1)]
        pairs = [Sealed(first, self.incarnation)]
        return pairs if later == len(lasts) else [*pairs, Sealed(first + later, self.incarnation + 1)]


class HomeObjects:
    """The gateway of home `number`: `begin`, then `day` after day, then `end` give its objects in the order
    in which they leave it."""

    def __init__(self, plan: Plan, number: int, parties: Parties, trouble: Trouble, until: int) -> None:
        self._plan = plan
        self._number = number
        self._parties = parties
        self._trouble = trouble
        self._until = until
        secret = int.from_bytes(plan.secret(number, "signing key"), "big")
        self._key = ec.derive_private_key(1 + secret % (es256.ORDER - 1), ec.SECP256R1())
        self._spki = es256.spki(self._key.public_key())
        self.signer = cose.kid_of(self._spki)
        self.stream = stream_of(plan, number)
        self._root = plan.secret(number, "root")
        self._loads = [self._load(serial) for serial in range(len(plan.windows))]
        self._seq = -1
        self._previous = b""
        self._next_unit = plan.start
        self._pages: dict[str, bytes | None] = dict.fromkeys(SPANS)  # H of the last one
        self._paged = 0  # the day after its day
        self._month: list[tuple[U64, bytes]] = []  # its days' sums and digests
        self._tokens: list[list[tuple[int, U64, list[Sealed]]]] = [[] for _ in self._loads]  # the month's

    @property
    def grants(self) -> list[bytes]:
        """The ids of the centre's grants, one for each granularity."""
        return [load.centre for load in self._loads]

    def card(self, name: str, valid_until_ms: int) -> tuple[Card, bytes]:
        """The gateway's card, valid from the plan's begin on, and the card as it signed it."""
        begin_ms = self._plan.start * self._plan.unit_ms
        card = Card(self.signer, self._spki, None, "gateway", name, begin_ms, valid_until_ms)
        return card, self._signed(card)

    def descriptor(self) -> bytes:
        """The stream's descriptor."""
        lanes = tuple(ALL_LANES[lane] for lane in LANES)
        plan = self._plan
        return self._signed(Descriptor(self.stream, plan.layout, lanes, plan.start, self._spki, "software"))

    def begin(self) -> Iterator[Object]:
        """What the stream begins with."""
        data = self.descriptor()
        self._previous = cose.digest(data)
        yield names.descriptor(self.stream), data
        for serial, load in enumerate(self._loads):
            centre = self._grant(serial, self._parties.centre, None)
            for grant, card in ((centre, self._parties.centre), (load.grant, self._parties.service)):
                body = grant_body(grant)
                assert card.xwing_key is not None  # of a provider's card
                k_0 = self._k_0(serial, "service" if grant.partner else "centre")
                sealed = GrantObject(self.stream, body, seal_k0(k_0, card.xwing_key, body))
                yield names.grant(self.stream, grant.id), self._signed(sealed)

    def day(self, n: int, d: NDArray[np.int64], incarnation: int, outage: Sequence[int]) -> Iterator[Object]:
        """The objects of the n-th day. `d` is what was used, [lane, unit]; the gateway's incarnation is that
        of the day's beginning, and the next from unit outage[0] on, where outage[1] is not 0."""
        plan, begin = self._plan, self._plan.day(n)
        runs = _Runs(incarnation, outage[0] if outage[1] else plan.day_units)
        c = d.view(np.uint64) + self._blinding(begin, runs)
        issued = [self._issue(load, begin, c - d.view(np.uint64), runs) for load in self._loads]
        digests = []
        borders = {*range(0, plan.day_units + 1, plan.chunk_ms // plan.unit_ms)}
        edges = sorted(borders | {runs.restart})
        served = [0] * len(self._loads)
        for a, b in pairwise(edges):
            if begin + b > (self._until if self._trouble == "late" else plan.end):
                return
            where, data = self._chunk(begin + a, c[:, a:b], runs.of(a))
            digests.append(self._previous)
            if data is not None:
                yield where, data
            for i, (load, (first, tokens, sealed)) in enumerate(zip(self._loads, issued, strict=True)):
                size = load.grant.window(0)[1] - load.grant.first
                closed = b // size
                if closed > served[i]:
                    some = slice(served[i], closed)
                    yield self._bundle(load, first + served[i], tokens[some], sealed, "new")
                    served[i] = closed
        for load, kept, (first, tokens, sealed) in zip(self._loads, self._tokens, issued, strict=True):
            yield self._bundle(load, first, tokens, sealed, "day")
            kept.append((first, tokens, sealed))
        if self._trouble in ("", "late") or begin + plan.day_units <= self._until:
            yield from self._page_of_day(begin, c, digests)

    def end(self) -> Iterator[Object]:
        """The head: the end of the stream as it is in the store; there is none where nothing was sealed."""
        if self._seq >= 0:
            plan = self._plan
            time_ms = self._next_unit * plan.unit_ms
            day = self._pages["day"] if self._paged == self._next_unit // plan.day_units else None
            item = Head(self.stream, self._seq, self._previous, self._next_unit, time_ms, (), day)
            yield names.head(self.stream), self._signed(item)

    def _load(self, serial: int) -> _Load:
        centre, grant = (
            self._grant(serial, self._parties.centre, None),
            self._grant(serial, self._parties.service, self._id(serial, "centre")),
        )
        chains = (KeyChain(self._k_0(serial, who)) for who in ("service", "centre"))
        return _Load(grant, centre.id, *chains)

    def _grant(self, serial: int, card: Card, partner: bytes | None) -> Grant:
        plan = self._plan
        return Grant(
            id=self._id(serial, "centre" if partner is None else "service"),
            stream=self.stream,
            provider=card.kid,
            lanes=LANES,
            granularity=plan.windows[serial],
            first=plan.start,
            until=None,
            purpose=_PURPOSE,
            kind="load",
            issued_ms=plan.start * plan.unit_ms,
            serial=2 * serial + (2 if partner else 1),
            partner=partner,
            k_min=self._parties.k_min,
        )

    def _id(self, serial: int, who: str) -> bytes:
        return self._plan.secret(self._number, f"grant {serial} {who}")[:16]

    def _k_0(self, serial: int, who: str) -> bytes:
        return k_0_of(self._plan, self._number, serial, who)

    def _blinding(self, begin: int, runs: _Runs) -> U64:
        """W[p] - W[p+1] of a day's units, [lane, unit]."""
        n, found = self._plan.layout.link(begin), []
        for lane in LANES:
            part = []
            for incarnation, units in (
                (runs.incarnation, slice(0, runs.restart)),
                (runs.incarnation + 1, slice(runs.restart, None)),
            ):
                if units.start == self._plan.day_units:
                    continue
                k_inc = hmac.digest(self._root, incarnation_message(self.stream, incarnation), "sha256")
                w = words(link_key(k_inc, n, lane), self._plan.day_units)
                part.append((w[:-1] - w[1:])[units])
            found.append(np.concatenate(part))
        return np.stack(found)

    def _issue(self, load: _Load, begin: int, nonces: U64, runs: _Runs) -> tuple[int, U64, list[Sealed]]:
        """The tokens of a day's windows, [window, lane], from the nonces of its units, [lane, unit]: the
        number of the first, the tokens, and which incarnations sealed the last units."""
        a, b = load.grant.window(0)
        size = b - a
        first = (begin - a) // size
        held = nonces.reshape(len(LANES), -1, size).sum(axis=2, dtype=np.uint64).T
        lasts = np.arange(size - 1, self._plan.day_units, size, dtype=np.int64)
        sealed = runs.sealed(first, lasts)
        return first, hide(held, load.chain, sealed, first, load.partner), sealed

    def _chunk(self, first: int, c: U64, incarnation: int) -> tuple[str, bytes | None]:
        """The next chunk; its bytes are None where the store has lost it."""
        self._seq += 1
        self._next_unit = first + c.shape[1]
        broken = self._trouble if first == self._until else ""
        previous = self._plan.secret(self._number, "another") if broken == "chain" else self._previous
        lanes = tuple(lane.astype("<u8").tobytes() for lane in c)
        end_ms = self._next_unit * self._plan.unit_ms
        item = Chunk(self.stream, self._seq, incarnation, first, c.shape[1], lanes, previous, end_ms)
        data = self._signed(item)
        self._previous = cose.digest(data)
        shown: bytes | None = data
        if broken == "signature":
            shown = data[:-1] + bytes((data[-1] ^ 1,))
        elif broken == "gap":
            shown = None
        return names.chunk(self.stream, first, self._plan.unit_ms), shown

    def _bundle(self, load: _Load, first: int, tokens: U64, sealed: Sequence[Sealed], fold: Fold) -> Object:
        """The tokens of windows from number `first` on; `sealed` may begin before them and go beyond."""
        end = first + len(tokens)
        before = [one for one in sealed if one.window <= first]
        held = ((first, before[-1].incarnation), *(one for one in sealed if first < one.window < end))
        pairs = tuple((window, incarnation) for window, incarnation in held)
        item = Tokens(self.stream, load.grant.id, first, tokens.astype("<u8").tobytes(), pairs)
        return names.bundle(self.stream, load.grant.id, first, fold), self._signed(item)

    def _page_of_day(self, begin: int, c: U64, digests: Sequence[bytes]) -> Iterator[Object]:
        """The day's page; and that of the month with its tokens, where the month is over."""
        calendar = Calendar(self._plan.unit_ms, self._plan.start)
        period = calendar.period("day", begin)
        sums = c.reshape(len(LANES), period.count, -1).sum(axis=2, dtype=np.uint64)
        yield self._page("day", period, sums, digests)
        self._paged = period.end // self._plan.day_units
        assert self._pages["day"] is not None
        self._month.append((sums, self._pages["day"]))
        month = calendar.period("month", begin)
        if period.end < month.end:
            return
        found = np.zeros((len(LANES), month.count), dtype=np.uint64)
        add_up(found, month.edges, month.first, period.step, np.concatenate([s for s, _ in self._month], 1))
        for load, kept in zip(self._loads, self._tokens, strict=True):
            tokens = np.concatenate([one for _, one, _ in kept])
            sealed = [pair for _, _, some in kept for pair in some]
            changes = [
                pair
                for before, pair in zip([None, *sealed], sealed, strict=False)
                if before is None or before.incarnation != pair.incarnation
            ]
            yield self._bundle(load, kept[0][0], tokens, changes, "month")
            kept.clear()
        yield self._page("month", month, found, [digest for _, digest in self._month])
        self._month.clear()

    def _page(self, span: str, period: Period, sums: U64, children: Sequence[bytes]) -> Object:
        lanes = tuple(lane.astype("<u8").tobytes() for lane in sums)
        previous = self._pages[span]
        item = Page(
            self.stream,
            period.name,
            period.step,
            period.first,
            period.count,
            lanes,
            tuple(children),
            previous,
        )
        data = self._signed(item)
        self._pages[span] = cose.digest(data)
        return names.page(self.stream, period.name), data

    def _signed(self, item: Signed) -> bytes:
        payload = item.payload()
        to_be_signed = cose.to_be_signed(item.TYPE, self.signer, payload)
        r, s = decode_dss_signature(self._key.sign(to_be_signed, _DETERMINISTIC))
        signature = r.to_bytes(32, "big") + min(s, es256.ORDER - s).to_bytes(32, "big")
        return cose.assemble(self.signer, payload, signature)


def stream_of(plan: Plan, number: int) -> bytes:
    """The id of a home's stream."""
    return plan.secret(number, "stream")[:16]


def k_0_of(plan: Plan, number: int, serial: int, who: str) -> bytes:
    """K_0 of a home's grant of a load: `serial` is which granularity, `who` "centre" or "service"."""
    return plan.secret(number, f"K_0 {serial} {who}")
