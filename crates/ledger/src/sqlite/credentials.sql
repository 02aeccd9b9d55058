-- The embedded ledger, version 2: the credentials that the gateway gave out itself. `revision` is that of the last change;
-- the counter of that name stands at the newest.
CREATE TABLE credentials (
    id         INTEGER PRIMARY KEY,
    digest     BLOB    NOT NULL CHECK (length(digest) = 32),
    prefix     TEXT    NOT NULL,
    principal  TEXT    NOT NULL CHECK (principal <> ''),
    attributes TEXT    NOT NULL,
    scopes     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    used_at    INTEGER,
    replaces   INTEGER,
    revision   INTEGER NOT NULL
) STRICT;

CREATE INDEX credentials_by_revision ON credentials (revision);

INSERT INTO counters (name, value) VALUES ('credentials', 0);
