-- Version 3 of the ledger's schema: who is banned. Of each subject the last ban is kept, as it is written by people
-- (`203.0.113.0/24`, `principal:acme`). As with credentials, they are few, every node has all of them in memory, and nothing
-- joins them.
CREATE TABLE steadfast.bans (
    subject   text   PRIMARY KEY CHECK (subject <> ''),
    source    text   NOT NULL CHECK (source IN ('by_hand', 'unauthenticated', 'limit_storm')),
    began_ms  bigint NOT NULL,
    until_ms  bigint CHECK (until_ms >= began_ms),
    lifted_ms bigint,
    reason    text   NOT NULL,
    made_by   text   NOT NULL,
    challenge text,
    repeats   integer NOT NULL CHECK (repeats >= 0),
    revision  bigint NOT NULL
);

CREATE INDEX bans_by_revision ON steadfast.bans (revision);

-- Whoever changes a ban holds this row until it commits: so no change becomes visible after one with a higher revision, two
-- nodes that ban the same caller at once make one ban, and whoever asks what changed misses none.
CREATE TABLE steadfast.bans_revision (only_one boolean PRIMARY KEY CHECK (only_one), revision bigint NOT NULL);
INSERT INTO steadfast.bans_revision VALUES (true, 0);
