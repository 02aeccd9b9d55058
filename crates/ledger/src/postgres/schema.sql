-- Version 1 of the ledger's schema. Every table's primary and unique keys lead with the bucket, so that an
-- engine that shards by it needs no other schema. What hangs on an operation has no foreign key to it: rows
-- are written and removed only under the lock of their operation, and a check a row would cost on each insert.

CREATE SEQUENCE steadfast.operation_seq MAXVALUE 281474976710655;

-- Milliseconds on this database's clock when the transaction began: read once, the same for all its statements.
CREATE FUNCTION steadfast.now_ms() RETURNS bigint LANGUAGE sql STABLE
    AS $$ SELECT (extract(epoch FROM now()) * 1000)::bigint $$;

CREATE TABLE steadfast.operations (
    bucket          smallint NOT NULL CHECK (bucket BETWEEN 0 AND 1023),
    seq             bigint   NOT NULL,
    digest          bytea    NOT NULL CHECK (octet_length(digest) = 16),
    namespace       text     NOT NULL,
    key             text     NOT NULL,
    fingerprint     bytea    NOT NULL CHECK (octet_length(fingerprint) = 16),
    principal       text,
    credential      bytea    CHECK (octet_length(credential) = 16),
    route           text     NOT NULL,
    method          text     NOT NULL,
    path            text     NOT NULL,
    state           text     NOT NULL CHECK (state IN ('queued', 'claimed', 'waiting', 'in_doubt', 'completed',
                                                       'released', 'dead', 'cancelled', 'tombstone')),
    asynchronous    boolean  NOT NULL,
    doubt           text     NOT NULL CHECK (doubt IN ('none', 'standing', 'answered')),
    doubt_answer    bytea,
    fence           bytea    CHECK (octet_length(fence) = 16),
    lease_until_ms  bigint,
    attempts        integer  NOT NULL CHECK (attempts >= 0),
    repeatable_ms   bigint,
    first_sent_ms   bigint   NOT NULL,
    keep_ms         bigint   NOT NULL,
    keep_from_claim boolean  NOT NULL,
    tombstone_ms    bigint,
    created_ms      bigint   NOT NULL,
    changed_ms      bigint   NOT NULL,
    answer_digest   bytea,
    expires_ms      bigint,
    PRIMARY KEY (bucket, seq),
    CONSTRAINT operations_name UNIQUE (bucket, digest),
    CONSTRAINT a_claim_has_a_fence_and_a_lease CHECK (
        (state = 'claimed') = (fence IS NOT NULL) AND (state = 'claimed') = (lease_until_ms IS NOT NULL)),
    CONSTRAINT doubt_stands_only_where_attempts_may_follow CHECK (
        doubt = 'none' OR state IN ('queued', 'claimed', 'waiting', 'dead')),
    CONSTRAINT evidence_that_ends_doubt_is_named CHECK ((doubt = 'answered') = (doubt_answer IS NOT NULL)),
    CONSTRAINT only_what_is_completed_has_an_answer CHECK (answer_digest IS NULL OR state = 'completed'),
    CONSTRAINT only_what_is_over_expires CHECK (
        (expires_ms IS NOT NULL) = (state IN ('completed', 'released', 'cancelled', 'tombstone')))
);

-- The statements that use these write the same literals.
CREATE INDEX operations_lease ON steadfast.operations (lease_until_ms) WHERE state = 'claimed';
CREATE INDEX operations_in_doubt ON steadfast.operations (bucket, seq) WHERE state = 'in_doubt';
CREATE INDEX operations_dead ON steadfast.operations (bucket, seq) WHERE state = 'dead';
CREATE INDEX operations_expiry ON steadfast.operations (expires_ms) WHERE expires_ms IS NOT NULL;

-- Each version of a row that changes state is indexed anew, so old versions gather fast: vacuum early.
ALTER TABLE steadfast.operations SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

CREATE TABLE steadfast.answers (
    bucket  smallint NOT NULL,
    seq     bigint   NOT NULL,
    status  integer  NOT NULL CHECK (status BETWEEN 100 AND 999),
    headers bytea    NOT NULL,
    body    bytea,
    PRIMARY KEY (bucket, seq)
);

-- Attempts that ended; the one under way is in its operation's row.
CREATE TABLE steadfast.attempts (
    bucket   smallint NOT NULL,
    seq      bigint   NOT NULL,
    number   integer  NOT NULL CHECK (number >= 1),
    fence    bytea    NOT NULL CHECK (octet_length(fence) = 16),
    began_ms bigint   NOT NULL,
    ended_ms bigint   NOT NULL,
    ending   text     NOT NULL CHECK (ending IN ('answered', 'refused', 'not_sent', 'unknown')),
    cause    text,
    status   integer,
    PRIMARY KEY (bucket, seq, number)
);

-- Answers that were not the operation's when they came.
CREATE TABLE steadfast.evidence (
    bucket        smallint NOT NULL,
    seq           bigint   NOT NULL,
    fence         bytea    NOT NULL,
    answer_digest bytea    NOT NULL,
    status        integer  NOT NULL,
    headers       bytea    NOT NULL,
    body          bytea,
    came_ms       bigint   NOT NULL,
    PRIMARY KEY (bucket, seq, fence, answer_digest)
);

-- Two stories that contradict each other, until a person has looked. Told again, it is the same case.
CREATE TABLE steadfast.cases (
    bucket        smallint NOT NULL,
    seq           bigint   NOT NULL,
    fence         bytea    NOT NULL,
    answer_digest bytea    NOT NULL,
    opened_ms     bigint   NOT NULL,
    closed_ms     bigint,
    PRIMARY KEY (bucket, seq, fence, answer_digest)
);
CREATE INDEX cases_open ON steadfast.cases (bucket, seq) WHERE closed_ms IS NULL;

CREATE TABLE steadfast.settlements (
    bucket     smallint NOT NULL,
    seq        bigint   NOT NULL,
    settled_ms bigint   NOT NULL,
    happened   boolean  NOT NULL,
    said_by    text     NOT NULL,
    reason     text     NOT NULL,
    number     integer  NOT NULL,
    PRIMARY KEY (bucket, seq, number)
);
