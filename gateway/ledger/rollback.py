"""All tables at once: a ledger that was rolled back takes over what the store holds of a stream."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from gateway.ledger import audit, chunks, grants, outbox, pages, streams
from gateway.ledger.records import AuditEntry, ChunkEntry, PageEntry, Sealed, Stream


def take_over(
    db: sqlite3.Connection,
    stream: Stream,
    keep: int,
    new_chunks: Sequence[ChunkEntry],
    pages_end: int,
    new_pages: Sequence[PageEntry],
    kept: Sequence[Sealed],
    state: bytes,
    windows: Mapping[bytes, int],
    revoked: Mapping[bytes, int],
    entry: AuditEntry,
) -> None:
    chunks.drop_from(db, stream, keep)
    outbox.drop_derived(db, stream)
    for chunk in new_chunks:
        chunks.insert(db, stream, chunk, None)
    for whole in kept:
        chunks.keep_ciphertexts(db, stream, whole)
    pages.drop_after(db, stream, pages_end)
    for page in new_pages:
        pages.insert(db, stream, page)
    streams.set_state(db, stream, state)
    for grant, next_window in windows.items():
        grants.set_next_window(db, grant, next_window)
    for grant, from_unit in revoked.items():
        grants.set_revoked(db, grant, from_unit)
    audit.write(db, entry)
