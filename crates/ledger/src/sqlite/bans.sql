-- The embedded ledger, version 3: who is banned. Of each subject the last ban is kept, as it is written by people
-- (`203.0.113.0/24`, `principal:acme`). `revision` is that of the last change; the counter of that name stands at the newest.
CREATE TABLE bans (
    subject   TEXT    PRIMARY KEY CHECK (subject <> ''),
    source    TEXT    NOT NULL CHECK (source IN ('by_hand', 'unauthenticated', 'limit_storm')),
    began_at  INTEGER NOT NULL,
    until     INTEGER CHECK (until >= began_at),
    lifted_at INTEGER,
    reason    TEXT    NOT NULL,
    made_by   TEXT    NOT NULL,
    challenge TEXT,
    repeats   INTEGER NOT NULL CHECK (repeats >= 0),
    revision  INTEGER NOT NULL
) STRICT;

CREATE INDEX bans_by_revision ON bans (revision);

INSERT INTO counters (name, value) VALUES ('bans', 0);
