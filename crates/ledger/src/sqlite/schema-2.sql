-- The embedded ledger, version 2: claims and ends of attempts are written to a log beside this file first.

-- `log_applied`: up to which frame of the log the tables are written. `log_open`: 1 while the log may hold what
-- the tables do not, so that a ledger whose log is gone is not taken for whole. `writes`: counts up where something
-- must be written, because SQLite neither writes nor syncs a change that changes nothing.
INSERT INTO counters (name, value) VALUES ('log_applied', 0), ('log_open', 0), ('writes', 0);
