-- A ledger as version 8 wrote it, in the midst of its work: its schema and its data, in its own SQL.
-- Frozen: homes have files like this one. test_migrations.py says what today's gateway must read in it.

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
, factor TEXT NOT NULL DEFAULT '1 1') STRICT, WITHOUT ROWID;

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
    span        TEXT NOT NULL CHECK (span IN ('day', 'month')),
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
    kind        TEXT NOT NULL CHECK (
        kind IN ('descriptor', 'chunk', 'page', 'tokens', 'grant', 'revocation', 'head')
    ),
    key         TEXT NOT NULL,
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
ALTER TABLE grant_ ADD COLUMN edges BLOB NOT NULL DEFAULT x'';
ALTER TABLE grant_ ADD COLUMN own INTEGER NOT NULL DEFAULT 0 CHECK (own IN (0, 1));

CREATE TABLE audit (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms       INTEGER NOT NULL,
    what        TEXT NOT NULL,
    detail      TEXT NOT NULL
) STRICT;

CREATE TABLE head (
    stream      BLOB PRIMARY KEY REFERENCES stream,
    data        BLOB NOT NULL                    -- the object, as the last one that was confirmed
) STRICT, WITHOUT ROWID;

CREATE TABLE counter (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    noted       BLOB NOT NULL                    -- from where it was about to be stepped
) STRICT;

