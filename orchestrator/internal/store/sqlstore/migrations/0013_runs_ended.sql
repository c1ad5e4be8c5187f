-- Runs by how they ended, where that is rare: among all those that completed nobody finds them.

CREATE INDEX runs_ended ON runs (org, status, id) WHERE status IN ('failed', 'cancelled', 'escalated');
