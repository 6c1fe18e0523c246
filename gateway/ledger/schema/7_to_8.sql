-- Version 8. The household's own grants, whose keys nobody else holds; providers' commands, and the cards of those
-- to whom something was granted.

ALTER TABLE grant_ ADD COLUMN own INTEGER NOT NULL DEFAULT 0 CHECK (own IN (0, 1));

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
