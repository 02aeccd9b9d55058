
-- Runs that send many dead letters round again, and how far each is. They are few; `reached` is the number of the last
-- letter that was looked at, `canaries` are the ids of those that were tried first, with spaces between them.
CREATE TABLE steadfast.redrive_runs (
    id             bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    route          text,
    ending         text,
    cause          text,
    status         integer,
    died_before_ms bigint  NOT NULL,
    doubtful       boolean,
    per_hour       bigint  NOT NULL CHECK (per_hour >= 1),
    canary         integer NOT NULL CHECK (canary >= 0),
    made_by        text    NOT NULL,
    reason         text    NOT NULL,
    started_ms     bigint  NOT NULL,
    going_ms       bigint  NOT NULL,
    changed_ms     bigint  NOT NULL,
    state          text    NOT NULL CHECK (state IN ('running', 'stopped', 'stopped_by_canary', 'finished')),
    why            text,
    reached        bigint  NOT NULL,
    matched        bigint  NOT NULL CHECK (matched >= 0),
    redriven       bigint  NOT NULL CHECK (redriven >= 0),
    refused        bigint  NOT NULL CHECK (refused >= 0),
    failed         bigint  NOT NULL CHECK (failed >= 0),
    canaries       text    NOT NULL,
    is_proven      boolean NOT NULL
);

-- Routes whose work rests by hand.
CREATE TABLE steadfast.pauses (
    route    text   PRIMARY KEY CHECK (route <> ''),
    since_ms bigint NOT NULL,
    until_ms bigint,
    made_by  text   NOT NULL,
    reason   text   NOT NULL
);
