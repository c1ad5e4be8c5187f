DROP INDEX runs_queued;
DROP INDEX instructions_pending;
CREATE INDEX instructions_pending ON instructions (org, priority DESC, id) WHERE status = 'pending';
ALTER TABLE instructions DROP COLUMN place;
