-- Version 5 of the ledger's schema: operations that workers do, and duties of which each is one node's at a time.
--
-- Where `never_sent` is true, `first_sent_ms` is when the operation was accepted, until its first attempt is claimed.
-- What changes with an operation's attempts stands in its row, which is written anew then anyway; what is sent stands in a
-- table that is only ever added to, so that no attempt copies a body. Null in the row of a synchronous operation, where it
-- costs nothing.
ALTER TABLE steadfast.operations
    ADD COLUMN tries        integer CHECK (tries >= 0),
    ADD COLUMN due_ms       bigint,
    ADD COLUMN lane         bytea CHECK (octet_length(lane) = 16),
    ADD COLUMN lane_passes  boolean,
    ADD COLUMN cancel_asked boolean,
    ADD COLUMN never_sent   boolean,
    ADD CONSTRAINT a_worker_s_operation_has_tries_and_a_time CHECK (
        asynchronous = (tries IS NOT NULL) AND asynchronous = (due_ms IS NOT NULL)) NOT VALID,
    ADD CONSTRAINT a_lane_says_what_trouble_does CHECK ((lane IS NULL) = (lane_passes IS NULL)) NOT VALID;

-- Each version of a row that finds room on its page is written down as what differs from the one before, and locks no other
-- page: a fifth less of the log is written, and the table grows no larger, for what the versions leave is used again.
ALTER TABLE steadfast.operations SET (fillfactor = 60);

-- The beginning of an answer that was not final, or why none came.
ALTER TABLE steadfast.attempts ADD COLUMN excerpt text;

-- The requests of asynchronous operations, and how long attempts go on. Only a redrive changes one.
CREATE TABLE steadfast.background (
    bucket     smallint NOT NULL,
    seq        bigint   NOT NULL,
    priority   smallint NOT NULL,
    tries_max  integer  NOT NULL CHECK (tries_max >= 1),
    give_up_ms bigint   NOT NULL,
    target     text     NOT NULL,
    headers    bytea    NOT NULL,
    body       bytea    NOT NULL,
    PRIMARY KEY (bucket, seq)
);
-- To compress them costs more of the processor than it saves of the disk.
ALTER TABLE steadfast.background
    ALTER COLUMN target SET STORAGE EXTERNAL, ALTER COLUMN headers SET STORAGE EXTERNAL,
    ALTER COLUMN body SET STORAGE EXTERNAL;

-- What may be taken when its time comes: exactly the operations that are queued or waiting, those behind others of their
-- lane excepted. Rows come and go, and none is changed. The one index is also how a row is found: its operation has the
-- time, its request the priority. It is not unique, so it need not lead with the bucket; who takes work looks for it
-- wherever it is. With the digest an operation is found at once by either of its unique keys, whichever is planned with.
CREATE TABLE steadfast.ready (
    bucket   smallint NOT NULL,
    seq      bigint   NOT NULL,
    due_ms   bigint   NOT NULL,
    priority smallint NOT NULL,
    digest   bytea    NOT NULL,
    route    text     NOT NULL
);
CREATE INDEX ready_next ON steadfast.ready (route, priority DESC, due_ms, seq);

-- What was taken leaves dead entries at the very end of the index where taking begins: vacuum early, and without pauses.
ALTER TABLE steadfast.ready SET (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_threshold = 10000, autovacuum_analyze_scale_factor = 1);

-- Who stands in a lane and has not left it. Positions are drawn under the lane's lock, from the sequence that also numbers
-- operations: their order is the order in which the lane was joined.
CREATE TABLE steadfast.lanes (
    bucket   smallint NOT NULL,
    seq      bigint   NOT NULL,
    lane     bytea    NOT NULL CHECK (octet_length(lane) = 16),
    position bigint   NOT NULL,
    digest   bytea    NOT NULL,
    PRIMARY KEY (bucket, seq)
);
CREATE INDEX lanes_order ON steadfast.lanes (bucket, lane, position);
ALTER TABLE steadfast.lanes SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);

-- What one node at a time does for all, and how far something is. They are few, and nothing joins them.
CREATE TABLE steadfast.duties (
    duty     text   PRIMARY KEY CHECK (duty <> ''),
    node     bytea  NOT NULL CHECK (octet_length(node) = 16),
    until_ms bigint NOT NULL
);
CREATE TABLE steadfast.marks (
    name  text   PRIMARY KEY CHECK (name <> ''),
    at_ms bigint NOT NULL
);
