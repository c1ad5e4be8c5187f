-- How many runs go on at a time, on which hosts, and how often one was tried for a key.

ALTER TABLE runs ADD COLUMN lane TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN host TEXT NOT NULL DEFAULT '';
CREATE INDEX runs_lane ON runs (org, workflow, lane, id) WHERE status IN ('running', 'queued');
CREATE INDEX runs_key ON runs (org, workflow, key, id);
