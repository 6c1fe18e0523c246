-- Version 2. An object in the outbox has a kind, and a page a span, instead of names to derive them from.
-- `replace` goes, since only heads are overwritten.

ALTER TABLE page RENAME TO page_1;

-- Pages made: period is a UTC day, 2026-11-22, or a month, 2026-11.
CREATE TABLE page (
    stream      BLOB NOT NULL REFERENCES stream,
    span        TEXT NOT NULL CHECK (span IN ('day', 'month')),
    period      TEXT NOT NULL,
    step        INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    end         INTEGER NOT NULL,
    digest      BLOB NOT NULL,
    c           BLOB,                            -- a day's sums, until its month's page is made
    PRIMARY KEY (stream, period)
) STRICT, WITHOUT ROWID;

INSERT INTO page
    SELECT stream, CASE length(period) WHEN 10 THEN 'day' WHEN 7 THEN 'month' END,
           period, step, first, end, digest, c
    FROM page_1;

DROP TABLE page_1;

ALTER TABLE outbox RENAME TO outbox_1;

-- What still has to reach the store, in order; confirmed objects leave.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    stream      BLOB NOT NULL REFERENCES stream,
    kind        TEXT NOT NULL CHECK (
        kind IN ('descriptor', 'chunk', 'page', 'tokens', 'grant', 'revocation', 'head')
    ),
    key         TEXT NOT NULL,
    data        BLOB NOT NULL
) STRICT;

INSERT INTO outbox
    SELECT id, stream,
           CASE
               WHEN key GLOB 'v1/*/stream.cose' THEN 'descriptor'
               WHEN key GLOB 'v1/*/head.cose' THEN 'head'
               WHEN key GLOB 'v1/*/chunk/*' THEN 'chunk'
               WHEN key GLOB 'v1/*/grant/*/grant.cose' THEN 'grant'
               WHEN key GLOB 'v1/*/grant/*/revoked.cose' THEN 'revocation'
               WHEN key GLOB 'v1/*/grant/*' THEN 'tokens'
               WHEN key GLOB 'v1/*/day/*' OR key GLOB 'v1/*/month/*' THEN 'page'
           END,
           key, data
    FROM outbox_1;

-- The number given last is kept, also where all objects have left.
DELETE FROM sqlite_sequence WHERE name = 'outbox';
UPDATE sqlite_sequence SET name = 'outbox' WHERE name = 'outbox_1';

DROP TABLE outbox_1;
CREATE INDEX outbox_by_key ON outbox (key);
