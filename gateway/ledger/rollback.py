"""The take-over, on all tables: the store's chain of a stream replaces that of a rolled-back ledger."""

from __future__ import annotations

import sqlite3

from gateway.ledger import audit, chunks, doubts, grants, kept, outbox, pages, streams
from gateway.ledger.records import AuditEntry, StoreChain, Stream


def take_over(db: sqlite3.Connection, stream: Stream, chain: StoreChain, entry: AuditEntry) -> None:
    chunks.drop_from(db, stream, chain.seq)
    outbox.drop_derived(db, stream)
    kept.drop_derived(db, stream)
    for chunk in chain.chunks:
        chunks.insert(db, stream, chunk, None)
    for whole in chain.ciphertexts:
        chunks.keep_ciphertexts(db, stream, whole)
    pages.drop_after(db, stream, chain.pages_end)
    for page in chain.pages:
        pages.insert(db, stream, page)
    streams.set_state(db, stream, chain.state)
    doubts.settle(db, stream, chain)
    for grant, progress in chain.progress.items():
        grants.set_progress(db, grant, progress)
    for grant, from_unit in chain.revoked.items():
        grants.set_revoked(db, grant, from_unit)
    audit.write(db, entry)
