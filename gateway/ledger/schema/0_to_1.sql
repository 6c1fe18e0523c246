-- Version 1. Times are Unix ms; u64 that may pass 2^63 are kept as 8 bytes big-endian, which sort as the
-- numbers do.

CREATE TABLE incarnation (
    value       BLOB PRIMARY KEY,
    drawn_ms    INTEGER NOT NULL,
    ordinal     INTEGER NOT NULL UNIQUE          -- in the order in which they were drawn
) STRICT, WITHOUT ROWID;

CREATE TABLE stream (
    id                  BLOB PRIMARY KEY,
    meter               TEXT NOT NULL UNIQUE,
    unit_ms             INTEGER NOT NULL,
    link_units          INTEGER NOT NULL,
    lanes               TEXT NOT NULL,           -- names, comma-separated, in the order of the arrays
    start               INTEGER NOT NULL,
    descriptor_digest   BLOB NOT NULL,
    state               BLOB NOT NULL            -- the sampler's, sealed by the vault
) STRICT, WITHOUT ROWID;

-- Units sealed and not yet in a chunk.
CREATE TABLE sealed (
    stream      BLOB NOT NULL REFERENCES stream,
    first       INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    incarnation BLOB NOT NULL REFERENCES incarnation,
    c           BLOB NOT NULL,
    PRIMARY KEY (stream, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE chunk (
    stream      BLOB NOT NULL REFERENCES stream,
    seq         INTEGER NOT NULL,
    incarnation BLOB NOT NULL,
    first       INTEGER NOT NULL,
    end         INTEGER NOT NULL,
    digest      BLOB NOT NULL,
    c           BLOB,                            -- until the pages of its days are made
    PRIMARY KEY (stream, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX chunk_by_unit ON chunk (stream, first);

-- Pages made: period is a UTC day, 2026-11-22, or a month, 2026-11.
CREATE TABLE page (
    stream      BLOB NOT NULL REFERENCES stream,
    period      TEXT NOT NULL,
    step        INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    end         INTEGER NOT NULL,
    digest      BLOB NOT NULL,
    c           BLOB,                            -- a day's sums, until its month's page is made
    PRIMARY KEY (stream, period)
) STRICT, WITHOUT ROWID;

-- What still has to reach the store, in order; confirmed objects leave.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    stream      BLOB NOT NULL REFERENCES stream,
    key         TEXT NOT NULL,
    replace     INTEGER NOT NULL,
    data        BLOB NOT NULL
) STRICT;
CREATE INDEX outbox_by_key ON outbox (key);

CREATE TABLE grant_ (
    id              BLOB PRIMARY KEY,
    stream          BLOB NOT NULL REFERENCES stream,
    body            BLOB NOT NULL,
    provider_name   TEXT NOT NULL,
    next_window     INTEGER NOT NULL,
    key             BLOB NOT NULL,               -- K_0, sealed by the vault
    revoked_from    INTEGER,
    tariff          BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms       INTEGER NOT NULL,
    what        TEXT NOT NULL,
    detail      TEXT NOT NULL
) STRICT;
