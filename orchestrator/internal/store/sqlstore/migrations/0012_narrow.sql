-- What agents and ends of runs look for, without what is not theirs. place is the one agent
-- or host that may take an instruction, and empty where more may, as it is of older rows.

ALTER TABLE instructions ADD COLUMN place TEXT NOT NULL DEFAULT '';
DROP INDEX instructions_pending;
CREATE INDEX instructions_pending ON instructions (org, place, priority DESC, id) WHERE status = 'pending';
CREATE INDEX runs_queued ON runs (org, workflow, lane, id) WHERE status = 'queued';