CREATE TABLE doubt (
    stream      BLOB PRIMARY KEY REFERENCES stream,
    first       INTEGER NOT NULL,
    end         INTEGER,                         -- NULL while the clock is not trusted
    incarnation BLOB NOT NULL,                   -- the last one that this ledger knew then
    noticed_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Objects that the store has confirmed; `id` is that which they had in the outbox.
CREATE TABLE kept (
    id          INTEGER PRIMARY KEY,
    stream      BLOB NOT NULL REFERENCES stream,
    kind        TEXT NOT NULL CHECK (
        kind IN ('descriptor', 'chunk', 'page', 'tokens', 'grant', 'revocation')
    ),
    key         TEXT NOT NULL,
    data        BLOB NOT NULL,
    sent_ms     INTEGER NOT NULL
) STRICT;
CREATE INDEX kept_by_stream ON kept (stream, id);

-- When a stream's objects were last looked for, and the last of those confirmed by then.
CREATE TABLE looked (
    stream      BLOB PRIMARY KEY REFERENCES stream,
    at_ms       INTEGER NOT NULL,
    last        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A command, what became of it, and how long it has lived while the gateway ran; `number` is the order of receipt.
CREATE TABLE command (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    digest        BLOB NOT NULL UNIQUE,            -- H of the signed command
    id            BLOB NOT NULL UNIQUE,
    data          BLOB NOT NULL,                   -- the signed command
    provider_name TEXT NOT NULL,
    received_ms   INTEGER NOT NULL,
    lived_ms      INTEGER NOT NULL,
    live          INTEGER NOT NULL CHECK (live IN (0, 1)),   -- whether something may still become of it
    receipt       BLOB NOT NULL                    -- the last one, signed
) STRICT;

-- The highest serial of a provider's commands to a stream.
CREATE TABLE serial (
    provider      BLOB NOT NULL,
    stream        BLOB NOT NULL,
    value         INTEGER NOT NULL,
    PRIMARY KEY (provider, stream)
) STRICT, WITHOUT ROWID;

-- Meters at which a limit was set and was not lifted since.
CREATE TABLE limited (
    meter         TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE card (
    kid           BLOB PRIMARY KEY,
    data          BLOB NOT NULL                    -- the signed card
) STRICT, WITHOUT ROWID;

INSERT INTO incarnation VALUES (X'0000000000000007', 1000, 1), (X'FFFFFFFFFFFFFFFE', 2000, 2);

INSERT INTO stream VALUES
    (X'11111111111111111111111111111111', 'main', 1000, 8, 'import,count', 80,
     X'D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1', X'57A701', '1 1'),
    (X'22222222222222222222222222222222', 'garage', 700, 8, 'import', 160,
     X'D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2D2', X'57A702', '0.1 1');

INSERT INTO sealed VALUES
    (X'11111111111111111111111111111111', 90, 2, X'FFFFFFFFFFFFFFFE',
     X'0100000000000000020000000000000003000000000000000400000000000080'),
    (X'22222222222222222222222222222222', 160, 1, X'0000000000000007', X'0500000000000000');

INSERT INTO chunk VALUES
    (X'11111111111111111111111111111111', 0, X'0000000000000007', 80, 86,
     X'C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0', NULL),
    (X'11111111111111111111111111111111', 1, X'0000000000000007', 86, 88,
     X'C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1C1', NULL),
    (X'11111111111111111111111111111111', 2, X'FFFFFFFFFFFFFFFE', 88, 90,
     X'C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2C2',
     X'06000000000000000700000000000000080000000000000009000000000000F0');

INSERT INTO page VALUES
    (X'11111111111111111111111111111111', 'day', '2026-01-31', 1, 80, 84,
     X'E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1', NULL),
    (X'11111111111111111111111111111111', 'month', '2026-01', 2, 80, 84,
     X'E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2E2', NULL),
    (X'11111111111111111111111111111111', 'day', '2026-02-01', 1, 84, 86,
     X'E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3E3',
     X'0A000000000000000B000000000000000C000000000000000D00000000000000');

INSERT INTO outbox (id, stream, kind, key, data) VALUES
    (11, X'22222222222222222222222222222222', 'descriptor', 'v1/22222222222222222222222222222222/stream.cose',
     CAST('descriptor' AS BLOB)),
    (12, X'11111111111111111111111111111111', 'chunk',
     'v1/11111111111111111111111111111111/chunk/2026-02-01/0000000000000058.cose', zeroblob(20000)),
    (13, X'11111111111111111111111111111111', 'grant',
     'v1/11111111111111111111111111111111/grant/33333333333333333333333333333333/grant.cose',
     CAST('grant' AS BLOB)),
    (14, X'11111111111111111111111111111111', 'tokens',
     'v1/11111111111111111111111111111111/grant/33333333333333333333333333333333/new/0000000000000001.cose',
     CAST('tokens' AS BLOB)),
    (15, X'11111111111111111111111111111111', 'tokens',
     'v1/11111111111111111111111111111111/grant/33333333333333333333333333333333/day/0000000000000000.cose',
     CAST('tokens of a day' AS BLOB)),
    (16, X'11111111111111111111111111111111', 'page',
     'v1/11111111111111111111111111111111/day/2026-02-01.cose', zeroblob(20000)),
    (17, X'11111111111111111111111111111111', 'tokens',
     'v1/11111111111111111111111111111111/grant/33333333333333333333333333333333/month/0000000000000000.cose',
     CAST('tokens of a month' AS BLOB)),
    (18, X'11111111111111111111111111111111', 'page',
     'v1/11111111111111111111111111111111/month/2026-01.cose', CAST('page of a month' AS BLOB)),
    (19, X'11111111111111111111111111111111', 'revocation',
     'v1/11111111111111111111111111111111/grant/44444444444444444444444444444444/revoked.cose',
     CAST('revocation' AS BLOB)),
    (20, X'11111111111111111111111111111111', 'head', 'v1/11111111111111111111111111111111/head.cose',
     CAST('head' AS BLOB));
-- More were sent, and left: their numbers are not given again.
UPDATE sqlite_sequence SET seq = 30 WHERE name = 'outbox';

INSERT INTO grant_ VALUES
    (X'33333333333333333333333333333333', X'11111111111111111111111111111111', X'B0D1', 'a provider', 2,
     X'4B01', NULL, NULL, X'00000000000000500000000000000054000000000000005A', 0),
    (X'44444444444444444444444444444444', X'11111111111111111111111111111111', X'B0D2', 'another', 5,
     X'4B02', 87, X'7A', X'', 1);

INSERT INTO kept VALUES
    (21, X'11111111111111111111111111111111', 'chunk',
     'v1/11111111111111111111111111111111/chunk/2026-02-01/0000000000000050.cose', zeroblob(20000), 1700),
    (22, X'11111111111111111111111111111111', 'page',
     'v1/11111111111111111111111111111111/day/2026-01-31.cose', CAST('page of a day' AS BLOB), 1800);

INSERT INTO looked VALUES (X'11111111111111111111111111111111', 1750, 21);

INSERT INTO head VALUES (X'11111111111111111111111111111111', CAST('head before' AS BLOB));

INSERT INTO audit VALUES (1, 1500, 'grant', 'granted'), (2, 2500, 'revocation', 'revoked');

INSERT INTO counter VALUES (1, X'FFFFFFFFFFFFFFFD');

INSERT INTO doubt VALUES
    (X'11111111111111111111111111111111', 88, 91, X'0000000000000007', 2000),
    (X'22222222222222222222222222222222', 161, NULL, X'0000000000000007', 2000);

INSERT INTO command VALUES
    (3, X'C0FFEE03', X'55555555555555555555555555555555', CAST('a limit' AS BLOB), 'a provider', 1600, 250, 1,
     CAST('its receipt' AS BLOB)),
    (4, X'C0FFEE04', X'66666666666666666666666666666666', CAST('a message' AS BLOB), 'another', 1700, 0, 0,
     CAST('a refusal' AS BLOB));
INSERT INTO serial VALUES (X'B0', X'11111111111111111111111111111111', 9223372036854775807);
INSERT INTO limited VALUES ('main');
INSERT INTO card VALUES (X'B0', CAST('a card' AS BLOB));

PRAGMA application_id = 0x67773031;
PRAGMA user_version = 8;
