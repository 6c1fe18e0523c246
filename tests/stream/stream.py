"""A gateway for tests, without ledger or daemon: it seals what it is given, signs, and holds the objects.

`Home.objects` is what its store would hold; `write` puts that into a directory bucket. A test that
wants a hostile store changes the objects first.
"""

from __future__ import annotations

import copy
import hmac
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.chain.commitment import COMMITTED, bundle_commitment, commitments, openings
from gateway.chain.grant import Grant, Kind, seal_k0
from gateway.chain.issue import Sealing, bill_word, hide, raw_tokens, sealed_by, window_words
from gateway.chain.keys import KeyChain, incarnation_message, link_key
from gateway.chain.layout import LANES, Layout, Run
from gateway.chain.seal import U64, seal, words
from gateway.chain.tariff import Tariff, Weight, cent, steps_digest
from gateway.chain.token import cuts_of
from gateway.chain.window import Granularity
from gateway.chain.windows import GrantWindows
from gateway.provider.identity import Identity, new_identity, open_identity
from gateway.wire import cose, es256, names
from gateway.wire.card import Card
from gateway.wire.grant import GrantObject, Revocation, Tokens, grant_body
from gateway.wire.names import Fold
from gateway.wire.stream import Assurance, Chunk, Descriptor, Head, Page, SoFar
from gateway.wire.tariff import tariff_body

START = 1_772_323_200  # 2026-03-01T00:00:00Z in units of 1 s, a multiple of every link used here


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider's folder, and what is in it."""

    folder: Path
    card: Card
    identity: Identity

    @classmethod
    def new(cls, folder: Path) -> Provider:
        """A fresh one."""
        card = new_identity(folder, "ACME Energy", START * 1000)
        return cls(folder, card, open_identity(folder))


class Signable(Protocol):
    TYPE: ClassVar[str]

    def payload(self) -> bytes: ...


