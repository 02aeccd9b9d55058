-- Runs that send many dead letters round again, and how far each is. They are few; `reached` is the number of the last
-- letter that was looked at, `canaries` are the ids of those that were tried first, with spaces between them.
CREATE TABLE redrive_runs (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    route        TEXT,
    end          TEXT,
    cause        TEXT,
    status       INTEGER,
    died_before  INTEGER NOT NULL,
    doubtful     INTEGER CHECK (doubtful = 0 OR doubtful = 1),
    per_hour     INTEGER NOT NULL CHECK (per_hour >= 1),
    canary       INTEGER NOT NULL CHECK (canary >= 0),
    made_by      TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    started_at   INTEGER NOT NULL,
    going_since  INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL,
    state        TEXT    NOT NULL
                 CHECK (state IN ('running', 'stopped', 'stopped_by_canary', 'finished')),
    why          TEXT,
    reached      INTEGER NOT NULL,
    matched      INTEGER NOT NULL CHECK (matched >= 0),
    redriven     INTEGER NOT NULL CHECK (redriven >= 0),
    refused      INTEGER NOT NULL CHECK (refused >= 0),
    failed       INTEGER NOT NULL CHECK (failed >= 0),
    canaries     TEXT    NOT NULL,
    is_proven    INTEGER NOT NULL CHECK (is_proven = 0 OR is_proven = 1)
) STRICT;

-- Routes whose work rests by hand.
CREATE TABLE pauses (
    route   TEXT PRIMARY KEY CHECK (route <> ''),
    since   INTEGER NOT NULL,
    until   INTEGER,
    made_by TEXT    NOT NULL,
    reason  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
