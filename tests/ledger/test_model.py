"""The ledger beside a plain model of it, through reopening and crashes between any two operations."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from gateway.chain.layout import Run
from gateway.chain.page import SPANS, Span
from gateway.errors import LedgerError
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import (
    AuditEntry,
    ChunkEntry,
    Doubt,
    GrantRecord,
    ObjectKind,
    Outgoing,
    PageEntry,
    Position,
    Progress,
    Sealed,
    StoreChain,
    Stream,
)
from gateway.wire import names
from tests.ledger.values import LANES, LAYOUT, chunk, copy_of, descriptor, grant, sealed, stream
from tests.support.home import MEMORY

T = TypeVar("T")
KINDS: tuple[ObjectKind, ...] = get_args(ObjectKind)
U64 = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 2**63 - 1, 2**63, 2**64 - 1]))


@dataclass
class Modelled:
    """A stream as it should be."""

    stream: Stream
    state: bytes
    open: list[Sealed] = field(default_factory=list)
    chunks: list[ChunkEntry] = field(default_factory=list)
    c: list[bytes | None] = field(default_factory=list)  # the chunks' ciphertexts, while they are kept
    pages: dict[str, PageEntry] = field(default_factory=dict)
    doubt: Doubt | None = None
    doubt_knew: int = 0  # the last incarnation when it was noticed

    def paged(self, span: Span) -> list[PageEntry]:
        """The pages of days or months, in order."""
        return [self.pages[name] for name in sorted(self.pages) if self.pages[name].span == span]

    @property
    def chunked(self) -> int:
        return self.chunks[-1].end if self.chunks else self.stream.start

    @property
    def next(self) -> int:
        return self.open[-1].end if self.open else self.chunked

    def parts(self, incarnation: int, count: int) -> list[Sealed]:
        """The next units, cut at link borders as the sealer cuts them."""
        return [sealed(incarnation, x, y - x) for _, x, y in LAYOUT.split(self.next, self.next + count)]


def same(found: list[Sealed], right: list[Sealed]) -> bool:
    def plain(parts: list[Sealed]) -> list[tuple[int, int, bytes]]:
        return [(part.incarnation, part.first, part.to_bytes()) for part in parts]

    return plain(found) == plain(right)


class LedgerMachine(RuleBasedStateMachine):
    """Each rule does one thing to both; the invariants compare all that can be asked."""

    streams = Bundle("streams")
    grants = Bundle("grants")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-", dir=MEMORY))
        self.files = 0
        self.path = self.folder / "0" / "ledger.sqlite"
        self.runner = asyncio.Runner()
        self.ledger = self.do(Ledger.open(self.path))
        self.incarnations: list[int] = []
        self.noted: int | None = None
        self.models: dict[bytes, Modelled] = {}
        self.outbox: list[tuple[bytes, Outgoing]] = []
        self.heads: dict[bytes, bytes] = {}  # those that were confirmed
        self.sent: list[tuple[bytes, Outgoing, int]] = []  # what was confirmed else, and when
        self.records: dict[bytes, GrantRecord] = {}
        self.audit: list[AuditEntry] = []

    def teardown(self) -> None:
        self.do(self.ledger.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def enqueue(self, of: bytes, *objects: Outgoing) -> None:
        for item in objects:
            if item.kind == "head":
                self.outbox = [entry for entry in self.outbox if entry[1].key != item.key]
            self.outbox.append((of, item))

    # --- what the gateway does

    @initialize(value=U64)
    def first_incarnation(self, value: int) -> None:
        self.begin_incarnation(value)

    @rule(value=U64)
    def begin_incarnation(self, value: int) -> None:
        if value in self.incarnations:
            with pytest.raises(LedgerError, match=f"incarnation {value} was drawn before"):
                self.do(self.ledger.begin_incarnation(value, 1))
        else:
            self.do(self.ledger.begin_incarnation(value, 1))
            self.incarnations.append(value)

    @rule(
        ahead=st.integers(0, 4),
        value=U64,
        again=st.booleans(),
        second=st.integers(0, 300),
        trusted=st.booleans(),
    )
    def note_counter(self, ahead: int, value: int, again: bool, second: int, trusted: bool) -> None:
        """By more than one beyond the last note, every stream's units from its end on are in doubt."""
        before = self.noted
        counter = value if before is None or not again else min(before + ahead, 2**64 - 1)
        now_ms = second * LAYOUT.unit_ms
        self.do(self.ledger.note_counter(counter, now_ms, trusted=trusted))
        self.noted = counter
        if before is None or counter <= before + 1:
            return
        for model in self.models.values():
            end = max(model.next, second + 1) if trusted else None
            old = model.doubt or Doubt(model.next, None, now_ms)
            # A second copy's life, once shown, says nothing of the first one's.
            model.doubt_knew = 2**64 - 1 if model.doubt else self.incarnations[-1]
            model.doubt = old._replace(end=end)
        (line,) = self.do(self.ledger.audit_log(1))
        assert (line.at_ms, line.what) == (now_ms, "rollback")
        start = f"the TPM drew incarnation {counter}, but the ledger's last is {self.incarnations[-1]}: "
        assert line.detail.startswith(start)
        self.audit.append(line)

    @rule(id_=streams, end=st.integers(80, 300))
    def end_doubt_at(self, id_: bytes, end: int) -> None:
        model = self.models[id_]
        self.do(self.ledger.end_doubt_at(model.stream, end))
        if model.doubt is not None and model.doubt.end is None:
            model.doubt = model.doubt._replace(end=end)

    @rule()
    def confirm_doubts(self) -> None:
        self.audit.append(AuditEntry(6, "rollback", "confirmed"))
        self.do(self.ledger.confirm_doubts(self.audit[-1]))
        for model in self.models.values():
            model.doubt = None

    @rule(target=streams, count=st.integers(1, 20), link=st.integers(0, 5))
    def add_stream(self, count: int, link: int) -> bytes:
        new = Modelled(stream(len(self.models) + 1, link * LAYOUT.link_units), b"first")
        new.open = new.parts(self.incarnations[-1], count)
        self.do(self.ledger.add_stream(new.stream, descriptor(new.stream), new.open, new.state))
        self.models[new.stream.id] = new
        self.enqueue(new.stream.id, descriptor(new.stream))
        return new.stream.id

    @rule(id_=streams)
    def the_same_stream_does_not_begin_twice(self, id_: bytes) -> None:
        of = self.models[id_].stream
        for again in (of, replace(of, id=b"\xee" * 16)):  # nor does a second one of the same meter
            with pytest.raises(LedgerError, match="UNIQUE"):
                self.do(self.ledger.add_stream(again, descriptor(again), [], b""))

    @rule(id_=streams, count=st.integers(1, 25), state=st.binary(max_size=8))
    def append(self, id_: bytes, count: int, state: bytes) -> None:
        model = self.models[id_]
        parts = model.parts(self.incarnations[-1], count)
        self.do(self.ledger.append(model.stream, parts, state))
        model.open += parts
        model.state = state

    @rule(id_=streams, off=st.integers(-30, 30).filter(bool), count=st.integers(1, 5))
    def units_are_never_lost_or_doubled(self, id_: bytes, off: int, count: int) -> None:
        model = self.models[id_]
        good = sealed(self.incarnations[-1], model.next, 2)
        bad = sealed(self.incarnations[-1], max(0, good.end + off), count)
        with pytest.raises(ValueError, match="do not follow the last sealed unit"):
            self.do(self.ledger.append(model.stream, [good, bad], b"never"))

    @rule(id_=streams, value=U64)
    def nothing_is_sealed_before_its_incarnation_is_durable(self, id_: bytes, value: int) -> None:
        if value not in self.incarnations:
            model = self.models[id_]
            with pytest.raises(LedgerError, match="FOREIGN KEY"):
                self.do(self.ledger.append(model.stream, [sealed(value, model.next, 1)], b"never"))

    @rule(id_=streams, at_most=st.integers(1, LAYOUT.link_units))
    def close_chunk(self, id_: bytes, at_most: int) -> None:
        """Up to `at_most` units of one link and incarnation become a chunk, whatever parts they came in."""
        model = self.models[id_]
        if not model.open:
            return
        first = model.open[0]
        end = min(first.first + at_most, (LAYOUT.link(first.first) + 1) * LAYOUT.link_units)
        taken: list[Sealed] = []
        left: list[Sealed] = []
        rest = None
        for part in model.open:
            if not left and part.incarnation == first.incarnation and part.first < end:
                taken.append(part.cut(part.first, end))
                rest = part.cut(end, part.end) if part.end > end else None
            else:
                left.append(part)
        whole = sealed(first.incarnation, first.first, taken[-1].end - first.first)
        entry, data = chunk(model.stream, len(model.chunks), whole)
        self.do(self.ledger.close_chunk(model.stream, entry, whole, rest, data))
        model.chunks.append(entry)
        model.c.append(whole.to_bytes())
        model.open = left if rest is None else [rest, *left]
        self.enqueue(id_, data)

    @rule(id_=streams, day=st.integers(1, 3), month=st.booleans(), size=st.integers(1, 60))
    def add_page(self, id_: bytes, day: int, month: bool, size: int) -> None:
        """Of any period and end: the ledger takes what the pager makes, each period once."""
        model = self.models[id_]
        period = f"2026-0{day}" if month else f"2026-01-0{day}"
        new = page(day, model.stream.start + size, period, None if month else bytes(range(16)))
        objects = [
            Outgoing("tokens", names.bundle(id_, bytes(16), day, "day"), b"t"),
            Outgoing("page", names.page(id_, period), b"p"),
        ]
        if period in model.pages:
            with pytest.raises(LedgerError, match="UNIQUE"):
                self.do(self.ledger.add_page(model.stream, new, objects))
            return
        self.do(self.ledger.add_page(model.stream, new, objects))
        self.enqueue(id_, *objects)
        model.pages[period] = new
        if month:
            model.pages = {
                name: replace(one, c=None) if one.end <= new.first else one
                for name, one in model.pages.items()
            }
        else:
            model.c = [
                None if one.end <= new.end else c for one, c in zip(model.chunks, model.c, strict=True)
            ]

    @rule(
        id_=streams,
        kind=st.sampled_from([kind for kind in KINDS if kind != "head"]),
        name=st.sampled_from(["a", "b"]),
        data=st.binary(max_size=3),
        head=st.booleans(),
    )
    def enqueue_objects(self, id_: bytes, kind: ObjectKind, name: str, data: bytes, head: bool) -> None:
        """Under any keys: what an object is, its kind alone says."""
        objects = [
            Outgoing(kind, f"{names.stream_prefix(id_)}x/{name}", data),
            Outgoing(kind, f"{names.chunks(id_)}2026-01-01/{name}", data),
        ]
        if head:  # the second replaces the first, and both one that may wait already
            first, second = (Outgoing("head", names.head(id_), bytes_) for bytes_ in (b"1", data))
            objects = [first, *objects, second]
        self.do(self.ledger.enqueue(id_, objects))
        self.enqueue(id_, *objects)

    @rule(most=st.integers(0, 6), others=st.integers(0, 2), sent_ms=st.integers(0, 2**40))
    def confirm(self, most: int, others: int, sent_ms: int) -> None:
        """`others` are in the store with other bytes, which stay: nothing is kept of them."""
        ids = [entry.id for entry in self.do(self.ledger.outbox(most))]
        for _ in range(2):  # once more changes nothing
            self.do(self.ledger.confirm(ids[others:], sent_ms, ids[:others]))
        sent = self.outbox[others:most]
        self.heads |= {of: item.data for of, item in sent if item.kind == "head"}
        self.sent += [(of, item, sent_ms) for of, item in sent if item.kind != "head"]
        del self.outbox[:most]

    @rule(id_=streams, some=st.sets(st.integers(0, 9)), lost=st.sets(st.integers(0, 9)))
    def look(self, id_: bytes, some: set[int], lost: set[int]) -> None:
        """Some that are kept are found, and others are lost and sent again."""
        of = self.models[id_].stream
        kept = self.do(self.ledger.kept(of))
        mine = [entry for entry in self.sent if entry[0] == id_]
        found, gone = ([n for n in one if n < len(kept)] for one in (some - lost, sorted(lost)))
        self.do(self.ledger.let_go([kept[n].id for n in found]))
        self.audit.append(AuditEntry(8, "store", "objects are gone"))
        self.do(self.ledger.send_again([kept[n].id for n in gone], self.audit[-1]))
        self.enqueue(id_, *(mine[n][1] for n in gone))
        left = [entry for n, entry in enumerate(mine) if n not in {*found, *gone}]
        self.sent = [entry for entry in self.sent if entry[0] != id_] + left

    @rule(id_=streams, found=st.none() | st.binary(max_size=3))
    def head_went_back(self, id_: bytes, found: bytes | None) -> None:
        log = AuditEntry(4, "store", "an older head")
        self.do(self.ledger.head_went_back(self.models[id_].stream, found, log))
        self.heads.pop(id_, None)
        if found is not None:
            self.heads[id_] = found
        self.audit.append(log)

    @rule(target=grants, id_=streams)
    def adopt_grant(self, id_: bytes) -> bytes:
        record, _, log = grant(self.models[id_].stream, len(self.records) + 1)
        record = replace(record, key=b"")
        self.do(self.ledger.adopt_grants([(record, log)]))
        self.records[record.id] = record
        self.audit.append(log)
        return record.id

    @rule(target=grants, id_=streams)
    def add_grant(self, id_: bytes) -> bytes:
        record, outgoing, log = grant(self.models[id_].stream, len(self.records) + 1)
        self.do(self.ledger.add_grants([(record, outgoing, log)]))
        self.records[record.id] = record
        self.enqueue(id_, outgoing)
        self.audit.append(log)
        return record.id

    @rule(id_=grants, windows=st.integers(1, 5))
    def advance_grant(self, id_: bytes, windows: int) -> None:
        record = self.records[id_]
        bundle = Outgoing("tokens", names.bundle(record.stream, id_, record.next_window), bytes(windows))
        progress = Progress(record.next_window + windows, tuple(range(windows)))
        self.do(self.ledger.advance_grant(record, progress, [bundle]))
        self.records[id_] = replace(record, next_window=progress.next_window, edges=progress.edges)
        self.enqueue(record.stream, bundle)

    @rule(id_=consumes(grants), unit=st.integers(0, 2**62))
    def revoke_grant(self, id_: bytes, unit: int) -> None:
        record = self.records[id_]
        outgoing = Outgoing("revocation", names.revocation(record.stream, id_), b"r")
        log = AuditEntry(2, "revocation", "x")
        self.do(self.ledger.revoke_grant(record, unit, outgoing, log))
        self.records[id_] = replace(record, revoked_from=unit)
        self.enqueue(record.stream, outgoing)
        self.audit.append(log)

    @rule(
        id_=streams,
        keep=st.integers(0, 9),
        sizes=st.lists(st.integers(1, 8), max_size=4),
        day=st.integers(1, 3),
        state=st.binary(),
    )
    def take_over(self, id_: bytes, keep: int, sizes: list[int], day: int, state: bytes) -> None:
        """The store's chain after chunk `keep`, and its page of a day: refused where the ledger's page of
        that day stays, since a period ends once and a page that stays has been published."""
        model = self.models[id_]
        chunks = model.chunks[:keep]
        entries: list[ChunkEntry] = []
        wholes: list[Sealed] = []
        at = chunks[-1].end if chunks else model.stream.start
        for seq, size in enumerate(sizes, len(chunks)):
            wholes.append(sealed(2**64 - 1 - seq, at, size))
            entries.append(chunk(model.stream, seq, wholes[-1])[0])
            at += size
        pages_end = model.stream.start + 40
        adopted = page(1, pages_end + 1, f"2026-01-0{day}", bytes(16))
        pages = {name: one for name, one in model.pages.items() if one.end <= pages_end}
        served = {r.id: Progress(1, (80, 90)) for r in self.records.values() if r.stream == id_}
        log = AuditEntry(3, "rollback", "taken over")
        chain = StoreChain(
            len(chunks),
            entries,
            pages_end,
            [adopted],
            wholes[1:],
            state,
            served,
            dict.fromkeys(served, 7),
        )
        if adopted.period in pages:
            with pytest.raises(LedgerError, match="UNIQUE"):
                self.do(self.ledger.take_over(model.stream, chain, log))
            return
        self.do(self.ledger.take_over(model.stream, chain, log))
        model.chunks = chunks + entries
        model.c = model.c[: len(chunks)] + [None, *(whole.to_bytes() for whole in wholes[1:])][: len(wholes)]
        model.pages = {**pages, adopted.period: adopted}
        model.open, model.state = [], state
        if model.doubt is not None:
            latest = max((entry.incarnation for entry in entries), default=0)
            if model.doubt_knew < 2**64 - 1:
                first = max(model.doubt.first, model.next)
                reached = model.doubt.end is not None and model.doubt.end <= model.next
                over = latest > model.doubt_knew or reached
                model.doubt = None if over else model.doubt._replace(first=first)
        stay = ("grant", "revocation", "descriptor")
        self.outbox = [entry for entry in self.outbox if entry[0] != id_ or entry[1].kind in stay]
        self.sent = [entry for entry in self.sent if entry[0] != id_ or entry[1].kind in stay]
        self.records |= {
            grant_: replace(self.records[grant_], next_window=1, edges=(80, 90), revoked_from=7)
            for grant_ in served
        }
        self.audit.append(log)

    @rule()
    def write_the_log(self) -> None:
        self.audit.append(AuditEntry(len(self.audit), "meter", f"line {len(self.audit)}"))
        self.do(self.ledger.audit(self.audit[-1]))
        self.do(self.ledger.audit_once(self.audit[-1]))  # changes nothing, at whatever time
        self.do(self.ledger.audit_once(self.audit[-1]._replace(at_ms=9)))

    @rule()
    def write_the_log_once(self) -> None:
        self.audit.append(AuditEntry(5, "grant", f"line {len(self.audit)}"))
        self.do(self.ledger.audit_once(self.audit[-1]))

    # --- what happens to it

    @rule()
    def reopen(self) -> None:
        self.do(self.ledger.close())
        self.ledger = self.do(Ledger.open(self.path))

    @rule()
    def crash(self) -> None:
        self.files += 1
        path = copy_of(self.path, self.folder / str(self.files))
        self.do(self.ledger.close())
        shutil.rmtree(self.path.parent)
        self.path = path
        self.ledger = self.do(Ledger.open(self.path))

    # --- what must hold

    @invariant()
    def says_the_same(self) -> None:
        last = self.incarnations[-1] if self.incarnations else None
        assert self.do(self.ledger.last_incarnation()) == last
        assert self.do(self.ledger.noted_counter()) == self.noted
        for model in self.models.values():
            assert self.do(self.ledger.doubt(model.stream)) == model.doubt
        streams = self.do(self.ledger.streams())
        assert streams == sorted((model.stream for model in self.models.values()), key=lambda s: s.meter)
        found = [(entry.stream, entry.object) for entry in self.do(self.ledger.outbox(1000))]
        assert found == self.outbox
        assert self.do(self.ledger.backlog()) == len(self.outbox)
        assert self.do(self.ledger.audit_log(1000)) == self.audit
        assert self.do(self.ledger.audit_log(2)) == self.audit[-2:]
        grants = {record.id: record for record in self.do(self.ledger.grants())}
        assert grants == self.records
        for id_, model in self.models.items():
            kept = self.do(self.ledger.kept(model.stream))
            data = self.do(self.ledger.kept_data([one.id for one in kept]))
            mine = [(item, sent_ms) for of, item, sent_ms in self.sent if of == id_]
            assert [(item, one.sent_ms) for one, item in zip(kept, data, strict=True)] == mine
            assert [one.key for one in kept] == [item.key for item, _ in mine]

    @invariant()
    def every_stream_is_dense_and_each_unit_in_it_once(self) -> None:
        for id_, model in self.models.items():
            position = self.do(self.ledger.position(model.stream))
            assert position == Position(model.chunks[-1] if model.chunks else None, model.next)
            opened = self.do(self.ledger.open_units(model.stream))
            assert same(opened, model.open)
            assert self.do(self.ledger.state(id_)) == model.state
            assert self.do(self.ledger.confirmed_head(model.stream)) == self.heads.get(id_)
            runs = self.do(self.ledger.runs(model.stream, model.stream.start, 2**62))
            covered = [(run.incarnation, unit) for run in runs for unit in range(run.first, run.end)] + [
                (part.incarnation, unit) for part in opened for unit in range(part.first, part.end)
            ]
            assert [unit for _, unit in covered] == list(range(model.stream.start, model.next))
            assert runs == merged(model.chunks)
            for seq, entry in enumerate(model.chunks):
                assert self.do(self.ledger.chunk_at(model.stream, seq)) == entry
                assert self.do(self.ledger.runs(model.stream, entry.first, entry.end)) == merged([entry])
            for entry, c in zip(model.chunks, model.c, strict=True):
                assert self.kept(model.stream, entry) == c
            for span in SPANS:
                last = self.do(self.ledger.last_page(model.stream, span))
                assert last == (replace(pages[-1], c=None) if (pages := model.paged(span)) else None)
            assert same_pages(self.do(self.ledger.day_pages(model.stream, 0, 2**62)), model.paged("day"))
            for seq in (-1, len(model.chunks)):
                assert self.do(self.ledger.chunk_at(model.stream, seq)) is None
            mine = [item for of, item in self.outbox if of == id_ and item.key.startswith(names.chunks(id_))]
            assert self.do(self.ledger.waiting(model.stream, names.chunks(id_))) == mine
            of_stream = {record.id for record in self.records.values() if record.stream == id_}
            assert {record.id for record in self.do(self.ledger.grants(id_))} == of_stream

    @precondition(lambda self: any(model.chunks for model in self.models.values()))
    @rule(data=st.data())
    def ask_for_some_runs(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from([m for m in self.models.values() if m.chunks]))
        a = data.draw(st.integers(model.stream.start, model.chunked - 1))
        b = data.draw(st.integers(a + 1, model.chunked))
        inside = [entry for entry in model.chunks if entry.end > a and entry.first < b]
        assert self.do(self.ledger.runs(model.stream, a, b)) == merged(inside)
        assert self.do(self.ledger.chunks(model.stream, a, b)) == inside
        pages = [one for one in model.paged("day") if one.first >= a and one.end <= b]
        assert same_pages(self.do(self.ledger.day_pages(model.stream, a, b)), pages)

    def kept(self, of: Stream, entry: ChunkEntry) -> bytes | None:
        """The ciphertexts that the ledger keeps of a chunk, if it still does."""
        try:
            return self.do(self.ledger.ciphertexts(of, entry)).tobytes()
        except LedgerError:
            return None


