-- Version 5. The note of each step of the TPM's counter, by which a rolled-back ledger is noticed, and the units
-- that are in doubt then. An older ledger has no note: its last incarnation stands for one.

CREATE TABLE counter (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    noted       BLOB NOT NULL                    -- from where it was about to be stepped
) STRICT;

INSERT INTO counter SELECT 1, value FROM incarnation ORDER BY ordinal DESC LIMIT 1;

-- Units that another copy of this ledger may have sealed, from `first` to `end`.
CREATE TABLE doubt (
    stream      BLOB PRIMARY KEY REFERENCES stream,
    first       INTEGER NOT NULL,
    end         INTEGER,                         -- NULL while the clock is not trusted
    incarnation BLOB NOT NULL,                   -- the last one that this ledger knew then
    noticed_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
