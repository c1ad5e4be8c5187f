-- The runs that workflows in mode shadow would have started count for their limits: foreseen is the
-- key of such a run, and empty where none was.

ALTER TABLE evaluations ADD COLUMN foreseen TEXT NOT NULL DEFAULT '';
CREATE INDEX evaluations_foreseen ON evaluations (org, workflow, shadow, foreseen) WHERE foreseen <> '';
CREATE INDEX evaluations_foreseen_key ON evaluations (org, workflow, foreseen, shadow) WHERE foreseen <> '';
