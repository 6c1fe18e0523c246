-- Version 9. The household's standing decisions to grant the bills of a price series, and these prices.

-- A decision: from unit `first` on each period of the granularity gets a grant of its bill.
CREATE TABLE follow (
    id          BLOB PRIMARY KEY,
    stream      BLOB NOT NULL REFERENCES stream,
    provider    BLOB NOT NULL,                   -- its kid
    card        BLOB NOT NULL,                   -- the signed card, as the household has compared it
    series      TEXT NOT NULL,                   -- the name in the provider's price series
    lanes       TEXT NOT NULL,                   -- names, comma-separated, in the order of the tariff
    granularity TEXT NOT NULL,
    zone        TEXT NOT NULL,
    purpose     TEXT NOT NULL,
    first       INTEGER NOT NULL,
    made_ms     INTEGER NOT NULL,
    ended_ms    INTEGER                          -- NULL while it stands
) STRICT, WITHOUT ROWID;

-- What a decision covers of what the consent check finds: of each kind of finding how harmless it is at least.
CREATE TABLE covered (
    follow      BLOB NOT NULL REFERENCES follow,
    finding     TEXT NOT NULL,
    least       INTEGER NOT NULL,
    PRIMARY KEY (follow, finding)
) STRICT, WITHOUT ROWID;

-- The grant of each period, whichever decision made it: a period has one.
CREATE TABLE followed (
    stream      BLOB NOT NULL REFERENCES stream,
    provider    BLOB NOT NULL,
    series      TEXT NOT NULL,
    first       INTEGER NOT NULL,
    end         INTEGER NOT NULL,
    grant_      BLOB NOT NULL REFERENCES grant_,
    PRIMARY KEY (stream, provider, series, first)
) STRICT, WITHOUT ROWID;

-- The price series of providers that are followed; serials are 8 bytes big-endian.
CREATE TABLE price (
    provider    BLOB NOT NULL,
    serial      BLOB NOT NULL,
    series      TEXT NOT NULL,
    start_ms    INTEGER NOT NULL,
    end_ms      INTEGER NOT NULL,
    data        BLOB,                            -- the signed series; NULL where no period needs it
    PRIMARY KEY (provider, serial)
) STRICT, WITHOUT ROWID;
