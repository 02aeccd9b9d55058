-- The embedded ledger, version 1.
--
-- New claims and the ends of their attempts are written to a log beside this file first, and folded into these tables
-- many at a time. Rows are found by `seq`, which grows with every operation, so that new rows land on the pages that
-- are warm; only the index of digests is hit at random.

-- Counters that outlive the rows they were counted by.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `seq`: above it none was ever given out; kept because the newest operation may be swept. `log_applied`: up to which
-- frame of the log the tables are written. `log_open`: which run's log may hold what the tables do not (0: none), so that
-- a ledger whose log is gone, or is another's, is not taken for whole. `writes`: counts up where something must be written, because SQLite neither
-- writes nor syncs a change that changes nothing.
INSERT INTO counters (name, value) VALUES ('seq', 0), ('log_applied', 0), ('log_open', 0), ('writes', 0);

-- One row for each operation. Times are milliseconds since 1970 on the wall clock, durations milliseconds.
-- Leases are not here: the file belongs to one process, which keeps them in memory, and whoever opens it next
-- resolves every claim that it finds.
CREATE TABLE operations (
    seq           INTEGER PRIMARY KEY,
    digest        BLOB    NOT NULL CHECK (length(digest) = 16),
    digest_head   INTEGER NOT NULL,
    state         TEXT    NOT NULL,
    mode          TEXT    NOT NULL CHECK (mode = 'sync' OR mode = 'async'),
    doubt         TEXT    NOT NULL,
    evidence      BLOB    CHECK (length(evidence) = 16),
    fence         BLOB    CHECK (length(fence) = 16),
    attempts      INTEGER NOT NULL CHECK (attempts >= 0),
    created_at    INTEGER NOT NULL,
    began_at      INTEGER,
    changed_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    keep_ms       INTEGER NOT NULL CHECK (keep_ms >= 0),
    keep_from     TEXT    NOT NULL CHECK (keep_from = 'finish' OR keep_from = 'claim'),
    tombstone_ms  INTEGER CHECK (tombstone_ms >= 0),
    repeatable_ms INTEGER CHECK (repeatable_ms >= 0),
    answer        BLOB    CHECK (length(answer) = 16),
    fingerprint   BLOB    NOT NULL CHECK (length(fingerprint) = 16),
    namespace     TEXT    NOT NULL,
    key           TEXT    NOT NULL,
    principal     TEXT,
    credential    BLOB    CHECK (length(credential) = 16),
    route         TEXT    NOT NULL,
    method        TEXT    NOT NULL,
    path          TEXT    NOT NULL,
    -- The answer of a completed operation, as replays repeat it; the body is NULL where it was not kept. It stands
    -- last, so that a large one does not lie between the other columns and whoever reads them.
    answer_status  INTEGER,
    answer_headers BLOB,
    answer_body    BLOB,

    -- The same as the states of the state machine, and what each carries. (Written without IN: SQLite builds a
    -- table of the list's members for every statement, which halved the throughput.)
    CHECK (CASE state
        WHEN 'queued'    THEN mode = 'async' AND fence IS NULL AND expires_at IS NULL AND answer IS NULL
        WHEN 'claimed'   THEN fence IS NOT NULL AND expires_at IS NULL AND answer IS NULL
        WHEN 'waiting'   THEN mode = 'async' AND fence IS NULL AND expires_at IS NULL AND answer IS NULL
        WHEN 'in_doubt'  THEN doubt = 'none' AND fence IS NULL AND expires_at IS NULL AND answer IS NULL
        WHEN 'completed' THEN doubt = 'none' AND fence IS NULL AND expires_at IS NOT NULL
        WHEN 'released'  THEN doubt = 'none' AND fence IS NULL AND expires_at IS NOT NULL AND answer IS NULL
        WHEN 'dead'      THEN mode = 'async' AND fence IS NULL AND expires_at IS NULL AND answer IS NULL
        WHEN 'cancelled' THEN mode = 'async' AND doubt = 'none' AND fence IS NULL AND expires_at IS NOT NULL
                              AND answer IS NULL
        WHEN 'tombstone' THEN doubt = 'none' AND fence IS NULL AND expires_at IS NOT NULL AND answer IS NULL
        ELSE FALSE
    END),
    CHECK ((fence IS NULL) = (began_at IS NULL)),
    CHECK ((answer IS NULL) = (answer_status IS NULL) AND (answer IS NULL) = (answer_headers IS NULL)
           AND (answer_body IS NULL OR answer IS NOT NULL)),
    CHECK (CASE doubt
        WHEN 'none'     THEN evidence IS NULL
        WHEN 'standing' THEN evidence IS NULL
        WHEN 'answered' THEN evidence IS NOT NULL
        ELSE FALSE
    END)
) STRICT;

-- The first 8 bytes of the digest as a number: an index of numbers is half the size of one of blobs, and looked up in
-- half the time. Two operations may share a head; the whole digest is compared on a hit.
CREATE INDEX operations_by_digest ON operations (digest_head);

-- What is unfinished or needs a person has no expiry, and is always little: one small index for all of it.
CREATE INDEX operations_unfinished ON operations (state) WHERE expires_at IS NULL;

-- Operations finish about in the order in which they expire, so new entries land on the last page.
CREATE INDEX operations_by_expiry ON operations (expires_at) WHERE expires_at IS NOT NULL;

-- Attempts that have ended. The one under way is in its operation's row.
CREATE TABLE attempts (
    seq      INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    fence    BLOB    NOT NULL CHECK (length(fence) = 16),
    began_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    end      TEXT    NOT NULL,
    cause    TEXT,
    status   INTEGER,
    PRIMARY KEY (seq, number),
    CHECK (CASE end
        WHEN 'answered' THEN cause IS NULL AND status IS NOT NULL
        WHEN 'refused'  THEN cause IS NULL AND status IS NOT NULL
        WHEN 'not_sent' THEN cause IS NOT NULL AND status IS NULL
        WHEN 'unknown'  THEN cause IS NOT NULL
        ELSE FALSE
    END)
) STRICT, WITHOUT ROWID;

-- Answers that came when the operation could not take them.
CREATE TABLE evidence (
    seq     INTEGER NOT NULL,
    fence   BLOB    NOT NULL CHECK (length(fence) = 16),
    digest  BLOB    NOT NULL CHECK (length(digest) = 16),
    came_at INTEGER NOT NULL,
    status  INTEGER NOT NULL,
    headers BLOB    NOT NULL,
    body    BLOB,
    PRIMARY KEY (seq, fence, digest)
) STRICT;

-- Contradictions: a person must look.
CREATE TABLE cases (
    id        INTEGER PRIMARY KEY,
    seq       INTEGER NOT NULL,
    fence     BLOB    NOT NULL CHECK (length(fence) = 16),
    opened_at INTEGER NOT NULL,
    closed_at INTEGER
) STRICT;

CREATE INDEX cases_by_operation ON cases (seq);
CREATE INDEX cases_open ON cases (seq) WHERE closed_at IS NULL;

-- What was found out about operations in doubt; of several, the newest counts.
CREATE TABLE settlements (
    id         INTEGER PRIMARY KEY,
    seq        INTEGER NOT NULL,
    happened   INTEGER NOT NULL CHECK (happened = 0 OR happened = 1),
    settled_by TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    settled_at INTEGER NOT NULL
) STRICT;

CREATE INDEX settlements_by_operation ON settlements (seq);