def page(number: int, end: int, period: str, sums: bytes | None) -> PageEntry:
    """A day's page with its sums, one step a lane, or a month's without; they are not looked into."""
    span: Span = "month" if sums is None else "day"
    c = None if sums is None else np.frombuffer(sums, "<u8").reshape(len(LANES), -1)
    return PageEntry(span, period, 1, end - 1, end, bytes([number]) * 32, c)


def same_pages(found: list[PageEntry], right: list[PageEntry]) -> bool:
    def plain(pages: list[PageEntry]) -> list[tuple[PageEntry, bytes | None]]:
        return [(replace(one, c=None), None if one.c is None else one.c.tobytes()) for one in pages]

    return plain(found) == plain(right)


def merged(chunks: list[ChunkEntry]) -> list[Run]:
    """The chunks' runs; neighbours of one incarnation are one."""
    runs: list[Run] = []
    for entry in chunks:
        if runs and runs[-1].incarnation == entry.incarnation:
            runs[-1] = Run(entry.incarnation, runs[-1].first, entry.end)
        else:
            runs.append(Run(entry.incarnation, entry.first, entry.end))
    return runs


TestLedger = pytest.mark.slow(LedgerMachine.TestCase)
TestLedger.settings = settings(max_examples=25, stateful_step_count=40)


@pytest.mark.parametrize(("size", "refused"), [(1, True), (40, True), (41, False)])
def test_a_take_over_hands_in_no_page_that_stays(size: int, refused: bool) -> None:
    """A page that ends by unit 40 stays, and with it nothing changes; a later one gives way."""
    machine = LedgerMachine()
    try:
        machine.first_incarnation(0)
        machine.add_stream(count=1, link=0)
        (id_,) = machine.models
        machine.add_page(id_, day=2, month=False, size=size)
        before = machine.models[id_].pages["2026-01-02"]
        machine.take_over(id_, keep=0, sizes=[], day=2, state=b"")
        assert (machine.models[id_].pages["2026-01-02"] == before) == refused
        machine.says_the_same()
        machine.every_stream_is_dense_and_each_unit_in_it_once()
    finally:
        machine.teardown()
