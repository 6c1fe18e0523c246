"""The ledger's operations, each one transaction, with the rules of PROTOCOL.md that they enforce.

Units are appended in order and without holes, and leave `sealed` only for a chunk. A chunk's bytes enter
the outbox in the transaction that records the chunk, and leave it only once the store has confirmed them.
The SQL of an operation is a function in the file of its table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from gateway.chain.layout import Run
from gateway.chain.page import Span
from gateway.chain.seal import U64
from gateway.ledger import (
    audit,
    chunks,
    commands,
    doubts,
    follows,
    grants,
    kept,
    outbox,
    pages,
    rollback,
    streams,
)
from gateway.ledger.database import Database, integrity
from gateway.ledger.records import (
    AuditEntry,
    ChunkEntry,
    CommandChange,
    CommandRecord,
    Doubt,
    FollowedPeriod,
    FollowRecord,
    GrantRecord,
    Kept,
    Outgoing,
    PageEntry,
    Position,
    PriceRecord,
    Progress,
    Queued,
    Sealed,
    StoreChain,
    Stream,
)


class Ledger:
    """The open ledger of one gateway. LedgerError, with nothing changed, where a transaction fails."""

    def __init__(self, database: Database) -> None:
        self._db = database

    @classmethod
    async def open(cls, path: Path, *, reading: bool = False) -> Ledger:
        """Open the file at `path`, created or migrated as needed; `reading` opens it read-only."""
        database = Database(path)
        await database.open(reading=reading)
        return cls(database)

    async def close(self) -> None:
        """Close the file. Every completed operation is durable already."""
        await self._db.close()

    @property
    def errors(self) -> int:
        """How many transactions have failed since it was opened."""
        return self._db.errors

    # --- incarnations and streams

    async def last_incarnation(self) -> int | None:
        """The last incarnation drawn, or None before the first."""
        return await self._db.do(streams.last_incarnation)

    async def starts(self) -> int:
        """How many incarnations were drawn: one for each start of the gateway, and after each take-over."""
        return await self._db.do(streams.starts)

    async def begin_incarnation(self, value: int, at_ms: int) -> None:
        """Record an incarnation before anything is sealed under it; LedgerError for one drawn before."""
        await self._db.do(streams.begin_incarnation, value, at_ms)

    async def note_counter(self, counter: int, now_ms: int, *, trusted: bool) -> AuditEntry | None:
        """Note that the TPM's counter is about to be stepped from `counter`.

        Where it stands at more than one beyond the last note, this ledger was rolled back or copied: then
        the units of each stream from its end to `now_ms` are in doubt, and a line of the audit log, which is
        returned, says so. `now_ms` bounds them only if the clock is `trusted`.
        """
        return await self._db.do(partial(doubts.note, trusted=trusted), counter, now_ms)

    async def noted_counter(self) -> int | None:
        """The value from which the TPM's counter was to be stepped last; None before the first step."""
        return await self._db.do(doubts.noted_counter)

    async def streams(self) -> list[Stream]:
        """All streams, sorted by meter name."""
        return await self._db.do(streams.by_meter)

    async def add_stream(
        self, stream: Stream, descriptor: Outgoing, sealed: Sequence[Sealed], state: bytes
    ) -> None:
        """Record a new stream with its first sealed units; its descriptor enters the outbox."""
        await self._db.do(streams.begin, stream, descriptor, sealed, state)

    async def state(self, stream: bytes) -> bytes:
        """The sampler's state after the last sealed unit, as the vault sealed it."""
        return await self._db.do(streams.state, stream)

    async def save_state(self, stream: Stream, state: bytes, audit: AuditEntry | None = None) -> None:
        """Record the sampler's state while no unit is sealed: readings are held, or their owner has decided,
        which `audit` says."""
        await self._db.do(streams.save_state, stream, state, audit)

    # --- sealed units and chunks

    async def position(self, stream: Stream) -> Position:
        """The last chunk of a stream, and the unit to seal next."""
        return await self._db.do(chunks.position, stream)

    async def append(self, stream: Stream, sealed: Sequence[Sealed], state: bytes) -> None:
        """Record sealed units, and the sampler's state after them.

        ValueError for a gap, or a unit that was sealed before: these are bugs of the caller.
        """
        await self._db.do(streams.append, stream, sealed, state)

    async def open_units(self, stream: Stream) -> list[Sealed]:
        """The sealed units after the last chunk, in order."""
        return await self._db.do(chunks.open_units, stream)

    async def close_chunk(
        self, stream: Stream, chunk: ChunkEntry, whole: Sealed, rest: Sealed | None, data: Outgoing
    ) -> None:
        """Turn the first open units, `whole`, into a chunk; its object, `data`, enters the outbox.

        `rest` is what remains of the part that the chunk's end cuts, if it cuts one. If the stream has
        pages, the ciphertexts are kept until the pages of the chunk's days are made.
        """
        await self._db.do(chunks.close, stream, chunk, whole, rest, data)

    async def runs(self, stream: Stream, first: int, end: int) -> list[Run]:
        """The incarnations of the chunks that hold some of the units [first, end), as runs of units."""
        return await self._db.do(chunks.runs, stream, first, end)

    async def chunk_at(self, stream: Stream, seq: int) -> ChunkEntry | None:
        """The chunk with number `seq`, or None."""
        return await self._db.do(chunks.at, stream, seq)

    async def chunks(self, stream: Stream, first: int, end: int) -> list[ChunkEntry]:
        """The chunks that hold some of the units [first, end), in order."""
        return await self._db.do(chunks.overlapping, stream, first, end)

    async def ciphertexts(self, stream: Stream, chunk: ChunkEntry) -> U64:
        """The ciphertexts c of a chunk, an array [lane, unit]; LedgerError once its days' pages are made."""
        return await self._db.do(chunks.ciphertexts, stream, chunk)

    # --- pages

    async def last_page(self, stream: Stream, span: Span) -> PageEntry | None:
        """The last page of a day, or of a month, without its sums; None before the first."""
        return await self._db.do(pages.last, stream, span)

    async def day_pages(self, stream: Stream, first: int, end: int) -> list[PageEntry]:
        """The day pages that lie within the units [first, end), in order."""
        return await self._db.do(pages.days, stream, first, end)

    async def add_page(self, stream: Stream, page: PageEntry, objects: Sequence[Outgoing]) -> None:
        """Record a page; `objects` (the tokens folded with it, then the page) enter the outbox.

        What it was made of and no later page needs is dropped: a day's ciphertexts, or the sums of a
        month's days. LedgerError for a period that has a page already.
        """
        await self._db.do(pages.add, stream, page, objects)

    # --- the outbox

    async def enqueue(self, stream: bytes, objects: Sequence[Outgoing]) -> None:
        """Append objects to the outbox, in order; a head replaces one that waits already."""
        await self._db.do(outbox.enqueue, stream, objects)

    async def outbox(self, most: int) -> list[Queued]:
        """The next objects to send, at most `most`, in order."""
        return await self._db.do(outbox.first, most)

    async def backlog(self) -> int:
        """The number of objects in the outbox."""
        return await self._db.do(outbox.count)

    async def confirm(self, ids: Sequence[int], sent_ms: int, others: Sequence[int] = ()) -> None:
        """Remove objects that the store has confirmed, by their ids; ids no longer there are ignored. A
        stream's last head is kept as confirmed; other objects are kept as sent at `sent_ms`. `others` leave
        too: in their place the store has objects that stay."""
        await self._db.do(outbox.confirm, ids, sent_ms, others)

    async def confirmed_head(self, stream: Stream) -> bytes | None:
        """The last head that the store confirmed to this ledger, or None."""
        return await self._db.do(outbox.confirmed_head, stream)

    async def head_went_back(self, stream: Stream, found: bytes | None, audit: AuditEntry) -> None:
        """Record that the store's head is `found`, an older one than it had confirmed, or none."""
        await self._db.do(outbox.head_went_back, stream, found, audit)

    async def waiting(self, stream: Stream, prefix: str) -> list[Outgoing]:
        """A stream's objects in the outbox whose keys begin with `prefix`, in order."""
        return await self._db.do(outbox.waiting, stream, prefix)

    async def unsent(self, key: str) -> bytes | None:
        """The object in the outbox that goes to `key`, the newest of several; None where there is none."""
        return await self._db.do(outbox.unsent, key)

    async def unsent_keys(self, prefix: str, after: str, most: int) -> list[str]:
        """The keys in the outbox that begin with `prefix` and come after `after`, at most `most`, each once,
        in their order."""
        return await self._db.do(outbox.unsent_keys, prefix, after, most)

    # --- what was sent

    async def kept(self, stream: Stream) -> list[Kept]:
        """A stream's objects that were confirmed and are kept, in the order in which they left."""
        return await self._db.do(kept.of, stream)

    async def kept_data(self, ids: Sequence[int]) -> list[Outgoing]:
        """Kept objects, by their ids; ids no longer there are ignored."""
        return await self._db.do(kept.data, ids)

    async def sent(self, stream: Stream, key: str) -> bytes | None:
        """The kept object of a stream that was sent to `key` last; None where none is kept."""
        return await self._db.do(kept.sent, stream, key)

    async def last_kept_day(self, stream: Stream) -> int | None:
        """The id of the last kept page of a day, or None."""
        return await self._db.do(kept.last_day, stream)

    async def look_due(self, stream: Stream, now_ms: int) -> bool:
        """Whether a stream's kept objects are to be looked for: once the page of another day is confirmed,
        and a day after the last look, or after the first was kept."""
        return await self._db.do(kept.due, stream, now_ms)

    async def looked(self, stream: Stream, last: int, at_ms: int) -> None:
        """Record that a stream's kept objects, the last of which was `last`, have all been looked for."""
        await self._db.do(kept.looked, stream, last, at_ms)

    async def let_go(self, ids: Sequence[int]) -> None:
        """Drop kept objects: the store has them."""
        await self._db.do(kept.let_go, ids)

    async def send_again(self, ids: Sequence[int], audit: AuditEntry) -> None:
        """Put kept objects, which the store has lost, at the end of the outbox, byte for byte."""
        await self._db.do(kept.send_again, ids, audit)

    # --- grants

    async def grants(self, stream: bytes | None = None) -> list[GrantRecord]:
        """All grants, or those of one stream."""
        return await self._db.do(grants.made, stream)

    async def revoked(self, stream: Stream) -> list[bytes]:
        """The ids of a stream's revoked grants, rising."""
        return await self._db.do(grants.revoked, stream)

    async def add_grants(self, new: Sequence[tuple[GrantRecord, Outgoing, AuditEntry]]) -> None:
        """Record grants, all or none; their objects enter the outbox, and the decisions the audit log."""
        await self._db.do(grants.add, new)

    async def adopt_grants(self, found: Sequence[tuple[GrantRecord, AuditEntry]]) -> None:
        """Record grants that the store already holds, all or none, and a line of the audit log for each."""
        await self._db.do(grants.adopt, found)

    async def advance_grant(
        self, grant: GrantRecord, progress: Progress, bundles: Sequence[Outgoing]
    ) -> None:
        """Record how far a grant is served now; `bundles`, the new tokens, enter the outbox."""
        await self._db.do(grants.advance, grant, progress, bundles)

    async def revoke_grant(
        self, grant: GrantRecord, from_unit: int, revocation: Outgoing, audit: AuditEntry
    ) -> None:
        """Record that a grant opens nothing from `from_unit` on; the revocation enters the outbox."""
        await self._db.do(grants.revoke, grant, from_unit, revocation, audit)

    # --- standing decisions

    async def follows(self) -> list[FollowRecord]:
        """All standing decisions to grant the bills of a price series, ended ones too, the earliest first."""
        return await self._db.do(follows.made)

    async def add_follow(self, record: FollowRecord, audit: AuditEntry) -> None:
        """Record a standing decision."""
        await self._db.do(follows.add, record, audit)

    async def cover(self, follow: bytes, findings: Mapping[str, int], audit: AuditEntry) -> None:
        """Record that a decision covers these findings too; of one kind the less harmless counts."""
        await self._db.do(follows.cover, follow, findings, audit)

    async def end_follow(self, follow: bytes, at_ms: int, audit: AuditEntry) -> None:
        """Record that a decision stands no longer; of one that has ended nothing changes."""
        await self._db.do(follows.end, follow, at_ms, audit)

    async def followed(self) -> list[FollowedPeriod]:
        """The periods that have their grants, in order of time."""
        return await self._db.do(follows.periods)

    async def add_followed(
        self,
        follow: bytes,
        period: FollowedPeriod,
        new: Sequence[tuple[GrantRecord, Outgoing, AuditEntry]],
    ) -> None:
        """Record the grant of a period, as `add_grants` does, and that the period has it. LedgerError, with
        nothing changed, where it has one already, and where the decision stands no longer."""
        await self._db.do(follows.add_grant, follow, period, new)

    async def add_price(self, price: PriceRecord) -> None:
        """Record a price series, unless its provider's serial is recorded with its bytes."""
        await self._db.do(follows.add_price, price)

    async def prices(self, provider: bytes) -> list[PriceRecord]:
        """The price series of a provider, by serial."""
        return await self._db.do(follows.prices, provider)

    async def price(self, provider: bytes, serial: int) -> bytes | None:
        """The bytes of the provider's series of this serial; None where they are not kept."""
        return await self._db.do(follows.price, provider, serial)

    async def trim_prices(self, provider: bytes, needed_ms: int, known_ms: int) -> None:
        """Drop the bytes of the provider's series that end before `needed_ms`, and the records of those of
        them that begin before `known_ms`, Unix ms."""
        await self._db.do(follows.trim_prices, provider, needed_ms, known_ms)

    async def drop_prices(self) -> None:
        """Drop the price series of providers whose prices no standing decision follows."""
        await self._db.do(follows.drop_prices)

    # --- units in doubt

    async def doubt(self, stream: Stream) -> Doubt | None:
        """The units of a stream that another copy of this ledger may have sealed, or None."""
        return await self._db.do(doubts.of, stream.id)

    async def end_doubt_at(self, stream: Stream, end: int) -> None:
        """Record the end of the units in doubt, where there is none yet."""
        await self._db.do(doubts.set_end, stream, end)

    async def confirm_doubts(self, audit: AuditEntry) -> None:
        """The owner vouches for this ledger: no unit is in doubt any longer."""
        await self._db.do(doubts.confirm, audit)

    # --- commands

    async def commands(self) -> list[CommandRecord]:
        """The commands that are kept, the latest first: all that are live, and the last 200 others."""
        return await self._db.do(commands.all_of)

    async def add_command(
        self, new: CommandRecord, serial: tuple[bytes, bytes, int] | None, audit: AuditEntry
    ) -> int:
        """Record a command, and the provider, stream and serial that it counts for, if any; its number."""
        return await self._db.do(commands.add, new, serial, audit)

    async def note_serial(self, serial: tuple[bytes, bytes, int] | None, audit: AuditEntry) -> None:
        """Record the serial of a command that is not kept."""
        await self._db.do(commands.note_serial, serial, audit)

    async def highest_serial(self, provider: bytes, stream: bytes) -> int | None:
        """The highest serial of a provider's commands to a stream; None before the first."""
        return await self._db.do(commands.highest_serial, provider, stream)

    async def change_commands(self, changes: Sequence[CommandChange]) -> None:
        """Record what became of commands, of all of them or of none."""
        await self._db.do(commands.change, changes)

    async def commands_lived(self, times: Mapping[int, int]) -> None:
        """Record for how long commands have lived, in ms by their numbers."""
        await self._db.do(commands.lived, times)

    async def limited(self) -> set[str]:
        """The meters at which a limit was set and was not lifted since."""
        return await self._db.do(commands.limited)

    async def set_limited(self, meter: str, on: bool) -> None:
        """Record that a limit is about to be set at a meter, or that it was lifted."""
        await self._db.do(commands.limit, meter, on)

    async def keep_cards(self, cards: Iterable[tuple[bytes, bytes]]) -> None:
        """Record providers' signed cards, by their kids; a renewed card takes the place of the older one."""
        await self._db.do(commands.keep_cards, list(cards))

    async def cards(self) -> dict[bytes, bytes]:
        """The signed cards of providers, by their kids."""
        return await self._db.do(commands.cards)

    # --- the audit log

    async def audit(self, entry: AuditEntry) -> None:
        """Append one line to the audit log."""
        await self._db.do(audit.write, entry)

    async def audit_once(self, entry: AuditEntry) -> None:
        """Append one line to the audit log, unless it has this very sentence already."""
        await self._db.do(audit.write_once, entry)

    async def audit_log(self, most: int) -> list[AuditEntry]:
        """The last lines of the audit log, at most `most`, oldest first."""
        return await self._db.do(audit.last, most)

    # --- the ledger as a whole

    async def take_over(self, stream: Stream, chain: StoreChain, audit: AuditEntry) -> None:
        """Replace what the ledger holds of a stream by what the store holds: chunks, pages, open units, and
        objects unsent or kept. The stream's descriptor, grants and revocations stay in the outbox. A chunk of
        a later incarnation than this ledger knew ends a doubt; other chunks settle the units that they hold.

        LedgerError for a page of a period whose page stays.
        """
        await self._db.do(rollback.take_over, stream, chain, audit)

    async def check(self) -> str | None:
        """None for an intact file, else the first fault that SQLite found in it."""
        return await self._db.do(integrity)
