-- Version 7. What was sent is kept until it has been found in the store again.

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
