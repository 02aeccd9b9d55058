-- Version 2 of the ledger's schema: the credentials that the gateway gave out itself. They are few, every node has all of
-- them in memory, and nothing joins them: an engine that shards keeps such a table as a copy on every shard.
CREATE TABLE steadfast.credentials (
    id         bigint PRIMARY KEY,
    digest     bytea  NOT NULL CHECK (octet_length(digest) = 32),
    prefix     text   NOT NULL,
    principal  text   NOT NULL CHECK (principal <> ''),
    attributes text   NOT NULL,
    scopes     text   NOT NULL,
    created_ms bigint NOT NULL,
    expires_ms bigint,
    revoked_ms bigint,
    used_ms    bigint,
    replaces   bigint,
    revision   bigint NOT NULL
);

CREATE INDEX credentials_by_revision ON steadfast.credentials (revision);

-- Whoever changes a credential holds this row until it commits: so no change becomes visible after one with a higher
-- revision, and whoever asks what changed misses none.
CREATE TABLE steadfast.credentials_revision (only_one boolean PRIMARY KEY CHECK (only_one), revision bigint NOT NULL);
INSERT INTO steadfast.credentials_revision VALUES (true, 0);
