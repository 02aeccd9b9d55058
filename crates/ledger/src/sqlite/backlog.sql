-- What background operations need beside their rows, and where they stand in the backlog. Which of them can be taken is
-- written down here, in one place (places.rs), whenever the state of one changes.

-- One row for each asynchronous operation.
CREATE TABLE background (
    seq           INTEGER PRIMARY KEY,
    bucket        INTEGER NOT NULL CHECK (bucket >= 0 AND bucket < 1024),
    target        TEXT    NOT NULL,
    headers       BLOB    NOT NULL,
    body          BLOB    NOT NULL,
    priority      INTEGER NOT NULL,
    lane          BLOB    CHECK (length(lane) = 16),
    lane_passes   INTEGER NOT NULL CHECK (lane_passes = 0 OR lane_passes = 1),
    tries         INTEGER NOT NULL CHECK (tries >= 0),
    tries_max     INTEGER NOT NULL CHECK (tries_max >= 1),
    due_at        INTEGER NOT NULL,
    give_up_at    INTEGER NOT NULL,
    first_sent_at INTEGER,
    cancel_asked  INTEGER NOT NULL DEFAULT 0 CHECK (cancel_asked = 0 OR cancel_asked = 1)
) STRICT;

-- Exactly the operations that are queued or waiting and, where they have a lane, are its head. The lowest urgency is
-- taken first: it is the priority with its sign turned.
CREATE TABLE ready (
    route   TEXT    NOT NULL,
    urgency INTEGER NOT NULL,
    due_at  INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (route, urgency, due_at, seq)
) STRICT, WITHOUT ROWID;

-- The operations of each lane that have not left it. The lowest number is its head.
CREATE TABLE lanes (
    bucket INTEGER NOT NULL,
    lane   BLOB    NOT NULL CHECK (length(lane) = 16),
    seq    INTEGER NOT NULL,
    PRIMARY KEY (bucket, lane, seq)
) STRICT, WITHOUT ROWID;

-- The beginning of an answer that was not final, or why none came.
ALTER TABLE attempts ADD COLUMN excerpt TEXT;

-- Work that one node at a time does for all, and how far things are.
CREATE TABLE duties (
    name  TEXT PRIMARY KEY,
    node  BLOB    NOT NULL CHECK (length(node) = 16),
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
