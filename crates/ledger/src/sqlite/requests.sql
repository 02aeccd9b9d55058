-- Which request made an attempt: the id by which it was answered and logged. Of the attempt under way it stands in the
-- operation's row, like its fence. There is no index: an entry at random for each attempt would cost more than all else
-- that is written of it. Whoever asks looks through the attempts, the newest first.
ALTER TABLE operations ADD COLUMN request_id TEXT CHECK (request_id IS NULL OR fence IS NOT NULL);
ALTER TABLE attempts ADD COLUMN request_id TEXT;
