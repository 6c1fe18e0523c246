-- Version 3. The heads that the store has confirmed, so that one that has gone back is noticed.

CREATE TABLE head (
    stream      BLOB PRIMARY KEY REFERENCES stream,
    data        BLOB NOT NULL                    -- the object, as the last one that was confirmed
) STRICT, WITHOUT ROWID;