class Signer:
    """A P-256 key in software."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.public = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.kid = cose.kid_of(self.public)

    def sign(self, item: Signable, type_string: str | None = None) -> bytes:
        """The COSE_Sign1 of an object; a wrong `type_string` makes it one of another type."""
        payload = item.payload()
        message = cose.to_be_signed(type_string or item.TYPE, self.kid, payload)
        return cose.assemble(self.kid, payload, es256.sign(self.key, message))


@dataclass(frozen=True, slots=True)
class Fresh:
    """A token as it was first published; of a bill, with the digest of what was weighed."""

    token: bytes
    weighed: bytes = b""
    commitment: bytes = b""


@dataclass(frozen=True, slots=True)
class Served:
    """A grant that is served: its windows, what its bills are weighed by, and the windows served so far."""

    grant: Grant
    windows: GrantWindows
    tariff: Tariff | None
    done: int = 0
    kept: dict[int, Fresh] = field(default_factory=dict)

    def fork(self) -> Served:
        """The same, to go on apart."""
        return replace(self, windows=copy.deepcopy(self.windows), kept=dict(self.kept))


class Home:
    """One stream. Units of 1 s and links of a minute unless told otherwise, so that tests are small."""

    def __init__(
        self,
        lanes: Sequence[str] = ("import", "export"),
        *,
        layout: Layout | None = None,
        start: int = START,
        chunk_units: int = 30,
        assurance: Assurance = "tpm",
        signer: Signer | None = None,
    ) -> None:
        self.id = secrets.token_bytes(16)
        self.layout = layout or Layout(1000, 60)
        self.lanes = tuple(lanes)
        self.start = self.end = start
        self.chunk_units = chunk_units
        self.signer = signer or Signer()
        self.incarnation = 1
        self.names_day = True  # in its head; earlier gateways did not
        self.runs: list[Run] = []
        self.chunks: list[str] = []  # keys, by seq
        self.readings: dict[str, list[int]] = {lane: [] for lane in lanes}
        self.c: dict[str, list[U64]] = {lane: [] for lane in lanes}
        self.descriptor = Descriptor(
            self.id, self.layout, tuple(LANES[n] for n in lanes), start, self.signer.public, assurance
        )
        self.objects = {names.descriptor(self.id): self.signer.sign(self.descriptor)}
        self._root = secrets.token_bytes(32)
        self._served: dict[bytes, Served] = {}
        self._k_0: dict[bytes, bytes] = {}
        self._revoked: set[bytes] = set()
        self._paged = {"day": start, "month": start}  # all that ended until there has its page

    def seal(self, readings: Mapping[str, Sequence[int]]) -> None:
        """Seal and put as many units as there are readings, in chunks cut as a gateway does."""
        count = len(next(iter(readings.values())))
        at, given = self.end, self.end
        while at < given + count:
            n = self.layout.link(at)
            border = n * self.layout.link_units
            border += min(
                self.layout.link_units, (self.layout.position(at) // self.chunk_units + 1) * self.chunk_units
            )
            end = min(border, given + count)
            self._put_chunk(at, {lane: readings[lane][at - given : end - given] for lane in self.lanes})
            at = end
        self.publish()

    def fork(self) -> Home:
        """The same gateway and store, to go on or be tampered with apart."""
        other = copy.copy(self)
        other.objects, other.chunks, other.runs = dict(self.objects), list(self.chunks), list(self.runs)
        other.readings = {lane: list(values) for lane, values in self.readings.items()}
        other.c = {lane: list(values) for lane, values in self.c.items()}
        other._served = {key: one.fork() for key, one in self._served.items()}
        other._k_0, other._paged, other._revoked = dict(self._k_0), dict(self._paged), set(self._revoked)
        return other

    def restart(self, incarnation: int | None = None) -> None:
        """Seal under another incarnation from here on."""
        self.incarnation = incarnation if incarnation is not None else self.incarnation + 1

    def chunk(self, first: int, seq: int, previous: bytes, d: Mapping[str, Sequence[int]]) -> Chunk:
        """A chunk, not signed and not put."""
        n, p = self.layout.link(first), self.layout.position(first)
        sealed = []
        for lane in self.lanes:
            w = words(link_key(self._k_inc(self.incarnation), n, lane), self.layout.link_units)
            plain = np.array([value % 2**64 for value in d[lane]], dtype=np.uint64)
            sealed.append(seal(w, p, plain).astype("<u8").tobytes())
        count = len(d[self.lanes[0]])
        sealed_ms = (first + count) * self.layout.unit_ms
        return Chunk(self.id, seq, self.incarnation, first, count, tuple(sealed), previous, sealed_ms)

    def publish(self, time_ms: int | None = None) -> None:
        """Put the tokens that are due, the pages, then the head."""
        for grant_id in self._served:
            self.serve(grant_id)
        if 86_400_000 % self.layout.unit_ms == 0:
            self._put_pages("day")
            self._put_pages("month")
        self._time_ms = time_ms or time.time_ns() // 1_000_000
        self._put_head()

    def _put_head(self) -> None:
        if not self.chunks:
            return
        last = cose.digest(self.objects[self.chunks[-1]])
        revoked = tuple(sorted(self._revoked))
        head = Head(self.id, len(self.chunks) - 1, last, self.end, self._time_ms, revoked, self._day())
        self.objects[names.head(self.id)] = self.signer.sign(head)

    def _day(self) -> bytes | None:
        """The digest of the last day's page."""
        if 86_400_000 % self.layout.unit_ms or not self.names_day:
            return None
        name = str(
            datetime.fromtimestamp(self.end * self.layout.unit_ms / 1000, UTC).date() - timedelta(days=1)
        )
        data = self.objects.get(names.page(self.id, name))
        return None if data is None else cose.digest(data)

    def grant(
        self,
        card: Card,
        granularity: str,
        lanes: Sequence[str] | None = None,
        *,
        first: int | None = None,
        until: int | None = None,
        zone: str = "UTC",
        kind: Kind = "windows",
        tariff: Tariff | None = None,
        weighs: Tariff | None = None,
        quantum: int | None = None,
        partner: Grant | None = None,
        k_min: int | None = None,
        edges: Sequence[int] = (),
        bundle: int | None = None,
        issued_ms: int | None = None,
    ) -> Grant:
        """Grant, and serve what is sealed already: of a load's pair the one with a partner.

        A household with other time zone data weighs bills by `weighs` instead of the tariff, and cuts the
        first windows at `edges`.
        """
        windows = Granularity.parse(granularity, self.layout.unit_ms, zone)
        grant = Grant(
            id=secrets.token_bytes(16),
            stream=self.id,
            provider=card.kid,
            lanes=tuple(lanes or self.lanes),
            granularity=windows,
            first=windows.align_up(self.start if first is None else first),
            until=until,
            purpose="test",
            kind=kind,
            issued_ms=issued_ms or self.start * self.layout.unit_ms,
            serial=len(self._served) + 1,
            tariff=None if tariff is None else cose.digest(tariff_body(tariff)),
            partner=None if partner is None else partner.id,
            quantum=None if tariff is None else quantum or cent(tariff.scale),
            k_min=k_min,
        )
        k_0, body = secrets.token_bytes(32), grant_body(grant)
        assert card.xwing_key is not None
        sealed = GrantObject(self.id, body, seal_k0(k_0, card.xwing_key, body))
        self.objects[names.grant(self.id, grant.id)] = self.signer.sign(sealed)
        self._k_0[grant.id] = k_0
        if kind != "load" or partner is not None:
            self._served[grant.id] = Served(grant, GrantWindows(grant, edges), weighs or tariff)
            self.serve(grant.id, bundle)
        return grant

    def serve(self, grant_id: bytes, bundle: int | None = None) -> None:
        """Put the tokens of a grant's windows that have closed since, `bundle` of them to an object."""
        served = self._served[grant_id]
        done = served.windows.complete(self.end)
        step = bundle or max(1, done - served.done)
        for first in range(served.done, done, step):
            self.put_bundle(grant_id, first, min(done, first + step))
        self._served[grant_id] = replace(served, done=done)

    def put_bundle(
        self, grant_id: bytes, first: int, end: int, fold: Fold = "new", *, so_far: bool = False
    ) -> None:
        """Put a bundle of windows `first` to `end` - 1. Folded ones repeat the tokens of fresh ones, and so
        does, with `so_far`, that of their month until then."""
        served = self._served[grant_id]
        grant = served.grant
        edges = served.windows.edges(first, end)
        kept = served.kept
        for j, fresh in enumerate(self._tokens(served, len(kept), end), len(kept)):
            kept[j] = fresh
        of = [kept[j] for j in range(first, end)]
        data = Tokens(
            self.id,
            grant.id,
            first,
            tuple(one.token for one in of) if grant.kind == "raw" else b"".join(one.token for one in of),
            tuple(sealed_by(self.runs, first, edges)),
            edges=tuple(edges) if served.windows.calendar else None,
            weighed=tuple(one.weighed for one in of) if grant.kind == "bill" else None,
            commitment=bundle_commitment(b"".join(one.commitment for one in of))
            if grant.kind in COMMITTED
            else None,
            so_far=end if so_far else None,
        )
        bundle = names.bundle(self.id, grant.id, first, fold)
        key = names.tokens_so_far(self.id, grant.id, end) if so_far else bundle
        self.objects[key] = self.signer.sign(data)

    def _tokens(self, served: Served, first: int, end: int) -> Iterator[Fresh]:
        """The tokens of windows `first` to `end` - 1."""
        if first >= end:
            return
        grant, edges = served.grant, served.windows.edges(first, end)
        chain = KeyChain(self._k_0[grant.id])
        sealing = Sealing(self.layout, self.runs, self._k_inc)
        sealed = sealed_by(self.runs, first, edges)
        if grant.kind == "raw":
            yield from map(Fresh, raw_tokens(grant, sealing, chain, sealed, first, edges))
            return
        weighed = [b""] * (end - first)
        if grant.kind == "bill":
            weights = [self._weights(served, a, b) for a, b in pairwise(edges)]
            weighed = list(map(steps_digest, weights))
            found = [self._bill_word(grant, sealing, one, a) for one, a in zip(weights, edges, strict=False)]
            words = np.array(found, dtype=np.uint64).reshape(-1, 1)
        else:
            words = window_words(grant, sealing, edges)
        partner = None if grant.partner is None else KeyChain(self._k_0[grant.partner])
        cuts = cuts_of(edges if served.windows.calendar else None, weighed if grant.kind == "bill" else None)
        opening = openings(chain, sealed, first, end, cuts)
        each = commitments(np.concatenate([opening, words], axis=1))
        tokens = hide(words, chain, sealed, first, partner, cuts)
        for i, (row, digest) in enumerate(zip(tokens, weighed, strict=True)):
            yield Fresh(row.astype("<u8").tobytes(), digest, each[32 * i : 32 * i + 32])

    def _weights(self, served: Served, a: int, b: int) -> dict[str, list[Weight]]:
        assert served.tariff is not None
        return served.tariff.weights(served.grant.lanes, self.layout.unit_ms, a, b)

    def _bill_word(self, grant: Grant, sealing: Sealing, weights: dict[str, list[Weight]], a: int) -> int:
        c = {
            lane: [
                int(np.concatenate(self.c[lane])[one.first - self.start : one.end - self.start].sum())
                for one in steps
            ]
            for lane, steps in weights.items()
        }
        return bill_word(grant, sealing, weights, c, a)

    def revoke(self, grant: Grant) -> None:
        """No tokens any more, and the head says so."""
        del self._served[grant.id]
        data = self.signer.sign(Revocation(self.id, grant.id, self.end))
        self.objects[names.revocation(self.id, grant.id)] = data
        self._revoked.add(grant.id)
        self._put_head()

    def forgets_revocations(self) -> None:
        """The head as an earlier gateway signs it, which names no revoked grants."""
        key = names.head(self.id)
        head = Head.read(self.objects[key], self.signer.public, key)
        self.objects[key] = self.signer.sign(replace(head, revoked=None))

    def truth(self, lane: str, a: int, b: int) -> int:
        """The sum of what was sealed."""
        return sum(self.readings[lane][a - self.start : b - self.start])

    def write(self, folder: Path) -> Path:
        """The objects as a directory bucket, instead of whatever was there."""
        present = {str(path.relative_to(folder)) for path in folder.rglob("*.cose")}
        for key in present - self.objects.keys():
            (folder / key).unlink()
        for key, data in self.objects.items():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_suffix(".new")
            aside.write_bytes(data)
            aside.replace(path)  # a reader may look at the same time
        return folder

    def _put_pages(self, span: Literal["day", "month"]) -> None:
        """The pages of all days or months that have ended since, and the tokens folded with them."""
        while (ends := self.next_period(span, self._paged[span])[1]) <= self.end:
            begin = self.next_period(span, self._paged[span])[0]
            page = self.page(span, begin, ends)
            if page is not None:
                self.objects[names.page(self.id, page.period)] = self.signer.sign(page)
                self._put_so_far(span, page, ends)
            for served in self._served.values():
                first, end = served.windows.complete(begin), min(served.done, served.windows.complete(ends))
                if first < end:
                    self.put_bundle(served.grant.id, first, end, span)
                    self._put_tokens_so_far(served, span, begin, ends)
            self._paged[span] = ends

    def _put_so_far(self, span: str, day: Page, end: int) -> None:
        """The sums of the month up to a day's end, unless the month ends with it."""
        begin, over = self.next_period("month", day.first)
        if span == "day" and end < over and self._paged["month"] == max(begin, self.start):
            page = self.page("month", begin, end)
            if page is not None:
                values = {field.name: getattr(page, field.name) for field in fields(page)}
                so_far = SoFar(**{**values, "period": day.period})
                self.objects[names.so_far(self.id, day.period)] = self.signer.sign(so_far)

    def _put_tokens_so_far(self, served: Served, span: str, day: int, end: int) -> None:
        """The tokens of the month up to the end of the day that begins with unit `day`, as a gateway makes
        them."""
        begin, over = self.next_period("month", day)
        size = served.grant.granularity.size
        first, upto = served.windows.complete(begin), served.windows.complete(end)
        whole = isinstance(size, int) and size % self.step("month") == 0
        ended = served.windows.complete(day) < upto <= served.done
        if span == "day" and end < over and whole and served.grant.kind == "windows" and ended:
            self.put_bundle(served.grant.id, first, upto, so_far=True)

    def next_period(self, span: str, unit: int) -> tuple[int, int]:
        """The UTC day or month that holds a unit."""
        when = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=unit * self.layout.unit_ms)
        begin = when.replace(hour=0, minute=0, second=0, microsecond=0)
        end = begin + timedelta(days=1)
        if span == "month":
            begin = begin.replace(day=1)
            end = (begin + timedelta(days=31)).replace(day=1)
        return tuple(int(at.timestamp() * 1000) // self.layout.unit_ms for at in (begin, end))  # type: ignore[return-value]

    def step(self, span: str) -> int:
        """How many units a page's step has."""
        day = 86_400_000 // self.layout.unit_ms
        dividing = [units for units in range(1, day + 1) if day % units == 0]
        of_day = min(units for units in dividing if units * self.layout.unit_ms >= 60_000)
        if span == "day":
            return of_day
        return min(
            units for units in dividing if units * self.layout.unit_ms >= 900_000 and units % of_day == 0
        )

    def page(self, span: str, begin: int, end: int) -> Page | None:
        """The page of units [begin, end), not signed; None where it has no whole step."""
        step = self.step(span)
        first = max(begin, -(-self.start // step) * step)
        if first >= end:
            return None
        day = datetime.fromtimestamp(begin * self.layout.unit_ms // 1000, UTC)
        if span == "day":
            at = [i for i, run in enumerate(self.runs) if run.first < end and run.end > begin]
            below = [self.chunks[i] for i in at]
        else:
            prefix = f"{names.stream_prefix(self.id)}day/{day:%Y-%m}"
            below = sorted(key for key in self.objects if key.startswith(prefix))
        children = [cose.digest(self.objects[key]) for key in below]
        pages = sorted(
            key for key in self.objects if key.startswith(f"{names.stream_prefix(self.id)}{span}/")
        )
        sums = tuple(
            np.add.reduceat(
                np.concatenate(self.c[lane])[first - self.start : end - self.start],
                np.arange(0, end - first, step),
            )
            .astype("<u8")
            .tobytes()
            for lane in self.lanes
        )
        return Page(
            stream=self.id,
            period=f"{day:%Y-%m-%d}" if span == "day" else f"{day:%Y-%m}",
            step=step,
            first=first,
            count=(end - first) // step,
            sums=sums,
            children=tuple(children),
            previous=cose.digest(self.objects[pages[-1]]) if pages else None,
        )

    def _put_chunk(self, first: int, d: Mapping[str, Sequence[int]]) -> None:
        previous = self.chunks[-1] if self.chunks else names.descriptor(self.id)
        chunk = self.chunk(first, len(self.chunks), cose.digest(self.objects[previous]), d)
        key = names.chunk(self.id, first, self.layout.unit_ms)
        self.objects[key] = self.signer.sign(chunk)
        self.chunks.append(key)
        self.end = chunk.end
        for number, lane in enumerate(self.lanes):
            self.readings[lane].extend(d[lane])
            self.c[lane].append(chunk.c(number))
        self.runs.append(Run(self.incarnation, first, chunk.end))

    def _k_inc(self, incarnation: int) -> bytes:
        return hmac.digest(self._root, incarnation_message(self.id, incarnation), "sha256")


def random_readings(count: int, lanes: Sequence[str] = ("import", "export")) -> dict[str, list[int]]:
    """Readings of either sign, of a size that wraps when they are summed as unsigned."""
    return {lane: [int.from_bytes(os.urandom(5), "big", signed=True) for _ in range(count)] for lane in lanes}
